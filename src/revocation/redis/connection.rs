//! Connections that are given up as soon as they are in doubt, and errors in our own words.
//!
//! The crate's reconnecting manager keeps connections that time out or that lead to a demoted master. So a
//! [`Link`] drops its connection on every error that does not come from a single command being wrong, and makes
//! a new one for the next caller.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
};
use tokio::sync::Mutex;

use super::COMMAND_TIMEOUT;
use crate::revocation::StoreError;

/// How long a connection may take to be made, sign-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of an error's text is kept: errors of pipelines repeat their commands.
const MAX_ERROR_CHARS: usize = 200;

/// Schemes of Redis deployments that are not supported yet.
const LATER_SCHEMES: [&str; 4] = ["redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// Checks a store URL without connecting.
///
/// # Errors
/// A sentence that says what is wrong; it never repeats the URL, which may hold a password.
pub fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split(':').next().unwrap_or_default();
    if LATER_SCHEMES.contains(&scheme) {
        return Err(format!("`{scheme}://` is not supported yet; use redis:// or rediss://"));
    }
    client(url).map(|_| ()).map_err(|_| {
        "must be \"embedded\" or a URL such as redis://user:password@host:6379/0, rediss://… or redis+unix:///path"
            .into()
    })
}

fn client(url: &str) -> Result<Client, RedisError> {
    let settings = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(settings))
}

/// One shared connection for short commands.
pub struct Link {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    pub fn new(url: &str) -> Result<Self, StoreError> {
        check_url(url).map_err(StoreError::Failed)?;
        let client = client(url).map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self { client, connection: Mutex::new(None) })
    }

    /// Where the store is, without credentials.
    pub fn address(&self) -> String {
        let info = self.client.get_connection_info();
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            other => other.to_string(),
        };
        format!("{address}/{}", info.redis_settings().db())
    }

    /// A connection of one's own, for commands that block.
    pub async fn dedicated(&self, response_timeout: Duration) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(store_error)
    }

    /// Runs commands on the shared connection.
    pub async fn run<T, F>(&self, commands: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let connection = {
            let mut shared = self.connection.lock().await;
            match &*shared {
                Some(connection) => connection.clone(),
                None => shared.insert(self.dedicated(COMMAND_TIMEOUT).await?).clone(),
            }
        };
        match commands(connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                let error = store_error(error);
                if !matches!(error, StoreError::Lost(_) | StoreError::Foreign(_) | StoreError::Full) {
                    *self.connection.lock().await = None;
                }
                Err(error)
            }
        }
    }
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
        "LOADING" | "MASTERDOWN" | "UNBLOCKED" => return StoreError::Unreachable(text),
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
        ErrorKind::Io => StoreError::Unreachable(text),
        _ => StoreError::Failed(text),
    }
}
