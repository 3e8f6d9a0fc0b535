//! The store that many verifiers share. This folder is the only code that names the `redis` crate.
//!
//! Redis keeps two sets that decide (`t` links, `c` cut-offs) and the records that people look at; one script
//! writes all of them and a stream entry in one step. Every process follows the stream into its own
//! [`Index`], so a download never waits for Redis. The layout and the protocol are in `docs/architecture.md`.
//!
//! | file | job |
//! | --- | --- |
//! | `topology`, `sentinels`, `connection` | finding the server, connections, errors in our own words |
//! | `footing` | whether a server is the one that everybody writes to, and how old what it says is |
//! | `follow`, `stream`, `snapshot` | keeping the index fresh: tasks, steps, loading everything |
//! | `own` | what this process answered for, until the stream has brought it |
//! | `restore` | setting up, and writing back what was lost |
//! | `cache`, `memory` | what is kept on this machine's disk |
//! | `records`, `ask`, `clients`, `answers` | what is asked and written for people, for one judgement, for the API |
//! | `fleet` | who has come how far |
//! | `examine` | what is wrong with a Redis, for operators |

mod answers;
mod ask;
mod cache;
mod clients;
mod connection;
mod examine;
mod fleet;
mod follow;
mod footing;
mod keys;
mod memory;
mod own;
mod records;
mod restore;
mod scripts;
mod sentinels;
mod snapshot;
mod stream;
mod topology;

/// What `tests/fuzz` needs besides.
#[cfg(fuzzing)]
pub mod fuzz_doors {
    pub use super::cache::read_copy;
    pub use super::snapshot::take_reply;
    pub use super::stream::apply_entry;
}

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tracing::{info, warn};

use self::cache::Cache;
use self::connection::Link;
use self::fleet::Membership;
use self::footing::Footing;
use self::keys::{Keys, StreamId};
use self::memory::{ANY, Lineage, Memory};
use self::own::{Debt, Own};
use self::records::Written;
use self::restore::Ground;
use self::snapshot::Header;
use self::stream::Position;
use self::topology::Topology;
use super::{
    Answers, Bounds, Download, Durability, Index, ListQuery, Page, Progress, Proposal, Questions, Recorded, Revocation,
    RevocationId, RevocationStore, Shortfall, Status, StoreError, Tally, Target, Verifier,
};
use crate::clock::{Clock, Moment, UnixMillis};
use crate::entropy::random;
use crate::token::TokenId;

pub use self::examine::{Finding, Severity};
pub use self::topology::{TlsFiles, check_url, is_encrypted};

/// How long a script may take to answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long stream entries are kept: longer than any disconnection that should not cost a new snapshot.
const STREAM_RETENTION: Duration = Duration::from_secs(3600);
/// How long an answer to a revocation waits until this process has applied it itself.
const APPLY_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the sets are looked at for being whole: more often than reads that bring nothing end.
const CHECK_INTERVAL: Duration = Duration::from_millis(400);
/// Why a connection, or what was asked over it, counts no more.
const ELSEWHERE: &str = "the Sentinels name another master now";

/// How a Redis is reached and used.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    pub url: String,
    pub key_prefix: String,
    pub tls: TlsFiles,
    /// Replicas that must confirm a revocation before it counts as safe.
    pub min_replicas: u32,
    /// How long they may take.
    pub replica_timeout: Duration,
    /// Whether this process follows into its index, or asks for each judgement.
    pub follows: bool,
    /// How long asking for a judgement may take.
    pub direct_timeout: Duration,
    /// Where the index is kept between two lives of the process.
    pub cache_dir: Option<PathBuf>,
    /// What the same client asks of a counted link within this time belongs to one download.
    pub session_window: Duration,
    /// Whether a process sets up a store that has never been; otherwise an operator does.
    pub sets_up: bool,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".into(),
            key_prefix: "linkgate".into(),
            tls: TlsFiles::default(),
            min_replicas: 0,
            replica_timeout: Duration::from_secs(1),
            follows: true,
            direct_timeout: Duration::from_millis(100),
            cache_dir: None,
            session_window: Duration::from_secs(600),
            sets_up: true,
        }
    }
}

