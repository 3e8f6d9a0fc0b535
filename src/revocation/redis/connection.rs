//! Connections that are given up as soon as they are in doubt, and errors in our own words.
//!
//! The crate's reconnecting manager keeps connections that time out or that lead to a demoted master. So a
//! [`Link`] drops its connection on every error that does not come from a single command being wrong, and makes
//! a new one for the next caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Mutex;

use super::topology::{CONNECT_TIMEOUT, Connected, Topology};
use crate::revocation::StoreError;

/// How much of an error's text is kept: errors of pipelines repeat their commands.
const MAX_ERROR_CHARS: usize = 200;
/// How often a command is tried again where another server may have taken over.
const MOVED_ATTEMPTS: u32 = 12;
/// The wait between such attempts.
const MOVED_PAUSE: Duration = Duration::from_millis(100);

/// One shared connection for short commands.
pub struct Link {
    topology: Arc<Topology>,
    timeout: Duration,
    connection: Mutex<Option<Connected>>,
    /// Attempts to connect that have failed, and what the last of them met.
    failures: AtomicU64,
    last_failure: parking_lot::Mutex<Option<StoreError>>,
}

impl Link {
    /// `timeout` is how long a command may take to be answered.
    pub fn new(topology: Arc<Topology>, timeout: Duration) -> Self {
        Self {
            topology,
            timeout,
            connection: Mutex::new(None),
            failures: AtomicU64::new(0),
            last_failure: parking_lot::Mutex::new(None),
        }
    }

    /// Runs commands on the shared connection.
    ///
    /// Commands are given again on a new connection once when the old one turns out to be dead, and for about a second
    /// where another server may be taking over. So `commands` must do no harm when they are carried out twice.
    ///
    /// # Errors
    /// [`StoreError::TimedOut`] also where nobody knows whether they were carried out.
    pub async fn run<T, F>(&self, commands: impl Fn(MultiplexedConnection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let limit = self.timeout + CONNECT_TIMEOUT + MOVED_PAUSE * MOVED_ATTEMPTS;
        match tokio::time::timeout(limit, self.attempt(commands)).await {
            Ok(result) => result,
            Err(_) => {
                self.forget();
                Err(StoreError::TimedOut)
            }
        }
    }

    async fn attempt<T, F>(&self, commands: impl Fn(MultiplexedConnection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let mut attempts = 0;
        let mut is_in_doubt = false;
        loop {
            let (connection, is_new) = match self.current().await {
                Err(_) if is_in_doubt => return Err(StoreError::TimedOut),
                current => current?,
            };
            let error = match commands(connection).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_elsewhere = is_elsewhere(&error);
            let is_dead = error.is_connection_dropped() && !error.is_timeout();
            // A right that is missing is no fault of the connection.
            let is_harmless = error.code() == Some("NOPERM");
            let error = store_error(error);
            if !is_harmless && !matches!(error, StoreError::Lost(_) | StoreError::Foreign(_) | StoreError::Full) {
                self.forget();
            }
            attempts += 1;
            if is_elsewhere && self.topology.can_move() && attempts < MOVED_ATTEMPTS {
                tokio::time::sleep(MOVED_PAUSE).await;
            } else if is_dead && !is_new && attempts == 1 {
                is_in_doubt = true;
            } else {
                return Err(if is_in_doubt && error.is_absence() { StoreError::TimedOut } else { error });
            }
        }
    }

    /// Gives the connection up; the next caller makes a new one.
    pub fn forget(&self) {
        // Whoever holds the lock is making a new one.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Whether there is a connection, and it leads to the server with this number.
    pub async fn leads_to(&self, generation: u64) -> bool {
        self.connection.lock().await.as_ref().is_some_and(|connected| connected.generation == generation)
    }

    /// Makes a connection if there is none.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn warm(&self) -> Result<(), StoreError> {
        self.current().await.map(|_| ())
    }

    /// The connection, and whether it was made just now. Those who wait while an attempt fails share its failure: a
    /// store that is gone must not make them queue for one attempt each.
    async fn current(&self) -> Result<(MultiplexedConnection, bool), StoreError> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut shared = self.connection.lock().await;
        if let Some(Connected { connection, generation }) = &*shared
            && *generation == self.topology.generation()
        {
            return Ok((connection.clone(), false));
        }
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(error) = self.last_failure.lock().clone()
        {
            return Err(error);
        }
        match self.topology.connect(self.timeout).await {
            Ok(connected) => Ok((shared.insert(connected).connection.clone(), true)),
            Err(error) => {
                *self.last_failure.lock() = Some(error.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
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
