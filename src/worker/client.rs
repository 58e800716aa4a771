//! The pump of one client socket: reads what is there into the hub, and writes what the
//! settler could not.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Worker;
use super::accept::Accepted;
use super::hub::Hub;
use super::settle::SLICES_MAX;
use super::sockets::Socket;
use crate::clock::{self, Now};
use crate::net::Stream;
use crate::route::part::SessionId;

/// How a connection goes on.
enum Next {
    Wait,
    /// The client has sent nothing more so far.
    Empty,
    Close,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client has left, or nothing more is said to it.
    Over,
    /// It has been told all that there is; it may not have read that yet.
    Told,
    /// The worker stops, and nothing of this client is under way.
    Quiet,
}

/// Serves a connection until it ends.
pub(super) fn start(worker: &Rc<Worker>, accepted: Accepted) {
    let splits_transactions = accepted.splits_transactions;
    let (stream, identity) = match accepted.arrive(clock::now()) {
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
    let socket = worker.clients.insert(id.index, id.generation, stream);
    tokio::task::spawn_local(async move {
        let end = serve(&worker, id, &socket).await;
        let lingers = worker.leave(id);
        if end != End::Over
            && !lingers.is_zero()
            && let Some(stream) = Rc::into_inner(socket)
        {
            // In a box: it would make every session's task larger.
            Box::pin(stream.into_inner().end(lingers)).await;
        }
        worker.note_session_ended();
    });
}

async fn serve(worker: &Rc<Worker>, id: SessionId, socket: &Socket) -> End {
    let end = poll_fn(|cx| pump(worker, id, socket, cx)).await;
    if end != End::Quiet {
        return end;
    }
    // What had come before may not have been noticed yet: the runtime looks at its sockets before it goes on here.
    tokio::task::yield_now().await;
    poll_fn(|cx| pump(worker, id, socket, cx)).await
}

fn pump(worker: &Rc<Worker>, id: SessionId, socket: &Socket, cx: &mut Context<'_>) -> Poll<End> {
    worker.clients.register(id.index, id.generation, cx.waker());
    let stream = &mut *socket.borrow_mut();
    let mut has_read_all;
    let polled = loop {
        let now = clock::now();
        worker.hub.borrow_mut().on_client_ready(now, id);
        let read = read(worker, id, stream, cx);
        has_read_all = matches!(read, Next::Empty);
        let could_run = may_run(&worker.hub.borrow(), id);
        let written = write(worker, now, id, stream, cx);
        let hub = worker.hub.borrow();
        let Some(session) = hub.session(id).filter(|session| !session.cut) else {
            break Poll::Ready(End::Over);
        };
        match (read, written) {
            (Next::Close, _) | (_, Next::Close) => break Poll::Ready(End::Over),
            _ if session.is_finished() && session.ended => break Poll::Ready(End::Over),
            _ if session.is_finished() => break Poll::Ready(End::Told),
            // What has been written is what a stalled request, or reading on, waited for.
            _ if !could_run && may_run(&hub, id) => {}
            _ if worker.stops.get() && session.is_quiet(has_read_all) => {
                break Poll::Ready(End::Quiet);
            }
            (Next::Empty | Next::Wait, Next::Empty | Next::Wait) => break Poll::Pending,
        }
    };
    worker.hub.borrow_mut().on_client_polled(id, has_read_all);
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
            Poll::Pending => return Next::Empty,
            Poll::Ready(Ok(0)) => return half_closed(worker, id),
            Poll::Ready(Err(_)) => return Next::Close,
            Poll::Ready(Ok(n)) => {
                let bytes = buf.get(..n).unwrap_or_default();
                let mut hub = worker.hub.borrow_mut();
                hub.on_client_bytes(clock::now(), id, bytes);
                worker.look_at_memory(&mut hub);
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

fn write(
    worker: &Rc<Worker>,
    now: Now,
    id: SessionId,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Next {
    let mut hub = worker.hub.borrow_mut();
    while let Some(session) = hub.session(id).filter(|session| !session.out.is_empty()) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = session.out.slices(&mut slices);
        match stream.poll_write(cx, slices.get(..used).unwrap_or_default()) {
            Poll::Pending => return Next::Wait,
            Poll::Ready(Ok(n)) if n > 0 => hub.on_client_written(now, id, n),
            Poll::Ready(Ok(_) | Err(_)) => return Next::Close,
        }
    }
    Next::Wait
}
