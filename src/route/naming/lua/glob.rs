//! Globs of rules as Lua's patterns. What a script looks for itself, it turns into one by the same rules, in `glob.lua`.

/// The glob as a pattern of Lua's for the whole name.
pub(super) fn pattern(glob: &[u8]) -> Vec<u8> {
    let mut out = b"^".to_vec();
    let mut at = 0;
    while let Some(&byte) = glob.get(at) {
        at += 1;
        match byte {
            b'*' => out.extend_from_slice(b".*"),
            b'?' => out.push(b'.'),
            b'[' => at = set(glob, at, &mut out),
            b'\\' if at < glob.len() => {
                literal(glob.get(at).copied().unwrap_or_default(), &mut out);
                at += 1;
            }
            byte => literal(byte, &mut out),
        }
    }
    out.push(b'$');
    out
}

/// `[a-z\]^]` from behind its bracket on; where the glob goes on. As servers read it: a range may be the wrong way round, and what is not closed ends with the
/// pattern.
fn set(glob: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut at = from;
    let is_negated = glob.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut chars = Vec::new();
    while let Some(&byte) = glob.get(at) {
        if byte == b']' {
            break;
        }
        if byte == b'\\' && at + 1 < glob.len() {
            at += 1;
            literal(glob.get(at).copied().unwrap_or_default(), &mut chars);
        } else if glob.get(at + 1) == Some(&b'-') && at + 2 < glob.len() {
            let end = glob.get(at + 2).copied().unwrap_or_default();
            // Byte by byte: Lua takes no class or escape as the end of a range.
            (byte.min(end)..=byte.max(end)).for_each(|byte| literal(byte, &mut chars));
            at += 2;
        } else {
            literal(byte, &mut chars);
        }
        at += 1;
    }
    match (chars.is_empty(), is_negated) {
        // Nothing fits, or everything does: a set must not be empty in Lua.
        (true, true) => out.push(b'.'),
        (true, false) => out.extend_from_slice(b"[^%z\x01-\xff]"),
        (false, _) => {
            out.push(b'[');
            out.extend(is_negated.then_some(b'^'));
            out.extend_from_slice(&chars);
            out.push(b']');
        }
    }
    at + 1
}

fn literal(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0 => out.extend_from_slice(b"%z"),
        byte if byte.is_ascii_punctuation() => out.extend_from_slice(&[b'%', byte]),
        byte => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn globs_become_patterns() {
        for (glob, pattern) in [
            ("a*b?", "^a.*b.$"),
            ("a.b-c", "^a%.b%-c$"),
            ("[a-c]", "^[abc]$"),
            ("[^c-a]x", "^[^abc]x$"),
            ("[\\]]", "^[%]]$"),
            ("[]", "^[^%z\u{1}-\u{ff}]$"),
            ("[^]", "^.$"),
            ("\\*", "^%*$"),
            ("[ab", "^[ab]$"),
            ("\\", "^%\\$"),
        ] {
            let made = super::pattern(glob.as_bytes());
            let made: String = made.iter().map(|byte| char::from(*byte)).collect();
            assert_eq!(made, pattern, "{glob}");
        }
    }
}
