//! What a server says to a request that it does not even try: unknown command, unknown subcommand, wrong
//! number of arguments. Source: `commandCheckExistence` and `commandCheckArity` in the servers' `server.c`;
//! the words are the same from Redis 7.0 to 8.2 and Valkey 8.0 to 9.1.

use super::lookup::Lookup;
use super::{Connection, Route, Row};
use crate::resp::request::Request;

/// The error for `request`, without the leading `-` and the line end; `None` if it may go on.
///
/// The words of the client are quoted as bytes: they need not be UTF-8.
pub fn refuse(lookup: Lookup, request: Request<'_>) -> Option<Vec<u8>> {
    match lookup {
        Lookup::Row(row) if row.takes(request.len()) => None,
        Lookup::Row(row) => Some(wrong_arity(row)),
        Lookup::UnknownCommand => Some(unknown_command(request)),
        Lookup::UnknownSubcommand(container) => Some(unknown_subcommand(container, request)),
    }
}

/// `ERR wrong number of arguments for 'config|get' command`. An EXEC that is refused ends its transaction
/// and says so.
pub fn wrong_arity(row: &Row) -> Vec<u8> {
    let prefix = if row.route == Route::Connection(Connection::Exec) {
        "EXECABORT Transaction discarded because of:"
    } else {
        "ERR"
    };
    let name = row.name;
    format!("{prefix} wrong number of arguments for '{name}' command").into_bytes()
}

fn unknown_command(request: Request<'_>) -> Vec<u8> {
    let mut args = Vec::new();
    for at in 1..request.len() {
        let Some(room) = QUOTED_MAX.checked_sub(args.len()).filter(|room| *room > 0) else {
            break;
        };
        args.push(b'\'');
        args.extend_from_slice(quoted(request.arg(at), room));
        args.extend_from_slice(b"' ");
    }
    let name = quoted(request.arg(0), QUOTED_MAX);
    on_one_line(&[
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &args,
    ])
}

fn unknown_subcommand(container: &Row, request: Request<'_>) -> Vec<u8> {
    let name = quoted(request.arg(1), QUOTED_MAX);
    let container = container.name.to_ascii_uppercase();
    on_one_line(&[
        b"ERR unknown subcommand '",
        name,
        b"'. Try ",
        container.as_bytes(),
        b" HELP.",
    ])
}

/// What C's `%.*s` prints: up to the first NUL, at most `max` bytes.
fn quoted(word: &[u8], max: usize) -> &[u8] {
    let end = word.iter().take(max).position(|byte| *byte == 0);
    word.get(..end.unwrap_or_else(|| word.len().min(max)))
        .unwrap_or_default()
}

fn on_one_line(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = parts.concat();
    for byte in &mut text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    text
}

/// How much of a client's words an error repeats.
const QUOTED_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::CommandTable;
    use crate::command::testing::Words;

    fn error_for(words: &[&[u8]]) -> Option<String> {
        let words = Words::of(words);
        let lookup = CommandTable::new().lookup(words.request());
        refuse(lookup, words.request()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn errors_are_those_of_the_server() {
        let long = [b'a'; 200];
        let quoted_long = "a".repeat(128);
        let unknown = |rest: &str| Some(format!("ERR unknown command {rest}"));
        let arity = |name: &str| {
            Some(format!(
                "ERR wrong number of arguments for '{name}' command"
            ))
        };
        let cases: &[(&[&[u8]], Option<String>)] = &[
            (&[b"GET", b"k"], None),
            (&[b"GET"], arity("get")),
            (&[b"GET", b"a", b"b"], arity("get")),
            (&[b"CONFIG"], arity("config")),
            (&[b"CONFIG", b"GET"], arity("config|get")),
            (
                &[b"EXEC", b"x"],
                Some(
                    "EXECABORT Transaction discarded because of: \
                     wrong number of arguments for 'exec' command"
                        .to_owned(),
                ),
            ),
            (&[b"COMMAND"], None),
            (
                &[b"CONFIG", b"nope"],
                Some("ERR unknown subcommand 'nope'. Try CONFIG HELP.".to_owned()),
            ),
            (
                &[b"foo", b"a", b"b"],
                unknown("'foo', with args beginning with: 'a' 'b' "),
            ),
            (
                &[b"f\r\no\0x", b"a\nb"],
                unknown("'f  o', with args beginning with: 'a b' "),
            ),
            (
                &[b"foo", &long, b"b"],
                unknown(&format!(
                    "'foo', with args beginning with: '{quoted_long}' "
                )),
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(error_for(words), *expected, "{words:?}");
        }
    }
}
