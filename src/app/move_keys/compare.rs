//! Whether two keys hold the same: by what `DUMP` makes of them, by the servers' own digest, or by all that is in them.
//!
//! `DUMP` writes sets and hashes in the order of their tables, which differs from process to process, and encodes as its version does; so
//! what is not equal there may be equal nevertheless.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::failure::Failure;
use super::job::Job;
use super::lines::Lines;
use crate::control::decode;

/// Looks at both keys as they are now.
pub(super) async fn are_same(
    one: (&mut Lines, &[u8]),
    other: (&mut Lines, &[u8]),
) -> Result<bool, Failure> {
    let (one_lines, one) = one;
    let (other_lines, other) = other;
    let (kind, digest) = kind_and_digest(one_lines, one).await?;
    let (other_kind, other_digest) = kind_and_digest(other_lines, other).await?;
    if kind != other_kind {
        return Ok(false);
    }
    // The digest leaves out the groups of a stream.
    if kind != "stream" && digest.is_some() && digest == other_digest {
        return Ok(true);
    }
    let Some(words) = content(&kind) else {
        return Ok(false);
    };
    let content = read(one_lines, one, words).await?;
    Ok(content.is_some() && content == read(other_lines, other, words).await?)
}

/// The digest is none if the server does not tell it.
async fn kind_and_digest(
    lines: &mut Lines,
    key: &[u8],
) -> Result<(String, Option<String>), Failure> {
    let job = Job::new(key)
        .ask(&[b"TYPE", key])
        .ask(&[b"DEBUG", b"DIGEST-VALUE", key]);
    let mut answers = lines.ask(&[job], false).await?;
    let mut texts = (answers.pop().into_iter())
        .flat_map(|answer| answer.replies)
        .map(|reply| match decode(&reply) {
            Ok(BytesFrame::SimpleString(text)) => String::from_utf8_lossy(&text).into_owned(),
            Ok(BytesFrame::Array(items)) => items.first().and_then(text).unwrap_or_default(),
            Ok(
                BytesFrame::BulkString(_)
                | BytesFrame::Error(_)
                | BytesFrame::Integer(_)
                | BytesFrame::Null,
            )
            | Err(_) => String::new(),
        });
    let kind = texts.next().unwrap_or_default();
    let digest = texts.next().filter(|digest| is_digest(digest));
    Ok((kind, digest))
}

/// 40 hexadecimal digits; all of them 0: there is no such key.
fn is_digest(text: &str) -> bool {
    text.len() == 40 && text.bytes().any(|byte| byte != b'0')
}

/// Of any kind of string.
pub(super) fn text(frame: &BytesFrame) -> Option<String> {
    match frame {
        BytesFrame::SimpleString(bytes) | BytesFrame::BulkString(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        BytesFrame::Array(_) | BytesFrame::Error(_) | BytesFrame::Integer(_) | BytesFrame::Null => {
            None
        }
    }
}

/// How all that is in a key of this type is asked for: the words before and behind its name. None: nobody knows.
fn content(kind: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match kind {
        "string" => (&["GET"], &[]),
        "list" => (&["LRANGE"], &["0", "-1"]),
        "set" => (&["SMEMBERS"], &[]),
        "hash" => (&["HGETALL"], &[]),
        "zset" => (&["ZRANGE"], &["0", "-1", "WITHSCORES"]),
        "stream" => (&["XINFO", "STREAM"], &["FULL", "COUNT", "0"]),
        _ => return None,
    })
}

async fn read(
    lines: &mut Lines,
    key: &[u8],
    (before, behind): (&[&str], &[&str]),
) -> Result<Option<BytesFrame>, Failure> {
    let words = (before.iter().map(|word| word.as_bytes()))
        .chain([key])
        .chain(behind.iter().map(|word| word.as_bytes()));
    let words: Vec<&[u8]> = words.collect();
    let mut answers = lines.ask(&[Job::new(key).ask(&words)], false).await?;
    let reply: Option<Bytes> = answers.pop().and_then(|mut answer| answer.replies.pop());
    Ok(reply
        .and_then(|reply| decode(&reply).ok())
        .filter(|frame| !matches!(frame, BytesFrame::Error(_)))
        .map(|frame| settled(before, frame)))
}

/// The same for equal content, in whatever order a server tells it.
fn settled(command: &[&str], frame: BytesFrame) -> BytesFrame {
    match (command.first().copied(), frame) {
        (Some("SMEMBERS"), BytesFrame::Array(items)) => sorted(items, 1),
        (Some("HGETALL"), BytesFrame::Array(items)) => sorted(items, 2),
        (Some("XINFO"), frame) => without_moods(frame),
        (_, frame) => frame,
    }
}

fn sorted(items: Vec<BytesFrame>, each: usize) -> BytesFrame {
    let mut groups: Vec<Vec<BytesFrame>> = items.chunks(each).map(<[_]>::to_vec).collect();
    groups.sort_by_cached_key(|group| group.iter().map(bytes).collect::<Vec<_>>());
    BytesFrame::Array(groups.into_iter().flatten().collect())
}

fn bytes(frame: &BytesFrame) -> Option<Bytes> {
    match frame {
        BytesFrame::SimpleString(bytes) | BytesFrame::BulkString(bytes) => Some(bytes.clone()),
        BytesFrame::Array(_) | BytesFrame::Error(_) | BytesFrame::Integer(_) | BytesFrame::Null => {
            None
        }
    }
}

/// Leaves out of `XINFO STREAM … FULL` what a server says about itself.
fn without_moods(frame: BytesFrame) -> BytesFrame {
    let BytesFrame::Array(items) = frame else {
        return frame;
    };
    let mut kept = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        let name = text(&item);
        if name.is_some_and(|name| MOODS.contains(&name.as_str())) {
            items.next();
        } else {
            kept.push(without_moods(item));
        }
    }
    BytesFrame::Array(kept)
}

const MOODS: [&str; 4] = [
    "radix-tree-keys",
    "radix-tree-nodes",
    "seen-time",
    "active-time",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&'static str]) -> BytesFrame {
        let bulk =
            |text: &&'static str| BytesFrame::BulkString(Bytes::from_static(text.as_bytes()));
        BytesFrame::Array(items.iter().map(bulk).collect())
    }

    #[test]
    fn the_order_of_tables_does_not_count_and_that_of_lists_does() {
        for (command, one, other, expected) in [
            ("SMEMBERS", &["b", "a"][..], &["a", "b"][..], true),
            (
                "HGETALL",
                &["b", "1", "a", "2"],
                &["a", "2", "b", "1"],
                true,
            ),
            (
                "HGETALL",
                &["b", "1", "a", "2"],
                &["a", "1", "b", "2"],
                false,
            ),
            ("LRANGE", &["b", "a"], &["a", "b"], false),
            (
                "XINFO",
                &["radix-tree-keys", "1", "length", "2"],
                &["radix-tree-keys", "3", "length", "2"],
                true,
            ),
            ("XINFO", &["length", "3"], &["length", "2"], false),
        ] {
            let same = settled(&[command], list(one)) == settled(&[command], list(other));
            assert_eq!(same, expected, "{command} {one:?} {other:?}");
        }
    }

    #[test]
    fn a_digest_of_nothing_says_nothing() {
        assert!(is_digest("0f00000000000000000000000000000000000000"));
        assert!(!is_digest("0000000000000000000000000000000000000000"));
        assert!(!is_digest(""));
    }
}
