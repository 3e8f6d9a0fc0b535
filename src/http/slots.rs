//! How many connections are open at once, and which of them go first when there are too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::clock::Clock;

/// How long a connection must have been silent before its slot can be given to another.
const MOMENT: Duration = Duration::from_secs(1);
/// How often another connection is asked to go while none has gone.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// The slots for connections. When none is free, the connection that has been silent for longest gives up its own: idle
/// ones, those that send a head byte by byte and those that do not read their answer cannot keep the others out.
pub struct Slots {
    free: Arc<Semaphore>,
    all: usize,
    wanted: Notify,
    taken: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Slots {
    pub fn new(connections: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(connections)),
            all: connections,
            wanted: Notify::new(),
            taken: AtomicU64::new(0),
            clock,
        })
    }

    /// Waits for a slot; it is free again when what is answered is dropped.
    pub async fn take(&self) -> OwnedSemaphorePermit {
        self.taken.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
                return slot;
            }
            // Whoever has waited for longest is told first.
            self.wanted.notify_one();
            if let Ok(Ok(slot)) = timeout(ASK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                return slot;
            }
        }
    }

    /// Ends when a connection should: after it was silent for `patience` and at most twice as long, or for a moment when
    /// its slot is wanted.
    pub async fn silence(&self, activity: &Activity, patience: Duration) {
        let mut seen = self.clock.uptime();
        loop {
            // One timer for each connection and this long: ten thousand silent ones must not keep the process busy.
            let _wanted_or_over = timeout(patience, self.wanted.notified()).await;
            if activity.take() {
                seen = self.clock.uptime();
            } else if self.clock.uptime().saturating_sub(seen) >= MOMENT.min(patience) {
                return;
            }
        }
    }

    /// Ends when no connection has been open or came for `span` and at most twice as long.
    pub async fn desertion(&self, span: Duration) {
        loop {
            let taken = self.taken.load(Ordering::Relaxed);
            sleep(span).await;
            if self.taken.load(Ordering::Relaxed) == taken && self.free.available_permits() == self.all {
                return;
            }
        }
    }
}

/// Whether a connection gets anywhere. What it sends does not count before it is answered.
#[derive(Default)]
pub struct Activity {
    requests: AtomicUsize,
    has_answered: AtomicBool,
}

impl Activity {
    /// Part of an answer was taken.
    pub fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// A request is worked on until what is answered is dropped.
    pub fn begin(self: &Arc<Self>) -> Work {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Work(Arc::clone(self))
    }

    /// Whether there was any since the last time.
    fn take(&self) -> bool {
        self.has_answered.swap(false, Ordering::Relaxed) || self.requests.load(Ordering::Relaxed) > 0
    }
}

/// A request that is worked on.
pub struct Work(Arc<Activity>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, UnixMillis};

    const HOUR: Duration = Duration::from_secs(3_600);

    /// So many slots, and a clock that stands until it is set ahead.
    fn slots(connections: usize) -> (Arc<Slots>, impl Fn(Duration)) {
        let clock = Arc::new(ManualClock::at(UnixMillis(0)));
        let slots = Slots::new(connections, Arc::clone(&clock) as _);
        (slots, move |by| clock.advance(by))
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_longest_goes_when_a_slot_is_wanted() {
        let (slots, advance) = slots(2);
        let (gone, mut order) = tokio::sync::mpsc::unbounded_channel();
        for name in ["first", "second"] {
            let (slots, slot, gone) = (Arc::clone(&slots), slots.take().await, gone.clone());
            tokio::spawn(async move {
                slots.silence(&Activity::default(), HOUR).await;
                gone.send(name).unwrap();
                drop(slot);
            });
            tokio::task::yield_now().await;
        }
        assert!(timeout(MOMENT, slots.take()).await.is_err(), "nobody has been silent for long enough");
        advance(MOMENT);
        let _third = timeout(MOMENT, slots.take()).await.unwrap();
        let _fourth = timeout(MOMENT, slots.take()).await.unwrap();
        let mut gone = [order.recv().await, order.recv().await];
        gone.sort_unstable();
        assert_eq!(gone, [Some("first"), Some("second")]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_at_work_stays() {
        let (slots, advance) = slots(1);
        let _slot = slots.take().await;
        let activity = Arc::new(Activity::default());
        let work = activity.begin();
        let silence = slots.silence(&activity, HOUR);
        tokio::pin!(silence);
        let wanted = async {
            tokio::select! { () = &mut silence => {}, _ = slots.take() => {} }
        };
        advance(HOUR);
        assert!(timeout(MOMENT, wanted).await.is_err());
        drop(work);
        advance(HOUR);
        assert!(timeout(HOUR * 3, silence).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_deserted_when_nobody_is_there_and_nobody_came() {
        let (slots, _) = slots(3);
        let slot = slots.take().await;
        assert!(timeout(HOUR, slots.desertion(HOUR / 4)).await.is_err());
        drop(slot);
        assert!(timeout(HOUR, slots.desertion(HOUR / 4)).await.is_ok());
    }
}
