//! Clients that every process of one Redis shares: a hash of records beside the revocations.
//!
//! The hash also holds a sentinel. Without it the hash was lost, not emptied: a process that has seen clients
//! writes them back, so that an emptied Redis locks nobody out.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use redis::AsyncTypedCommands;
use tracing::{error, warn};

use super::RedisStore;
use crate::clients::{ClientRecord, ClientStore};
use crate::revocation::StoreError;

/// The field that tells an empty hash from a lost one; no client can have this name.
const SENTINEL: &str = "!";

impl RedisStore {
    async fn write_back(&self, seen: &BTreeMap<String, ClientRecord>) -> Result<(), StoreError> {
        warn!(count = seen.len(), "the store has lost its clients: writing back those that are known");
        for (name, record) in seen {
            self.put(name, record).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ClientStore for RedisStore {
    async fn load(&self) -> Result<BTreeMap<String, ClientRecord>, StoreError> {
        let key = self.inner.keys.clients();
        let mut records: HashMap<String, String> =
            self.inner.link.run(async |mut connection| connection.hgetall(key).await).await?;
        if records.remove(SENTINEL).is_none() {
            let seen = self.inner.clients_seen.lock().clone();
            if !seen.is_empty() {
                self.write_back(&seen).await?;
                return Ok(seen);
            }
        }
        let mut clients = BTreeMap::new();
        for (name, record) in records {
            match serde_json::from_str(&record) {
                Ok(record) => {
                    clients.insert(name, record);
                }
                Err(_) => error!(client = name, "the store holds a client that cannot be read; it was skipped"),
            }
        }
        self.inner.clients_seen.lock().clone_from(&clients);
        Ok(clients)
    }

    async fn put(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.clients();
        let json = serde_json::to_string(record).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.inner
            .link
            .run(async |mut connection| connection.hset_multiple(key, &[(SENTINEL, "1"), (name, &json)]).await)
            .await
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let key = self.inner.keys.clients();
        let removed = self.inner.link.run(async |mut connection| connection.hdel(key, name).await).await?;
        Ok(removed > 0)
    }
}
