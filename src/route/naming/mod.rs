//! Under which names keys are stored (`keep-together`, `databases`): keys that match a rule get its hash tag in front, so that they share a slot and
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
//!
//! In front of that, keys of another database than 0 have its [prefix](databases).

pub mod databases;
pub mod lua;
pub mod replies;
pub mod requests;

use self::databases::Tag;
use self::lua::Prelude;
use crate::command::together::Rule;
use crate::command::{Names, Row};
use crate::resp::request::Request;
use crate::route::glob;
use crate::topology::Slot;

/// All rules, in their order, and the databases. Of both there may be none, but not of both together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    rules: Vec<Rule>,
    /// Of each, what is quicker than its pattern.
    fits: Vec<Fit>,
    /// At least one.
    databases: Vec<Database>,
    /// In front of a name of database 0 that could be taken for one of another.
    escape: Tag,
    /// What is put in front of scripts, if they need it.
    prelude: Option<Prelude>,
}

/// Which names a rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fit {
    All,
    /// Those that begin so.
    Beginning(Box<[u8]>),
    Pattern,
}

/// What is put in front of the keys of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Database {
    /// For each rule.
    tags: Vec<Tag>,
    /// Where no rule fits.
    plain: Tag,
}

impl Database {
    fn new(number: u32, rules: &[Rule]) -> Self {
        let prefix = databases::prefix(number);
        let tags = rules.iter().map(|rule| [&prefix, &*rule.tag].concat());
        Self {
            tags: tags.map(Tag::new).collect(),
            plain: Tag::new(prefix),
        }
    }
}

impl Naming {
    /// None: no rules, and one database.
    pub fn new(rules: &[Rule], databases: u32) -> Option<Self> {
        if rules.is_empty() && databases <= 1 {
            return None;
        }
        let numbers = 0..databases.max(1);
        let mut naming = Self {
            rules: rules.to_vec(),
            fits: rules.iter().map(fit).collect(),
            databases: numbers.map(|n| Database::new(n, rules)).collect(),
            escape: Tag::new(databases::ESCAPE.to_vec()),
            prelude: None,
        };
        naming.prelude = Prelude::new(&naming);
        Some(naming)
    }

    /// What is put in front of scripts. None: they stay as they are.
    pub fn prelude(&self) -> Option<&Prelude> {
        self.prelude.as_ref()
    }

    /// Whether there is more than one database.
    pub fn has_databases(&self) -> bool {
        self.databases.len() > 1
    }

    /// What is put in front of a key of a database to store it.
    pub fn tag(&self, database: u32, key: &[u8]) -> &Tag {
        let Some(tags) = self.databases.get(database as usize) else {
            debug_assert!(false, "no session is in such a database");
            return &self.escape;
        };
        let tag = match self.rule(key).or_else(|| self.ambiguous(key)) {
            Some(rule) => tags.tags.get(rule),
            None if database == 0 && self.has_databases() && databases::split(key).is_some() => {
                Some(&self.escape)
            }
            None => None,
        };
        tag.unwrap_or(&tags.plain)
    }

    /// The name under which a key is stored.
    pub fn stored(&self, database: u32, key: &[u8]) -> Vec<u8> {
        [self.tag(database, key).text(), key].concat()
    }

    /// Whether there is such a database.
    pub fn is_database(&self, number: u32) -> bool {
        (number as usize) < self.databases.len()
    }

