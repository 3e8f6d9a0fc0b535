//! `linkgate clients`: who may call the API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::links::span;
use super::{Common, Outcome};
use crate::app;
use crate::clients::{ApiKey, ClientRecord, ClientStore, FileClients, PolicyRecord, Role};
use crate::clock::SystemClock;
use crate::config::{Config, StoreConfig};
use crate::revocation::Index;

/// A running Linkgate takes up changes within a second, on every machine that shares the store.
#[derive(Subcommand)]
pub enum Clients {
    /// Add a client and print its API key, this once.
    Add {
        /// Its name: letters, digits, `.`, `_` and `-`.
        name: String,
        /// What it may do; may be given several times.
        #[arg(long = "role", value_enum, required = true)]
        roles: Vec<Role>,
        /// Paths it may mint links for: `*` is one segment, `**` any number; may be given several times.
        #[arg(long, value_name = "PATTERN")]
        allow: Vec<String>,
        /// Collections it may mint links for; all of them when none is given.
        #[arg(long = "collection", value_name = "NAME")]
        collections: Vec<String>,
        /// Longest life of its links.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        max_ttl: Option<Duration>,
        /// Life of its links when it asks for none.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        default_ttl: Option<Duration>,
    },
    /// List clients; their keys are never shown.
    List,
    /// Give a client one more API key and print it; the old ones go on working unless --drop-old is given.
    Rotate {
        /// Its name.
        name: String,
        /// Refuse every older key at once.
        #[arg(long)]
        drop_old: bool,
    },
    /// Remove a client; its keys are refused at once. Its links live on: see `revoke --client`.
    Remove {
        /// Its name.
        name: String,
    },
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}

#[derive(Serialize)]
struct Row {
    client: String,
    roles: Vec<Role>,
    allow: Vec<String>,
    keys: usize,
    kept: &'static str,
}

impl Clients {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        app::create_data_dir(&config.data_dir)?;
        app::runtime()?.block_on(self.execute(common, &config))?;
        Ok(())
    }

    async fn execute(self, common: &Common, config: &Config) -> anyhow::Result<()> {
        let store = open(config)?;
        let show = |name: &str, key: &ApiKey| {
            common.output().print(&json!({ "client": name, "key": key.expose() }), |_| key.expose().to_owned())
        };
        match self {
            Self::Add { name, roles, allow, collections, max_ttl, default_ttl } => {
                if config.clients.iter().any(|client| client.name == name) || store.load().await?.contains_key(&name) {
                    bail!("there is a client {name} already; `clients rotate {name}` gives it another key");
                }
                if config.identity_providers.iter().any(|provider| provider.name == name) {
                    bail!("an identity provider is called {name} already");
                }
                if let Some(unknown) = collections.iter().find(|name| !config.collections.contains_key(*name)) {
                    bail!("there is no collection {unknown}");
                }
                let record = ClientRecord {
                    roles,
                    policy: PolicyRecord {
                        allow,
                        collections: (!collections.is_empty()).then_some(collections),
                        max_ttl: max_ttl.map(|span| span.as_secs()),
                        default_ttl: default_ttl.map(|span| span.as_secs()),
                    },
                    key_hashes: Vec::new(),
                };
                let key = new_client(&*store, &name, record).await?;
                show(&name, &key)
            }
            Self::Rotate { name, drop_old } => {
                let mut record = store.load().await?.remove(&name).with_context(|| {
                    format!("there is no client {name} in the store (clients of the configuration are changed there)")
                })?;
                if drop_old {
                    record.key_hashes.clear();
                }
                let key = new_client(&*store, &name, record).await?;
                show(&name, &key)
            }
            Self::Remove { name } => {
                if !store.remove(&name).await? {
                    bail!("there is no client {name} in the store (clients of the configuration are removed there)");
                }
                common.output().print(&json!({ "removed": name }), |_| format!("removed {name}"))
            }
            Self::List => {
                let configured = config.clients.iter().map(|client| Row {
                    client: client.name.clone(),
                    roles: client.roles.clone(),
                    allow: client.policy.allow.iter().map(ToString::to_string).collect(),
                    keys: client.key_hashes.len(),
                    kept: "configuration",
                });
                let stored = store.load().await?.into_iter().map(|(client, record)| Row {
                    client,
                    roles: record.roles,
                    allow: record.policy.allow,
                    keys: record.key_hashes.len(),
                    kept: "store",
                });
                let rows: Vec<Row> = configured.chain(stored).collect();
                common.output().table("clients", &rows, &["CLIENT", "ROLES", "ALLOW", "KEYS", "KEPT IN"], |row| {
                    let roles: Vec<_> = row.roles.iter().map(|role| role.as_str()).collect();
                    vec![
                        row.client.clone(),
                        roles.join(","),
                        row.allow.join(","),
                        row.keys.to_string(),
                        row.kept.into(),
                    ]
                })
            }
        }
    }
}

fn open(config: &Config) -> anyhow::Result<Box<dyn ClientStore>> {
    Ok(match &config.store {
        StoreConfig::Embedded => Box::new(FileClients::new(&config.data_dir)),
        StoreConfig::Redis { .. } => {
            Box::new(app::open_redis(config, Arc::new(Index::default()), Arc::new(SystemClock::new()))?)
        }
    })
}

/// Adds a key to a client's record and keeps it.
pub async fn new_client(store: &dyn ClientStore, name: &str, mut record: ClientRecord) -> anyhow::Result<ApiKey> {
    let key = ApiKey::new(name);
    record.key_hashes.push(key.hash().to_string());
    record.build(name)?;
    store.put(name, &record).await?;
    Ok(key)
}
