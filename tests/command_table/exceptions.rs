//! Where the table differs from a server on purpose.

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Arity,
    Flags,
    KeySpecs,
    Tips,
}

/// Some rows that differ in the same way for the same reason.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) about: About,
    /// `x|*`: all subcommands of x.
    pub(crate) rows: &'static [&'static str],
    pub(crate) why: &'static str,
}

impl Exception {
    fn is_about(&self, row: &str, about: About) -> bool {
        let of_parent = |of: &str| {
            let parent = of.strip_suffix("|*");
            parent.is_some_and(|parent| row.split('|').next() == Some(parent))
        };
        self.about == about && self.rows.iter().any(|of| *of == row || of_parent(of))
    }
}

/// The position in [`EXCEPTIONS`] of the one for this row.
pub(crate) fn exception(row: &str, about: About) -> Option<usize> {
    EXCEPTIONS.iter().position(|one| one.is_about(row, about))
}

/// Whether `COMMAND GETKEYS` finds other keys than the server's own routing, which the table follows: of
/// STORE and STOREDIST a cluster routes by the last one, which is obeyed (Valkey 9 agrees), and PFMERGE
/// without sources by its destination.
pub(crate) fn getkeys_errs(words: &[Vec<u8>]) -> bool {
    let has = |option: &[u8]| words.iter().any(|word| word == option);
    match words {
        [name, ..] if name.starts_with(b"georadius") => has(b"STORE") && has(b"STOREDIST"),
        [name, _] => name == b"pfmerge",
        _ => false,
    }
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        about: About::Arity,
        rows: &["zrank", "zrevrank", "cluster|replicate", "script|debug"],
        why: "later versions take more arguments",
    },
    Exception {
        about: About::Arity,
        rows: &["command|getkeys", "command|getkeysandflags"],
        why: "Redis 7.0 wants a command with at least one argument",
    },
    Exception {
        about: About::Flags,
        rows: &[
            "blmove",
            "blpop",
            "brpop",
            "brpoplpush",
            "bzpopmax",
            "bzpopmin",
        ],
        why: "allowed in scripts since Redis 7.2",
    },
    Exception {
        about: About::Flags,
        rows: &["wait"],
        why: "said to block since Redis 7.2",
    },
    Exception {
        about: About::Flags,
        rows: &["cluster|*"],
        why: "versions differ in what a loading node answers; slotcar answers these itself",
    },
    Exception {
        about: About::Flags,
        rows: &["multi", "watch"],
        why: "Valkey refuses them within MULTI by flag, Redis in their own words",
    },
    Exception {
        about: About::KeySpecs,
        rows: &["sinterstore"],
        why: "Redis 7.0 says that it reads the destination; it does not",
    },
    Exception {
        about: About::KeySpecs,
        rows: &[
            "sort",
            "sort_ro",
            "georadius",
            "georadiusbymember",
            "migrate",
        ],
        why: "the servers route by code that knows better than the specification, and so do we",
    },
    Exception {
        about: About::Tips,
        rows: &[
            "acl|deluser",
            "acl|save",
            "acl|setuser",
            "config|resetstat",
            "config|rewrite",
            "latency|reset",
            "randomkey",
            "scan",
        ],
        why: "tips that came or were corrected after Redis 7.0",
    },
    Exception {
        about: About::Tips,
        rows: &["msetnx"],
        why: "Redis 7.0 would split it, but all or nothing cannot be split; corrected in 7.2",
    },
    Exception {
        about: About::Tips,
        rows: &["acl|load"],
        why: "no tip, but like ACL SAVE it means every node's file",
    },
    Exception {
        about: About::Tips,
        rows: &["bgrewriteaof", "bgsave", "save", "lastsave", "swapdb"],
        why: "no tip; of one server they would concern all of its data",
    },
    Exception {
        about: About::Tips,
        rows: &["pubsub|*"],
        why: "no tip; subscribers are spread over the primaries",
    },
    Exception {
        about: About::Tips,
        rows: &[
            "latency|doctor",
            "latency|graph",
            "latency|histogram",
            "latency|history",
            "latency|latest",
        ],
        why: "the one server is made of the primaries",
    },
    Exception {
        about: About::Tips,
        rows: &["ping", "client|setname", "client|setinfo"],
        why: "about the client's connection, which is ours",
    },
    Exception {
        about: About::Tips,
        rows: &["cluster|slot-stats"],
        why: "slotcar shows a server without cluster support",
    },
    Exception {
        about: About::Tips,
        rows: &["wait", "waitaof"],
        why: "go to every primary, but on leased links",
    },
];
