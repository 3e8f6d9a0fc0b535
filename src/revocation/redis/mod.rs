//! The store that many verifiers share. This folder is the only code that names the `redis` crate.
//!
//! Redis keeps two sets that decide (`t` links, `c` cut-offs) and the records that people look at; one script
//! writes all of them and a stream entry in one step. Every process follows the stream into its own
//! [`Index`], so a download never waits for Redis. The layout and the protocol are in `docs/architecture.md`.

mod clients;
mod connection;
mod follow;
mod keys;
mod memory;
mod records;
mod restore;
mod scripts;
mod snapshot;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use self::connection::Link;
use self::follow::Position;
use self::keys::Keys;
use self::memory::EpochMemory;
use self::restore::Restoring;
use super::{Index, ListQuery, Page, Recorded, Revocation, RevocationId, RevocationStore, StoreError};
use crate::clients::ClientRecord;
use crate::clock::Clock;

pub use self::connection::check_url;

/// How long a script may take to answer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long stream entries are kept: longer than any disconnection that should not cost a new snapshot.
const STREAM_RETENTION: Duration = Duration::from_secs(3600);
/// How long an answer to a revocation waits until this process has applied it itself.
const APPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// The store in Redis.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    keys: Keys,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    max_ttl: Duration,
    memory: EpochMemory,
    /// The clients that were there when they were last looked at.
    clients_seen: Mutex<BTreeMap<String, ClientRecord>>,
    /// The last stream entry this process has applied.
    applied: watch::Sender<Option<Position>>,
    /// The stream did not lead on from the last entry that was applied.
    has_gap: AtomicBool,
    /// Why the index is not being kept fresh, when it is not.
    trouble: RwLock<Option<StoreError>>,
}

impl RedisStore {
    /// Prepares the store; connects only once it is followed or used. `data_dir` is where the process remembers
    /// that the store had been set up before.
    ///
    /// # Errors
    /// When the URL is none that is supported.
    pub fn new(
        url: &str,
        key_prefix: &str,
        data_dir: &Path,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        max_ttl: Duration,
    ) -> Result<Self, StoreError> {
        let link = Link::new(url)?;
        let memory = EpochMemory::new(data_dir, &link.address(), key_prefix);
        Ok(Self {
            inner: Arc::new(Inner {
                link,
                keys: Keys::new(key_prefix),
                index,
                clock,
                max_ttl,
                memory,
                clients_seen: Mutex::default(),
                applied: watch::Sender::new(None),
                has_gap: AtomicBool::new(false),
                trouble: RwLock::new(Some(StoreError::Unreachable("not connected yet".into()))),
            }),
        })
    }

    /// Why revocations are not being followed right now; `None` when they are.
    pub fn trouble(&self) -> Option<StoreError> {
        self.inner.trouble.read().clone()
    }

    /// Sets up an empty store although one had been there before: what was revoked in the lost one and is not
    /// remembered by any running process is lost.
    ///
    /// # Errors
    /// When Redis does not take it.
    pub async fn accept_loss(&self) -> Result<(), StoreError> {
        let created = self.inner.set_up(Restoring::No).await;
        let epoch = match created {
            Err(StoreError::Lost(_)) => self.inner.set_up(Restoring::Yes).await?,
            other => other?,
        };
        self.inner.finish_restoring().await?;
        self.inner.memory.remember(&epoch);
        Ok(())
    }

    /// Asks Redis for what an operator should know; see [`records::Inspection`].
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses.
    pub async fn inspect(&self) -> Result<records::Inspection, StoreError> {
        records::inspect(&self.inner).await
    }

    async fn until_applied(&self, position: &str) {
        let Some(position) = keys::StreamId::parse(position) else { return };
        let mut applied = self.inner.applied.subscribe();
        if applied.borrow().is_none() {
            return; // this process does not follow
        }
        let reached = applied.wait_for(|at| at.as_ref().is_some_and(|at| at.last >= position));
        // An answer that comes late is worse than one that another verifier is a moment ahead of.
        let _ = tokio::time::timeout(APPLY_TIMEOUT, reached).await;
    }
}

#[async_trait]
impl RevocationStore for RedisStore {
    async fn revoke(&self, revocation: Revocation) -> Result<Recorded, StoreError> {
        let position = records::insert(&self.inner, &revocation).await?;
        self.until_applied(&position).await;
        Ok(Recorded { revocation, position })
    }

    async fn reinstate(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        let (position, lifted) = records::lift(&self.inner, &[id.as_str()]).await?;
        self.until_applied(&position).await;
        Ok(lifted.into_iter().next())
    }

    async fn find(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        records::find(&self.inner, id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        records::list(&self.inner, query).await
    }

    async fn follow(&self) {
        follow::run(&self.inner).await;
    }
}
