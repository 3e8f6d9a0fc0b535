//! Logs: what is written, and in which form. Knows no domain type.
//!
//! A link is a credential: callers log token ids, key ids and verdicts, never a path, a token or a key.

use tracing::Level;

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

/// Starts logging to stderr. Called once; a second call changes nothing.
pub fn init(config: LogConfig) {
    let builder =
        tracing_subscriber::fmt().with_max_level(config.level).with_writer(std::io::stderr).with_target(false);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let _ = match config.format {
        LogFormat::Text => builder.with_ansi(is_terminal).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
