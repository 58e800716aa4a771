//! What slotcar answers by itself, byte for byte as a live server without cluster support answers it.
//!
//! Each story is one connection's requests, told to `redis-server` and `valkey-server` (if installed) and to
//! `downstream::local`, in RESP2 and RESP3. Ids are masked; of a client's line only what both can know is compared.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test helper that fails is a failed test"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use slotcar::clock::{self, Now};
use slotcar::command::lookup::{CommandTable, Lookup};
use slotcar::command::{Flags, Route, check};
use slotcar::config::{Logins, Users};
use slotcar::downstream::local::{
    Address, After, Databases, Extra, Face, Identity, answer, client_line, killed, listed,
};
use slotcar::downstream::tracking::{Question, Tracking};
use slotcar::reply::errors;
use slotcar::resp::reply::{Reply, ReplyLimits, ReplyScan, ReplyScanned};
use slotcar::resp::request::{Arg, Request};
use slotcar::resp::write;

/// Requests of one connection, separated by `|`; `\n` is a line end, `''` an empty word, `_` within a word a blank.
/// A refused AUTH stands first: Valkey 8.0 says nothing to it while other replies are pending.
const STORIES: &[&str] = &[
    "HELLO|HELLO 2|HELLO 3|HELLO|HELLO 2",
    "HELLO 4|HELLO 1|HELLO -3|HELLO abc|HELLO 03|HELLO +3|HELLO SETNAME x|HELLO 99999999999999999999",
    "HELLO 3 SETNAME foo|CLIENT GETNAME|HELLO 2 SETNAME a SETNAME b|CLIENT GETNAME|HELLO 2 SETNAME ''|CLIENT GETNAME",
    "HELLO 2 SETNAME|HELLO 3 FOO|HELLO 3 a\\nb|HELLO 3 SETNAME a_b|CLIENT GETNAME|HELLO 3 SETNAME a\\nb",
    "HELLO 3 AUTH default any|HELLO 2 auth default x setname z|CLIENT GETNAME|RESET|CLIENT GETNAME",
    "HELLO 3 AUTH foo bar",
    "HELLO 3 AUTH foo bar SETNAME x|CLIENT GETNAME",
    "HELLO 3 AUTH foo",
    "AUTH a b",
    "AUTH foo|AUTH ''|AUTH default foo|AUTH a b c|AUTH",
    "SELECT 0|SELECT 16|SELECT -1|SELECT abc|SELECT 00|SELECT +0|SELECT ''|SELECT 99999999999999999999|SELECT 4294967296|SELECT",
    "RESET|RESET x|HELLO 3|RESET|CLIENT GETNAME",
    "PING|PING abc|PING ''|PING a b|ping|ECHO abc|ECHO|ECHO a b|ROLE|ROLE x",
    "QUIT|PING",
    "QUIT x",
    "CLIENT|CLIENT FOO|CLIENT a\\nb|CLIENT ID|CLIENT ID x|CLIENT GETNAME|CLIENT GETNAME x",
    "CLIENT SETNAME a|CLIENT GETNAME|CLIENT SETNAME ''|CLIENT GETNAME|CLIENT SETNAME a_b|CLIENT SETNAME a\\nb|CLIENT SETNAME",
    "CLIENT INFO|CLIENT SETNAME me|CLIENT NO-EVICT ON|CLIENT INFO|CLIENT NO-EVICT off|CLIENT LIST|CLIENT NO-EVICT foo",
    "CLIENT LIST TYPE normal|CLIENT LIST type NORMAL|CLIENT LIST TYPE pubsub|CLIENT LIST TYPE master|CLIENT LIST TYPE replica|CLIENT LIST TYPE slave",
    "CLIENT LIST TYPE foo|CLIENT LIST TYPE a\\nb|CLIENT LIST TYPE|CLIENT LIST FOO|CLIENT LIST FOO BAR|CLIENT LIST TYPE normal ID 1",
    "CLIENT LIST ID 999999 999998|CLIENT LIST ID abc|CLIENT LIST ID -1|CLIENT LIST ID 0|CLIENT LIST ID|CLIENT LIST ID 999999 TYPE normal",
    "CLIENT KILL|CLIENT KILL 1.2.3.4:5|CLIENT KILL ID|CLIENT KILL ID 999999|CLIENT KILL ID abc|CLIENT KILL ID 0|CLIENT KILL ID -5",
    "CLIENT KILL id 9223372036854775808|CLIENT KILL ID 0 FOO|CLIENT KILL ID 999999 TYPE|CLIENT KILL FOO bar|CLIENT KILL ID 999998 999999",
    "CLIENT KILL TYPE foo|CLIENT KILL TYPE pubsub|CLIENT KILL TYPE master|CLIENT KILL TYPE slave|CLIENT KILL USER nosuch|CLIENT KILL USER default",
    "CLIENT KILL ADDR 1.2.3.4:5|CLIENT KILL LADDR 1.2.3.4:5|CLIENT KILL SKIPME yes|CLIENT KILL SKIPME foo|CLIENT KILL ID 999999 SKIPME",
    "CLIENT KILL TYPE normal SKIPME no|PING",
    "CLIENT PAUSE|CLIENT PAUSE abc|CLIENT PAUSE -1|CLIENT PAUSE 0 foo|CLIENT PAUSE abc foo|CLIENT PAUSE 0 ALL x|CLIENT pause abc ALL x",
    "CLIENT PAUSE 0|CLIENT PAUSE 0 ALL|CLIENT PAUSE 0 write|CLIENT PAUSE 99999999999999999999|CLIENT UNPAUSE|CLIENT UNPAUSE x",
    "CLIENT REPLY ON|CLIENT REPLY foo|CLIENT REPLY|CLIENT REPLY ON x",
    "CLIENT REPLY OFF|PING|CLIENT REPLY foo|CLIENT REPLY SKIP|PING|FOO|CLIENT REPLY ON|PING",
    "CLIENT REPLY SKIP|PING|PING|CLIENT REPLY SKIP|CLIENT REPLY SKIP|PING|PING|CLIENT REPLY SKIP|CLIENT REPLY ON|PING",
    "CLIENT REPLY OFF|RESET|PING",
    "CLIENT UNBLOCK 999999|CLIENT UNBLOCK abc|CLIENT UNBLOCK 999999 TIMEOUT|CLIENT UNBLOCK 999999 error|CLIENT UNBLOCK abc foo|CLIENT UNBLOCK 1 ERROR x|CLIENT UNBLOCK",
    "CLIENT TRACKINGINFO|CLIENT TRACKINGINFO x|CLIENT GETREDIR|CLIENT HELP x",
    "CLUSTER|CLUSTER INFO|CLUSTER SLOTS|CLUSTER NODES|CLUSTER MYID|CLUSTER KEYSLOT a|CLUSTER HELP|CLUSTER FOO|CLUSTER KEYSLOT|CLUSTER MYID x",
    "READONLY|READONLY x|READWRITE|ASKING|ASKING x",
    "FOO a b|FOO|foo a\\nb",
];

