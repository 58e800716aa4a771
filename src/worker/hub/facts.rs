//! What the hub counts, and what it says about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Hub, Settings};
use crate::clock::Now;
use crate::downstream::session::{Session, Wait};
use crate::measure::{Most, counts};
use crate::memory;
use crate::reply::info::ServerFace;

/// What happened at the doors of the process since its start, before any worker had to do with it.
#[derive(Debug, Default)]
pub struct DoorCounts {
    /// Connections that were accepted, those turned away included.
    pub received: AtomicU64,
    /// Turned away because there were too many clients.
    pub refused: AtomicU64,
    /// Connections that the system did not hand over.
    pub accept_errors: AtomicU64,
    /// Connections that were to be secured and could not be.
    pub tls_errors: AtomicU64,
}

impl DoorCounts {
    /// Name and value of each.
    pub fn rows(&self) -> [(&'static str, u64); 4] {
        [
            ("connections_received", &self.received),
            ("connections_refused", &self.refused),
            ("accept_errors", &self.accept_errors),
            ("tls_errors", &self.tls_errors),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

counts! {
    /// Counts since the start of a worker. One writer.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Counters {
        requests: u64,
        client_bytes_in: u64,
        client_bytes_out: u64,
        node_bytes_in: u64,
        node_bytes_out: u64,
        /// Error replies made here.
        errors: u64,
        /// `MOVED` and `ASK` that were followed.
        redirections: u64,
        /// `ASK` among them.
        redirections_ask: u64,
        /// `TRYAGAIN`, `CLUSTERDOWN`, `LOADING`, … that were waited out.
        refusals: u64,
        /// Parts that had to wait.
        held: u64,
        /// Parts that were sent again because their link was lost.
        resent: u64,
        /// Those that had been sent, and only read.
        resent_reads: u64,
        /// Times during which parts were held, until none has been for a second.
        holds: u64,
        /// Parts that were answered after they had been held, redirected or sent again; the longest time that took.
        delayed: u64,
        longest_delay_ms: Most,
        given_up: GivenUp,
        /// Times in which memory was short, and clients that had to go because they held most of it.
        memory_shortages: u64,
        clients_shed: u64,
        /// Connections that were closed because nobody knew what to answer.
        hung_up: u64,
        /// Links that were ended because their nodes had been silent for as long as requests are held.
        silent_links_cut: u64,
        /// Clients that were not whom they said they are, each time.
        logins_refused: u64,
        /// Requests that were sent to a node because it may be read from.
        replica_reads: u64,
        dials: u64,
        links_lost: u64,
        /// Links that were leased to a session, and how many of them had been used before.
        leases: u64,
        leases_reused: u64,
        /// Transactions over several slots that were split.
        transactions_split: u64,
        /// Requests that waited for keys of several slots; looks at such keys; tries to take something, and those that found nothing.
        spread_waits: u64,
        spread_looks: u64,
        spread_tries: u64,
        spread_tries_in_vain: u64,
        /// What was taken for clients who had left, and put back.
        put_back: u64,
        /// `NOSCRIPT` that the client did not see: the node was told the script.
        scripts_healed: u64,
        /// Clients that were told to forget all that they had cached: a node may have had more to say.
        cache_flushes: u64,
        /// Names that sessions subscribed to, and names that nodes were asked for once more.
        subscriptions: u64,
        resubscriptions: u64,
        /// Messages, counted once for each session that got them.
        messages: u64,
        slow_subscribers_cut: u64,
        /// Clients that were closed because too many replies waited for them.
        slow_readers_cut: u64,
        /// Clients that were closed in the middle of a long reply: its link was lost.
        replies_torn: u64,
        /// Clients that were closed because they had not asked for anything for too long.
        idle_clients_closed: u64,
    }
}

counts! {
    /// Parts whose clients were told that they could not be served, by reason.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct GivenUp {
        /// Nobody knows whether they were executed.
        unknown_outcome: u64,
        /// Held for too long, or redirected for as long.
        hold_ran_out: u64,
        hold_full: u64,
        /// For one node that could not be reached.
        unreachable: u64,
        /// There has never been a topology.
        no_topology: u64,
    }
}

impl Counters {
    /// Name and value of each, for the `slotcar` section of `INFO`.
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("requests", self.requests),
            ("errors", self.errors),
            ("redirections", self.redirections),
            ("refusals", self.refusals),
            ("held", self.held),
            ("resent", self.resent),
            ("holds", self.holds),
            ("delayed", self.delayed),
            ("longest_delay_ms", self.longest_delay_ms.0),
            ("given_up_unknown_outcome", self.given_up.unknown_outcome),
            ("given_up_hold_ran_out", self.given_up.hold_ran_out),
            ("given_up_hold_full", self.given_up.hold_full),
            ("given_up_unreachable", self.given_up.unreachable),
            ("given_up_no_topology", self.given_up.no_topology),
            ("hung_up", self.hung_up),
            ("memory_shortages", self.memory_shortages),
            ("clients_shed", self.clients_shed),
            ("silent_links_cut", self.silent_links_cut),
            ("logins_refused", self.logins_refused),
            ("replica_reads", self.replica_reads),
            ("dials", self.dials),
            ("links_lost", self.links_lost),
            ("leases", self.leases),
            ("leases_reused", self.leases_reused),
            ("transactions_split", self.transactions_split),
            ("spread_waits", self.spread_waits),
            ("spread_looks", self.spread_looks),
            ("spread_tries", self.spread_tries),
            ("spread_tries_in_vain", self.spread_tries_in_vain),
            ("put_back", self.put_back),
            ("scripts_healed", self.scripts_healed),
            ("cache_flushes", self.cache_flushes),
            ("subscriptions", self.subscriptions),
            ("resubscriptions", self.resubscriptions),
            ("messages", self.messages),
            ("slow_subscribers_cut", self.slow_subscribers_cut),
            ("slow_readers_cut", self.slow_readers_cut),
            ("replies_torn", self.replies_torn),
            ("idle_clients_closed", self.idle_clients_closed),
        ]
    }
}

