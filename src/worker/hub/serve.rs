//! What is to be done when a socket has something to say or to take, whatever the socket is: a worker does it with
//! real ones, a simulation with memory.

use std::io::{self, IoSlice};

use super::{Hub, Straight};
use crate::clock::Now;
use crate::downstream::session::Session;
use crate::net::Pool;
use crate::route::part::{LinkId, SessionId};
use crate::upstream::link::LinkDown;

/// Pieces of one vectored write.
const SLICES_MAX: usize = 32;

/// How often one client is read from, or goes on, before others have their turn.
const ROUNDS_MAX: usize = 4;

/// A socket, as far as bytes go.
pub trait Socket {
    /// Whether a read may bring something.
    fn may_read(&self) -> bool;

    /// Reads what is there. 0: the peer sends nothing more.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there now; else the connection has failed.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as the socket takes.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; else the connection has failed.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing is to be done until something happens.
    Waits,
    /// More is to be read; others first.
    HasMore,
    /// The client has left, or nothing more is said to it.
    Over,
    /// It has been told all that there is; it may not have read that yet.
    Told,
}

impl Hub {
    /// Reads once from a client, if what it sends is wanted now. What is to be said to it waits for [`Hub::serve_client`].
    pub fn read_client(
        &mut self,
        now: Now,
        id: SessionId,
        socket: &mut impl Socket,
        buf: &mut [u8],
    ) -> Served {
        let limits = &self.settings.limits;
        let session = self.sessions.get_mut(id.index as usize);
        let Some(session) = session.filter(|s| s.generation == id.generation) else {
            return Served::Over;
        };
        if !session.wants_input(limits) {
            return Served::Waits;
        }
        match socket.read(buf) {
            Ok(0) => {
                // What it has asked for is still answered.
                session.ended = true;
                self.note_session_woken(id);
                Served::Waits
            }
            Ok(n) => {
                self.counters.client_bytes_in += n as u64;
                self.on_client_bytes(now, id, buf.get(..n).unwrap_or_default());
                if socket.may_read() {
                    Served::HasMore
                } else {
                    Served::Waits
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Served::Waits,
            Err(_) => Served::Over,
        }
    }

    /// Does what is to be done for a client that [`Effects::sessions`](super::Effects::sessions) names, or whose socket has
    /// room again, or of which more is to be read.
    pub fn serve_client(
        &mut self,
        now: Now,
        id: SessionId,
        socket: &mut impl Socket,
        buf: &mut [u8],
    ) -> Served {
        for _ in 0..ROUNDS_MAX {
            self.run_stalled(now, id);
            let (limits, stops) = (&self.settings.limits, self.stops);
            let session = self.sessions.get_mut(id.index as usize);
            let Some(session) = session.filter(|s| s.generation == id.generation) else {
                return Served::Over;
            };
            let bytes_out = &mut self.counters.client_bytes_out;
            if session
                .write(now, socket, &mut self.pool, bytes_out)
                .is_err()
            {
                return Served::Over;
            }
            if let Some(end) = session.end() {
                return end;
            }
            if stops && session.is_quiet(!socket.may_read()) {
                return Served::Told;
            }
            // What has been written is what a stalled request, or reading on, may have waited for.
            let runs_on = session.stalled && session.may_run(limits);
            let reads_on = socket.may_read() && session.wants_input(limits);
            if !(runs_on || reads_on) {
                session.wake_noted = false;
                return Served::Waits;
            }
            if !runs_on && self.read_client(now, id, socket, buf) == Served::Over {
                return Served::Over;
            }
        }
        if let Some(session) = self.session_mut(id) {
            session.wake_noted = false;
        }
        Served::HasMore
    }

    /// Reads once from a link's socket; true: there may be more.
    ///
    /// # Errors
    /// The link has ended; the hub has yet to be told.
    pub fn read_link(
        &mut self,
        now: Now,
        id: LinkId,
        socket: &mut impl Socket,
        buf: &mut [u8],
        straight: Straight<'_>,
    ) -> Result<bool, LinkDown> {
        match socket.read(buf) {
            Ok(0) => Err(LinkDown::Lost("closed by the node".into())),
            Ok(n) => {
                let bytes = buf.get(..n).unwrap_or_default();
                self.counters.node_bytes_in += n as u64;
                self.on_node_bytes(now, id, bytes, straight);
                Ok(socket.may_read())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(LinkDown::Lost(error.to_string())),
        }
    }

    /// Writes what a link has, as much as its socket takes: for one that [`Effects::links`](super::Effects::links) names, or
    /// whose socket has room again.
    ///
    /// # Errors
    /// The link has ended. The hub has yet to be told, unless it is [`LinkDown::Retired`].
    pub fn write_link(
        &mut self,
        now: Now,
        id: LinkId,
        socket: &mut impl Socket,
    ) -> Result<(), LinkDown> {
        let late_before = self.measures.slow_before(now);
        let place = self.links.get_mut(id.index as usize);
        let Some(place) = place.filter(|place| place.generation == id.generation) else {
            return Err(LinkDown::Retired);
        };
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = place.link.output(&mut slices);
            if used == 0 {
                break;
            }
            match socket.write(slices.get(..used).unwrap_or_default()) {
                Ok(0) => return Err(LinkDown::Lost("takes no bytes".into())),
                Ok(n) => {
                    self.counters.node_bytes_out += n as u64;
                    let waits = &mut self.measures.stages.wait;
                    place.link.on_written(n, now, late_before, waits);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(LinkDown::Lost(error.to_string())),
            }
        }
        place.wake_noted = false;
        self.end_waits_if_room(id);
        Ok(())
    }

    /// Whether one of the links with something to write has requests under way already.
    pub fn adds_to_links(&self) -> bool {
        let links = self.effects.links.iter();
        links
            .filter_map(|id| self.link(*id))
            .any(|link| link.queue().has_sent())
    }
}

impl Session {
    /// Writes what there is for the client, as much as its socket takes; `bytes_out` counts it.
    fn write(
        &mut self,
        now: Now,
        socket: &mut impl Socket,
        pool: &mut Pool,
        bytes_out: &mut u64,
    ) -> io::Result<()> {
        while !self.out.is_empty() {
            let written = match self.out.one_slice() {
                Some(bytes) => socket.write(&[IoSlice::new(bytes)]),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let used = self.out.slices(&mut slices);
                    socket.write(slices.get(..used).unwrap_or_default())
                }
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    *bytes_out += n as u64;
                    self.identity.last_active = now;
                    self.out.advance(n);
                    self.out.release(pool);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the connection is to end now, and how.
    fn end(&self) -> Option<Served> {
        if self.cut || (self.ended && (self.is_left() || self.is_finished())) {
            Some(Served::Over)
        } else {
            self.is_finished().then_some(Served::Told)
        }
    }
}
