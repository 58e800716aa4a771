//! Which keys are to share a slot (`keep-together`), as an operator says it.

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As `KEYS` takes it; `*` fits the empty key, too.
    pub pattern: Box<[u8]>,
    /// With its braces.
    pub tag: Box<[u8]>,
}

impl Rule {
    /// `PATTERN[=TAG]`. Without a tag: what the pattern begins with, as far as that is letters, digits, `_`, `-`, `.` and `:`, or `all`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (pattern, tag) = match text.rsplit_once('=') {
            Some((pattern, tag)) => (pattern, Some(tag)),
            None => (text, None),
        };
        if pattern.is_empty() {
            return Err("has no pattern".to_owned());
        }
        let end = pattern
            .find(|c: char| !is_of_tag(c))
            .unwrap_or(pattern.len());
        let own = pattern.get(..end).unwrap_or_default();
        let own = own.trim_end_matches([':', '-', '.', '_']);
        let tag = tag.unwrap_or(if own.is_empty() { "all" } else { own });
        if tag.is_empty() || !tag.chars().all(is_of_tag) {
            return Err(format!("has the tag {tag:?}"));
        }
        Ok(Self {
            pattern: pattern.as_bytes().into(),
            tag: format!("{{{tag}}}").into_bytes().into(),
        })
    }
}

fn is_of_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.:".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_a_tag_of_its_own_or_the_one_it_is_given() {
        for (text, tag) in [
            ("*", "{all}"),
            ("celery*", "{celery}"),
            ("queue:*", "{queue}"),
            ("rq:queue:*", "{rq:queue}"),
            ("[ab]*", "{all}"),
            ("celery*=jobs", "{jobs}"),
            ("a=b*=c", "{c}"),
        ] {
            assert_eq!(&*Rule::parse(text).unwrap().tag, tag.as_bytes(), "{text}");
        }
        for text in ["", "=x", "a=", "a=b}", "a={b}", "a=ä"] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }
}
