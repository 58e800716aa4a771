//! `CLIENT …`: it speaks of slotcar's own sessions. The line that `CLIENT LIST` shows of each is written here, too.

use std::io::Write as _;
use std::time::Duration;

use crate::clock::Now;
use crate::command::Client;
use crate::downstream::tracking::Question;
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::reply::parse_i64;
use crate::resp::request::Request;
use crate::resp::write;

use super::{Address, After, Face, Filter, Identity, ReplyMode, is};

/// What `CLIENT LIST` shows of a session beside its identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    pub channels: u32,
    pub patterns: u32,
    pub shard_channels: u32,
    /// Requests queued since `MULTI`.
    pub queued: Option<u32>,
    pub watched_keys: u32,
    pub blocked: bool,
    pub monitors: bool,
    pub tracks: bool,
    /// Who is told what it tracks, as `CLIENT GETREDIR` has it, and whether that one is gone.
    pub redirect: Option<i64>,
    pub redirect_broken: bool,
    pub broadcast: bool,
    /// Closes when its replies are out.
    pub closing: bool,
    /// Received, not yet understood.
    pub input_bytes: usize,
    /// Replies that wait to be sent.
    pub replies: usize,
    pub reply_bytes: usize,
}

/// Dispatches a subcommand.
pub(super) fn client(
    what: Client,
    request: Request<'_>,
    me: &mut Identity,
    out: &mut Vec<u8>,
) -> After {
    match what {
        Client::Bare => said(out, Err(errors::wrong_arity("client").into_bytes())),
        Client::Caching => After::Tracking(Question::Caching(yes_or_no(request))),
        Client::Capa => said(out, Ok(())),
        Client::GetName => name(me, out),
        Client::GetRedir => After::Tracking(Question::Redirection),
        Client::Help => help(out),
        Client::Id => number(out, i64::try_from(me.id).unwrap_or(i64::MAX)),
        Client::ImportSource => said(out, import_source(request)),
        Client::Info => After::Info,
        Client::Kill => kill(request, me, out),
        Client::List => match Filter::of_list(request) {
            Ok(filter) => After::List(filter),
            Err(error) => said(out, Err(error)),
        },
        Client::NoEvict => said(out, on_or_off(request).map(|on| me.no_evict = on)),
        Client::NoTouch => said(out, on_or_off(request).map(|on| me.no_touch = on)),
        Client::Pause => pause(request, out),
        Client::Reply => reply(request, me, out),
        Client::SetInfo => said(out, set_info(request, me)),
        Client::SetName => said(out, set_name(request, me)),
        Client::TrackingInfo => After::Tracking(Question::Info),
        Client::Unblock => unblock(request, out),
        Client::Unpause => {
            write::ok(out);
            After::Unpause
        }
    }
}

/// Writes one line of `CLIENT LIST`, line end included. Fields and their order are those of the server that we appear to be.
pub fn client_line(who: &Identity, extra: &Extra, face: &Face, now: Now, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "id={} addr={} laddr={} fd=-1 name=",
        who.id, who.peer, who.local
    );
    out.extend_from_slice(who.name());
    let age = now.since(who.created).as_secs();
    let idle = now.since(who.last_active).as_secs();
    let _ = write!(out, " age={age} idle={idle} flags=");
    flags(who, extra, out);
    let _ = write!(
        out,
        " db={} sub={} psub={} ssub={} multi={}",
        who.db + who.db_of_names,
        extra.channels,
        extra.patterns,
        extra.shard_channels,
        extra.queued.map_or(-1, i64::from),
    );
    if face.is_at_least((7, 4)) {
        let _ = write!(out, " watch={}", extra.watched_keys);
    }
    let _ = write!(
        out,
        " qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll={} omem={} \
         tot-mem={} events=r cmd={} user={} redir={} resp={}",
        extra.input_bytes,
        extra.replies,
        extra.reply_bytes,
        extra.input_bytes.saturating_add(extra.reply_bytes),
        who.last_command.unwrap_or("NULL"),
        who.user().escape_ascii(),
        extra.redirect.unwrap_or(-1),
        who.proto.number(),
    );
    if face.is_at_least((7, 2)) {
        out.extend_from_slice(b" lib-name=");
        out.extend_from_slice(who.lib_name());
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(who.lib_ver());
    }
    out.push(b'\n');
}

