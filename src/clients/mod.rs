//! Who may call the API: clients, their keys, roles and policies.
//!
//! Clients come from the configuration and from a [`ClientStore`]; the [`Registry`] holds both and is swapped
//! whole when either changes. A key is known only by its hash.

mod api_key;
mod file;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::api_key::{ApiKey, KeyHash, is_api_key};
pub use self::file::FileClients;
pub use self::record::{ClientRecord, PolicyRecord, RecordError};
use crate::revocation::StoreError;
use crate::token::MintPolicy;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Make links.
    Mint,
    /// Ask what a link holds and how it would be judged.
    Inspect,
    /// Revoke, list and reinstate.
    Revoke,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Mint, Self::Inspect, Self::Revoke, Self::Admin];

    /// Its name in configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Inspect => "inspect",
            Self::Revoke => "revoke",
            Self::Admin => "admin",
        }
    }

    /// The role a name stands for.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// One client, ready to be recognised.
#[derive(Clone, Debug)]
pub struct Client {
    pub name: String,
    pub roles: Vec<Role>,
    pub policy: MintPolicy,
    pub key_hashes: Vec<KeyHash>,
}

impl Client {
    /// Whether it may act in a role; an admin may act in every one.
    pub fn may(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::Admin)
    }

    /// Whether it may see what a link of that client and subject holds. A login sees its own links only: the others
    /// are other people's.
    pub fn may_see(&self, client: &str, subject: Option<&str>) -> bool {
        self.policy.subject.as_deref().is_none_or(|own| client == self.name && subject == Some(own))
    }
}

/// Where clients are kept that are not in the configuration.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// All of them, by name.
    async fn load(&self) -> Result<BTreeMap<String, ClientRecord>, StoreError>;

    /// Adds or replaces one.
    async fn put(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError>;

    /// Removes one; whether it was there.
    async fn remove(&self, name: &str) -> Result<bool, StoreError>;
}

/// Everybody who may call, right now.
#[derive(Default)]
pub struct Registry {
    clients: ArcSwap<BTreeMap<String, Arc<Client>>>,
    /// Those of the store, as it was last read.
    stored: ArcSwap<Vec<Client>>,
}

impl Registry {
    /// Puts a new set in place of the old; where both name a client, the configuration's counts.
    pub fn replace(&self, configured: &[Client], stored: impl IntoIterator<Item = Client>) {
        let named = |client: Client| (client.name.clone(), Arc::new(client));
        let stored: Vec<Client> = stored.into_iter().collect();
        let mut clients: BTreeMap<_, _> = stored.iter().cloned().map(named).collect();
        clients.extend(configured.iter().cloned().map(named));
        self.stored.store(Arc::new(stored));
        self.clients.store(Arc::new(clients));
    }

    /// Puts new configured clients in place of the old; those of the store stay known as they are.
    pub fn replace_configured(&self, configured: &[Client]) {
        self.replace(configured, self.stored.load().iter().cloned());
    }

    /// The client a presented key belongs to; `None` when it is nobody's.
    pub fn authenticate(&self, presented: &str) -> Option<Arc<Client>> {
        let hash = KeyHash::of(presented);
        let clients = self.clients.load();
        let client = clients.get(api_key::client_name(presented)?)?;
        client.key_hashes.iter().any(|known| known.matches(&hash)).then(|| Arc::clone(client))
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.clients.load().len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, keys: &[&ApiKey]) -> Client {
        Client {
            name: name.into(),
            roles: vec![Role::Mint],
            policy: MintPolicy::default(),
            key_hashes: keys.iter().map(|key| key.hash()).collect(),
        }
    }

    #[test]
    fn any_of_a_clients_keys_is_recognised_and_no_other() {
        let (first, second, foreign) = (ApiKey::new("a_b"), ApiKey::new("a_b"), ApiKey::new("a_b"));
        let registry = Registry::default();
        registry.replace(&[client("a_b", &[&first, &second])], []);
        assert_eq!(registry.authenticate(first.expose()).unwrap().name, "a_b");
        assert!(registry.authenticate(second.expose()).is_some());
        assert!(registry.authenticate(foreign.expose()).is_none());
        for nonsense in ["", "lgk_", "lgk_a_b_", "Bearer", "lgk_a_b_é"] {
            assert!(registry.authenticate(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_key_of_one_client_does_not_open_another() {
        let key = ApiKey::new("one");
        let registry = Registry::default();
        registry.replace(&[client("one", &[&key]), client("two", &[])], []);
        let disguised = key.expose().replace("lgk_one_", "lgk_two_");
        assert!(registry.authenticate(&disguised).is_none());
    }

    #[test]
    fn the_configuration_wins_over_the_store() {
        let (configured, stored) = (ApiKey::new("app"), ApiKey::new("app"));
        let registry = Registry::default();
        registry.replace(&[client("app", &[&configured])], [client("app", &[&stored])]);
        assert!(registry.authenticate(configured.expose()).is_some());
        assert!(registry.authenticate(stored.expose()).is_none());
    }
}
