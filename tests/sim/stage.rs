//! Plays transcripts: a hub, clients and nodes that do what a line says.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use slotcar::clock::Now;
use slotcar::command::lookup::CommandTable;
use slotcar::command::together::Rule;
use slotcar::config::limits::Limits;
use slotcar::config::{Logins, UnknownOutcome};
use slotcar::control::Hint;
use slotcar::memory::Pressure;
use slotcar::resp::request::RequestLimits;
use slotcar::route::part::{LinkId, SessionId};
use slotcar::topology::Endpoint;
use slotcar::upstream::link::LinkDown;
use slotcar::worker::hub::{Hub, Settings};

use crate::notation::{self, matches, patterns, segments, show, show_request};
use crate::rig::{self, ShardPlan, Socket};
use crate::wire::{cut_request, cut_value, request};

/// How often a worker looks at what is held.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct Stage {
    /// None: limits can still be set.
    hub: Option<Hub>,
    limits: Limits,
    request: RequestLimits,
    rules: Vec<Rule>,
    hold_max: Duration,
    unknown_outcome: UnknownOutcome,
    now: Now,
    version: u64,
    clients: BTreeMap<String, Client>,
    links: Vec<Link>,
    doors: BTreeMap<String, Door>,
    hints: Vec<String>,
    greeting_shown: bool,
    torn: Option<usize>,
}

struct Client {
    id: SessionId,
    socket: Socket,
    /// Of a reply of which only the beginning has come.
    torn: Vec<u8>,
    closed: bool,
}

struct Link {
    id: LinkId,
    /// `a`, or `a/3`.
    name: String,
    socket: Socket,
    state: LinkState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Dialing,
    Greeting,
    Open,
    Ended,
}

/// What a node does with dials.
#[derive(Clone, Copy, Default)]
struct Door {
    dials: usize,
    answer: Answer,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    Accepts,
    Refuses,
    Hangs,
}

