//! Where the store is: one Redis, whichever master a Sentinel names, or the node of a cluster that holds our slot.
//!
//! | URL | finds |
//! | --- | --- |
//! | `redis://`, `rediss://`, `redis+unix://` | that server |
//! | `redis-sentinel://[user:password@]host[:26379],…/MASTER[/DB]` | the master that a majority of the Sentinels names |
//! | `redis-cluster://[user:password@]host[:6379],…` | the node that owns the slot of our keys |
//!
//! `rediss-…` are the same over TLS. The answer is asked for anew with every connection that is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates,
};

use super::connection::store_error;
use super::footing::{Role, read_role, role_command};
use super::sentinels::{Address, Sentinels, Verdict};
use crate::clock::{Clock, Moment};
use crate::revocation::StoreError;

/// How long a connection may take to be made, sign-in included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a cluster may send us on before we give up.
const MAX_REDIRECTS: usize = 5;
const SENTINEL_PORT: u16 = 26379;
const REDIS_PORT: u16 = 6379;

/// Files for `rediss://`, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that are trusted; the system's when none is given.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Whether nothing is said.
    pub const fn is_empty(&self) -> bool {
        self.authorities.is_none() && self.identity.is_none()
    }

    fn read(&self) -> Result<TlsCertificates, StoreError> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| StoreError::Failed(format!("{} cannot be read: {error}", path.display())))
        };
        let identity = |(certificate, key): &(PathBuf, PathBuf)| {
            Ok::<_, StoreError>(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        };
        Ok(TlsCertificates {
            root_cert: self.authorities.as_ref().map(read).transpose()?,
            client_tls: self.identity.as_ref().map(identity).transpose()?,
        })
    }
}

/// Checks a store URL without connecting.
///
/// # Errors
/// A sentence that says what is wrong; it never repeats the URL, which may hold a password.
pub fn check_url(url: &str) -> Result<(), String> {
    Shape::parse(url).map(|_| ())
}

/// Whether connections to a store URL are encrypted.
pub fn is_encrypted(url: &str) -> bool {
    url.starts_with("rediss") || url.starts_with("valkeys")
}

/// How the server with our keys is found.
enum Shape {
    Single(Box<ConnectionInfo>),
    Sentinel { sentinels: Box<Sentinels>, settings: Box<ConnectionInfo> },
    Cluster { seeds: Vec<ConnectionInfo> },
}

impl Shape {
    fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (is_cluster, plain) = match scheme {
            "redis-sentinel" => (false, "redis"),
            "rediss-sentinel" => (false, "rediss"),
            "redis-cluster" => (true, "redis"),
            "rediss-cluster" => (true, "rediss"),
            _ => return server(url).map(|info| Self::Single(Box::new(info))).map_err(|_| WRONG_URL.into()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let at = |host: &str, port: u16, user: &str, database: &str| {
            let host = if has_port(host) { host.to_owned() } else { format!("{host}:{port}") };
            let user = if user.is_empty() { String::new() } else { format!("{user}@") };
            server(&format!("{plain}://{user}{host}/{database}"))
        };
        let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() {
            return Err("names no host".into());
        }
        if is_cluster {
            if !matches!(path, "" | "0") || !query.is_empty() {
                return Err(WRONG_CLUSTER.into());
            }
            let seeds = hosts.iter().map(|host| at(host, REDIS_PORT, user, "")).collect::<Result<_, _>>();
            return seeds.map(|seeds| Self::Cluster { seeds }).map_err(|_| WRONG_CLUSTER.into());
        }
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        let sentinel_user = match query.split_once('=') {
            None if query.is_empty() => String::new(),
            Some(("sentinel_password", password)) => format!(":{password}"),
            _ => return Err(WRONG_SENTINEL.into()),
        };
        // A number would be the database, its master left out.
        if master.is_empty() || master.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(WRONG_SENTINEL.into());
        }
        let sentinels = hosts.iter().map(|host| at(host, SENTINEL_PORT, &sentinel_user, "")).collect::<Result<_, _>>();
        match (sentinels, at(hosts[0], SENTINEL_PORT, user, database)) {
            (Ok(sentinels), Ok(settings)) => {
                let sentinels = Box::new(Sentinels::new(sentinels, master.to_owned()));
                Ok(Self::Sentinel { sentinels, settings: Box::new(settings) })
            }
            _ => Err(WRONG_SENTINEL.into()),
        }
    }
}

const WRONG_URL: &str = "must be \"embedded\" or a URL such as redis://user:password@host:6379/0, rediss://…, \
                         redis+unix:///path, redis-sentinel://host:26379/master/0 or redis-cluster://host:6379";
