//! How a script is told which database is selected: by one argument more, which the prelude takes away.

/// That argument, instead of or behind the last one that the script has. None: it needs not be told.
pub fn selected(database: u32, last: &[u8]) -> Option<Vec<u8>> {
    let is_told = database != 0 || last.starts_with(b"\0@db");
    is_told.then(|| format!("\0@db{database}:").into_bytes())
}

/// A line of `MONITOR` without what [`selected`] has added.
pub fn without_database(line: &[u8]) -> Vec<u8> {
    match around_database(line) {
        Some((before, behind)) => [before, behind].concat(),
        None => line.to_vec(),
    }
}

fn around_database(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::rfind(line, b" \"\\x00@db")?;
    let (before, word) = line.split_at_checked(at)?;
    let len = memchr::memmem::find(word, b":\"")? + 2;
    let behind = word.get(len..)?;
    let is_last = behind.iter().all(u8::is_ascii_whitespace);
    is_last.then_some((before, behind))
}
