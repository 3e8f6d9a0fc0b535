//! A request's body as it arrives. A connection that waits for one is silent, as one is that waits for a head: it is not
//! at work, and its slot may go to another.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::slots::Activity;

/// So many bytes of a body are a sign of life: with fewer in each moment, a connection could be held at no cost.
const SIGN_OF_LIFE: usize = 16 << 10;

/// The body of a request on a connection.
pub struct Arriving {
    body: Incoming,
    /// Bytes since the last sign of life.
    came: usize,
    activity: Arc<Activity>,
}

impl Arriving {
    pub const fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        Self { body, came: 0, activity }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.activity.await_body(polled.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.came += frame.data_ref().map_or(0, Bytes::len);
            if self.came >= SIGN_OF_LIFE {
                self.came = 0;
                self.activity.live();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.activity.await_body(false);
    }
}