    /// The app's name of what is stored.
    pub fn unmap<'a>(&self, stored: &'a [u8]) -> &'a [u8] {
        self.found(stored).1
    }

    /// The app's name of what is stored, for people: with its database, unless that is 0.
    pub fn shown(&self, stored: &[u8]) -> Vec<u8> {
        match self.found(stored) {
            (0, name) => name.to_vec(),
            (database, name) => [name, format!(" (db{database})").as_bytes()].concat(),
        }
    }

    /// The database of what is stored, and the name without what says so.
    pub fn in_database<'a>(&self, stored: &'a [u8]) -> (u32, &'a [u8]) {
        match databases::split(stored) {
            Some(found) if self.has_databases() => found,
            _ => (0, stored),
        }
    }

    /// Whether a name that no rule fits could be taken for what one has made.
    pub fn seems_stored(&self, name: &[u8]) -> bool {
        self.ambiguous(name).is_some()
    }

    /// The database of what is stored, and the app's name there.
    fn found<'a>(&self, stored: &'a [u8]) -> (u32, &'a [u8]) {
        let (database, name) = self.in_database(stored);
        let tag = self.ambiguous(name).and_then(|rule| self.rules.get(rule));
        let tag = tag.map_or(0, |rule| rule.tag.len());
        (database, name.get(tag..).unwrap_or_default())
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

    /// Where scripts without keys run: where a rule says, or at the home of all rules, if they have but one.
    pub fn script_home(&self) -> Option<Slot> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.is_script_home) {
            return Some(Slot::of_key(&rule.tag));
        }
        let mut tags = self.tags();
        let first = tags.next()?;
        tags.all(|tag| tag == first).then(|| Slot::of_key(first))
    }

    /// A pattern for the stored names of all keys of a database that an app's pattern fits. It may fit others as well.
    pub fn pattern(&self, database: u32, pattern: &[u8]) -> Vec<u8> {
        let prefix = databases::prefix(database);
        let in_front = match self.only_rule(pattern) {
            Some(rule) => &*rule.tag,
            None if database == 0 || !self.rules.is_empty() => EVERYTHING,
            None => &[],
        };
        [&prefix, in_front, pattern].concat()
    }

    /// What [`pattern`](Self::pattern) has made a pattern of, for which database, and whether it may fit more than that.
    fn own_pattern<'a>(&self, stored: &'a [u8]) -> (u32, &'a [u8], bool) {
        let (database, rest) = self.in_database(stored);
        if database != 0 && self.rules.is_empty() {
            return (database, rest, false);
        }
        let tag = self.tags().find(|tag| rest.starts_with(tag));
        let in_front = tag.unwrap_or(EVERYTHING).len();
        (
            database,
            rest.get(in_front..).unwrap_or_default(),
            tag.is_none(),
        )
    }

    /// The rule of all keys that a pattern fits, as far as its beginning says that.
    fn only_rule(&self, pattern: &[u8]) -> Option<&Rule> {
        let special = pattern.iter().position(|byte| SPECIAL.contains(byte));
        let literal = pattern.get(..special.unwrap_or(pattern.len()))?;
        for (rule, fit) in self.rules.iter().zip(&self.fits) {
            match fit {
                Fit::All => return Some(rule),
                Fit::Beginning(beginning) if literal.starts_with(beginning) => return Some(rule),
                // It fits none of them.
                Fit::Beginning(beginning) if !beginning.starts_with(literal) => {}
                Fit::Beginning(_) | Fit::Pattern => return None,
            }
        }
        None
    }

    /// Where a request that asks for names finds all that it may, if that is one slot. It has the stored names.
    pub fn home_of(&self, row: &Row, request: Request<'_>) -> Option<Slot> {
        if row.names? != Names::Found {
            return self.home();
        }
        let (_, rest) = self.in_database(request.arg(1));
        let tag = self.tags().find(|tag| rest.starts_with(tag))?;
        Some(Slot::of_key(tag))
    }

    /// The beginnings of the stored names of all keys of a database that begin so.
    pub fn prefixes(&self, database: u32, prefix: &[u8]) -> Vec<Vec<u8>> {
        let Some(tags) = self.databases.get(database as usize) else {
            return vec![prefix.to_vec()];
        };
        if self.whole().is_some() {
            let tag = tags.tags.first().map(Tag::text).unwrap_or_default();
            return vec![[tag, prefix].concat()];
        }
        let mut prefixes = vec![[tags.plain.text(), prefix].concat()];
        for tag in &tags.tags {
            let mapped = [tag.text(), prefix].concat();
            if !prefixes.contains(&mapped) {
                prefixes.push(mapped);
            }
        }
        prefixes
    }

    /// All rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The tags of all rules.
    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        self.rules.iter().map(|rule| &*rule.tag)
    }

    /// The first rule that fits a key.
    pub fn rule_of(&self, key: &[u8]) -> Option<&Rule> {
        self.rule(key).and_then(|rule| self.rules.get(rule))
    }

    fn rule(&self, key: &[u8]) -> Option<usize> {
        let mut rules = self.rules.iter().zip(&self.fits);
        rules.position(|(rule, fit)| match fit {
            Fit::All => true,
            Fit::Beginning(beginning) => key.starts_with(beginning),
            Fit::Pattern => glob::matches(&rule.pattern, key),
        })
    }

    /// The rule whose tag a stored name has from us, or an app's name seems to have.
    fn ambiguous(&self, name: &[u8]) -> Option<usize> {
        if name.first() != Some(&b'{') {
            return None;
        }
        let at = self.tags().position(|tag| name.starts_with(tag))?;
        let tag = &self.rules.get(at)?.tag;
        let rest = name.get(tag.len()..).unwrap_or_default();
        let is_ours = match self.rule(rest).and_then(|rule| self.rules.get(rule)) {
            Some(rule) => rule.tag == *tag,
            None => rest.starts_with(tag),
        };
        is_ours.then_some(at)
    }
}

