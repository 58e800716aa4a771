//! Every error text that a client can see, one constant or one small function each.
//!
//! Texts stand without the leading `-` and without line end; [`crate::resp::write::error`] adds both. Where a server has
//! a text it is spelled as the server spells it: client libraries match on the first word and some on more.
//! What slotcar alone can say names itself, and starts with a code that no library mistakes for something else.

use std::fmt::Display;
use std::time::Duration;

use crate::command::Refuse;

// ── who may speak ───────────────────────────────────────────────────────────────────────────────────────────────

pub const NO_AUTH: &str = "NOAUTH Authentication required.";
pub const NO_AUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
    <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
pub const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. \
    Are you sure your configuration is correct?";
pub const MAX_CLIENTS: &str = "ERR max number of clients reached";
pub const NO_PROTO: &str = "NOPROTO unsupported protocol version";

// ── what was said ───────────────────────────────────────────────────────────────────────────────────────────────

pub const SYNTAX: &str = "ERR syntax error";
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub const PROTO_NOT_AN_INTEGER: &str = "ERR Protocol version is not an integer or out of range";
pub const DB_OUT_OF_RANGE: &str = "ERR DB index is out of range";
pub const DB_NO_INT: &str =
    "ERR value is out of range, value must between -2147483648 and 2147483647";
pub const NOT_IMPORTING: &str = "ERR Server is not in import mode";
pub const CLIENT_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
pub const CLIENT_ID: &str = "ERR Invalid client ID";
pub const CLIENT_ID_NOT_POSITIVE: &str = "ERR client-id should be greater than 0";
pub const NO_SUCH_CLIENT: &str = "ERR No such client";
pub const MAX_AGE_NOT_AN_INTEGER: &str = "ERR maxage is not an integer or out of range";
pub const MAX_AGE_NOT_POSITIVE: &str = "ERR maxage should be greater than 0";
pub const TIMEOUT_NOT_AN_INTEGER: &str = "ERR timeout is not an integer or out of range";
pub const TIMEOUT_NOT_A_FLOAT: &str = "ERR timeout is not a float or out of range";
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
pub const TIMEOUT_OUT_OF_RANGE: &str = "ERR timeout is out of range";
pub const PAUSE_MODE: &str = "ERR CLIENT PAUSE mode must be WRITE or ALL";
/// What `CLIENT UNBLOCK … ERROR` tells the one that it wakes.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
pub const UNBLOCK_REASON: &str = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";

pub const CACHING_OFF: &str = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
pub const CACHING_YES: &str =
    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
pub const CACHING_NO: &str =
    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
pub const REDIRECT_TWICE: &str = "ERR A client can only redirect to a single other client";
pub const REDIRECT_TO_NOBODY: &str = "ERR The client ID you want redirect to does not exist";
pub const PREFIX_WITHOUT_BCAST: &str = "ERR PREFIX option requires BCAST mode to be enabled";
pub const SWITCH_BCAST: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
    and then re-enabling it with a different mode.";
pub const SWITCH_OPT: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
    and then re-enabling it with a different mode.";
pub const OPT_WITH_BCAST: &str = "ERR OPTIN and OPTOUT are not compatible with BCAST";
pub const OPT_IN_AND_OUT: &str = "ERR You can't specify both OPTIN mode and OPTOUT mode";
/// To a session that monitors.
pub const MONITORS: &str = "ERR Replica can't interact with the keyspace";

/// `which`: `an existing` or `another provided`.
pub fn prefix_overlaps(prefix: &[u8], which: &str, other: &[u8]) -> Vec<u8> {
    let between = format!("' overlaps with {which} prefix '");
    let mut text = quoting("ERR Prefix '", prefix, &between);
    text.extend(quoting(
        "",
        other,
        "'. Prefixes for a single client must not overlap.",
    ));
    text
}

/// Valkey from version 8 on: there is nothing to unsubscribe from. `command` as in [`wrong_arity`].
pub fn not_subscribed(command: &str) -> String {
    format!("NOSUB '{command}' command executed not in subscribed mode")
}

