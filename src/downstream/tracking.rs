//! `CLIENT TRACKING`: what a session has asked for, in the server's words, and what its nodes are told.
//!
//! Knows no links. Source of the rules: `trackingCommand` and `checkPrefixCollisionsOrReply` in the servers'
//! `networking.c` and `tracking.c`; <https://redis.io/docs/latest/commands/client-tracking/>.

use std::collections::BTreeSet;

use crate::command::{Connection, Local, Route, Row};
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::reply::parse_i64;
use crate::resp::request::Request;
use crate::resp::write;
use crate::route::naming::Naming;
use crate::route::part::SessionId;

/// What is tracked for a session, and who hears of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    pub mode: Mode,
    /// What the session itself changes is not told.
    pub no_loop: bool,
    /// Who is told instead of the session.
    pub redirect: Option<Redirect>,
    /// `redirect` is gone.
    pub broken: bool,
    /// The client was told to forget all, and has asked nothing since.
    pub forgotten: bool,
    /// In [`Mode::Broadcast`]: which keys. Not empty then.
    prefixes: BTreeSet<Box<[u8]>>,
    caching: Caching,
}

/// Which keys are tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those that the session reads.
    #[default]
    Reads,
    /// Those that it reads right after `CLIENT CACHING YES`.
    OptIn,
    /// Those that it reads, but not right after `CLIENT CACHING NO`.
    OptOut,
    /// All that begin as wished, whoever reads them.
    Broadcast,
}

/// A session by what clients call it and by what the hub calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub client: u64,
    pub session: SessionId,
}

/// Which request `CLIENT CACHING` is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Caching {
    #[default]
    None,
    Next,
    /// The transaction that has begun.
    Transaction,
    /// The one that is being run.
    This,
}

/// What `CLIENT TRACKING` wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    On(Tracking),
    Off,
}

/// What other subcommands of `CLIENT` ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Info,
    Redirection,
    /// `CLIENT CACHING YES` or `NO`; None: something else.
    Caching(Option<bool>),
}

impl Tracking {
    /// Reads `CLIENT TRACKING ON | OFF …`. `current`: what is on already; `find`: the session of a client's id.
    ///
    /// # Errors
    /// What a server says against it.
    pub fn read(
        request: Request<'_>,
        current: Option<&Self>,
        find: impl Fn(u64) -> Option<SessionId>,
    ) -> Result<Wish, Vec<u8>> {
        let options = Options::read(request, find)?;
        match request.arg(2) {
            word if is(word, "ON") => options.check(current).map(Wish::On),
            word if is(word, "OFF") => Ok(Wish::Off),
            _ => Err(errors::SYNTAX.into()),
        }
    }

    /// Appends the request by which a node begins to track; `to`: the node's name for the connection that is told; `naming`: with the session's
    /// database.
    pub fn write_set_up(&self, to: Option<i64>, naming: Option<(&Naming, u32)>, out: &mut Vec<u8>) {
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON"];
        let to = to.map(|to| to.to_string());
        if let Some(to) = &to {
            words.extend([b"REDIRECT", to.as_bytes()]);
        }
        match self.mode {
            Mode::Reads => {}
            Mode::OptIn => words.push(b"OPTIN"),
            Mode::OptOut => words.push(b"OPTOUT"),
            Mode::Broadcast => words.push(b"BCAST"),
        }
        if self.no_loop {
            words.push(b"NOLOOP");
        }
        // Every key begins with nothing; a node takes no other prefix beside that one.
        let all = self.prefixes.iter().any(|prefix| prefix.is_empty());
        let prefixes = self.prefixes.iter().filter(|_| !all);
        let prefixes: Vec<Vec<u8>> = prefixes
            .flat_map(|prefix| match naming {
                Some((naming, database)) => naming.prefixes(database, prefix),
                None => vec![prefix.to_vec()],
            })
            .collect();
        for prefix in &prefixes {
            words.extend([&b"PREFIX"[..], prefix]);
        }
        write::command(out, &words);
    }

    /// `CLIENT TRACKINGINFO`
    pub fn write_info(this: Option<&Self>, proto: Proto, out: &mut Vec<u8>) {
        let flags = this.map_or_else(|| vec!["off"], Self::flags);
        write::map(out, proto, 3);
        write::bulk(out, "flags");
        write::set(out, proto, flags.len());
        flags.iter().for_each(|flag| write::bulk(out, flag));
        write::bulk(out, "redirect");
        write::integer(out, Self::redirection(this));
        write::bulk(out, "prefixes");
        write::array(out, this.map_or(0, |this| this.prefixes.len()));
        for prefix in this.iter().flat_map(|this| &this.prefixes) {
            write::bulk(out, prefix);
        }
    }

