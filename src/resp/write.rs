//! Writes requests and replies in the spelling of the servers. Everything appends to a buffer.

use super::Proto;

/// `+text`. The text must not contain line ends.
#[inline]
pub fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']));
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(LINE_END);
}

/// `+OK`.
#[inline]
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// `-text`; the text starts with its code (`ERR …`). Line ends in it become spaces, as the servers do.
pub fn error(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.push(b'-');
    out.extend(text.as_ref().iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => *byte,
    }));
    out.extend_from_slice(LINE_END);
}

/// `:number`.
#[inline]
pub fn integer(out: &mut Vec<u8>, number: i64) {
    header(out, b':', number);
}

/// `$length` and the bytes.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(LINE_END);
}

/// A bulk string of several pieces.
pub fn bulk_of(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    header(out, b'$', len);
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(LINE_END);
}

/// What stands before a bulk string of `len` bytes.
#[inline]
pub fn bulk_header(out: &mut Vec<u8>, len: usize) {
    match u8::try_from(len) {
        // Nearly all keys.
        Ok(len @ 10..100) => {
            out.extend_from_slice(&[b'$', b'0' + len / 10, b'0' + len % 10, b'\r', b'\n']);
        }
        _ => header(out, b'$', len),
    }
}

/// A text with its format (`txt`, `mkd`) in RESP3, a bulk string in RESP2.
pub fn verbatim(out: &mut Vec<u8>, proto: Proto, format: &[u8; 3], text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            header(out, b'=', format.len() + 1 + text.len());
            out.extend_from_slice(format);
            out.push(b':');
            out.extend_from_slice(text);
            out.extend_from_slice(LINE_END);
        }
    }
}

/// The null that stands where a string would.
#[inline]
pub fn null(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"$-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The null that stands where an array would.
#[inline]
pub fn null_array(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"*-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The header of an array; `count` values follow.
#[inline]
pub fn array(out: &mut Vec<u8>, count: usize) {
    header(out, b'*', count);
}

/// The header of a map; `pairs` keys and values follow, in turn.
#[inline]
pub fn map(out: &mut Vec<u8>, proto: Proto, pairs: usize) {
    match proto {
        Proto::Resp2 => header(out, b'*', pairs.saturating_mul(2)),
        Proto::Resp3 => header(out, b'%', pairs),
    }
}

/// The header of a set; `count` values follow.
#[inline]
pub fn set(out: &mut Vec<u8>, proto: Proto, count: usize) {
    match proto {
        Proto::Resp2 => header(out, b'*', count),
        Proto::Resp3 => header(out, b'~', count),
    }
}

/// The header of a message that no request asked for; `count` values follow.
#[inline]
pub fn push(out: &mut Vec<u8>, proto: Proto, count: usize) {
    match proto {
        Proto::Resp2 => header(out, b'*', count),
        Proto::Resp3 => header(out, b'>', count),
    }
}

/// `#t`, `#f`; 1 and 0 in RESP2.
#[inline]
pub fn boolean(out: &mut Vec<u8>, proto: Proto, value: bool) {
    out.extend_from_slice(match (proto, value) {
        (Proto::Resp2, false) => b":0\r\n",
        (Proto::Resp2, true) => b":1\r\n",
        (Proto::Resp3, false) => b"#f\r\n",
        (Proto::Resp3, true) => b"#t\r\n",
    });
}

/// A number in the spelling that is given (`1.5`, `inf`); a bulk string in RESP2.
pub fn double(out: &mut Vec<u8>, proto: Proto, text: &str) {
    match proto {
        Proto::Resp2 => bulk(out, text),
        Proto::Resp3 => {
            debug_assert!(!text.contains(['\r', '\n']));
            out.push(b',');
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(LINE_END);
        }
    }
}

/// The header of a request; `args` arguments follow, each written by [`bulk`].
#[inline]
pub fn command_header(out: &mut Vec<u8>, args: usize) {
    header(out, b'*', args);
}

/// A whole request, its name first.
pub fn command(out: &mut Vec<u8>, args: &[impl AsRef<[u8]>]) {
    command_header(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

#[inline]
fn header(out: &mut Vec<u8>, first: u8, number: impl itoa::Integer) {
    out.push(first);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(LINE_END);
}

const LINE_END: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use super::Proto::{Resp2, Resp3};
    use super::*;

    fn check(write: impl Fn(&mut Vec<u8>, Proto), resp2: &str, resp3: &str) {
        for (proto, expected) in [(Resp2, resp2), (Resp3, resp3)] {
            let mut out = b"before".to_vec();
            write(&mut out, proto);
            let written = String::from_utf8(out).unwrap();
            assert_eq!(written.strip_prefix("before"), Some(expected));
        }
    }

    #[test]
    fn every_type_is_written_as_the_servers_write_it() {
        check(|out, _| simple(out, "PONG"), "+PONG\r\n", "+PONG\r\n");
        check(|out, _| ok(out), "+OK\r\n", "+OK\r\n");
        check(
            |out, _| error(out, "ERR a\r\nb"),
            "-ERR a  b\r\n",
            "-ERR a  b\r\n",
        );
        check(|out, _| integer(out, -7), ":-7\r\n", ":-7\r\n");
        check(
            |out, _| integer(out, i64::MIN),
            ":-9223372036854775808\r\n",
            ":-9223372036854775808\r\n",
        );
        check(
            |out, _| bulk(out, "a\r\nb"),
            "$4\r\na\r\nb\r\n",
            "$4\r\na\r\nb\r\n",
        );
        check(|out, _| bulk(out, ""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(
            |out, proto| verbatim(out, proto, b"txt", "hello"),
            "$5\r\nhello\r\n",
            "=9\r\ntxt:hello\r\n",
        );
        check(null, "$-1\r\n", "_\r\n");
        check(null_array, "*-1\r\n", "_\r\n");
        check(|out, _| array(out, 3), "*3\r\n", "*3\r\n");
        check(|out, proto| map(out, proto, 2), "*4\r\n", "%2\r\n");
        check(|out, proto| set(out, proto, 2), "*2\r\n", "~2\r\n");
        check(|out, proto| push(out, proto, 3), "*3\r\n", ">3\r\n");
        check(|out, proto| boolean(out, proto, true), ":1\r\n", "#t\r\n");
        check(|out, proto| boolean(out, proto, false), ":0\r\n", "#f\r\n");
        check(
            |out, proto| double(out, proto, "1.5"),
            "$3\r\n1.5\r\n",
            ",1.5\r\n",
        );
    }

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let written = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        check(|out, _| command(out, &["GET", "k"]), written, written);
        let header = "*10\r\n";
        check(|out, _| command_header(out, 10), header, header);
    }
}
