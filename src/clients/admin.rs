//! Changing clients, and showing them: the same for the API and the command line.

use serde::Serialize;
use utoipa::ToSchema;

use super::changes::{self, Change, ClientPatch, Condition, Refusal};
use super::record::{ClientRecord, KeyRecord, PolicyRecord};
use super::{ApiKey, ChangeError, Client, ClientStore, Clients, Role, Uses, is_reserved, use_name};
use crate::clock::{Rfc3339, UnixMillis};

/// Whoever changes clients, and what that takes.
pub struct Administration<'a> {
    pub store: &'a dyn ClientStore,
    /// The clients of the configuration: shown, not changed.
    pub configured: &'a [Client],
    /// Whether there is a collection of a name.
    pub is_collection: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether an identity provider has a name.
    pub is_provider: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether the last admin of the store may go: the operator needs none.
    pub is_operator: bool,
    /// What this process has seen of the keys' use.
    pub seen: Uses,
    pub now: UnixMillis,
}

/// A client, as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Client)]
pub struct ClientView {
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// What it may ask for; what is not there has its default.
    pub policy: PolicyRecord,
    /// Where it is kept: `configuration` or `store`. Only those of the store can be changed over the API.
    pub kept: &'static str,
    /// One of the store that does not count, as the configuration has a client or an identity provider of its name, or
    /// its name stands for Linkgate itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadowed: bool,
    /// When it was added; not known of clients in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub created_at: Option<Rfc3339>,
    /// Its keys, in the order in which they were made.
    pub keys: Vec<KeyView>,
    /// Another one whenever roles, policy or keys are others.
    #[serde(skip)]
    pub tag: String,
}

/// A key, as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ClientKey)]
pub struct KeyView {
    /// What it is called; it opens nothing.
    #[schema(pattern = "^[0-9a-f]{12}$")]
    pub id: String,
    /// When it was made; not known of keys in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub created_at: Option<Rfc3339>,
    /// When it was last used, as far as is known; left out when it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_used_at: Option<Rfc3339>,
}

/// A key that was just made.
pub struct MadeKey {
    pub client: ClientView,
    pub id: String,
    pub key: ApiKey,
}

const CONFIGURATION: &str = "configuration";
const STORE: &str = "store";

