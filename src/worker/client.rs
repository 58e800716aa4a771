//! Clients from their arrival to their end: what their sockets say, and what is to be said to them.

use std::sync::atomic::Ordering;

use mio::event::Event;

use super::accept::Accepted;
use super::errands::Errand;
use super::hub::{Served, Socket as _};
use super::{Name, Worker};
use crate::downstream::local::Identity;
use crate::net::Stream;
use crate::route::part::SessionId;

impl Worker {
    /// A client has connected.
    pub(super) fn on_arrival(&mut self, accepted: Accepted) {
        let Accepted {
            stream,
            splits_transactions,
            id,
            peer,
            local,
        } = accepted;
        let (number, client) = (id, peer.clone());
        let identity = Identity::new(id, peer, local, true, self.now);
        let id = self.hub.on_accept(identity);
        if let Some(session) = self.hub.session_mut(id) {
            session.splits_transactions = splits_transactions;
        }
        let is_secured = matches!(stream, Stream::Tls(_));
        let (place, token) = ((id.index, id.generation), Name::Client(id.index).token());
        let registry = self.poll.registry();
        if let Err(error) = self.clients.insert(registry, token, place, stream) {
            tracing::warn!(session = number, %client, %error, "cannot serve a connection");
            self.end_client(id, Served::Over);
        } else if is_secured {
            // What came with the end of the handshake is told by nobody.
            self.unread.push(Name::Client(id.index));
        }
    }

    /// The system has said something of a client's socket.
    pub(super) fn on_client_event(&mut self, index: u32, event: &Event) {
        // It may have ended a moment ago.
        let Some(socket) = self.clients.at(index) else {
            return;
        };
        let has_room_again = socket.note(event) & socket.flush();
        let generation = socket.generation();
        let id = SessionId { index, generation };
        if socket.may_read() {
            let served = self
                .hub
                .read_client(self.now, id, socket, &mut self.read_buf);
            self.after_client(id, served);
            self.look_at_memory();
        }
        if has_room_again {
            self.serve_client(id);
        }
    }

    /// Serves everybody for whom there is something to be done.
    pub(super) fn serve_clients(&mut self) {
        let mut woken = std::mem::take(&mut self.woken_clients);
        std::mem::swap(&mut woken, &mut self.hub.effects().sessions);
        for id in woken.drain(..) {
            self.serve_client(id);
        }
        self.woken_clients = woken;
    }

    pub(super) fn serve_client(&mut self, id: SessionId) {
        if let Some(socket) = self.clients.get(id.index, id.generation) {
            let served = self
                .hub
                .serve_client(self.now, id, socket, &mut self.read_buf);
            self.after_client(id, served);
        }
    }

    fn after_client(&mut self, id: SessionId, served: Served) {
        match served {
            Served::Waits => {}
            Served::HasMore => self.unread.push(Name::Client(id.index)),
            Served::Over | Served::Told => self.end_client(id, served),
        }
    }

    /// A session ends. If its client has been told something lately it is seen off, so that this is not lost.
    fn end_client(&mut self, id: SessionId, end: Served) {
        let linger = self.hub.limits().linger_timeout;
        // What was written long ago has been read.
        let quiet = self
            .hub
            .session(id)
            .map(|session| self.now.since(session.identity.last_active));
        self.hub.on_client_gone(self.now, id);
        let stream = self
            .clients
            .remove(self.poll.registry(), id.index, id.generation);
        let limit = linger.saturating_sub(quiet.unwrap_or_default());
        match stream {
            Some(stream) if end == Served::Told && !limit.is_zero() => {
                self.errands.send(Errand::SeeOff {
                    stream,
                    limit,
                    shared: self.shared.clone(),
                    bell: self.bell.clone(),
                });
            }
            Some(_) | None => {
                self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}
