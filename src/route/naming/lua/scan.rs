//! Pieces of Lua: as much of its grammar as is needed not to take a comment or a string for code.

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Blanks,
    /// A comment or a string.
    Quoted,
    /// A name, a keyword or a number.
    Word,
    /// One byte of anything else.
    Sign,
}

/// The first piece, its text, and what is behind; None: there is nothing.
pub(super) fn next_piece(text: &[u8]) -> Option<(Piece, &[u8], &[u8])> {
    let first = *text.first()?;
    let quoted = quoted_len(text);
    let (piece, len) = if quoted > 0 {
        (Piece::Quoted, quoted)
    } else if is_word(first) {
        let len = text.iter().take_while(|byte| is_word(**byte)).count();
        (Piece::Word, len)
    } else if first.is_ascii_whitespace() {
        (Piece::Blanks, split_blanks(text).0.len())
    } else {
        (Piece::Sign, 1)
    };
    let (own, behind) = text.split_at_checked(len)?;
    Some((piece, own, behind))
}

/// Blanks, and what is behind.
pub(super) fn split_blanks(text: &[u8]) -> (&[u8], &[u8]) {
    let behind = text.trim_ascii_start();
    let blanks = text.len() - behind.len();
    (text.get(..blanks).unwrap_or_default(), behind)
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How long a comment or a string is that begins here; 0: none does.
fn quoted_len(text: &[u8]) -> usize {
    match text {
        [b'-', b'-', comment @ ..] => match long_bracket_len(comment) {
            0 => memchr::memchr(b'\n', text).unwrap_or(text.len()),
            len => len + 2,
        },
        [b'[', ..] => long_bracket_len(text),
        [quote @ (b'"' | b'\''), string @ ..] => {
            let mut at = 0;
            while let Some(&byte) = string.get(at) {
                match byte {
                    b'\\' => at += 1,
                    byte if byte == *quote => return at + 2,
                    _ => {}
                }
                at += 1;
            }
            text.len()
        }
        _ => 0,
    }
}

/// How long `[==[ … ]==]` is; 0: it is none.
fn long_bracket_len(text: &[u8]) -> usize {
    let Some(inner) = text.strip_prefix(b"[") else {
        return 0;
    };
    let level = inner.iter().take_while(|byte| **byte == b'=').count();
    if inner.get(level) != Some(&b'[') {
        return 0;
    }
    let end = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    memchr::memmem::find(text, &end).map_or(text.len(), |at| at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_its_pieces() {
        use Piece::{Blanks, Quoted, Sign, Word};
        let cases: &[(&str, &[(Piece, &str)])] = &[
            (
                "x1 \n=(_y",
                &[
                    (Word, "x1"),
                    (Blanks, " \n"),
                    (Sign, "="),
                    (Sign, "("),
                    (Word, "_y"),
                ],
            ),
            (
                "-- a [[\nb",
                &[(Quoted, "-- a [["), (Blanks, "\n"), (Word, "b")],
            ),
            (
                "--[[ a\n]]b--[=[c]]",
                &[(Quoted, "--[[ a\n]]"), (Word, "b"), (Quoted, "--[=[c]]")],
            ),
            (
                r#"'\'"'"\"'"x"#,
                &[(Quoted, r#"'\'"'"#), (Quoted, r#""\"'""#), (Word, "x")],
            ),
            ("[==[]]]==]", &[(Quoted, "[==[]]]==]")]),
            (
                "[=a-'never closed",
                &[
                    (Sign, "["),
                    (Sign, "="),
                    (Word, "a"),
                    (Sign, "-"),
                    (Quoted, "'never closed"),
                ],
            ),
            ("", &[]),
        ];
        for (script, expected) in cases {
            let mut rest = script.as_bytes();
            let mut pieces = Vec::new();
            while let Some((piece, text, behind)) = next_piece(rest) {
                pieces.push((piece, str::from_utf8(text).unwrap()));
                rest = behind;
            }
            assert_eq!(pieces, *expected, "{script}");
        }
    }
}
