//! `HELLO` and `AUTH`: who speaks, and which protocol.

use crate::command::Local;
use crate::config::Logins;
use crate::reply::errors;
use crate::resp::Proto;
use crate::resp::reply::parse_i64;
use crate::resp::request::Request;
use crate::resp::write;

use super::client::is_printable;
use super::{After, Face, Identity, is};

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Nothing changes unless everything is right.
pub(super) fn hello(
    request: Request<'_>,
    me: &mut Identity,
    face: &Face,
    out: &mut Vec<u8>,
) -> After {
    let before = me.proto;
    if let Err(error) = try_hello(request, me, face) {
        write::error(out, error);
        return After::Reply;
    }
    greet(me, face, out);
    if me.proto == before {
        After::Reply
    } else {
        After::Switch(me.proto)
    }
}

/// `AUTH [username] password`
pub(super) fn auth(
    request: Request<'_>,
    me: &mut Identity,
    face: &Face,
    out: &mut Vec<u8>,
) -> After {
    let refused = match (request.get(1), request.get(2)) {
        _ if request.len() > 3 => Some(errors::SYNTAX),
        (Some(_), None) if has_no_password(face) => Some(errors::NO_PASSWORD_SET),
        (Some(password), None) => wrong_pass(DEFAULT_USER, password, face),
        (Some(user), Some(password)) => wrong_pass(user, password, face),
        (None, _) => Some(errors::SYNTAX),
    };
    match refused {
        Some(error) => write::error(out, error),
        None => {
            me.log_in(
                request
                    .get(1)
                    .filter(|_| request.len() == 3)
                    .unwrap_or(DEFAULT_USER),
            );
            write::ok(out);
        }
    }
    After::Reply
}

/// Whom a request logs in as, and with which password; none: it does not, or is malformed.
pub fn credentials<'a>(local: Local, request: Request<'a>) -> Option<(&'a [u8], &'a [u8])> {
    match (local, request.len()) {
        (Local::Auth, 2) => Some((DEFAULT_USER, request.arg(1))),
        (Local::Auth, 3) => Some((request.arg(1), request.arg(2))),
        (Local::Hello, _) => Hello::parse(request).ok()?.credentials,
        _ => None,
    }
}

/// What a `HELLO` asks for.
#[derive(Default)]
struct Hello<'a> {
    proto: Option<Proto>,
    name: Option<&'a [u8]>,
    /// User and password.
    credentials: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Hello<'a> {
    fn parse(request: Request<'a>) -> Result<Self, Vec<u8>> {
        let mut hello = Self {
            proto: match request.get(1) {
                None => None,
                Some(version) => match parse_i64(version) {
                    Some(2) => Some(Proto::Resp2),
                    Some(3) => Some(Proto::Resp3),
                    Some(_) => return Err(errors::NO_PROTO.into()),
                    None => return Err(errors::PROTO_NOT_AN_INTEGER.into()),
                },
            },
            ..Self::default()
        };
        let mut at = 2;
        while let Some(option) = request.get(at) {
            match (request.get(at + 1), request.get(at + 2)) {
                (Some(user), Some(password)) if is(option, "AUTH") => {
                    hello.credentials = Some((user, password));
                    at += 3;
                }
                (Some(new), _) if is(option, "SETNAME") => {
                    if !is_printable(new) {
                        return Err(errors::CLIENT_NAME.into());
                    }
                    hello.name = Some(new);
                    at += 2;
                }
                _ => return Err(errors::hello_option(option)),
            }
        }
        Ok(hello)
    }
}

fn try_hello(request: Request<'_>, me: &mut Identity, face: &Face) -> Result<(), Vec<u8>> {
    let hello = Hello::parse(request)?;
    if let Some((user, password)) = hello.credentials {
        if let Some(error) = wrong_pass(user, password, face) {
            return Err(error.into());
        }
        me.log_in(user);
    }
    if !me.authenticated {
        return Err(errors::NO_AUTH_HELLO.into());
    }
    if let Some(name) = hello.name {
        me.set_name(name);
    }
    me.proto = hello.proto.unwrap_or(me.proto);
    Ok(())
}

fn greet(me: &Identity, face: &Face, out: &mut Vec<u8>) {
    write::map(out, me.proto, 7);
    write::bulk(out, "server");
    write::bulk(out, &face.server);
    write::bulk(out, "version");
    write::bulk(out, &face.version);
    write::bulk(out, "proto");
    write::integer(out, i64::from(me.proto.number()));
    write::bulk(out, "id");
    write::integer(out, i64::try_from(me.id).unwrap_or(i64::MAX));
    write::bulk(out, "mode");
    write::bulk(out, "standalone");
    write::bulk(out, "role");
    write::bulk(out, "master");
    write::bulk(out, "modules");
    write::array(out, 0);
}

/// Whether `AUTH` with a password alone makes no sense.
fn has_no_password(face: &Face) -> bool {
    match &face.logins {
        Logins::Anybody => true,
        Logins::Listed(users) => !users.has_default(),
        Logins::PassedOn => false,
    }
}

/// Without users any password will do, as for the servers' `nopass` user. What is passed on has been asked before.
fn wrong_pass(user: &[u8], password: &[u8], face: &Face) -> Option<&'static str> {
    let is_right = match &face.logins {
        Logins::Anybody => user == DEFAULT_USER,
        Logins::Listed(users) => users.are(user, password),
        Logins::PassedOn => true,
    };
    (!is_right).then_some(errors::WRONG_PASS)
}

const DEFAULT_USER: &[u8] = b"default";
