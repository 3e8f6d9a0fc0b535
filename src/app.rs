//! The composition root: from a [`Config`] to a running process, and its orderly end.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::answers::AnswerStore;
use crate::clients::{Client, ClientStore, FileClients, Limiter, OPERATOR, Registry, Role};
use crate::clock::{Clock, SystemClock};
use crate::collection::EdgeKind;
use crate::config::{Caution, Config, KeySource, Overrides, StoreConfig};
use crate::edge::DirectFiles;
use crate::files;
use crate::http::inherited::{self, Inherited};
use crate::http::listen::{Address, Listener};
use crate::http::slots::Slots;
use crate::http::{Apart, AppState, Audience, Caller, Metrics, Routes, UnderWay, server};
use crate::http_client::is_here;
use crate::identity::Logins;
use crate::keeper::Keeper;
use crate::key_file::Keys;
use crate::mint::Signing;
use crate::process;
use crate::revocation::embedded::EmbeddedStore;
use crate::revocation::redis::RedisStore;
use crate::revocation::{Index, RevocationStore};
use crate::telemetry;
use crate::token::MintPolicy;

/// The operator's own socket in the data folder: the API without a key, for whoever owns the folder.
pub const OPERATOR_SOCKET: &str = "operator.sock";
/// Connections for probes and operators, apart from everybody else's.
const OPERATOR_CONNECTIONS: usize = 64;
/// Connections of the API's own listeners, apart from those of downloads.
const API_CONNECTIONS: usize = 1_024;
/// How long a process that starts lets downloads wait until it can judge them.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits before it looks again, at first and at most.
const START_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_START_PAUSE: Duration = Duration::from_millis(50);
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
        let (store, clients, answers): Stores = match &config.store {
            StoreConfig::Embedded => {
                let (index, clock) = (Arc::clone(&index), Arc::clone(&clock));
                let store = EmbeddedStore::open(&config.data_dir, index, clock, config.bounds, config.session_window)?;
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
        let clients = Registry::default();
        clients.set_configured(config.clients.clone());
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
            clients,
            client_store: self.clients,
            limiter: Limiter::default(),
            answers: self.answers,
            under_way: UnderWay::default(),
            logins: Arc::new(Logins::new(&config.identity_providers, Arc::clone(&self.clock))),
            clock: self.clock,
            metrics: Metrics::default(),
            listen: config.listen.clone(),
            limits: config.limits,
            apart: Apart::new(config.limits.body_bytes, process::worker_threads()),
            origins: config.origins.clone(),
        }))
    }
}

/// Opens the store in Redis without connecting yet.
///
/// # Errors
/// When the configuration names none, or the key of its TLS certificate is open to others.
pub fn open_redis(config: &Config, index: Arc<Index>, clock: Arc<dyn Clock>) -> Result<RedisStore> {
    let StoreConfig::Redis(redis) = &config.store else {
        bail!("`store.url` names no Redis");
    };
    if let Some((_, key)) = &redis.tls.identity {
        files::open_secret(key).with_context(|| format!("`store.tls_key` {} cannot be used", key.display()))?;
    }
    Ok(RedisStore::new(redis, &config.data_dir, index, clock, config.bounds)?)
}

/// Makes the data folder, for its owner only.
///
/// # Errors
/// When it cannot be made.
pub fn create_data_dir(path: &Path) -> Result<()> {
    files::create_folder(path).with_context(|| format!("the data folder {} cannot be made", path.display()))
}

/// What is allowed and more often a mistake than meant, or open to more than need it. Each may be meant so, as in a container
/// of one's own.
pub fn cautions(config: &Config) -> Vec<Caution> {
    let mut cautions = config.cautions();
    if files::is_open_to_all(&config.data_dir) {
        // Nothing that others put there is believed, but they can take away what is ours.
        let folder = config.data_dir.display();
        let message = format!("everybody on the machine may write to {folder} and take files away: `chmod o-w` it");
        cautions.push(Caution { subject: "data folder".into(), message });
    }
    let listen = &config.listen;
    if let (Some(Address::Tcp(download)), Some(Address::Tcp(ops))) = (&listen.download, &listen.ops)
        && download == ops
        && !download.rsplit_once(':').is_some_and(|(host, _)| is_here(host))
    {
        let message = format!(
            "everybody who reaches downloads on {ops} also reads /metrics and /readyz there: give `listen.ops` an address of \
             its own"
        );
        cautions.push(Caution { subject: "listeners".into(), message });
    }
    cautions
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
        name: OPERATOR.into(),
        roles: vec![Role::Admin],
        policy: MintPolicy::unbounded(),
        ..Client::default()
    }))
}

