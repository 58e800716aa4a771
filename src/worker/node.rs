//! The pump of one link's socket: dials, greets, reads what is there, and writes what the settler could
//! not.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Worker;
use super::settle::SLICES_MAX;
use super::sockets::Socket;
use crate::clock;
use crate::net::{DialError, Names, Patience, Stream, dial, tune_link};
use crate::route::part::LinkId;
use crate::topology::Endpoint;
use crate::upstream::link::LinkDown;

/// Serves a link from its dial to its end.
pub(super) async fn run(worker: Rc<Worker>, id: LinkId, endpoint: Endpoint) {
    let patience = worker.hub.borrow().limits().dial_timeout;
    let address = (endpoint.host.as_ref(), endpoint.port);
    let down = match dial(&Names::System, address, patience, 0).await {
        Err(DialError::Local(why)) => LinkDown::Local(why),
        Err(error @ (DialError::Resolve(_) | DialError::Connect(_) | DialError::TimedOut(_))) => {
            LinkDown::Dial(error.to_string())
        }
        Ok(stream) => serve(&worker, id, stream, &endpoint).await,
    };
    worker
        .hub
        .borrow_mut()
        .on_link_down(clock::now(), id, &down);
    worker.settle();
}

/// Serves a link that is connected to its end.
async fn serve(
    worker: &Rc<Worker>,
    id: LinkId,
    stream: TcpStream,
    endpoint: &Endpoint,
) -> LinkDown {
    let (patience, greeting_timeout) = {
        let hub = worker.hub.borrow();
        let limits = hub.limits();
        let patience = Patience {
            unacknowledged: limits.link_unacknowledged_timeout,
            silent: limits.link_silent_timeout,
        };
        (patience, limits.link_greeting_timeout)
    };
    if let Err(error) = tune_link(&stream, patience) {
        tracing::debug!(node = %endpoint, "socket options: {error}");
    }
    worker.hub.borrow_mut().on_dialed(id);
    let socket = worker
        .nodes
        .insert(id.index, id.generation, Stream::Tcp(stream));
    let greeted = poll_fn(|cx| match pump(worker, id, &socket, cx) {
        Poll::Pending if worker.hub.borrow().is_link_open(id) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(down) => Poll::Ready(Some(down)),
    });
    let down = match timeout(greeting_timeout, greeted).await {
        Ok(Some(down)) => down,
        Ok(None) => poll_fn(|cx| pump(worker, id, &socket, cx)).await,
        Err(_elapsed) => LinkDown::Dial(format!(
            "it accepts connections and does not answer within {greeting_timeout:?}"
        )),
    };
    worker.nodes.remove(id.index, id.generation);
    down
}

fn pump(worker: &Rc<Worker>, id: LinkId, socket: &Socket, cx: &mut Context<'_>) -> Poll<LinkDown> {
    worker.nodes.register(id.index, id.generation, cx.waker());
    let stream = &mut *socket.borrow_mut();
    worker.hub.borrow_mut().on_link_polled(id, true);
    let down = read(worker, id, stream, cx).or_else(|| write(worker, id, stream, cx));
    worker.hub.borrow_mut().on_link_polled(id, false);
    worker.settle();
    match down {
        Some(down) => Poll::Ready(down),
        None => Poll::Pending,
    }
}

fn read(
    worker: &Rc<Worker>,
    id: LinkId,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Option<LinkDown> {
    let mut buf = worker.read_buf.borrow_mut();
    loop {
        match stream.poll_read(cx, &mut buf) {
            Poll::Pending => return None,
            Poll::Ready(Ok(0)) => return Some(LinkDown::Lost("closed by the node".into())),
            Poll::Ready(Err(error)) => return Some(LinkDown::Lost(error.to_string())),
            Poll::Ready(Ok(n)) => {
                let bytes = buf.get(..n).unwrap_or_default();
                let mut hub = worker.hub.borrow_mut();
                hub.on_node_bytes(clock::now(), id, bytes);
                worker.look_at_memory(&mut hub);
            }
        }
    }
}

fn write(
    worker: &Rc<Worker>,
    id: LinkId,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Option<LinkDown> {
    let mut hub = worker.hub.borrow_mut();
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = match hub.link_output(id, &mut slices) {
            // Ended by the hub, which knows why.
            None => return Some(LinkDown::Retired),
            Some(0) => return None,
            Some(used) => used,
        };
        match stream.poll_write(cx, slices.get(..used).unwrap_or_default()) {
            Poll::Pending => return None,
            Poll::Ready(Ok(0)) => return Some(LinkDown::Lost("takes no bytes".into())),
            Poll::Ready(Ok(n)) => hub.on_link_written(id, n),
            Poll::Ready(Err(error)) => return Some(LinkDown::Lost(error.to_string())),
        }
    }
}
