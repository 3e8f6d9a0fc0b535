//! Token buckets, in memory, each a single number: the moment at which it will be full again.
//!
//! Time is an input. Many buckets lie in a table of fixed size; one that is full again is the same as one that was never
//! used, so forgetting it loses nothing. When more are in use than the table holds, the one that is nearest to full
//! makes room: whoever invents names gets no memory, only the forgetting of somebody's last second or so. Which
//! buckets share a place nobody outside can know: names are hashed under a key of the process's own.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

/// Highest rate and largest burst.
pub const MAX_RATE: u32 = 1_000_000;
/// Buckets that share a place, and its lock.
const PLACE_SLOTS: usize = 8;
const NANOS: u64 = 1_000_000_000;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

impl Quota {
    /// A quota; without a burst, one second's worth may come at once. `None` when a number is zero or above
    /// [`MAX_RATE`].
    pub fn new(per_second: u64, burst: Option<u64>) -> Option<Self> {
        let number =
            |number: u64| u32::try_from(number).ok().filter(|number| *number <= MAX_RATE).and_then(NonZeroU32::new);
        let per_second = number(per_second)?;
        Some(Self { per_second, burst: burst.map_or(Some(per_second), number)? })
    }

    /// The rate.
    pub const fn per_second(self) -> u32 {
        self.per_second.get()
    }

    /// Most at once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How long an empty bucket takes to fill.
    pub const fn window(self) -> Duration {
        Duration::from_nanos(self.capacity())
    }

    /// What one costs. Rounded up: never faster than agreed.
    const fn interval(self) -> u64 {
        NANOS.div_ceil(self.per_second.get() as u64)
    }

    const fn capacity(self) -> u64 {
        self.interval() * self.burst.get() as u64
    }

    /// How far from full a bucket is, at most empty: a quota may have become smaller since.
    fn debt(self, full_at: u64, now: u64) -> u64 {
        full_at.saturating_sub(now).min(self.capacity())
    }

    fn level(self, full_at: u64, now: u64) -> Level {
        let debt = self.debt(full_at, now);
        Level { left: ((self.capacity() - debt) / self.interval()) as u32, full_in: Duration::from_nanos(debt) }
    }

    /// Takes some out of a bucket; when it will be full then.
    fn take(self, full_at: u64, now: u64, wanted: u32) -> Result<u64, Shortage> {
        if wanted > self.burst() {
            return Err(Shortage::Never);
        }
        let debt = self.debt(full_at, now) + self.interval() * u64::from(wanted);
        match debt.checked_sub(self.capacity()) {
            None | Some(0) => Ok(now + debt),
            Some(wait) => Err(Shortage::Wait(Duration::from_nanos(wait))),
        }
    }
}

/// What is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// How many are left.
    pub left: u32,
    /// How long until it is full.
    pub full_in: Duration,
}

/// Why a bucket does not give what is wanted. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// It will after this long, if nobody else takes from it.
    Wait(Duration),
    /// It never holds that many.
    Never,
}

/// The name of a bucket, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketId(u64);

#[derive(Clone, Copy, Default)]
struct Slot {
    id: u64,
    full_at: u64,
}

type Place = Mutex<[Slot; PLACE_SLOTS]>;

/// Many buckets.
pub struct Buckets {
    hasher: RandomState,
    places: usize,
    /// Made when the first is used: most installations have no limits.
    table: OnceLock<Box<[Place]>>,
}

impl Buckets {
    /// Room for about so many that are in use at the same time.
    pub fn new(room: usize) -> Self {
        Self { hasher: RandomState::new(), places: room.div_ceil(PLACE_SLOTS).max(1), table: OnceLock::new() }
    }

    /// The bucket of a name.
    pub fn id(&self, name: impl Hash) -> BucketId {
        BucketId(self.hasher.hash_one(name))
    }

    /// Takes some out of a bucket. `now` is a time that never goes back.
    ///
    /// # Errors
    /// When there are not as many; nothing is taken then.
    pub fn take(&self, id: BucketId, quota: Quota, now: Duration, wanted: u32) -> Result<(), Shortage> {
        let now = nanos(now);
        let mut slots = self.place(id).lock();
        let known = slots.iter().position(|slot| slot.id == id.0);
        if let Some(at) = known {
            // What a larger quota let it owe is let off.
            slots[at].full_at = now + quota.debt(slots[at].full_at, now);
        }
        let full_at = known.map_or(0, |at| slots[at].full_at);
        let full_at = quota.take(full_at, now, wanted)?;
        // Without one of its own, the one that is nearest to full: an unused one, as long as there is any.
        let nearest = || slots.iter().enumerate().min_by_key(|(_, slot)| slot.full_at).map_or(0, |(at, _)| at);
        let at = known.unwrap_or_else(nearest);
        slots[at] = Slot { id: id.0, full_at };
        Ok(())
    }

    /// Puts back what was taken for nothing.
    pub fn put_back(&self, id: BucketId, quota: Quota, taken: u32) {
        let mut slots = self.place(id).lock();
        if let Some(slot) = slots.iter_mut().find(|slot| slot.id == id.0) {
            slot.full_at = slot.full_at.saturating_sub(quota.interval() * u64::from(taken));
        }
    }

    /// What is in a bucket.
    pub fn level(&self, id: BucketId, quota: Quota, now: Duration) -> Level {
        let slots = self.place(id).lock();
        let full_at = slots.iter().find(|slot| slot.id == id.0).map_or(0, |slot| slot.full_at);
        quota.level(full_at, nanos(now))
    }

