//! Room for what large requests bring and take.
//!
//! A body takes room for what has come of it and never for what is announced, so who sends nothing holds nothing. Where a
//! share has no room left, a body may go on without, in the share's lane: there is one, for one body at a time, in the order
//! they came. A body takes the lanes of the narrower shares first, so that of one caller a single body waits for what it has
//! in common with others, and so that no two wait for each other. Memory exceeds a share by one body.
//!
//! A body that comes too slowly to be there in time gives up its room, and its lane, as soon as another wants them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// In what room is counted, in bytes.
const UNIT: usize = 1 << 10;
/// How often those that hold room are asked for it while none is free.
const ASK_AGAIN: Duration = Duration::from_millis(1);
/// How long a body may take for what it should bring in that time.
const MOMENT: Duration = Duration::from_secs(1);

/// Room that some requests have in common.
pub struct Pool {
    free: Arc<Semaphore>,
    lane: Arc<Mutex<()>>,
    /// Held by the one of those that wait which asks for room.
    asking: Mutex<()>,
    wanted: Notify,
}

/// A part of a pool; it is given back when this is dropped.
#[derive(Default)]
struct Part {
    room: Option<OwnedSemaphorePermit>,
    lane: Option<OwnedMutexGuard<()>>,
}

impl Part {
    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
    }
}

impl Pool {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes.div_ceil(UNIT))),
            lane: Arc::default(),
            asking: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// Waits for something to be given back, and asks for it meanwhile.
    async fn asking<T>(&self, given: impl Future<Output = T>) -> T {
        let ask = async {
            // However many wait: one of them is enough.
            let _asking = self.asking.lock().await;
            loop {
                // Who has got nowhere for longest hears it first.
                self.wanted.notify_one();
                sleep(ASK_AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            given = given => given,
            never = ask => never,
        }
    }

    async fn room(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        self.asking(Arc::clone(&self.free).acquire_many_owned(units)).await.ok()
    }
}

/// Room of a body, in each of the pools that it shares: always the same, the narrowest first.
#[derive(Default)]
pub struct BodyRoom {
    units: usize,
    parts: Vec<Part>,
}

impl BodyRoom {
    /// Takes room for so many bytes all in all; waits where there is none.
    pub async fn grow(&mut self, pools: &[&Pool], bytes: usize) {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units);
        let units = more as u32;
        self.parts.resize_with(pools.len(), Part::default);
        for (at, pool) in pools.iter().enumerate() {
            if self.parts[at].lane.is_some() {
                continue;
            }
            if let Ok(room) = Arc::clone(&pool.free).try_acquire_many_owned(units) {
                self.parts[at].add(room);
                continue;
            }
            for (part, narrower) in self.parts.iter_mut().zip(&pools[..at]).filter(|(part, _)| part.lane.is_none()) {
                part.lane = Some(narrower.asking(Arc::clone(&narrower.lane).lock_owned()).await);
            }
            let part = &mut self.parts[at];
            tokio::select! {
                biased;
                room = pool.room(units) => room.into_iter().for_each(|room| part.add(room)),
                lane = Arc::clone(&pool.lane).lock_owned() => part.lane = Some(lane),
            }
        }
        self.units += more;
    }

    /// Whether others could want what it has.
    pub const fn is_held(&self) -> bool {
        self.units > 0
    }
}

/// Room of an answer, in each of the pools that it shares.
#[derive(Default)]
pub struct AnswerRoom(Vec<OwnedSemaphorePermit>);

impl AnswerRoom {
    /// Waits for room for so many bytes, in the narrowest pool first.
    pub async fn take(pools: &[&Pool], bytes: usize) -> Self {
        let mut taken = Self::default();
        for pool in pools {
            taken.0.extend(pool.room(bytes.div_ceil(UNIT) as u32).await);
        }
        taken
    }

    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        for room in &mut self.0 {
            drop(room.split(room.num_permits().saturating_sub(bytes.div_ceil(UNIT))));
        }
    }
}

