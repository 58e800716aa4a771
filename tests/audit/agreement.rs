//! For every command: what the audit says is what a hub before a cluster answers.

use std::sync::Arc;
use std::time::Duration;

use slotcar::audit::{Asker, Audit, Finding, Sorts};
use slotcar::clock::Now;
use slotcar::command::keys::{KeyList, find_keys};
use slotcar::command::lookup::{CommandTable, Lookup};
use slotcar::command::together::Rule;
use slotcar::command::{
    Begin, Client, Connection, Find, KeySpec, Local, Refuse, Route, Row, table,
};
use slotcar::config::UnknownOutcome;
use slotcar::config::limits::Limits;
use slotcar::resp::request::{Request, RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::route::part::SessionId;
use slotcar::topology::Endpoint;
use slotcar::worker::hub::Hub;

use super::rig::{self, ShardPlan, Socket};

const NOW: Now = Now::ZERO;
/// In slots of three shards.
const KEYS: [&str; 3] = ["k:a", "k:b", "k:c"];

/// A hub before a cluster of three, without rules or with one for all these keys.
struct Cluster {
    hub: Hub,
    audit: Audit,
    commands: Arc<CommandTable>,
    clients: u64,
}

impl Cluster {
    fn new(rules: &[Rule]) -> Self {
        let commands = Arc::new(CommandTable::new());
        let limits = Limits::default();
        let mut hub = rig::hub_keeping(
            rules,
            UnknownOutcome::Error,
            limits.clone(),
            Duration::from_secs(1),
            &commands,
            1,
        );
        let shard = |name, first, last| ShardPlan {
            primary: Endpoint::new(name, 1),
            replicas: Vec::new(),
            ranges: vec![(first, last)],
        };
        let shards = vec![
            shard("a", 0, 5460),
            shard("b", 5461, 10_922),
            shard("c", 10_923, 16_383),
        ];
        hub.on_topology(NOW, &rig::topology(1, shards));
        Self {
            hub,
            audit: Audit::new(rules, 1, &limits),
            commands,
            clients: 0,
        }
    }

    /// What a new client is told at once for the last of these requests, and what the audit says of it.
    fn ask(&mut self, requests: &[Vec<String>], splits: bool) -> (String, Option<Finding>) {
        self.clients += 1;
        let client = self.hub.on_accept(rig::identity(self.clients % 1000, NOW));
        let is_listed = self.hub.session_mut(client);
        is_listed.expect("it has come").splits_transactions = splits;
        let mut socket = Socket::default();
        let mut found = None;
        for request in requests {
            socket.taken.clear();
            let mut bytes = Vec::new();
            write::command(&mut bytes, request);
            let asker = self.asker(client);
            socket.arrive(&bytes);
            rig::read_client(&mut self.hub, NOW, client, &mut socket);
            rig::serve_client(&mut self.hub, NOW, client, &mut socket);
            found = self.found(&asker, &bytes);
        }
        self.hub.on_client_gone(NOW, client);
        self.audit.forget(client);
        self.hub.effects().sessions.clear();
        (String::from_utf8_lossy(&socket.taken).into_owned(), found)
    }

    fn asker(&self, client: SessionId) -> Asker {
        let session = self.hub.session(client).expect("it is there");
        Asker {
            session: client,
            in_transaction: session.transaction.is_some(),
            watches: session.watch.is_some(),
            database: 0,
            splits_transactions: session.splits_transactions,
            sorts: Sorts {
                patterns: true,
                elements: true,
            },
        }
    }

    fn found(&mut self, asker: &Asker, bytes: &[u8]) -> Option<Finding> {
        let before: Vec<u64> = self.audit.counts().map(|(_, count)| count).collect();
        let mut scan = RequestScan::new();
        let scanned = scan.advance(bytes, &RequestLimits::default());
        assert!(matches!(scanned, Ok(Scanned::Multibulk(_))));
        let request = scan.request(bytes);
        let Lookup::Row(row) = self.commands.lookup(request) else {
            return None;
        };
        if row.takes(request.len()) {
            self.audit.note(asker, row, request);
        }
        let after = self.audit.counts();
        let mut more = after
            .zip(before)
            .filter(|((_, after), before)| after > before);
        let found = more.next().map(|((finding, _), _)| finding);
        assert!(more.next().is_none(), "two findings of one request");
        found
    }
}

/// Requests of a kind with keys of these names, at all lengths that may mean something else.
fn requests(row: &Row, keys: &[&str]) -> Vec<Vec<String>> {
    let least = usize::from(row.arity.unsigned_abs());
    let lengths = least..least + if row.arity < 0 { 6 } else { 1 };
    lengths.filter_map(|len| request(row, len, keys)).collect()
}

fn request(row: &Row, len: usize, keys: &[&str]) -> Option<Vec<String>> {
    let name = row.name.split('|').map(str::to_uppercase);
    let mut words: Vec<String> = name.collect();
    if words.len() > len {
        return None;
    }
    words.resize(len, "1".to_owned());
    for spec in row.keys {
        prepare(spec, &mut words)?;
    }
    let places = places(row, &words);
    for (at, key) in places.iter().zip(keys.iter().cycle()) {
        words[*at] = (*key).to_owned();
    }
    Some(words)
}

/// What stands in front of keys.
fn prepare(spec: &KeySpec, words: &mut [String]) -> Option<()> {
    let begin = match spec.begin {
        Begin::Index(at) => usize::from(at),
        Begin::Keyword { word, from } => {
            let at = usize::try_from(from).ok()?;
            *words.get_mut(at)? = word.to_owned();
            at + 1
        }
        Begin::SortStore | Begin::GeoStore => {
            // The last two, if there is room behind what the command needs.
            let needed = if spec.begin == Begin::SortStore { 2 } else { 6 };
            if words.len() >= needed + 2 {
                let at = words.len() - 2;
                words[at] = "STORE".to_owned();
            }
            return Some(());
        }
        Begin::MigrateKeys => 3,
    };
    if let Find::KeyNum { count_at, .. } = spec.find {
        *words.get_mut(begin + usize::from(count_at))? = "2".to_owned();
    }
    Some(())
}

fn places(row: &Row, words: &[String]) -> Vec<usize> {
    let mut bytes = Vec::new();
    write::command(&mut bytes, words);
    let mut scan = RequestScan::new();
    let _ = scan.advance(&bytes, &RequestLimits::default());
    let request: Request<'_> = scan.request(&bytes);
    let mut keys = KeyList::new();
    let _ = find_keys(row, request, &mut keys);
    keys.iter().collect()
}

fn is_cross_slot(finding: Option<Finding>) -> bool {
    matches!(
        finding,
        Some(Finding::CrossSlot | Finding::CrossSlotScript | Finding::CrossSlotTransaction)
    )
}

fn line(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Compares the last answer with what the audit says.
fn check(cluster: &mut Cluster, requests: &[Vec<String>], splits: bool) -> (bool, bool) {
    let (answer, finding) = cluster.ask(requests, splits);
    let told = format!("{requests:?} is told {answer:?}, and the audit says {finding:?}");
    let spans = answer.contains("concerns every shard");
    let is_refused = answer.contains("CROSSSLOT") && !spans;
    assert_eq!(is_refused, is_cross_slot(finding), "{told}");
    assert_eq!(
        spans,
        finding == Some(Finding::TransactionOverNodes),
        "{told}"
    );
    let refuses = ["does not pass", "does not serve"];
    let last = requests.last().map_or("", |words| &words[0]);
    let is_kept_out = last == "HIMPORT" && answer.contains("not allowed inside a transaction");
    let refuses = is_kept_out || refuses.iter().any(|text| answer.contains(text));
    assert_eq!(refuses, finding == Some(Finding::NotServed), "{told}");
    (is_refused, finding.is_some())
}

fn rows() -> impl Iterator<Item = &'static Row> {
    // These end what is looked at, or make all others wait.
    let changes = |row: &&Row| {
        matches!(
            row.route,
            Route::Connection(Connection::Exec)
                | Route::Local(Local::Quit | Local::Reset | Local::Client(Client::Pause))
                | Route::Refuse(Refuse::CrossProtocol)
        )
    };
    table::rows().filter(move |row| !changes(row))
}

#[test]
fn the_audit_says_what_a_hub_before_a_cluster_does() {
    let together = [Rule::parse("k:*").unwrap()];
    let (mut alone, mut kept) = (Cluster::new(&[]), Cluster::new(&together));
    let (mut asked, mut refused) = (0, 0);
    for row in rows() {
        for keys in [&KEYS[..], &KEYS[..1]] {
            for request in requests(row, keys) {
                let cases: [&[Vec<String>]; 3] = [
                    std::slice::from_ref(&request),
                    &[line("MULTI"), line("SET k:a 1"), request.clone()],
                    &[line("MULTI"), request.clone(), line("GET k:b")],
                ];
                for case in cases {
                    for splits in [false, true] {
                        asked += 1;
                        refused += usize::from(check(&mut alone, case, splits).0);
                        check(&mut kept, case, splits);
                    }
                }
            }
        }
    }
    assert!(asked > 5000 && refused > 500, "{asked} {refused}");
}

#[test]
fn what_is_served_at_several_nodes_is_told() {
    let mut cluster = Cluster::new(&[]);
    for (request, expected) in [
        ("MGET k:a k:b", Some(Finding::Split)),
        ("MGET k:a k:a", None),
        ("MSET k:a 1 k:b", None),
        ("BLPOP k:a k:b 1", Some(Finding::WaitsOverSlots)),
        ("BLPOP k:a k:b soon", None),
        ("BLMPOP 1 2 k:a k:b", None),
        ("BLMPOP 1 2 k:a k:b LEFT", Some(Finding::WaitsOverSlots)),
        ("BLPOP k:a 1", None),
        ("XREAD STREAMS k:a k:b 0 0", Some(Finding::Split)),
        (
            "XREAD BLOCK 1 STREAMS k:a k:b 0 0",
            Some(Finding::WaitsOverSlots),
        ),
        ("EVAL x 0", Some(Finding::ScriptWithoutKeys)),
        ("EVAL x many", None),
        ("FCALL_RO x 0 k:a k:b", Some(Finding::ScriptWithoutKeys)),
        ("SORT k:a BY w_* GET #", Some(Finding::SortByPattern)),
        ("SORT {k}a BY {k}w_* GET {k}o_*->f", None),
        ("SORT k:a BY nosort GET #", None),
        ("COPY k:a {k:a}b DB 0", None),
        ("COPY k:a {k:a}b DB 1", Some(Finding::OtherDatabase)),
        ("COPY k:a k:b DB 1", Some(Finding::CrossSlot)),
        ("MOVE k:a 1", Some(Finding::OtherDatabase)),
        ("SELECT 0", None),
        ("SELECT 1", Some(Finding::OtherDatabase)),
        ("SELECT one", None),
        ("SELECT -1", None),
        ("KEYS *", Some(Finding::EveryNode)),
        ("FUNCTION LIST", None),
        ("INFO", None),
        ("SCRIPT LOAD x", None),
        ("CONFIG SET a b", None),
        ("PUBSUB NUMSUB a", None),
        ("CLIENT LIST", None),
        ("SPUBLISH k:a x", None),
        ("SSUBSCRIBE k:a k:b", None),
        ("WAIT 0 1", None),
    ] {
        let (_, finding) = cluster.ask(&[line(request)], false);
        assert_eq!(finding, expected, "{request}");
    }
}