    /// `CLIENT GETREDIR`: -1: not tracking, 0: told itself, else who is told.
    pub fn redirection(this: Option<&Self>) -> i64 {
        let client = this.map(|this| this.redirect.map_or(0, |redirect| redirect.client));
        client.map_or(-1, |id| i64::try_from(id).unwrap_or(i64::MAX))
    }

    /// `CLIENT CACHING`
    ///
    /// # Errors
    /// What a server says against it.
    pub fn note_caching(&mut self, yes: Option<bool>) -> Result<(), &'static str> {
        match (yes, self.mode) {
            (None, _) => return Err(errors::SYNTAX),
            (Some(true), Mode::OptIn) | (Some(false), Mode::OptOut) => {}
            (Some(true), _) => return Err(errors::CACHING_YES),
            (Some(false), _) => return Err(errors::CACHING_NO),
        }
        if self.caching != Caching::Transaction {
            self.caching = Caching::Next;
        }
        Ok(())
    }

    /// A request is about to be run; None: of no command that there is.
    pub fn note_request(&mut self, row: Option<&Row>) {
        self.forgotten = false;
        let route = row.map(|row| row.route);
        let stays = matches!(
            route,
            Some(Route::Local(Local::Client(_)) | Route::Connection(Connection::Tracking))
        );
        self.caching = match (self.caching, route) {
            (Caching::Next, _) if stays => Caching::Next,
            (Caching::Next, Some(Route::Connection(Connection::Multi))) => Caching::Transaction,
            (Caching::Transaction, Some(Route::Connection(Connection::Exec)))
            | (Caching::Next, _) => Caching::This,
            (Caching::Transaction, Some(Route::Connection(Connection::Discard)))
            | (Caching::This | Caching::None, _) => Caching::None,
            (Caching::Transaction, _) => Caching::Transaction,
        };
    }

    /// What is said to the node right before the request that is being run.
    pub fn word_before(&self) -> Option<&'static [u8]> {
        match (self.caching, self.mode) {
            (Caching::This, Mode::OptIn) => Some(CACHING_YES),
            (Caching::This, Mode::OptOut) => Some(CACHING_NO),
            (Caching::This, Mode::Reads | Mode::Broadcast)
            | (Caching::None | Caching::Next | Caching::Transaction, _) => None,
        }
    }

    /// Takes the word away again that stands in front of a request.
    pub fn without_word(bytes: &[u8]) -> Option<&[u8]> {
        bytes
            .strip_prefix(CACHING_YES)
            .or_else(|| bytes.strip_prefix(CACHING_NO))
    }

    fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec!["on"];
        let about_next = matches!(self.caching, Caching::Next | Caching::Transaction);
        match self.mode {
            Mode::Reads => {}
            Mode::OptIn => flags.push("optin"),
            Mode::OptOut => flags.push("optout"),
            Mode::Broadcast => flags.push("bcast"),
        }
        match self.mode {
            Mode::OptIn if about_next => flags.push("caching-yes"),
            Mode::OptOut if about_next => flags.push("caching-no"),
            Mode::Reads | Mode::OptIn | Mode::OptOut | Mode::Broadcast => {}
        }
        if self.no_loop {
            flags.push("noloop");
        }
        if self.broken {
            flags.push("broken_redirect");
        }
        flags
    }
}

const CACHING_YES: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";
const CACHING_NO: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$2\r\nNO\r\n";

