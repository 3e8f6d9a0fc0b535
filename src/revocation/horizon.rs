//! The horizon: how far ahead of the store's time a link may count as issued, and a revocation "until now" reaches.
//!
//! Clocks are within the leeway of the true time, so two of them differ by [`Bounds::skew`] at most. The store's time
//! decides: it never goes back behind what it has told anybody, and whatever counts as issued by then does not lie
//! further ahead of it than that. The rules are in `docs/architecture.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Bounds;
use crate::clock::{Moment, UnixMillis};

/// For how long what was heard of the store's time is gone on from, at least: clocks that were set, or do not run
/// equally fast, make it wrong in the end.
const WINDOW: Duration = Duration::from_secs(60);

/// The cut-off of a revocation "until now" that the store takes at a time.
///
/// `scripts/revoke.lua` does the same, and keeps a floor besides: a server that takes over may lack what the one before it
/// had told. The table file has lost nothing when it is opened.
pub fn reach(at: UnixMillis, bounds: Bounds) -> UnixMillis {
    at.plus(bounds.skew())
}

/// The store's time when its clock shows `clock` and it had told `told` before. One that lies further ahead than clocks
/// can be set back was the time of a clock that was wrong.
pub fn steady(clock: UnixMillis, told: UnixMillis, bounds: Bounds) -> UnixMillis {
    if told.since(clock) > bounds.skew() { clock } else { clock.max(told) }
}

/// What a process has heard of the store's time.
#[derive(Debug, Default)]
pub struct StoreTime {
    /// Milliseconds that the store's time is ahead of this process's uptime, at least.
    ahead: AtomicU64,
    /// Links dated until then, in milliseconds since 1970, may have used downloads that the store has lost.
    counts_lost: AtomicU64,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The history that the store's time belongs to.
    epoch: String,
    told: UnixMillis,
    /// What was heard best in this window, and in the one before.
    best: u64,
    best_before: u64,
    window_began: Duration,
}

impl StoreTime {
    /// The store has told a time, and will not go back behind it. A time further ahead than clocks may differ proves
    /// nothing.
    pub fn learn(&self, epoch: &str, told: UnixMillis, now: Moment, bounds: Bounds) {
        if told <= now.wall.plus(bounds.skew()) {
            let heard = &mut *self.heard.lock();
            self.go_on_from(heard, epoch, told, now);
            heard.told = heard.told.max(told);
        }
    }

    /// The store's clock shows a time, and may yet be set back behind it.
    pub fn see(&self, epoch: &str, clock: UnixMillis, now: Moment, bounds: Bounds) {
        if clock <= now.wall.plus(bounds.skew()) {
            self.go_on_from(&mut self.heard.lock(), epoch, clock, now);
        }
    }

    fn go_on_from(&self, heard: &mut Heard, epoch: &str, clock: UnixMillis, now: Moment) {
        if heard.epoch != epoch {
            *heard = Heard { epoch: epoch.to_owned(), window_began: now.uptime, ..Heard::default() };
        }
        if now.uptime.saturating_sub(heard.window_began) >= WINDOW {
            (heard.best_before, heard.best, heard.window_began) = (heard.best, 0, now.uptime);
        }
        heard.best = heard.best.max(clock.minus(now.uptime).0);
        self.ahead.store(heard.best.max(heard.best_before), Ordering::Relaxed);
    }

    /// The latest time that the store has told.
    pub fn told(&self) -> UnixMillis {
        self.heard.lock().told
    }

    /// The store has lost the downloads of counted links dated until then.
    pub fn note_lost_counts(&self, until: UnixMillis) {
        self.counts_lost.store(until.0, Ordering::Relaxed);
    }

    /// Until when the downloads of counted links were lost, as the store has told.
    pub fn counts_lost(&self) -> UnixMillis {
        UnixMillis(self.counts_lost.load(Ordering::Relaxed))
    }

    /// The latest issue of a link that counts as made by now: what a revocation "until now" would reach. This machine's
    /// clock decides only while nothing was heard of the store's, save that what it shows has come.
    pub fn latest_issue(&self, now: Moment, bounds: Bounds) -> UnixMillis {
        match self.lower_bound(now) {
            UnixMillis(0) => now.wall.plus(bounds.skew()),
            known => known.plus(bounds.skew()).max(now.wall),
        }
    }

