//! The way to the clients: a server's API, or the store itself. Both answer the same.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Map, Value, json};

use super::super::Server;
use super::super::api::Api;
use super::super::revocations::{encoded, text};
use crate::app;
use crate::clients::{Administration, ClientPatch, ClientStore, Condition, FileClients, PolicyRecord, Role, Uses};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, StoreConfig};
use crate::revocation::Index;

/// Where clients are looked at and changed.
pub enum Way<'c> {
    Server(Api),
    /// Whoever can write to the store is an operator.
    Store {
        store: Box<dyn ClientStore>,
        config: &'c Config,
    },
}

impl<'c> Way<'c> {
    /// The server that was named, else the store.
    pub async fn find(server: &Server, config: &'c Config) -> Result<Self> {
        if server.server.is_some() {
            return Ok(Self::Server(Api::connect(server, config).await?));
        }
        let store: Box<dyn ClientStore> = match &config.store {
            StoreConfig::Embedded => Box::new(FileClients::new(&config.data_dir)),
            StoreConfig::Redis(_) => {
                Box::new(app::open_redis(config, Arc::new(Index::default()), Arc::new(SystemClock::new()))?)
            }
        };
        Ok(Self::Store { store, config })
    }

    /// Every client.
    pub async fn list(&self) -> Result<Vec<Value>> {
        let api = match self {
            Self::Server(api) => api,
            Self::Store { store, config } => {
                let clients = operator(&**store, config, async |work| work.list().await).await?;
                return clients.iter().map(|client| Ok(serde_json::to_value(client)?)).collect();
            }
        };
        let (mut clients, mut cursor) = (Vec::new(), None);
        loop {
            let more = cursor.map(|cursor: String| format!("&cursor={}", encoded(&cursor))).unwrap_or_default();
            let mut page = api.call(Method::GET, &format!("/v1/clients?limit=1000{more}"), None).await?;
            clients.extend(page["clients"].as_array_mut().map(std::mem::take).into_iter().flatten());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(clients),
            }
        }
    }

    /// One client.
    pub async fn find_client(&self, name: &str) -> Result<Value> {
        match self {
            Self::Server(api) => api.call(Method::GET, &address(name), None).await,
            Self::Store { store, config } => {
                let client = operator(&**store, config, async |work| work.find(name).await).await?;
                Ok(serde_json::to_value(client)?)
            }
        }
    }

    /// Adds a client; answers its key.
    pub async fn add(&self, name: &str, roles: &[Role], policy: Map<String, Value>) -> Result<String> {
        match self {
            Self::Server(api) => {
                let body = json!({ "name": name, "roles": roles, "policy": policy });
                Ok(text(&api.call(Method::POST, "/v1/clients", Some(body)).await?["key"]))
            }
            Self::Store { store, config } => {
                let policy: PolicyRecord = serde_json::from_value(Value::Object(policy))?;
                let add = async |work: &Administration<'_>| work.add(name, roles.to_vec(), policy.clone()).await;
                Ok(operator(&**store, config, add).await?.key.expose().to_owned())
            }
        }
    }

    /// Changes roles and policy; answers the client.
    pub async fn patch(&self, name: &str, patch: Map<String, Value>) -> Result<Value> {
        match self {
            Self::Server(api) => api.call(Method::PATCH, &address(name), Some(Value::Object(patch))).await,
            Self::Store { store, config } => {
                let text = Value::Object(patch).to_string();
                let patch = ClientPatch::parse(text.as_bytes()).context("the policy")?;
                let change = async |work: &Administration<'_>| work.patch(name, &patch, &Condition::Any).await;
                Ok(serde_json::to_value(operator(&**store, config, change).await?)?)
            }
        }
    }

    /// Makes one more key; answers it.
    pub async fn add_key(&self, name: &str, drops_old: bool) -> Result<String> {
        match self {
            Self::Server(api) => {
                let body = json!({ "drop_old": drops_old });
                Ok(text(&api.call(Method::POST, &format!("{}/keys", address(name)), Some(body)).await?["key"]))
            }
            Self::Store { store, config } => {
                let add = async |work: &Administration<'_>| work.add_key(name, drops_old, &Condition::Any).await;
                Ok(operator(&**store, config, add).await?.key.expose().to_owned())
            }
        }
    }

    /// Revokes one key.
    pub async fn drop_key(&self, name: &str, id: &str) -> Result<()> {
        match self {
            Self::Server(api) => {
                let path = format!("{}/keys/{}", address(name), encoded(id));
                api.call(Method::DELETE, &path, None).await.map(|_| ())
            }
            Self::Store { store, config } => {
                let drop = async |work: &Administration<'_>| work.drop_key(name, id, &Condition::Any).await;
                operator(&**store, config, drop).await.map(|_| ())
            }
        }
    }

    /// Removes a client.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Server(api) => api.call(Method::DELETE, &address(name), None).await.map(|_| ()),
            Self::Store { store, config } => {
                operator(&**store, config, async |work| work.remove(name, &Condition::Any).await).await
            }
        }
    }
}

fn address(name: &str) -> String {
    format!("/v1/clients/{}", encoded(name))
}

async fn operator<T, E: Into<anyhow::Error>>(
    store: &dyn ClientStore,
    config: &Config,
    work: impl AsyncFnOnce(&Administration<'_>) -> Result<T, E>,
) -> Result<T> {
    let administration = Administration {
        store,
        configured: &config.clients,
        is_collection: &|name| config.collections.contains_key(name),
        is_provider: &|name| config.identity_providers.iter().any(|provider| provider.name == name),
        is_operator: true,
        seen: Uses::new(),
        now: SystemClock::new().now().wall,
    };
    work(&administration).await.map_err(Into::into)
}
