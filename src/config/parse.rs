//! Texts to values: numbers, durations, addresses, seeds. Knows no keys and no sources.
//!
//! Every function says what is wrong with the text; what was meant instead is the key's to say.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::mistake::{nearest, shown};
use super::words::{CROSS_SLOT, SWITCH};
use super::{CrossSlot, Secret};
use crate::command::lookup::CommandTable;
use crate::command::rules::Pattern;
use crate::net::ListenAddr;
use crate::topology::Endpoint;

/// What is wrong with a text.
pub(super) type Problem = String;

/// A whole number within `range`.
pub(super) fn number<T: FromStr + PartialOrd>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, Problem> {
    let number = text
        .parse()
        .map_err(|_| format!("{} is not such a number", shown(text)))?;
    within(text, number, range)
}

/// None: off.
pub(super) fn admin(text: &str) -> Result<Option<SocketAddr>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    let address = text.parse().map(Some);
    address.map_err(|_| format!("{} is no such address", shown(text)))
}

/// 0 for never, or a duration in a range without it.
pub(super) fn off_or_duration(
    text: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, Problem> {
    match duration(text, Duration::ZERO..=*range.end())? {
        Duration::ZERO => Ok(Duration::ZERO),
        time => within(text, time, range),
    }
}

/// An address, and what is true for it alone.
#[derive(Debug)]
pub(super) struct ListenerDraft {
    pub(super) address: ListenAddr,
    pub(super) cross_slot: Option<CrossSlot>,
    pub(super) tls: Option<bool>,
    /// Of a Unix socket.
    pub(super) mode: Option<u32>,
}

/// `ADDRESS[?SETTING=VALUE[&SETTING=VALUE…]]`
pub(super) fn listener(text: &str) -> Result<ListenerDraft, Problem> {
    let (address, settings) = text.split_once('?').unwrap_or((text, ""));
    let mut draft = ListenerDraft {
        address: from_str(address)?,
        cross_slot: None,
        tls: None,
        mode: None,
    };
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("cross-slot-transactions", what)) => {
                draft.cross_slot = Some(word(what, CROSS_SLOT)?);
            }
            Some(("tls", what)) => draft.tls = Some(word(what, SWITCH)?),
            Some(("mode", bits)) => draft.mode = Some(mode(bits)?),
            Some(_) | None => {
                return Err(format!("{} is no setting of a listener", shown(setting)));
            }
        }
    }
    Ok(draft)
}

/// Who may connect to a Unix socket, as chmod has it: `660`.
fn mode(bits: &str) -> Result<u32, Problem> {
    let mode = u32::from_str_radix(bits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("{} is no mode such as 660", shown(bits)))
}

/// A whole number with a unit: `500ms`, `15s`, `2m`. Zero needs none.
pub(super) fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Problem> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else {
        return Err(format!("{} is not a duration", shown(text)));
    };
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "" if number == 0 => Duration::ZERO,
        "" => return Err(format!("{} has no unit", shown(text))),
        _ => return Err(format!("{} has a unit other than ms, s and m", shown(text))),
    };
    within(text, time, range)
}

/// A number of bytes, spelled as in a server's configuration: `k` is 1000, `kb` 1024, and so on.
pub(super) fn memory(text: &str) -> Result<usize, Problem> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = MEMORY_UNITS.iter().find(|(name, _)| *name == unit);
    let (Ok(number), Some((_, factor))) = (digits.parse::<usize>(), factor) else {
        return Err(format!("{text:?} is no size"));
    };
    match number.checked_mul(*factor) {
        Some(bytes) if bytes == 0 || bytes >= MEMORY_MIN => Ok(bytes),
        Some(_) => Err(format!("{text:?} is too little")),
        None => Err(format!("{text:?} is too much")),
    }
}

/// <https://github.com/redis/redis/blob/7.0/redis.conf>, "Note on units".
const MEMORY_UNITS: &[(&str, usize)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
];

/// Less would be used up by a few busy clients.
const MEMORY_MIN: usize = 32 << 20;

/// `host=zone`
pub(super) fn zone(pair: &str) -> Result<(String, Arc<str>), Problem> {
    match pair.trim().split_once('=') {
        Some((host, zone)) if !host.is_empty() && !zone.is_empty() => {
            Ok((host.to_owned(), zone.into()))
        }
        Some(_) | None => Err(format!("{} is no host with a zone", shown(pair))),
    }
}

