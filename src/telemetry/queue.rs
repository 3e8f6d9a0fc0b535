//! The way of lines to where they are written: a queue for which no line waits. A thread of its own writes them; what it
//! cannot keep up with, or cannot write, is dropped and counted.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::warn;

use super::DEED;

/// Lines that may wait to be written.
const LINES: usize = 4_096;
/// How soon room in a full queue is looked for again.
const AGAIN: Duration = Duration::from_millis(5);

/// Takes lines; never waits and never fails.
pub struct Queue {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before it has been written when this is answered.
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the thread that writes.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        let (entries, waiting) = sync_channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        // Without the thread every line is dropped, and counted.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write(out, &waiting, &counter));
        Self { entries, dropped }
    }

    /// Takes a line with its end.
    pub fn push(&self, line: Vec<u8>) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for so long at most until everything that was pushed has been written.
    pub fn flush(&self, patience: Duration) {
        let (done, is_done) = sync_channel(1);
        // A full queue has room in a moment, or never.
        let mut waited = Duration::ZERO;
        while self.entries.try_send(Entry::Flush(done.clone())).is_err() {
            if waited >= patience {
                return;
            }
            std::thread::sleep(AGAIN);
            waited += AGAIN;
        }
        let _ = is_done.recv_timeout(patience.saturating_sub(waited));
    }

    /// Lines that were not written, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Each call is one line.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write(mut out: impl Write, entries: &Receiver<Entry>, dropped: &AtomicU64) {
    let (mut known, mut works) = (0, false);
    loop {
        let entry = entries.try_recv().or_else(|_| {
            // How many are missing goes the same way, so not before there is room for it.
            let all = dropped.load(Ordering::Relaxed);
            if all > known && works {
                warn!(target: DEED, lines = all - known, "lines of the log could not be written");
                known = all;
            }
            entries.recv()
        });
        match entry {
            Ok(Entry::Line(line)) => {
                works = out.write_all(&line).and_then(|()| out.flush()).is_ok();
                if !works {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Entry::Flush(done)) => drop(done.try_send(())),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::{Condvar, Mutex};

    use super::*;

    /// What can be written to, and what was.
    #[derive(Clone, Default)]
    struct Out(Arc<(Mutex<State>, Condvar)>);

    #[derive(Default)]
    struct State {
        stands: bool,
        fails: bool,
        written: Vec<u8>,
    }

    impl Out {
        fn set(&self, change: impl FnOnce(&mut State)) {
            change(&mut self.0.0.lock());
            self.0.1.notify_all();
        }

        fn lines(&self) -> usize {
            String::from_utf8_lossy(&self.0.0.lock().written).lines().count()
        }
    }

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut state = self.0.0.lock();
            self.0.1.wait_while(&mut state, |state| state.stands);
            if state.fails {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn lines_are_written_in_their_order_before_the_end() {
        let out = Out::default();
        let queue = Queue::to(out.clone());
        for n in 0..100 {
            queue.push(format!("{n}\n").into_bytes());
        }
        queue.flush(PATIENCE);
        let written = String::from_utf8(out.0.0.lock().written.clone()).unwrap();
        assert!(written.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..100));
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn what_is_not_taken_in_time_is_dropped_and_counted_and_holds_up_nothing() {
        let out = Out::default();
        out.set(|state| state.stands = true);
        let queue = Queue::to(out.clone());
        let lines = LINES * 2;
        for _ in 0..lines {
            queue.push(b"x\n".to_vec());
        }
        queue.flush(Duration::from_millis(1));
        let dropped = queue.dropped() as usize;
        assert!((LINES - 1..=LINES).contains(&dropped), "{dropped}");
        out.set(|state| state.stands = false);
        while out.lines() < lines - dropped {
            std::thread::yield_now();
        }
        queue.push(b"x\n".to_vec());
        queue.flush(PATIENCE);
        assert_eq!(out.lines(), lines - dropped + 1);
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted_until_it_can() {
        let out = Out::default();
        out.set(|state| state.fails = true);
        let queue = Queue::to(out.clone());
        (0..10).for_each(|_| queue.push(b"x\n".to_vec()));
        queue.flush(PATIENCE);
        assert_eq!((queue.dropped(), out.lines()), (10, 0));
        out.set(|state| state.fails = false);
        queue.push(b"x\n".to_vec());
        queue.flush(PATIENCE);
        assert_eq!((queue.dropped(), out.lines()), (10, 1));
    }
}