/// What Redis 7.0 does not know yet or does otherwise.
const STORIES_OF_VALKEY: &[&str] = &[
    "HELLO 3 SETNAME x AUTH foo bar|CLIENT GETNAME",
    "CLIENT SETINFO LIB-NAME foo|CLIENT SETINFO lib-ver 1.2|CLIENT INFO|CLIENT SETINFO LIB-NAME ''|CLIENT INFO|RESET|CLIENT INFO",
    "CLIENT SETINFO Lib-Name a_b|CLIENT SETINFO lib-ver a\\nb|CLIENT SETINFO foo bar|CLIENT SETINFO foo",
    "CLIENT NO-TOUCH ON|CLIENT INFO|CLIENT NO-TOUCH OFF|CLIENT NO-TOUCH foo|CLIENT CAPA redirect|CLIENT CAPA foo bar|CLIENT CAPA",
    "CLIENT KILL MAXAGE 100000|CLIENT KILL MAXAGE abc|CLIENT KILL MAXAGE 0|CLIENT KILL ID 999999 MAXAGE -3",
    "CLIENT PAUSE 9223372036854775807|CLIENT HELP",
];

/// For a server that wants a password. They end with the right one.
const STORIES_OF_STRANGERS: &[&str] = &[
    "HELLO 3|HELLO 2|PING|FOO|CLIENT|SELECT 0|AUTH secret|CLIENT GETNAME",
    "AUTH wrong|AUTH secret",
    "AUTH default wrong|AUTH secret",
    "AUTH default secret|PING|RESET|PING|AUTH secret",
    "HELLO 3 AUTH default wrong|AUTH secret",
    "HELLO 3 AUTH nobody secret|AUTH secret",
    "HELLO 3 AUTH default secret SETNAME me|CLIENT GETNAME|AUTH secret",
];

#[test]
fn local_answers_are_those_of_redis() {
    let told = compare("redis-server", "redis", &[STORIES]).expect("redis-server is installed");
    println!("{told} requests compared with redis-server");
}

#[test]
fn local_answers_are_those_of_valkey() {
    match compare("valkey-server", "valkey", &[STORIES, STORIES_OF_VALKEY]) {
        Some(told) => println!("{told} requests compared with valkey-server"),
        None => println!("valkey-server is not installed"),
    }
}

