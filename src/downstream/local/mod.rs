//! What slotcar answers by itself: the face of one standalone server.
//!
//! Pure. One small function for each command. It changes the [`Identity`] of the session that asks and writes the
//! reply; what concerns other sessions or the connection is told in [`After`] and done by the caller.
//! The requests have passed the check of their arity.

mod client;
mod filter;
mod hello;
mod identity;
mod server;

pub use client::{Extra, client_line, killed, listed};
pub use filter::{ClientType, Filter};
pub use hello::credentials;
pub use identity::{Address, Identity, ReplyMode};
pub use server::database;

use std::time::Duration;

use super::tracking::Question;
use crate::command::Local;
use crate::config::Logins;
use crate::resp::Proto;
use crate::resp::request::Request;

/// What all sessions of a listener have in common: the server that slotcar appears to be.
#[derive(Clone, Debug)]
pub struct Face {
    /// `redis` or `valkey`, like the nodes.
    pub server: String,
    /// The nodes' version, as `HELLO` shows it.
    pub version: String,
    pub databases: Databases,
    /// Whom clients have to be.
    pub logins: Logins,
}

/// The databases that slotcar appears to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Databases {
    /// In which one sessions begin.
    pub first: u32,
    /// How many are names of keys of a cluster. One server has its own.
    pub names: u32,
}

impl Default for Databases {
    fn default() -> Self {
        Self { first: 0, names: 1 }
    }
}

impl Face {
    /// Whether there may be sessions that have to log in first.
    pub fn asks_for_logins(&self) -> bool {
        !matches!(self.logins, Logins::Anybody)
    }

    /// Whether the nodes are Valkey, which words a few things differently.
    pub fn is_valkey(&self) -> bool {
        self.server == "valkey"
    }

    /// Whether the nodes have what came with this version of Redis; Valkey 8 has what Redis 7.4 has.
    pub fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let mut numbers = self.version.split('.').map_while(|text| text.parse().ok());
        (numbers.next(), numbers.next()) >= (Some(wanted.0), Some(wanted.1))
    }
}

/// What is left to do for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing; the reply is written.
    Reply,
    /// Nothing; the reply is written, and is to be sent even if [`Identity::take_reply_wish`] said no.
    ReplyAnyway,
    /// Nothing; no reply is written and none is due.
    NoReply,
    /// Close the connection when all replies are out. The reply is written.
    Close,
    /// The session speaks this from now on; the reply is written, in the new spelling.
    Switch(Proto),
    /// Leave transactions, watches, subscriptions and tracking. The reply is written; the identity is as new.
    Reset,
    /// Write [`client_line`] of this session and hand it to [`listed`]. No reply is written.
    Info,
    /// Write [`client_line`] of every session that matches, in the order of ids, and hand it all to [`listed`].
    List(Filter),
    /// Close every session that matches, this one after its reply; then let [`killed`] write the reply.
    Kill { filter: Filter, by_address: bool },
    /// Hold back requests of all clients for this long. The reply is written.
    Pause { hold: Duration, writes_only: bool },
    /// End a pause. The reply is written.
    Unpause,
    /// Answer what is asked about tracking. No reply is written.
    Tracking(Question),
    /// Wake the session with this id if it is blocked, with an error or as if its time were up; the reply is the
    /// number of sessions woken. No reply is written.
    Unblock { id: u64, with_error: bool },
}

/// Answers `request`. Whatever is written is appended to `out`, in the protocol that the session speaks afterwards.
pub fn answer(
    local: Local,
    request: Request<'_>,
    me: &mut Identity,
    face: &Face,
    out: &mut Vec<u8>,
) -> After {
    match local {
        Local::Hello => hello::hello(request, me, face, out),
        Local::Auth => hello::auth(request, me, face, out),
        Local::Select => server::select(request, me, face, out),
        Local::Reset => server::reset(me, face, out),
        Local::Quit => server::quit(out),
        Local::Ping => server::ping(request, out),
        Local::Echo => server::echo(request, out),
        Local::Role => server::role(out),
        Local::ReadOnly | Local::ReadWrite => server::read_only(face, out),
        Local::Asking | Local::Cluster => server::cluster(out),
        Local::Client(subcommand) => client::client(subcommand, request, me, out),
    }
}

