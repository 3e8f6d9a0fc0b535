//! The connections: accepted within limits, served by one service, drained at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::download::Asked;
use super::express::{self, Left};
use super::listen::{Listener, Peer};

/// What one process takes on at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of an API request's body.
    pub body_bytes: usize,
    /// Connections open at once, over all listeners.
    pub connections: usize,
    /// How long a request's head may take to arrive, and how long a connection may idle between requests.
    pub header_timeout: Duration,
    /// How long an API request may take.
    pub request_timeout: Duration,
    /// How long a draining process waits for requests under way.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 16 << 10,
            headers: 64,
            body_bytes: 4 << 20,
            connections: 10_000,
            // Longer than the 20 s after which the shipped nginx drops an idle connection.
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// How long to wait after `accept` failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers one request.
pub trait Answer: Send + Sync + 'static {
    fn answer(&self, peer: Peer, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;

    /// Whether an edge sends what a path names.
    fn is_edges(&self, path: &str) -> bool;

    /// Answers an edge: `None` when a permit was written to `out`, but for the empty line at its end.
    fn write_answer(
        &self,
        asked: Asked<'_, [httparse::Header<'_>]>,
        out: &mut Vec<u8>,
    ) -> impl Future<Output = Option<Response<Body>>> + Send;
}

/// Serves a listener until `stop` turns true, then drains it.
pub async fn serve(
    listener: Listener,
    service: Arc<impl Answer>,
    limits: Limits,
    slots: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Only now, so that a listener nobody calls holds no slot.
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(slot) = slot else { break };
        let (service, watcher, stop) = (Arc::clone(&service), graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            let served = match accepted {
                Accepted::Tcp(stream, address) => {
                    converse(stream, Peer::Tcp(address), service, limits, watcher, stop).await
                }
                Accepted::Unix(stream) => converse(stream, Peer::Unix, service, limits, watcher, stop).await,
            };
            if let Err(error) = served {
                debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        warn!("requests were still under way when the drain timeout ended");
    }
}

/// A connection before anything was read from it.
enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<Accepted> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            // Small answers must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            Accepted::Tcp(stream.into_std()?, address)
        }
        Listener::Unix(listener, _) => Accepted::Unix(listener.accept().await?.0.into_std()?),
    })
}

/// What a connection is to hyper.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Hands a stream to the runtime.
trait IntoStream {
    fn into_stream(self) -> io::Result<Box<dyn Stream>>;
}

impl IntoStream for std::net::TcpStream {
    fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(tokio::net::TcpStream::from_std(self)?))
    }
}

impl IntoStream for std::os::unix::net::UnixStream {
    fn into_stream(self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(tokio::net::UnixStream::from_std(self)?))
    }
}

/// Serves a connection to its end: in the express lane as far as that goes, then by hyper.
async fn converse<S>(
    stream: S,
    peer: Peer,
    service: Arc<impl Answer>,
    limits: Limits,
    watcher: Watcher,
    stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: IntoStream + AsFd + AsRawFd + Send + Sync,
{
    let bounds = express::Bounds { headers: limits.headers, idle: limits.header_timeout };
    let Some(Left { stream, unsent, read }) = express::serve(stream, peer, &*service, bounds, stop).await? else {
        return Ok(());
    };
    let mut stream = stream.into_stream()?;
    stream.write_all(&unsent).await?;
    let stream = Resumed { read, at: 0, stream };
    watcher.watch(connection(stream, peer, &service, limits)).await.map_err(io::Error::other)
}

/// A stream of which a part was read already.
struct Resumed {
    read: Vec<u8>,
    at: usize,
    stream: Box<dyn Stream>,
}

impl AsyncRead for Resumed {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.read[this.at..];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, room);
        }
        let taken = left.len().min(room.remaining());
        room.put_slice(&left[..taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

fn connection<A: Answer>(
    stream: Resumed,
    peer: Peer,
    service: &Arc<A>,
    limits: Limits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let service = Arc::clone(service);
    let service = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(peer, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service)
}
