//! Merges the `INFO` of all primaries into what one server would say of itself.
//!
//! What becomes of a field is one row of the table in `info_fields`; a field or a section without a row passes as the first node has it.
//! No address of a node gets through. Rare request: this allocates.

use std::collections::HashSet;
use std::time::Duration;

use crate::resp::Proto;
use crate::resp::write;

use super::info_fields::{self, Section};
use super::named::Named;

/// What only slotcar knows about the server that it pretends to be.
#[derive(Clone, Debug, Default)]
pub struct ServerFace<'a> {
    /// The port that this client's listener has.
    pub port: u16,
    /// 40 hexadecimal digits, another for every start.
    pub run_id: &'a str,
    /// Of slotcar's process.
    pub process_id: u32,
    pub uptime: Duration,
    /// Sessions of all workers.
    pub connected_clients: u64,
    pub blocked_clients: u64,
    pub clients_max: u64,
    /// Since the start; those refused for `clients_max` are among those received.
    pub connections_received: u64,
    pub connections_refused: u64,
    /// Lines of the `# slotcar` section, as they shall appear. No line ends, no colon in a name.
    pub slotcar: Vec<(&'a str, String)>,
}

/// The merged text. A `# slotcar` section is added when the parts show everything, as they do without a section argument.
pub(super) fn merge<'a>(parts: impl Iterator<Item = &'a [u8]>, face: &ServerFace<'_>) -> Vec<u8> {
    let mut sections: Named<String, Section> = Named::default();
    for part in parts {
        let text = String::from_utf8_lossy(part);
        let mut seen = HashSet::new();
        for section in info_fields::parse(&text) {
            // A node that says it twice is heard once.
            if seen.insert(section.name.clone()) {
                sections.join(section.name.clone(), section, Section::join);
            }
        }
    }
    let mut sections: Vec<Section> = sections
        .into_entries()
        .into_iter()
        .map(|(_, section)| section)
        .collect();
    for section in &mut sections {
        section.derive(face);
    }
    let everything = ["Server", "Clients", "Memory", "Stats", "Keyspace"];
    if everything
        .iter()
        .all(|name| sections.iter().any(|section| section.name == *name))
    {
        sections.push(slotcar_section(face));
    }
    print(&sections).into_bytes()
}

/// Whether an `INFO` asks for slotcar's own section and nothing else: no node is needed to answer.
pub fn is_about_slotcar<'a>(mut sections: impl Iterator<Item = &'a [u8]>) -> bool {
    let first = sections.next();
    first.is_some_and(|name| name.eq_ignore_ascii_case(b"slotcar")) && sections.next().is_none()
}

/// The whole reply to `INFO slotcar`.
pub fn slotcar(proto: Proto, face: &ServerFace<'_>, out: &mut Vec<u8>) {
    write::verbatim(out, proto, b"txt", print(&[slotcar_section(face)]));
}

fn slotcar_section(face: &ServerFace<'_>) -> Section {
    let mut fields = Named::default();
    for (name, value) in &face.slotcar {
        fields.push((*name).to_owned(), value.clone());
    }
    Section {
        name: "slotcar".to_owned(),
        fields,
    }
}

