//! What is changed within a script: calls in a `return` are put in parentheses, and in libraries what registers functions is replaced.

use super::Kind;
use super::marks::add;
use super::scan::{Piece, is_word, next_piece, split_blanks};

/// `return redis.call(…)` as `return (redis.call(…))`, and in libraries `redis.register_function` as `slotcar(redis.register_function)`.
pub(super) fn rewrite(body: &[u8], kind: Kind, mark: &[u8], out: &mut Vec<u8>) {
    // Where a parenthesis is to be closed: so deep.
    let mut closing: Vec<usize> = Vec::new();
    let mut depth = 0_usize;
    // The word or sign before.
    let mut before: &[u8] = b"";
    let mut rest = body;
    while let Some((piece, text, behind)) = next_piece(rest) {
        rest = behind;
        match piece {
            Piece::Blanks | Piece::Quoted => out.extend_from_slice(text),
            Piece::Word => {
                let is_base = kind == Kind::Library && !matches!(before, b"." | b":" | b"function");
                before = text;
                if let Some((field, behind)) = split_register(rest).filter(|_| is_base) {
                    add(b"slotcar(", mark, out);
                    out.extend_from_slice(text);
                    out.extend_from_slice(field);
                    add(b")", mark, out);
                    rest = behind;
                    continue;
                }
                out.extend_from_slice(text);
                if let Some((call, behind)) = split_call(rest).filter(|_| text == b"return") {
                    let (blanks, name) = split_blanks(call);
                    out.extend_from_slice(blanks);
                    add(b"(", mark, out);
                    out.extend_from_slice(name);
                    closing.push(depth);
                    rest = behind;
                }
            }
            Piece::Sign => {
                before = text;
                out.extend_from_slice(text);
                if text == b"(" {
                    depth += 1;
                } else if text == b")" {
                    depth = depth.saturating_sub(1);
                    if closing.pop_if(|open| *open == depth).is_some() {
                        add(b")", mark, out);
                    }
                }
            }
        }
    }
}

/// `.register_function`, if that comes here and nothing is assigned to it, and what is behind.
fn split_register(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, field) = split_blanks(text);
    let (_, name) = split_blanks(field.strip_prefix(b".")?);
    let behind = name.strip_prefix(b"register_function")?;
    let (_, next) = split_blanks(behind);
    let is_assigned = next.starts_with(b"=") && !next.starts_with(b"==");
    let is_longer = behind.first().is_some_and(|byte| is_word(*byte));
    if is_assigned || is_longer {
        return None;
    }
    text.split_at_checked(text.len() - behind.len())
}

/// `redis.call` up to its parenthesis, if that comes here, and what is behind.
fn split_call(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, call) = split_blanks(text);
    let names: [&[u8]; 4] = [
        b"redis.call",
        b"redis.pcall",
        b"server.call",
        b"server.pcall",
    ];
    let behind = names.iter().find_map(|name| call.strip_prefix(*name))?;
    let (_, open) = split_blanks(behind);
    if !open.starts_with(b"(") {
        return None;
    }
    text.split_at_checked(text.len() - open.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, cases: &[(&str, &str)]) {
        for (script, expected) in cases {
            let mut made = Vec::new();
            rewrite(script.as_bytes(), kind, b"", &mut made);
            assert_eq!(String::from_utf8_lossy(&made), *expected);
        }
    }

    #[test]
    fn a_call_in_a_return_is_put_in_parentheses_and_nothing_else_is_touched() {
        let cases = [
            (
                "return redis.call('get', k)",
                "return (redis.call('get', k))",
            ),
            (
                "return  redis.pcall (f(1), ')') or 0",
                "return  (redis.pcall (f(1), ')')) or 0",
            ),
            (
                "return redis.call('a', redis.call('b'))",
                "return (redis.call('a', redis.call('b')))",
            ),
            (
                "if x then return redis.call(a) end",
                "if x then return (redis.call(a)) end",
            ),
            ("return server.call(a)", "return (server.call(a))"),
            (
                "return redis.call(unpack({1, (2)}))\nlocal x",
                "return (redis.call(unpack({1, (2)})))\nlocal x",
            ),
            ("returned = redis.call(a)", "returned = redis.call(a)"),
            ("return redis.calling(a)", "return redis.calling(a)"),
            ("return call(a)", "return call(a)"),
            (
                "-- return redis.call(a)\nreturn 1",
                "-- return redis.call(a)\nreturn 1",
            ),
            (
                "--[[ return redis.call( ]] x()",
                "--[[ return redis.call( ]] x()",
            ),
            (
                "s = 'return redis.call(' return s",
                "s = 'return redis.call(' return s",
            ),
            (
                "s = [=[return redis.call(]=]",
                "s = [=[return redis.call(]=]",
            ),
            (
                "s = \"\\\"return redis.call(\"",
                "s = \"\\\"return redis.call(\"",
            ),
            (
                "return redis.call('never closed'",
                "return (redis.call('never closed'",
            ),
            (")", ")"),
            ("", ""),
        ];
        check(Kind::Script, &cases);
    }

    #[test]
    fn in_a_library_what_registers_is_replaced() {
        let cases = [
            (
                "redis.register_function('f', f)",
                "slotcar(redis.register_function)('f', f)",
            ),
            (
                "server . register_function{callback=f}",
                "slotcar(server . register_function){callback=f}",
            ),
            (
                "local r=redis r.register_function('f')",
                "local r=redis slotcar(r.register_function)('f')",
            ),
            (
                "local r = redis.register_function",
                "local r = slotcar(redis.register_function)",
            ),
            (
                "function m.register_function(x) end",
                "function m.register_function(x) end",
            ),
            ("m.register_function = 1", "m.register_function = 1"),
            ("a.b.register_function()", "a.b.register_function()"),
            ("redis.register_functions()", "redis.register_functions()"),
            (
                "-- redis.register_function\nlocal s = 'redis.register_function'",
                "-- redis.register_function\nlocal s = 'redis.register_function'",
            ),
            ("return redis.call(a)", "return (redis.call(a))"),
        ];
        check(Kind::Library, &cases);
    }
}
