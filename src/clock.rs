//! Time, read in one place.
//!
//! The core never asks for the time: it is handed a [`Moment`]. Only [`SystemClock`] reads the machine's
//! clocks; a lint forbids `SystemTime::now` and `Instant::now` everywhere else.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;
use time::OffsetDateTime;
use time::format_description::well_known;

/// A wall-clock time: whole milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The latest time that RFC 3339 can write: the end of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// This time moved forward, saturating.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This time moved back, saturating at the epoch.
    #[must_use]
    pub const fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Parses an RFC 3339 time with any offset. `None` when it is malformed or before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &well_known::Rfc3339).ok()?;
        let millis = parsed.unix_timestamp_nanos() / 1_000_000;
        u64::try_from(millis).ok().map(Self)
    }

    /// The second as HTTP writes it (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn to_http(self) -> HttpDate {
        HttpDate::from(UNIX_EPOCH + Duration::from_millis(self.min(Self::MAX).0))
    }
}

/// A span in milliseconds; one too long to be written so is the longest.
const fn millis(span: Duration) -> u64 {
    let millis = span.as_millis();
    if millis > u64::MAX as u128 { u64::MAX } else { millis as u64 }
}

/// RFC 3339 in UTC; fractions of a second only when there are any.
impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0.min(Self::MAX.0)) * 1_000_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|time| time.format(&well_known::Rfc3339).ok());
        f.write_str(text.as_deref().ok_or(fmt::Error)?)
    }
}

/// A time that is read and written as RFC 3339 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(pub UnixMillis);

impl serde::Serialize for Rfc3339 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Rfc3339 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        UnixMillis::parse_rfc3339(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 time such as \"2026-01-31T12:00:00Z\""))
    }
}

/// One reading of both clocks: the wall says when, the monotonic one says how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall-clock time.
    pub wall: UnixMillis,
    /// Time since the clock was made; never goes back, may stand still while the machine sleeps.
    pub uptime: Duration,
}

impl Moment {
    /// How long after `earlier` this is by whichever clock says more, so that neither a frozen machine
    /// (whose monotonic clock stood still) nor a wall clock stepped back makes a thing look young.
    pub fn since(self, earlier: Self) -> Duration {
        self.wall.since(earlier.wall).max(self.uptime.saturating_sub(earlier.uptime))
    }

    /// This moment moved back by both clocks, saturating.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self { wall: self.wall.minus(span), uptime: self.uptime.saturating_sub(span) }
    }
}

/// How long the machine has been up, sleep included, and which of its starts that counts from: a clock that survives
/// the process and that nobody can set.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BootTime {
    /// The kernel's name for this start of the machine.
    pub boot: String,
    /// Milliseconds since then.
    pub millis: u64,
}

impl BootTime {
    /// Reads it from Linux' `/proc`; `None` elsewhere.
    pub fn now() -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
        Some(Self { boot, millis: (seconds * 1000.0) as u64 })
    }

    /// How long after `earlier` this is; `None` when the machine was started anew in between.
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        (self.boot == earlier.boot).then(|| Duration::from_millis(self.millis.saturating_sub(earlier.millis)))
    }
}

impl Moment {
    /// The wall as it would be had it only gone on since `start`, or as it is where that is earlier: by this time
    /// nothing is forgotten just because somebody stepped the clock ahead.
    pub fn unhurried(self, start: Self) -> UnixMillis {
        self.wall.min(start.wall.plus(self.uptime.saturating_sub(start.uptime)))
    }
}

/// Where a [`Moment`] comes from.
pub trait Clock: Send + Sync {
    /// Reads the clocks.
    fn now(&self) -> Moment;

    /// Reads only the monotonic clock.
    fn uptime(&self) -> Duration {
        self.now().uptime
    }

    /// What the machine's wall clock has been doing.
    fn steps(&self) -> Steps {
        Steps::default()
    }
}

