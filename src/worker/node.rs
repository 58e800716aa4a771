//! The pump of one link's socket: dials, writes what all sessions have queued in one write, reads what is there.

use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::Worker;
use crate::clock;
use crate::net::{Stream, tune_stream};
use crate::route::part::LinkId;
use crate::topology::Endpoint;
use crate::upstream::link::LinkDown;

const SLICES_MAX: usize = 32;

/// Serves a link from its dial to its end.
pub(super) async fn run(worker: Rc<Worker>, id: LinkId, endpoint: Endpoint) {
    let timeout = worker.hub.borrow().limits().dial_timeout;
    let dialed = tokio::time::timeout(
        timeout,
        TcpStream::connect((endpoint.host.as_ref(), endpoint.port)),
    )
    .await;
    let down = match dialed {
        Err(_) => LinkDown::Dial(format!("no answer within {timeout:?}")),
        Ok(Err(error)) => LinkDown::Dial(error.to_string()),
        Ok(Ok(stream)) => {
            if let Err(error) = tune_stream(&stream) {
                tracing::debug!(node = %endpoint, "socket options: {error}");
            }
            worker.hub.borrow_mut().on_dialed(id);
            let mut stream = Stream::Tcp(stream);
            poll_fn(|cx| pump(&worker, id, &mut stream, cx)).await
        }
    };
    worker
        .hub
        .borrow_mut()
        .on_link_down(clock::now(), id, &down);
    worker.settle();
}

fn pump(
    worker: &Rc<Worker>,
    id: LinkId,
    stream: &mut Stream,
    cx: &mut Context<'_>,
) -> Poll<LinkDown> {
    worker.register_link(id, cx.waker());
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
