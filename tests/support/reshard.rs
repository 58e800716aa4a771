//! Moving slots with their keys while clients go on, in the steps that the cluster specification names:
//! IMPORTING at the target, MIGRATING at the source, MIGRATE of all keys, SETSLOT NODE everywhere.
//! <https://redis.io/docs/latest/commands/cluster-setslot/>

use super::{Cluster, Conn};

impl Cluster {
    /// Moves `slots` of primary `from` to primary `to`; some are open at the same time.
    pub fn move_slots(&self, from: usize, to: usize, slots: &[u16]) {
        let mut source = self.conn(from);
        let mut target = self.conn(to);
        let mut others: Vec<Conn> = self
            .primaries()
            .into_iter()
            .filter(|node| *node != from && *node != to)
            .map(|node| self.conn(node))
            .collect();
        for open in slots.chunks(OPEN_SLOTS) {
            set_slots(&mut target, open, &["IMPORTING", self.id(from)]);
            set_slots(&mut source, open, &["MIGRATING", self.id(to)]);
            for slot in open {
                self.migrate_keys(&mut source, to, *slot);
            }
            let owner = ["NODE", self.id(to)];
            set_slots(&mut target, open, &owner);
            set_slots(&mut source, open, &owner);
            for other in &mut others {
                set_slots(other, open, &owner);
            }
        }
    }

    fn migrate_keys(&self, source: &mut Conn, to: usize, slot: u16) {
        let (host, port) = (self.addr(to).ip().to_string(), self.addr(to).port());
        let (slot, port) = (slot.to_string(), port.to_string());
        loop {
            let keys = source.ok(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
            if keys.list().is_empty() {
                return;
            }
            let fixed = ["MIGRATE", &host, &port, "", "0", "10000", "KEYS"];
            let args: Vec<&[u8]> = fixed
                .iter()
                .map(|arg| arg.as_bytes())
                .chain(keys.list().iter().filter_map(|key| key.bytes()))
                .collect();
            source.ok(&args);
        }
    }
}

fn set_slots(conn: &mut Conn, slots: &[u16], what: &[&str]) {
    let requests: Vec<Vec<String>> = slots
        .iter()
        .map(|slot| {
            let mut request = vec!["CLUSTER".into(), "SETSLOT".into(), slot.to_string()];
            request.extend(what.iter().map(|word| (*word).to_owned()));
            request
        })
        .collect();
    for (reply, request) in conn.pipeline(&requests).iter().zip(&requests) {
        assert!(reply.is_ok(), "{request:?}: {reply:?}");
    }
}

/// How many slots are in migration at the same time.
const OPEN_SLOTS: usize = 16;
