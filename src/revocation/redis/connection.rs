//! Connections that are given up as soon as they are in doubt, and errors in our own words.
//!
//! The crate's reconnecting manager keeps connections that time out or that lead to a demoted master. So a
//! [`Link`] drops its connection on every error that does not come from a single command being wrong, and makes
//! a new one for the next caller.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Mutex;

use super::topology::Topology;
use crate::revocation::StoreError;

/// How much of an error's text is kept: errors of pipelines repeat their commands.
const MAX_ERROR_CHARS: usize = 200;
/// How often a command is tried again where another server may have taken over.
const MOVED_ATTEMPTS: u32 = 12;
/// The wait between such attempts.
const MOVED_PAUSE: Duration = Duration::from_millis(100);

/// One shared connection for short commands.
pub struct Link {
    topology: std::sync::Arc<Topology>,
    timeout: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// `timeout` is how long a command may take to be answered.
    pub fn new(topology: std::sync::Arc<Topology>, timeout: Duration) -> Self {
        Self { topology, timeout, connection: Mutex::new(None) }
    }

    /// Runs commands on the shared connection.
    ///
    /// Commands that were certainly not carried out are given again on a new connection: all of them once when the
    /// old one turns out to be dead, and for about a second where another server may be taking over. So `commands`
    /// must do no harm when they are carried out twice.
    pub async fn run<T, F>(&self, commands: impl Fn(MultiplexedConnection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let mut attempt = 0;
        loop {
            let (connection, is_new) = self.current().await?;
            let error = match commands(connection).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_elsewhere = is_elsewhere(&error);
            let is_dead = error.is_connection_dropped() && !error.is_timeout();
            let error = store_error(error);
            if !matches!(error, StoreError::Lost(_) | StoreError::Foreign(_) | StoreError::Full) {
                self.forget().await;
            }
            attempt += 1;
            if is_elsewhere && self.topology.can_move() && attempt < MOVED_ATTEMPTS {
                tokio::time::sleep(MOVED_PAUSE).await;
            } else if !(is_dead && !is_new && attempt == 1) {
                return Err(error);
            }
        }
    }

    /// Gives the connection up; the next caller makes a new one.
    pub async fn forget(&self) {
        *self.connection.lock().await = None;
    }

    /// The connection, and whether it was made just now.
    async fn current(&self) -> Result<(MultiplexedConnection, bool), StoreError> {
        let mut shared = self.connection.lock().await;
        match &*shared {
            Some(connection) => Ok((connection.clone(), false)),
            None => Ok((shared.insert(self.topology.connect(self.timeout).await?).clone(), true)),
        }
    }
}

/// Whether the command was refused because another server has, or will soon have, our keys.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" | "LOADING" | "MASTERDOWN" | "UNBLOCKED")
    )
}

const LOST: &str = "the revocation sets are missing or torn";
const WRONG_TYPE: &str = "one of our keys has another type; is the key_prefix used by something else?";

/// An error of the crate in our own words; never with arguments of commands.
pub fn store_error(error: RedisError) -> StoreError {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
        text.truncate(end);
    }
    if error.is_timeout() {
        return StoreError::TimedOut;
    }
    match error.code().unwrap_or_default() {
        code if code.starts_with("LINKGATE") => {
            return StoreError::Lost(LOST.into());
        }
        "OOM" => return StoreError::Full,
        "MISCONF" | "NOREPLICAS" => return StoreError::Failed(text),
        "WRONGPASS" | "NOAUTH" | "NOPERM" => return StoreError::Forbidden(text),
        "WRONGTYPE" => {
            return StoreError::Foreign(WRONG_TYPE.into());
        }
        "LOADING" | "MASTERDOWN" | "UNBLOCKED" | "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" => {
            return StoreError::Unreachable(text);
        }
        "READONLY" => return StoreError::ReadOnly,
        _ => {}
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => StoreError::ReadOnly,
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => StoreError::Forbidden(text),
        // A script's error carries the code of the command that failed inside it.
        _ if text.contains("WRONGTYPE") => StoreError::Foreign(WRONG_TYPE.into()),
        _ if text.contains("LINKGATE") => StoreError::Lost(LOST.into()),
        _ if text.contains("READONLY") => StoreError::ReadOnly,
        _ if text.contains("OOM") => StoreError::Full,
        _ if text.contains("NOPERM") || text.contains("can't run this command") => StoreError::Forbidden(text),
        ErrorKind::Io => StoreError::Unreachable(text),
        _ => StoreError::Failed(text),
    }
}