const WRONG_SENTINEL: &str =
    "must look like redis-sentinel://user:password@host:26379,other:26379/MASTER/0; `?sentinel_password=…` may follow";
const WRONG_CLUSTER: &str =
    "must look like redis-cluster://user:password@host:6379,other:6379; a cluster has only database 0";

/// Whether a host is written with its port; the colons of an IPv6 address are inside brackets.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

fn server(url: &str) -> Result<ConnectionInfo, RedisError> {
    let settings = TcpSettings::default().set_nodelay(true);
    Ok(url.into_connection_info()?.set_tcp_settings(settings))
}

/// The same settings for another server.
pub fn elsewhere(settings: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let addr = match settings.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    settings.clone().set_addr(addr)
}

/// Makes connections to wherever the store is now.
pub struct Topology {
    shape: Shape,
    /// In a cluster, a key of ours: its slot tells which node.
    key: String,
    /// The node of a cluster that owned our slot when it was last asked.
    owner: Mutex<Option<ConnectionInfo>>,
    /// The master that the Sentinels named last, and when they were asked.
    named: Mutex<Option<(Address, Moment)>>,
    /// Counts the masters they have named: a connection of an earlier one is not to be used any more.
    generation: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// A connection, and the master that it leads to.
#[derive(Clone)]
pub struct Connected {
    pub connection: MultiplexedConnection,
    pub generation: u64,
}

impl Topology {
    /// # Errors
    /// When the URL is none that is supported, or a TLS file cannot be used.
    pub fn new(url: &str, tls: &TlsFiles, key: &str, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut shape = Shape::parse(url).map_err(StoreError::Failed)?;
        if !tls.is_empty() {
            let certificates = tls.read()?;
            let encrypt = |info: &mut ConnectionInfo| {
                let client = Client::build_with_tls(info.clone(), certificates.clone())
                    .map_err(|error| StoreError::Failed(format!("TLS: {error}")))?;
                *info = client.get_connection_info().clone();
                Ok::<_, StoreError>(())
            };
            match &mut shape {
                Shape::Single(info) => encrypt(info)?,
                Shape::Sentinel { sentinels, settings } => {
                    sentinels.seeds.iter_mut().try_for_each(encrypt)?;
                    encrypt(settings)?;
                }
                Shape::Cluster { seeds } => seeds.iter_mut().try_for_each(encrypt)?,
            }
        }
        Ok(Self {
            shape,
            key: key.to_owned(),
            owner: Mutex::new(None),
            named: Mutex::new(None),
            generation: AtomicU64::new(0),
            clock,
        })
    }

    /// Where the store is, without credentials.
    pub fn address(&self) -> String {
        let name = |info: &ConnectionInfo| match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => format!("{host}:{port}"),
            other => other.to_string(),
        };
        let names = |infos: &[ConnectionInfo]| infos.iter().map(name).collect::<Vec<_>>().join(",");
        match &self.shape {
            Shape::Single(info) => format!("{}/{}", name(info), info.redis_settings().db()),
            Shape::Sentinel { sentinels, settings } => {
                format!("{}/{}/{}", names(&sentinels.seeds), sentinels.master, settings.redis_settings().db())
            }
            Shape::Cluster { seeds } => names(seeds),
        }
    }

    /// Whether another server may take over: then an error may mean only that we must look for it.
    pub const fn can_move(&self) -> bool {
        !matches!(self.shape, Shape::Single(_))
    }

    /// Whether Sentinels say where the store is.
    pub const fn is_watched(&self) -> bool {
        matches!(self.shape, Shape::Sentinel { .. })
    }

    /// The number of the master that connections are to lead to.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// When a majority of the Sentinels was last asked for the master and named one.
    pub fn vouched_at(&self) -> Option<Moment> {
        self.named.lock().as_ref().map(|(_, asked)| *asked)
    }

    /// Makes sure that connections lead to the server that everybody writes to: a majority of the Sentinels names it.
    /// Where there are none, its own answer to a write says as much. Answers the number of the master.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when there is no majority.
    pub async fn vouch(&self) -> Result<u64, StoreError> {
        match &self.shape {
            Shape::Sentinel { sentinels, .. } => self.ask(sentinels).await.map(|(_, generation)| generation),
            Shape::Single(_) | Shape::Cluster { .. } => Ok(self.generation()),
        }
    }

    /// What the Sentinels say, for operators; `None` where there are none.
    ///
    /// # Errors
    /// As [`Self::vouch`].
    pub async fn verdict(&self) -> Result<Option<Verdict>, StoreError> {
        match &self.shape {
            Shape::Sentinel { sentinels, .. } => sentinels.ask().await.map(Some),
            Shape::Single(_) | Shape::Cluster { .. } => Ok(None),
        }
    }

