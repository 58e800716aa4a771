//! The fields of `INFO`: what each becomes when several servers must look like one. [`RULES`] is the table.

use super::info::ServerFace;
use super::named::Named;

/// One section: its name as the servers spell it, its lines in order.
#[derive(Default)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) fields: Named<String, String>,
}

/// How the values of one field become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// That of the first node.
    First,
    /// The sum, with as many decimals as the first value has.
    Sum,
    Max,
    Min,
    /// `ok`, unless some node says something else.
    AllOk,
    /// Always this.
    Fixed(&'static str),
    /// What slotcar says.
    Own(Fact),
    /// Not shown: it would name a node.
    Hidden,
    /// The merged bytes of another field in the servers' short form (`1.50M`).
    Human(&'static str),
    /// One merged field divided by another.
    Ratio(&'static str, &'static str),
    /// One merged field in percent of another, less a third if there is one.
    Percent(&'static str, &'static str, &'static str),
    /// `calls=1,usec=2,usec_per_call=2.00`: sums, and the average computed again.
    CommandStats,
    /// `p50=1.003,p99=5.023`: percentiles cannot be added; the worst is what no node exceeds.
    MaxEach,
    /// `count=1`, `1=5,2=7`: sums.
    SumEach,
    /// `keys=1,expires=1,avg_ttl=5`: sums, and the average weighed by `expires`.
    Keyspace,
}

/// What slotcar knows better than any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Port,
    RunId,
    ProcessId,
    UptimeSecs,
    UptimeDays,
    ConnectedClients,
    BlockedClients,
    ClientsMax,
    ConnectionsReceived,
    ConnectionsRefused,
}

/// The sections of one `INFO` text, without what is hidden. Lines that are no field are skipped.
pub(super) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            sections.push(Section {
                name: name.trim_end().to_owned(),
                fields: Named::default(),
            });
        } else if let (Some(section), Some((field, value))) =
            (sections.last_mut(), line.split_once(':'))
            && rule(&section.name, field) != Rule::Hidden
        {
            section.fields.push(field.to_owned(), value.to_owned());
        }
    }
    sections
}

impl Section {
    /// Joins the fields of one more node.
    pub(super) fn join(&mut self, other: Section) {
        for (field, value) in other.fields.into_entries() {
            let rule = rule(&self.name, &field);
            let join = |known: &mut String, value: String| join(rule, known, &value);
            self.fields.join(field, value, join);
        }
    }

    /// Puts in what does not follow from one field alone. To be called when all nodes have been joined.
    pub(super) fn derive(&mut self, face: &ServerFace<'_>) {
        let fields = self.fields.entries();
        let derived: Vec<Option<String>> = fields
            .iter()
            .map(|(field, _)| self.derived(field, face))
            .collect();
        for (value, derived) in self.fields.values_mut().zip(derived) {
            if let Some(derived) = derived {
                *value = derived;
            }
        }
    }

    fn derived(&self, field: &str, face: &ServerFace<'_>) -> Option<String> {
        let number = |field: &str| self.fields.get(field)?.parse::<f64>().ok();
        match rule(&self.name, field) {
            Rule::Fixed(value) => Some(value.to_owned()),
            Rule::Own(fact) => Some(own(fact, face)),
            Rule::Human(of) => Some(human(number(of)?)),
            Rule::Ratio(part, whole) => {
                let whole = number(whole).filter(|&whole| whole > 0.0)?;
                Some(format!("{:.2}", number(part)? / whole))
            }
            Rule::Percent(part, whole, less) => {
                let whole = number(whole)? - number(less).unwrap_or(0.0);
                (whole > 0.0).then_some(())?;
                Some(format!("{:.2}%", number(part)? * 100.0 / whole))
            }
            Rule::First
            | Rule::Sum
            | Rule::Max
            | Rule::Min
            | Rule::AllOk
            | Rule::Hidden
            | Rule::CommandStats
            | Rule::MaxEach
            | Rule::SumEach
            | Rule::Keyspace => None,
        }
    }
}

