//! Links from their dial to their end: what their sockets say, and what is to be said to their nodes.

use std::io::IoSlice;

use mio::event::Event;

use super::errands::{Answer, Dialed, Errand};
use super::hub::Socket as _;
use super::{Name, Worker};
use crate::net::{DialError, Patience};
use crate::route::part::{LinkId, SessionId};
use crate::upstream::link::LinkDown;

impl Worker {
    /// Has the links connected that are wanted.
    pub(super) fn dial_links(&mut self) {
        if self.hub.effects().dials.is_empty() {
            return;
        }
        let limits = self.hub.limits();
        let (patience, tuned) = (
            limits.dial_timeout,
            Patience {
                unacknowledged: limits.link_unacknowledged_timeout,
                silent: limits.link_silent_timeout,
            },
        );
        for (link, endpoint) in self.hub.effects().dials.drain(..) {
            self.errands.send(Errand::Dial {
                link,
                endpoint,
                patience,
                tuned,
                answer: Answer {
                    dialed: self.dialed.clone(),
                    bell: self.bell.clone(),
                },
            });
        }
    }

    /// A node has accepted a connection, or there is none.
    pub(super) fn on_dialed(&mut self, Dialed { link, outcome }: Dialed) {
        let stream = match outcome {
            Ok(stream) => stream,
            Err(DialError::Local(why)) => return self.end_link(link, &LinkDown::Local(why)),
            Err(
                error @ (DialError::Resolve(_)
                | DialError::Connect(_)
                | DialError::TimedOut(_)
                | DialError::Tls(_)),
            ) => return self.end_link(link, &LinkDown::Dial(error.to_string())),
        };
        if !self.hub.link_exists(link) {
            return;
        }
        let (place, token) = (
            (link.index, link.generation),
            Name::Node(link.index).token(),
        );
        let registry = self.poll.registry();
        if let Err(error) = self.nodes.insert(registry, token, place, stream) {
            return self.end_link(link, &LinkDown::Local(error.to_string()));
        }
        self.hub.on_dialed(link);
        let patience = self.hub.limits().link_greeting_timeout;
        self.greeted_until.push_back((self.now + patience, link));
        self.write_link(link);
    }

    /// Ends the links whose nodes accept connections and then say nothing.
    pub(super) fn expire_greetings(&mut self) {
        while let Some(&(until, link)) = self.greeted_until.front()
            && until <= self.now
        {
            self.greeted_until.pop_front();
            if self.hub.link_exists(link) && !self.hub.is_link_open(link) {
                let patience = self.hub.limits().link_greeting_timeout;
                let why = format!("it accepts connections and does not answer within {patience:?}");
                self.end_link(link, &LinkDown::Dial(why));
            }
        }
    }

    /// The system has said something of a link's socket.
    pub(super) fn on_node_event(&mut self, index: u32, event: &Event) {
        // It may have ended a moment ago.
        let Some(socket) = self.nodes.at(index) else {
            return;
        };
        let has_room_again = socket.note(event) & socket.flush();
        let generation = socket.generation();
        let id = LinkId { index, generation };
        self.read_link(id);
        if has_room_again {
            self.write_link(id);
        }
    }

    pub(super) fn read_link(&mut self, id: LinkId) {
        let Some(socket) = self.nodes.get(id.index, id.generation) else {
            return;
        };
        if !socket.may_read() {
            return;
        }
        let clients = &mut self.clients;
        let mut straight = |session: SessionId, bytes: &[u8]| {
            let socket = clients.get(session.index, session.generation);
            // A socket that fails says so again when it is served.
            socket.map_or(0, |s| s.write(&[IoSlice::new(bytes)]).unwrap_or(0))
        };
        let buf = &mut self.read_buf;
        match self.hub.read_link(self.now, id, socket, buf, &mut straight) {
            Ok(false) => {}
            Ok(true) => self.unread.push(Name::Node(id.index)),
            Err(down) => self.end_link(id, &down),
        }
        self.look_at_memory();
    }

    /// Writes for every link that has something.
    pub(super) fn write_links(&mut self) {
        let mut woken = std::mem::take(&mut self.woken_links);
        std::mem::swap(&mut woken, &mut self.hub.effects().links);
        for id in woken.drain(..) {
            self.write_link(id);
        }
        self.woken_links = woken;
    }

    fn write_link(&mut self, id: LinkId) {
        // One that is being dialled writes when it is connected.
        if let Some(socket) = self.nodes.get(id.index, id.generation)
            && let Err(down) = self.hub.write_link(self.now, id, socket)
        {
            self.end_link(id, &down);
        }
    }

    fn end_link(&mut self, id: LinkId, down: &LinkDown) {
        drop(
            self.nodes
                .remove(self.poll.registry(), id.index, id.generation),
        );
        self.hub.on_link_down(self.now, id, down);
    }
}
