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
/// How often it is asked before those that are held back are asked to go as well.
const PRESSING: u32 = 250;

/// The slots for connections. When none is free, the connection that has been silent for longest gives up its own: idle
/// ones, those that send a head or a body byte by byte and those that do not read their answer cannot keep the others out. When
/// none is silent, a download that its link's `rate_limit` holds back goes: that it lasts is our own doing, and costs
/// its client nothing.
pub struct Slots {
    free: Arc<Semaphore>,
    all: usize,
    wanted: Notify,
    /// Wanted for so long that none can be silent.
    pressing: Notify,
    taken: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Slots {
    pub fn new(connections: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(connections)),
            all: connections,
            wanted: Notify::new(),
            pressing: Notify::new(),
            taken: AtomicU64::new(0),
            clock,
        })
    }

    /// Waits for a slot; it is free again when what is answered is dropped.
    pub async fn take(&self) -> OwnedSemaphorePermit {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let mut asked = 0;
        loop {
            if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
                return slot;
            }
            // Whoever has waited for longest is told first.
            self.wanted.notify_one();
            asked += 1;
            if asked >= PRESSING {
                self.pressing.notify_one();
            }
            if let Ok(Ok(slot)) = timeout(ASK_AGAIN, Arc::clone(&self.free).acquire_owned()).await {
                return slot;
            }
        }
    }

    /// Ends when a connection should: after it was silent for `patience` and at most twice as long, or for a moment when
    /// its slot is wanted; and after a moment of being held back, when its slot is wanted badly.
    pub async fn silence(&self, activity: &Activity, patience: Duration) {
        let begun = self.clock.uptime();
        let mut seen = begun;
        loop {
            let called = async {
                tokio::select! {
                    () = self.wanted.notified() => false,
                    () = self.pressing.notified(), if activity.is_held_back() => true,
                }
            };
            // One timer for each connection and this long: ten thousand silent ones must not keep the process busy.
            let is_pressing = timeout(patience, called).await.unwrap_or(false);
            if is_pressing && activity.is_held_back() && self.clock.uptime().saturating_sub(begun) >= MOMENT {
                return;
            }
            if activity.take() {
                seen = self.clock.uptime();
            } else if self.clock.uptime().saturating_sub(seen) >= MOMENT.min(patience) {
                return;
            }
        }
    }

    /// Ends when no connection has been open or came, in any of these slots, for `span` and at most twice as long.
    pub async fn desertion(all: &[Arc<Self>], span: Duration) {
        let taken = || all.iter().map(|slots| slots.taken.load(Ordering::Relaxed)).sum::<u64>();
        loop {
            let before = taken();
            sleep(span).await;
            if taken() == before && all.iter().all(|slots| slots.free.available_permits() == slots.all) {
                return;
            }
        }
    }
}

/// Whether a connection gets anywhere. What it sends does not count before it is answered, but for a body that comes fast.
#[derive(Default)]
pub struct Activity {
    requests: AtomicUsize,
    awaits_body: AtomicBool,
    is_live: AtomicBool,
    is_held_back: AtomicBool,
}

/// An answer's extension: its body is sent no faster than its link allows.
#[derive(Clone, Copy, Debug)]
pub struct HeldBack;

impl Activity {
    /// Part of an answer was taken, or much of a body has come.
    pub fn live(&self) {
        self.is_live.store(true, Ordering::Relaxed);
    }

    /// Whether the request that is worked on needs more of its body.
    pub fn await_body(&self, is_awaited: bool) {
        self.awaits_body.store(is_awaited, Ordering::Relaxed);
    }

    /// Whether the answer that is sent now is held back.
    pub fn hold_back(&self, is_held_back: bool) {
        self.is_held_back.store(is_held_back, Ordering::Relaxed);
    }

    fn is_held_back(&self) -> bool {
        self.is_held_back.load(Ordering::Relaxed)
    }

    /// A request is worked on until what is answered is dropped.
    pub fn begin(self: &Arc<Self>) -> Work {
        // Its body has as long to come as anything else.
        self.live();
        self.requests.fetch_add(1, Ordering::Relaxed);
        Work(Arc::clone(self))
    }

    /// Whether there was any since the last time.
    fn take(&self) -> bool {
        let is_at_work = self.requests.load(Ordering::Relaxed) > 0 && !self.awaits_body.load(Ordering::Relaxed);
        self.is_live.swap(false, Ordering::Relaxed) || is_at_work
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

    /// Each kind of connection, whether it ends when its slot is wanted by one who comes.
    #[tokio::test(start_paused = true)]
    async fn who_is_held_back_goes_when_nobody_is_silent_and_who_gets_on_stays() {
        for (is_held_back, goes) in [(true, true), (false, false)] {
            let (slots, advance) = slots(1);
            let slot = slots.take().await;
            let activity = Arc::new(Activity::default());
            activity.hold_back(is_held_back);
            let (holder, answered) = (Arc::clone(&slots), Arc::clone(&activity));
            tokio::spawn(async move {
                holder.silence(&answered, HOUR).await;
                drop(slot);
            });
            tokio::spawn(async move {
                loop {
                    // Part of the answer goes out, as often as anybody looks.
                    activity.live();
                    sleep(ASK_AGAIN / 2).await;
                }
            });
            tokio::task::yield_now().await;
            advance(MOMENT);
            assert_eq!(timeout(MOMENT, slots.take()).await.is_ok(), goes, "held back: {is_held_back}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_body_goes_unless_that_comes_fast() {
        for (is_live, goes) in [(false, true), (true, false)] {
            let (slots, advance) = slots(1);
            let slot = slots.take().await;
            let activity = Arc::new(Activity::default());
            let (holder, waiting) = (Arc::clone(&slots), Arc::clone(&activity));
            tokio::spawn(async move {
                let _work = waiting.begin();
                waiting.await_body(true);
                holder.silence(&waiting, HOUR).await;
                drop(slot);
            });
            tokio::spawn(async move {
                loop {
                    if is_live {
                        activity.live();
                    }
                    sleep(ASK_AGAIN / 2).await;
                }
            });
            tokio::task::yield_now().await;
            assert!(timeout(MOMENT, slots.take()).await.is_err(), "it has had no time yet");
            advance(MOMENT);
            assert_eq!(timeout(MOMENT, slots.take()).await.is_ok(), goes, "comes fast: {is_live}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_is_deserted_when_nobody_is_there_and_nobody_came() {
        let (slots, _) = slots(3);
        let slot = slots.take().await;
        let all = [Arc::clone(&slots), Slots::new(1, Arc::clone(&slots.clock))];
        let other = all[1].take().await;
        assert!(timeout(HOUR, Slots::desertion(&all, HOUR / 4)).await.is_err());
        drop(slot);
        assert!(timeout(HOUR, Slots::desertion(&all, HOUR / 4)).await.is_err(), "the others have somebody");
        drop(other);
        assert!(timeout(HOUR, Slots::desertion(&all, HOUR / 4)).await.is_ok());
    }
}
