//! Whatever stderr is, no line of the log holds up a request, spoils an answer or ends the process.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, pipe};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use serde_json::json;

use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;
use crate::support::small_disk::SmallDisk;

/// As few bytes as a pipe can hold.
const SMALL_PIPE: usize = 4_096;
/// More revocations than fit there: each writes a line, however many there are.
const DEEDS: usize = 60;

/// What stderr leads to.
#[derive(Clone, Copy, Debug)]
enum Log {
    ReaderGone,
    ReaderAsleep,
    /// As [`Log::ReaderAsleep`], and writes fail instead of waiting.
    ReaderAsleepNonBlocking,
    FullDevice,
    /// A disk that is full after the start.
    FullDisk,
}

/// What keeps the log as it is.
#[expect(dead_code, reason = "it is held, not used")]
enum Held {
    Nothing,
    Reader(PipeReader),
    Disk(SmallDisk),
}

impl Log {
    const ALL: [Self; 5] =
        [Self::ReaderGone, Self::ReaderAsleep, Self::ReaderAsleepNonBlocking, Self::FullDevice, Self::FullDisk];

    fn open(self) -> (Stdio, Held) {
        match self {
            Self::FullDevice => (OpenOptions::new().write(true).open("/dev/full").unwrap().into(), Held::Nothing),
            Self::FullDisk => {
                let disk = SmallDisk::mount();
                (File::create(disk.path().join("log")).unwrap().into(), Held::Disk(disk))
            }
            Self::ReaderGone | Self::ReaderAsleep | Self::ReaderAsleepNonBlocking => {
                let (reader, writer) = pipe().unwrap();
                fcntl_setpipe_size(&writer, SMALL_PIPE).unwrap();
                if matches!(self, Self::ReaderAsleepNonBlocking) {
                    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
                }
                (writer.into(), Held::Reader(reader))
            }
        }
    }

    /// From now on nothing can be written, or not for long.
    fn spoil(self, held: Held) -> Held {
        match (self, held) {
            (Self::ReaderGone, Held::Reader(_)) => Held::Nothing,
            (_, Held::Disk(disk)) => {
                disk.fill();
                Held::Disk(disk)
            }
            (_, held) => held,
        }
    }
}

/// Everything that a process does goes on, and its end too.
fn goes_on(log: Log, linkgate: &mut Linkgate, when: &str) {
    for n in 0..DEEDS {
        let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "subject": format!("u{n}") })));
        assert_eq!(linkgate.status(&link), 200, "{log:?}, {when}");
        assert_eq!(linkgate.status(&format!("{link}x")), 403, "{log:?}, {when}");
        assert_eq!(linkgate.try_revoke(&link).status, 201, "{log:?}, {when}");
        assert_eq!(linkgate.status(&link), 410, "{log:?}, {when}");
    }
    linkgate.process.signal("HUP");
    let link = linkgate.link("a.txt");
    eventually("the keys were read again", || linkgate.status(&link) == 200);
    assert_eq!(linkgate.process.0.try_wait().unwrap(), None, "{log:?}, {when}");
}

fn ends(log: Log, linkgate: &mut Linkgate) {
    linkgate.process.signal("TERM");
    let mut status = None;
    eventually(&format!("it ends: {log:?}"), || {
        status = linkgate.process.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0), "{log:?}");
}

#[test]
fn a_log_that_cannot_be_written_holds_up_no_request_and_ends_nothing() {
    std::thread::scope(|scope| {
        for log in Log::ALL {
            scope.spawn(move || {
                let mut linkgate = Builder::new().prepare();
                linkgate.file("a.txt", b"x");
                let (stderr, held) = log.open();
                linkgate.launch_with_log(stderr);
                linkgate.until_ready();
                let _held = log.spoil(held);
                goes_on(log, &mut linkgate, "embedded");
                // Where the reader may yet wake up, lines wait for it first.
                let is_dropping = !matches!(log, Log::ReaderAsleep);
                assert_eq!(linkgate.metric("linkgate_log_lines_dropped_total") > 0.0, is_dropping, "{log:?}");
                ends(log, &mut linkgate);
            });
        }
    });
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing_when_redis_goes_and_comes_back() {
    std::thread::scope(|scope| {
        for log in Log::ALL {
            scope.spawn(move || {
                let mut redis = Redis::logged();
                let mut linkgate = Builder::following(&redis.url()).prepare();
                linkgate.file("a.txt", b"x");
                let (stderr, held) = log.open();
                linkgate.launch_with_log(stderr);
                linkgate.until_ready();
                let _held = log.spoil(held);
                goes_on(log, &mut linkgate, "with Redis");
                let link = linkgate.link("a.txt");
                redis.stop();
                eventually("it is stale", || linkgate.status(&link) == 503);
                assert_eq!(linkgate.status("/livez"), 200, "{log:?}");
                redis.launch();
                eventually("it follows again", || linkgate.status(&link) == 200);
                ends(log, &mut linkgate);
            });
        }
    });
}

#[test]
fn a_log_whose_reader_wakes_up_goes_on_and_says_how_many_lines_are_missing() {
    use std::io::Read;
    let mut linkgate = Builder::new().prepare();
    linkgate.file("a.txt", b"x");
    let (reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, SMALL_PIPE).unwrap();
    linkgate.launch_with_log(writer);
    linkgate.until_ready();
    let is_dropping = |linkgate: &Linkgate| linkgate.metric("linkgate_log_lines_dropped_total") > 0.0;
    let revoked = json!({ "subject": "u" });
    while !is_dropping(&linkgate) {
        (0..200).for_each(|_| drop(linkgate.revoke(&revoked)));
    }
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        (&reader).read_to_string(&mut text).unwrap();
        text
    });
    std::thread::sleep(Duration::from_millis(200));
    linkgate.revoke(&revoked);
    ends(Log::ReaderAsleep, &mut linkgate);
    let text = reading.join().unwrap();
    assert!(text.contains("lines of the log could not be written"), "{}", &text[text.len().saturating_sub(2_000)..]);
    assert!(text.trim_end().lines().last().unwrap().contains("draining"), "what came last is there");
}

#[test]
fn a_command_whose_words_cannot_be_written_ends_as_it_would_otherwise() {
    let linkgate = Builder::new().prepare();
    for (arguments, code) in [(&["mint", "../a.txt"][..], 1), (&["keys", "new"], 0), (&["check"], 0)] {
        for log in [Log::ReaderGone, Log::FullDevice] {
            let (stderr, held) = log.open();
            let _held = log.spoil(held);
            let status = linkgate.command(arguments).stderr(stderr).stdout(Stdio::null()).status().unwrap();
            assert_eq!(status.code(), Some(code), "{arguments:?}, {log:?}");
        }
    }
}