type Outcome = Result<(), String>;

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            hub: None,
            limits: Limits::default(),
            request: RequestLimits::default(),
            rules: Vec::new(),
            hold_max: Duration::from_secs(15),
            unknown_outcome: UnknownOutcome::Error,
            now: Now::ZERO,
            version: 0,
            clients: BTreeMap::new(),
            links: Vec::new(),
            doors: BTreeMap::new(),
            hints: Vec::new(),
            greeting_shown: false,
            torn: None,
        }
    }

    /// Does what a line says, or says what is not as it says.
    pub(crate) fn run(&mut self, line: &str) -> Outcome {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match first {
            "topology" => self.publish(rest)?,
            "limit" => return self.set_limit(rest),
            "greeting" => self.greeting_shown = rest == "shown",
            "logins" => {
                let face = rig::face(Logins::PassedOn);
                self.hub().on_node_facts(commands().clone(), face);
            }
            "suspects" => {
                let (suspects, now) = (rest.split_whitespace().map(endpoint).collect(), self.now);
                self.hub().on_suspects(now, &suspects);
            }
            "memory" => {
                let (pressure, now) = (pressure(rest)?, self.now);
                self.hub().on_memory(now, pressure);
            }
            "torn" => self.torn = rest.parse().ok(),
            "time" => self.pass(duration(rest)?),
            "hints" => return expect(&with_slots(rest), &std::mem::take(&mut self.hints)),
            _ => self.act(first, rest)?,
        }
        self.settle();
        Ok(())
    }

    /// Nothing may be left that nobody has looked at.
    pub(crate) fn finish(mut self) -> Outcome {
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            expect(&[], &self.received(&name)?).map_err(|wrong| format!("{name}< {wrong}"))?;
        }
        let names: Vec<String> = self.links.iter().map(|link| link.name.clone()).collect();
        for name in names {
            expect(&[], &self.sent_to(&name)).map_err(|wrong| format!("{name}< {wrong}"))?;
        }
        Ok(())
    }

    fn act(&mut self, first: &str, rest: &str) -> Outcome {
        let name = first.trim_end_matches(['<', '>']);
        let is_client = name.len() > 1
            && name.starts_with('c')
            && name[1..].bytes().all(|b| b.is_ascii_digit());
        if is_client && !self.clients.contains_key(name) {
            self.connect(name);
        }
        match (&first[name.len()..], is_client) {
            ("<", true) => {
                let received = self.received(name)?;
                expect(&patterns(rest)?, &received)
            }
            ("<", false) => {
                let sent = self.sent_to(name);
                expect(&requests_as_shown(rest)?, &sent)
            }
            (">", true) => {
                let bytes: Vec<u8> = notation::requests(rest)?
                    .iter()
                    .flat_map(|words| request(words))
                    .collect();
                self.deliver(name, &bytes)
            }
            (">", false) => {
                let bytes: Vec<u8> = notation::replies(rest)?
                    .iter()
                    .flat_map(|value| value.to_bytes())
                    .collect();
                self.deliver(name, &bytes)
            }
            (_, true) => self.act_client(name, rest),
            (_, false) => self.act_node(name, rest),
        }
    }

    fn act_client(&mut self, name: &str, rest: &str) -> Outcome {
        let (verb, object) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(client) = self.clients.get_mut(name) else {
            return Err("no such client".into());
        };
        match (verb, object) {
            ("connects", _) => {}
            ("splits", "transactions") => {
                let id = client.id;
                if let Some(session) = self.hub().session_mut(id) {
                    session.splits_transactions = true;
                }
            }
            ("sends", raw) => {
                let bytes = notation::requests(raw)?.concat().concat();
                return self.deliver(name, &bytes);
            }
            ("half-closes", _) => {
                client.socket.end();
                self.pump_client(name, rig::read_client);
            }
            ("closes", _) => {
                let id = client.id;
                client.closed = true;
                let now = self.now;
                self.hub().on_client_gone(now, id);
            }
            ("takes", room) => {
                if client.socket.make_room(room.parse().unwrap_or(usize::MAX)) {
                    self.pump_client(name, rig::serve_client);
                }
            }
            ("is", "closed") if client.closed => {}
            ("is", "closed") => return Err("it is open".into()),
            ("is", "open") if !client.closed => {}
            ("is", "open") => return Err("it is closed".into()),
            ("is", "unread") if client.socket.has_unread() => {}
            ("is", "unread") => return Err("all has been read".into()),
            _ => return Err("what does the client do?".into()),
        }
        Ok(())
    }

    fn act_node(&mut self, name: &str, rest: &str) -> Outcome {
        let (verb, object) = rest.split_once(' ').unwrap_or((rest, ""));
        match (verb, object) {
            ("sends", raw) => {
                let bytes = notation::requests(raw)?.concat().concat();
                return self.deliver(name, &bytes);
            }
            ("closes", _) => {
                let index = self.live(name)?;
                self.links[index].socket.end();
                self.pump_link(index);
            }
            ("takes", room) => {
                let index = self.live(name)?;
                let room = room.parse().unwrap_or(usize::MAX);
                if self.links[index].socket.make_room(room) {
                    self.pump_link(index);
                }
            }
            ("accepts", _) => self.answer_dials(name, Answer::Accepts),
            ("refuses", _) => self.answer_dials(name, Answer::Refuses),
            ("hangs", _) => self.answer_dials(name, Answer::Hangs),
            ("dials", count) => {
                let dials =
                    std::mem::take(&mut self.doors.entry(name.to_owned()).or_default().dials);
                if count.parse() != Ok(dials) {
                    return Err(format!("  expected: {count}\n  got:      {dials}"));
                }
            }
            _ => return Err("what does the node do?".into()),
        }
        Ok(())
    }

    fn hub(&mut self) -> &mut Hub {
        let (limits, hold_max) = (&self.limits, self.hold_max);
        self.hub.get_or_insert_with(|| {
            let settings = Settings {
                request: self.request.clone(),
                ..rig::settings(
                    &self.rules,
                    self.unknown_outcome,
                    limits.clone(),
                    hold_max,
                    1,
                )
            };
            rig::hub_with(settings, commands())
        })
    }

    fn set_limit(&mut self, rest: &str) -> Outcome {
        if self.hub.is_some() {
            return Err("limits come first".into());
        }
        let (name, value) = rest.split_once(' ').ok_or("limit NAME VALUE")?;
        if name == "hold" {
            self.hold_max = duration(value)?;
            return Ok(());
        }
        if name == "unknown-outcome" {
            self.unknown_outcome = match value {
                "close" => UnknownOutcome::Close,
                _ => UnknownOutcome::Error,
            };
            return Ok(());
        }
        if name == "subscriber_output_soft_timeout" {
            self.limits.subscriber_output_soft_timeout = duration(value)?;
            return Ok(());
        }
        if name == "keep-together" {
            self.rules.push(Rule::parse(value)?);
            return Ok(());
        }
        if name == "argument_bytes_max" {
            self.request.bulk_bytes_max = value.parse().map_err(|_| "not a number")?;
            return Ok(());
        }
        let number: usize = value.parse().map_err(|_| "not a number")?;
        let limits = &mut self.limits;
        *match name {
            "session_requests_in_flight_max" => &mut limits.session_requests_in_flight_max,
            "session_output_bytes_soft" => &mut limits.session_output_bytes_soft,
            "session_output_bytes_max" => &mut limits.session_output_bytes_max,
            "link_queue_bytes_soft" => &mut limits.link_queue_bytes_soft,
            "link_queue_requests_max" => &mut limits.link_queue_requests_max,
            "hold_requests_max" => &mut limits.hold_requests_max,
            "script_bytes_max" => &mut limits.script_bytes_max,
            "users_max" => &mut limits.users_max,
            "hold_bytes_max" => &mut limits.hold_bytes_max,
            "reply_kept_bytes_max" => &mut limits.reply_kept_bytes_max,
            "reply_straight_bytes_min" => &mut limits.reply_straight_bytes_min,
            "subscriber_output_bytes_soft" => &mut limits.subscriber_output_bytes_soft,
            "subscriber_output_bytes_max" => &mut limits.subscriber_output_bytes_max,
            _ => return Err("no such limit".into()),
        } = number;
        Ok(())
    }

    /// `a: 8192-16383  b+c: 0-100,200-300`
    fn publish(&mut self, rest: &str) -> Outcome {
        let mut words = rest.split_whitespace();
        let mut shards = Vec::new();
        while let Some(names) = words.next() {
            let mut members = names.trim_end_matches(':').split('+').map(endpoint);
            let range = |text: &str| -> Option<(u16, u16)> {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                Some((first.parse().ok()?, last.parse().ok()?))
            };
            let ranges = words.next().unwrap_or_default();
            shards.push(ShardPlan {
                primary: members.next().ok_or("a shard has a primary")?,
                replicas: members.collect(),
                ranges: ranges
                    .split(',')
                    .map(range)
                    .collect::<Option<_>>()
                    .ok_or("NAME: FIRST-LAST")?,
            });
        }
        self.version += 1;
        let (topology, now) = (rig::topology(self.version, shards), self.now);
        self.hub().on_topology(now, &topology);
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + TICK).min(end);
            let now = self.now;
            let is_due = self.hub().deadline().is_some_and(|at| at <= now);
            if is_due || self.hub().has_held() {
                self.hub().on_timer(now);
            }
            self.settle();
        }
    }

    fn connect(&mut self, name: &str) {
        let (id, now) = (self.clients.len() as u64 + 1, self.now);
        let id = self.hub().on_accept(rig::identity(id, now));
        self.clients.insert(
            name.to_owned(),
            Client {
                id,
                socket: Socket::default(),
                torn: Vec::new(),
                closed: false,
            },
        );
    }

    /// Bytes arrive from a client or a node, whole or in pieces.
    fn deliver(&mut self, name: &str, bytes: &[u8]) -> Outcome {
        for piece in bytes.chunks(self.torn.unwrap_or(usize::MAX)) {
            if let Some(client) = self.clients.get_mut(name) {
                client.socket.arrive(piece);
                self.pump_client(name, rig::read_client);
            } else {
                let index = self.live(name)?;
                self.links[index].socket.arrive(piece);
                self.pump_link(index);
            }
            if self.torn.is_some() {
                self.settle();
            }
        }
        Ok(())
    }

    fn live(&self, name: &str) -> Result<usize, String> {
        let is_it = |link: &Link| link.name == name && link.state != LinkState::Ended;
        self.links
            .iter()
            .rposition(is_it)
            .ok_or_else(|| format!("no link to {name}"))
    }

    /// Does what the hub wants done until it wants nothing more, in the order in which it was wanted.
    fn settle(&mut self) {
        loop {
            let effects = std::mem::take(self.hub().effects());
            if effects.is_empty() {
                return;
            }
            self.hints.extend(effects.hints.iter().map(hint));
            for id in effects.sessions {
                let name = self
                    .clients
                    .iter()
                    .find(|(_, c)| c.id == id && !c.closed)
                    .map(|(name, _)| name.clone());
                name.into_iter()
                    .for_each(|name| self.pump_client(&name, rig::serve_client));
            }
            for id in effects.links {
                let index = self
                    .links
                    .iter()
                    .position(|l| l.id == id && l.state != LinkState::Ended);
                index.into_iter().for_each(|index| self.pump_link(index));
            }
            for (id, endpoint) in effects.dials {
                self.dial(id, &endpoint);
            }
        }
    }

    fn dial(&mut self, id: LinkId, endpoint: &Endpoint) {
        let node = endpoint.host.to_string();
        let door = self.doors.entry(node.clone()).or_default();
        door.dials += 1;
        let answer = door.answer;
        self.links.push(Link {
            id,
            name: node,
            socket: Socket::default(),
            state: LinkState::Dialing,
        });
        self.answer_dial(self.links.len() - 1, answer);
    }

    fn answer_dials(&mut self, name: &str, answer: Answer) {
        self.doors.entry(name.to_owned()).or_default().answer = answer;
        for index in 0..self.links.len() {
            if self.links[index].name == name && self.links[index].state == LinkState::Dialing {
                self.answer_dial(index, answer);
            }
        }
    }

    fn answer_dial(&mut self, index: usize, answer: Answer) {
        let (id, now) = (self.links[index].id, self.now);
        match answer {
            Answer::Hangs => {}
            Answer::Refuses => {
                self.links[index].state = LinkState::Ended;
                self.hub()
                    .on_link_down(now, id, &LinkDown::Dial("refused".into()));
            }
            Answer::Accepts => {
                self.hub().on_dialed(id);
                self.links[index].state = LinkState::Greeting;
                self.pump_link(index);
            }
        }
    }

    fn pump_link(&mut self, index: usize) {
        let now = self.now;
        let hub = self.hub.as_mut().expect("a hub");
        let link = &mut self.links[index];
        if link.state == LinkState::Dialing {
            return;
        }
        let clients = &mut self.clients;
        let mut straight = |session: SessionId, bytes: &[u8]| {
            let client = clients.values_mut().find(|c| c.id == session && !c.closed);
            client.expect("a client that is there").socket.take(bytes)
        };
        let read = rig::read_link(hub, now, link.id, &mut link.socket, &mut straight);
        if let Some(down) = read.or_else(|| rig::write_link(hub, now, link.id, &mut link.socket)) {
            hub.on_link_down(now, link.id, &down);
            link.state = LinkState::Ended;
        }
        if link.state == LinkState::Greeting {
            self.greet(index);
        }
        self.name_ear(index);
    }

    /// Answers the greeting of a link, which is all that is written before it is answered.
    fn greet(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.state = LinkState::Open;
        let mut said = Vec::new();
        while let Some((words, len)) = cut_request(&link.socket.taken) {
            if !self.greeting_shown {
                link.socket.taken.drain(..len);
            }
            said.push(words);
            if self.greeting_shown {
                break;
            }
        }
        if said.first().is_some_and(|words| words[0] == b"HELLO") {
            link.name = format!("{}/3", link.name);
        }
        let user = said.first().and_then(|words| match words.as_slice() {
            [auth, user, _] if auth == b"AUTH" => Some(user),
            [hello, _, _, user, _] if hello == b"HELLO" => Some(user),
            _ => None,
        });
        if let Some(user) = user {
            link.name = format!("{}={}", link.name, String::from_utf8_lossy(user));
        }
        let has =
            |words: &Vec<Vec<u8>>, wanted: &[u8]| words.get(1).is_some_and(|word| word == wanted);
        let asks_id = |words: &Vec<Vec<u8>>| has(words, b"ID");
        if said.iter().any(asks_id) {
            self.name_own(index);
        } else if said.iter().any(|words| has(words, b"TRACKING")) {
            link.name = link.name.replace("/3", "?");
        }
        if !self.greeting_shown {
            let answer = |words| match asks_id(words) {
                true => format!(":{index}\r\n"),
                false => "+OK\r\n".into(),
            };
            let answers: String = said.iter().map(answer).collect();
            if self.links[index].socket.arrive(answers.as_bytes()) {
                self.pump_link(index);
            }
        }
    }

    /// The n-th link to a node that is one session's own: `a+n`.
    fn name_own(&mut self, index: usize) {
        let (node, proto) = match self.links[index].name.split_once('/') {
            Some((node, proto)) => (node.to_owned(), format!("/{proto}")),
            None => (self.links[index].name.clone(), String::new()),
        };
        let own = format!("{node}+");
        let before = self
            .links
            .iter()
            .filter(|link| link.name.starts_with(&own))
            .count();
        self.links[index].name = format!("{own}{}{proto}", before + 1);
    }

    /// The link on which a node is subscribed to: `a!`.
    fn name_ear(&mut self, index: usize) {
        let link = &mut self.links[index];
        if let Some((node, user)) = link.name.split_once("/3")
            && let Some((words, _)) = cut_request(&link.socket.taken)
            && words[0].ends_with(b"SUBSCRIBE")
        {
            link.name = format!("{node}!{user}");
        }
    }

    /// `pump`: reads from it, or serves it.
    fn pump_client(&mut self, name: &str, pump: fn(&mut Hub, Now, SessionId, &mut Socket) -> bool) {
        let now = self.now;
        let hub = self.hub.as_mut().expect("a hub");
        let Some(client) = self.clients.get_mut(name).filter(|client| !client.closed) else {
            return;
        };
        if pump(hub, now, client.id, &mut client.socket) {
            hub.on_client_gone(now, client.id);
            client.closed = true;
        }
    }

    fn received(&mut self, name: &str) -> Result<Vec<String>, String> {
        let Some(client) = self.clients.get_mut(name) else {
            return Err("no such client".into());
        };
        let mut taken = std::mem::take(&mut client.socket.taken);
        let mut shown = Vec::new();
        if !client.torn.is_empty() && !taken.is_empty() {
            let seen = client.torn.len();
            client.torn.append(&mut taken);
            let end = cut_value(&client.torn).map_or(client.torn.len(), |(_, len)| len);
            let more = client.torn[seen..end].escape_ascii();
            shown.push(format!("more \"{more}\""));
            if cut_value(&client.torn).is_some() {
                taken = std::mem::take(&mut client.torn).split_off(end);
            }
        }
        while let Some((value, len)) = cut_value(&taken) {
            taken.drain(..len);
            shown.push(show(&value));
        }
        if !taken.is_empty() {
            shown.push(format!("torn \"{}\"", taken.escape_ascii()));
            client.torn = taken;
        }
        Ok(shown)
    }

    /// On all links of that name, ended ones first.
    fn sent_to(&mut self, name: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for link in self.links.iter_mut().filter(|link| link.name == name) {
            let mut at = 0;
            while let Some((words, len)) = cut_request(&link.socket.taken[at..]) {
                at += len;
                shown.push(show_request(&words));
            }
            if at < link.socket.taken.len() {
                // The rest may still come: it is shown again as part of the whole.
                shown.push(format!(
                    "torn \"{}\"",
                    link.socket.taken[at..].escape_ascii()
                ));
            }
            let looked_at = if link.state == LinkState::Ended {
                link.socket.taken.len()
            } else {
                at
            };
            link.socket.taken.drain(..looked_at);
        }
        shown
    }
}