/// A command or an ACL category. What is nearly one that is known is a slip; others may be a module's.
pub(super) fn pattern(word: &str) -> Result<Pattern, Problem> {
    let pattern = word
        .parse()
        .map_err(|problem| match word.strip_prefix('@') {
            Some(name) => format!("{} {problem}", shown(name)),
            None => format!("{} {problem}", shown(word)),
        })?;
    if let Pattern::Command(name) = &pattern
        && CommandTable::new().row(name).is_none()
        && let Some(meant) = nearest(name, CommandTable::new().rows().map(|row| row.name))
    {
        return Err(format!("{} is no command, {meant} is", shown(word)));
    }
    Ok(pattern)
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    let found = words.iter().find(|(word, _)| *word == text);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("{} is none of them", shown(text)))
}

/// Anything with a `FromStr` of its own.
pub(super) fn from_str<T: FromStr<Err: Display>>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|problem| format!("{} {problem}", shown(text)))
}

/// A name as `CLIENT SETNAME` takes it: printable ASCII without spaces, at least one character.
pub(super) fn name(text: &str) -> Result<String, Problem> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} cannot be a name", shown(text)));
    }
    Ok(text.to_owned())
}

/// A user name as ACL takes it: no white space, at least one character.
pub(super) fn username(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("{} cannot be a user", shown(text)));
    }
    Ok(text.to_owned())
}

/// A secret; an empty one would be a slip.
pub(super) fn secret(text: &str) -> Result<Secret, Problem> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Secret::new(text.as_bytes()))
}

/// The secret in the file at `path`, without the line end at its end.
pub(super) fn secret_file(path: &str) -> Result<Secret, Problem> {
    Secret::from_file(Path::new(path))
}

/// Seeds in any of the forms that apps use: a JSON array of `"host:port"` or `{"host", "port"}`, or a
/// comma list. Without a port `default_port` is meant. At least one.
pub(super) fn seeds(text: &str, default_port: u16) -> Result<Vec<Endpoint>, Problem> {
    let text = text.trim();
    let is_json = text
        .strip_prefix('[')
        .is_some_and(|rest| rest.trim_start().starts_with(['"', '{', ']']));
    let seeds = if is_json {
        json_seeds(text, default_port)?
    } else {
        let listed = text.split(',').map(str::trim);
        listed
            .filter(|seed| !seed.is_empty())
            .map(|seed| endpoint(seed, default_port))
            .collect::<Result<Vec<_>, _>>()?
    };
    if seeds.is_empty() {
        return Err("names no node".to_owned());
    }
    Ok(seeds)
}

/// `host:port`, `[v6]:port`, or without `:port`.
pub(super) fn endpoint(text: &str, default_port: u16) -> Result<Endpoint, Problem> {
    if text.contains("://") {
        return Err(format!("{} is a URL", shown(text)));
    }
    let (host, port) = split_port(text)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(format!("{} is not a host and a port", shown(text)));
    }
    if host.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{} has no host", shown(text)));
    }
    let port = match port {
        None => default_port,
        Some(port) => number(port, 1..=u16::MAX)
            .map_err(|_| format!("{} has no port from 1 to 65535", shown(text)))?,
    };
    Ok(Endpoint {
        host: host.into(),
        port,
    })
}

/// The host without brackets, and what stands behind the colon if there is one.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Problem> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| format!("{} has no closing bracket", shown(text)))?;
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("{} goes on behind its bracket", shown(text))),
            port => Ok((host, port)),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, port)) if port.contains(':') => Err(format!(
            "{} needs its IPv6 address in [brackets]",
            shown(text)
        )),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

fn json_seeds(text: &str, default_port: u16) -> Result<Vec<Endpoint>, Problem> {
    let listed: Vec<Value> =
        serde_json::from_str(text).map_err(|error| format!("is not a JSON array: {error}"))?;
    listed
        .iter()
        .map(|value| json_seed(value, default_port))
        .collect()
}

fn json_seed(value: &Value, default_port: u16) -> Result<Endpoint, Problem> {
    if let Some(text) = value.as_str() {
        return endpoint(text.trim(), default_port);
    }
    let host = value.get("host").and_then(Value::as_str);
    let text = match (host, value.get("port")) {
        (Some(host), None) => Some(join(host, None)),
        (Some(host), Some(Value::Number(port))) => Some(join(host, Some(&port.to_string()))),
        (Some(host), Some(Value::String(port))) => Some(join(host, Some(port))),
        _ => None,
    };
    let text =
        text.ok_or("has an entry that is neither \"host:port\" nor {\"host\": …, \"port\": …}")?;
    endpoint(&text, default_port)
}