/// Sections as the servers print them: an empty line between two, line ends as in the protocol.
fn print(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(&section.name);
        text.push_str("\r\n");
        for (field, value) in section.fields.entries() {
            text.push_str(field);
            text.push(':');
            text.push_str(value);
            text.push_str("\r\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nrun_id:aaa\r\ntcp_port:7000\r\n\
        config_file:/a/redis.conf\r\nlistener0:name=tcp,bind=10.0.0.1,port=7000\r\n\r\n\
        # Clients\r\nconnected_clients:5\r\nmaxclients:10000\r\ntracking_clients:1\r\n\r\n\
        # Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\nused_memory_peak:2097152\r\nused_memory_peak_perc:50.00%\r\n\
        maxmemory_policy:noeviction\r\nused_memory_rss:2097152\r\nmem_fragmentation_ratio:2.00\r\n\r\n\
        # Persistence\r\nloading:0\r\nrdb_last_bgsave_status:ok\r\nrdb_last_save_time:200\r\n\r\n\
        # Stats\r\nkeyspace_hits:10\r\ninstantaneous_input_kbps:0.50\r\nlatest_fork_usec:5\r\nnew_field:word\r\n\r\n\
        # Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.9,port=1,state=online\r\nmaster_replid:aaa\r\n\r\n\
        # CPU\r\nused_cpu_sys:0.500000\r\n\r\n# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n\r\n\
        # Commandstats\r\ncmdstat_get:calls=1,usec=10,usec_per_call=10.00,rejected_calls=0,failed_calls=0\r\n\r\n\
        # Errorstats\r\nerrorstat_ERR:count=1\r\n\r\n# Latencystats\r\nlatency_percentiles_usec_get:p50=1.000,p99=9.000\r\n\r\n\
        # Cluster\r\ncluster_enabled:1\r\ncluster_node:x\r\n\r\n# Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=100\r\n";

    const B: &str = "# Server\r\nredis_version:7.0.16\r\nredis_mode:cluster\r\nrun_id:bbb\r\ntcp_port:7001\r\n\
        config_file:/b/redis.conf\r\nlistener0:name=tcp,bind=10.0.0.2,port=7001\r\n\r\n\
        # Clients\r\nconnected_clients:6\r\nmaxclients:10000\r\ntracking_clients:2\r\n\r\n\
        # Memory\r\nused_memory:524288\r\nused_memory_human:512.00K\r\nused_memory_peak:1048576\r\nused_memory_peak_perc:50.00%\r\n\
        maxmemory_policy:noeviction\r\nused_memory_rss:524288\r\nmem_fragmentation_ratio:1.00\r\n\r\n\
        # Persistence\r\nloading:1\r\nrdb_last_bgsave_status:err\r\nrdb_last_save_time:100\r\n\r\n\
        # Stats\r\nkeyspace_hits:32\r\ninstantaneous_input_kbps:0.25\r\nlatest_fork_usec:9\r\nnew_field:other\r\n\r\n\
        # Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.8,port=1,state=online\r\nmaster_replid:bbb\r\n\r\n\
        # CPU\r\nused_cpu_sys:0.250000\r\n\r\n# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n\r\n\
        # Commandstats\r\ncmdstat_get:calls=3,usec=10,usec_per_call=3.33,rejected_calls=1,failed_calls=0\r\n\
        cmdstat_set:calls=1,usec=1,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n\r\n\
        # Errorstats\r\nerrorstat_ERR:count=2\r\n\r\n# Latencystats\r\nlatency_percentiles_usec_get:p50=2.000,p99=3.000\r\n\r\n\
        # Cluster\r\ncluster_enabled:1\r\n\r\n# Keyspace\r\ndb0:keys=5,expires=3,avg_ttl=300\r\n";

    const MERGED: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:0123\r\ntcp_port:6379\r\nconfig_file:\r\n\r\n\
        # Clients\r\nconnected_clients:2\r\nmaxclients:99\r\ntracking_clients:3\r\n\r\n\
        # Memory\r\nused_memory:1572864\r\nused_memory_human:1.50M\r\nused_memory_peak:3145728\r\nused_memory_peak_perc:50.00%\r\n\
        maxmemory_policy:noeviction\r\nused_memory_rss:2621440\r\nmem_fragmentation_ratio:1.67\r\n\r\n\
        # Persistence\r\nloading:1\r\nrdb_last_bgsave_status:err\r\nrdb_last_save_time:100\r\n\r\n\
        # Stats\r\nkeyspace_hits:42\r\ninstantaneous_input_kbps:0.75\r\nlatest_fork_usec:9\r\nnew_field:word\r\n\r\n\
        # Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:aaa\r\n\r\n\
        # CPU\r\nused_cpu_sys:0.750000\r\n\r\n# Modules\r\nmodule:name=a,ver=1\r\nmodule:name=b,ver=1\r\n\r\n\
        # Commandstats\r\ncmdstat_get:calls=4,usec=20,usec_per_call=5.00,rejected_calls=1,failed_calls=0\r\n\
        cmdstat_set:calls=1,usec=1,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n\r\n\
        # Errorstats\r\nerrorstat_ERR:count=3\r\n\r\n# Latencystats\r\nlatency_percentiles_usec_get:p50=2.000,p99=9.000\r\n\r\n\
        # Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\ndb0:keys=15,expires=4,avg_ttl=250\r\n\r\n\
        # slotcar\r\nslotcar_version:1\r\n";

    fn face(slotcar: &[(&'static str, String)]) -> Vec<u8> {
        let face = face_with(slotcar);
        merge([A.as_bytes(), B.as_bytes()].into_iter(), &face)
    }

    fn face_with(slotcar: &[(&'static str, String)]) -> ServerFace<'static> {
        ServerFace {
            port: 6379,
            run_id: "0123",
            connected_clients: 2,
            clients_max: 99,
            slotcar: slotcar.to_vec(),
            ..ServerFace::default()
        }
    }

    #[test]
    fn two_nodes_look_like_one_server() {
        let text = String::from_utf8(face(&[("slotcar_version", "1".to_owned())])).unwrap();
        for (line, expected) in text.lines().zip(MERGED.lines()) {
            assert_eq!(line, expected);
        }
        assert_eq!(text, MERGED);
    }

    #[test]
    fn no_address_of_a_node_gets_through() {
        let text = String::from_utf8(face(&[])).unwrap();
        assert!(!text.contains("10.0.0."), "{text}");
    }

    #[test]
    fn a_single_section_stays_alone() {
        let parts = [
            "# Keyspace\r\n",
            "# Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\n",
        ];
        let text = merge(
            parts.iter().map(|part| part.as_bytes()),
            &ServerFace::default(),
        );
        assert_eq!(text, b"# Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\n");
    }

    #[test]
    fn as_many_decimals_as_can_be_printed_and_no_more() {
        let part = format!("# CPU\r\nused_cpu_sys:1.{}5\r\n", "0".repeat(70_000));
        let text = merge([part.as_bytes(); 2].into_iter(), &ServerFace::default());
        let expected = format!("# CPU\r\nused_cpu_sys:2.{}\r\n", "0".repeat(17));
        assert_eq!(text, expected.as_bytes());
    }

    #[test]
    fn our_own_section_needs_no_node() {
        let asks = |names: &[&str]| is_about_slotcar(names.iter().map(|name| name.as_bytes()));
        assert!(asks(&["SlotCar"]));
        assert!(!asks(&[]) && !asks(&["server"]) && !asks(&["slotcar", "server"]));
        let mut out = Vec::new();
        slotcar(
            Proto::Resp2,
            &face_with(&[("nodes", "3".to_owned())]),
            &mut out,
        );
        assert_eq!(out, b"$20\r\n# slotcar\r\nnodes:3\r\n\r\n");
    }
}