/// How the machine's wall clock was set while the process ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// How far it stands behind what [`Clock::now`] answers: it was stepped back.
    pub behind: Duration,
    /// How far it was stepped ahead lately: if that was a mistake, links end too early until it is corrected.
    pub ahead: Duration,
}

/// The machine's clocks, with one correction: the wall never goes back.
///
/// When the wall clock is stepped back, a link that had expired would live again. So the clock remembers the furthest
/// the wall has been ahead of the monotonic clock and goes on from there until the process restarts. One thing is
/// forgiven: a step ahead that is taken back within [`PROBATION`], down to where the wall had been before and no
/// further, was a mistake that has been corrected.
pub struct SystemClock {
    start: std::time::Instant,
    /// Milliseconds that the wall counts as ahead of the monotonic clock.
    ahead: AtomicU64,
    /// Milliseconds that the machine's wall stands behind that.
    behind: AtomicU64,
    step: parking_lot::Mutex<Option<StepAhead>>,
}

/// A step ahead that may still turn out to be a mistake.
#[derive(Clone, Copy, Debug)]
struct StepAhead {
    /// How far ahead the wall had been before, in milliseconds.
    before: u64,
    /// When the step was noticed.
    at: Duration,
}

/// How long a step ahead can be taken back.
pub const PROBATION: Duration = Duration::from_secs(600);
/// Less than this is drift or slewing, not a step.
const STEP_MILLIS: u64 = 1_000;
/// Two readings a moment apart may disagree by this much without anything being wrong.
const JITTER_MILLIS: u64 = 100;

impl SystemClock {
    /// A clock whose uptime starts now.
    #[allow(clippy::disallowed_methods, reason = "the one reader of the machine's clocks")]
    pub fn new() -> Self {
        let clock = Self {
            start: std::time::Instant::now(),
            ahead: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            step: parking_lot::Mutex::new(None),
        };
        clock.ahead.store(wall_ahead(clock.start.elapsed()), Ordering::Relaxed);
        clock
    }

    /// How far ahead the wall counts as being, now that it is seen to be so far ahead.
    fn judge(&self, seen: u64, uptime: Duration) -> u64 {
        let known = self.ahead.load(Ordering::Relaxed);
        if seen > known + STEP_MILLIS {
            let mut step = self.step.lock();
            step.get_or_insert(StepAhead { before: known, at: uptime });
        }
        if seen >= known {
            self.set_behind(0);
            self.ahead.fetch_max(seen, Ordering::Relaxed);
            return seen;
        }
        let behind = known - seen;
        if behind > STEP_MILLIS {
            let mut step = self.step.lock();
            let is_correction = step
                .is_some_and(|step| uptime.saturating_sub(step.at) <= PROBATION && seen + JITTER_MILLIS >= step.before);
            if is_correction {
                let before = step.take().map_or(0, |step| step.before);
                let corrected = seen.max(before);
                self.ahead.store(corrected, Ordering::Relaxed);
                self.set_behind(0);
                return corrected;
            }
        }
        self.set_behind(if behind > JITTER_MILLIS { behind } else { 0 });
        known
    }

