//! The sockets of all sessions, or of all links, by the place that the hub gave them: their own tasks read from them,
//! and whoever has something for many of them writes to them without waking those tasks.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Waker;

use super::hub::leaves_room;
use crate::net::Stream;

/// A socket that its own task and the settler share; neither keeps it borrowed while the other runs.
pub(super) type Socket = Rc<RefCell<Stream>>;

/// Sockets by index; the generation tells a later one in the same place from an earlier one.
#[derive(Default)]
pub(super) struct Sockets {
    places: RefCell<Vec<Option<Place>>>,
    /// How many of the places are taken.
    taken: Cell<usize>,
}

struct Place {
    generation: u32,
    socket: Socket,
    /// Of the socket's own task.
    waker: Waker,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    Bytes(usize),
    /// The socket takes nothing now, or has failed: its own task will see.
    Nothing,
}

impl Sockets {
    pub(super) fn insert(&self, index: u32, generation: u32, stream: Stream) -> Socket {
        let socket = Rc::new(RefCell::new(stream));
        let index = index as usize;
        let mut places = self.places.borrow_mut();
        if places.len() <= index {
            places.resize_with(index + 1, || None);
        }
        if let Some(place) = places.get_mut(index) {
            if place.is_none() {
                self.taken.update(|taken| taken + 1);
            }
            *place = Some(Place {
                generation,
                socket: socket.clone(),
                waker: Waker::noop().clone(),
            });
        }
        socket
    }

    /// Forgets a socket: nobody else writes to it any more.
    pub(super) fn remove(&self, index: u32, generation: u32) {
        let mut places = self.places.borrow_mut();
        let place = places
            .get_mut(index as usize)
            .and_then(|place| place.take_if(|place| place.generation == generation));
        if place.is_none() {
            return;
        }
        self.taken.update(|taken| taken - 1);
        if leaves_room(self.taken.get(), places.capacity()) {
            let end = places.iter().rposition(Option::is_some);
            places.truncate(end.map_or(0, |last| last + 1));
            places.shrink_to_fit();
        }
    }

    /// The socket's own task wants to be woken by this.
    pub(super) fn register(&self, index: u32, generation: u32, waker: &Waker) {
        if let Some(Some(place)) = self.places.borrow_mut().get_mut(index as usize)
            && place.generation == generation
            && !place.waker.will_wake(waker)
        {
            place.waker.clone_from(waker);
        }
    }

    /// Wakes the socket's own task.
    pub(super) fn wake(&self, index: u32, generation: u32) {
        if let Some(Some(place)) = self.places.borrow().get(index as usize)
            && place.generation == generation
        {
            place.waker.wake_by_ref();
        }
    }

    /// Writes as much of `slices` as the socket takes at once.
    pub(super) fn try_write(&self, index: u32, generation: u32, slices: &[IoSlice<'_>]) -> Wrote {
        let places = self.places.borrow();
        let written = match places.get(index as usize) {
            Some(Some(place)) if place.generation == generation => {
                place.socket.borrow().try_write(slices)
            }
            Some(_) | None => return Wrote::Nothing,
        };
        written_of(written)
    }
}

fn written_of(written: io::Result<usize>) -> Wrote {
    match written {
        Ok(n) if n > 0 => Wrote::Bytes(n),
        Ok(_) | Err(_) => Wrote::Nothing,
    }
}
