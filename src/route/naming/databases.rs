//! Databases before a cluster, which has but one: the keys of another than 0 have its number in front of their names.
//!
//! ```text
//! database 3    user:1          stored as @db3:user:1         no hash tag: they are spread as before
//!               celery-1        stored as @db3:{celery}celery-1    with a rule for it
//! database 0    user:1          stored as user:1
//!               @db3:user:1     stored as @db0:@db3:user:1    it could be taken for the other one
//! ```

use super::Naming;
use crate::command::Row;
use crate::resp::request::Request;
use crate::topology::Slot;

/// What is put in front of a key to store it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Empty: nothing.
    text: Box<[u8]>,
    /// Where all keys are that have it, if it decides that.
    slot: Option<Slot>,
}

impl Tag {
    pub(super) fn new(text: Vec<u8>) -> Self {
        let slot = text.contains(&b'{').then(|| Slot::of_key(&text));
        let text = text.into();
        Self { text, slot }
    }

    #[inline]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The slot of a key with it.
    #[inline]
    pub fn slot(&self, key: &[u8]) -> Slot {
        match self.slot {
            Some(slot) => slot,
            None if self.text.is_empty() => Slot::of_key(key),
            None => Slot::of_key(&[self.text(), key].concat()),
        }
    }
}

/// What the names of a database's keys have in front; nothing for database 0.
pub(super) fn prefix(database: u32) -> Vec<u8> {
    match database {
        0 => Vec::new(),
        number => format!("{BEGINNING}{number}:").into_bytes(),
    }
}

/// The database that a name seems to be of, and what is behind its prefix. [`NOBODYS`] if we do not name keys so.
pub(super) fn split(name: &[u8]) -> Option<(u32, &[u8])> {
    let rest = name.strip_prefix(BEGINNING.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let rest = rest.strip_prefix(b":")?;
    let is_ours = match number {
        b"" => return None,
        b"0" => split(rest).is_some(),
        number => number.first() != Some(&b'0'),
    };
    let number = std::str::from_utf8(number).ok()?.parse().ok();
    Some((number.filter(|_| is_ours).unwrap_or(NOBODYS), rest))
}

/// The database that a channel about keys speaks of, and what stands before and behind: `__keyspace@`, 3, `__:key`.
pub(super) fn of_channel(channel: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let at = memchr::memchr(b'@', channel)? + 1;
    let (start, rest) = channel.split_at_checked(at)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits)?;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    let is_one = matches!(start, b"__keyspace@" | b"__keyevent@") && rest.starts_with(b"__:");
    is_one.then_some((start, number, rest))
}

impl Naming {
    /// The request that finds out about a database what a node knows only of all together. None: as it is.
    pub fn of_database(
        &self,
        database: u32,
        row: &Row,
        request: Request<'_>,
    ) -> Option<Vec<Vec<u8>>> {
        if !self.has_databases() {
            return None;
        }
        let is_option = |word: &[u8]| request.arg(1).eq_ignore_ascii_case(word);
        let delete = match request.len() {
            1 => "UNLINK",
            2 if is_option(b"async") => "UNLINK",
            2 if is_option(b"sync") => "DEL",
            // The node says what is wrong with it.
            _ => return None,
        };
        let script = match (row.name, database) {
            ("dbsize", 0) => COUNT_OTHERS,
            ("dbsize", _) => COUNT,
            ("flushdb", _) => DELETE,
            ("randomkey", _) => ANY,
            _ => return None,
        };
        let is_own = if database == 0 {
            // As they are found: those of others.
            format!("not string.find(k,'^{BEGINNING}[1-9]%d*:')")
        } else {
            "string.sub(k,1,#ARGV[1]-1)==string.sub(ARGV[1],1,-2)".to_owned()
        };
        let script = script.replace("$OWN", &is_own).replace("$DELETE", delete);
        let pattern = match database {
            0 => b"*".to_vec(),
            _ => [&prefix(database)[..], b"*"].concat(),
        };
        let words = [
            b"EVAL".to_vec(),
            script.into_bytes(),
            b"0".to_vec(),
            pattern,
        ];
        Some(words.into())
    }
}

/// In front of names of database 0.
pub(super) const ESCAPE: &[u8] = b"@db0:";

/// No session is in this database.
pub(super) const NOBODYS: u32 = u32::MAX;

const BEGINNING: &str = "@db";

const COUNT: &str = "local n,c=0,'0' \
    repeat local r=redis.call('SCAN',c,'MATCH',ARGV[1],'COUNT',1000) c=r[1] n=n+#r[2] until c=='0' return n";
const COUNT_OTHERS: &str = "local n,c=redis.call('DBSIZE'),'0' \
    repeat local r=redis.call('SCAN',c,'MATCH','@db[1-9]*:*','COUNT',1000) c=r[1] \
    for _,k in ipairs(r[2]) do if not($OWN) then n=n-1 end end until c=='0' return n";
const DELETE: &str = "local c='0' \
    repeat local r=redis.call('SCAN',c,'MATCH',ARGV[1],'COUNT',1000) c=r[1] \
    for _,k in ipairs(r[2]) do if $OWN then redis.call('$DELETE',k) end end until c=='0' return redis.status_reply('OK')";
const ANY: &str = "for _=1,50 do local k=redis.call('RANDOMKEY') if not k then return k end if $OWN then return k end end local c='0' \
    repeat local r=redis.call('SCAN',c,'MATCH',ARGV[1],'COUNT',1000) c=r[1] \
    for _,k in ipairs(r[2]) do if $OWN then return k end end until c=='0' return false";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_knows_its_slot_or_leaves_it_to_the_key() {
        for (text, key) in [
            ("@db3:", "k"),
            ("@db3:", "{u}k"),
            ("", "k"),
            ("{t}", "k"),
            ("@db3:{t}", "{u}k"),
        ] {
            let whole = format!("{text}{key}");
            let tag = Tag::new(text.as_bytes().to_vec());
            assert_eq!(
                tag.slot(key.as_bytes()),
                Slot::of_key(whole.as_bytes()),
                "{whole}"
            );
        }
    }

    #[test]
    fn names_and_channels_are_taken_apart() {
        for (name, found) in [
            ("@db3:k", Some((3, "k"))),
            ("@db0:", Some((NOBODYS, ""))),
            ("@db0:@db7:k", Some((0, "@db7:k"))),
            ("@db03:k", Some((NOBODYS, "k"))),
            ("@db99999999999:k", Some((NOBODYS, "k"))),
            ("@db:k", None),
            ("@db3", None),
            ("db3:k", None),
        ] {
            let found = found.map(|(number, rest)| (number, rest.as_bytes()));
            assert_eq!(split(name.as_bytes()), found, "{name}");
        }
        for (channel, found) in [
            ("__keyspace@3__:k", Some(("__keyspace@", 3, "__:k"))),
            ("__keyevent@0__:set", Some(("__keyevent@", 0, "__:set"))),
            ("__keyspace@*__:k", None),
            ("__keyspace@3:k", None),
            ("mine@3__:k", None),
        ] {
            let found = found.map(|(a, number, b)| (a.as_bytes(), number, b.as_bytes()));
            assert_eq!(of_channel(channel.as_bytes()), found, "{channel}");
        }
    }
}