impl Administration<'_> {
    /// Every client in the order of names; of two with one name the configuration's first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<ClientView>, ChangeError> {
        let stored = self.store.load().await?;
        let uses = self.uses().await;
        let mut views: Vec<_> =
            self.configured.iter().map(|client| view(&client.name, &client.into(), CONFIGURATION, &uses)).collect();
        views.extend(stored.iter().map(|(name, record)| {
            let shadowed = self.is_configured(name) || (self.is_provider)(name) || is_reserved(name);
            ClientView { shadowed, ..view(name, record, STORE, &uses) }
        }));
        views.sort_by(|a, b| a.name.cmp(&b.name).then(a.shadowed.cmp(&b.shadowed)));
        Ok(views)
    }

    /// One client; of two with one name the configuration's.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub async fn find(&self, name: &str) -> Result<ClientView, ChangeError> {
        if let Some(client) = self.configured.iter().find(|client| client.name == name) {
            return Ok(view(name, &client.into(), CONFIGURATION, &self.uses().await));
        }
        let stored = self.store.load().await?;
        let record = stored.get(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
        Ok(view(name, record, STORE, &self.uses().await))
    }

    /// Adds a client.
    ///
    /// # Errors
    /// When it is there, or makes no sense.
    pub async fn add(&self, name: &str, roles: Vec<Role>, policy: PolicyRecord) -> Result<MadeKey, ChangeError> {
        if self.is_configured(name) {
            return Err(Refusal::Exists(name.to_owned()).into());
        }
        if (self.is_provider)(name) {
            return Err(Refusal::ProvidersName(name.to_owned()).into());
        }
        let record = ClientRecord { roles, policy, keys: Vec::new(), created_at: Some(Rfc3339(self.now)) };
        self.check_collections(&record)?;
        let (key, written) = self.new_key(name);
        let change = self.store.change(&|clients| changes::add(clients, name, &record, &written)).await?;
        self.made(change, key, &written)
    }

    /// Changes roles and policy.
    ///
    /// # Errors
    /// When there is no such client, or the new one would make no sense.
    pub async fn patch(
        &self,
        name: &str,
        patch: &ClientPatch,
        condition: &Condition,
    ) -> Result<ClientView, ChangeError> {
        let work = |record: &ClientRecord| {
            let patched = changes::patch(record, patch)?;
            patched.as_ref().map(|record| self.check_collections(record)).transpose()?;
            Ok(patched)
        };
        let change = self.edit(name, condition, &work).await?;
        Ok(self.after(change).await)
    }

    /// Gives a client one more key, or one in the place of all others.
    ///
    /// # Errors
    /// When there is no such client.
    pub async fn add_key(&self, name: &str, drops_old: bool, condition: &Condition) -> Result<MadeKey, ChangeError> {
        let (key, written) = self.new_key(name);
        let change = self.edit(name, condition, &|record| changes::add_key(name, record, &written, drops_old)).await?;
        self.made(change, key, &written)
    }

    /// Revokes one key.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn drop_key(&self, name: &str, id: &str, condition: &Condition) -> Result<ClientView, ChangeError> {
        let change = self.edit(name, condition, &|record| changes::drop_key(name, record, id)).await?;
        Ok(self.after(change).await)
    }

    /// Removes a client; one that the configuration's hides, too.
    ///
    /// # Errors
    /// When there is none in the store.
    pub async fn remove(&self, name: &str, condition: &Condition) -> Result<(), ChangeError> {
        let removed = self.store.change(&|clients| self.judge(clients, name, condition, &|_| Ok(None))).await;
        match removed {
            Err(ChangeError::Refused(Refusal::Unknown(_))) if self.is_configured(name) => {
                Err(Refusal::ReadOnly(name.to_owned()).into())
            }
            removed => removed.map(|_| ()),
        }
    }

    async fn edit(&self, name: &str, condition: &Condition, work: Work<'_>) -> Result<Change, ChangeError> {
        if self.is_configured(name) {
            return Err(Refusal::ReadOnly(name.to_owned()).into());
        }
        self.store.change(&|clients| self.judge(clients, name, condition, work)).await
    }

    fn judge(&self, clients: &Clients, name: &str, condition: &Condition, work: Work<'_>) -> Result<Change, Refusal> {
        let change = changes::edit(clients, name, condition, work)?;
        let is_safe = self.is_operator || self.configured.iter().any(|client| client.roles.contains(&Role::Admin));
        if is_safe { Ok(change) } else { changes::keep_an_admin(clients, change) }
    }

    fn check_collections(&self, record: &ClientRecord) -> Result<(), Refusal> {
        let mut names = record.policy.collections.iter().flatten();
        match names.find(|name| !(self.is_collection)(name)) {
            Some(name) => Err(Refusal::NoSuchCollection(name.chars().take(64).collect())),
            None => Ok(()),
        }
    }

    fn is_configured(&self, name: &str) -> bool {
        self.configured.iter().any(|client| client.name == name)
    }

    fn new_key(&self, name: &str) -> (ApiKey, KeyRecord) {
        let key = ApiKey::new(name);
        let written = KeyRecord { hash: key.hash().to_string(), created_at: Some(Rfc3339(self.now)) };
        (key, written)
    }

    fn made(&self, change: Change, key: ApiKey, written: &KeyRecord) -> Result<MadeKey, ChangeError> {
        let id = written.id().unwrap_or_default();
        let record = change.after.ok_or(Refusal::Unknown(change.name.clone()))?;
        Ok(MadeKey { client: view(&change.name, &record, STORE, &self.seen), id, key })
    }

    async fn after(&self, change: Change) -> ClientView {
        view(&change.name, &change.after.unwrap_or_default(), STORE, &self.uses().await)
    }

    /// What the store and this process know of the keys' use. It is good to know, never needed.
    async fn uses(&self) -> Uses {
        let mut uses = self.store.uses().await.unwrap_or_default();
        for (name, time) in &self.seen {
            let known = uses.entry(name.clone()).or_default();
            *known = (*known).max(*time);
        }
        uses
    }
}

type Work<'a> = &'a (dyn Fn(&ClientRecord) -> Result<Option<ClientRecord>, Refusal> + Send + Sync);

fn view(name: &str, record: &ClientRecord, kept: &'static str, uses: &Uses) -> ClientView {
    let key = |key: &KeyRecord| {
        let id = key.id()?;
        let last_used_at = uses.get(&use_name(name, &id)).copied().map(Rfc3339);
        Some(KeyView { id, created_at: key.created_at, last_used_at })
    };
    ClientView {
        name: name.to_owned(),
        roles: record.roles.clone(),
        policy: record.policy.clone(),
        kept,
        shadowed: false,
        created_at: record.created_at,
        keys: record.keys.iter().filter_map(key).collect(),
        tag: changes::tag(record),
    }
}
