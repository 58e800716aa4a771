//! Keys of every type, small and large, under names of every kind; and how they look, so that they can be compared.

use std::collections::BTreeMap;

use crate::support::{Cluster, Conn, Value, slot_of};

/// What is looked up, by name: the servers' digest, and when it expires.
pub(super) type Looks = BTreeMap<Vec<u8>, (String, i64)>;

pub(super) const RULES: [&str; 4] = ["--keep-together", "q:*", "--keep-together", "*:lock=q"];

/// Servers that tell digests.
pub(super) const DEBUG: (&str, &str) = ("enable-debug-command", "yes");

/// How many keys: some thousand, or as many as somebody wants.
pub(super) fn amount() -> usize {
    let wanted = std::env::var("SLOTCAR_MOVE_KEYS").ok();
    wanted.map_or(2_800, |number| number.parse().expect("a number"))
}

/// The name of key `at`. All differ.
pub(super) fn name(at: usize) -> Vec<u8> {
    match at % 10 {
        0..=3 => format!("q:{at}").into_bytes(),
        4 => format!("user:{at}:lock").into_bytes(),
        5 => [b"q:\x00\r\n\xff{", at.to_string().as_bytes()].concat(),
        6 => format!("{{user{at}}}:lock").into_bytes(),
        7 => format!("{{q}}mine:{at}").into_bytes(),
        _ => format!("other:{at}").into_bytes(),
    }
}

/// Names that could be taken for what a rule has made.
pub(super) fn trap(at: usize) -> Vec<u8> {
    match at % 3 {
        0 => format!("{{q}}q:{at}").into_bytes(),
        1 => format!("{{q}}{{q}}q:{at}").into_bytes(),
        _ => format!("{{q}}{{q}}mine:{at}").into_bytes(),
    }
}

/// Under which name the rules store a key.
pub(super) fn stored(name: &[u8]) -> Vec<u8> {
    let fits = |name: &[u8]| name.starts_with(b"q:") || name.ends_with(b":lock");
    let looks_made = name
        .strip_prefix(b"{q}")
        .is_some_and(|rest| fits(rest) || rest.starts_with(b"{q}"));
    match fits(name) || looks_made {
        true => [b"{q}", name].concat(),
        false => name.to_vec(),
    }
}

/// The requests that make key `at` what it is.
pub(super) fn fill(name: &[u8], at: usize) -> Vec<Vec<Vec<u8>>> {
    let many = if (at / KINDS).is_multiple_of(40) {
        200
    } else {
        5
    };
    let items = |each: &dyn Fn(usize) -> Vec<String>| -> Vec<Vec<u8>> {
        let words = (0..many).flat_map(each);
        words.map(String::into_bytes).collect()
    };
    let long = "x".repeat(80);
    let one = |command: &str, items: Vec<Vec<u8>>| {
        let head = [command.as_bytes().to_vec(), name.to_vec()];
        vec![head.into_iter().chain(items).collect::<Vec<_>>()]
    };
    let mut requests = match at % KINDS {
        0 => one("SET", vec![format!("value {at}").into_bytes()]),
        1 => one("SET", vec![at.to_string().into_bytes()]),
        2 => one(
            "SET",
            vec![(0..many * 20).map(|byte| byte.to_le_bytes()[0]).collect()],
        ),
        3 => one("RPUSH", items(&|item| vec![format!("{item}")])),
        4 => one("RPUSH", items(&|item| vec![format!("{long}{item}")])),
        5 => one(
            "HSET",
            items(&|item| vec![format!("field{item}"), format!("{at}")]),
        ),
        6 => one(
            "HSET",
            items(&|item| vec![format!("{long}{item}"), format!("{at}")]),
        ),
        7 => one("SADD", items(&|item| vec![format!("{}", item * at)])),
        8 => one("SADD", items(&|item| vec![format!("member{item}")])),
        9 => one(
            "ZADD",
            items(&|item| vec![format!("{item}.5"), format!("m{item}")]),
        ),
        10 => one("PFADD", items(&|item| vec![format!("{at}-{item}")])),
        11 => one(
            "GEOADD",
            items(&|item| {
                vec![
                    format!("{}", item % 90),
                    "7.5".to_owned(),
                    format!("p{item}"),
                ]
            }),
        ),
        12 => one("SETRANGE", vec![b"9".to_vec(), b"\x00\xff\r\n".to_vec()]),
        _ => stream(name, many),
    };
    if at % 3 == 1 {
        let expires = (EXPIRES + at).to_string().into_bytes();
        requests.push(vec![b"PEXPIREAT".to_vec(), name.to_vec(), expires]);
    }
    requests
}

/// With two groups, one of which has read something and not said that it has.
fn stream(name: &[u8], entries: usize) -> Vec<Vec<Vec<u8>>> {
    let words = |words: &[&str]| -> Vec<Vec<u8>> {
        let word = |word: &&str| match *word {
            "KEY" => name.to_vec(),
            word => word.as_bytes().to_vec(),
        };
        words.iter().map(word).collect()
    };
    let mut requests: Vec<_> = (1..=entries)
        .map(|entry| words(&["XADD", "KEY", &format!("{entry}-1"), "field", "value"]))
        .collect();
    requests.push(words(&["XGROUP", "CREATE", "KEY", "readers", "0"]));
    requests.push(words(&["XGROUP", "CREATE", "KEY", "late", "$"]));
    requests.push(words(&[
        "XREADGROUP",
        "GROUP",
        "readers",
        "me",
        "COUNT",
        "3",
        "STREAMS",
        "KEY",
        ">",
    ]));
    requests.push(words(&["XDEL", "KEY", "2-1"]));
    requests
}

