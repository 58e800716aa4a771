//! The table of keys as people and editors read it: Markdown for the README, a JSON schema for the file.

use serde_json::{Map, Value, json};

use super::keys::KEYS;

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
        out.push_str(&format!(
            "| {flag} | `{variable}`{app_name} | {default} | {about} |\n"
        ));
    }
    out
}

/// A JSON schema (2020-12) of the configuration file, for editors that understand TOML.
pub fn json_schema() -> Value {
    let mut properties = Map::new();
    for key in KEYS.iter().filter(|key| key.is_in_file) {
        let scalar = json!({"type": ["string", "integer", "boolean"]});
        let mut property = Map::new();
        if key.is_list {
            let item = json!({"type": ["string", "object"]});
            let list = json!({"type": "array", "items": item});
            property.insert("anyOf".to_owned(), json!([{"type": "string"}, list]));
        } else if let Some(object) = scalar.as_object() {
            property.extend(object.clone());
        }
        property.insert(
            "description".to_owned(),
            json!(format!("{}. Expected: {}.", key.about, key.expected)),
        );
        if let Some(default) = key.default {
            property.insert("default".to_owned(), json!(default));
        }
        properties.insert(key.name.to_owned(), Value::Object(property));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slotcar",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
