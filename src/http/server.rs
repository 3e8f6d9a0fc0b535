//! The connections: accepted within limits, served by one service, drained at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::arriving::Arriving;
use super::asked::Asked;
use super::express::{self, Left};
use super::listen::{Listener, Peer};
use super::slots::{Activity, HeldBack, Slots};
use super::stream::{IntoStream, Resumed};

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
    /// How long a client may take none of its answer.
    pub write_timeout: Duration,
    /// How long an API request may take.
    pub request_timeout: Duration,
    /// How long a draining process waits for requests under way.
    pub drain_timeout: Duration,
    /// After how long without connections a process with inherited sockets ends.
    pub idle_exit: Option<Duration>,
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
            write_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            idle_exit: None,
        }
    }
}

/// How long a connection that is silent when the process is told to stop may still bring a request.
const LAST_CHANCE: Duration = Duration::from_millis(250);
/// How long to wait after `accept` failed, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers one request.
pub trait Answer: Send + Sync + 'static {
    fn answer(&self, peer: Peer, request: Request<Arriving>) -> impl Future<Output = Response<Body>> + Send;

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
    slots: Arc<Slots>,
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
        // Only now, so that a listener nobody calls holds no slot. Whoever was accepted is answered even at the end.
        let slot = tokio::select! {
            slot = slots.take() => Some(slot),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let conversation = Conversation {
            service: Arc::clone(&service),
            limits,
            slots: Arc::clone(&slots),
            watcher: graceful.watcher(),
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let served = match accepted {
                Accepted::Tcp(stream, address) => conversation.hold(stream, Peer::Tcp(address)).await,
                Accepted::Unix(stream) => conversation.hold(stream, Peer::Unix).await,
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

/// What it takes to serve a connection.
struct Conversation<A> {
    service: Arc<A>,
    limits: Limits,
    slots: Arc<Slots>,
    watcher: Watcher,
    stop: watch::Receiver<bool>,
}

impl<A: Answer> Conversation<A> {
    /// Serves a connection to its end: in the express lane as far as that goes, then by hyper.
    async fn hold<S>(self, stream: S, peer: Peer) -> io::Result<()>
    where
        S: IntoStream + AsFd + AsRawFd + Send + Sync,
    {
        let Self { service, limits, slots, watcher, stop } = self;
        let activity = Arc::new(Activity::default());
        let left = {
            let over = async {
                tokio::select! {
                    () = slots.silence(&activity, limits.header_timeout) => {}
                    () = last_chance(stop.clone()) => {}
                }
            };
            express::serve(stream, peer, &*service, limits.headers, &activity, &stop, over).await?
        };
        let Some(Left { stream, unsent, read }) = left else { return Ok(()) };
        let mut stream = Resumed::new(stream.into_stream()?, read, Arc::clone(&activity));
        // In room of its own, which the express lane does without.
        let served = Box::pin(async {
            stream.write_all(&unsent).await?;
            watcher
                .watch(connection(stream, peer, service, Arc::clone(&activity), limits))
                .await
                .map_err(io::Error::other)
        });
        tokio::select! {
            served = served => served,
            () = slots.silence(&activity, limits.write_timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Ends some time after `stop` turned true: a request may have been under way to us when it did.
async fn last_chance(mut stop: watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
    tokio::time::sleep(LAST_CHANCE).await;
}

fn connection<A: Answer>(
    stream: Resumed,
    peer: Peer,
    service: Arc<A>,
    activity: Arc<Activity>,
    limits: Limits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, work) = (Arc::clone(&service), activity.begin());
        let activity = Arc::clone(&activity);
        async move {
            let _until_answered = work;
            let request = request.map(|body| Arriving::new(body, Arc::clone(&activity)));
            let response = service.answer(peer, request).await;
            activity.hold_back(response.extensions().get::<HeldBack>().is_some());
            Ok::<_, Infallible>(response)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service)
}