    fn place(&self, id: BucketId) -> &Place {
        let table = self.table.get_or_init(|| (0..self.places).map(|_| Place::default()).collect());
        // By the upper bits; the whole number tells those in one place apart.
        &table[((u128::from(id.0) * table.len() as u128) >> 64) as usize]
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quota(per_second: u64, burst: u64) -> Quota {
        Quota::new(per_second, Some(burst)).unwrap()
    }

    #[test]
    fn a_quota_is_a_number_from_one_to_a_million() {
        assert_eq!(Quota::new(0, None), None);
        assert_eq!(Quota::new(1, Some(0)), None);
        assert_eq!(Quota::new(u64::from(MAX_RATE) + 1, None), None);
        assert_eq!(Quota::new(u64::MAX, Some(u64::MAX)), None);
        let most = Quota::new(u64::from(MAX_RATE), Some(u64::from(MAX_RATE))).unwrap();
        assert_eq!(most.window(), SECOND);
        assert_eq!(Quota::new(7, None).unwrap().burst(), 7);
    }

    #[test]
    fn a_burst_is_given_at_once_and_then_one_after_another() {
        let (buckets, quota) = (Buckets::new(64), quota(10, 3));
        let id = buckets.id("a");
        assert_eq!(buckets.level(id, quota, SECOND), Level { left: 3, full_in: Duration::ZERO });
        for left in [2, 1, 0] {
            buckets.take(id, quota, SECOND, 1).unwrap();
            assert_eq!(buckets.level(id, quota, SECOND).left, left);
        }
        let tenth = Duration::from_millis(100);
        assert_eq!(buckets.take(id, quota, SECOND, 1), Err(Shortage::Wait(tenth)));
        assert_eq!(buckets.take(id, quota, SECOND, 2), Err(Shortage::Wait(tenth * 2)));
        let just_before = SECOND + Duration::from_nanos(99_999_999);
        assert_eq!(buckets.take(id, quota, just_before, 1), Err(Shortage::Wait(Duration::from_nanos(1))));
        assert_eq!(buckets.take(id, quota, SECOND + tenth, 1), Ok(()));
        assert_eq!(buckets.level(id, quota, SECOND * 60).left, 3, "no more than the burst is saved up");
    }

    #[test]
    fn over_a_long_time_no_more_is_given_than_was_agreed() {
        for (per_second, burst) in [(1, 1), (3, 1), (7, 20), (999, 50), (1_000_000, 10)] {
            let (buckets, quota) = (Buckets::new(8), quota(per_second, burst));
            let id = buckets.id("a");
            let step = Duration::from_micros(97);
            let given = (0..30_000).filter(|at| buckets.take(id, quota, step * *at, 1).is_ok()).count() as u64;
            let most = burst + per_second * 30_000 * 97 / 1_000_000 + 1;
            assert!(given <= most, "{given} of {most} at {per_second} a second");
            assert!(given >= most.min(30_000) * 9 / 10 - 1, "{given} of {most} at {per_second} a second");
        }
    }

    #[test]
    fn what_a_bucket_can_never_hold_is_told_from_what_takes_time() {
        let (buckets, quota) = (Buckets::new(8), quota(1, 5));
        let id = buckets.id("a");
        assert_eq!(buckets.take(id, quota, SECOND, 6), Err(Shortage::Never));
        assert_eq!(buckets.take(id, quota, SECOND, 5), Ok(()));
        assert_eq!(buckets.take(id, quota, SECOND, 5), Err(Shortage::Wait(SECOND * 5)));
        assert_eq!(buckets.take(id, quota, SECOND, 0), Ok(()));
    }

    #[test]
    fn what_was_taken_for_nothing_can_be_put_back() {
        let (buckets, quota) = (Buckets::new(8), quota(1, 5));
        let id = buckets.id("a");
        buckets.take(id, quota, SECOND, 5).unwrap();
        buckets.put_back(id, quota, 5);
        assert_eq!(buckets.take(id, quota, SECOND, 5), Ok(()));
    }

    #[test]
    fn a_smaller_quota_owes_no_more_than_its_own_burst() {
        let buckets = Buckets::new(8);
        let id = buckets.id("a");
        buckets.take(id, quota(1, 1000), SECOND, 1000).unwrap();
        assert_eq!(buckets.take(id, quota(10, 10), SECOND, 1), Err(Shortage::Wait(Duration::from_millis(100))));
        assert_eq!(buckets.take(id, quota(10, 10), SECOND * 2, 10), Ok(()));
    }

    #[test]
    fn names_without_end_take_no_memory_and_a_bucket_in_use_is_rarely_lost() {
        let (buckets, quota) = (Buckets::new(1024), quota(1, 100));
        let id = buckets.id(("client", "victim"));
        buckets.take(id, quota, SECOND, 100).unwrap();
        for number in 0..100_000 {
            buckets.take(buckets.id(("client", number)), quota, SECOND, 1).unwrap();
        }
        assert_eq!(buckets.table.get().unwrap().len(), 128);
        assert!(buckets.take(id, quota, SECOND, 1).is_err(), "the emptiest bucket is forgotten last");
    }

    #[test]
    fn many_threads_get_together_what_one_would() {
        let (buckets, quota) = (Buckets::new(64), quota(1, 1000));
        let id = buckets.id("a");
        let given = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| buckets.take(id, quota, SECOND, 1).is_ok()).count()))
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum::<usize>()
        });
        assert_eq!(given, 1000);
    }
}
