//! Everybody who may call, right now.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::error;

use super::api_key::ClientKey;
use super::{Client, ClientStore, Uses, api_key, use_name};
use crate::clients::KeyHash;
use crate::clock::UnixMillis;
use crate::revocation::StoreError;

/// What is wrong with a client whose name is not its own.
const TAKEN: &str = "an identity provider has its name";

/// What is wrong with stored clients, by their names.
type Faults = BTreeMap<String, String>;

/// The clients of the configuration and of the store. Reading waits for nobody.
#[derive(Default)]
pub struct Registry {
    everybody: ArcSwap<Everybody>,
    /// Held while a new set is put together.
    changing: Mutex<()>,
    /// Held while the store is read, so that an older reading never replaces a newer one. What was wrong with stored
    /// clients when that was last said, by their names.
    reading: tokio::sync::Mutex<Faults>,
}

#[derive(Clone, Default)]
struct Everybody {
    configured: Arc<Vec<Client>>,
    /// Those of the store, as it was last read.
    stored: Arc<Vec<Client>>,
    by_name: BTreeMap<String, Arc<Client>>,
}

impl Registry {
    /// Takes up the clients of the configuration; those of the store stay known as they are. Where both name a client,
    /// the configuration's counts.
    pub fn set_configured(&self, configured: Vec<Client>) {
        let _changing = self.changing.lock();
        let stored = Arc::clone(&self.everybody.load().stored);
        self.put_together(Arc::new(configured), stored);
    }

    /// Takes up the clients of the store.
    pub fn set_stored(&self, stored: Vec<Client>) {
        let _changing = self.changing.lock();
        let configured = Arc::clone(&self.everybody.load().configured);
        self.put_together(configured, Arc::new(stored));
    }

    /// Reads the store and takes up its clients, but for those that make no sense or whose names are not theirs:
    /// they are left out, and what is wrong with one is logged once.
    ///
    /// # Errors
    /// When it cannot be read; everybody stays known as they are.
    pub async fn refresh(&self, store: &dyn ClientStore, is_taken: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let mut known_faults = self.reading.lock().await;
        let records = store.load().await?;
        let (mut stored, mut faults) = (Vec::new(), Faults::new());
        for (name, record) in &records {
            let built =
                if is_taken(name) { Err(TAKEN.to_owned()) } else { record.build(name).map_err(|e| e.to_string()) };
            match built {
                Ok(client) => stored.push(client),
                Err(fault) => {
                    faults.insert(name.clone(), fault);
                }
            }
        }
        for (client, fault) in faults.iter().filter(|(name, fault)| known_faults.get(*name) != Some(fault)) {
            error!(client, fault, "a stored client cannot be used");
        }
        *known_faults = faults;
        self.set_stored(stored);
        Ok(())
    }

    fn put_together(&self, configured: Arc<Vec<Client>>, stored: Arc<Vec<Client>>) {
        let before = self.everybody.load();
        let known = |client: &Client| {
            let mut client = client.clone();
            let earlier = before.by_name.get(&client.name).map_or(&[][..], |earlier| earlier.keys.as_slice());
            for key in &mut client.keys {
                if let Some(earlier) = earlier.iter().find(|earlier| earlier.hash == key.hash) {
                    key.take_over(earlier);
                }
            }
            (client.name.clone(), Arc::new(client))
        };
        let by_name = stored.iter().chain(configured.iter()).map(known).collect();
        self.everybody.store(Arc::new(Everybody { configured, stored, by_name }));
    }

    /// The client a presented key belongs to, and that it was used; `None` when it is nobody's.
    pub fn authenticate(&self, presented: &str, now: UnixMillis) -> Option<Arc<Client>> {
        self.with_key(presented, |client, key| {
            key.note_use(now);
            Arc::clone(client)
        })
    }

    /// Whether a key belongs to a client; that is no use of it.
    pub fn has(&self, presented: &str) -> bool {
        self.with_key(presented, |_, _| ()).is_some()
    }

