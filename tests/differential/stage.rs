//! Runs a script against one address and writes down what every step has seen.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::Client;
use crate::frame::Frame;
use crate::mask::{self, Names};
use crate::script::{Protocol, Request, Script, Section, Step, What};
use crate::support::wait::holds_within;

pub(crate) struct Outcome {
    pub(crate) line: usize,
    pub(crate) step: String,
    /// Masked and sorted, so that it can be compared.
    pub(crate) seen: String,
    /// Something that was waited for did not come; the rest of the section was left out.
    pub(crate) is_silent: bool,
}

/// At one address and at the other.
pub(crate) type Both = (Vec<Outcome>, Vec<Outcome>);

/// Both addresses at the same time, one protocol after the other; clients begin in this database.
pub(crate) fn run_both(
    script: &Script,
    one: SocketAddr,
    other: SocketAddr,
    database: u32,
) -> Vec<(Protocol, Both)> {
    let run_protocol = |protocol: Protocol| {
        let both = std::thread::scope(|scope| {
            let one = scope.spawn(|| run(script, one, protocol, database));
            let other = run(script, other, protocol, database);
            (one.join().expect("a run that ends"), other)
        });
        (protocol, both)
    };
    vec![run_protocol(Protocol::Resp2), run_protocol(Protocol::Resp3)]
}

fn run(script: &Script, addr: SocketAddr, protocol: Protocol, database: u32) -> Vec<Outcome> {
    let mut control = Client::open(addr, PATIENCE);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for section in script.sections.iter().filter(|one| one.is_for(protocol)) {
        let silent = outcomes.iter().filter(|outcome| outcome.is_silent).count();
        let stage = Stage {
            addr,
            protocol,
            database,
            patience: if silent < 5 { PATIENCE } else { PATIENCE / 10 },
            control: &mut control,
            actors: HashMap::new(),
            names: Names::new(),
        };
        outcomes.extend(stage.run(section));
    }
    outcomes
}

/// One section: everybody in it is new.
struct Stage<'a> {
    addr: SocketAddr,
    protocol: Protocol,
    /// In which clients begin.
    database: u32,
    /// How long to wait for what should come: less when that has been in vain often.
    patience: Duration,
    /// Looks at the others from outside.
    control: &'a mut Client,
    actors: HashMap<String, Actor>,
    names: Names,
}

struct Actor {
    client: Client,
    id: String,
    /// Sent, and their replies not yet read.
    pending: Vec<Request>,
}

/// Something that was waited for did not come; what had come before.
struct Silent(String);

