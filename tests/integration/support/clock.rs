//! Wall clocks that are wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What makes a process see a wall clock that is so many milliseconds ahead, or behind when negative.
pub fn shifted_by(millis: i64) -> [(String, String); 2] {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(compile).to_str().unwrap();
    [("LD_PRELOAD".into(), library.to_owned()), ("LINKGATE_TEST_CLOCK_MS".into(), millis.to_string())]
}

fn compile() -> PathBuf {
    let source = super::repository().join("tests/integration/support/clock.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clock.so");
    // Another run may be loading the library meanwhile.
    let own = library.with_extension(std::process::id().to_string());
    let mut command = Command::new("cc");
    command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&own).arg(source).arg("-ldl").stdin(Stdio::null());
    let compiled = command.output().unwrap_or_else(|error| panic!("cc cannot be started ({error}): run tests/run"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::rename(own, &library).unwrap();
    library
}

#[test]
fn a_process_may_have_another_time() {
    let mut command = Command::new("date");
    command.arg("+%s").envs(shifted_by(-3_600_000));
    let shown: u64 = String::from_utf8(command.output().unwrap().stdout).unwrap().trim().parse().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((3_590..=3_610).contains(&(now - shown)), "{shown} instead of {now}");
}
