//! Messages on their way from an ear to every session that listens: the bytes are the node's own, written once to each.
//!
//! RESP2 and RESP3 differ in the first byte only. A message stands between whole replies, never in one.

use bytes::Bytes;

use crate::clock::Now;
use crate::command::Subscription;
use crate::net::LARGE_BYTES_MIN;
use crate::resp::Proto;
use crate::route::part::{NodeId, SessionId, UserId};
use crate::worker::hub::Hub;

/// What sessions are told.
#[derive(Clone, Debug)]
pub(in crate::worker::hub) struct Message<'a> {
    /// A RESP3 push without its first byte.
    rest: &'a [u8],
    /// The same, where a copy for each session would cost more than keeping it.
    shared: Option<Bytes>,
}

impl<'a> Message<'a> {
    /// `frame`: a RESP3 push.
    pub(in crate::worker::hub) fn new(frame: &'a [u8]) -> Self {
        let rest = frame.get(1..).unwrap_or_default();
        let is_large = rest.len() >= LARGE_BYTES_MIN;
        Self {
            rest,
            shared: is_large.then(|| Bytes::copy_from_slice(rest)),
        }
    }
}

impl Hub {
    /// Passes on what a node says on a channel to all who are subscribed to `topic`.
    pub(super) fn fan_out(
        &mut self,
        now: Now,
        (node, user): (NodeId, UserId),
        (kind, name): (Subscription, &[u8]),
        channel: &[u8],
        frame: &[u8],
    ) {
        let topics = &mut self.pubsub.topics;
        let Some(id) = topics.find(user, kind, name) else {
            return;
        };
        let Some(topic) = topics.topic_mut(id) else {
            return;
        };
        if !topic.hears(now, node, channel, frame) {
            return;
        }
        let Ok(own) = self.own_message((kind, name), channel, frame) else {
            return;
        };
        let topics = &mut self.pubsub.topics;
        let Some(topic) = topics.topic_mut(id) else {
            return;
        };
        let frame = own.as_deref().unwrap_or(frame);
        let mut audience = std::mem::take(&mut self.pubsub.audience);
        audience.extend(&topic.subscribers);
        let message = Message::new(frame);
        for session in audience.drain(..) {
            self.tell(now, session, &message);
        }
        self.pubsub.audience = audience;
    }

    /// Tells one session, unless it is too slow to be told anything more.
    pub(in crate::worker::hub) fn tell(&mut self, now: Now, id: SessionId, message: &Message<'_>) {
        let place = self.sessions.get_mut(id.index as usize);
        let Some(session) = place.filter(|s| s.generation == id.generation) else {
            return;
        };
        if session.cut || session.closing {
            return;
        }
        let first = match session.identity.proto {
            Proto::Resp2 => &b"*"[..],
            Proto::Resp3 => b">",
        };
        session.out.adopt(&mut self.pool);
        if session.replies.is_passing() {
            let message = [first, message.rest].concat();
            session.replies.interject(&message, &mut session.out);
        } else {
            session.out.push_copy(first);
            match &message.shared {
                Some(shared) => session.out.push_bytes(shared.clone()),
                None => session.out.push_copy(message.rest),
            }
        }
        self.counters.messages += 1;
        let waits = session.out.len() + session.replies.held_bytes();
        let limits = &self.settings.limits;
        let mut mine = session.subscriptions.as_mut();
        if mine
            .as_mut()
            .is_some_and(|mine| mine.is_too_slow(now, waits, limits))
        {
            session.cut = true;
            self.counters.slow_subscribers_cut += 1;
            tracing::warn!(
                session = session.identity.id,
                client = %session.identity.peer,
                worker = self.settings.worker,
                bytes = waits,
                "cut: it does not read its messages"
            );
        }
        self.note_session_woken(id);
    }
}
