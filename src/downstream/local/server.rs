//! What a standalone server says of itself: `PING`, `ECHO`, `SELECT`, `ROLE`, `RESET`, `QUIT`, and no cluster.

use crate::config::Logins;
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::reply::parse_i64;
use crate::resp::request::Request;
use crate::resp::write;

use super::{After, Face, Identity, ReplyMode};

/// `PING [message]` of a session that is not subscribed in RESP2.
pub(super) fn ping(request: Request<'_>, out: &mut Vec<u8>) -> After {
    match request.len() {
        0 | 1 => write::simple(out, "PONG"),
        2 => write::bulk(out, request.arg(1)),
        _ => write::error(out, errors::wrong_arity("ping")),
    }
    After::Reply
}

pub(super) fn echo(request: Request<'_>, out: &mut Vec<u8>) -> After {
    write::bulk(out, request.arg(1));
    After::Reply
}

/// For a cluster: its databases are names of keys.
pub(super) fn select(
    request: Request<'_>,
    me: &mut Identity,
    face: &Face,
    out: &mut Vec<u8>,
) -> After {
    match database(request) {
        Ok(number) if number < face.databases.names => {
            me.db_of_names = number;
            write::ok(out);
        }
        Ok(_) => write::error(out, errors::DB_OUT_OF_RANGE),
        Err(text) => write::error(out, text),
    }
    After::Reply
}

/// The database that a `SELECT` names.
///
/// # Errors
/// The text with which a server refuses it, whatever databases it has.
pub fn database(request: Request<'_>) -> Result<u32, &'static str> {
    let number = parse_i64(request.arg(1)).ok_or(errors::NOT_AN_INTEGER)?;
    let number = i32::try_from(number).map_err(|_| errors::DB_NO_INT)?;
    u32::try_from(number).map_err(|_| errors::DB_OUT_OF_RANGE)
}

/// A primary without replicas. The replication offset is the nodes' own affair.
pub(super) fn role(out: &mut Vec<u8>) -> After {
    write::array(out, 3);
    write::bulk(out, "master");
    write::integer(out, 0);
    write::array(out, 0);
    After::Reply
}

/// Source: `resetCommand` in the servers' `server.c`; the names of the library stay.
pub(super) fn reset(me: &mut Identity, face: &Face, out: &mut Vec<u8>) -> After {
    me.db = face.databases.first;
    me.db_of_names = 0;
    me.proto = Proto::Resp2;
    me.log_out(!matches!(face.logins, Logins::Listed(_)));
    me.reply = ReplyMode::On;
    if face.is_at_least((7, 2)) {
        me.no_evict = false;
        me.no_touch = false;
    }
    me.set_name(b"");
    write::simple(out, "RESET");
    After::Reset
}

pub(super) fn quit(out: &mut Vec<u8>) -> After {
    write::ok(out);
    After::Close
}

/// `CLUSTER …` and `ASKING`.
pub(super) fn cluster(out: &mut Vec<u8>) -> After {
    write::error(out, errors::CLUSTER_DISABLED);
    After::Reply
}

/// `READONLY` and `READWRITE`: Valkey takes them without a cluster, too.
pub(super) fn read_only(face: &Face, out: &mut Vec<u8>) -> After {
    if face.is_valkey() {
        write::ok(out);
        return After::Reply;
    }
    cluster(out)
}
