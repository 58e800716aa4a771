//! The sockets of all sessions, or of all links, by the place that the hub gave them, and what the system has said of each.
//!
//! The system tells once that something has arrived, or that there is room again (edges, epoll(7)): it is remembered here
//! until a read or a write has found the end of it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::hub::{self, leaves_room};
use crate::net::Stream;

/// A socket that a worker looks after.
pub(super) struct Socket {
    stream: Stream,
    generation: u32,
    /// Something may be there to be read.
    readable: bool,
    /// There may be room to write.
    writable: bool,
    /// The peer sends nothing more: it is read until that is seen.
    hung_up: bool,
}

impl Socket {
    /// Notes what the system says of it. True: there is room again.
    pub(super) fn note(&mut self, event: &Event) -> bool {
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.hung_up;
        let has_room_again = event.is_writable() && !self.writable;
        self.writable |= event.is_writable();
        has_room_again
    }

    /// Writes what the stream has kept. True: there is room for more.
    pub(super) fn flush(&mut self) -> bool {
        if let Err(error) = self.stream.flush() {
            // Another error is told by the next write.
            self.writable &= error.kind() != io::ErrorKind::WouldBlock;
        }
        self.writable
    }

    /// Nothing is known of what may be there to read.
    pub(super) fn doubt(&mut self) {
        self.readable = true;
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }
}

impl hub::Socket for Socket {
    fn may_read(&self) -> bool {
        self.readable
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.stream.read(buf);
        match &read {
            // Less than there was room for: the rest has not arrived, and will be told.
            Ok(n) => self.readable = *n == buf.len() || self.hung_up,
            Err(error) => self.readable &= error.kind() != io::ErrorKind::WouldBlock,
        }
        read
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.stream.write(slices);
        match &written {
            // Less than there was: there is no more room, and it will be told when there is.
            Ok(n) => {
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                self.writable = self.stream.has_room_after(*n, offered);
            }
            Err(error) => self.writable &= error.kind() != io::ErrorKind::WouldBlock,
        }
        written
    }
}

/// Sockets by index; the generation tells a later one in the same place from an earlier one.
#[derive(Default)]
pub(super) struct Sockets {
    places: Vec<Option<Socket>>,
    /// How many of the places are taken.
    taken: usize,
}

impl Sockets {
    /// Looks after a socket; its events will come with this token.
    ///
    /// # Errors
    /// What the system says; the socket is closed.
    pub(super) fn insert(
        &mut self,
        registry: &Registry,
        token: Token,
        (index, generation): (u32, u32),
        stream: Stream,
    ) -> io::Result<()> {
        let descriptor = stream.as_fd().as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&descriptor), token, interest)?;
        let index = index as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        if let Some(place) = self.places.get_mut(index) {
            self.taken += usize::from(place.is_none());
            *place = Some(Socket {
                // TLS may have read more than its handshake, and nobody tells of that.
                readable: matches!(stream, Stream::Tls(_)),
                stream,
                generation,
                writable: true,
                hung_up: false,
            });
        }
        Ok(())
    }

    /// Whatever is in this place now.
    pub(super) fn at(&mut self, index: u32) -> Option<&mut Socket> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn get(&mut self, index: u32, generation: u32) -> Option<&mut Socket> {
        self.at(index)
            .filter(|socket| socket.generation == generation)
    }

    /// Looks after a socket no more.
    pub(super) fn remove(
        &mut self,
        registry: &Registry,
        index: u32,
        generation: u32,
    ) -> Option<Stream> {
        let place = self.places.get_mut(index as usize)?;
        let socket = place.take_if(|socket| socket.generation == generation)?;
        let descriptor = socket.stream.as_fd().as_raw_fd();
        // It is there, so this cannot fail; if it did, the token would mean nobody.
        drop(registry.deregister(&mut SourceFd(&descriptor)));
        self.taken -= 1;
        if leaves_room(self.taken, self.places.capacity()) {
            let end = self.places.iter().rposition(Option::is_some);
            self.places.truncate(end.map_or(0, |last| last + 1));
            self.places.shrink_to_fit();
        }
        Some(socket.stream)
    }

    /// See [`Socket::doubt`], for all of them.
    pub(super) fn doubt_all(&mut self) {
        self.places.iter_mut().flatten().for_each(Socket::doubt);
    }
}
