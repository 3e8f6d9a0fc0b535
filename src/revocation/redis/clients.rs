//! Clients that every process of one Redis shares: a hash of records beside the revocations.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use redis::AsyncTypedCommands;
use tracing::error;

use super::RedisStore;
use crate::clients::{ClientRecord, ClientStore};
use crate::revocation::StoreError;

#[async_trait]
impl ClientStore for RedisStore {
    async fn load(&self) -> Result<BTreeMap<String, ClientRecord>, StoreError> {
        let key = self.inner.keys.clients();
        let records: HashMap<String, String> =
            self.inner.link.run(async |mut connection| connection.hgetall(key).await).await?;
        let mut clients = BTreeMap::new();
        for (name, record) in records {
            match serde_json::from_str(&record) {
                Ok(record) => {
                    clients.insert(name, record);
                }
                Err(_) => error!(client = name, "the store holds a client that cannot be read; it was skipped"),
            }
        }
        Ok(clients)
    }

    async fn put(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.clients();
        let json = serde_json::to_string(record).map_err(|error| StoreError::Failed(error.to_string()))?;
        self.inner.link.run(async |mut connection| connection.hset(key, name, json).await).await?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let key = self.inner.keys.clients();
        let removed = self.inner.link.run(async |mut connection| connection.hdel(key, name).await).await?;
        Ok(removed > 0)
    }
}
