//! The composition root: from a [`Config`] to a running process, and its orderly end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::answers::AnswerStore;
use crate::clients::{Client, ClientStore, FileClients, Registry, Role};
use crate::clock::{Clock, Steps, SystemClock};
use crate::collection::EdgeKind;
use crate::config::{Config, KeySource, Overrides, StoreConfig};
use crate::edge::DirectFiles;
use crate::http::listen::{Address, Listener};
use crate::http::{AppState, Audience, Caller, Metrics, Routes, server};
use crate::identity::Logins;
use crate::key_file::Keys;
use crate::mint::Signing;
use crate::revocation::embedded::EmbeddedStore;
use crate::revocation::redis::RedisStore;
use crate::revocation::{Index, RevocationStore, StoreError};
use crate::token::{Keyring, MintPolicy};

/// The operator's own socket in the data folder: the API without a key, for whoever owns the folder.
pub const OPERATOR_SOCKET: &str = "operator.sock";
/// Connections for probes and operators, apart from everybody else's.
const OPERATOR_CONNECTIONS: usize = 64;
/// How often the key file and the client store are looked at for changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long saying goodbye to the store may take when the process ends.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest path a Unix socket can have on every platform (`sun_path`), with its final NUL.
const MAX_SOCKET_PATH: usize = 104;

type Stores = (Arc<dyn RevocationStore>, Arc<dyn ClientStore>, Arc<dyn AnswerStore>);

/// The parts that do not depend on any listener: what the command line also works with.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub index: Arc<Index>,
    pub store: Arc<dyn RevocationStore>,
    pub clients: Arc<dyn ClientStore>,
    pub answers: Arc<dyn AnswerStore>,
}

impl Parts {
    /// Opens the stores.
    ///
    /// # Errors
    /// When the data folder cannot be made or is in use, or the store cannot be opened.
    pub fn open(config: &Config) -> Result<Self> {
        create_data_dir(&config.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let index = Arc::new(Index::default());
        let max_ttl = config.bounds.max_ttl;
        let (store, clients, answers): Stores = match &config.store {
            StoreConfig::Embedded => {
                let (index, clock) = (Arc::clone(&index), Arc::clone(&clock));
                let store = EmbeddedStore::open(&config.data_dir, index, clock, max_ttl, config.session_window)?;
                (Arc::new(store.clone()), Arc::new(FileClients::new(&config.data_dir)), Arc::new(store))
            }
            StoreConfig::Redis(_) => {
                let store = open_redis(config, Arc::clone(&index), Arc::clone(&clock))?;
                (Arc::new(store.clone()), Arc::new(store.clone()), Arc::new(store))
            }
        };
        Ok(Self { clock, index, store, clients, answers })
    }

    /// What handlers see.
    ///
    /// # Errors
    /// When the keys cannot be used.
    pub fn into_state(self, config: &Config, public_url: String) -> Result<Arc<AppState>> {
        let keyring = read_keys(&config.key_source)?.keyring()?;
        let direct = config.collections.values().filter(|one| one.edge == EdgeKind::Direct);
        let direct: BTreeMap<_, _> =
            direct.map(|one| (one.name().as_str().to_owned(), DirectFiles::new(&one.root))).collect();
        Ok(Arc::new(AppState {
            signing: Signing {
                keyring: ArcSwap::from_pointee(keyring),
                collections: config.collections.clone(),
                public_url,
                bounds: config.bounds,
            },
            direct,
            index: self.index,
            mode: config.mode,
            staleness: config.staleness,
            refresh_grace: config.refresh_grace,
            store: self.store,
            clients: Registry::default(),
            answers: self.answers,
            logins: Arc::new(Logins::new(&config.identity_providers, Arc::clone(&self.clock))),
            clock: self.clock,
            metrics: Metrics::default(),
            listen: config.listen.clone(),
            limits: config.limits,
            origins: config.origins.clone(),
        }))
    }
}

/// Opens the store in Redis without connecting yet.
///
/// # Errors
/// When the configuration names none.
pub fn open_redis(config: &Config, index: Arc<Index>, clock: Arc<dyn Clock>) -> Result<RedisStore> {
    let StoreConfig::Redis(redis) = &config.store else {
        bail!("`store.url` names no Redis");
    };
    Ok(RedisStore::new(redis, &config.data_dir, index, clock, config.bounds.max_ttl)?)
}

/// Makes the data folder, for its owner only.
///
/// # Errors
/// When it cannot be made.
pub fn create_data_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the data folder {} cannot be made", path.display()))
}

/// Reads the keys from wherever they are.
///
/// # Errors
/// When they are missing or cannot be used.
pub fn read_keys(source: &KeySource) -> Result<Keys> {
    Ok(match source {
        KeySource::File(path) => Keys::read(path)?,
        KeySource::Text(text) => Keys::from_text(text)?,
    })
}

/// The operator, who needs no key.
pub fn operator() -> Caller {
    Caller(Arc::new(Client {
        name: "operator".into(),
        roles: vec![Role::Admin],
        policy: MintPolicy::unbounded(),
        key_hashes: Vec::new(),
    }))
}

