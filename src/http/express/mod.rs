//! The connections of edges: what they ask all day, answered without a general HTTP server.
//!
//! An edge keeps its connections open and asks the same over and over: GET or HEAD of a link, without a body, in one
//! piece, one at a time. Just that is answered here, and a connection that brings anything else, be it a partial head,
//! is handed on with what was read of it, and stays handed on. So nothing that is unusual, slow or wrong is ever
//! interpreted here: that is hyper's business. What this saves is in `docs/performance.md`.

pub mod head;
mod wire;

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, retry_on_intr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use self::head::Room;
use super::asked::{Asked, Sender};
use super::listen::Peer;
use super::server::Answer;
use super::slots::Activity;

/// What is read at once: a longer head is not answered here.
const READ_BYTES: usize = 4096;
/// What most answers take.
const ANSWER_BYTES: usize = 512;

/// A connection that is somebody else's business now.
pub struct Left<S> {
    pub stream: S,
    /// The part of an answer that the client has not taken yet.
    pub unsent: Vec<u8>,
    /// What was read and is still to be answered.
    pub read: Vec<u8>,
}

/// Serves a connection, which does not block, while it brings nothing but plain questions of at most `max_fields` header
/// lines. `None` when it has ended: on either side, when `over` ended, or after an answer when `stop` was true.
///
/// # Errors
/// When the connection broke.
pub async fn serve<S>(
    stream: S,
    peer: Peer,
    service: &impl Answer,
    max_fields: usize,
    activity: &Activity,
    stop: &watch::Receiver<bool>,
    over: impl Future<Output = ()>,
) -> io::Result<Option<Left<S>>>
where
    S: AsFd + AsRawFd + Send + Sync,
{
    let stream = register(stream)?;
    let mut over = pin!(over);
    // Whoever never asks gets no room.
    let (mut input, mut out) = (Vec::new(), Vec::new());
    loop {
        let read = poll_fn(|context| {
            if let Poll::Ready(read) = poll_read(&stream, context, &mut input) {
                return Poll::Ready(read);
            }
            over.as_mut().poll(context).map(|()| Ok(0))
        });
        let read = read.await?;
        if read == 0 {
            return Ok(None);
        }
        let mut room = Room::default();
        let head = head::parse(&input[..read], &mut room, max_fields);
        let Some(head) = head.filter(|head| service.is_edges(head.path)) else {
            input.truncate(read);
            return Ok(Some(Left { stream: stream.into_inner(), unsent: Vec::new(), read: input }));
        };
        let is_last = *stop.borrow();
        out.reserve(ANSWER_BYTES);
        let asked = Asked { peer, method: &head.method, path: head.path, fields: head.fields, sender: Sender::Edge };
        match service.write_answer(asked, &mut out).await {
            None => wire::end(&mut out, is_last),
            Some(response) => wire::write(&mut out, response, &head.method, is_last).await?,
        }
        let sent = write_now(stream.get_ref(), &out)?;
        if sent < out.len() {
            out.drain(..sent);
            return Ok(Some(Left { stream: stream.into_inner(), unsent: out, read: Vec::new() }));
        }
        activity.live();
        if is_last {
            return Ok(None);
        }
    }
}

/// Lets the runtime say when there is something to read, and nothing else: an answer nearly always finds room, and a Unix
/// socket would wake the process each time the edge has read one.
#[expect(deprecated, reason = "its successor is unsafe, lest descriptors be closed early: an owned stream's is not")]
fn register<S: AsFd + AsRawFd>(stream: S) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(stream, Interest::READABLE)
}

/// Reads what is there, into room that is made when it is first needed.
fn poll_read<S: AsFd + AsRawFd>(
    stream: &AsyncFd<S>,
    context: &mut Context<'_>,
    room: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    loop {
        let mut readiness = ready!(stream.poll_read_ready(context))?;
        room.resize(READ_BYTES, 0);
        match retry_on_intr(|| rustix::io::read(stream, &mut room[..])) {
            Ok(read) => {
                // Room was left, so there is no more: one call to the kernel less.
                if read < room.len() {
                    readiness.clear_ready();
                }
                return Poll::Ready(Ok(read));
            }
            Err(Errno::AGAIN) => readiness.clear_ready(),
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
}

/// Writes as much as is taken at once; says how much.
fn write_now(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match retry_on_intr(|| rustix::io::write(&stream, bytes)) {
        Err(Errno::AGAIN) => Ok(0),
        other => Ok(other?),
    }
}