impl Stage<'_> {
    fn run(mut self, section: &Section) -> Vec<Outcome> {
        let cleared = CLEAR.map(|request| match self.ask_control(request) {
            Some(reply) => reply.to_string(),
            None => NOTHING.to_owned(),
        });
        let mut outcomes = vec![Outcome {
            line: section.line,
            step: format!("== {}", section.title),
            seen: joined(cleared),
            is_silent: false,
        }];
        for step in &section.steps {
            if !step.is_for(self.protocol) {
                continue;
            }
            let seen = self.step(step);
            let is_silent = seen.is_err();
            outcomes.push(Outcome {
                line: step.line,
                step: step.text.clone(),
                seen: seen.unwrap_or_else(|Silent(seen)| seen),
                is_silent,
            });
            if is_silent {
                break;
            }
        }
        let ids: Vec<String> = self.actors.drain().map(|(_, actor)| actor.id).collect();
        for id in ids {
            self.wait_gone(&id);
        }
        outcomes
    }

    fn step(&mut self, step: &Step) -> Result<String, Silent> {
        match &step.what {
            What::Speaks(protocol) => {
                return self.open(&step.who, *protocol);
            }
            What::Closes => {
                let actor = self.actors.remove(&step.who);
                let actor = actor.unwrap_or_else(|| panic!("{}: not connected", step.text));
                let id = actor.id;
                drop(actor.client);
                return Ok(self.wait_gone(&id));
            }
            _ if self.actors.contains_key(&step.who) => {}
            _ => drop(self.open(&step.who, self.protocol)?),
        }
        match &step.what {
            What::Ask {
                requests,
                unordered,
            } => {
                self.send(&step.who, requests);
                self.replies(&step.who, requests.len(), *unordered)
            }
            What::Send(requests) => {
                self.send(&step.who, requests);
                Ok(String::new())
            }
            What::Replies { count } => self.replies(&step.who, *count, false),
            What::Messages { count, unordered } => self.messages(&step.who, *count, *unordered),
            What::Quiet => {
                let noise = self.actor(&step.who).client.noise();
                let noise = noise
                    .into_iter()
                    .map(|frame| mask::masked_message(frame, &self.names));
                Ok(joined(noise.map(|frame| frame.to_string())))
            }
            What::Blocks => self.blocks(&step.who),
            What::Listed => {
                let line = self.listed(&step.who);
                Ok(mask::client_line(&line, &self.names))
            }
            What::Scans { options } => self.scans(&step.who, options),
            What::Until { reply, request } => self.until(&step.who, reply, request),
            What::IsClosed if self.actor(&step.who).client.ends() => Ok("closed".to_owned()),
            What::IsClosed => Err(Silent("still open".to_owned())),
            What::Closes | What::Speaks(_) => Ok(String::new()),
        }
    }

    fn open(&mut self, who: &str, protocol: Protocol) -> Result<String, Silent> {
        let mut client = Client::open(self.addr, self.patience);
        if protocol == Protocol::Resp3 {
            client.ask(&["HELLO", "3"]);
        }
        if self.database != 0 {
            client.ask(&["SELECT", &self.database.to_string()]);
        }
        let id = client.ask(&["CLIENT", "ID"]).map(|id| id.to_string());
        let Some(id) = id.as_deref().and_then(|id| id.strip_prefix(':')) else {
            return Err(Silent(format!("no client id: {id:?}")));
        };
        self.names.insert(id.to_owned(), format!("<{who}>"));
        let actor = Actor {
            client,
            id: id.to_owned(),
            pending: Vec::new(),
        };
        self.actors.insert(who.to_owned(), actor);
        Ok(String::new())
    }

    /// Waits until who has closed is not listed any more.
    fn wait_gone(&mut self, id: &str) -> String {
        let has_gone = holds_within(self.patience, || {
            let list = self.ask_control(&["CLIENT", "LIST", "ID", id]);
            list.is_some_and(|list| list.text().is_empty())
        });
        if has_gone { "gone" } else { "still listed" }.to_owned()
    }

    fn send(&mut self, who: &str, requests: &[Request]) {
        let requests: Vec<Request> = requests
            .iter()
            .map(|request| request.iter().map(|word| self.with_id(word)).collect())
            .collect();
        let actor = self.actor(who);
        actor.client.send(&requests);
        actor.pending.extend(requests);
    }

    /// `$c1` is the id of c1.
    fn with_id(&self, word: &[u8]) -> Vec<u8> {
        let name = word.strip_prefix(b"$").map(String::from_utf8_lossy);
        let actor = name.and_then(|name| self.actors.get(name.as_ref()));
        actor.map_or_else(|| word.to_vec(), |actor| actor.id.clone().into_bytes())
    }

    fn replies(&mut self, who: &str, count: usize, unordered: bool) -> Result<String, Silent> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let actor = self.actor(who);
            let Some(reply) = actor.client.reply() else {
                return Err(silent(seen));
            };
            let request = match actor.pending.len() {
                0 => Request::new(),
                _ => actor.pending.remove(0),
            };
            let reply = mask::masked(reply, &request, &self.names).in_one_order();
            let reply = if unordered { reply.unordered() } else { reply };
            seen.push(reply.to_string());
        }
        Ok(joined(seen))
    }

    fn messages(&mut self, who: &str, count: usize, unordered: bool) -> Result<String, Silent> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let Some(message) = self.actor(who).client.message() else {
                seen.sort();
                return Err(silent(seen));
            };
            seen.push(mask::masked_message(message, &self.names).to_string());
        }
        if unordered {
            seen.sort();
        }
        Ok(joined(seen))
    }

    fn blocks(&mut self, who: &str) -> Result<String, Silent> {
        let mut has_answer = false;
        let blocks = holds_within(self.patience, || {
            has_answer = self.actor(who).client.has_reply();
            has_answer || field(&self.listed(who), "flags").contains('b')
        });
        match (has_answer, blocks) {
            (true, _) => Ok("has an answer already".to_owned()),
            (false, true) => Ok("blocked".to_owned()),
            (false, false) => Err(Silent("neither listed as blocked nor answered".to_owned())),
        }
    }

    fn listed(&mut self, who: &str) -> String {
        let id = self.actor(who).id.clone();
        let list = self.ask_control(&["CLIENT", "LIST", "ID", &id]);
        list.map(|list| list.text()).unwrap_or_default()
    }

    fn until(&mut self, who: &str, reply: &str, request: &Request) -> Result<String, Silent> {
        let mut last = Ok(String::new());
        let came = holds_within(self.patience, || {
            self.send(who, std::slice::from_ref(request));
            last = self.replies(who, 1, false);
            last.as_ref().map_or(true, |last| last == reply)
        });
        match last {
            Ok(last) if !came => Err(Silent(last)),
            other => other,
        }
    }

    /// The keys of a whole walk, each once.
    fn scans(&mut self, who: &str, options: &[Vec<u8>]) -> Result<String, Silent> {
        let mut cursor = b"0".to_vec();
        let mut keys = BTreeSet::new();
        loop {
            let start = [b"SCAN".to_vec(), cursor];
            let request: Request = start.into_iter().chain(options.iter().cloned()).collect();
            let client = &mut self.actor(who).client;
            client.send(&[request]);
            let reply = client.reply();
            let Some(Frame::Many(_, parts)) = &reply else {
                return Err(Silent(format!("{reply:?}")));
            };
            let [Frame::Bulk(_, next), Frame::Many(_, found)] = parts.as_slice() else {
                return Err(Silent(format!("{reply:?}")));
            };
            keys.extend(found.iter().map(ToString::to_string));
            cursor = next.clone();
            if cursor == b"0" {
                return Ok(joined(keys));
            }
        }
    }

    fn ask_control(&mut self, request: &[&str]) -> Option<Frame> {
        let reply = self.control.ask(request);
        if reply.is_none() {
            // What comes late must not be taken for the next reply.
            *self.control = Client::open(self.addr, PATIENCE);
        }
        reply
    }

    fn actor(&mut self, who: &str) -> &mut Actor {
        self.actors
            .get_mut(who)
            .expect("connected when first named")
    }
}

fn silent(mut seen: Vec<String>) -> Silent {
    seen.push(NOTHING.to_owned());
    Silent(joined(seen))
}

fn joined(seen: impl IntoIterator<Item = String>) -> String {
    let seen: Vec<String> = seen.into_iter().collect();
    seen.join("  ")
}

/// A field of a line of CLIENT LIST.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut fields = line
        .split_whitespace()
        .filter_map(|field| field.split_once('='));
    let found = fields.find(|(field, _)| *field == name);
    found.map_or("", |(_, value)| value)
}

/// Every section starts with nothing stored and nobody held up.
const CLEAR: [&[&str]; 5] = [
    &["CLIENT", "UNPAUSE"],
    &["FLUSHALL"],
    &["SCRIPT", "FLUSH"],
    &["FUNCTION", "FLUSH"],
    &["CONFIG", "SET", "notify-keyspace-events", ""],
];
const NOTHING: &str = "(nothing)";
/// Longer than any time-out in the script.
const PATIENCE: Duration = Duration::from_secs(2);
