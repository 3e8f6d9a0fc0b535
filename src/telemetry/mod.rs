//! Logs: what is written, and in which form. Knows no domain type.
//!
//! A link is a credential: callers log token ids, key ids and verdicts, never a path, a token or a key.
//!
//! Requests of strangers write lines, so no kind of line is written more than [`LINES_PER_SECOND`] times in a second: the
//! others are counted, and their number is written at the end of it. Only what names [`DEED`] as its target is always
//! written: deeds of callers who were allowed to do them.
//!
//! No line holds up what it tells of: [`queue`] carries them to stderr, and drops what stderr does not take.

mod queue;
mod quotas;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::sync::LazyLock;
use std::time::Duration;

use tracing::{Level, error, warn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::queue::Queue;
use self::quotas::{Omitted, Quotas};

pub use self::quotas::LINES_PER_SECOND;

/// The target of lines that are always written.
pub const DEED: &str = "linkgate::deed";
const SECOND: Duration = Duration::from_secs(1);
/// How long the end of the process waits for what is left to be written.
const FAREWELL: Duration = Duration::from_secs(1);

/// Of the lines of this process.
static QUOTAS: LazyLock<Quotas> = LazyLock::new(Quotas::default);
static QUEUE: LazyLock<Queue> = LazyLock::new(|| Queue::to(std::io::stderr()));

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    pub level: Level,
    pub format: LogFormat,
}

/// Starts logging to stderr, panics too. Called once; a second call changes nothing.
pub fn init(config: LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(config.level)
        .with_writer(|| &*QUEUE)
        .log_internal_errors(false)
        .with_target(false);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = match config.format {
        LogFormat::Text => builder.with_ansi(is_terminal).finish().with(&*QUOTAS).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(&*QUOTAS).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        error!(%panic, trace, "a part of this process failed");
    }));
}

/// Writes a line of words to stderr, for people who type commands.
pub fn say(words: &str) {
    QUEUE.push(format!("{words}\n").into_bytes());
}

/// Waits, but not for long, until what was logged and said is written. Called last.
pub fn finish() {
    QUEUE.flush(FAREWELL);
}

/// Begins a new second of lines each second, for ever; says how many of which kind the last one left out.
pub async fn keep_time() {
    let mut tick = tokio::time::interval(SECOND);
    loop {
        tick.tick().await;
        for Omitted { place, verdict, lines } in QUOTAS.turn() {
            warn!(target: DEED, lines, at = place, verdict, "lines of one kind were left out of the log");
        }
    }
}

/// Lines that were more than their kind may have, since the start.
pub fn lines_left_out() -> u64 {
    QUOTAS.left_out()
}

/// Lines that stderr did not take, since the start.
pub fn lines_dropped() -> u64 {
    QUEUE.dropped()
}
