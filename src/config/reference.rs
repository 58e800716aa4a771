//! The table of keys as people and editors read it: Markdown for the README, a JSON schema for the file.

use serde_json::{Map, Value, json};

use super::file::LISTENER;
use super::key::Key;
use super::keys::KEYS;
use super::limits::Limits;

/// The table as Markdown, for the README.
pub fn markdown() -> String {
    let mut out = String::from("| flag | variable | default | |\n|---|---|---|---|\n");
    for key in KEYS {
        let flag = if key.is_flag {
            format!("`--{} {}`", key.name, key.value)
        } else {
            "–".to_owned()
        };
        let app_name = key
            .app_name
            .map(|name| format!(", `{name}`"))
            .unwrap_or_default();
        let default = key
            .default
            .map(|default| format!("`{default}`"))
            .unwrap_or_default();
        let (variable, about) = (key.variable(), key.about);
        let live = if key.is_live { " ↻" } else { "" };
        out.push_str(&format!(
            "| {flag} | `{variable}`{app_name} | {default} | {about}{live} |\n"
        ));
    }
    out
}

/// The reference page: every key with all that is known of it, and the bounds that nobody sets.
pub fn page() -> String {
    let mut out = String::from(PAGE_START);
    for key in KEYS {
        let mut places = vec![format!("variable `{}`", key.variable())];
        if key.is_flag {
            places.insert(0, format!("flag `--{} {}`", key.name, key.value));
        }
        places.extend(key.app_name.map(|name| format!("the apps' own `{name}`")));
        if key.is_in_file {
            let of_listeners = if key.is_of_process {
                ""
            } else {
                ", also of one listener"
            };
            places.push(format!("key of the file{of_listeners}"));
        }
        out.push_str(&format!("\n### {}\n\n{}.\n\n", key.name, key.about));
        out.push_str(&format!(
            "- Set by: {}\n- Expected: {}\n",
            places.join(", "),
            key.expected
        ));
        let facts = [
            key.default.map(|default| format!("Default: `{default}`")),
            key.instead_of.map(|other| format!("Instead of: {other}")),
            key.is_list.then(|| "May be given several times".to_owned()),
            key.is_live.then(|| "Changes without a restart".to_owned()),
            (!key.is_flag).then(|| "No flag: everybody can see those of a process".to_owned()),
        ];
        for fact in facts.into_iter().flatten() {
            out.push_str(&format!("- {fact}\n"));
        }
    }
    out.push_str(LIMITS_START);
    for row in Limits::default().rows() {
        out.push_str(&format!(
            "| `{}` | {} | {} |\n",
            row.name, row.default, row.about
        ));
    }
    out
}

const PAGE_START: &str = "\
# Configuration

Flags win over slotcar's own variables, those over the file (`--config`), the file over the variables that apps use; what a `[[listener]]` of the file says wins over
all of them, for this listener. This page is made from the table in `src/config/keys.rs`; `slotcar --print-config` shows what counts and where it was set.
";

const LIMITS_START: &str = "
## Bounds that nobody sets

From `src/config/limits.rs`, where each has its reason.

| | | |
|---|---|---|
";

/// A JSON schema (2020-12) of the configuration file, for editors that understand TOML.
pub fn json_schema() -> Value {
    let mut all = properties(|_| true);
    let own = properties(|key| !key.is_of_process);
    let listener = json!({
        "description": "A listener with its own settings: as all others, but for what stands here.",
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["listen"],
            "properties": own,
        },
    });
    all.insert(LISTENER.to_owned(), listener);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slotcar",
        "type": "object",
        "additionalProperties": false,
        "properties": all,
    })
}

fn properties(are_wanted: impl Fn(&Key) -> bool) -> Map<String, Value> {
    let keys = KEYS.iter().filter(|key| key.is_in_file && are_wanted(key));
    // As a table of its own one writes a name with underscores.
    let with_tables = keys.clone().filter(|key| key.table.is_some());
    let underscored = with_tables.map(|key| (key.name.replace('-', "_"), property(key)));
    keys.map(|key| (key.name.to_owned(), property(key)))
        .chain(underscored)
        .collect()
}

fn property(key: &Key) -> Value {
    let mut property = Map::new();
    if key.is_list {
        let item = json!({"type": ["string", "object"]});
        let list = json!({"type": "array", "items": item});
        property.insert("anyOf".to_owned(), json!([{"type": "string"}, list]));
    } else {
        let types = json!(["string", "integer", "boolean"]);
        property.insert("type".to_owned(), types);
    }
    let description = format!("{}. Expected: {}.", key.about, key.expected);
    property.insert("description".to_owned(), json!(description));
    if let Some(default) = key.default {
        property.insert("default".to_owned(), json!(default));
    }
    Value::Object(property)
}
