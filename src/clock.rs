//! Time, read in one place.
//!
//! The core never asks for the time: it is handed a [`Moment`]. Only [`SystemClock`] reads the machine's
//! clocks; a lint forbids `SystemTime::now` and `Instant::now` everywhere else.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

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

/// Where a [`Moment`] comes from.
pub trait Clock: Send + Sync {
    /// Reads the clocks.
    fn now(&self) -> Moment;

    /// Reads only the monotonic clock.
    fn uptime(&self) -> Duration {
        self.now().uptime
    }

    /// How far the machine's wall clock stands behind what [`Clock::now`] answers.
    fn stepped_back(&self) -> Duration {
        Duration::ZERO
    }
}

/// The machine's clocks, with one correction: the wall never goes back.
///
/// When the wall clock is stepped back, a link that had expired would live again. So the clock remembers the
/// furthest the wall has been ahead of the monotonic clock and goes on from there until the process restarts.
pub struct SystemClock {
    start: std::time::Instant,
    furthest_ahead: AtomicU64,
    behind: AtomicI64,
}

impl SystemClock {
    /// A clock whose uptime starts now.
    #[allow(clippy::disallowed_methods, reason = "the one reader of the machine's clocks")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now(), furthest_ahead: AtomicU64::new(0), behind: AtomicI64::new(0) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one reader of the machine's clocks")]
    fn now(&self) -> Moment {
        let uptime = self.start.elapsed();
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let ahead = (wall.saturating_sub(uptime)).as_millis() as u64;
        let furthest = self.furthest_ahead.load(Ordering::Relaxed);
        if ahead > furthest {
            self.furthest_ahead.fetch_max(ahead, Ordering::Relaxed);
            self.behind.store(0, Ordering::Relaxed);
        } else if furthest - ahead > JITTER_MILLIS {
            self.behind.store((furthest - ahead) as i64, Ordering::Relaxed);
        }
        Moment { wall: UnixMillis(ahead.max(furthest)).plus(uptime), uptime }
    }

    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    fn stepped_back(&self) -> Duration {
        Duration::from_millis(self.behind.load(Ordering::Relaxed).max(0) as u64)
    }
}

/// Two readings a moment apart may disagree by this much without anything being wrong.
const JITTER_MILLIS: u64 = 100;

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

    #[test]
    fn the_system_clock_keeps_going_when_the_wall_steps_back() {
        let clock = SystemClock::new();
        let hour = 3_600_000;
        let honest = clock.now().wall;
        clock.furthest_ahead.fetch_add(hour, Ordering::Relaxed);
        let after_step = clock.now().wall;
        assert!(after_step.since(honest) >= Duration::from_secs(3_600));
        assert!(clock.stepped_back() >= Duration::from_secs(3_599));
    }
}