    async fn ask(&self, sentinels: &Sentinels) -> Result<(Address, u64), StoreError> {
        let asked = self.clock.now();
        let master = sentinels.ask().await?.master;
        let mut named = self.named.lock();
        match &*named {
            // A later question has been answered already.
            Some((known, later)) if later.uptime > asked.uptime => return Ok((known.clone(), self.generation())),
            Some((known, _)) if *known == master => {}
            _ => {
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
        *named = Some((master.clone(), asked));
        Ok((master, self.generation()))
    }

    /// A new connection to the server that holds our keys now.
    pub async fn connect(&self, response_timeout: Duration) -> Result<Connected, StoreError> {
        let (connection, generation) = match &self.shape {
            Shape::Single(info) => (open(info, response_timeout).await?, self.generation()),
            Shape::Sentinel { sentinels, settings } => {
                let ((host, port), generation) = self.ask(sentinels).await?;
                let mut connection = open(&elsewhere(settings, &host, port), response_timeout).await?;
                // Sentinels may still name a master that has been demoted meanwhile.
                let role = role_command().query_async(&mut connection).await;
                if role.is_ok_and(|answer| read_role(&answer) == Role::Replica) {
                    return Err(StoreError::ReadOnly);
                }
                (connection, generation)
            }
            Shape::Cluster { seeds } => (self.owner(seeds, response_timeout).await?, self.generation()),
        };
        Ok(Connected { connection, generation })
    }

    /// The node of a cluster that owns our slot: the one that did, or the one that a seed leads to.
    async fn owner(
        &self,
        seeds: &[ConnectionInfo],
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let known = self.owner.lock().take();
        let mut last = StoreError::Unreachable("no node of the cluster answers".into());
        for seed in known.iter().chain(seeds) {
            match self.through_cluster(seed, response_timeout).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn through_cluster(
        &self,
        seed: &ConnectionInfo,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let mut node = seed.clone();
        for _ in 0..MAX_REDIRECTS {
            let mut connection = open(&node, response_timeout).await?;
            let asked = redis::cmd("HMGET").arg(&self.key).arg("e").exec_async(&mut connection).await;
            let moved = match &asked {
                Err(error) if error.code() == Some("MOVED") => error.redirect_node(),
                _ => None,
            };
            let Some((address, _)) = moved else {
                asked.map_err(store_error)?;
                *self.owner.lock() = Some(node);
                return Ok(connection);
            };
            let (host, port) = address
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
                .ok_or_else(|| StoreError::Failed("the cluster names no usable node".into()))?;
            // A node that does not know its own address leaves the host out: it is the one that was asked.
            let asked_host = match node.addr() {
                ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
                _ => String::new(),
            };
            node = elsewhere(&node, if host.is_empty() { &asked_host } else { host }, port);
        }
        Err(StoreError::Unreachable("the cluster sends us in circles".into()))
    }
}

pub async fn open(info: &ConnectionInfo, response_timeout: Duration) -> Result<MultiplexedConnection, StoreError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout));
    let client = Client::open(info.clone()).map_err(store_error)?;
    // The crate's own limit does not cover every step of TLS and sign-in.
    tokio::time::timeout(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config))
        .await
        .map_err(|_| StoreError::Unreachable("no connection in time".into()))?
        .map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<String, String> {
        let clock = Arc::new(crate::clock::SystemClock::new());
        Topology::new(url, &TlsFiles::default(), "key", clock)
            .map(|one| one.address())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_shape_has_its_url() {
        assert_eq!(address("redis://127.0.0.1/3").as_deref(), Ok("127.0.0.1:6379/3"));
        assert_eq!(
            address("redis-sentinel://u:p@one,two:1234/main/2").as_deref(),
            Ok("one:26379,two:1234/main/2"),
            "the user is nobody's business"
        );
        assert_eq!(address("rediss-cluster://[::1]:7000,[::2]").as_deref(), Ok("::1:7000,::2:6379"));
        assert!(is_encrypted("rediss-sentinel://a/m") && !is_encrypted("redis://a"));
    }

    #[test]
    fn a_wrong_url_is_explained_without_repeating_it() {
        for url in [
            "redis-sentinel://u:secret@host",
            "redis-sentinel:///main",
            "redis-sentinel://u:secret@h/m?x=1",
            "redis-cluster://u:secret@h/4",
            "http://u:secret@h",
            "",
        ] {
            let error = check_url(url).expect_err(url);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