/// The store in Redis.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    topology: Arc<Topology>,
    /// For short commands.
    link: Link,
    /// For judgements.
    questions: Link,
    keys: Keys,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    min_replicas: u32,
    replica_timeout: Duration,
    follows: bool,
    direct_timeout: Duration,
    session_window: Duration,
    sets_up: bool,
    footing: Footing,
    memory: Memory,
    cache: Option<Cache>,
    fleet: Membership,
    /// Names this process while it restores.
    name: String,
    clients_seen: Mutex<clients::Seen>,
    /// One request asks for the store's time on behalf of all that wait for it.
    telling: tokio::sync::Mutex<()>,
    /// The last stream entry this process has applied.
    applied: watch::Sender<Option<Position>>,
    /// What this process answers for.
    own: Mutex<Own>,
    /// The stream did not lead on from the last entry that was applied.
    has_gap: AtomicBool,
    /// What this process knows and may not write back: it must not be forgotten when everything is loaded anew.
    keeps_own: AtomicBool,
    /// The store's epoch and our position when everything known here was last written back: not to be done twice
    /// while others are still at it.
    restored: Mutex<Option<(String, Position)>>,
    /// Why the index is not being kept fresh, when it is not.
    trouble: RwLock<Option<StoreError>>,
    /// Why this process does not beat, when it should.
    silence: RwLock<Option<StoreError>>,
    loading: Mutex<Option<Progress>>,
    last_load: Mutex<Option<(Duration, usize)>>,
    garbage: AtomicU64,
    snapshot_failures: AtomicU64,
    /// When the last judgement was asked about.
    asked_at: Mutex<Option<Moment>>,
    /// How safe the server makes what it has answered, and when that was found out.
    durability: Mutex<Option<(Durability, Moment)>>,
}

impl RedisStore {
    /// Prepares the store; connects only once it is followed or used. `data_dir` is where the process remembers
    /// that the store had been set up before. A snapshot on disk fills the index at once.
    ///
    /// # Errors
    /// When the URL is none that is supported, or a TLS file cannot be used.
    pub fn new(
        config: &RedisConfig,
        data_dir: &Path,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Result<Self, StoreError> {
        let keys = Keys::new(&config.key_prefix);
        let topology = Arc::new(Topology::new(&config.url, &config.tls, keys.meta(), Arc::clone(&clock))?);
        let address = topology.address();
        let link = |timeout| Link::new(Arc::clone(&topology), timeout);
        let cache = config.cache_dir.as_ref().filter(|_| config.follows);
        let inner = Inner {
            link: link(COMMAND_TIMEOUT),
            questions: link(COMMAND_TIMEOUT),
            keys,
            fleet: Membership::new(clock.now().wall),
            index,
            clock,
            bounds,
            min_replicas: config.min_replicas,
            replica_timeout: config.replica_timeout,
            follows: config.follows,
            direct_timeout: config.direct_timeout,
            session_window: config.session_window,
            sets_up: config.sets_up,
            footing: Footing::new(bounds.skew()),
            memory: Memory::new(data_dir, &address, &config.key_prefix),
            cache: cache.map(|folder| Cache::new(folder, &address, &config.key_prefix)),
            name: TokenId(random()).to_string(),
            clients_seen: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            applied: watch::Sender::new(None),
            own: Mutex::default(),
            has_gap: AtomicBool::new(false),
            keeps_own: AtomicBool::new(false),
            restored: Mutex::new(None),
            trouble: RwLock::new(Some(StoreError::Unreachable("not connected yet".into()))),
            silence: RwLock::new(None),
            loading: Mutex::new(None),
            last_load: Mutex::new(None),
            garbage: AtomicU64::new(0),
            snapshot_failures: AtomicU64::new(0),
            asked_at: Mutex::new(None),
            durability: Mutex::new(None),
            topology,
        };
        inner.start_from_cache();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sets up a store where there is none, without waiting for a process that remembers another one.
    ///
    /// # Errors
    /// [`StoreError::Lost`] where this data folder remembers another store, and when Redis does not take it.
    pub async fn init(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut header = inner.header().await?;
        if header.epoch.is_none() && inner.memory.recall().is_none() {
            inner.set_up(Ground::Known).await?;
            header = inner.header().await?;
        }
        inner.memory.remember(&header.believe(inner.memory.recall().as_ref())?);
        Ok(())
    }

    /// Sets up an empty store although one had been there before, or believes one that is another than before: what was
    /// revoked in the lost one and is not remembered by any running process is lost.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn accept_loss(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.set_up(Ground::Accepted).await?;
        inner.restore_records().await?;
        inner.memory.remember(&inner.release(ANY).await?);
        Ok(())
    }

    /// Everything an operator should know about this Redis, good and bad.
    ///
    /// # Errors
    /// When it cannot be reached at all.
    pub async fn examine(&self) -> Result<Vec<Finding>, StoreError> {
        examine::run(&self.inner).await
    }
}

impl Inner {
    /// The stream tells how far the store's time has come. Behind Sentinels only what was vouched for counts: a Redis that is
    /// master no more may go on writing.
    fn note_last(&self, epoch: &str, last: StreamId, vouched: Option<UnixMillis>) {
        let told = if self.topology.is_watched() { vouched } else { Some(last.time()) };
        if let Some(told) = told {
            self.note_time(epoch, told);
        }
    }

