//! The connections of edges: what they ask all day, answered without a general HTTP server.
//!
//! An edge keeps its connections open and asks the same over and over: GET or HEAD of a link, without a body, in one
//! piece, one at a time. Just that is answered here, and a connection that brings anything else, be it a partial head,
//! is handed on with what was read of it, and stays handed on. So nothing that is unusual, slow or wrong is ever
//! interpreted here: that is hyper's business. What this saves is in `docs/performance.md`.

mod head;
mod wire;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use self::head::Room;
use super::download::Asked;
use super::listen::Peer;
use super::server::Answer;

/// What is read at once: a longer head is not answered here.
const READ_BYTES: usize = 4096;
/// What most answers take.
const ANSWER_BYTES: usize = 512;

/// Bounds of a connection here.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Header lines of a request.
    pub headers: usize,
    /// How long the connection may idle, at least; closed before twice as long.
    pub idle: Duration,
}

/// Serves a connection while it brings nothing but plain questions; `None` when it has ended, else what was read and is
/// to be answered by somebody else.
///
/// # Errors
/// When the connection broke.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    peer: Peer,
    service: &impl Answer,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) -> io::Result<Option<Vec<u8>>> {
    let stopping = stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut period = pin!(tokio::time::sleep(bounds.idle));
    let mut was_active = true;
    let mut input = vec![0; READ_BYTES];
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    loop {
        let read = poll_fn(|context| {
            let mut room = ReadBuf::new(&mut input);
            if let Poll::Ready(read) = std::pin::Pin::new(&mut *stream).poll_read(context, &mut room) {
                return Poll::Ready(read.map(|()| room.filled().len()));
            }
            let is_over = stopped.as_mut().poll(context).is_ready();
            while !is_over && period.as_mut().poll(context).is_ready() {
                if !std::mem::take(&mut was_active) {
                    return Poll::Ready(Ok(0));
                }
                // The clock need not be read to know when the next period ends.
                let next = period.deadline() + bounds.idle;
                period.as_mut().reset(next);
            }
            if is_over { Poll::Ready(Ok(0)) } else { Poll::Pending }
        });
        let read = read.await?;
        if read == 0 {
            return Ok(None);
        }
        was_active = true;
        let mut room = Room::default();
        let Some(head) = head::parse(&input[..read], &mut room, bounds.headers).filter(|head| service.is_edges(head.path))
        else {
            input.truncate(read);
            return Ok(Some(input));
        };
        let is_last = stopping.has_changed().unwrap_or(true);
        let asked = Asked { peer, method: &head.method, path: head.path, fields: head.fields };
        match service.write_answer(asked, &mut out).await {
            None => wire::end(&mut out, is_last),
            Some(response) => wire::write(&mut out, response, &head.method, is_last).await?,
        }
        stream.write_all(&out).await?;
        if is_last {
            return Ok(None);
        }
    }
}