/// The options as they are given.
#[derive(Debug, Default)]
struct Options<'a> {
    redirect: Option<Redirect>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(
        request: Request<'a>,
        find: impl Fn(u64) -> Option<SessionId>,
    ) -> Result<Self, Vec<u8>> {
        let mut options = Self::default();
        let mut at = 3;
        while let Some(word) = request.get(at) {
            at += 1;
            match request.get(at) {
                Some(id) if is(word, "REDIRECT") => {
                    at += 1;
                    if options.redirect.is_some() {
                        return Err(errors::REDIRECT_TWICE.into());
                    }
                    let client = parse_i64(id).ok_or(errors::NOT_AN_INTEGER)?;
                    let client = u64::try_from(client).unwrap_or(0);
                    let session = find(client).ok_or(errors::REDIRECT_TO_NOBODY)?;
                    options.redirect = Some(Redirect { client, session });
                }
                Some(prefix) if is(word, "PREFIX") => {
                    at += 1;
                    options.prefixes.push(prefix);
                }
                Some(_) | None if is(word, "BCAST") => options.broadcast = true,
                Some(_) | None if is(word, "OPTIN") => options.opt_in = true,
                Some(_) | None if is(word, "OPTOUT") => options.opt_out = true,
                Some(_) | None if is(word, "NOLOOP") => options.no_loop = true,
                Some(_) | None => return Err(errors::SYNTAX.into()),
            }
        }
        Ok(options)
    }

    /// Whether they go together, and with what is on already; in the server's order.
    fn check(self, current: Option<&Tracking>) -> Result<Tracking, Vec<u8>> {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(errors::PREFIX_WITHOUT_BCAST.into());
        }
        let mode = current.map(|current| current.mode);
        if mode.is_some_and(|mode| (mode == Mode::Broadcast) != self.broadcast) {
            return Err(errors::SWITCH_BCAST.into());
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(errors::OPT_WITH_BCAST.into());
        }
        if self.opt_in && self.opt_out {
            return Err(errors::OPT_IN_AND_OUT.into());
        }
        let switches = (self.opt_in && mode == Some(Mode::OptOut))
            || (self.opt_out && mode == Some(Mode::OptIn));
        if switches {
            return Err(errors::SWITCH_OPT.into());
        }
        let mut prefixes = current.map_or_else(BTreeSet::new, |current| current.prefixes.clone());
        self.check_prefixes(&prefixes)?;
        prefixes.extend(self.prefixes.iter().map(|&prefix| prefix.into()));
        if self.broadcast && self.prefixes.is_empty() {
            prefixes.insert(Box::default());
        }
        Ok(Tracking {
            mode: match self {
                _ if self.broadcast => Mode::Broadcast,
                _ if self.opt_in => Mode::OptIn,
                _ if self.opt_out => Mode::OptOut,
                _ => Mode::Reads,
            },
            no_loop: self.no_loop,
            redirect: self.redirect,
            broken: false,
            forgotten: false,
            prefixes,
            caching: Caching::None,
        })
    }

    fn check_prefixes(&self, existing: &BTreeSet<Box<[u8]>>) -> Result<(), Vec<u8>> {
        let overlap = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(a, b)| a == b);
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = existing.iter().find(|other| overlap(other, prefix)) {
                return Err(errors::prefix_overlaps(prefix, "an existing", other));
            }
            let mut others = self.prefixes.iter().skip(at + 1);
            if let Some(other) = others.find(|other| overlap(other, prefix)) {
                return Err(errors::prefix_overlaps(prefix, "another provided", other));
            }
        }
        Ok(())
    }
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::RequestScan;

    const TARGET: SessionId = SessionId {
        index: 3,
        generation: 9,
    };

    fn read(line: &str, current: Option<&Tracking>) -> Result<Wish, String> {
        let mut bytes = Vec::new();
        let words: Vec<&str> = line.split(' ').collect();
        write::command(&mut bytes, &words);
        let mut scan = RequestScan::new();
        scan.advance(&bytes, &crate::resp::request::RequestLimits::default())
            .unwrap();
        let find = |id| (id == 7).then_some(TARGET);
        Tracking::read(scan.request(&bytes), current, find)
            .map_err(|text| String::from_utf8(text).unwrap())
    }

    fn on(line: &str, current: Option<&Tracking>) -> Tracking {
        match read(line, current) {
            Ok(Wish::On(tracking)) => tracking,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn set_up(tracking: &Tracking, to: Option<i64>) -> String {
        let mut bytes = Vec::new();
        tracking.write_set_up(to, None, &mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    /// As Redis 7.0 and Valkey 8.0 answer.
    #[test]
    fn mistakes_get_the_words_of_a_server() {
        let bcast = "CLIENT TRACKING ON BCAST PREFIX b PREFIX ";
        let cases: &[(&str, &str, &str)] = &[
            ("", "maybe", "ERR syntax error"),
            ("", "ON FOO", "ERR syntax error"),
            ("", "OFF FOO", "ERR syntax error"),
            ("", "ON REDIRECT", "ERR syntax error"),
            (
                "",
                "ON REDIRECT x",
                "ERR value is not an integer or out of range",
            ),
            (
                "",
                "ON REDIRECT 99",
                "ERR The client ID you want redirect to does not exist",
            ),
            (
                "",
                "ON REDIRECT 0",
                "ERR The client ID you want redirect to does not exist",
            ),
            (
                "",
                "OFF REDIRECT 7 REDIRECT 7",
                "ERR A client can only redirect to a single other client",
            ),
            ("", "ON PREFIX", "ERR syntax error"),
            (
                "",
                "ON PREFIX a",
                "ERR PREFIX option requires BCAST mode to be enabled",
            ),
            (
                "",
                "ON BCAST PREFIX a PREFIX ab",
                "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.",
            ),
            (
                "",
                "ON OPTIN OPTOUT",
                "ERR You can't specify both OPTIN mode and OPTOUT mode",
            ),
            (
                "",
                "ON BCAST OPTIN",
                "ERR OPTIN and OPTOUT are not compatible with BCAST",
            ),
            (
                "CLIENT TRACKING ON",
                "ON BCAST",
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
            ),
            (
                "CLIENT TRACKING ON OPTIN",
                "ON OPTOUT",
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
            ),
            (
                bcast,
                "ON BCAST PREFIX ca",
                "ERR Prefix 'ca' overlaps with an existing prefix ''. Prefixes for a single client must not overlap.",
            ),
        ];
        for (before, line, expected) in cases {
            let before = match *before {
                "" => None,
                line if line == bcast => Some(on("CLIENT TRACKING ON BCAST", None)),
                line => Some(on(line, None)),
            };
            let line = format!("CLIENT TRACKING {line}");
            assert_eq!(
                read(&line, before.as_ref()),
                Err((*expected).to_owned()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_node_is_told_what_the_client_wants() {
        let cases = [
            ("on", "CLIENT TRACKING ON"),
            ("ON optin NOLOOP", "CLIENT TRACKING ON OPTIN NOLOOP"),
            ("ON OPTOUT REDIRECT 7", "CLIENT TRACKING ON OPTOUT"),
            ("ON BCAST", "CLIENT TRACKING ON BCAST"),
            (
                "ON PREFIX b BCAST PREFIX a",
                "CLIENT TRACKING ON BCAST PREFIX a PREFIX b",
            ),
        ];
        for (line, expected) in cases {
            let tracking = on(&format!("CLIENT TRACKING {line}"), None);
            assert_eq!(set_up(&tracking, None), expected);
        }
        let redirected = on("CLIENT TRACKING ON REDIRECT 7", None);
        assert_eq!(
            set_up(&redirected, Some(4)),
            "CLIENT TRACKING ON REDIRECT 4"
        );
        let more = on(
            "CLIENT TRACKING ON BCAST PREFIX c",
            Some(&on("CLIENT TRACKING ON BCAST PREFIX a", None)),
        );
        assert_eq!(
            set_up(&more, None),
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX c"
        );
        let all = on("CLIENT TRACKING ON BCAST", Some(&more));
        assert_eq!(set_up(&all, None), "CLIENT TRACKING ON BCAST");
        assert_eq!(read("CLIENT TRACKING off BCAST", None), Ok(Wish::Off));
    }

    #[test]
    fn caching_is_about_the_next_request_or_transaction() {
        let table = crate::command::lookup::CommandTable::new();
        let mut tracking = on("CLIENT TRACKING ON OPTIN", None);
        assert_eq!(tracking.note_caching(Some(false)), Err(errors::CACHING_NO));
        assert_eq!(tracking.note_caching(None), Err(errors::SYNTAX));
        let mut run = |name: &str| {
            if name == "client|caching" {
                tracking.note_caching(Some(true)).unwrap();
            }
            tracking.note_request(table.row(name));
            tracking.word_before().is_some()
        };
        let script = [
            ("get", false),
            ("client|caching", false),
            ("client|id", false),
            ("get", true),
            ("get", false),
            ("client|caching", false),
            ("multi", false),
            ("get", false),
            ("exec", true),
            ("client|caching", false),
            ("multi", false),
            ("discard", false),
            ("get", false),
        ];
        for (at, (name, expected)) in script.into_iter().enumerate() {
            assert_eq!(run(name), expected, "{at}: {name}");
        }
    }
}