fn fit(rule: &Rule) -> Fit {
    let is_special = |byte: &u8| SPECIAL.contains(byte);
    match rule.pattern.split_last() {
        _ if *rule.pattern == *EVERYTHING => Fit::All,
        Some((b'*', beginning)) if !beginning.iter().any(is_special) => {
            Fit::Beginning(beginning.into())
        }
        _ => Fit::Pattern,
    }
}

const EVERYTHING: &[u8] = b"*";
/// What means something in a pattern.
const SPECIAL: &[u8] = b"*?[\\";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn naming(rules: &[&str]) -> Naming {
        with_databases(rules, 1)
    }

    pub(super) fn with_databases(rules: &[&str], databases: u32) -> Naming {
        let rules: Vec<Rule> = rules
            .iter()
            .map(|rule| Rule::parse(rule).unwrap())
            .collect();
        Naming::new(&rules, databases).unwrap()
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
            let mapped = naming.stored(0, name.as_bytes());
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
            "{a}", "{x}", "{y}", "{all}", "a", "b", "c", "x", "{", "}", "\u{0}", "", "@db1:",
            "@db0:",
        ];
        let mut names: Vec<String> = vec![String::new()];
        for _ in 0..3 {
            let longer = names
                .iter()
                .flat_map(|name| letters.map(|letter| format!("{name}{letter}")));
            names = longer.collect();
        }
        for (rules, databases) in sets.into_iter().flat_map(|rules| [(rules, 1), (rules, 3)]) {
            let naming = with_databases(rules, databases);
            let mut stored = std::collections::HashMap::new();
            let databases = 0..databases;
            for (name, database) in names
                .iter()
                .flat_map(|name| databases.clone().map(move |db| (name, db)))
            {
                let mapped = naming.stored(database, name.as_bytes());
                let found = naming.found(&mapped);
                assert_eq!(found, (database, name.as_bytes()), "{rules:?} {name}");
                let other = stored.insert(mapped, (database, name));
                assert!(
                    other.is_none_or(|other| other == (database, name)),
                    "{rules:?} {name} {other:?}"
                );
            }
        }
    }

    #[test]
    fn patterns_and_prefixes_find_all_that_they_should() {
        let whole = naming(&["*=t", "never*"]);
        assert_eq!(whole.pattern(0, b"a*"), b"{t}a*");
        assert_eq!(whole.own_pattern(b"{t}a*"), (0, &b"a*"[..], false));
        assert_eq!(whole.prefixes(0, b"a"), [b"{t}a".to_vec()]);
        assert_eq!(whole.unmap(b"{t}"), b"");
        let some = naming(&["a*=t", "b*=t", "c*"]);
        for (pattern, stored, is_vague) in [
            ("a*", "{t}a*", false),
            ("a", "{t}a", false),
            ("ax?y", "{t}ax?y", false),
            ("*a", "**a", true),
            ("[ab]*", "*[ab]*", true),
            ("x*", "*x*", true),
            ("", "*", true),
        ] {
            let made = some.pattern(0, pattern.as_bytes());
            assert_eq!(made, stored.as_bytes(), "{pattern}");
            let own = (0, pattern.as_bytes(), is_vague);
            assert_eq!(some.own_pattern(&made), own, "{pattern}");
        }
        let others = naming(&["ab*=t", "*x", "c*"]);
        assert_eq!(others.pattern(0, b"a*"), b"*a*");
        assert_eq!(others.pattern(0, b"abc*"), b"{t}abc*");
        assert_eq!(others.pattern(0, b"c*"), b"*c*");
        let prefixes = [b"a".to_vec(), b"{t}a".to_vec(), b"{c}a".to_vec()];
        assert_eq!(some.prefixes(0, b"a"), prefixes);
        let several = with_databases(&["a*=t"], 4);
        assert_eq!(several.pattern(0, b"x"), b"*x");
        assert_eq!(several.pattern(3, b"x"), b"@db3:*x");
        assert_eq!(with_databases(&[], 4).pattern(3, b"x"), b"@db3:x");
        let prefixes = [b"@db2:x".to_vec(), b"@db2:{t}x".to_vec()];
        assert_eq!(several.prefixes(2, b"x"), prefixes);
    }
}