/// The reply to `CLIENT INFO` and `CLIENT LIST`.
pub fn listed(proto: Proto, lines: &[u8], out: &mut Vec<u8>) {
    write::verbatim(out, proto, b"txt", lines);
}

/// The reply to `CLIENT KILL`. `by_address`: in its old form, with nothing but an address.
pub fn killed(count: usize, by_address: bool, out: &mut Vec<u8>) {
    match (by_address, count) {
        (true, 0) => write::error(out, errors::NO_SUCH_CLIENT),
        (true, _) => write::ok(out),
        (false, count) => write::integer(out, i64::try_from(count).unwrap_or(i64::MAX)),
    }
}

/// What a client's name may be made of: printable and no blank. Source: `validateClientAttr` in `networking.c`.
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

/// In the order of `catClientInfoString`.
fn flags(who: &Identity, extra: &Extra, out: &mut Vec<u8>) {
    let start = out.len();
    let subscribed = extra.channels > 0 || extra.patterns > 0 || extra.shard_channels > 0;
    let flags = [
        (extra.monitors, b'O'),
        (subscribed, b'P'),
        (extra.queued.is_some(), b'x'),
        (extra.blocked, b'b'),
        (extra.tracks, b't'),
        (extra.redirect_broken, b'R'),
        (extra.broadcast, b'B'),
        (extra.closing, b'c'),
        (matches!(who.peer, Address::Unix(_)), b'U'),
        (who.no_evict, b'e'),
        (who.no_touch, b'T'),
    ];
    out.extend(
        flags
            .into_iter()
            .filter_map(|(set, flag)| set.then_some(flag)),
    );
    if out.len() == start {
        out.push(b'N');
    }
}

fn said(out: &mut Vec<u8>, result: Result<(), Vec<u8>>) -> After {
    match result {
        Ok(()) => write::ok(out),
        Err(error) => write::error(out, error),
    }
    After::Reply
}

fn number(out: &mut Vec<u8>, n: i64) -> After {
    write::integer(out, n);
    After::Reply
}

fn name(me: &Identity, out: &mut Vec<u8>) -> After {
    match me.name() {
        [] => write::null(out, me.proto),
        name => write::bulk(out, name),
    }
    After::Reply
}

fn set_name(request: Request<'_>, me: &mut Identity) -> Result<(), Vec<u8>> {
    let name = request.arg(2);
    if !is_printable(name) {
        return Err(errors::CLIENT_NAME.into());
    }
    me.set_name(name);
    Ok(())
}

fn set_info(request: Request<'_>, me: &mut Identity) -> Result<(), Vec<u8>> {
    let (attribute, value) = (request.arg(2), request.arg(3));
    let set = if is(attribute, "lib-name") {
        Identity::set_lib_name
    } else if is(attribute, "lib-ver") {
        Identity::set_lib_ver
    } else {
        return Err(errors::client_info_option(attribute));
    };
    if !is_printable(value) {
        return Err(errors::client_info_value(attribute));
    }
    set(me, value);
    Ok(())
}

fn yes_or_no(request: Request<'_>) -> Option<bool> {
    match request.arg(2) {
        word if is(word, "YES") => Some(true),
        word if is(word, "NO") => Some(false),
        _ => None,
    }
}

fn on_or_off(request: Request<'_>) -> Result<bool, Vec<u8>> {
    match request.arg(2) {
        word if is(word, "ON") => Ok(true),
        word if is(word, "OFF") => Ok(false),
        _ => Err(errors::SYNTAX.into()),
    }
}

