//! Under which names keys are stored (`keep-together`): keys that match a rule get its hash tag in front, so that they share a slot and
//! a node does for them what one server does. Pure.
//!
//! The first rule that matches a key decides. A name that no rule matches stays as it is, unless it could be taken for what a rule has made:
//! then it gets that tag once more. So [`Naming::unmap`] finds the app's name again for every name there is:
//!
//! ```text
//! rule celery*=celery   celery-1            stored as {celery}celery-1
//!                       {celery}mine        stored as {celery}mine            it has the tag, and nobody can mean another key
//!                       {celery}celery-1    stored as {celery}{celery}celery-1
//! ```

pub mod lua;
pub mod replies;
pub mod requests;

use crate::command::together::Rule;
use crate::route::glob;
use crate::topology::Slot;

/// All rules, in their order. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    rules: Vec<Rule>,
    /// Of each, what is quicker than its pattern.
    fits: Vec<Fit>,
}

/// Which names a rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fit {
    All,
    /// Those that begin so.
    Beginning(Box<[u8]>),
    Pattern,
}

impl Naming {
    /// None: no rules.
    pub fn new(rules: &[Rule]) -> Option<Self> {
        let (rules, fits) = (rules.to_vec(), rules.iter().map(fit).collect());
        (!rules.is_empty()).then_some(Self { rules, fits })
    }

    /// The tag that is put in front of a key to store it. Empty: none.
    pub fn tag(&self, key: &[u8]) -> &[u8] {
        match self.rule(key) {
            Some(rule) => &rule.tag,
            None => self.ambiguous(key).unwrap_or_default(),
        }
    }

    /// The app's name of what is stored.
    pub fn unmap<'a>(&self, stored: &'a [u8]) -> &'a [u8] {
        let tag = self.ambiguous(stored).map_or(0, <[u8]>::len);
        stored.get(tag..).unwrap_or_default()
    }

    /// The rule that all keys have, if there is such a one: whatever the others say, no key gets to them.
    pub fn whole(&self) -> Option<&Rule> {
        self.rules
            .first()
            .filter(|rule| *rule.pattern == *EVERYTHING)
    }

    /// The slot of that rule's keys: where everything is.
    pub fn home(&self) -> Option<Slot> {
        self.whole().map(|rule| Slot::of_key(&rule.tag))
    }

    /// Where scripts without keys run: at the home of all rules, if they have but one.
    pub fn script_home(&self) -> Option<Slot> {
        let mut tags = self.tags();
        let first = tags.next()?;
        tags.all(|tag| tag == first).then(|| Slot::of_key(first))
    }

    /// A pattern for the stored names of all keys that an app's pattern fits; true: it may fit others as well, and what it
    /// finds has to be looked at once more.
    pub fn pattern(&self, pattern: &[u8]) -> (Vec<u8>, bool) {
        match self.whole() {
            Some(rule) => ([&rule.tag, pattern].concat(), false),
            None => ([EVERYTHING, pattern].concat(), true),
        }
    }

    /// The beginnings of the stored names of all keys that begin so.
    pub fn prefixes(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        match self.whole() {
            Some(rule) => vec![[&rule.tag, prefix].concat()],
            None => {
                let mut prefixes = vec![prefix.to_vec()];
                for rule in &self.rules {
                    let mapped = [&rule.tag, prefix].concat();
                    if !prefixes.contains(&mapped) {
                        prefixes.push(mapped);
                    }
                }
                prefixes
            }
        }
    }

    /// The tags of all rules.
    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        self.rules.iter().map(|rule| &*rule.tag)
    }

    /// The first rule that fits a key.
    pub fn rule(&self, key: &[u8]) -> Option<&Rule> {
        let mut rules = self.rules.iter().zip(&self.fits);
        let found = rules.find(|(rule, fit)| match fit {
            Fit::All => true,
            Fit::Beginning(beginning) => key.starts_with(beginning),
            Fit::Pattern => glob::matches(&rule.pattern, key),
        });
        found.map(|(rule, _)| rule)
    }

    /// The tag that a stored name has from us, or that an app's name seems to have.
    fn ambiguous(&self, name: &[u8]) -> Option<&[u8]> {
        if name.first() != Some(&b'{') {
            return None;
        }
        let tag = self.tags().find(|tag| name.starts_with(tag))?;
        let rest = name.get(tag.len()..).unwrap_or_default();
        let is_ours = match self.rule(rest) {
            Some(rule) => *rule.tag == *tag,
            None => rest.starts_with(tag),
        };
        is_ours.then_some(tag)
    }
}