/// A process that has everything it needs and listens, but has not answered anybody yet.
pub struct App {
    pub state: Arc<AppState>,
    config: Config,
    config_file: Option<PathBuf>,
    overrides: Overrides,
    clients: Arc<dyn ClientStore>,
    listeners: Vec<(Listener, Routes)>,
}

impl App {
    /// Binds every listener and opens every store.
    ///
    /// # Errors
    /// Whatever keeps the process from running, in words that say what to do.
    pub async fn start(config: Config, config_file: Option<PathBuf>, overrides: Overrides) -> Result<Self> {
        let mut bound = Vec::new();
        for (address, audiences) in audiences(&config) {
            let listener = Listener::bind(&address, config.listen.socket_mode).await.with_context(|| {
                format!("cannot listen on {address}; choose another address in [listen] or with --listen")
            })?;
            bound.push((listener, audiences));
        }
        let of_downloads = |(_, audiences): &&(Listener, Vec<Audience>)| audiences.contains(&Audience::Download);
        let download: Option<SocketAddr> =
            bound.iter().find(of_downloads).and_then(|(listener, _)| listener.tcp_address());
        let public_url = config.public_url(download).unwrap_or_default();

        let parts = Parts::open(&config)?;
        let clients = Arc::clone(&parts.clients);
        let state = parts.into_state(&config, public_url)?;
        let mut listeners: Vec<_> =
            bound.into_iter().map(|(listener, audiences)| (listener, Routes::new(&state, &audiences, None))).collect();
        if config.store == StoreConfig::Embedded {
            listeners.extend(operator_socket(&config, &state).await);
        }
        Ok(Self { state, config, config_file, overrides, clients, listeners })
    }

    /// The hosts and ports that were bound.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.tcp_address()).collect()
    }

    /// Puts the configured clients and the store's in force.
    pub async fn load_clients(&self) {
        // The keeper says why, if it stays so.
        let _ = refresh_clients(&self.state, &*self.clients, &self.config.clients).await;
    }

    /// Answers until `stop` turns true, then drains.
    ///
    /// # Errors
    /// When a task that must not end has ended: the process is not to be trusted any more.
    pub async fn run(self, stop: watch::Receiver<bool>, reload: watch::Receiver<()>) -> Result<()> {
        let Self { state, config, config_file, overrides, clients, listeners } = self;
        let slots = Arc::new(Semaphore::new(config.limits.connections));
        let mut servers = JoinSet::new();
        for (listener, routes) in listeners {
            let slots = if routes.is_for_operators() {
                Arc::new(Semaphore::new(OPERATOR_CONNECTIONS))
            } else {
                Arc::clone(&slots)
            };
            servers.spawn(server::serve(listener, Arc::new(routes), config.limits, slots, stop.clone()));
        }
        let mut keepers = JoinSet::new();
        let store = Arc::clone(&state.store);
        keepers.spawn({
            let store = Arc::clone(&store);
            async move { store.follow().await }
        });
        keepers.spawn({
            let logins = Arc::clone(&state.logins);
            async move { logins.follow().await }
        });
        let keeper = Keeper {
            state,
            clients,
            configured: config.clients,
            config_file,
            overrides,
            key_source: config.key_source,
        };
        keepers.spawn(keeper.run(reload));

        let mut stop = stop;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            ended = keepers.join_next() => {
                error!(?ended, "a task that must not end has ended");
                bail!("a task that must not end has ended");
            }
        }
        info!("draining");
        while servers.join_next().await.is_some() {}
        if tokio::time::timeout(GOODBYE_TIMEOUT, store.close()).await.is_err() {
            warn!("the store was too slow to say goodbye to");
        }
        Ok(())
    }
}

/// Which audiences share an address, in the order of the addresses.
fn audiences(config: &Config) -> BTreeMap<Address, Vec<Audience>> {
    let mut audiences: BTreeMap<Address, Vec<Audience>> = BTreeMap::new();
    let listen = &config.listen;
    for (address, audience) in
        [(&listen.download, Audience::Download), (&listen.api, Audience::Api), (&listen.ops, Audience::Ops)]
    {
        if let Some(address) = address {
            audiences.entry(address.clone()).or_default().push(audience);
        }
    }
    audiences
}

/// The operator's socket; without it the command line needs `--server` and a key.
async fn operator_socket(config: &Config, state: &Arc<AppState>) -> Option<(Listener, Routes)> {
    let path = std::path::absolute(config.data_dir.join(OPERATOR_SOCKET)).ok()?;
    if path.as_os_str().len() >= MAX_SOCKET_PATH {
        warn!("the data folder's path is too long for the operator's socket: use --server on the command line");
        return None;
    }
    match Listener::bind(&Address::Unix(path), 0o600).await {
        Ok(listener) => Some((listener, Routes::new(state, &[Audience::Api, Audience::Ops], Some(operator())))),
        Err(error) => {
            warn!(%error, "the operator's socket cannot be made: use --server on the command line");
            None
        }
    }
}

