//! Every bound of the process, in one table. A limit is enforced at exactly one place.
//!
//! Owns the numbers and their reasons, not the enforcing. Names end in what kind of bound it is (`_max`,
//! `_min`, `_soft`, `_timeout`) and say their unit (`bytes`, `requests`, …) unless the type is a duration.

use std::fmt;
use std::time::Duration;

/// One row of the table, for documentation and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// As the field is called.
    pub name: &'static str,
    pub default: LimitValue,
    /// What is bounded, and why this number.
    pub about: &'static str,
}

/// A bound, without its unit: that is in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitValue {
    Number(u64),
    Time(Duration),
}

/// Makes the struct, its defaults and its rows out of one list, so that they cannot disagree.
macro_rules! limits {
    ($($name:ident: $type:ty = $default:expr, $about:literal;)*) => {
        /// The bounds in force. [`Limits::rows`] walks them.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $about] pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Every limit with its value in `self`.
            pub fn rows(&self) -> Vec<LimitRow> {
                vec![$(LimitRow {
                    name: stringify!($name),
                    default: LimitValue::from(self.$name),
                    about: $about,
                },)*]
            }
        }
    };
}

limits! {
    session_requests_in_flight_max: usize = 1024,
        "Requests of one session that wait for answers; then it is not read from. More than any pipeline gains from.";
    session_output_bytes_soft: usize = MIB,
        "Replies a client has not taken; from here on it is not read from. A client that reads never gets here.";
    session_output_bytes_max: usize = GIB,
        "Replies a client has not taken; from here on it is closed. Leaves room for one reply of the largest bulk, 512 MiB.";
    linger_timeout: Duration = Duration::from_secs(1),
        "Time that a client whose connection ends here has to read what was written last, before the socket is closed. A slow round trip.";
    lingering_clients_max: usize = 128,
        "Clients refused for there being too many that get this time; further ones are closed at once, as at a server.";
    reserved_descriptors_min: usize = 256,
        "File descriptors kept for links, listeners and the control plane; max-clients has to fit beside them, or beside half of what there is.";
    link_queue_bytes_soft: usize = 4 * MIB,
        "Bytes that a link has not written; from here on the sessions that fill it are not read from. A few socket buffers.";
    link_queue_requests_max: usize = 65_536,
        "Requests of one link that wait for answers; from here on the sessions that fill it are not read from. 64 full sessions.";
    transaction_bytes_max: usize = 512 * MIB,
        "Requests of one session between MULTI and EXEC; further ones are refused, and so is EXEC. As much as one value may have.";
    reply_straight_bytes_min: usize = 8 * KIB,
        "From this length on a reply goes from where it was read to its client's socket; shorter ones are collected for one write.";
    reply_kept_bytes_max: usize = 256 * KIB,
        "From this length on a reply passes through as it arrives, if it is its turn. Shorter ones are kept until they are whole: if the node dies, it can be asked for again.";
    subscriber_output_bytes_max: usize = 32 * MIB,
        "Replies and messages a subscriber has not taken; from here on it is closed. As servers do by default.";
    subscriber_output_bytes_soft: usize = 8 * MIB,
        "The same; a subscriber that has more than this to take for too long is closed. As servers do by default.";
    subscriber_output_soft_timeout: Duration = Duration::from_secs(60),
        "How long that is: time to catch up after a burst of messages. As servers do by default.";
    ear_silent_timeout: Duration = Duration::from_secs(5),
        "Silence of a subscription link after which its node is asked whether it is there, and after which it is given up.";
    blocked_input_bytes_max: usize = MIB,
        "Requests that a client has sent behind one that waits; from here on it is not read from until that one is answered.";
    idle_links_max: usize = 256,
        "Links kept per node and protocol for the next request that needs one of its own; as many job workers wait without dialling.";
    idle_link_timeout: Duration = Duration::from_secs(60),
        "Time after which such a link is closed if nothing has needed it: a burst of waiting clients leaves nothing behind.";
    users_max: usize = 256,
        "Users that clients have logged in as at the nodes (auth-pass-through), per worker: each has connections of its own. Further ones are refused.";
    mapped_scripts_max: usize = 16_384,
        "Scripts whose names are remembered because nodes have others in their place (keep-together), per worker; then all are forgotten, and clients load them again.";
    login_bytes_max: usize = 16 * KIB,
        "Name, or password, that is passed on to the nodes (auth-pass-through); a longer one is wrong. As much as servers read of one argument before a login.";
    awaited_keys_max: usize = 100_000,
        "Keys that clients wait for together with keys of other slots, per worker, each as often as it is waited for; 10,000 clients with ten keys.";
    hold_bytes_max: usize = 64 * MIB,
        "Bytes of requests kept while a shard has no usable primary, per worker; further ones are refused.";
    hold_requests_max: usize = 100_000,
        "Requests kept while a shard has no usable primary, per worker; further ones are refused. About 7 s at 15,000/s.";
    refused_pause_min: Duration = Duration::from_millis(10),
        "First pause before a request that a node refused (TRYAGAIN, CLUSTERDOWN, LOADING) is sent again; doubled each time.";
    refused_pause_max: Duration = Duration::from_millis(100),
        "Longest such pause: a shard that is back is used within about this time.";
    redirects_max: u8 = 4,
        "MOVED and ASK of one part that are followed at once; then it pauses, longer each time. A settled cluster needs two.";
    named_nodes_max: usize = 65_536,
        "Nodes that a worker has heard of; from here on a redirection to a further one is not followed. 65 times the largest cluster.";
    dial_timeout: Duration = Duration::from_secs(1),
        "Time to open a connection to a node, and as long again for its TLS. Nodes are near: one lost SYN is repeated after 1 s, then a new attempt is as good.";
    link_greeting_timeout: Duration = Duration::from_secs(2),
        "Time for a node to answer the greeting of a link; it has accepted the connection, so it is one exchange away. Nothing was sent before.";
    tls_handshake_timeout: Duration = Duration::from_secs(5),
        "Time for a client to make its connection a secured one: several round trips, from anywhere.";
    tls_handshaking_clients_max: usize = 128,
        "Clients that do so at a time; further ones wait. Each costs a millisecond of CPU: more would not be quicker.";
    link_unacknowledged_timeout: Duration = Duration::from_secs(10),
        "Time in which the system of a node must acknowledge what we sent (TCP_USER_TIMEOUT). Lost packets of 5 s are repaired 6.2 s after their first.";
    link_silent_timeout: Duration = Duration::from_secs(5),
        "Silence of an idle link after which the system asks whether the other is there (keep-alive). A peer that is gone is noticed within about 10 s.";
    dial_backoff_min: Duration = Duration::from_millis(50),
        "Wait before the second attempt to reach a node; doubled each time, with jitter.";
    dial_backoff_max: Duration = Duration::from_secs(1),
        "Longest wait between attempts to reach a node: a node that is back is used within about a second.";
    scratch_bytes_max: usize = 64 * KIB,
        "Memory that a worker keeps for making parts of split requests; what a larger request needed is given back.";
    script_bytes_max: usize = 16 * MIB,
        "Scripts remembered per worker for nodes that do not know them; what has not been used goes first. Thousands of scripts.";
    scan_tokens_max: usize = 16_384,
        "SCAN cursors remembered here because they do not fit into the number given to the client; the oldest goes first.";
    audit_patterns_max: usize = 1024,
        "Patterns of keys that an audit counts, per worker; keys of further ones are counted together. A large app has tens of kinds of keys.";
    audit_findings_max: usize = 1024,
        "Commands with patterns that an audit counts findings by, per worker; further ones are counted together. More than people read.";
    audit_shapes_max: usize = 1024,
        "Sets of patterns that an audit remembers because keys of them are needed together, per worker; further ones are counted together.";
    moved_batch_keys_max: usize = 64,
        "Keys that move-keys has under way at a time, for each node that it reads. Enough to make round trips cheap.";
    moved_batch_bytes_max: usize = 16 * MIB,
        "Bytes of the values of such keys, as far as the node knows them before; a larger value goes alone.";
    scanned_page_keys_max: usize = 512,
        "Keys that move-keys asks a node to look at in one step of a scan: about a tenth of a millisecond of the node's time.";
    hot_keys_max: usize = 64,
        "Keys whose share of the sampled requests is counted, by each worker. Whatever makes up more than one in so many is among them.";
    large_keys_max: usize = 32,
        "Largest values that are remembered, by each worker.";
    slow_requests_max: usize = 128,
        "Slow requests that are remembered, by each worker; then the oldest are forgotten. As many as servers do by default.";
}

