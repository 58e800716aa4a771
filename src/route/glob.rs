//! The servers' glob patterns: `*`, `?`, `[a-z]`, `[^a]` and `\`. Source: `stringmatchlen` in `util.c`.
//!
//! A match looks at each pair of a byte of the text and a byte of the pattern at most once.

/// Whether all of `text` fits `pattern`. As at the servers, only the empty pattern fits the empty text.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when the rest does not fit: behind the last star, which then takes one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        let Some((&byte, text_rest)) = text.split_first() else {
            return pattern.is_empty();
        };
        match (one(pattern, byte), retry) {
            (Some(rest), _) => (pattern, text) = (rest, text_rest),
            (None, Some((behind_star, [_, shorter @ ..]))) => {
                retry = Some((behind_star, shorter));
                (pattern, text) = (behind_star, shorter);
            }
            (None, Some((_, [])) | None) => return false,
        }
    }
}

/// Whether a text that begins with `prefix` can fit `pattern`.
pub fn may_begin_with(pattern: &[u8], prefix: &[u8]) -> bool {
    let mut pattern = pattern;
    for &byte in prefix {
        if pattern.first() == Some(&b'*') {
            return true;
        }
        match one(pattern, byte) {
            Some(rest) => pattern = rest,
            None => return false,
        }
    }
    true
}

/// What of `pattern` is left when its first element, which is no star, has taken `byte`; None: it does not take it.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', set @ ..] => in_set(set, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// `set` begins behind the `[`. A set that is not closed ends with the pattern.
fn in_set(set: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut set) = match set {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let rest = loop {
        set = match set {
            [] => break set,
            [b']', rest @ ..] => break rest,
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
            [a, b'-', b, rest @ ..] => {
                found |= (*a.min(b)..=*a.max(b)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    };
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_at_a_server() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("*", &["a", "ab"], &[""]),
            ("a*", &["a", "ab"], &["b", "ba"]),
            ("*a", &["a", "ba", "aba"], &["ab"]),
            ("h?llo", &["hello", "h?llo"], &["hllo"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("[a", &["a"], &["[a", "b"]),
            ("[]a", &[], &["]a", "a"]),
            ("[^]a", &["xa"], &["a"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[a-", &["a", "-"], &["b"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("\\", &["\\"], &["a"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "acb"]),
            ("news.*.sport", &["news.a.b.sport"], &["news.sport"]),
        ];
        for (pattern, fit, others) in cases {
            for (texts, expected) in [(fit, true), (others, false)] {
                for text in *texts {
                    let fits = matches(pattern.as_bytes(), text.as_bytes());
                    assert_eq!(fits, expected, "{pattern} {text}");
                }
            }
        }
    }

    #[test]
    fn a_beginning_rules_patterns_out() {
        let prefix = b"__keyspace@";
        for pattern in [
            "*",
            "_*",
            "__key*",
            "__keyspace@0__:*",
            "[_a]?key*",
            "????*",
        ] {
            assert!(may_begin_with(pattern.as_bytes(), prefix), "{pattern}");
        }
        for pattern in ["", "a*", "__keyevent@*", "[^_]*", "__key", "\\*"] {
            assert!(!may_begin_with(pattern.as_bytes(), prefix), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        let pattern = b"a*".repeat(2_000);
        let text = [b'a'; 4_000];
        assert!(matches(&pattern, &text));
        assert!(!matches(&[&pattern, &b"b"[..]].concat(), &text));
    }

    /// What a pattern means, as short as it can be said.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| model(rest, &text[n..])),
            (_, [byte, text @ ..]) => one(pattern, *byte).is_some_and(|rest| model(rest, text)),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_model(pattern in "[ab*?^\\[\\]\\\\-]{0,8}", text in "[ab]{1,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
