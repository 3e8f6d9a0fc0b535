//! What every request needs: the keys, the collections, the revocations, the clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::listen::ListenConfig;
use super::metrics::Metrics;
use super::server::Limits;
use crate::clients::Registry;
use crate::clock::Clock;
use crate::edge::DirectFiles;
use crate::mint::Signing;
use crate::revocation::{Index, OnStale, RevocationStore, StalenessPolicy};

/// One process, as its handlers see it.
pub struct AppState {
    pub signing: Signing,
    /// Of collections that are delivered directly, by name.
    pub direct: BTreeMap<String, DirectFiles>,
    pub index: Arc<Index>,
    pub staleness: StalenessPolicy,
    pub store: Arc<dyn RevocationStore>,
    pub clients: Registry,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub listen: ListenConfig,
    pub limits: Limits,
    /// Why revocations are not followed, where the store knows.
    pub store_trouble: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl AppState {
    /// How long revocations may have been missing.
    pub fn staleness_now(&self) -> Option<Duration> {
        self.index.freshness().age(self.clock.now())
    }

    /// Whether this process judges at all right now: ready, or told to go on with what it knows.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judges(&self) -> Result<(), String> {
        if self.staleness.on_stale == OnStale::Serve && self.staleness_now().is_some() {
            return Ok(());
        }
        self.readiness()
    }

    /// Whether this process knows what is revoked right now.
    ///
    /// # Errors
    /// Why it does not know.
    pub fn readiness(&self) -> Result<(), String> {
        let why = || (self.store_trouble)().unwrap_or_else(|| "no sign of life from the store".into());
        match self.staleness_now() {
            None => Err(format!("the revocations have not been loaded yet: {}", why())),
            Some(age) if age > self.staleness.max_staleness => {
                Err(format!("the revocations are {} seconds old: {}", age.as_secs(), why()))
            }
            Some(_) => Ok(()),
        }
    }
}