    /// The store has told a time of this history.
    fn note_time(&self, epoch: &str, told: UnixMillis) {
        self.index.store_time().learn(epoch, told, self.clock.now(), self.bounds);
    }

    /// How far two machines' clocks may differ, as the scripts take it: in milliseconds.
    const fn skew(&self) -> u64 {
        self.bounds.skew().as_millis() as u64
    }

    /// Makes sure that a link leads to the Redis that everybody writes to, as the Sentinels say now.
    ///
    /// # Errors
    /// When they do not say so.
    async fn vouch_for(&self, link: &Link) -> Result<(), StoreError> {
        if !self.topology.is_watched() || link.leads_to(self.topology.vouch().await?).await {
            return Ok(());
        }
        Err(StoreError::Unreachable(ELSEWHERE.into()))
    }

    /// Reads the header over the connection for short commands.
    async fn header(&self) -> Result<Header, StoreError> {
        let answered = self.link.run(async |mut connection| snapshot::ask(&mut connection, &self.keys).await).await?;
        let (meta, links, cut_offs) = answered;
        Header::new(meta, &links, &cut_offs)
    }

    /// Remembers where the store that is followed comes from; not while this process knows more than it could write back.
    fn note_lineage(&self, lineage: Lineage) {
        if !self.keeps_own.load(Ordering::Relaxed) {
            self.memory.remember(&lineage);
        }
    }

    /// The epoch that this process judges by.
    fn epoch(&self) -> Option<String> {
        let followed = self.applied.borrow().as_ref().map(|position| position.epoch.clone());
        followed.or_else(|| self.memory.recall().map(|lineage| lineage.epoch))
    }

    /// Fills the index with the snapshot on disk, where there is one.
    fn start_from_cache(&self) {
        let Some(cache) = &self.cache else { return };
        let now = self.clock.now();
        match cache.load(now) {
            Ok(Some(loaded)) => {
                let counts = loaded.index.counts();
                info!(links = counts.links, cut_offs = counts.cut_offs, age = ?loaded.age, "started from the snapshot");
                self.index.replace(loaded.index).free();
                if let Some(age) = loaded.age {
                    self.index.freshness().set_age(age, now);
                }
                self.applied.send_replace(Some(loaded.position));
            }
            Ok(None) => {}
            Err(error) => warn!(%error, "the snapshot on disk cannot be used; everything is loaded from Redis"),
        }
    }

