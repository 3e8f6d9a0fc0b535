//! Sending a body no faster than a link allows. As with nginx, the first second's worth goes out at once.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::direct::FileBody;

/// Pieces that a second's worth is sent in, so that a slow download flows instead of stuttering.
const PIECES_PER_SECOND: u64 = 8;
/// Largest piece, in bytes.
const MAX_PIECE: u64 = 64 << 10;

/// A body that is held back.
pub struct Paced {
    body: FileBody,
    /// Bytes per second.
    rate: NonZeroU64,
    /// What was read and not sent yet.
    rest: Bytes,
    /// Bytes that may still go out at once.
    at_once: u64,
    /// Ends when the next piece may go.
    pause: Pin<Box<Sleep>>,
}

impl Paced {
    /// Holds a body back to a rate.
    pub fn new(body: FileBody, rate: NonZeroU64) -> Self {
        Self { body, rate, rest: Bytes::new(), at_once: rate.get(), pause: Box::pin(sleep(Duration::ZERO)) }
    }

    /// Books a piece: the next one waits as long as this one should have taken.
    fn book(&mut self, bytes: u64) {
        let held = bytes.saturating_sub(self.at_once);
        self.at_once = self.at_once.saturating_sub(bytes);
        if held > 0 {
            // From the end of the pause before: whoever reads slowly may catch up, and no more.
            let next = self.pause.deadline() + Duration::from_secs_f64(held as f64 / self.rate.get() as f64);
            self.pause.as_mut().reset(next);
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        ready!(self.pause.as_mut().poll(cx));
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = (self.rate.get() / PIECES_PER_SECOND).clamp(1, MAX_PIECE).min(self.rest.len() as u64);
        let piece = self.rest.split_to(piece as usize);
        self.book(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_but_the_first_seconds_worth_takes_its_time() {
        let whole = Full::new(Bytes::from(vec![7; 10_000])).map_err(|never| match never {}).boxed_unsync();
        let mut paced = Paced::new(whole, NonZeroU64::new(1_000).unwrap());
        assert_eq!(paced.size_hint().exact(), Some(10_000));
        // The clock stands still unless everybody waits for it.
        let start = sleep(Duration::ZERO).deadline();
        let mut sent = 0;
        while let Some(frame) = paced.frame().await {
            sent += frame.unwrap().into_data().unwrap().len();
            assert!(sent as f64 <= 1_000.0 * (start.elapsed().as_secs_f64() + 1.0) + 125.0, "{sent} too soon");
        }
        assert_eq!(sent, 10_000);
        let took = start.elapsed();
        assert!((Duration::from_millis(8_800)..Duration::from_millis(9_100)).contains(&took), "{took:?}");
    }
}