    fn with_key<R>(&self, presented: &str, then: impl FnOnce(&Arc<Client>, &ClientKey) -> R) -> Option<R> {
        let hash = KeyHash::of(presented);
        let everybody = self.everybody.load();
        let client = everybody.by_name.get(api_key::client_name(presented)?)?;
        let key = client.keys.iter().find(|known| known.hash.matches(&hash))?;
        Some(then(client, key))
    }

    /// The clients of the configuration.
    pub fn configured(&self) -> Arc<Vec<Client>> {
        Arc::clone(&self.everybody.load().configured)
    }

    /// When each key was last used, as far as this process has seen.
    pub fn uses(&self) -> Uses {
        let everybody = self.everybody.load();
        let keys = everybody.by_name.values().flat_map(|client| client.keys.iter().map(move |key| (client, key)));
        keys.filter_map(|(client, key)| Some((use_name(&client.name, &key.hash.id()), key.last_used()?))).collect()
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.everybody.load().by_name.len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{ApiKey, Role};

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn client(name: &str, keys: &[&ApiKey]) -> Client {
        Client {
            name: name.into(),
            roles: vec![Role::Mint],
            keys: keys.iter().map(|key| ClientKey::new(key.hash(), None)).collect(),
            ..Client::default()
        }
    }

    #[test]
    fn any_of_a_clients_keys_is_recognised_and_no_other() {
        let (first, second, foreign) = (ApiKey::new("a_b"), ApiKey::new("a_b"), ApiKey::new("a_b"));
        let registry = Registry::default();
        registry.set_configured(vec![client("a_b", &[&first, &second])]);
        assert_eq!(registry.authenticate(first.expose(), NOW).unwrap().name, "a_b");
        assert!(registry.authenticate(second.expose(), NOW).is_some());
        assert!(registry.authenticate(foreign.expose(), NOW).is_none());
        for nonsense in ["", "lgk_", "lgk_a_b_", "Bearer", "lgk_a_b_é"] {
            assert!(registry.authenticate(nonsense, NOW).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn a_key_of_one_client_does_not_open_another() {
        let key = ApiKey::new("one");
        let registry = Registry::default();
        registry.set_configured(vec![client("one", &[&key]), client("two", &[])]);
        let disguised = key.expose().replace("lgk_one_", "lgk_two_");
        assert!(registry.authenticate(&disguised, NOW).is_none());
    }

    #[test]
    fn the_configuration_wins_over_the_store() {
        let (configured, stored) = (ApiKey::new("app"), ApiKey::new("app"));
        let registry = Registry::default();
        registry.set_stored(vec![client("app", &[&stored])]);
        assert!(registry.authenticate(stored.expose(), NOW).is_some());
        registry.set_configured(vec![client("app", &[&configured])]);
        assert!(registry.authenticate(configured.expose(), NOW).is_some());
        assert!(registry.authenticate(stored.expose(), NOW).is_none());
        registry.set_configured(Vec::new());
        assert!(registry.authenticate(stored.expose(), NOW).is_some(), "the store's was there all the time");
    }

    #[test]
    fn a_use_is_known_by_key_and_outlives_a_new_set() {
        let (used, idle) = (ApiKey::new("app"), ApiKey::new("app"));
        let registry = Registry::default();
        registry.set_stored(vec![client("app", &[&used, &idle])]);
        assert!(registry.uses().is_empty());
        registry.authenticate(used.expose(), NOW);
        let expected = Uses::from([(format!("app:{}", used.hash().id()), NOW)]);
        assert_eq!(registry.uses(), expected);
        registry.set_stored(vec![client("app", &[&idle, &used])]);
        assert_eq!(registry.uses(), expected);
        registry.set_stored(vec![client("app", &[&idle])]);
        assert!(registry.uses().is_empty());
    }
}