/// The rule of a field: its row in [`RULES`], else that of its section.
pub(super) fn rule(section: &str, field: &str) -> Rule {
    let Some((_, default, rows)) = RULES.iter().find(|(name, _, _)| *name == section) else {
        return Rule::First;
    };
    let same = |name: &str| match name.strip_suffix('#') {
        Some(stem) => field
            .strip_prefix(stem)
            .is_some_and(|n| n.parse::<u32>().is_ok()),
        None => name == field,
    };
    rows.iter()
        .find(|(name, _)| same(name))
        .map_or(*default, |(_, rule)| *rule)
}

fn join(rule: Rule, known: &mut String, new: &str) {
    match rule {
        Rule::Sum => combine(known, new, i128::saturating_add, |a, b| a + b),
        Rule::Max => combine(known, new, i128::max, f64::max),
        Rule::Min => combine(known, new, i128::min, f64::min),
        Rule::AllOk if known == "ok" => new.clone_into(known),
        Rule::CommandStats => {
            *known = each(known, new, Rule::Sum);
            average(known, "usec_per_call", "usec", "calls");
        }
        Rule::MaxEach => *known = each(known, new, Rule::Max),
        Rule::SumEach => *known = each(known, new, Rule::Sum),
        Rule::Keyspace => *known = keyspace(known, new),
        Rule::First
        | Rule::AllOk
        | Rule::Fixed(_)
        | Rule::Own(_)
        | Rule::Hidden
        | Rule::Human(_)
        | Rule::Ratio(..)
        | Rule::Percent(..) => {}
    }
}

/// Whole numbers stay whole and exact; others keep their decimals. What is no number stays as it is.
fn combine(
    known: &mut String,
    new: &str,
    whole: impl Fn(i128, i128) -> i128,
    broken: impl Fn(f64, f64) -> f64,
) {
    if let (Ok(a), Ok(b)) = (known.parse(), new.parse()) {
        *known = whole(a, b).to_string();
    } else if let (Ok(a), Ok(b)) = (known.parse(), new.parse()) {
        let decimals = known
            .split_once('.')
            .map_or(0, |(_, decimals)| decimals.len().min(DECIMALS_MAX));
        *known = format!("{:.decimals$}", broken(a, b));
    }
}

/// Joins two `name=value,name=value` lists by name.
fn each(known: &str, new: &str, rule: Rule) -> String {
    let mut list: Named<&str, String> = Named::default();
    for (name, value) in pairs(known) {
        list.join(name, value.to_owned(), |_, _| {});
    }
    for (name, value) in pairs(new) {
        list.join(name, value.to_owned(), |known, value| {
            join(rule, known, &value);
        });
    }
    joined(list.entries())
}

/// Sets `field` to `total / count`, with two decimals, all three in the list.
fn average(list: &mut String, field: &str, total: &str, count: &str) {
    let find = |wanted: &str| {
        pairs(list)
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, value)| value.parse().ok())
    };
    let (Some(total), Some(count)): (Option<f64>, Option<f64>) = (find(total), find(count)) else {
        return;
    };
    let mean = if count > 0.0 { total / count } else { 0.0 };
    let renewed = pairs(list).map(|(name, value)| {
        let value = if name == field {
            format!("{mean:.2}")
        } else {
            value.to_owned()
        };
        (name, value)
    });
    let renewed: Vec<_> = renewed.collect();
    *list = joined(&renewed);
}

/// The mean time to live is over the keys that have one.
fn keyspace(known: &str, new: &str) -> String {
    let number = |list: &str, wanted: &str| -> u128 {
        pairs(list)
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0)
    };
    let weighed = |list: &str| number(list, "avg_ttl").saturating_mul(number(list, "expires"));
    let expires = number(known, "expires").saturating_add(number(new, "expires"));
    let mean = weighed(known)
        .saturating_add(weighed(new))
        .checked_div(expires)
        .unwrap_or(0);
    let sums = each(known, new, Rule::Sum);
    let list = pairs(&sums).map(|(name, value)| {
        let value = if name == "avg_ttl" {
            mean.to_string()
        } else {
            value.to_owned()
        };
        (name, value)
    });
    joined(&list.collect::<Vec<_>>())
}

