//! How many lines of each kind are written in a second. A kind is a place in the code and, where a line has one, a
//! [`VERDICT`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::DEED;

/// Lines of one kind in a second.
pub const LINES_PER_SECOND: u64 = 10;
/// The field that tells lines of one place apart.
const VERDICT: &str = "verdict";

/// How many lines of each kind were wanted in this second.
#[derive(Default)]
pub struct Quotas {
    wanted: Mutex<HashMap<Kind, (u64, &'static str)>>,
    left_out: AtomicU64,
}

/// Lines that are alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    callsite: Identifier,
    verdict: Option<String>,
}

/// Lines of one kind that were left out of a second.
pub struct Omitted {
    /// Where in the code.
    pub place: &'static str,
    pub verdict: Option<String>,
    pub lines: u64,
}

impl Quotas {
    /// Lines that were left out since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether one more line may be written.
    fn admit(&self, kind: Kind, place: &'static str) -> bool {
        let mut kinds = self.wanted.lock();
        let (wanted, _) = kinds.entry(kind).or_insert((0, place));
        *wanted += 1;
        let is_admitted = *wanted <= LINES_PER_SECOND;
        if !is_admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        is_admitted
    }

    /// Begins a new second; answers what the last one left out.
    pub fn turn(&self) -> Vec<Omitted> {
        let kinds = std::mem::take(&mut *self.wanted.lock());
        let omitted = |(kind, (wanted, place)): (Kind, (u64, &'static str))| {
            let lines = wanted.checked_sub(LINES_PER_SECOND).filter(|lines| *lines > 0)?;
            Some(Omitted { place, verdict: kind.verdict, lines })
        };
        kinds.into_iter().filter_map(omitted).collect()
    }
}

impl<S: Subscriber> Layer<S> for &'static Quotas {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == DEED {
            return true;
        }
        let mut found = Verdict(None);
        event.record(&mut found);
        self.admit(Kind { callsite: metadata.callsite(), verdict: found.0 }, metadata.target())
    }
}

/// The verdict that a line names.
struct Verdict(Option<String>);

impl Visit for Verdict {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == VERDICT {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing::{Dispatch, Level, debug, error, info, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Logs for a while with quotas of its own; answers the lines.
    fn lines(quotas: &'static Quotas, work: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish()
            .with(quotas);
        tracing::dispatcher::with_default(&Dispatch::new(subscriber), work);
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn quotas() -> &'static Quotas {
        Box::leak(Box::default())
    }

    #[test]
    fn a_kind_of_line_is_written_so_many_times_a_second_whatever_its_level_and_then_counted() {
        let kinds: [fn(u64); 4] = [
            |n| debug!(n, "a connection ended"),
            |n| info!(verdict = "malformed", n, "refused"),
            |n| warn!(%n, "cannot count"),
            |n| error!(n, "an answer"),
        ];
        for kind in kinds {
            let quotas = quotas();
            let most = LINES_PER_SECOND as usize;
            assert_eq!(lines(quotas, || (0..1_000).for_each(kind)).len(), most);
            let omitted = quotas.turn();
            assert_eq!(omitted.iter().map(|kind| kind.lines).collect::<Vec<_>>(), [1_000 - LINES_PER_SECOND]);
            assert_eq!(lines(quotas, || (0..1_000).for_each(kind)).len(), most, "the next second has its own");
            assert_eq!(quotas.left_out(), 2 * (1_000 - LINES_PER_SECOND));
        }
    }

    #[test]
    fn one_verdict_does_not_drown_another() {
        let refused = |verdict: &str| info!(verdict, "refused");
        let written = lines(quotas(), || {
            (0..1_000).for_each(|_| refused("malformed"));
            refused("revoked");
        });
        assert_eq!(written.len() as u64, LINES_PER_SECOND + 1);
        assert!(written.last().unwrap().contains("revoked"));
    }

    #[test]
    fn deeds_are_always_written() {
        let written = lines(quotas(), || (0..1_000).for_each(|n| info!(target: DEED, n, "revoked")));
        assert_eq!(written.len(), 1_000);
    }
}
