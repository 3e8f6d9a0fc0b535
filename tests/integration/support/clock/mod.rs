//! Wall clocks that go wrong: a process that is started with one believes another time than the machine's, which can
//! be changed while it runs. Works for Linkgate and for Redis.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use linkgate::clock::{Clock, SystemClock, UnixMillis};
use serde_json::json;
use tempfile::TempDir;

use super::folder;
use super::linkgate::Builder;
use super::redis::Redis;

/// The library that is preloaded, compiled once for all tests of this process.
static LIBRARY: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = folder();
    let library = folder.path().join("shifted.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/clock/shifted.c");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl");
    let status = compile.status().unwrap_or_else(|error| panic!("no C compiler ({error}): run tests/run"));
    assert!(status.success());
    (folder, library)
});

/// How far the wall clock of some processes is from the machine's.
pub struct ShiftedClock {
    folder: TempDir,
}

impl ShiftedClock {
    /// So many milliseconds ahead, or behind where that is negative.
    pub fn by(millis: i64) -> Self {
        let clock = Self { folder: folder() };
        clock.shift(millis);
        clock
    }

    /// Sets it anew; whoever has it follows at once.
    pub fn shift(&self, millis: i64) {
        std::fs::write(self.file(), millis.to_string()).unwrap();
    }

    /// The variables a process is started with to have this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        [("LD_PRELOAD", text(&LIBRARY.1)), ("CLOCK_SHIFT_FILE", text(&self.file()))]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("millis")
    }
}

#[test]
fn a_redis_can_have_a_clock_of_its_own() {
    let (clock, hour) = (ShiftedClock::by(0), 3_600);
    let redis = Redis::with_clock(&clock);
    let time = || redis.cli(&["TIME"]).lines().next().unwrap().parse::<i64>().unwrap();
    let now = time();
    for shift in [hour, -hour] {
        clock.shift(shift * 1_000);
        assert!((time() - now - shift).abs() < 60);
    }
}

#[test]
fn a_linkgate_can_have_a_clock_of_its_own() {
    let clock = ShiftedClock::by(3_600_000);
    let ahead = Builder::new().clock(&clock).start();
    ahead.file("a.txt", b"x");
    let issued = ahead.mint(&json!({ "path": "a.txt" }))["issued_at"].as_str().map(UnixMillis::parse_rfc3339);
    let now = SystemClock::new().now().wall;
    assert!(issued.flatten().unwrap().since(now) > Duration::from_secs(3_000));
}