fn pairs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.split(',').filter_map(|pair| pair.split_once('='))
}

fn joined(list: &[(&str, String)]) -> String {
    let pairs: Vec<String> = list
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}

fn own(fact: Fact, face: &ServerFace<'_>) -> String {
    match fact {
        Fact::Port => face.port.to_string(),
        Fact::RunId => face.run_id.to_owned(),
        Fact::ProcessId => face.process_id.to_string(),
        Fact::UptimeSecs => face.uptime.as_secs().to_string(),
        Fact::UptimeDays => (face.uptime.as_secs() / (24 * 3600)).to_string(),
        Fact::ConnectedClients => face.connected_clients.to_string(),
        Fact::BlockedClients => face.blocked_clients.to_string(),
        Fact::ClientsMax => face.clients_max.to_string(),
        Fact::ConnectionsReceived => face.connections_received.to_string(),
        Fact::ConnectionsRefused => face.connections_refused.to_string(),
    }
}

/// As the servers' `bytesToHuman` prints it.
fn human(bytes: f64) -> String {
    let mut scaled = bytes;
    for unit in ["B", "K", "M", "G", "T"] {
        if scaled < 1024.0 {
            return if unit == "B" {
                format!("{scaled:.0}B")
            } else {
                format!("{scaled:.2}{unit}")
            };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.2}P")
}

/// A section, the rule of its fields that have no row, and the rows. A `#` at the end of a field's name stands for a number.
type SectionRules = (&'static str, Rule, &'static [(&'static str, Rule)]);

/// Of what is printed: no server has more, and formatting allows no more than 65,535.
const DECIMALS_MAX: usize = 17;

/// Source of the names: `INFO everything` of Redis 7.0–8 and Valkey 8–9.
const RULES: &[SectionRules] = &[
    ("Server", Rule::First, SERVER),
    ("Clients", Rule::Sum, CLIENTS),
    ("Memory", Rule::Sum, MEMORY),
    ("Persistence", Rule::Max, PERSISTENCE),
    ("Stats", Rule::Sum, STATS),
    ("Replication", Rule::First, REPLICATION),
    ("CPU", Rule::Sum, &[]),
    ("Commandstats", Rule::CommandStats, &[]),
    ("Errorstats", Rule::SumEach, &[]),
    ("Latencystats", Rule::MaxEach, &[]),
    (
        "Cluster",
        Rule::Hidden,
        &[("cluster_enabled", Rule::Fixed("0"))],
    ),
    ("Keyspace", Rule::Keyspace, &[]),
    ("Keysizes", Rule::SumEach, &[]),
];

const SERVER: &[(&str, Rule)] = &[
    ("redis_mode", Rule::Fixed("standalone")),
    ("server_mode", Rule::Fixed("standalone")),
    ("process_id", Rule::Own(Fact::ProcessId)),
    ("run_id", Rule::Own(Fact::RunId)),
    ("tcp_port", Rule::Own(Fact::Port)),
    ("uptime_in_seconds", Rule::Own(Fact::UptimeSecs)),
    ("uptime_in_days", Rule::Own(Fact::UptimeDays)),
    ("io_threads_active", Rule::Max),
    ("executable", Rule::Fixed("")),
    ("config_file", Rule::Fixed("")),
    ("listener#", Rule::Hidden),
];

const CLIENTS: &[(&str, Rule)] = &[
    ("connected_clients", Rule::Own(Fact::ConnectedClients)),
    ("cluster_connections", Rule::Fixed("0")),
    ("maxclients", Rule::Own(Fact::ClientsMax)),
    ("client_recent_max_input_buffer", Rule::Max),
    ("client_recent_max_output_buffer", Rule::Max),
    ("blocked_clients", Rule::Own(Fact::BlockedClients)),
];

const MEMORY: &[(&str, Rule)] = &[
    ("used_memory_human", Rule::Human("used_memory")),
    ("used_memory_rss_human", Rule::Human("used_memory_rss")),
    ("used_memory_peak_human", Rule::Human("used_memory_peak")),
    ("used_memory_peak_time", Rule::Max),
    (
        "used_memory_peak_perc",
        Rule::Percent("used_memory", "used_memory_peak", ""),
    ),
    (
        "used_memory_dataset_perc",
        Rule::Percent("used_memory_dataset", "used_memory", "used_memory_startup"),
    ),
    (
        "total_system_memory_human",
        Rule::Human("total_system_memory"),
    ),
    ("used_memory_lua_human", Rule::Human("used_memory_lua")),
    (
        "used_memory_vm_total_human",
        Rule::Human("used_memory_vm_total"),
    ),
    (
        "used_memory_scripts_human",
        Rule::Human("used_memory_scripts"),
    ),
    // Functions and libraries are the same on every primary.
    ("number_of_functions", Rule::Max),
    ("number_of_libraries", Rule::Max),
    ("number_of_cached_scripts", Rule::Max),
    ("maxmemory_human", Rule::Human("maxmemory")),
    (
        "allocator_frag_ratio",
        Rule::Ratio("allocator_active", "allocator_allocated"),
    ),
    (
        "allocator_rss_ratio",
        Rule::Ratio("allocator_resident", "allocator_active"),
    ),
    (
        "rss_overhead_ratio",
        Rule::Ratio("used_memory_rss", "allocator_resident"),
    ),
    (
        "mem_fragmentation_ratio",
        Rule::Ratio("used_memory_rss", "used_memory"),
    ),
    ("active_defrag_running", Rule::Max),
];

const PERSISTENCE: &[(&str, Rule)] = &[
    ("current_save_keys_processed", Rule::Sum),
    ("current_save_keys_total", Rule::Sum),
    ("rdb_changes_since_last_save", Rule::Sum),
    ("rdb_last_save_time", Rule::Min),
    ("rdb_last_bgsave_status", Rule::AllOk),
    ("rdb_saves", Rule::Sum),
    ("rdb_last_cow_size", Rule::Sum),
    ("rdb_last_load_keys_expired", Rule::Sum),
    ("rdb_last_load_keys_loaded", Rule::Sum),
    ("aof_enabled", Rule::Min),
    ("aof_last_bgrewrite_status", Rule::AllOk),
    ("aof_rewrites", Rule::Sum),
    ("aof_last_write_status", Rule::AllOk),
    ("aof_last_cow_size", Rule::Sum),
    ("aof_current_size", Rule::Sum),
    ("aof_base_size", Rule::Sum),
    ("aof_buffer_length", Rule::Sum),
    ("aof_delayed_fsync", Rule::Sum),
    ("module_fork_last_cow_size", Rule::Sum),
    ("loading_total_bytes", Rule::Sum),
    ("loading_rdb_used_mem", Rule::Sum),
    ("loading_loaded_bytes", Rule::Sum),
    ("loading_loaded_perc", Rule::Min),
];

const STATS: &[(&str, Rule)] = &[
    (
        "total_connections_received",
        Rule::Own(Fact::ConnectionsReceived),
    ),
    ("rejected_connections", Rule::Own(Fact::ConnectionsRefused)),
    ("expired_stale_perc", Rule::Max),
    ("total_eviction_exceeded_time", Rule::Max),
    ("current_eviction_exceeded_time", Rule::Max),
    ("latest_fork_usec", Rule::Max),
    ("total_active_defrag_time", Rule::Max),
    ("current_active_defrag_time", Rule::Max),
    ("instantaneous_eventloop_duration_usec", Rule::Max),
];

const REPLICATION: &[(&str, Rule)] = &[
    ("slave#", Rule::Hidden),
    ("role", Rule::Fixed("master")),
    ("connected_slaves", Rule::Fixed("0")),
    ("replicas_waiting_psync", Rule::Fixed("0")),
    ("min_slaves_good_slaves", Rule::Min),
    ("master_failover_state", Rule::Fixed("no-failover")),
];
