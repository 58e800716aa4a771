//! What users should know about single commands and no row says: the notes of docs/commands.md.
//!
//! Words for people only; nothing is decided by them. How a note is placed: in the group of its first command.

/// Some commands, as their rows are called, and a sentence or two about them.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    pub commands: &'static [&'static str],
    pub text: &'static str,
}

const fn note(commands: &'static [&'static str], text: &'static str) -> Note {
    Note { commands, text }
}

#[rustfmt::skip]
pub static NOTES: &[Note] = &[
    // Keys of any type.
    note(&["del", "exists", "touch", "unlink", "mget", "mset"],
        "Over several slots each node runs its part on its own: not atomic together. If one part fails, its error is the reply, and the others may have been executed."),
    note(&["scan"],
        "Cursors are slotcar's own, integers below 2^53, good on any connection of this process and across failovers. A key that is there throughout comes at least once, some may come twice. \
         A cursor that has been forgotten (16,384 are kept) begins anew."),
    note(&["keys", "randomkey"],
        "`KEYS` gives all that all primaries have, in no order. `RANDOMKEY` asks all of them and takes the first shard's that has any: a key of a later shard comes only if the earlier ones are empty."),
    note(&["copy", "rename", "renamenx", "sort"],
        "Both keys in one slot. `SORT` with `BY` or `GET`: a cluster's nodes refuse patterns that may name keys of other slots."),
    note(&["move"],
        "Before Sentinels or one server. A cluster's nodes refuse it, and slotcar does with `--databases`."),
    note(&["wait", "waitaof"],
        "Wait until everything before is answered, then ask every primary; the smallest answer is the reply. On servers after Redis 7.0 a key `slotcar:wait:{…}` comes and goes there in one transaction."),
    // Strings.
    note(&["msetnx", "msetex"],
        "All or nothing cannot be split: all keys in one slot."),
    // Lists.
    note(&["blpop", "brpop", "blmpop", "bzpopmin", "bzpopmax", "bzmpop"],
        "Keys in one slot wait at the node, in its own order. Keys in several slots are served, too: slotcar hears when one of them changes and takes from exactly one, by a pop that does not wait. \
         If the connection breaks during that pop, the outcome is unknown, and the error says so."),
    note(&["blmove", "blmovem", "brpoplpush"],
        "Both keys in one slot: no node could move between two as one step."),
    // Streams.
    note(&["xread", "xreadgroup"],
        "Streams of several slots are read slot by slot and put together; with `BLOCK` the first that has something answers. What a group has given to this client is told even if another part fails."),
    // Publish and subscribe.
    note(&["subscribe", "psubscribe", "ssubscribe"],
        "One connection to each node serves all clients. After a failover slotcar subscribes again; what was published in between is missed. `__keyspace@…` and `__keyevent@…` are heard from every primary. \
         A client that does not read is closed at 32 MiB, or above 8 MiB for 60 s."),
    note(&["publish", "spublish"],
        "The reply counts your clients and others', but not others' pattern subscribers at other nodes."),
    // Transactions.
    note(&["multi", "exec", "discard"],
        "Requests are checked and kept until `EXEC`, then sent as one block to the node of their slot: at most 512 MiB. Keys in several slots, and commands for every node, are refused \
         unless `--cross-slot-transactions split`. What slotcar answers itself gets its answer in its place."),
    note(&["watch", "unwatch"],
        "Keys of one slot, watched on a connection of the session's own until `EXEC`. If the node is lost or the slot moves, `EXEC` answers null, as if somebody had been faster."),
    // Scripts and functions.
    note(&["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
        "Declare all keys, in one slot. Without keys they run at any primary, or where the keys of `--keep-together` are. Those without `_RO` count as writes."),
    note(&["evalsha", "evalsha_ro"],
        "`NOSCRIPT` is healed if the script has passed by this worker in `EVAL` or `SCRIPT LOAD`: the node is told it and asked again."),
    note(&["script|exists"],
        "Answered here, without asking anybody, if all of these scripts have passed by."),
    note(&["script|kill", "function|kill", "function|stats"],
        "On connections of their own, so that they do not wait behind the script."),
    note(&["function|list", "function|dump", "script|show"],
        "From one primary: all have the same if they were loaded through slotcar."),
    // Connections.
    note(&["hello"],
        "Shows one standalone server, of the nodes' kind and version. `HELLO 2` and `HELLO 3` wait for what is in flight."),
    note(&["auth"],
        "Checked against `--users-file`; passed on to a node with `--auth-pass-through on`."),
    note(&["select"],
        "Sent to the server before Sentinels or one server. A cluster has database 0 and those of `--databases`."),
    note(&["client|list", "client|kill", "client|pause", "client|unpause", "client|unblock"],
        "About slotcar's own clients; with `--auth-pass-through`, those of the same worker and user, and without `PAUSE`."),
    note(&["client|tracking"],
        "The session gets connections of its own to every primary. Where a node may have had more to say, the client is told to forget all."),
    note(&["client|no-evict", "client|no-touch", "client|capa"],
        "Taken note of here; nodes are not told."),
    note(&["himport"],
        "Not served: its state is the node's connection."),
    // Servers.
    note(&["command", "config|get", "acl|list", "acl|getuser", "acl|log", "module|list"],
        "One primary's answer."),
    note(&["config|set", "acl|setuser", "acl|deluser", "acl|load", "acl|save"],
        "Every node, replicas included. If one cannot be reached, the reply is an error, and the others have done it."),
    note(&["info"],
        "One standalone server made of all primaries: sums, no addresses. `INFO slotcar` is answered here."),
    note(&["monitor"],
        "What every primary executes, with the address of slotcar's connection; a request over several slots comes in its parts."),
    note(&["debug", "shutdown", "migrate", "replicaof", "failover", "module|load"],
        "What is refused here would hurt a node that others use. `--allow` lets it through to any primary, or to its key's. `SCRIPT DEBUG` cannot be allowed."),
    note(&["swapdb"],
        "Before Sentinels or one server. A cluster's nodes refuse it."),
    // Clusters.
    note(&["cluster", "asking", "readonly", "readwrite"],
        "`ERR This instance has cluster support disabled`, as one server says; Valkey's says `OK` to the last two."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::CommandTable;

    #[test]
    fn notes_are_about_commands_that_there_are() {
        let table = CommandTable::new();
        for Note { commands, text } in NOTES {
            assert!(!commands.is_empty() && text.ends_with('.'), "{text}");
            for name in *commands {
                assert!(table.row(name).is_some(), "{name}");
            }
        }
    }
}