/// Takes up the clients; answers why those of the store could not be read.
async fn refresh_clients(state: &AppState, store: &dyn ClientStore, configured: &[Client]) -> Option<StoreError> {
    let records = match store.load().await {
        Ok(records) => records,
        Err(error) => {
            state.clients.replace_configured(configured);
            return Some(error);
        }
    };
    let stored = records.iter().filter_map(|(name, record)| match record.build(name) {
        Ok(_) if state.logins.has_name(name) => {
            error!(client = name, "a stored client cannot be used: an identity provider has its name");
            None
        }
        Ok(client) => Some(client),
        Err(error) => {
            error!(client = name, %error, "a stored client cannot be used");
            None
        }
    });
    state.clients.replace(configured, stored);
    None
}

/// Takes up changes of keys, clients and policies while the process runs.
struct Keeper {
    state: Arc<AppState>,
    clients: Arc<dyn ClientStore>,
    configured: Vec<Client>,
    config_file: Option<PathBuf>,
    overrides: Overrides,
    key_source: KeySource,
}

impl Keeper {
    async fn run(mut self, mut reload: watch::Receiver<()>) {
        // Whatever was read at the start is read once more: the file may have changed since.
        let mut keys_seen = None;
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut can_reload = true;
        let mut steps = Steps::default();
        let mut clients_trouble = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                asked = reload.changed(), if can_reload => match asked {
                    Ok(()) => {
                        self.reload_configuration();
                        keys_seen = None;
                    }
                    Err(_) => can_reload = false,
                },
            }
            self.watch_clock(&mut steps);
            let changed = self.key_file_changed();
            if changed != keys_seen {
                keys_seen = changed;
                self.reload_keys();
            }
            // A store that hangs must not hold up the keys.
            let refresh = refresh_clients(&self.state, &*self.clients, &self.configured);
            let refreshed = tokio::time::timeout(WATCH_INTERVAL, refresh).await.unwrap_or_else(|_| {
                self.state.clients.replace_configured(&self.configured);
                Some(StoreError::TimedOut)
            });
            if refreshed != clients_trouble {
                if let Some(error) = &refreshed {
                    warn!(%error, "the stored clients cannot be read: going on with those that are known");
                }
                clients_trouble = refreshed;
            }
        }
    }

    /// Says once what somebody did to the clock.
    fn watch_clock(&self, known: &mut Steps) {
        let steps = self.state.clock.steps();
        let is_new = |now: Duration, before: Duration| now.as_secs() > 0 && before.as_secs() == 0;
        if is_new(steps.behind, known.behind) {
            warn!(seconds = steps.behind.as_secs(), "the clock was set back: links are judged as if it had not been");
        }
        if is_new(steps.ahead, known.ahead) {
            warn!(
                seconds = steps.ahead.as_secs(),
                "the clock was set ahead: if that is wrong, links end early until it is corrected"
            );
        }
        *known = steps;
    }

    /// What tells one key file from the next: a replaced file is another file.
    fn key_file_changed(&self) -> Option<(SystemTime, u64, u64)> {
        let KeySource::File(path) = &self.key_source else { return None };
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    }

    fn reload_keys(&self) {
        let read: Result<Keyring> = read_keys(&self.key_source).and_then(|keys| Ok(keys.keyring()?));
        match read {
            Ok(keyring) => {
                info!(active = %keyring.active_id(), "took up the keys");
                self.state.signing.keyring.store(Arc::new(keyring));
            }
            Err(error) => error!(%error, "the keys cannot be used: going on with the old ones"),
        }
    }

    fn reload_configuration(&mut self) {
        match Config::load(self.config_file.as_deref(), std::env::vars_os(), &self.overrides) {
            Ok(config) => {
                self.configured = config.clients;
                self.state.logins.replace(&config.identity_providers);
                info!("took up clients, identity providers and policies");
            }
            Err(errors) => {
                for error in errors {
                    error!(%error, "the configuration cannot be used: going on with the old one");
                }
            }
        }
    }
}

/// Stops on SIGTERM or SIGINT, ends at once on the second, reloads on SIGHUP.
///
/// # Errors
/// When signals cannot be listened for.
pub fn signals() -> Result<(watch::Receiver<bool>, watch::Receiver<()>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let (stop, stopping) = watch::channel(false);
    let (reload, reloading) = watch::channel(());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    let _ = reload.send(());
                    continue;
                }
            }
            if stop.send_replace(true) {
                warn!("stopping at once");
                std::process::exit(1);
            }
        }
    });
    Ok((stopping, reloading))
}

/// Lets `rediss://` find its cryptography; called once, first thing.
pub fn install_crypto() {
    // A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A runtime for the process.
///
/// # Errors
/// When the operating system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    // The edge works on the same machine: half of it is enough, and fewer threads wake each other less.
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| anyhow!("the runtime cannot be started: {error}"))
}