    /// What the store's clock shows by now, at least; the epoch when nothing was heard of it.
    pub fn lower_bound(&self, now: Moment) -> UnixMillis {
        match self.ahead.load(Ordering::Relaxed) {
            0 => UnixMillis(0),
            ahead => UnixMillis(ahead).plus(now.uptime),
        }
    }
}

/// The latest issue of a link that may count as made by now, as far as a clock can tell: the store's may be as far ahead of
/// this one as clocks differ, or was set to that since it was last heard, and the link as far ahead of that.
pub fn latest_conceivable_issue(now: UnixMillis, bounds: Bounds) -> UnixMillis {
    now.plus(bounds.skew() * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_ttl: Duration::from_secs(3_600), leeway: Duration::from_secs(2) };
    const SKEW: Duration = Duration::from_secs(4);

    fn moment(wall: u64, uptime: u64) -> Moment {
        Moment { wall: UnixMillis(wall), uptime: Duration::from_millis(uptime) }
    }

    #[test]
    fn what_was_heard_of_the_stores_time_is_gone_on_from() {
        let time = StoreTime::default();
        assert_eq!(time.lower_bound(moment(1_000_000, 0)), UnixMillis(0));
        time.learn("1", UnixMillis(1_000_000), moment(1_000_500, 0), BOUNDS);
        time.learn("1", UnixMillis(1_000_010), moment(1_000_600, 100), BOUNDS);
        assert_eq!(time.lower_bound(moment(0, 100)), UnixMillis(1_000_100), "the earlier word had come sooner");
        assert_eq!(time.told(), UnixMillis(1_000_010));
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_within_two_windows() {
        let time = StoreTime::default();
        time.learn("1", UnixMillis(1_001_000), moment(1_000_000, 0), BOUNDS);
        for minutes in 1..=2 {
            let passed = minutes * 60_000;
            time.learn("1", UnixMillis(1_000_000 + passed), moment(1_000_000 + passed, passed), BOUNDS);
        }
        assert_eq!(time.lower_bound(moment(0, 120_000)), UnixMillis(1_120_000));
    }

    #[test]
    fn a_time_that_no_clock_can_show_is_not_believed() {
        let time = StoreTime::default();
        let now = moment(1_000_000, 0);
        time.learn("1", now.wall.plus(SKEW), now, BOUNDS);
        time.learn("1", UnixMillis(now.wall.plus(SKEW).0 + 1), now, BOUNDS);
        assert_eq!(time.told(), now.wall.plus(SKEW));
    }

    #[test]
    fn what_another_history_told_is_forgotten() {
        let time = StoreTime::default();
        time.learn("1", UnixMillis(1_000_900), moment(1_000_000, 0), BOUNDS);
        time.learn("2", UnixMillis(1_000_100), moment(1_000_000, 0), BOUNDS);
        assert_eq!((time.told(), time.lower_bound(moment(0, 5))), (UnixMillis(1_000_100), UnixMillis(1_000_105)));
    }

    #[test]
    fn the_stores_time_does_not_go_back_unless_it_was_wrong() {
        let clock = UnixMillis(1_000_000);
        assert_eq!(steady(clock, UnixMillis(999_999), BOUNDS), clock);
        assert_eq!(steady(clock, clock.plus(SKEW), BOUNDS), clock.plus(SKEW));
        assert_eq!(steady(clock, UnixMillis(clock.plus(SKEW).0 + 1), BOUNDS), clock);
    }

    #[test]
    fn until_now_reaches_as_far_as_any_clock_may_be_ahead() {
        let at = UnixMillis(1_000_000);
        assert_eq!(reach(at, BOUNDS), at.plus(SKEW));
    }

    #[test]
    fn no_link_counts_as_made_by_now_that_until_now_would_not_reach() {
        let time = StoreTime::default();
        let now = moment(1_002_000, 50);
        assert_eq!(time.latest_issue(now, BOUNDS), now.wall.plus(SKEW), "nothing was heard of the store");
        let store = UnixMillis(998_000);
        time.learn("1", store, now, BOUNDS);
        assert_eq!(time.latest_issue(now, BOUNDS), reach(store, BOUNDS));
        let ahead = moment(1_090_000, 50);
        assert_eq!(time.latest_issue(ahead, BOUNDS), ahead.wall, "what this machine's clock shows has come");
    }
}
