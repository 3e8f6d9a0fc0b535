//! A large answer as it is sent: it gives up its room when another needs that and its client does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing::debug;

use super::apart::Large;
use super::room::{Pace, wanted};
use super::state::AppState;

/// What is handed on at a time, as a copy: a part of an answer would keep all of it.
const PART: usize = 16 << 10;

/// An answer, and the room it takes.
struct Sending {
    rest: Arc<Mutex<Rest>>,
    state: Arc<AppState>,
    watch: AbortHandle,
}

enum Rest {
    Unsent { answer: Bytes, pace: Pace, _large: Large },
    None,
    GivenUp,
}

/// The body of an answer. It holds its room until the last part of it is sent, or until others need room and it goes out
/// more slowly than would send all of it within `limits.request_timeout`.
pub fn sending(state: &Arc<AppState>, answer: Bytes, large: Large) -> Body {
    if answer.len() <= PART {
        return Body::from(answer);
    }
    let whose = large.whose;
    let pace = Pace::new(answer.len(), state.limits.request_timeout, state.clock.uptime());
    let rest = Arc::new(Mutex::new(Rest::Unsent { answer, pace, _large: large }));
    let (watched, watching) = (Arc::clone(&rest), Arc::clone(state));
    let watch = tokio::spawn(async move {
        let pools = watching.apart.answers_in_common(whose);
        loop {
            wanted(&pools).await;
            let mut rest = watched.lock();
            if matches!(&*rest, Rest::Unsent { pace, .. } if pace.is_slow(watching.clock.uptime())) {
                *rest = Rest::GivenUp;
                debug!("an answer that is hardly read has given up its room");
                return;
            }
        }
    });
    Body::new(Sending { rest, state: Arc::clone(state), watch: watch.abort_handle() })
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut rest = self.rest.lock();
        Poll::Ready(match &mut *rest {
            Rest::Unsent { answer, pace, .. } => {
                let part = Bytes::copy_from_slice(&answer[..answer.len().min(PART)]);
                answer.advance(part.len());
                pace.came(part.len(), self.state.clock.uptime());
                if answer.is_empty() {
                    *rest = Rest::None;
                }
                Some(Ok(Frame::data(part)))
            }
            Rest::None => None,
            Rest::GivenUp => Some(Err(io::ErrorKind::TimedOut.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(*self.rest.lock(), Rest::None)
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.rest.lock() {
            Rest::Unsent { answer, .. } => SizeHint::with_exact(answer.len() as u64),
            Rest::None => SizeHint::with_exact(0),
            Rest::GivenUp => SizeHint::new(),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