    /// Writes the snapshot to disk; answers how long that took.
    fn save_to_cache(&self) -> Option<Duration> {
        let cache = self.cache.as_ref()?;
        // The position first: what is applied meanwhile is applied again, not missed.
        let position = self.applied.borrow().clone()?;
        let started = self.clock.now();
        let age = self.index.freshness().age(started)?;
        // What the store may lack is written back by this life of the process: to the next one a copy would say that the
        // store has it.
        let is_in_store = || !self.keeps_own.load(Ordering::Relaxed) && !self.own.lock().has_debts();
        if !is_in_store() {
            return None;
        }
        if let Err(error) = cache.save(&self.index, &position, (age, started), is_in_store) {
            self.snapshot_failures.fetch_add(1, Ordering::Relaxed);
            warn!(%error, "the snapshot cannot be written: a restart will load everything from Redis");
        }
        Some(self.clock.now().since(started))
    }
}

#[async_trait]
impl RevocationStore for RedisStore {
    async fn revoke(&self, proposal: Proposal, wait: Option<Duration>) -> Result<Recorded, StoreError> {
        let inner = &*self.inner;
        let members = match wait {
            Some(_) => fleet::alive(inner).await?,
            None => Vec::new(),
        };
        let Written { step, count, revocation, reached, is_vouched } =
            records::insert(inner, proposal, wait.is_some()).await?;
        inner.answer_for(Debt::new(step.clone(), count, revocation.clone())).await;
        let applied = match wait {
            Some(patience) => Some(fleet::wait(inner, &members, &step, patience).await),
            None => None,
        };
        let wanted = inner.min_replicas;
        let durability = match reached {
            Some(reached) if reached > 0 => Durability::Replicated(reached),
            _ => records::durability(inner).await,
        };
        let shortfall = match reached {
            _ if !is_vouched => Some(Shortfall::Quorum),
            Some(reached) if reached < wanted => Some(Shortfall::Replicas { wanted, reached }),
            _ => None,
        };
        Ok(Recorded { revocation, position: step.to_string(), durability, shortfall, applied })
    }

    async fn reach(&self, time: UnixMillis) -> Result<(), StoreError> {
        records::reach(&self.inner, time).await
    }

    async fn clock(&self) -> Result<UnixMillis, StoreError> {
        let asked = tokio::time::timeout(self.inner.direct_timeout, records::clock(&self.inner.questions)).await;
        asked.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn reinstate(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        let (step, lifted) = records::lift(&self.inner, &[id.as_str()]).await?;
        self.inner.until_applied(&step).await;
        Ok(lifted.into_iter().next())
    }

    async fn uphold(&self, id: &RevocationId) -> Result<bool, StoreError> {
        let Some(debt) = self.inner.find_written(id).await? else { return Ok(false) };
        self.inner.answer_for(debt).await;
        Ok(true)
    }

    async fn find(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        records::find(&self.inner, id).await
    }

    async fn strictest(&self, target: &Target) -> Result<Option<Revocation>, StoreError> {
        records::strictest(&self.inner, target).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        records::list(&self.inner, query).await
    }

    async fn ask(&self, questions: &Questions) -> Result<Answers, StoreError> {
        ask::ask(&self.inner, questions).await
    }

    async fn count(&self, download: &Download) -> Result<Tally, StoreError> {
        ask::count(&self.inner, download).await
    }

    async fn verifiers(&self) -> Result<Vec<Verifier>, StoreError> {
        fleet::verifiers(&self.inner).await
    }

    fn status(&self) -> Status {
        let inner = &self.inner;
        Status {
            trouble: inner.trouble.read().as_ref().or(inner.silence.read().as_ref()).map(ToString::to_string),
            loading: *inner.loading.lock(),
            garbage: inner.garbage.load(Ordering::Relaxed),
            last_load: *inner.last_load.lock(),
            snapshot_failures: inner.snapshot_failures.load(Ordering::Relaxed),
        }
    }

    async fn follow(&self) {
        Box::pin(follow::run(&self.inner)).await;
    }

    async fn close(&self) {
        if self.inner.follows {
            let inner = Arc::clone(&self.inner);
            let saved = tokio::task::spawn_blocking(move || inner.save_to_cache());
            let (_, ()) = tokio::join!(saved, fleet::leave(&self.inner));
        }
    }
}