/// Writes a host and perhaps a port as one text.
pub(super) fn join(host: &str, port: Option<&str>) -> String {
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    let host = if is_bare_v6 {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

fn within<T: PartialOrd>(text: &str, value: T, range: RangeInclusive<T>) -> Result<T, Problem> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{} is out of range", shown(text)))
    }
}

/// Where servers listen by default, and Sentinels.
pub(super) const DEFAULT_PORT: u16 = 6379;
pub(super) const DEFAULT_SENTINEL_PORT: u16 = 26_379;

/// Commands and categories, in lists with commas.
pub(super) fn patterns(texts: &[String]) -> Result<Vec<Pattern>, Problem> {
    let words = texts.iter().flat_map(|text| text.split(','));
    words.map(|word| pattern(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_understood_in_every_form_that_apps_use() {
        for (text, expected) in [
            ("a:1", "a:1"),
            ("a:1, b:2,", "a:1 b:2"),
            ("a", "a:6379"),
            (
                "[::1]:7000,[fe80::1%eth0]",
                "[::1]:7000 [fe80::1%eth0]:6379",
            ),
            (r#"["a:1","b:2"]"#, "a:1 b:2"),
            (
                r#" [ { "host": "a", "port": 1 }, {"host":"b","port":"2"} ] "#,
                "a:1 b:2",
            ),
            (
                r#"[{"host":"::1","port":7},"[::2]:8",{"host":"c"}]"#,
                "[::1]:7 [::2]:8 c:6379",
            ),
            (
                "redis-node-1.redis.svc.cluster.local:6379",
                "redis-node-1.redis.svc.cluster.local:6379",
            ),
        ] {
            let seeds =
                seeds(text, DEFAULT_PORT).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
            assert_eq!(seeds.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_seed_is_refused_and_said_why() {
        for (text, problem) in [
            ("", "names no node"),
            ("[]", "names no node"),
            (" , ", "names no node"),
            ("a:0", "\"a:0\" has no port from 1 to 65535"),
            ("a:65536", "\"a:65536\" has no port from 1 to 65535"),
            ("a:", "\"a:\" has no port from 1 to 65535"),
            (":6379", "\":6379\" is not a host and a port"),
            ("6379", "\"6379\" has no host"),
            (
                "::1:6379",
                "\"::1:6379\" needs its IPv6 address in [brackets]",
            ),
            ("[::1:6379", "\"[::1:6379\" has no closing bracket"),
            ("a b:1", "\"a b:1\" is not a host and a port"),
            ("[::1]6379", "\"[::1]6379\" goes on behind its bracket"),
            (
                "redis://u:pw@a:1",
                "the value (not shown, it may hold a password) is a URL",
            ),
            (
                "u:pw@a",
                "the value (not shown, it may hold a password) has no port from 1 to 65535",
            ),
            (
                r#"["a:1""#,
                "is not a JSON array: EOF while parsing a list at line 1 column 6",
            ),
            (
                r#"[{"port":1}]"#,
                "has an entry that is neither \"host:port\" nor {\"host\": …, \"port\": …}",
            ),
        ] {
            assert_eq!(seeds(text, DEFAULT_PORT), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let any = Duration::ZERO..=Duration::from_secs(600);
        for (text, expected) in [
            ("15s", Ok(Duration::from_secs(15))),
            ("500ms", Ok(Duration::from_millis(500))),
            ("2m", Ok(Duration::from_secs(120))),
            ("0", Ok(Duration::ZERO)),
            ("15", Err("\"15\" has no unit")),
            ("1h", Err("\"1h\" has a unit other than ms, s and m")),
            ("1.5s", Err("\"1.5s\" has a unit other than ms, s and m")),
            ("s", Err("\"s\" is not a duration")),
            ("-1s", Err("\"-1s\" is not a duration")),
            ("11m", Err("\"11m\" is out of range")),
            (
                "99999999999999999999s",
                Err("\"99999999999999999999s\" is not a duration"),
            ),
            (
                "18446744073709551615m",
                Err("\"18446744073709551615m\" is out of range"),
            ),
        ] {
            assert_eq!(
                duration(text, any.clone()),
                expected.map_err(str::to_owned),
                "{text}"
            );
        }
    }
}
