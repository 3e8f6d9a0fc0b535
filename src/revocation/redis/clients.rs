//! Clients that every process of one Redis shares: a hash of records beside the revocations.
//!
//! The hash also holds a sentinel, made anew whenever the hash is. Another sentinel than before, or none, means that the
//! hash was lost, not emptied: a process that has seen clients writes them back, so that an emptied Redis locks nobody
//! out, also when somebody has put a new client into it meanwhile. And it holds a revision, another one after every
//! change: whoever changes a client names the revision it has seen, and looks again when that has passed.

use std::collections::HashMap;

use async_trait::async_trait;
use redis::AsyncTypedCommands;
use tracing::{error, warn};

use super::{RedisStore, scripts};
use crate::clients::{Change, ChangeError, ClientRecord, ClientStore, Clients, Edit, Uses, use_name};
use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::revocation::StoreError;
use crate::token::TokenId;

/// The field that tells an empty hash from a lost one; no client can have this name.
const SENTINEL: &str = "!";
/// The field that is another after every change; no client can have this name.
const REVISION: &str = "#";
/// How often somebody else may have been faster.
const ATTEMPTS: u32 = 20;

/// The clients that were there when they were last looked at, and what stands beside them.
#[derive(Clone, Default)]
pub struct Seen {
    sentinel: Option<String>,
    revision: String,
    clients: Clients,
}

impl RedisStore {
    async fn read(&self) -> Result<Seen, StoreError> {
        let key = self.inner.keys.clients();
        let mut records: HashMap<String, String> =
            self.inner.link.run(async |mut connection| connection.hgetall(key).await).await?;
        let sentinel = records.remove(SENTINEL);
        let revision = records.remove(REVISION).unwrap_or_default();
        let mut seen = Seen { sentinel, revision, clients: Clients::default() };
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

    /// What is there now; what was lost is written back first.
    async fn see(&self) -> Result<Seen, StoreError> {
        let mut now = self.read().await?;
        let before = self.inner.clients_seen.lock().clone();
        if !before.clients.is_empty() && now.sentinel != before.sentinel {
            warn!(count = before.clients.len(), "the store has lost its clients: writing back those that are known");
            for (name, record) in before.clients.iter().filter(|(name, _)| !now.clients.contains_key(*name)) {
                self.put_back(name, record).await?;
            }
            now = self.read().await?;
        }
        self.inner.clients_seen.lock().clone_from(&now);
        Ok(now)
    }

    async fn put_back(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.clients();
        let json = to_json(record)?;
        let (sentinel, revision) = (unique(), unique());
        self.inner
            .link
            .run(async |mut connection| {
                let mut pipe = redis::pipe();
                pipe.atomic().hset_nx(key, SENTINEL, &sentinel).ignore();
                pipe.hset_nx(key, name, &json).ignore().hset(key, REVISION, &revision).ignore();
                pipe.exec_async(&mut connection).await
            })
            .await
    }

    /// Makes a change unless another came first; whether it was made.
    async fn try_change(&self, seen: &str, next: &str, change: &Change) -> Result<bool, StoreError> {
        let json = change.after.as_ref().map(to_json).transpose()?.unwrap_or_default();
        let sentinel = unique();
        let mut call = scripts::CHANGE_CLIENT.key(self.inner.keys.clients());
        call.arg(seen).arg(next).arg(&sentinel).arg(&change.name).arg(&json);
        self.inner.link.run(async |mut connection| call.invoke_async(&mut connection).await).await
    }

    async fn forget_uses(&self, change: &Change) -> Result<(), StoreError> {
        let fields: Vec<_> = change.dropped_keys().iter().map(|id| use_name(&change.name, id)).collect();
        if fields.is_empty() {
            return Ok(());
        }
        let key = self.inner.keys.uses();
        self.inner.link.run(async |mut connection| connection.hdel(key, &fields).await.map(|_| ())).await
    }
}

fn to_json(record: &ClientRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Failed(error.to_string()))
}

fn unique() -> String {
    TokenId(random()).to_string()
}

#[async_trait]
impl ClientStore for RedisStore {
    async fn load(&self) -> Result<Clients, StoreError> {
        Ok(self.see().await?.clients)
    }

    async fn change(&self, edit: Edit<'_>) -> Result<Change, ChangeError> {
        let mut tried: Option<(String, Change)> = None;
        for _ in 0..ATTEMPTS {
            let seen = self.see().await?;
            // A connection that broke before the answer came: it was our own change that came first.
            if let Some((_, change)) = tried.take_if(|(next, _)| *next == seen.revision) {
                return Ok(change);
            }
            let change = edit(&seen.clients)?;
            let next = unique();
            if self.try_change(&seen.revision, &next, &change).await? {
                // What is not forgotten now does no harm.
                let _ = self.forget_uses(&change).await;
                return Ok(change);
            }
            tried = Some((next, change));
        }
        Err(StoreError::Failed("clients are being changed too often; ask again".into()).into())
    }

    async fn uses(&self) -> Result<Uses, StoreError> {
        let key = self.inner.keys.uses();
        let fields = self.inner.link.run(async |mut connection| connection.hgetall(key).await).await?;
        Ok(fields.into_iter().filter_map(|(name, millis)| Some((name, UnixMillis(millis.parse().ok()?)))).collect())
    }

    async fn note_uses(&self, uses: &Uses) -> Result<(), StoreError> {
        let mut call = scripts::NOTE_USES.key(self.inner.keys.uses());
        for (name, time) in uses {
            call.arg(name).arg(time.0);
        }
        self.inner.link.run(async |mut connection| call.invoke_async::<()>(&mut connection).await).await
    }
}