/// A process that has everything it needs and listens, but has not answered anybody yet.
pub struct App {
    pub state: Arc<AppState>,
    config: Config,
    config_file: Option<PathBuf>,
    overrides: Overrides,
    listeners: Vec<(Listener, Routes)>,
    /// Whether sockets were handed over.
    is_activated: bool,
    /// Whether clients call here: a process that only judges asks the store for none, and needs no right to.
    takes_clients: bool,
}

impl App {
    /// Binds every listener and opens every store.
    ///
    /// # Errors
    /// Whatever keeps the process from running, in words that say what to do.
    pub async fn start(config: Config, config_file: Option<PathBuf>, overrides: Overrides) -> Result<Self> {
        let (bound, is_activated) = listeners(&config).await?;
        if config.limits.idle_exit.is_some() && !is_activated {
            warn!(
                "`limits.idle_exit` counts only with sockets that were handed over: nobody would start Linkgate again"
            );
        }
        process::raise_descriptor_limit(config.limits.connections + config.limits.connections.min(API_CONNECTIONS));
        let of_downloads = |(_, audiences): &&(Listener, Vec<Audience>)| audiences.contains(&Audience::Download);
        let takes_clients = bound.iter().any(|(_, audiences)| audiences.contains(&Audience::Api));
        let download: Option<SocketAddr> =
            bound.iter().find(of_downloads).and_then(|(listener, _)| listener.tcp_address());
        let public_url = config.public_url(download);
        if public_url.is_none() && takes_clients {
            bail!("`public_url` must be set: nobody could go to the address that downloads are served on");
        }

        let parts = Parts::open(&config)?;
        for Caution { subject, message } in cautions(&config) {
            warn!(what = subject, "{message}");
        }
        let state = parts.into_state(&config, public_url.unwrap_or_default())?;
        let mut listeners: Vec<_> =
            bound.into_iter().map(|(listener, audiences)| (listener, Routes::new(&state, &audiences, None))).collect();
        if config.store == StoreConfig::Embedded {
            listeners.extend(operator_socket(&config, &state).await);
        }
        Ok(Self { state, config, config_file, overrides, listeners, is_activated, takes_clients })
    }

