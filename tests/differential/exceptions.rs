//! Where slotcar answers otherwise than a plain server, on purpose.

use crate::Behind;
use crate::compare::Difference;
use crate::script::Script;
use crate::support::ServerKind;

struct Exception {
    file: &'static str,
    /// As the script has it; all steps of the file that read so.
    step: &'static str,
    /// In what slotcar answers; empty: it answers nothing.
    answer: &'static str,
    kinds: &'static [ServerKind],
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "transactions.txt",
        step: "c1> SUBSCRIBE c",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> MONITOR",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> HELLO",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> HELLO 2",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> CLIENT REPLY ON",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "pubsub.txt",
        step: "c1> SUBSCRIBE a",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "it would change, in the middle of a transaction, what its own replies look like or which link the session uses",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> EXEC",
        answer: "Transaction discarded because of previous errors",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "a request of the transaction was refused, see above",
    },
    Exception {
        file: "pubsub.txt",
        step: "c1> EXEC",
        answer: "Transaction discarded because of previous errors",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "a request of the transaction was refused, see above",
    },
    Exception {
        file: "modes.txt",
        step: "c1 quiet",
        answer: "Command not allowed inside a transaction",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "CLIENT REPLY is refused inside a transaction",
    },
    Exception {
        file: "transactions.txt",
        step: "c1> EXEC",
        answer: "multi=-1",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "CLIENT INFO is answered when the others have been: the transaction is over then",
    },
    Exception {
        file: "transactions.txt",
        step: "c1 listed",
        answer: "multi=2",
        kinds: &[ServerKind::Valkey8],
        why: "Valkey forgets what is queued as soon as it refuses something; nobody can run it any more either way",
    },
    Exception {
        file: "watch.txt",
        step: "c1 listed",
        answer: "flags=x ",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "only the node knows whether the watched keys have changed",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT SETINFO LIB-NAME mine",
        answer: "+OK",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT SETINFO LIB-VER 1.0",
        answer: "+OK",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT NO-TOUCH ON",
        answer: "+OK",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT NO-TOUCH OFF",
        answer: "+OK",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT SETINFO NONESUCH x",
        answer: "Unrecognized option",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1> CLIENT NO-TOUCH",
        answer: "wrong number of arguments",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1 listed",
        answer: "cmd=client|setinfo",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1 listed",
        answer: "cmd=client|no-touch",
        kinds: &[ServerKind::Redis7],
        why: "slotcar is newer than Redis 7.0 and knows more subcommands of its own CLIENT",
    },
    Exception {
        file: "modes.txt",
        step: "c1 gets 1",
        answer: "(nothing)",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: what slotcar answers itself no node executes",
    },
    Exception {
        file: "modes.txt",
        step: "c1 quiet",
        answer: "",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: AUTH is answered here, no node executes it",
    },
    Exception {
        file: "modes.txt",
        step: "c1 gets 1",
        answer: "[\"invalidate\" _]",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "more prefixes are new connections to the nodes: the client is told to forget all",
    },
    Exception {
        file: "modes.txt",
        step: "c2 gets 1",
        answer: "\"__redis__:invalidate\" $-1",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "the server writes the null of the other client's protocol into a RESP2 connection",
    },
];

/// Besides, where a cluster stands behind.
const OF_CLUSTERS: &[Exception] = &[Exception {
    file: "data.txt",
    step: "c1> SORT {t}a BY nosort GET #",
    answer: "denied in Cluster mode",
    kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
    why: "a cluster's node refuses it: the pattern may name keys of other slots",
}];

/// Besides, where keys are in several slots.
const OF_SLOTS: &[Exception] = &[
    Exception {
        file: "modes.txt",
        step: "c1 gets 1",
        answer: "\"MSET\"",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: a request over several slots is executed in parts",
    },
    Exception {
        file: "modes.txt",
        step: "c1 quiet",
        answer: "\"MSET\"",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: a request over several slots is executed in parts",
    },
];

