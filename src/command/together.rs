//! Which keys are to share a slot (`keep-together`), as an operator says it.

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As `KEYS` takes it; `*` fits the empty key, too.
    pub pattern: Box<[u8]>,
    /// With its braces.
    pub tag: Box<[u8]>,
    /// Do scripts use the app's names of these keys? Otherwise they use the stored ones, and cost nothing more.
    pub in_scripts: bool,
    /// Do scripts without keys run where these keys are?
    pub is_script_home: bool,
}

impl Rule {
    /// `PATTERN[=TAG[?SETTING=VALUE[&SETTING=VALUE…]]]`. Without a tag: see [`Self::own_tag`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, settings) = split_settings(text);
        let (pattern, tag) = match text.rsplit_once('=') {
            Some((pattern, tag)) => (pattern, Some(tag)),
            None => (text, None),
        };
        if pattern.is_empty() {
            return Err("has no pattern".to_owned());
        }
        let tag = tag.unwrap_or_else(|| Self::own_tag(pattern));
        if tag.is_empty() || !tag.chars().all(is_of_tag) {
            return Err(format!("has the tag {tag:?}"));
        }
        let mut rule = Self {
            pattern: pattern.as_bytes().into(),
            tag: format!("{{{tag}}}").into_bytes().into(),
            in_scripts: true,
            is_script_home: false,
        };
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some((SCRIPTS, value)) => rule.in_scripts = is_on(value)?,
                Some((SCRIPT_HOME, value)) => rule.is_script_home = is_on(value)?,
                Some(_) | None => return Err(format!("has the setting {setting:?}")),
            }
        }
        Ok(rule)
    }

    /// What the pattern begins with, as far as that is letters, digits, `_`, `-`, `.` and `:`, or `all`.
    pub fn own_tag(pattern: &str) -> &str {
        let end = pattern.find(|c: char| !is_of_tag(c));
        let own = pattern.get(..end.unwrap_or(pattern.len()));
        let own = own
            .unwrap_or_default()
            .trim_end_matches([':', '-', '.', '_']);
        if own.is_empty() { "all" } else { own }
    }

    /// Whether these rules can stand beside each other: what has a tag in common is treated alike in scripts, and only one place is the scripts' home.
    ///
    /// # Errors
    /// Which do not, and why.
    pub fn check(rules: &[Self]) -> Result<(), String> {
        let shown = |tag: &[u8]| String::from_utf8_lossy(tag).into_owned();
        let mut home: Option<&Self> = None;
        for (at, rule) in rules.iter().enumerate() {
            let before = rules.iter().take(at).find(|other| other.tag == rule.tag);
            if before.is_some_and(|other| other.in_scripts != rule.in_scripts) {
                let tag = shown(&rule.tag);
                return Err(format!(
                    "has {SCRIPTS}=on and {SCRIPTS}=off for the tag {tag}"
                ));
            }
            if rule.is_script_home {
                let home = home.get_or_insert(rule);
                if home.tag != rule.tag {
                    let (one, other) = (shown(&home.tag), shown(&rule.tag));
                    return Err(format!("has {SCRIPT_HOME}=on for {one} and {other}"));
                }
            }
        }
        Ok(())
    }
}

/// Names of settings behind a tag.
pub const SCRIPTS: &str = "scripts";
pub const SCRIPT_HOME: &str = "script-home";

/// Settings stand behind a tag and begin with the name of one: anything else is a pattern's.
fn split_settings(text: &str) -> (&str, &str) {
    let Some((rule, settings)) = text.rsplit_once('?') else {
        return (text, "");
    };
    let has_tag = rule
        .rsplit_once('=')
        .is_some_and(|(_, tag)| tag.chars().all(is_of_tag));
    let name = settings.split_once('=').map(|(name, _)| name);
    if has_tag && name.is_some_and(|name| name == SCRIPTS || name == SCRIPT_HOME) {
        (rule, settings)
    } else {
        (text, "")
    }
}

fn is_on(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("has {value:?} for on or off")),
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
        for text in [
            "",
            "=x",
            "a=",
            "a=b}",
            "a={b}",
            "a=ä",
            "a=b?c",
            "=b?scripts=on",
        ] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_stand_behind_a_tag() {
        for (text, pattern, in_scripts, is_script_home) in [
            ("a*=t", "a*", true, false),
            ("a*=t?scripts=off", "a*", false, false),
            ("a?=t?script-home=on&scripts=off", "a?", false, true),
            ("a?scripts=t", "a?scripts", true, false),
        ] {
            let rule = Rule::parse(text).unwrap();
            assert_eq!(&*rule.pattern, pattern.as_bytes(), "{text}");
            assert_eq!(
                (rule.in_scripts, rule.is_script_home),
                (in_scripts, is_script_home),
                "{text}"
            );
        }
        for (text, problem) in [
            ("a=t?scripts=no", "has \"no\" for on or off"),
            ("a=t?scripts=on&x", "has the setting \"x\""),
        ] {
            assert_eq!(Rule::parse(text), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn rules_must_not_contradict_each_other() {
        for (rules, problem) in [
            (
                ["a=t", "b=t?scripts=off"],
                "has scripts=on and scripts=off for the tag {t}",
            ),
            (
                ["a=t?script-home=on", "b=u?script-home=on"],
                "has script-home=on for {t} and {u}",
            ),
        ] {
            let rules = rules.map(|rule| Rule::parse(rule).unwrap());
            assert_eq!(Rule::check(&rules), Err(problem.to_owned()));
        }
        let rules = [
            "a=t?script-home=on",
            "b=t?script-home=on",
            "c=u?scripts=off",
        ];
        assert_eq!(
            Rule::check(&rules.map(|rule| Rule::parse(rule).unwrap())),
            Ok(())
        );
    }
}
