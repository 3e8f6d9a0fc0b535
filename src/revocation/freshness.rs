//! How old the index is, and what may be said when it is too old.

use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Moment;

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
#[derive(Debug, Default)]
pub struct Freshness(RwLock<Proofs>);

#[derive(Clone, Copy, Debug, Default)]
struct Proofs {
    always: bool,
    complete: Option<Moment>,
    beat: Option<Moment>,
}

impl Freshness {
    /// The store lives in this process: the index is never behind.
    pub fn set_always(&self) {
        self.0.write().always = true;
    }

    /// Everything the store had at `moment` has been applied.
    pub fn set_complete(&self, moment: Moment) {
        self.0.write().complete = Some(moment);
    }

    /// The store was heard to be alive at `moment`.
    pub fn set_beat(&self, moment: Moment) {
        self.0.write().beat = Some(moment);
    }

    /// What was known about completeness is not to be relied on any more.
    pub fn forget(&self) {
        let mut proofs = self.0.write();
        (proofs.complete, proofs.beat) = (None, None);
    }

    /// The index was complete so long before `now`, as far as is known from an earlier process.
    pub fn set_age(&self, age: Duration, now: Moment) {
        let then = Moment { wall: now.wall.minus(age), uptime: now.uptime };
        let mut proofs = self.0.write();
        (proofs.complete, proofs.beat) = (Some(then), Some(then));
    }

    /// How long revocations may have been missing; `None` when the index was never complete.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        let Proofs { always, complete, beat } = *self.0.read();
        if always {
            return Some(Duration::ZERO);
        }
        Some(now.since(complete?).max(now.since(beat?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock, UnixMillis};

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