/// In RESP2 a subscribed client cannot tell replies from messages. Without its code. `command` as in [`wrong_arity`].
pub fn only_while_subscribed(command: &str) -> String {
    format!(
        "Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )
}

/// Where a subcommand takes fewer arguments than its arity in the table allows.
pub fn unknown_subcommand_or_arity(parent: &str, name: &[u8]) -> Vec<u8> {
    let after = format!("'. Try {} HELP.", parent.to_uppercase());
    quoting(
        "ERR unknown subcommand or wrong number of arguments for '",
        name,
        &after,
    )
}

/// `command` is the full name as the server spells it: `get`, `client|kill`.
pub fn wrong_arity(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

pub fn hello_option(option: &[u8]) -> Vec<u8> {
    quoting("ERR Syntax error in HELLO option '", option, "'")
}

pub fn client_type(name: &[u8]) -> Vec<u8> {
    quoting("ERR Unknown client type '", name, "'")
}

pub fn client_user(name: &[u8]) -> Vec<u8> {
    quoting("ERR No such user '", name, "'")
}

pub fn client_info_option(name: &[u8]) -> Vec<u8> {
    quoting("ERR Unrecognized option '", name, "'")
}

/// `attribute` is `lib-name` or `lib-ver`, as the client spelled it.
pub fn client_info_value(attribute: &[u8]) -> Vec<u8> {
    quoting(
        "ERR ",
        attribute,
        " cannot contain spaces, newlines or special characters.",
    )
}

// ── what one server behind slotcar does not do ──────────────────────────────────────────────────────────────────

pub const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";

/// Keys of one request in two slots, and no way to split it. `a` and `b` are the first keys that disagree.
pub fn cross_slot(a: &[u8], a_slot: u16, b: &[u8], b_slot: u16) -> String {
    in_two_slots("in request", a, a_slot, b, b_slot)
}

fn in_two_slots(whose: &str, a: &[u8], a_slot: u16, b: &[u8], b_slot: u16) -> String {
    let rule = rule_for(a, b);
    let (a, b) = (shown(a), shown(b));
    format!(
        "CROSSSLOT Keys {whose} don't hash to the same slot: '{a}' (slot {a_slot}) and '{b}' (slot {b_slot}); with --keep-together '{rule}' they would"
    )
}

/// The narrowest rule that a person would make of two keys: what both begin with, up to a separator.
fn rule_for(a: &[u8], b: &[u8]) -> String {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let common = a.get(..common).unwrap_or_default();
    let end = common.iter().rposition(|byte| b":-_./".contains(byte));
    let start = end.and_then(|end| common.get(..=end)).unwrap_or_default();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_./".contains(byte);
    let start = if start.iter().all(is_plain) {
        start
    } else {
        &[]
    };
    format!("{}*", String::from_utf8_lossy(start))
}

/// Too many keys of several slots are waited for already.
pub fn too_many_awaited_keys(keys_max: usize) -> String {
    format!(
        "ERR slotcar: clients wait for too many keys of several slots already, at most {keys_max}"
    )
}

/// `AUTH` of one user more than there may be.
pub fn too_many_users(users_max: usize) -> String {
    format!(
        "ERR slotcar: clients have logged in as too many different users already, at most {users_max}"
    )
}

/// A script, with what goes in front of it.
pub const TOO_LARGE_REWRITTEN: &str = "ERR slotcar: the script is too large with what --keep-together or --databases puts in front of it";

/// A command that lives on a connection of its own. `command` is its full name as the table spells it.
pub fn not_served_yet(command: &str) -> String {
    format!("ERR slotcar does not serve '{command}' yet: it needs a connection of its own")
}

/// A command that is not passed on.
pub fn refused(command: &str, why: Refuse) -> String {
    match why {
        Refuse::Denied => format!("NOPERM slotcar: '{command}' is denied here"),
        Refuse::ReadsOnly => {
            format!("READONLY slotcar: only reads are served here, not '{command}'")
        }
        Refuse::NodeControl
        | Refuse::Replication
        | Refuse::DataMove
        | Refuse::Modules
        | Refuse::ScriptDebug
        | Refuse::CrossProtocol => {
            format!("ERR slotcar does not pass '{command}' on: ask the node itself")
        }
    }
}

// ── transactions ────────────────────────────────────────────────────────────────────────────────────────────────

pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
pub const WATCH_IN_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
pub const NOT_IN_MULTI: &str = "ERR Command not allowed inside a transaction";
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
pub const EXEC_ABORT: &str = "EXECABORT Transaction discarded because of previous errors.";

/// The node has refused a request that was queued here. `error` is its reply, without `-`.
pub fn exec_abort(error: impl AsRef<[u8]>) -> Vec<u8> {
    quoting(
        "EXECABORT Transaction discarded because of: ",
        error.as_ref(),
        "",
    )
}

/// A command that concerns several nodes, in a transaction that may not be split.
pub fn spans_nodes(command: &str) -> String {
    format!(
        "CROSSSLOT slotcar: '{command}' concerns every shard and cannot be part of a transaction (cross-slot-transactions is 'refuse')"
    )
}

/// Two keys in different slots of one transaction, or of what one watches.
pub fn cross_slot_transaction(a: &[u8], a_slot: u16, b: &[u8], b_slot: u16) -> String {
    in_two_slots("of a transaction", a, a_slot, b, b_slot)
}

pub fn transaction_too_large(max: usize) -> String {
    format!("ERR slotcar: a transaction may have at most {max} bytes")
}

pub fn transaction_too_wide(blocks: usize) -> String {
    format!("EXECABORT slotcar: a transaction cannot be split into {blocks} parts")
}

// ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// A write was sent and its answer never came.
pub fn unknown_outcome(node: impl Display) -> String {
    format!(
        "ERR slotcar: the connection to {node} was lost after the request was sent: its outcome is unknown, it may or may not have been executed"
    )
}

/// A client speaks plainly where TLS is wanted.
pub const TLS_EXPECTED: &str = "ERR slotcar: this port speaks TLS only";

/// No primary came forward while the request was held. `last_node` served the slot when it was last served.
pub fn hold_ran_out(slot: Option<u16>, last_node: Option<impl Display>, held: Duration) -> String {
    let secs = held.as_secs_f64();
    format!("{} for {secs:.1} s", no_primary(slot, last_node))
}

/// A request for this very node could not be delivered.
pub fn node_unreachable(node: impl Display, held: Duration) -> String {
    format!(
        "ERR slotcar: {node} could not be reached for {:.1} s",
        held.as_secs_f64()
    )
}

/// Too much is held already for a shard without a primary.
pub fn hold_is_full(slot: Option<u16>, last_node: Option<impl Display>) -> String {
    format!(
        "{}, and no room to hold more requests",
        no_primary(slot, last_node)
    )
}

/// `slot`: none if there is one server for all.
fn no_primary(slot: Option<u16>, last_node: Option<impl Display>) -> String {
    const BEGINNING: &str = "CLUSTERDOWN slotcar: no primary";
    match (slot, last_node) {
        (Some(slot), Some(node)) => format!("{BEGINNING} for slot {slot} (shard of {node})"),
        (Some(slot), None) => format!("{BEGINNING} for slot {slot}"),
        (None, Some(node)) => format!("{BEGINNING} (last: {node})"),
        (None, None) => BEGINNING.to_owned(),
    }
}

/// Nobody answered the question who serves what. `why` is the last fault met, on one line; empty while there is none.
pub fn no_topology_yet(upstream: &str, why: &str) -> String {
    let why = if why.is_empty() {
        "it is being asked"
    } else {
        why
    };
    format!(
        "LOADING slotcar has not reached the {upstream} yet: {}",
        one_line(why, FAULT_SHOWS_MAX)
    )
}

pub fn too_many_redirections(slot: u16, count: u32) -> String {
    format!("CLUSTERDOWN slotcar: gave up on slot {slot} after {count} redirections")
}

/// A part's reply has another shape than its command promises.
pub const UNEXPECTED_REPLY: &str =
    "ERR slotcar: a node's reply to a part of this request makes no sense";

// ── how bytes are shown ─────────────────────────────────────────────────────────────────────────────────────────

/// How much of a client's word is repeated; the servers have no such limit in these texts.
const WORD_SHOWS_MAX: usize = 1024;
/// How many bytes of a key slotcar repeats in an error.
const KEY_SHOWS_MAX: usize = 48;
/// How many characters of a fault slotcar repeats in an error.
const FAULT_SHOWS_MAX: usize = 200;

/// A client's word between two texts, as the servers print it: ended by a NUL, line ends turned into spaces.
fn quoting(before: &str, word: &[u8], after: &str) -> Vec<u8> {
    let word = word.split(|&byte| byte == 0).next().unwrap_or_default();
    let word = word.get(..WORD_SHOWS_MAX).unwrap_or(word);
    let word = word.iter().map(|&byte| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    });
    let mut text = before.as_bytes().to_vec();
    text.extend(word);
    text.extend_from_slice(after.as_bytes());
    text
}

/// A key for people: what is not printable escaped, the middle of a long one left out.
fn shown(key: &[u8]) -> String {
    let half = KEY_SHOWS_MAX / 2;
    if key.len() <= KEY_SHOWS_MAX {
        return key.escape_ascii().to_string();
    }
    let head = key.get(..half).unwrap_or_default();
    let tail = key
        .get(key.len().saturating_sub(half)..)
        .unwrap_or_default();
    format!("{}...{}", head.escape_ascii(), tail.escape_ascii())
}

/// At most `max` characters, control characters turned into spaces.
fn one_line(text: &str, max: usize) -> String {
    text.chars()
        .take(max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with arguments that try to break the line.
    fn quoting_evil() -> impl Iterator<Item = Vec<u8>> {
        const LONG: &[u8] = &[b'k'; 5000];
        const EVIL: &[u8] = b"a\r\n-ERR b\0\xff\x01";
        [EVIL, LONG].into_iter().flat_map(|word| {
            [
                unknown_subcommand_or_arity("client", word),
                hello_option(word),
                client_type(word),
                client_user(word),
                client_info_option(word),
                client_info_value(word),
                prefix_overlaps(word, "an existing", b"a"),
                prefix_overlaps(b"a", "an existing", word),
                exec_abort(word),
                cross_slot(word, 1, LONG, 2).into(),
                cross_slot_transaction(word, 1, LONG, 2).into(),
                no_topology_yet("cluster", &String::from_utf8_lossy(word)).into(),
            ]
        })
    }

    #[test]
    fn every_text_is_one_short_line_that_starts_with_an_upper_case_code() {
        let usual = for_the_reference().into_iter();
        // Who says it puts a code in front.
        let usual = usual.filter(|(name, _)| *name != "only_while_subscribed");
        let usual = usual.map(|(_, text)| text.into_bytes());
        for text in usual.chain(quoting_evil()) {
            let shown = text.escape_ascii();
            let code = text.split(|&byte| byte == b' ').next().unwrap();
            assert!(
                code.len() >= 3 && code.iter().all(u8::is_ascii_uppercase),
                "{shown}"
            );
            assert!(!text.iter().any(|byte| b"\r\n\0".contains(byte)), "{shown}");
            assert!(text.len() < 1200, "{shown}");
        }
    }

    /// By the name of its constant or function, each text with words in place of what changes.
    fn for_the_reference() -> Vec<(&'static str, String)> {
        macro_rules! named {
            ($($name:ident $(($($argument:expr),*))?,)*) => {
                vec![$((stringify!($name), text($name $(($($argument),*))?))),*]
            };
        }
        fn text(text: impl AsRef<[u8]>) -> String {
            let text = String::from_utf8(text.as_ref().to_vec()).unwrap();
            let numbers = [("7777", "SLOT"), ("8888", "COUNT"), ("6666", "BYTES")];
            let text = numbers
                .iter()
                .fold(text, |text, (number, word)| text.replace(number, word));
            let text = text.replace("9999.0", "TIME").replace("'*'", "'PATTERN'");
            text.replace('|', "\\|")
        }
        let time = Duration::from_secs(9999);
        let (word, node) = (b"WORD".as_slice(), Some("NODE"));
        let (key, other) = (b"KEY".as_slice(), b"OTHER".as_slice());
        named![
            NO_AUTH,
            NO_AUTH_HELLO,
            WRONG_PASS,
            NO_PASSWORD_SET,
            MAX_CLIENTS,
            NO_PROTO,
            SYNTAX,
            INVALID_CURSOR,
            NOT_AN_INTEGER,
            PROTO_NOT_AN_INTEGER,
            DB_OUT_OF_RANGE,
            DB_NO_INT,
            NOT_IMPORTING,
            CLIENT_NAME,
            CLIENT_ID,
            CLIENT_ID_NOT_POSITIVE,
            NO_SUCH_CLIENT,
            MAX_AGE_NOT_AN_INTEGER,
            MAX_AGE_NOT_POSITIVE,
            TIMEOUT_NOT_AN_INTEGER,
            TIMEOUT_NOT_A_FLOAT,
            TIMEOUT_NEGATIVE,
            TIMEOUT_OUT_OF_RANGE,
            PAUSE_MODE,
            WRONG_TYPE,
            UNBLOCKED,
            UNBLOCK_REASON,
            CACHING_OFF,
            CACHING_YES,
            CACHING_NO,
            REDIRECT_TWICE,
            REDIRECT_TO_NOBODY,
            PREFIX_WITHOUT_BCAST,
            SWITCH_BCAST,
            SWITCH_OPT,
            OPT_WITH_BCAST,
            OPT_IN_AND_OUT,
            MONITORS,
            CLUSTER_DISABLED,
            NESTED_MULTI,
            WATCH_IN_MULTI,
            NOT_IN_MULTI,
            EXEC_WITHOUT_MULTI,
            DISCARD_WITHOUT_MULTI,
            EXEC_ABORT,
            TOO_LARGE_REWRITTEN,
            TLS_EXPECTED,
            UNEXPECTED_REPLY,
            prefix_overlaps(word, "an existing", other),
            not_subscribed("COMMAND"),
            only_while_subscribed("COMMAND"),
            unknown_subcommand_or_arity("client", word),
            wrong_arity("COMMAND"),
            hello_option(word),
            client_type(word),
            client_user(word),
            client_info_option(word),
            client_info_value(word),
            cross_slot(key, 7777, other, 7777),
            cross_slot_transaction(key, 7777, other, 7777),
            too_many_awaited_keys(8888),
            too_many_users(8888),
            not_served_yet("COMMAND"),
            refused("COMMAND", Refuse::NodeControl),
            refused("COMMAND", Refuse::Denied),
            refused("COMMAND", Refuse::ReadsOnly),
            exec_abort("WHY"),
            spans_nodes("COMMAND"),
            transaction_too_large(6666),
            transaction_too_wide(8888),
            unknown_outcome("NODE"),
            hold_ran_out(Some(7777), node, time),
            hold_ran_out(None, node, time),
            node_unreachable("NODE", time),
            hold_is_full(Some(7777), node),
            no_topology_yet("cluster", "WHY"),
            no_topology_yet("server", "WHY"),
            too_many_redirections(7777, 8888),
        ]
    }

    #[test]
    fn every_text_stands_in_the_reference_for_users() {
        let reference = include_str!("../../docs/errors.md");
        let texts = for_the_reference();
        for (name, text) in &texts {
            let row = format!("| `{text}` |");
            assert!(
                reference.contains(&row),
                "docs/errors.md lacks {name}: {row}"
            );
        }
        let source = include_str!("errors.rs").split("#[cfg(test)]").next();
        for line in source.unwrap().lines() {
            let item = line.strip_prefix("pub const ");
            let item = item.or_else(|| line.strip_prefix("pub fn "));
            let name = item.and_then(|item| item.split([':', '(']).next());
            if let Some(name) = name {
                let is_there = texts.iter().any(|(of, _)| *of == name);
                assert!(is_there, "{name} is missing in this test");
            }
        }
    }

    /// What is said of bytes that are no requests is spelled where they are read.
    #[test]
    fn so_does_every_protocol_error() {
        let reference = include_str!("../../docs/errors.md");
        let sources = [
            include_str!("../resp/request.rs"),
            include_str!("../resp/inline.rs"),
        ];
        for source in sources.map(|source| source.split("#[cfg(test)]").next().unwrap()) {
            for (at, _) in source.match_indices("\"ERR ") {
                let text = source[at + 1..].split(['"', '{']).next().unwrap();
                assert!(reference.contains(&format!("`{text}")), "{text}");
            }
        }
    }

    #[test]
    fn a_crossslot_error_names_keys_and_slots() {
        assert_eq!(
            cross_slot(b"a", 15495, b"b\xff", 3300),
            "CROSSSLOT Keys in request don't hash to the same slot: 'a' (slot 15495) and 'b\\xff' (slot 3300); \
             with --keep-together '*' they would"
        );
        for (a, b, rule) in [
            ("queue:1", "queue:12", "queue:*"),
            ("queue:in:a", "queue:out", "queue:*"),
            ("celery-a", "celery-b", "celery-*"),
            ("user1", "user2", "*"),
            ("{a}:1", "{a}:2", "*"),
            ("", "x", "*"),
        ] {
            assert_eq!(rule_for(a.as_bytes(), b.as_bytes()), rule, "{a} {b}");
        }
    }

    #[test]
    fn a_hold_that_ran_out_names_the_shard_and_the_time() {
        assert_eq!(
            hold_ran_out(
                Some(123),
                Some("10.0.0.1:7000"),
                Duration::from_millis(15_040)
            ),
            "CLUSTERDOWN slotcar: no primary for slot 123 (shard of 10.0.0.1:7000) for 15.0 s"
        );
    }
}