    /// Written only when it changes: every verdict reads the clock.
    fn set_behind(&self, behind: u64) {
        if self.behind.load(Ordering::Relaxed).abs_diff(behind) > 1 {
            self.behind.store(behind, Ordering::Relaxed);
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let uptime = self.start.elapsed();
        let ahead = self.judge(wall_ahead(uptime), uptime);
        Moment { wall: UnixMillis(ahead).plus(uptime), uptime }
    }

    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    fn steps(&self) -> Steps {
        let mut step = self.step.lock();
        // Nobody took it back in time: the wall is where it belongs.
        if step.is_some_and(|step| self.start.elapsed().saturating_sub(step.at) > PROBATION) {
            *step = None;
        }
        let ahead = self.ahead.load(Ordering::Relaxed);
        Steps {
            behind: Duration::from_millis(self.behind.load(Ordering::Relaxed)),
            ahead: Duration::from_millis(step.map_or(0, |step| ahead.saturating_sub(step.before))),
        }
    }
}

/// How far the machine's wall clock is ahead of an uptime, in milliseconds.
#[allow(clippy::disallowed_methods, reason = "the one reader of the machine's clocks")]
fn wall_ahead(uptime: Duration) -> u64 {
    let wall = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(wall.saturating_sub(uptime))
}

/// A clock that stands still until it is told to move: for tests of everything that depends on time.
pub struct ManualClock(parking_lot::Mutex<Moment>);

impl ManualClock {
    /// A clock that shows `wall`, its uptime at zero.
    pub fn at(wall: UnixMillis) -> Self {
        Self(parking_lot::Mutex::new(Moment { wall, uptime: Duration::ZERO }))
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, span: Duration) {
        let mut moment = self.0.lock();
        moment.wall = moment.wall.plus(span);
        moment.uptime += span;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        assert_eq!(UnixMillis(1_000).to_string(), "1970-01-01T00:00:01Z");
        assert_eq!(UnixMillis(1_500).to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!(UnixMillis::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_with_any_offset() {
        assert_eq!(UnixMillis::parse_rfc3339("1970-01-01T01:00:01+01:00"), Some(UnixMillis(1_000)));
        assert_eq!(UnixMillis::parse_rfc3339("1969-12-31T23:59:59Z"), None);
        assert_eq!(UnixMillis::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn age_is_the_larger_of_both_clocks() {
        let start = Moment { wall: UnixMillis(10_000), uptime: Duration::from_secs(1) };
        let frozen = Moment { wall: UnixMillis(70_000), uptime: Duration::from_secs(2) };
        let stepped_back = Moment { wall: UnixMillis(1_000), uptime: Duration::from_secs(9) };
        assert_eq!(frozen.since(start), Duration::from_secs(60));
        assert_eq!(stepped_back.since(start), Duration::from_secs(8));
    }

    const HOUR: u64 = 3_600_000;

    /// A clock whose wall was a day ahead of its monotonic clock.
    fn clock() -> SystemClock {
        let clock = SystemClock::new();
        clock.ahead.store(24 * HOUR, Ordering::Relaxed);
        clock
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_wall_that_is_stepped_back_is_not_followed() {
        let clock = clock();
        assert_eq!(clock.judge(23 * HOUR, after(5)), 24 * HOUR);
        assert_eq!(clock.steps().behind, Duration::from_millis(HOUR));
        assert_eq!(clock.judge(24 * HOUR + 3, after(6)), 24 * HOUR + 3);
        assert_eq!(clock.steps(), Steps::default());
    }

    #[test]
    fn a_step_ahead_that_is_soon_taken_back_is_forgiven() {
        let clock = clock();
        assert_eq!(clock.judge(30 * HOUR, after(5)), 30 * HOUR);
        assert_eq!(clock.steps().ahead, Duration::from_millis(6 * HOUR));
        assert_eq!(clock.judge(24 * HOUR + 20, after(300)), 24 * HOUR + 20);
        assert_eq!(clock.steps(), Steps::default());
    }

    #[test]
    fn a_step_ahead_forgives_no_step_further_back_and_none_that_comes_late() {
        let clock = clock();
        clock.judge(30 * HOUR, after(5));
        assert_eq!(clock.judge(23 * HOUR, after(6)), 30 * HOUR, "it had never been that far back");
        assert_eq!(clock.judge(24 * HOUR, after(700)), 30 * HOUR, "it has long been so");
    }

    #[test]
    fn slewing_back_a_little_holds_the_clock_up_and_no_more() {
        let clock = clock();
        assert_eq!(clock.judge(24 * HOUR - 900, after(5)), 24 * HOUR);
        assert_eq!(clock.judge(24 * HOUR + 900, after(6)), 24 * HOUR + 900);
        assert_eq!(clock.steps().ahead, Duration::ZERO);
    }
}