impl From<usize> for LimitValue {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<u8> for LimitValue {
    fn from(number: u8) -> Self {
        Self::Number(u64::from(number))
    }
}

impl From<Duration> for LimitValue {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl fmt::Display for LimitValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => write!(f, "{time:?}"),
        }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_says_its_kind_its_unit_and_its_reason() {
        const KINDS: [&str; 4] = ["_max", "_min", "_soft", "_timeout"];
        const UNITS: &[&str] = &[
            "_bytes",
            "_requests",
            "redirects",
            "_attempts",
            "_tokens",
            "_keys",
            "_clients",
            "_descriptors",
            "users",
            "_scripts",
            "_nodes",
            "_links",
            "_patterns",
            "_findings",
            "_shapes",
        ];
        for LimitRow {
            name,
            default,
            about,
        } in Limits::default().rows()
        {
            assert!(
                KINDS.iter().any(|kind| name.ends_with(kind)),
                "{name}: what kind of bound?"
            );
            assert!(
                about.len() > 40 && about.ends_with('.'),
                "{name}: why {default}?"
            );
            match default {
                LimitValue::Number(number) => {
                    assert!(
                        UNITS.iter().any(|unit| name.contains(unit)),
                        "{name}: {number} of what?"
                    );
                    assert!(number > 0, "{name} allows nothing");
                }
                LimitValue::Time(time) => assert!(!time.is_zero(), "{name} allows nothing"),
            }
        }
    }

    #[test]
    fn soft_bounds_come_before_hard_ones() {
        let limits = Limits::default();
        assert!(limits.session_output_bytes_soft < limits.session_output_bytes_max);
        assert!(limits.subscriber_output_bytes_soft < limits.subscriber_output_bytes_max);
        assert!(limits.dial_backoff_min < limits.dial_backoff_max);
        assert!(limits.refused_pause_min < limits.refused_pause_max);
    }
}