/// Where requests about a key go.
pub(super) struct Nodes {
    conns: Vec<Conn>,
    /// By slot; empty: there is but one.
    owners: Vec<usize>,
}

impl Nodes {
    pub(super) fn one(conn: Conn) -> Nodes {
        Nodes {
            conns: vec![conn],
            owners: Vec::new(),
        }
    }

    pub(super) fn of(cluster: &Cluster) -> Nodes {
        let owners = cluster.owners();
        let last = cluster.running().max().expect("a node");
        let mut conns = Vec::new();
        let primaries = cluster.primaries();
        let mut places = vec![usize::MAX; last + 1];
        for node in primaries {
            places[node] = conns.len();
            conns.push(cluster.conn(node));
        }
        Nodes {
            conns,
            owners: owners.into_iter().map(|node| places[node]).collect(),
        }
    }

    /// Asks for each key; replies in the order of the keys.
    pub(super) fn ask(&mut self, requests: &[(Vec<u8>, Vec<Vec<u8>>)]) -> Vec<Value> {
        let mut replies: Vec<Value> = requests.iter().map(|_| Value::Nil).collect();
        for (place, conn) in self.conns.iter_mut().enumerate() {
            let is_here = |key: &[u8]| {
                let owner = self.owners.get(usize::from(slot_of(key)));
                owner.is_none_or(|owner| *owner == place)
            };
            let here: Vec<usize> = (0..requests.len())
                .filter(|at| is_here(&requests[*at].0))
                .collect();
            for part in here.chunks(4_000) {
                let pipeline: Vec<_> = part.iter().map(|at| requests[*at].1.clone()).collect();
                for (at, reply) in part.iter().zip(conn.pipeline(&pipeline)) {
                    replies[*at] = reply;
                }
            }
        }
        replies
    }

    pub(super) fn load(&mut self, names: &[Vec<u8>]) {
        for (part, names) in names.chunks(20_000).enumerate() {
            let requests: Vec<_> = (names.iter().zip(part * 20_000..))
                .flat_map(|(name, at)| {
                    fill(name, at)
                        .into_iter()
                        .map(|request| (name.clone(), request))
                })
                .collect();
            for (reply, (_, request)) in self.ask(&requests).iter().zip(&requests) {
                let text = reply.any_error();
                assert!(
                    text.is_none(),
                    "{text:?} {:?}",
                    request[0].escape_ascii().to_string()
                );
            }
        }
    }

    /// How keys look that are stored under these names; those that are not there are left out.
    pub(super) fn looks(&mut self, names: &[Vec<u8>]) -> Looks {
        let mut looks = Looks::new();
        for names in names.chunks(20_000) {
            let requests: Vec<_> = (names.iter())
                .flat_map(|name| {
                    let digest = [&b"DEBUG"[..], b"DIGEST-VALUE", name].map(<[u8]>::to_vec);
                    let expires = [&b"PEXPIRETIME"[..], name].map(<[u8]>::to_vec);
                    [digest.to_vec(), expires.to_vec()].map(|request| (name.clone(), request))
                })
                .collect();
            for (name, replies) in names.iter().zip(self.ask(&requests).chunks(2)) {
                let expires = replies[1].int();
                if expires != -2 {
                    let digest = replies[0].list()[0].text();
                    looks.insert(name.clone(), (digest, expires));
                }
            }
        }
        looks
    }

    pub(super) fn count(&mut self) -> i64 {
        let sizes = self.conns.iter_mut().map(|conn| conn.ok(&["DBSIZE"]).int());
        sizes.sum()
    }

    /// The groups of streams, which no digest knows.
    pub(super) fn groups(&mut self, names: &[Vec<u8>]) -> Vec<Value> {
        let requests: Vec<_> = (names.iter())
            .flat_map(|name| {
                let groups = [&b"XINFO"[..], b"GROUPS", name]
                    .map(<[u8]>::to_vec)
                    .to_vec();
                let pending = [&b"XPENDING"[..], name, b"readers"].map(<[u8]>::to_vec);
                [groups, pending.to_vec()].map(|request| (name.clone(), request))
            })
            .collect();
        self.ask(&requests)
    }
}

/// The same looks under the names that the rules give.
pub(super) fn renamed(looks: &Looks) -> Looks {
    let renamed = looks
        .iter()
        .map(|(name, look)| (stored(name), look.clone()));
    renamed.collect()
}

/// Fails with the first names that look otherwise.
pub(super) fn must_look(looks: &Looks, expected: &Looks) {
    let differ = expected
        .iter()
        .filter(|(name, look)| looks.get(*name) != Some(look));
    let differ: Vec<String> = differ
        .map(|(name, look)| {
            format!(
                "{}: {look:?}, is {:?}",
                name.escape_ascii(),
                looks.get(name)
            )
        })
        .collect();
    let first = differ
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        differ.is_empty(),
        "{} of {} differ:\n{first}",
        differ.len(),
        expected.len()
    );
}

pub(super) const KINDS: usize = 14;

/// In the year 2100.
const EXPIRES: usize = 4_102_444_800_000;
