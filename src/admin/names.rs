//! Bytes of clients as text: names of keys, arguments, names of connections.

/// As it is if it is text that can be printed, else as Rust would spell it in quotes.
pub(super) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(_) | Err(_) => bytes.escape_ascii().to_string(),
    }
}