/// No node behind slotcar imports data on behalf of its clients.
fn import_source(request: Request<'_>) -> Result<(), Vec<u8>> {
    if is(request.arg(2), "OFF") {
        Ok(())
    } else {
        Err(errors::NOT_IMPORTING.into())
    }
}

fn kill(request: Request<'_>, me: &Identity, out: &mut Vec<u8>) -> After {
    if request.len() == 3 {
        return After::Kill {
            filter: Filter::of_address(request.arg(2)),
            by_address: true,
        };
    }
    match Filter::of_kill(request, me) {
        Ok(filter) => After::Kill {
            filter,
            by_address: false,
        },
        Err(error) => said(out, Err(error)),
    }
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`
fn pause(request: Request<'_>, out: &mut Vec<u8>) -> After {
    if request.len() > 4 {
        return said(
            out,
            Err(errors::unknown_subcommand_or_arity(
                "client",
                request.arg(1),
            )),
        );
    }
    let writes_only = match request.get(3) {
        None => false,
        Some(mode) if is(mode, "ALL") => false,
        Some(mode) if is(mode, "WRITE") => true,
        Some(_) => return said(out, Err(errors::PAUSE_MODE.into())),
    };
    let Some(millis) = parse_i64(request.arg(2)) else {
        return said(out, Err(errors::TIMEOUT_NOT_AN_INTEGER.into()));
    };
    let Ok(millis) = u64::try_from(millis) else {
        return said(out, Err(errors::TIMEOUT_NEGATIVE.into()));
    };
    if millis > PAUSE_MILLIS_MAX {
        return said(out, Err(errors::TIMEOUT_OUT_OF_RANGE.into()));
    }
    write::ok(out);
    After::Pause {
        hold: Duration::from_millis(millis),
        writes_only,
    }
}

/// `CLIENT REPLY ON | OFF | SKIP`. Within `OFF` a `SKIP` changes nothing.
fn reply(request: Request<'_>, me: &mut Identity, out: &mut Vec<u8>) -> After {
    let mode = request.arg(2);
    if is(mode, "ON") {
        me.reply = ReplyMode::On;
        write::ok(out);
        return After::ReplyAnyway;
    }
    if is(mode, "OFF") {
        me.reply = ReplyMode::Off;
    } else if !is(mode, "SKIP") {
        return said(out, Err(errors::SYNTAX.into()));
    } else if me.reply != ReplyMode::Off {
        me.reply = ReplyMode::SkipNext;
    }
    After::NoReply
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
fn unblock(request: Request<'_>, out: &mut Vec<u8>) -> After {
    if request.len() > 4 {
        return said(
            out,
            Err(errors::unknown_subcommand_or_arity(
                "client",
                request.arg(1),
            )),
        );
    }
    let with_error = match request.get(3) {
        None => false,
        Some(reason) if is(reason, "TIMEOUT") => false,
        Some(reason) if is(reason, "ERROR") => true,
        Some(_) => return said(out, Err(errors::UNBLOCK_REASON.into())),
    };
    match parse_i64(request.arg(2)) {
        // No session has an id below 1.
        Some(id) => After::Unblock {
            id: u64::try_from(id).unwrap_or(0),
            with_error,
        },
        None => said(out, Err(errors::NOT_AN_INTEGER.into())),
    }
}

fn help(out: &mut Vec<u8>) -> After {
    write::array(out, HELP.len());
    HELP.iter().for_each(|line| write::simple(out, line));
    After::Reply
}

/// The longest pause, a year of 366 days: a server takes any time that its clock can add.
const PAUSE_MILLIS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// Spelled as Valkey 8.0 spells it.
const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CAPA <option> [options...]",
    "    The client claims its some capability options. Options are:",
    "    * REDIRECT",
    "      The client can handle redirection during primary and replica failover in standalone mode.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "HELP",
    "    Print this help.",
];