fn fit(rule: &Rule) -> Fit {
    let is_special = |byte: &u8| b"*?[\\".contains(byte);
    match rule.pattern.split_last() {
        _ if *rule.pattern == *EVERYTHING => Fit::All,
        Some((b'*', beginning)) if !beginning.iter().any(is_special) => {
            Fit::Beginning(beginning.into())
        }
        _ => Fit::Pattern,
    }
}

const EVERYTHING: &[u8] = b"*";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn naming(rules: &[&str]) -> Naming {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect();
        Naming::new(&rules).unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_what_nobody_means_stays() {
        let naming = naming(&["celery*", "unacked*=celery", "rq:*", "*:lock=rq"]);
        for (name, stored) in [
            ("celery", "{celery}celery"),
            ("unacked_index", "{celery}unacked_index"),
            ("rq:a:lock", "{rq}rq:a:lock"),
            ("x:lock", "{rq}x:lock"),
            ("other", "other"),
            ("{celery}mine", "{celery}mine"),
            ("{celery}celery", "{celery}{celery}celery"),
            ("{celery}{celery}mine", "{celery}{celery}{celery}mine"),
            ("{rq}celery", "{rq}celery"),
            ("{user}rq:x", "{user}rq:x"),
            ("", ""),
        ] {
            let tag = naming.tag(name.as_bytes());
            let mapped = [tag, name.as_bytes()].concat();
            assert_eq!(mapped, stored.as_bytes(), "{name}");
            assert_eq!(naming.unmap(&mapped), name.as_bytes(), "{name}");
        }
        assert!(naming.whole().is_none());
    }

    #[test]
    fn the_app_finds_every_name_again() {
        let sets: [&[&str]; 4] = [
            &["*"],
            &["a*", "b*=a", "*c"],
            &["{*=x", "x*=y"],
            &["*}=a", "a*"],
        ];
        let letters = [
            "{a}", "{x}", "{y}", "{all}", "a", "b", "c", "x", "{", "}", "\u{0}", "",
        ];
        let mut names: Vec<String> = vec![String::new()];
        for _ in 0..4 {
            let longer = names
                .iter()
                .flat_map(|name| letters.map(|letter| format!("{name}{letter}")));
            names = longer.collect();
        }
        for rules in sets {
            let naming = naming(rules);
            let mut stored = std::collections::HashMap::new();
            for name in &names {
                let mapped = [naming.tag(name.as_bytes()), name.as_bytes()].concat();
                assert_eq!(naming.unmap(&mapped), name.as_bytes(), "{rules:?} {name}");
                let other = stored.insert(mapped, name);
                assert!(
                    other.is_none_or(|other| other == name),
                    "{rules:?} {name} {other:?}"
                );
            }
        }
    }

    #[test]
    fn patterns_and_prefixes_find_all_that_they_should() {
        let whole = naming(&["*=t", "never*"]);
        assert_eq!(whole.pattern(b"a*"), (b"{t}a*".to_vec(), false));
        assert_eq!(whole.prefixes(b"a"), [b"{t}a".to_vec()]);
        assert_eq!(whole.unmap(b"{t}"), b"");
        let some = naming(&["a*=t", "b*=t", "c*"]);
        assert_eq!(some.pattern(b"a*"), (b"*a*".to_vec(), true));
        let prefixes = [b"a".to_vec(), b"{t}a".to_vec(), b"{c}a".to_vec()];
        assert_eq!(some.prefixes(b"a"), prefixes);
    }
}