/// How many requests were compared; `None` if there is no such program.
fn compare(program: &str, name: &str, stories: &[&[&str]]) -> Option<usize> {
    let open = Server::start(program, None)?;
    let closed = Server::start(program, Some("secret"))?;
    let told = compare_with(&open, name, stories.iter().copied().flatten());
    Some(told + compare_with(&closed, name, STORIES_OF_STRANGERS.iter()))
}

fn compare_with<'a>(
    server: &Server,
    name: &str,
    stories: impl Iterator<Item = &'a &'a str> + Clone,
) -> usize {
    let table = CommandTable::new();
    let face = Face {
        server: name.to_owned(),
        version: server.version(),
        databases: Databases::default(),
        logins: match server.password {
            Some(password) => Logins::Listed(Users::of_password(password.as_bytes())),
            None => Logins::Anybody,
        },
    };
    let mut told = 0;
    for hello in ["HELLO 2", "HELLO 3"] {
        for story in stories.clone() {
            let mut requests = vec![words(hello)];
            requests.extend(story.split('|').map(words));
            let real = masked(&server.tell(&requests));
            let ours = masked(&tell_slotcar(&requests, &table, &face));
            assert_eq!(ours, real, "left: slotcar, right: {name}, {hello}, {story}");
            told += requests.len();
        }
    }
    told
}

/// Lets `downstream::local` answer as the only session of a slotcar.
fn tell_slotcar(requests: &[Vec<Vec<u8>>], table: &CommandTable, face: &Face) -> Vec<u8> {
    let here = Address::Unix("/run/s".into());
    let now = Now::ZERO;
    let mut me = Identity::new(
        7,
        here.clone(),
        here,
        matches!(face.logins, Logins::Anybody),
        now,
    );
    let mut sent = Vec::new();
    for words in requests {
        let (bytes, args) = laid_out(words);
        let request = Request {
            bytes: &bytes,
            args: &args,
        };
        let wished = me.take_reply_wish();
        let mut reply = Vec::new();
        let after = one_answer(request, &mut me, table, face, &mut reply);
        if wished || after == After::ReplyAnyway || after == After::Reset {
            sent.extend_from_slice(&reply);
        }
        if after == After::Close {
            break;
        }
    }
    sent
}

/// What the hub does around [`answer`], for one session.
fn one_answer(
    request: Request<'_>,
    me: &mut Identity,
    table: &CommandTable,
    face: &Face,
    out: &mut Vec<u8>,
) -> After {
    let lookup = table.lookup(request);
    if let Some(error) = check::refuse(lookup, request) {
        write::error(out, error);
        return After::Reply;
    }
    let Lookup::Row(row) = lookup else {
        panic!("neither a row nor refused")
    };
    let Route::Local(local) = row.route else {
        panic!("{} is not local", row.name)
    };
    if !me.authenticated && !row.flags.contains(Flags::NO_AUTH) {
        write::error(out, errors::NO_AUTH);
        return After::Reply;
    }
    me.last_command = Some(row.name);
    let after = answer(local, request, me, face, out);
    match &after {
        After::Info => listed(me.proto, &line(me, face), out),
        After::List(filter) => {
            let lines = if filter.matches(me, false, Now::ZERO) {
                line(me, face)
            } else {
                Vec::new()
            };
            listed(me.proto, &lines, out);
        }
        After::Kill { filter, by_address } => {
            let count = usize::from(filter.matches(me, false, Now::ZERO));
            killed(count, *by_address, out);
            return if count > 0 {
                After::Close
            } else {
                After::Reply
            };
        }
        After::Unblock { .. } => write::integer(out, 0),
        After::Tracking(Question::Info) => Tracking::write_info(None, me.proto, out),
        After::Tracking(Question::Redirection) => write::integer(out, Tracking::redirection(None)),
        After::Tracking(Question::Caching(_)) => write::error(out, errors::CACHING_OFF),
        After::Reply
        | After::ReplyAnyway
        | After::NoReply
        | After::Close
        | After::Switch(_)
        | After::Reset
        | After::Pause { .. }
        | After::Unpause => {}
    }
    after
}

fn line(me: &Identity, face: &Face) -> Vec<u8> {
    let mut line = Vec::new();
    client_line(me, &Extra::default(), face, Now::ZERO, &mut line);
    line
}

/// The frames of a stream, one a line, with ids masked and clients' lines reduced to what can be the same.
fn masked(stream: &[u8]) -> String {
    let mut rest = stream;
    let mut text = String::new();
    let mut id_follows = false;
    while !rest.is_empty() {
        let Ok(ReplyScanned::Complete(len)) =
            ReplyScan::new().advance(rest, &ReplyLimits::default())
        else {
            panic!("torn: {}", rest.escape_ascii());
        };
        let (frame, tail) = rest.split_at(len);
        rest = tail;
        text += &masked_frame(Reply::new(frame), &mut id_follows);
        text.push('\n');
    }
    // Redis 7.0 leaves out a word that later servers have.
    text.replace(
        "otherwise the HELLO AUTH",
        "otherwise the HELLO <proto> AUTH",
    )
}

