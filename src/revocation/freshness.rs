//! How old the index is, and what may be said when it is too old.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Moment, UnixMillis};

/// What happens to valid links while revocations may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnStale {
    /// They are refused with 503 until the store is back. Nothing revoked is ever served; a long outage of the
    /// store is an outage of downloads.
    #[default]
    Deny,
    /// The store is asked about each of them; where it does not answer, they are refused with 503. Helps when the
    /// store can be reached but following it does not work.
    Direct,
    /// They are served by what is known. Downloads survive any outage; a link revoked meanwhile still works.
    Serve,
}

/// When an index counts as too old to judge by.
#[derive(Clone, Copy, Debug)]
pub struct StalenessPolicy {
    pub max_staleness: Duration,
    pub on_stale: OnStale,
}

/// When the index was last known to be complete.
///
/// Two proofs are needed, and the older one counts: that this process had read everything its store had
/// (`complete`), and that the store itself still heard from the writers (`beat`).
///
/// Whoever reads them takes no lock: of two copies one is complete at any time, and a reader whose copy was written
/// over meanwhile reads the other one.
#[derive(Debug, Default)]
pub struct Freshness {
    proofs: Mutex<Proofs>,
    /// How often the proofs have changed; its lowest bit says which copy has them.
    version: AtomicUsize,
    copies: [[AtomicU64; 5]; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Proofs {
    always: bool,
    complete: Option<Moment>,
    beat: Option<Moment>,
}

impl Freshness {
    /// The store lives in this process: the index is never behind.
    pub fn set_always(&self) {
        self.change(|proofs| proofs.always = true);
    }

    /// Whether nothing is ever missing: the store is this process's own.
    pub fn is_always(&self) -> bool {
        self.read().always
    }

    /// Everything the store had at `moment` has been applied.
    pub fn set_complete(&self, moment: Moment) {
        self.change(|proofs| proofs.complete = Some(moment));
    }

    /// The store was heard to be alive at `moment`.
    pub fn set_beat(&self, moment: Moment) {
        self.change(|proofs| proofs.beat = Some(moment));
    }

    /// What was known about completeness is not to be relied on any more.
    pub fn forget(&self) {
        self.change(|proofs| (proofs.complete, proofs.beat) = (None, None));
    }

    /// The index was complete so long before `now`, as far as is known from an earlier process.
    pub fn set_age(&self, age: Duration, now: Moment) {
        let then = Moment { wall: now.wall.minus(age), uptime: now.uptime };
        self.change(|proofs| (proofs.complete, proofs.beat) = (Some(then), Some(then)));
    }

    /// How long revocations may have been missing; `None` when the index was never complete.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        let Proofs { always, complete, beat } = self.read();
        if always {
            return Some(Duration::ZERO);
        }
        Some(now.since(complete?).max(now.since(beat?)))
    }

    fn change(&self, change: impl FnOnce(&mut Proofs)) {
        let mut proofs = self.proofs.lock();
        change(&mut proofs);
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Whoever reads a word of what follows also sees the version that was there before, and reads anew.
        fence(Ordering::Release);
        for (copied, word) in self.copies[version % 2].iter().zip(proofs.to_words()) {
            copied.store(word, Ordering::Relaxed);
        }
        self.version.store(version, Ordering::Release);
    }

    fn read(&self) -> Proofs {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let words = self.copies[version % 2].each_ref().map(|word| word.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return Proofs::from_words(words);
            }
        }
    }
}

/// As words, where zero stands for what was never set: times are written one higher.
impl Proofs {
    fn to_words(self) -> [u64; 5] {
        let [complete, beat] = [self.complete, self.beat].map(|moment| {
            moment.map_or([0, 0], |moment| [moment.wall.0.saturating_add(1), moment.uptime.as_nanos() as u64])
        });
        [u64::from(self.always), complete[0], complete[1], beat[0], beat[1]]
    }

    fn from_words([always, complete, complete_uptime, beat, beat_uptime]: [u64; 5]) -> Self {
        let moment = |wall: u64, uptime| {
            Some(Moment { wall: UnixMillis(wall.checked_sub(1)?), uptime: Duration::from_nanos(uptime) })
        };
        Self { always: always > 0, complete: moment(complete, complete_uptime), beat: moment(beat, beat_uptime) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    #[test]
    fn both_proofs_are_read_as_they_were_at_one_time() {
        let freshness = Freshness::default();
        let end = 200_000;
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for millis in 0..=end {
                    let uptime = Duration::from_millis(millis);
                    freshness.set_age(Duration::ZERO, Moment { wall: UnixMillis(millis), uptime });
                }
            });
            let mut last = 0;
            while last < end {
                let Proofs { complete, beat, .. } = freshness.read();
                assert_eq!(complete, beat);
                let Some(moment) = complete else { continue };
                assert_eq!(u128::from(moment.wall.0), moment.uptime.as_millis());
                assert!(moment.wall.0 >= last, "never back to an earlier time");
                last = moment.wall.0;
            }
            assert!(writing.join().is_ok());
        });
    }

    #[test]
    fn what_is_forgotten_is_as_if_it_had_never_been() {
        let freshness = Freshness::default();
        let now = Moment { wall: UnixMillis(0), uptime: Duration::ZERO };
        freshness.set_age(Duration::from_secs(1), now);
        assert_eq!(freshness.age(now), Some(Duration::ZERO));
        freshness.forget();
        assert_eq!(freshness.age(now), None);
        freshness.set_always();
        assert_eq!(freshness.age(now), Some(Duration::ZERO));
    }

    #[test]
    fn the_older_of_both_proofs_counts() {
        let clock = ManualClock::at(UnixMillis(1_000_000));
        let freshness = Freshness::default();
        assert_eq!(freshness.age(clock.now()), None);
        freshness.set_complete(clock.now());
        assert_eq!(freshness.age(clock.now()), None, "a store that nobody writes to proves nothing");
        freshness.set_beat(clock.now());
        clock.advance(Duration::from_secs(5));
        freshness.set_complete(clock.now());
        assert_eq!(freshness.age(clock.now()), Some(Duration::from_secs(5)));
    }
}
