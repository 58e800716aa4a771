//! The URL of one server, as clients write it.
//!
//! Source: <https://www.iana.org/assignments/uri-schemes/prov/redis>, and what redis-py and ioredis take besides.

use percent_encoding::percent_decode_str;

use super::Secret;
use super::parse::{self, Problem};
use crate::topology::Endpoint;

/// One server, and how to be let in.
#[derive(Clone, Debug)]
pub(super) struct ServerUrl {
    pub(super) endpoint: Endpoint,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    /// It asks for TLS.
    pub(super) tls: bool,
}

/// `redis[s]://[[user][:password]@]host[:port][/database]`, or `unix:[//[user:password@]]/path[?db=database]`. Never quotes the URL:
/// it may hold a password.
pub(super) fn server(text: &str) -> Result<ServerUrl, Problem> {
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    match scheme {
        "redis" | "valkey" | "rediss" | "valkeys" => {
            let rest = rest
                .strip_prefix("//")
                .ok_or("has no // behind its scheme")?;
            let url = over_tcp(rest)?;
            let tls = matches!(scheme, "rediss" | "valkeys");
            Ok(ServerUrl { tls, ..url })
        }
        "unix" => over_unix(rest.strip_prefix("//").unwrap_or(rest)),
        _ => Err("is no URL of a server".to_owned()),
    }
}

fn over_tcp(rest: &str) -> Result<ServerUrl, Problem> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user_info, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host = if host.is_empty() { "localhost" } else { host };
    let endpoint = parse::endpoint(host, parse::DEFAULT_PORT)
        .map_err(|_| "has no host and port that could be right".to_owned())?;
    let (username, password) = credentials(user_info)?;
    let database = match database_of(query)? {
        Some(database) => database,
        None => number(path.trim_end_matches('/'))?,
    };
    Ok(ServerUrl {
        endpoint,
        username,
        password,
        database,
        tls: false,
    })
}

fn over_unix(rest: &str) -> Result<ServerUrl, Problem> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user_info, path) = match rest.split_once('@') {
        Some((user_info, path)) if !user_info.starts_with('/') => (user_info, path),
        Some(_) | None => ("", rest),
    };
    if !path.starts_with('/') || path.len() < 2 {
        return Err("has no absolute path of a socket".to_owned());
    }
    let (username, password) = credentials(user_info)?;
    Ok(ServerUrl {
        endpoint: Endpoint::new(path, 0),
        username,
        password,
        database: database_of(query)?.unwrap_or(0),
        tls: false,
    })
}

/// `user:password`, `:password` or `user`; the user `default` is the one that needs no name.
fn credentials(user_info: &str) -> Result<(Option<String>, Option<Secret>), Problem> {
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let user = String::from_utf8(decoded(user)).map_err(|_| "has a user that is not UTF-8")?;
    let password = password
        .map(decoded)
        .filter(|password| !password.is_empty());
    if !user.is_empty() && password.is_none() {
        return Err("has a user and no password".to_owned());
    }
    let named = (!user.is_empty()).then_some(user);
    Ok((named, password.map(Secret::new)))
}

/// The `db` of a query; nothing else can be asked for.
fn database_of(query: &str) -> Result<Option<u32>, Problem> {
    let mut database = None;
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("db" | "database", text)) => database = Some(number(text)?),
            Some((name, _)) => {
                return Err(format!("has a setting {name:?} that is not known here"));
            }
            None => return Err("has a setting without a value".to_owned()),
        }
    }
    Ok(database)
}

fn number(text: &str) -> Result<u32, Problem> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = text
        .parse()
        .ok()
        .filter(|number| *number <= i32::MAX as u32);
    number.ok_or_else(|| "has a database that is no number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match server(text) {
            Err(problem) => format!("! {problem}"),
            Ok(url) => {
                let password = url.password.as_ref().map(Secret::expose);
                let password = password.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let user = url.username.unwrap_or_else(|| "-".to_owned());
                let password = password.unwrap_or_else(|| "-".to_owned());
                let tls = if url.tls { " TLS" } else { "" };
                format!("{} {user} {password} {}{tls}", url.endpoint, url.database)
            }
        }
    }

    #[test]
    fn every_form_that_clients_take_is_understood() {
        for (text, expected) in [
            ("redis://localhost:6379", "localhost:6379 - - 0"),
            ("redis://localhost", "localhost:6379 - - 0"),
            ("redis://", "localhost:6379 - - 0"),
            ("redis://h:1/3", "h:1 - - 3"),
            ("redis://h:1/", "h:1 - - 0"),
            ("redis://h:1/?db=4", "h:1 - - 4"),
            ("redis://:secret@h:1", "h:1 - secret 0"),
            ("redis://app:s%40c%2Fret@[::1]:7/2", "[::1]:7 app s@c/ret 2"),
            ("redis://app:p@ss@h", "h:6379 app p@ss 0"),
            ("valkey://h", "h:6379 - - 0"),
            ("rediss://h/1", "h:6379 - - 1 TLS"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock - - 0"),
            ("unix:///run/redis.sock?db=2", "unix:/run/redis.sock - - 2"),
            ("unix://:pw@/run/redis.sock", "unix:/run/redis.sock - pw 0"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for (text, expected) in [
            ("", "is no URL of a server"),
            ("localhost:6379", "is no URL of a server"),
            ("http://h", "is no URL of a server"),
            ("redis:h", "has no // behind its scheme"),
            ("redis://h:port", "has no host and port that could be right"),
            ("redis://h/x", "has a database that is no number"),
            ("redis://h/-1", "has a database that is no number"),
            ("redis://app@h", "has a user and no password"),
            (
                "redis://h?timeout=1",
                "has a setting \"timeout\" that is not known here",
            ),
            ("redis://h?db", "has a setting without a value"),
            ("unix:run/redis.sock", "has no absolute path of a socket"),
        ] {
            assert_eq!(shown(text), format!("! {expected}"), "{text}");
        }
    }
}
