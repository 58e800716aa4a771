//! The pump of one client socket: reads what is there into the hub, writes what is due in one write.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Worker;
use super::accept::Accepted;
use super::hub::Hub;
use crate::clock;
use crate::net::Stream;
use crate::route::part::SessionId;

const SLICES_MAX: usize = 32;

/// How a connection goes on.
enum Next {
    Wait,
    Close,
}

/// Serves a connection until it ends.
pub(super) fn start(worker: &Rc<Worker>, accepted: Accepted) {
    let splits_transactions = accepted.splits_transactions;
    let (mut stream, identity) = match accepted.arrive(clock::now()) {
        Ok(arrived) => arrived,
        Err(error) => {
            tracing::warn!("cannot serve a connection: {error}");
            return worker.note_session_ended();
        }
    };
    let mut hub = worker.hub.borrow_mut();
    let id = hub.on_accept(identity);
    if let Some(session) = hub.session_mut(id) {
        session.splits_transactions = splits_transactions;
    }
    drop(hub);
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        poll_fn(|cx| pump(&worker, id, &mut stream, cx)).await;
        worker.hub.borrow_mut().on_client_gone(clock::now(), id);
        worker.settle();
        worker.note_session_ended();
    });
}

fn pump(worker: &Rc<Worker>, id: SessionId, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
    worker.register_session(id, cx.waker());
    let polled = loop {
        worker.hub.borrow_mut().on_client_ready(clock::now(), id);
        let read = read(worker, id, stream, cx);
        let could_run = may_run(&worker.hub.borrow(), id);
        let written = write(worker, id, stream, cx);
        let hub = worker.hub.borrow();
        match (read, written, hub.session(id)) {
            (_, _, Some(session)) if session.cut => break Poll::Ready(()),
            (Next::Close, _, _) | (_, Next::Close, _) | (_, _, None) => break Poll::Ready(()),
            (Next::Wait, Next::Wait, Some(session)) if session.is_finished() => {
                break Poll::Ready(());
            }
            // What has been written is what a stalled request, or reading on, waited for.
            (Next::Wait, Next::Wait, Some(_)) if !could_run && may_run(&hub, id) => {}
            (Next::Wait, Next::Wait, Some(_)) => break Poll::Pending,
        }
    };
    worker.hub.borrow_mut().on_client_polled(id);
    worker.settle();
    polled
}

fn may_run(hub: &Hub, id: SessionId) -> bool {
    hub.session(id).is_some_and(|s| s.may_run(hub.limits()))
}

fn read(worker: &Rc<Worker>, id: SessionId, stream: &mut Stream, cx: &mut Context<'_>) -> Next {
    let mut buf = worker.read_buf.borrow_mut();
    loop {
        {
            let hub = worker.hub.borrow();
            if !hub.session(id).is_some_and(|s| s.wants_input(hub.limits())) {
                return Next::Wait;
            }
        }
        match stream.poll_read(cx, &mut buf) {
            Poll::Pending => return Next::Wait,
            Poll::Ready(Ok(0) | Err(_)) => return half_closed(worker, id),
            Poll::Ready(Ok(n)) => {
                let bytes = buf.get(..n).unwrap_or_default();
                worker
                    .hub
                    .borrow_mut()
                    .on_client_bytes(clock::now(), id, bytes);
            }
        }
    }
}

/// The client sends nothing more; what it has asked for is still answered.
fn half_closed(worker: &Rc<Worker>, id: SessionId) -> Next {
    let mut hub = worker.hub.borrow_mut();
    let Some(session) = hub.session_mut(id) else {
        return Next::Close;
    };
    if session.hang_up() {
        Next::Close
    } else {
        Next::Wait
    }
}

fn write(worker: &Rc<Worker>, id: SessionId, stream: &mut Stream, cx: &mut Context<'_>) -> Next {
    let mut hub = worker.hub.borrow_mut();
    while let Some(session) = hub.session(id).filter(|session| !session.out.is_empty()) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = session.out.slices(&mut slices);
        match stream.poll_write(cx, slices.get(..used).unwrap_or_default()) {
            Poll::Pending => return Next::Wait,
            Poll::Ready(Ok(n)) if n > 0 => hub.on_client_written(id, n),
            Poll::Ready(Ok(_) | Err(_)) => return Next::Close,
        }
    }
    Next::Wait
}
