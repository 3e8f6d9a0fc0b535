//! Clients that every process of one Redis shares: a hash of records beside the revocations.
//!
//! The hash also holds a sentinel, made anew whenever the hash is. Another sentinel than before, or none, means that the
//! hash was lost, not emptied: a process that has seen clients writes them back, so that an emptied Redis locks nobody
//! out, also when somebody has put a new client into it meanwhile.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use redis::AsyncTypedCommands;
use tracing::{error, warn};

use super::RedisStore;
use crate::clients::{ClientRecord, ClientStore};
use crate::entropy::random;
use crate::revocation::StoreError;
use crate::token::TokenId;

/// The field that tells an empty hash from a lost one; no client can have this name.
const SENTINEL: &str = "!";

/// The clients that were there when they were last looked at, and the sentinel beside them.
#[derive(Clone, Default)]
pub struct Seen {
    sentinel: Option<String>,
    clients: BTreeMap<String, ClientRecord>,
}

impl RedisStore {
    async fn read(&self) -> Result<Seen, StoreError> {
        let key = self.inner.keys.clients();
        let mut records: HashMap<String, String> =
            self.inner.link.run(async |mut connection| connection.hgetall(key).await).await?;
        let mut seen = Seen { sentinel: records.remove(SENTINEL), ..Seen::default() };
        for (name, record) in records {
            match serde_json::from_str(&record) {
                Ok(record) => {
                    seen.clients.insert(name, record);
                }
                Err(_) => error!(client = name, "the store holds a client that cannot be read; it was skipped"),
            }
        }
        Ok(seen)
    }
}

#[async_trait]
impl ClientStore for RedisStore {
    async fn load(&self) -> Result<BTreeMap<String, ClientRecord>, StoreError> {
        let mut now = self.read().await?;
        let before = self.inner.clients_seen.lock().clone();
        if !before.clients.is_empty() && now.sentinel != before.sentinel {
            warn!(count = before.clients.len(), "the store has lost its clients: writing back those that are known");
            for (name, record) in before.clients.iter().filter(|(name, _)| !now.clients.contains_key(*name)) {
                self.put(name, record).await?;
            }
            now = self.read().await?;
        }
        self.inner.clients_seen.lock().clone_from(&now);
        Ok(now.clients)
    }

    async fn put(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.clients();
        let json = serde_json::to_string(record).map_err(|error| StoreError::Failed(error.to_string()))?;
        let sentinel = TokenId(random()).to_string();
        self.inner
            .link
            .run(async |mut connection| {
                let mut pipe = redis::pipe();
                pipe.atomic().hset_nx(key, SENTINEL, &sentinel).ignore().hset(key, name, &json).ignore();
                pipe.exec_async(&mut connection).await
            })
            .await
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let key = self.inner.keys.clients();
        let removed = self.inner.link.run(async |mut connection| connection.hdel(key, name).await).await?;
        Ok(removed > 0)
    }
}