/// Ends when room is wanted in one of some pools.
pub async fn wanted(pools: &[&Pool]) {
    let mut calls: Vec<_> = pools.iter().map(|pool| Box::pin(pool.wanted.notified())).collect();
    poll_fn(|context| {
        let is_called = calls.iter_mut().any(|call| call.as_mut().poll(context).is_ready());
        if is_called { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether a body comes as fast as it has to.
pub struct Pace {
    /// Bytes of a moment.
    due: usize,
    came: usize,
    /// When as many had come the last time.
    since: Duration,
}

impl Pace {
    /// Of a body of so many bytes, which has so long.
    pub fn new(bytes: usize, span: Duration, now: Duration) -> Self {
        let moments = span.as_secs_f64() / MOMENT.as_secs_f64();
        Self { due: (bytes as f64 / moments).ceil() as usize, came: 0, since: now }
    }

    /// So many bytes came.
    pub fn came(&mut self, bytes: usize, now: Duration) {
        self.came += bytes;
        if self.came >= self.due {
            (self.came, self.since) = (0, now);
        }
    }

    /// It was not read for so long.
    pub fn pause(&mut self, span: Duration) {
        self.since += span;
    }

    pub fn is_slow(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= MOMENT
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::timeout;

    use super::*;

    const BODY: usize = 64 << 10;

    /// A caller's pool, and what it has in common with others.
    struct Pools {
        callers: Vec<Pool>,
        all: Pool,
    }

    impl Pools {
        /// For `bodies` of the largest size, of which one caller has half.
        fn new(callers: usize, bodies: usize) -> Arc<Self> {
            let callers = (0..callers).map(|_| Pool::new(bodies * BODY / 2)).collect();
            Arc::new(Self { callers, all: Pool::new(bodies * BODY) })
        }

        fn of(&self, caller: usize) -> [&Pool; 2] {
            [&self.callers[caller], &self.all]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_grow_at_once_all_come_to_their_end_within_the_room_and_one_body() {
        for (callers, each, step) in [(1, 40, 1 << 10), (9, 9, 3_000), (40, 3, 17_000), (3, 40, BODY)] {
            let pools = Pools::new(callers, 4);
            let (there, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let bodies = (0..callers * each).map(|number| {
                let (pools, there, most) = (Arc::clone(&pools), Arc::clone(&there), Arc::clone(&most));
                tokio::spawn(async move {
                    let (mut room, mut length) = (BodyRoom::default(), 0);
                    while length < BODY {
                        let more = step.min(BODY - length);
                        length += more;
                        room.grow(&pools.of(number % callers), length).await;
                        most.fetch_max(there.fetch_add(more, Ordering::Relaxed) + more, Ordering::Relaxed);
                        sleep(Duration::from_millis(number as u64 % 7)).await;
                    }
                    there.fetch_sub(length, Ordering::Relaxed);
                })
            });
            for body in bodies.collect::<Vec<_>>() {
                timeout(Duration::from_secs(600), body).await.expect("none waits for ever").unwrap();
            }
            let most = most.load(Ordering::Relaxed);
            assert!(most <= 5 * BODY, "{most} bytes of {callers} callers");
            assert_eq!(pools.all.free.available_permits(), 4 * BODY / UNIT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_caller_a_single_body_stands_in_the_way_of_others() {
        let pools = Pools::new(3, 4);
        let mut held = Vec::new();
        for caller in [0, 0, 1, 1] {
            let mut room = BodyRoom::default();
            room.grow(&pools.of(caller), BODY).await;
            held.push(room);
        }
        // These have no room of their own left: one goes on, the others wait where they are in nobody's way.
        let crowd: Vec<_> = (0..50)
            .map(|_| {
                let pools = Arc::clone(&pools);
                tokio::spawn(async move {
                    let mut room = BodyRoom::default();
                    room.grow(&pools.of(0), BODY).await;
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        sleep(MOMENT).await;
        held.clear();
        let mut room = BodyRoom::default();
        timeout(MOMENT, room.grow(&pools.of(2), 2 * BODY)).await.expect("another caller has room");
        crowd.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[test]
    fn a_body_is_slow_that_would_not_be_there_in_time() {
        let second = Duration::from_secs;
        for (bytes, came, after, expected) in [
            (3_000, 0, 0, false),
            (3_000, 0, 1, true),
            (3_000, 99, 1, true),
            (3_000, 100, 1, false),
            (3_000, 100, 2, true),
            (1, 0, 1, true),
            (1, 1, 1, false),
        ] {
            let mut pace = Pace::new(bytes, second(30), Duration::ZERO);
            // Byte by byte, as it may come.
            (0..came).for_each(|_| pace.came(1, Duration::from_millis(500)));
            assert_eq!(pace.is_slow(second(after)), expected, "{came} of {bytes} after {after} s");
        }
    }
}