/// A hint in the words of the transcripts.
fn hint(hint: &Hint) -> String {
    match hint {
        Hint::Moved { slot, to } => format!("moved {slot} {to}"),
        Hint::LinkLost(at) => format!("link-lost {at}"),
        Hint::DialFailed(at) => format!("dial-failed {at}"),
        Hint::Refused(at) => format!("refused {at}"),
        Hint::ProbeFailed(at) => format!("probe-failed {at}"),
        Hint::Announced => "announced".to_owned(),
    }
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(name, 1)
}

fn with_slots(line: &str) -> Vec<String> {
    segments(line)
        .into_iter()
        .map(notation::with_slots)
        .collect()
}

fn requests_as_shown(line: &str) -> Result<Vec<String>, String> {
    let shown = |segment: &str| -> Result<Vec<String>, String> {
        if segment.starts_with("torn ") {
            return Ok(vec![segment.to_owned()]);
        }
        Ok(notation::requests(segment)?
            .iter()
            .map(|words| show_request(words))
            .collect())
    };
    Ok(segments(line)
        .into_iter()
        .map(shown)
        .collect::<Result<Vec<_>, _>>()?
        .concat())
}

fn expect(expected: &[String], got: &[String]) -> Outcome {
    let same = expected.len() == got.len() && expected.iter().zip(got).all(|(e, g)| matches(e, g));
    if same {
        return Ok(());
    }
    let line = |list: &[String]| {
        if list.is_empty() {
            "(nothing)".to_owned()
        } else {
            list.join(" | ")
        }
    };
    Err(format!(
        "  expected: {}\n  got:      {}",
        line(expected),
        line(got)
    ))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().map_err(|_| format!("{text}: not a time"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{text}: ms or s?")),
    }
}

fn pressure(text: &str) -> Result<Pressure, String> {
    Ok(match text {
        "enough" => Pressure::None,
        "tight" => Pressure::Tight,
        "over" => Pressure::Over,
        _ => return Err(format!("{text}: enough, tight or over")),
    })
}

fn commands() -> &'static Arc<CommandTable> {
    static COMMANDS: OnceLock<Arc<CommandTable>> = OnceLock::new();
    COMMANDS.get_or_init(|| Arc::new(CommandTable::new()))
}