/// Besides, where every primary is asked.
const OF_PRIMARIES: &[Exception] = &[
    Exception {
        file: "pubsub.txt",
        step: "c1 gets 1",
        answer: "\"__keyevent@0__:set\" \"x\"",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "what an app publishes itself under such a name comes from every primary",
    },
    Exception {
        file: "pubsub.txt",
        step: "c2> EVAL \"return redis.call('PUBLISH', 'a', 'x') + redis.call('PUBLISH', 'b', 'y')\" 0",
        answer: ":",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "in a script PUBLISH counts who is connected to that node, one connection for all of slotcar's clients",
    },
];

/// Besides, where keys are stored under other names than the app's.
const OF_NAMES: &[Exception] = &[
    Exception {
        file: "scripts.txt",
        step: "c1> FUNCTION DUMP",
        answer: "slotcar",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "what nodes have is what makes functions speak of the app's names, and so it comes back with RESTORE",
    },
    Exception {
        file: "idioms.txt",
        step: r##"c1> FUNCTION LOAD "#!lua name=lib\nredis.register_function('f', 1)""##,
        answer: "ERR Error registering functions: ERR user_function:2: bad argument #1 to 'callback' (function expected, got number)",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "while a library is loaded, Lua code cannot ask for the type of a value",
    },
    Exception {
        file: "idioms.txt",
        step: r##"c1> FUNCTION LOAD "#!lua name=lib\nredis.register_function{function_name='f', callback='g'}""##,
        answer: "ERR Error registering functions: ERR user_function:2: bad argument #1 to 'callback' (function expected, got string)",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "while a library is loaded, Lua code cannot ask for the type of a value",
    },
];

/// Besides, where a node has one database.
const OF_ONE_DATABASE: &[Exception] = &[Exception {
    file: "modes.txt",
    step: "c1 quiet",
    answer: "\"DBSIZE\"",
    kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
    why: "MONITOR: every primary executes it",
}];

/// Besides, where databases are in the names of keys.
const OF_DATABASES: &[Exception] = &[
    Exception {
        file: "modes.txt",
        step: "c1 gets 1",
        answer: "redis.call('SCAN'",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: a node counts the keys of one database by a script",
    },
    Exception {
        file: "modes.txt",
        step: "c1 quiet",
        answer: "\"SCAN\"",
        kinds: &[ServerKind::Redis7, ServerKind::Valkey8],
        why: "MONITOR: a node counts the keys of one database by a script",
    },
];

/// What remains of `found` without the exceptions, and the exceptions that excuse nothing (any more).
pub(crate) fn sift(
    kind: ServerKind,
    behind: Behind,
    scripts: &[Script],
    found: &[Difference],
) -> Vec<String> {
    let of_kind: &[&[Exception]] = match behind {
        Behind::Cluster => &[OF_ONE_DATABASE, OF_CLUSTERS, OF_PRIMARIES, OF_SLOTS],
        Behind::Together => &[OF_ONE_DATABASE, OF_CLUSTERS, OF_PRIMARIES, OF_NAMES],
        Behind::Databases => &[OF_CLUSTERS, OF_PRIMARIES, OF_SLOTS, OF_NAMES, OF_DATABASES],
        Behind::DatabasesTogether | Behind::AnotherDatabase => {
            &[OF_CLUSTERS, OF_PRIMARIES, OF_NAMES, OF_DATABASES]
        }
        Behind::Server => &[],
    };
    let exceptions = || EXCEPTIONS.iter().chain(of_kind.iter().copied().flatten());
    let unexcused = found
        .iter()
        .filter(|difference| !exceptions().any(|one| one.excuses(kind, difference)))
        .map(ToString::to_string);
    let idle = exceptions()
        .filter(|one| one.kinds.contains(&kind))
        .filter(|one| scripts.iter().any(|script| script.name == one.file))
        .filter(|one| !found.iter().any(|difference| one.excuses(kind, difference)))
        .map(|one| {
            format!(
                "{}: {}: no exception any more ({})",
                one.file, one.step, one.why
            )
        });
    unexcused.chain(idle).collect()
}

impl Exception {
    fn excuses(&self, kind: ServerKind, difference: &Difference) -> bool {
        let answer = difference.seen.last();
        self.kinds.contains(&kind)
            && self.file == difference.file
            && self.step == difference.step
            && answer.is_some_and(|(_, answer)| match self.answer {
                "" => answer.is_empty(),
                part => answer.contains(part),
            })
    }
}
