//! What a fresh link says before the first request: who we are, the protocol, our name. One write, answers in order.

use std::borrow::Cow;

use crate::config::Secret;
use crate::resp::reply::Reply;
use crate::resp::{Proto, write};
use crate::route::part::{Profile, UserId};

/// What every link of one kind says first.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Replicas of a cluster are to answer what only reads (`READONLY`).
    pub reads_replicas: bool,
    /// For `CLIENT SETNAME`, so that people at the node see who is who.
    pub client_name: String,
}

/// Whom a client has said that it is.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: Box<[u8]>,
    pub password: Secret,
}

/// A greeting under way.
#[derive(Debug)]
pub struct Handshake {
    steps: Vec<Step>,
    answered: usize,
    client_id: Option<i64>,
    refused: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An error ends the link.
    Must,
    /// As `Must`, on behalf of a client: that the node does not know it, or does not let it in, is the client's affair.
    LogIn,
    /// Nice to have: older servers and strict ACLs may refuse.
    May,
    /// As `May`; the reply is a number to keep.
    Id,
    /// As `May`; an error is kept.
    Extra,
    /// What this one link is for.
    SetUp,
}

/// How a greeting goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Greeted {
    NotYet,
    Done,
    /// The node refused, in these words.
    Refused(String),
    /// It takes us, but refused what this link is for.
    NotSetUp(String),
}

impl Handshake {
    /// Writes the whole greeting to `out`; `asks_id`: what does the node call this connection?
    pub fn start(
        greeting: &Greeting,
        login: Option<&Login>,
        profile: Profile,
        asks_id: bool,
        out: &mut Vec<u8>,
    ) -> Self {
        let mut steps = Vec::new();
        let mut say = |step: Step, words: &[&[u8]]| {
            write::command(out, words);
            steps.push(step);
        };
        let (step, user, password) = if profile.user == UserId::SLOTCAR {
            let user = greeting.user.as_deref().map(str::as_bytes);
            (Step::Must, user, greeting.password.as_ref())
        } else {
            let user = login.map(|login| &*login.user);
            (Step::LogIn, user, login.map(|login| &login.password))
        };
        let password = password.map(Secret::expose);
        match (profile.proto, password.as_deref().map(Vec::as_slice)) {
            (Proto::Resp3, Some(password)) => {
                say(
                    step,
                    &[
                        b"HELLO",
                        b"3",
                        b"AUTH",
                        user.unwrap_or(b"default"),
                        password,
                    ],
                );
            }
            (Proto::Resp3, None) => say(step, &[b"HELLO", b"3"]),
            (Proto::Resp2, Some(password)) => match user {
                Some(user) => say(step, &[b"AUTH", user, password]),
                None => say(step, &[b"AUTH", password]),
            },
            // A node that is loading, or not to be spoken to, says so here, before any request is at stake.
            (Proto::Resp2, None) => say(step, &[b"PING"]),
        }
        say(
            Step::May,
            &[b"CLIENT", b"SETNAME", greeting.client_name.as_bytes()],
        );
        if greeting.reads_replicas {
            say(Step::May, &[b"READONLY"]);
        }
        if asks_id {
            say(Step::Id, &[b"CLIENT", b"ID"]);
        }
        if profile.database != 0 {
            let database = profile.database.to_string();
            say(Step::SetUp, &[b"SELECT", database.as_bytes()]);
        }
        Self {
            steps,
            answered: 0,
            client_id: None,
            refused: None,
        }
    }

    /// Says one thing more. The link opens also if the node refuses it.
    pub fn also(&mut self, words: &[&[u8]], out: &mut Vec<u8>) {
        write::command(out, words);
        self.steps.push(Step::Extra);
    }

    /// The error by which the node has refused what was said [`also`](Self::also).
    pub fn refused(&self) -> Option<&[u8]> {
        self.refused.as_deref()
    }

    /// Adds a request of which the link's use depends.
    pub fn end_with(&mut self, request: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(request);
        self.steps.push(Step::SetUp);
    }

    /// What the node calls this connection, once it has said so.
    pub fn client_id(&self) -> Option<i64> {
        self.client_id
    }

    pub fn on_reply(&mut self, frame: &[u8]) -> Greeted {
        let step = self.steps.get(self.answered).copied();
        self.answered += 1;
        if matches!(step, Some(Step::Id)) {
            self.client_id = Reply::new(frame).integer();
        }
        if matches!(step, Some(Step::Extra)) && Reply::new(frame).is_error() {
            self.refused = Some(frame.into());
        }
        // A user who is let in and may do little.
        let may_go_on =
            |text: &&[u8]| matches!(step, Some(Step::LogIn)) && text.starts_with(b"NOPERM ");
        let error = Reply::new(frame).error().filter(|text| !may_go_on(text));
        match (step, error) {
            (Some(Step::LogIn), Some(text)) if !is_about_node(text) => {
                Greeted::NotSetUp(words(text))
            }
            // A script that runs for long: whoever wants to end it must get in.
            (Some(Step::Must | Step::LogIn), Some(text)) if !text.starts_with(b"BUSY ") => {
                Greeted::Refused(words(text))
            }
            (Some(Step::SetUp), Some(text)) => Greeted::NotSetUp(words(text)),
            (Some(_) | None, _) if self.answered >= self.steps.len() => Greeted::Done,
            (Some(_) | None, _) => Greeted::NotYet,
        }
    }
}

/// Whether a node speaks of itself, and not of who we say that we are. `text` without the leading `-`.
fn is_about_node(text: &[u8]) -> bool {
    let beginnings: [&[u8]; 5] = [
        b"LOADING ",
        b"MASTERDOWN ",
        b"CLUSTERDOWN ",
        b"BUSY ",
        b"ERR max number of clients",
    ];
    beginnings
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

fn words(error: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(error);
    text.into_owned()
}
