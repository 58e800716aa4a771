//! A client, a hub before one server, and a server that says yes to everything.

use slotcar::audit::Audit;
use slotcar::clock::Now;
use slotcar::command::together::Rule;
use slotcar::resp::request::{RequestLimits, RequestScan, Scanned};
use slotcar::resp::write;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::topology::Endpoint;
use slotcar::worker::hub::Hub;

use super::rig::{self, ShardPlan, Socket};

const NOW: Now = Now::ZERO;

pub(crate) struct Stage {
    pub(crate) hub: Hub,
    client: SessionId,
    socket: Socket,
    wires: Vec<Wire>,
}

struct Wire {
    id: LinkId,
    socket: Socket,
    asked: Vec<u8>,
    /// What has been queued since MULTI.
    queued: Option<usize>,
}

impl Stage {
    pub(crate) fn new(rules: &[Rule], databases: u32) -> Self {
        let mut hub = rig::auditing_hub(rules, databases);
        let primary = Endpoint::new("one", 1);
        let shard = ShardPlan {
            primary,
            replicas: Vec::new(),
            ranges: vec![(0, 16_383)],
        };
        hub.on_topology(NOW, &rig::topology(1, vec![shard]));
        let client = hub.on_accept(rig::identity(1, NOW));
        Self {
            hub,
            client,
            socket: Socket::default(),
            wires: Vec::new(),
        }
    }

    /// Sends a request; returns its answer.
    pub(crate) fn ask(&mut self, words: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write::command(&mut bytes, words);
        self.socket.arrive(&bytes);
        assert!(!rig::read_client(
            &mut self.hub,
            NOW,
            self.client,
            &mut self.socket
        ));
        while self.hub.has_effects() {
            self.settle();
        }
        std::mem::take(&mut self.socket.taken)
    }

    pub(crate) fn leave(&mut self) {
        self.hub.on_client_gone(NOW, self.client);
    }

    pub(crate) fn audit(&self) -> &Audit {
        self.hub.audit().expect("it audits")
    }

    fn settle(&mut self) {
        let effects = std::mem::take(self.hub.effects());
        for (id, _) in effects.dials {
            self.hub.on_dialed(id);
            self.wires.push(Wire {
                id,
                socket: Socket::default(),
                asked: Vec::new(),
                queued: None,
            });
        }
        for link in effects.links {
            if let Some(wire) = self.wires.iter_mut().find(|wire| wire.id == link) {
                rig::write_link(&mut self.hub, NOW, link, &mut wire.socket);
            }
        }
        for wire in &mut self.wires {
            let answers = wire.answers();
            if wire.socket.arrive(&answers) {
                let straight: slotcar::worker::hub::Straight<'_> = &mut |_, _| 0;
                rig::read_link(&mut self.hub, NOW, wire.id, &mut wire.socket, straight);
            }
        }
        for session in effects.sessions {
            if session == self.client {
                rig::serve_client(&mut self.hub, NOW, session, &mut self.socket);
            }
        }
    }
}

impl Wire {
    fn answers(&mut self) -> Vec<u8> {
        self.asked.append(&mut self.socket.taken);
        let (mut out, mut at) = (Vec::new(), 0);
        let mut scan = RequestScan::new();
        let limits = RequestLimits::default();
        while let Ok(Scanned::Multibulk(len)) = scan.advance(&self.asked[at..], &limits) {
            let request = scan.request(&self.asked[at..at + len]);
            let name = request.arg(0).to_ascii_uppercase();
            match (&*name, self.queued) {
                (b"MULTI", _) => {
                    self.queued = Some(0);
                    write::ok(&mut out);
                }
                (b"EXEC", Some(queued)) => {
                    self.queued = None;
                    write::array(&mut out, queued);
                    (0..queued).for_each(|_| write::ok(&mut out));
                }
                (_, Some(queued)) => {
                    self.queued = Some(queued + 1);
                    write::simple(&mut out, "QUEUED");
                }
                _ => write::ok(&mut out),
            }
            at += len;
        }
        self.asked.drain(..at);
        out
    }
}