/// Whether `word` is `name`, in any case.
fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::clock::Now;
    use crate::command::Client;
    use crate::resp::request::Arg;

    fn session(id: u64) -> Identity {
        let at = |port| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        Identity::new(id, at(50_000), at(6379), true, Now::ZERO)
    }

    fn face() -> Face {
        Face {
            server: "redis".to_owned(),
            version: "7.0.15".to_owned(),
            databases: Databases::default(),
            logins: Logins::Anybody,
        }
    }

    /// What is answered to the words of `line` and what is left to do.
    fn ask(local: Local, line: &str, me: &mut Identity) -> (String, After) {
        let mut bytes = Vec::new();
        let mut args = Vec::new();
        for word in line.split(' ') {
            let start = u32::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(word.as_bytes());
            args.push(Arg {
                start,
                end: u32::try_from(bytes.len()).unwrap(),
            });
        }
        let mut out = Vec::new();
        let after = answer(
            local,
            Request {
                bytes: &bytes,
                args: &args,
            },
            me,
            &face(),
            &mut out,
        );
        (String::from_utf8(out).unwrap(), after)
    }

    fn after(what: Client, line: &str) -> After {
        ask(Local::Client(what), line, &mut session(7)).1
    }

    #[test]
    fn what_concerns_others_is_left_to_the_caller() {
        let ids = |ids: &[u64]| Some(ids.to_vec());
        let others = Filter {
            except: Some(7),
            ..Filter::default()
        };
        let pause = |millis, writes_only| After::Pause {
            hold: Duration::from_millis(millis),
            writes_only,
        };
        let kill = |filter| After::Kill {
            filter,
            by_address: false,
        };
        let cases = [
            (Client::Info, "CLIENT INFO", After::Info),
            (Client::List, "CLIENT LIST", After::List(Filter::default())),
            (
                Client::List,
                "CLIENT LIST ID 3 -1",
                After::List(Filter {
                    ids: ids(&[3, 0]),
                    ..Filter::default()
                }),
            ),
            (
                Client::List,
                "CLIENT LIST TYPE pubsub",
                After::List(Filter {
                    kind: Some(ClientType::PubSub),
                    ..Filter::default()
                }),
            ),
            (
                Client::Kill,
                "CLIENT KILL 1.2.3.4:5",
                After::Kill {
                    filter: Filter {
                        peer: Some((*b"1.2.3.4:5").into()),
                        ..Filter::default()
                    },
                    by_address: true,
                },
            ),
            (
                Client::Kill,
                "CLIENT KILL ID 5",
                kill(Filter {
                    ids: ids(&[5]),
                    ..others.clone()
                }),
            ),
            (
                Client::Kill,
                "CLIENT KILL MAXAGE 60 SKIPME no",
                kill(Filter {
                    age_min: Some(Duration::from_secs(60)),
                    ..Filter::default()
                }),
            ),
            (Client::Pause, "CLIENT PAUSE 100", pause(100, false)),
            (Client::Pause, "CLIENT PAUSE 5 WRITE", pause(5, true)),
            (Client::Unpause, "CLIENT UNPAUSE", After::Unpause),
            (
                Client::Unblock,
                "CLIENT UNBLOCK 4",
                After::Unblock {
                    id: 4,
                    with_error: false,
                },
            ),
            (
                Client::Unblock,
                "CLIENT UNBLOCK 4 ERROR",
                After::Unblock {
                    id: 4,
                    with_error: true,
                },
            ),
        ];
        for (what, line, expected) in cases {
            assert_eq!(after(what, line), expected, "{line}");
        }
    }

    #[test]
    fn a_change_of_protocol_is_told_once() {
        let mut me = session(7);
        assert_eq!(
            ask(Local::Hello, "HELLO 3", &mut me).1,
            After::Switch(Proto::Resp3)
        );
        assert_eq!(ask(Local::Hello, "HELLO 3", &mut me).1, After::Reply);
        assert_eq!(ask(Local::Hello, "HELLO 4", &mut me).1, After::Reply);
        let (reply, after) = ask(Local::Reset, "RESET", &mut me);
        assert_eq!(
            (reply.as_str(), after, me.proto),
            ("+RESET\r\n", After::Reset, Proto::Resp2)
        );
        assert_eq!(ask(Local::Quit, "QUIT", &mut me).1, After::Close);
    }

    #[test]
    fn replies_are_left_out_as_the_client_wishes() {
        let mut me = session(7);
        let mut tell = |mode: &str| {
            let wished = me.take_reply_wish();
            (
                wished,
                ask(
                    Local::Client(Client::Reply),
                    &format!("CLIENT REPLY {mode}"),
                    &mut me,
                )
                .1,
                me.reply,
            )
        };
        assert_eq!(tell("SKIP"), (true, After::NoReply, ReplyMode::SkipNext));
        assert_eq!(tell("SKIP"), (false, After::NoReply, ReplyMode::SkipNext));
        assert_eq!(tell("ON"), (false, After::ReplyAnyway, ReplyMode::On));
        assert_eq!(tell("OFF"), (true, After::NoReply, ReplyMode::Off));
        assert_eq!(tell("SKIP"), (false, After::NoReply, ReplyMode::Off));
    }

    #[test]
    fn a_filter_means_the_sessions_that_meet_all_of_it() {
        let later = Now::at(Duration::from_secs(60));
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter
        };
        let cases: [(Filter, bool, bool); 9] = [
            (Filter::default(), true, true),
            (filter(|f| f.ids = Some(vec![1, 7])), true, true),
            (filter(|f| f.ids = Some(vec![1])), false, false),
            (filter(|f| f.kind = Some(ClientType::Normal)), true, false),
            (filter(|f| f.kind = Some(ClientType::Replica)), false, false),
            (
                filter(|f| f.peer = Some((*b"127.0.0.1:50000").into())),
                true,
                true,
            ),
            (
                filter(|f| f.local = Some((*b"127.0.0.1:1").into())),
                false,
                false,
            ),
            (
                filter(|f| f.age_min = Some(Duration::from_secs(61))),
                false,
                false,
            ),
            (filter(|f| f.except = Some(7)), false, false),
        ];
        for (filter, normal, subscribed) in cases {
            assert_eq!(
                filter.matches(&session(7), false, later),
                normal,
                "{filter:?}"
            );
            assert_eq!(
                filter.matches(&session(7), true, later),
                subscribed,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn a_client_is_one_line() {
        let mut me = session(7);
        ask(
            Local::Client(Client::SetName),
            "CLIENT SETNAME app",
            &mut me,
        );
        ask(
            Local::Client(Client::SetInfo),
            "CLIENT SETINFO lib-name lib",
            &mut me,
        );
        me.last_command = Some("client|list");
        let extra = Extra {
            patterns: 2,
            queued: Some(3),
            reply_bytes: 10,
            replies: 1,
            ..Extra::default()
        };
        let shown = |version: &str| {
            let face = Face {
                version: version.to_owned(),
                ..face()
            };
            let mut line = Vec::new();
            let now = Now::at(Duration::from_secs(9));
            client_line(&me, &extra, &face, now, &mut line);
            String::from_utf8(line).unwrap()
        };
        let expected = "id=7 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=-1 name=app age=9 idle=9 flags=Px db=0 sub=0 psub=2 \
            ssub=0 multi=3 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=1 omem=10 tot-mem=10 events=r \
            cmd=client|list user=default redir=-1 resp=2 lib-name=lib lib-ver=\n";
        assert_eq!(shown("7.2.4"), expected);
        let older = expected.replace(" lib-name=lib lib-ver=", "");
        assert_eq!(shown("7.0.15"), older);
        let newer = expected.replace("multi=3", "multi=3 watch=0");
        assert_eq!(shown("8.0.1"), newer);
    }

    #[test]
    fn an_identity_is_small() {
        assert!(size_of::<Identity>() <= 192, "{}", size_of::<Identity>());
    }
}
