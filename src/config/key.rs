//! One row of the table of configuration keys.

use toml::de::DeTable;

use super::draft::Draft;
use super::parse::Problem;

/// One row.
#[derive(Debug)]
pub struct Key {
    /// In the file as it is; `--name` as a flag, `SLOTCAR_NAME` as a variable.
    pub name: &'static str,
    /// Stands for the value in help texts.
    pub value: &'static str,
    pub about: &'static str,
    /// As one would write it; none if there is none.
    pub default: Option<&'static str>,
    /// What a right value looks like, to finish "expected …".
    pub expected: &'static str,
    /// The variable that apps use for it.
    pub app_name: Option<&'static str>,
    /// May it be a flag? Not if its value is a secret: everybody can see the flags of a process.
    pub is_flag: bool,
    /// May it stand in the file?
    pub is_in_file: bool,
    /// May it be given several times, or as a list?
    pub is_list: bool,
    /// What a table in such a list becomes: one text.
    pub(super) table: Option<ToText>,
    /// Is it of the whole process, and not of a listener?
    pub is_of_process: bool,
    /// Is it about what stands behind, or how to talk to it?
    pub is_of_upstream: bool,
    /// Does it count anew when the file has changed, without a restart?
    pub is_live: bool,
    /// Another key that sets the same thing.
    pub instead_of: Option<&'static str>,
    /// Puts the given texts where they belong; never called with none.
    pub(super) apply: fn(&mut Draft, &[String]) -> Result<(), Problem>,
}

/// None: it is no such table.
pub(super) type ToText = fn(&DeTable<'_>) -> Option<String>;

impl Key {
    /// The variable of slotcar's own for it.
    pub fn variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}",
            self.name.to_uppercase().replace('-', "_")
        )
    }

    /// What it sets: keys with the same target exclude each other.
    pub fn target(&self) -> &'static str {
        self.instead_of.unwrap_or(self.name)
    }
}

/// A row with everything as it mostly is.
pub(super) const fn key(
    name: &'static str,
    apply: fn(&mut Draft, &[String]) -> Result<(), Problem>,
) -> Key {
    Key {
        name,
        value: "",
        about: "",
        default: None,
        expected: "",
        app_name: None,
        is_flag: true,
        is_in_file: true,
        is_list: false,
        table: None,
        is_of_process: false,
        is_of_upstream: false,
        is_live: false,
        instead_of: None,
        apply,
    }
}

/// Reads the only text of a key that is no list.
pub(super) fn one<T>(
    texts: &[String],
    read: impl Fn(&str) -> Result<T, Problem>,
) -> Result<T, Problem> {
    match texts {
        [text] => read(text),
        _ => Err(format!("is given {} times", texts.len())),
    }
}

pub(super) const VARIABLE_PREFIX: &str = "SLOTCAR_";