fn masked_frame(reply: Reply<'_>, id_follows: &mut bool) -> String {
    let line = reply.text().and_then(|text| std::str::from_utf8(text).ok());
    if let Some(line) = line.filter(|line| line.starts_with("id=")) {
        let kept = [
            "name", "flags", "db", "sub", "psub", "ssub", "multi", "oll", "omem", "cmd", "user",
            "redir", "resp",
        ];
        let fields = line
            .trim_end()
            .split(' ')
            .filter(|field| kept.contains(&field.split('=').next().unwrap()));
        return format!(
            "{:?} client {}",
            reply.kind(),
            fields.collect::<Vec<_>>().join(" ")
        );
    }
    let is_greeting = reply
        .items()
        .next()
        .is_some_and(|item| item.text() == Some(b"server"));
    if is_greeting {
        let items: Vec<String> = reply
            .items()
            .map(|item| {
                let masked = std::mem::take(id_follows) && item.integer().is_some();
                *id_follows = item.text() == Some(b"id");
                if masked {
                    ":ID".to_owned()
                } else {
                    item.bytes().escape_ascii().to_string()
                }
            })
            .collect();
        return format!("{:?} {}", reply.kind(), items.join(" "));
    }
    match reply.integer() {
        Some(id) if (1..1000).contains(&id) => ":ID".to_owned(),
        Some(_) | None => reply.bytes().escape_ascii().to_string(),
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    let word = |word: &str| match word {
        "''" => Vec::new(),
        word => word.replace("\\n", "\n").replace('_', " ").into_bytes(),
    };
    line.split(' ').map(word).collect()
}

/// Words end to end, and where each lies.
fn laid_out(words: &[Vec<u8>]) -> (Vec<u8>, Vec<Arg>) {
    let mut bytes = Vec::new();
    let mut args = Vec::new();
    for word in words {
        let start = u32::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(word);
        let end = u32::try_from(bytes.len()).unwrap();
        args.push(Arg { start, end });
    }
    (bytes, args)
}

/// A live server behind a Unix socket, in a directory of its own; gone when dropped.
struct Server {
    process: Child,
    dir: PathBuf,
    password: Option<&'static str>,
}

impl Server {
    fn start(program: &str, password: Option<&'static str>) -> Option<Self> {
        let kind = password.map_or("open", |_| "closed");
        let dir = std::env::temp_dir().join(format!(
            "slotcar-local-{program}-{kind}-{}",
            std::process::id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let process = Command::new(program)
            .args(["--port", "0", "--unixsocket", "s", "--save", "", "--dir"])
            .arg(&dir)
            .args(["--requirepass", password.unwrap_or_default()])
            .current_dir(&dir)
            .stdout(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            std::fs::remove_dir_all(&dir).unwrap();
            return None;
        };
        let server = Self {
            process,
            dir,
            password,
        };
        let deadline = clock::now() + Duration::from_secs(10);
        while UnixStream::connect(server.dir.join("s")).is_err() {
            assert!(clock::now() < deadline, "{program} does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    /// Everything that the server says to these requests, until it closes or has answered them all. The first is
    /// answered before the others are sent.
    fn tell(&self, requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.dir.join("s")).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let [first, others @ ..] = requests else {
            return Vec::new();
        };
        let mut answer = vec![0; 4096];
        let mut bytes = Vec::new();
        write::command(&mut bytes, first);
        stream.write_all(&bytes).unwrap();
        let len = stream.read(&mut answer).unwrap();
        answer.truncate(len);
        bytes.clear();
        others
            .iter()
            .for_each(|request| write::command(&mut bytes, request));
        write::command(&mut bytes, &["CLIENT", "REPLY", "ON"]);
        write::command(&mut bytes, &["ECHO", MARK]);
        stream.write_all(&bytes).unwrap();
        let end = format!("+OK\r\n${}\r\n{MARK}\r\n", MARK.len());
        let mut chunk = [0; 4096];
        while !answer.ends_with(end.as_bytes()) {
            let Ok(len @ 1..) = stream.read(&mut chunk) else {
                return answer;
            };
            answer.extend_from_slice(&chunk[..len]);
        }
        answer.truncate(answer.len() - end.len());
        answer
    }

    fn version(&self) -> String {
        let password = self.password.unwrap_or("any");
        let answer = self.tell(&[words(&format!("HELLO 2 AUTH default {password}"))]);
        let greeting = Reply::new(&answer);
        let version = greeting.items().nth(3).unwrap();
        String::from_utf8(version.text().unwrap().to_vec()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

const MARK: &str = "the-end-of-this-story";
