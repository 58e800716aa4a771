//! Tables of the file in the place of texts: what they say as one text, so that there is one grammar for all sources.

use toml::de::{DeTable, DeValue};

use super::parse;
use crate::command::together::{Rule, SCRIPT_HOME, SCRIPTS};

/// `{ host = "a", port = 6379 }` as one text.
pub(super) fn node(table: &DeTable<'_>) -> Option<String> {
    let item = |name: &str| {
        table
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(_, value)| value.get_ref())
    };
    let host = item("host")?.as_str()?;
    let port = match item("port") {
        None => return Some(parse::join(host, None)),
        Some(DeValue::Integer(number)) => number.as_str(),
        Some(other) => other.as_str()?,
    };
    Some(parse::join(host, Some(port)))
}

/// `{ pattern = "celery*", tag = "celery", scripts = true, script_home = false }` as `celery*=celery?scripts=on&script-home=off`.
pub(super) fn rule(table: &DeTable<'_>) -> Option<String> {
    let (mut pattern, mut tag) = (None, None);
    let (mut scripts, mut home) = (true, false);
    for (name, value) in table {
        match (&*name.get_ref().replace('_', "-"), value.get_ref()) {
            ("pattern", value) => pattern = Some(value.as_str()?),
            ("tag", value) => tag = Some(value.as_str()?),
            (SCRIPTS, DeValue::Boolean(is_on)) => scripts = *is_on,
            (SCRIPT_HOME, DeValue::Boolean(is_on)) => home = *is_on,
            _ => return None,
        }
    }
    let pattern = pattern?;
    let tag = tag.unwrap_or_else(|| Rule::own_tag(pattern));
    let word = |is_on| if is_on { "on" } else { "off" };
    // With settings in any case: so no pattern can be taken for some.
    Some(format!(
        "{pattern}={tag}?{SCRIPTS}={}&{SCRIPT_HOME}={}",
        word(scripts),
        word(home)
    ))
}
