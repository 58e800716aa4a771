//! What follows from what was put into the hub, once for everything that one look at the sockets has brought: the
//! settler runs behind all tasks that were woken before it, and writes for everybody.
//!
//! So one write per link carries what all sessions asked, one write per session all replies that are due, and nobody's own
//! task is woken only to write.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::hub::Hub;
use super::sockets::Wrote;
use super::{Wakes, Worker, node};
use crate::clock::{self, Now};
use crate::route::part::{LinkId, SessionId};

/// Pieces of one vectored write.
pub(super) const SLICES_MAX: usize = 32;

/// How the settler is called.
#[derive(Default)]
pub(super) struct Settler {
    is_called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Settles whenever it is called.
pub(super) async fn run(worker: Rc<Worker>) {
    poll_fn(|cx| {
        let settler = &worker.settler;
        settler.waker.borrow_mut().replace(cx.waker().clone());
        if settler.is_called.replace(false) {
            worker.settle_now();
        }
        Poll::<()>::Pending
    })
    .await;
}

impl Worker {
    /// Something was put into the hub: what follows from it is done when all who are about to run have run.
    pub(super) fn settle(&self) {
        if !self.settler.is_called.replace(true)
            && let Some(waker) = self.settler.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    fn settle_now(self: &Rc<Self>) {
        let now = clock::now();
        let hub = &mut *self.hub.borrow_mut();
        self.set_timer(hub);
        let mut links = std::mem::take(&mut hub.effects().links);
        for id in links.drain(..) {
            self.write_link(hub, id);
        }
        debug_assert!(hub.effects().links.is_empty(), "writing asks for nothing");
        hub.effects().links = links;
        // Links that have room again let sessions go on.
        let mut sessions = std::mem::take(&mut hub.effects().sessions);
        for id in sessions.drain(..) {
            self.write_session(hub, now, id);
        }
        debug_assert!(
            hub.effects().sessions.is_empty(),
            "writing asks for nothing"
        );
        hub.effects().sessions = sessions;
        for (id, endpoint) in hub.effects().dials.drain(..) {
            tokio::task::spawn_local(node::run(self.clone(), id, endpoint));
        }
        for hint in hub.effects().hints.drain(..) {
            self.hints.send(hint);
        }
    }

    /// Writes what a link has; wakes its task if there is more to it.
    fn write_link(&self, hub: &mut Hub, id: LinkId) {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = match hub.link_output(id, &mut slices) {
                Some(0) => return hub.on_link_polled(id, false),
                Some(used) => used,
                // It has ended.
                None => break,
            };
            let slices = slices.get(..used).unwrap_or_default();
            match self.nodes.try_write(id.index, id.generation, slices) {
                Wrote::Bytes(n) => hub.on_link_written(id, n),
                Wrote::Nothing => break,
            }
        }
        self.nodes.wake(id.index, id.generation);
    }

    /// Writes what a session has; wakes its task if there is more to it.
    fn write_session(&self, hub: &mut Hub, now: Now, id: SessionId) {
        while let Some(session) = hub
            .session(id)
            .filter(|session| session.only_writes() && !self.stops.get())
        {
            if session.out.is_empty() {
                return hub.on_client_served(id);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = session.out.slices(&mut slices);
            let slices = slices.get(..used).unwrap_or_default();
            match self.clients.try_write(id.index, id.generation, slices) {
                Wrote::Bytes(n) => hub.on_client_written(now, id, n),
                Wrote::Nothing => break,
            }
        }
        self.clients.wake(id.index, id.generation);
    }

    /// Wakes the timer if it sleeps for longer than the hub wants.
    fn set_timer(&self, hub: &Hub) {
        let too_late = match self.wakes.get() {
            Wakes::Often => false,
            Wakes::Never => hub.has_held() || hub.deadline().is_some(),
            Wakes::At(set) => hub.has_held() || hub.deadline().is_some_and(|at| at < set),
        };
        if too_late {
            self.timer.notify_one();
        }
    }
}