    /// The hosts and ports that were bound.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.tcp_address()).collect()
    }

    /// Puts the configured clients and the store's in force.
    pub async fn load_clients(&self) {
        if self.takes_clients {
            // The keeper says why it does not work, if it stays so.
            let _ = self.state.refresh_clients().await;
        }
    }

    /// Answers until `stop` turns true, or nobody came for `limits.idle_exit`; then drains.
    ///
    /// # Errors
    /// When a task that must not end has ended: the process is not to be trusted any more.
    pub async fn run(self, stop: watch::Receiver<bool>, reload: watch::Receiver<()>) -> Result<()> {
        let Self { state, config, config_file, overrides, listeners, is_activated, takes_clients } = self;
        let limits = config.limits;
        let slots = Slots::new(limits.connections, Arc::clone(&state.clock));
        // Revoking must get through when downloads have taken every slot.
        let api_slots = Slots::new(limits.connections.min(API_CONNECTIONS), Arc::clone(&state.clock));
        let apart = || Slots::new(OPERATOR_CONNECTIONS, Arc::clone(&state.clock));
        let (drain, draining) = watch::channel(false);
        let (judges, judging) = watch::channel(false);
        let mut servers = JoinSet::new();
        for (listener, routes) in listeners {
            let slots = match &routes {
                routes if routes.is_for_operators() => apart(),
                routes if routes.has_downloads() => Arc::clone(&slots),
                _ => Arc::clone(&api_slots),
            };
            let (mut judging, draining) = (judging.clone(), draining.clone());
            servers.spawn(async move {
                if routes.is_for_downloads_alone() {
                    drop(judging.wait_for(|judging| *judging).await);
                }
                server::serve(listener, Arc::new(routes), limits, slots, draining).await;
            });
        }
        // What is carried out for callers who have left belongs to no connection.
        servers.spawn({
            let (state, mut draining) = (Arc::clone(&state), draining.clone());
            async move {
                drop(draining.wait_for(|draining| *draining).await);
                if tokio::time::timeout(limits.drain_timeout, state.under_way.end()).await.is_err() {
                    warn!("requests whose callers had left were still under way when the drain timeout ended");
                }
            }
        });
        tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                until_it_judges(&state, draining.clone()).await;
                if !*draining.borrow() {
                    process::tell_manager(&[NotifyState::Ready, NotifyState::Status("serving")]);
                }
                judges.send_replace(true);
            }
        });
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
        keepers.spawn(telemetry::keep_time());
        let keeper = Keeper::new(state, config_file, overrides, config.key_source, takes_clients);
        keepers.spawn(keeper.run(reload));

        let deserted = async {
            match limits.idle_exit {
                Some(span) if is_activated => Slots::desertion(&[slots, api_slots], span).await,
                _ => pending().await,
            }
        };
        let mut stop = stop;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = deserted => info!("nobody has come for a while"),
            ended = keepers.join_next() => {
                error!(?ended, "a task that must not end has ended");
                bail!("a task that must not end has ended");
            }
        }
        info!("draining");
        process::tell_manager(&[NotifyState::Stopping, NotifyState::Status("draining")]);
        drain.send_replace(true);
        while servers.join_next().await.is_some() {}
        if tokio::time::timeout(GOODBYE_TIMEOUT, store.close()).await.is_err() {
            warn!("the store was too slow to say goodbye to");
        }
        Ok(())
    }
}

/// Every listener with its audiences, and whether any was handed over. What was handed over takes the place of what is
/// configured: a socket that is named for an audience serves that one, any other whom none is named for.
async fn listeners(config: &Config) -> Result<(Vec<(Listener, Vec<Audience>)>, bool)> {
    let inherited = inherited::take().context("a socket that was handed over (LISTEN_FDS) cannot be used")?;
    let is_activated = !inherited.is_empty();
    let configured = audiences(config);
    let named: Vec<_> = inherited.iter().filter_map(|socket| socket.audience).collect();
    let unnamed: Vec<_> = configured.values().flatten().copied().filter(|one| !named.contains(one)).collect();
    let mut bound = Vec::new();
    for Inherited { listener, audience } in inherited {
        let audiences = audience.map_or_else(|| unnamed.clone(), |audience| vec![audience]);
        if audiences.is_empty() {
            bail!("a socket was handed over that nobody is left for: name it download, api or ops (LISTEN_FDNAMES)");
        }
        bound.push((listener, audiences));
    }
    let served: Vec<_> = bound.iter().flat_map(|(_, audiences)| audiences).copied().collect();
    for (address, mut audiences) in configured {
        audiences.retain(|one| !served.contains(one));
        if audiences.is_empty() {
            continue;
        }
        let listener = Listener::bind(&address, config.listen.socket_mode).await.with_context(|| {
            format!("cannot listen on {address}; choose another address in [listen] or with --listen")
        })?;
        bound.push((listener, audiences));
    }
    Ok((bound, is_activated))
}

/// Waits until it is known what is revoked, for a moment: whoever asks for a file waits gladly before being refused.
async fn until_it_judges(state: &AppState, mut draining: watch::Receiver<bool>) {
    let judges = async {
        let mut pause = START_PAUSE;
        while state.judges().await.is_err() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_START_PAUSE);
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(START_PATIENCE, judges) => {}
        _ = draining.wait_for(|draining| *draining) => {}
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
