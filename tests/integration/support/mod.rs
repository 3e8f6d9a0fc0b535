//! Servers to test with, each ended when it is dropped.

pub mod browser;
pub mod clock;
pub mod fleet;
pub mod http;
pub mod identity;
pub mod linkgate;
pub mod nginx;
pub mod proxy;
pub mod redis;
pub mod sentinels;
pub mod small_disk;
pub mod tls;
pub mod topology;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long anything may take to come up or to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What people call their files, and what edges could misread.
pub const ODD_NAMES: &[&str] = &[
    "plain.txt",
    "a b.txt",
    "50%.txt",
    "%41.txt",
    "%2e%2e.txt",
    "%2f.txt",
    "q?x=1.txt",
    "h#x.txt",
    "a+b.txt",
    "a;b.txt",
    "it's.txt",
    "say \"hi\".txt",
    "é.txt",
    "e\u{301}.txt",
    "漢字.txt",
    "🎉 party.txt",
    "a&b=c.txt",
    "<b>.txt",
    "a..b",
    "dot.",
    "tilde~",
    "star*.txt",
    "[x]{y}|z^`.txt",
    "a,b@c!$().txt",
    "C:notes.txt",
    "deep/er/ä/ö.txt",
    "ab\u{200f}.txt",
];

/// A child process that does not outlive the test.
pub struct Process(pub Child);

impl Process {
    /// Starts a program; a missing one fails the test with advice.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started ({error}): run tests/run"));
        Self(child)
    }

    pub fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Asks it to end and waits until it has.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let _ = self.0.wait();
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so, and fails loudly when it never is.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "this did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a call again that a signal has cut short. On Linux a socket with a timeout is also cut short when the process
/// was stopped and goes on, without any handler (signal(7)).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary under test: the one just built, or the one that `LINKGATE` names.
pub fn binary() -> PathBuf {
    std::env::var_os("LINKGATE").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_linkgate")), PathBuf::from)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A short-named folder of one's own: Unix sockets allow about a hundred characters.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("lg").tempdir_in("/tmp").unwrap()
}

/// Runs the same tests in several settings: `in_each!([test, test]: module = setting, module = setting)`.
///
/// Each test is a function that takes a setting; a setting is an expression as seen from inside its module.
macro_rules! in_each {
    ($tests:tt: $($module:ident = $setting:expr),+ $(,)?) => {
        $( crate::support::in_each!(@ $module, $setting, $tests); )+
    };
    (@ $module:ident, $setting:expr, [$($test:ident),+ $(,)?]) => {
        mod $module {
            $( #[test] fn $test() { super::$test($setting); } )+
        }
    };
}
pub(crate) use in_each;