impl Settings {
    /// What `INFO` shows of this process.
    pub(super) fn server_face<'a>(&'a self, facts: &Facts, now: Now) -> ServerFace<'a> {
        ServerFace {
            run_id: &self.run_id,
            process_id: self.process_id,
            port: self.port,
            uptime: now.since_start(),
            connected_clients: facts.sessions as u64,
            blocked_clients: facts.blocked,
            clients_max: self.clients_max,
            connections_received: self.doors.received.load(Ordering::Relaxed),
            connections_refused: self.doors.refused.load(Ordering::Relaxed),
            slotcar: facts.rows(self),
        }
    }
}

counts! {
    /// What workers know for `INFO`.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Facts {
        sessions: usize,
        /// They wait for one request's answer.
        blocked: u64,
        links: usize,
        /// Users that have logged in at the nodes.
        users: usize,
        nodes: Most,
        held_requests: usize,
        held_bytes: usize,
        awaited_keys: usize,
        counters: Counters,
    }
}

counts! {
    /// What a hub has to keep at the moment. A hub that nobody uses has at most links.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Load {
        sessions: usize,
        links: usize,
        /// Parts that links wait to send or to have answered, `ASKING` included.
        queued: usize,
        /// Parts that wait in lanes.
        held: usize,
        held_bytes: usize,
        /// Requests whose parts are being gathered.
        gathers: usize,
    }
}

impl Hub {
    pub fn load(&self) -> Load {
        Load {
            sessions: self.sessions.len(),
            links: self.links.len(),
            queued: self
                .links
                .iter()
                .map(|(_, place)| place.link.queue().len())
                .sum(),
            held: self.lanes.held_parts(),
            held_bytes: self.lanes.held_bytes(),
            gathers: self.gathers.len(),
        }
    }

    /// Sessions that wait for one request's answer, or for the end of a pause.
    pub(super) fn blocked(&self) -> u64 {
        let sessions = self.sessions.iter();
        let waits = |(_, s): &(usize, &Session)| s.blocked.is_some() || s.wait == Wait::Pause;
        sessions.filter(waits).count() as u64
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            sessions: self.sessions.len(),
            blocked: self.blocked(),
            links: self.links.len(),
            users: self.logins.len(),
            nodes: Most(self.owners.nodes().count() as u64),
            held_requests: self.lanes.held_parts(),
            held_bytes: self.lanes.held_bytes(),
            awaited_keys: self.spread.waits.keys(),
            counters: self.counters,
        }
    }

    /// Whether anything waits for time to pass.
    pub fn has_held(&self) -> bool {
        !self.lanes.is_empty() || self.pause.is_some() || !self.retiring.is_empty()
    }
}

impl Facts {
    /// The lines of the `slotcar` section of `INFO`.
    fn rows(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("slotcar_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("sessions", self.sessions.to_string()),
            ("links", self.links.to_string()),
            ("users", self.users.to_string()),
            ("nodes", self.nodes.0.to_string()),
            ("memory_used", memory::used().to_string()),
            ("memory_max", settings.memory_max.to_string()),
            ("held_requests", self.held_requests.to_string()),
            ("held_bytes", self.held_bytes.to_string()),
            ("awaited_keys", self.awaited_keys.to_string()),
        ];
        let counts = settings.doors.rows().into_iter();
        rows.extend(
            counts
                .chain(self.counters.rows())
                .map(|(name, value)| (name, value.to_string())),
        );
        rows
    }
}
