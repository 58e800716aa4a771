//! Moving slots with their keys while clients go on, in the steps that the cluster specification names:
//! IMPORTING at the target, MIGRATING at the source, MIGRATE of all keys, SETSLOT NODE everywhere.
//! <https://redis.io/docs/latest/commands/cluster-setslot/>

use std::net::SocketAddr;
use std::time::Duration;

use super::{Cluster, Conn};

/// Two primaries between which slots move. Needs nothing else of the cluster: other nodes may come and go meanwhile.
pub struct Mover {
    from: Peer,
    to: Peer,
}

struct Peer {
    addr: SocketAddr,
    id: String,
}

impl Cluster {
    /// Moves `slots` of primary `from` to primary `to`; some are open at the same time.
    pub fn move_slots(&self, from: usize, to: usize, slots: &[u16]) {
        let others = self.primaries().into_iter();
        let mut others: Vec<Conn> = others
            .filter(|node| *node != from && *node != to)
            .map(|node| self.conn(node))
            .collect();
        self.mover(from, to).move_slots(slots, &mut others);
    }

    pub fn mover(&self, from: usize, to: usize) -> Mover {
        let [from, to] = [from, to].map(|node| Peer {
            addr: self.addr(node),
            id: self.id(node).to_owned(),
        });
        Mover { from, to }
    }
}

impl Mover {
    /// `others` are told who has the slots then; the rest hear it from the target.
    pub fn move_slots(&self, slots: &[u16], others: &mut [Conn]) {
        let mut source = Conn::open(self.from.addr);
        for open in slots.chunks(OPEN_SLOTS) {
            self.open(open);
            for slot in open {
                self.migrate_keys(&mut source, *slot);
            }
            self.close(open, others);
        }
    }

    /// From now on keys of `slots` may be here and there.
    pub fn open(&self, slots: &[u16]) {
        let (mut source, mut target) = (Conn::open(self.from.addr), Conn::open(self.to.addr));
        set_slots(&mut target, slots, &["IMPORTING", &self.from.id]);
        set_slots(&mut source, slots, &["MIGRATING", &self.to.id]);
    }

    /// Gives slots without keys away for good.
    pub fn close(&self, slots: &[u16], others: &mut [Conn]) {
        let (mut source, mut target) = (Conn::open(self.from.addr), Conn::open(self.to.addr));
        let owner = ["NODE", &self.to.id];
        for conn in [&mut target, &mut source].into_iter().chain(others) {
            set_slots(conn, slots, &owner);
        }
    }

    /// Moves one key of an open slot.
    pub fn move_key(&self, key: &str) {
        let (host, port) = (self.to.addr.ip().to_string(), self.to.addr.port());
        let migrate = ["MIGRATE", &host, &port.to_string(), key, "0", "10000"];
        Conn::open(self.from.addr).ok(&migrate);
    }

    /// The way back.
    pub fn back(self) -> Mover {
        Mover {
            from: self.to,
            to: self.from,
        }
    }

    fn migrate_keys(&self, source: &mut Conn, slot: u16) {
        let (host, port) = (self.to.addr.ip().to_string(), self.to.addr.port());
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
            let reply = source.cmd(&args);
            // While another shard has no primary, all nodes refuse to move keys.
            match reply.error() {
                None => {}
                Some(error) if error.contains("CLUSTERDOWN") => std::thread::sleep(REFUSED_PAUSE),
                Some(error) => panic!("MIGRATE of slot {slot}: {error}"),
            }
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

const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// How many slots are in migration at the same time.
const OPEN_SLOTS: usize = 16;
