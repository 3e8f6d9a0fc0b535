//! Who may call the API: clients, their keys, roles and policies.
//!
//! | file | job |
//! | --- | --- |
//! | `record`, `api_key` | a client as it is written down; its keys, known only by their hashes |
//! | `registry` | everybody who may call, swapped whole when anything changes |
//! | `limiter`, `rates` | how fast they may go |
//! | `changes`, `admin` | what may become of a client, and doing it |
//! | `names` | the names that stand for no client |
//! | `file` | the store of one machine |

mod admin;
mod api_key;
mod changes;
mod file;
mod limiter;
mod names;
mod rates;
mod record;
mod registry;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::admin::{Administration, ClientView, KeyView, MadeKey};
pub use self::api_key::{ApiKey, ClientKey, KeyHash, is_api_key};
pub use self::changes::{Change, ClientPatch, Condition, Refusal};
pub use self::file::FileClients;
pub use self::limiter::{Exceeded, Limit, Limiter, RateRules};
pub use self::names::{LINKGATE, OPERATOR, is_reserved};
pub use self::rates::{Level, MAX_RATE, Quota};
pub use self::record::{ClientRecord, KeyRecord, PolicyRecord, RecordError, check_name, quota};
pub use self::registry::Registry;
use crate::clock::UnixMillis;
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
#[derive(Clone, Debug, Default)]
pub struct Client {
    pub name: String,
    pub roles: Vec<Role>,
    pub policy: MintPolicy,
    pub rates: RateRules,
    pub keys: Vec<ClientKey>,
    /// When it was added; `None` for logins, clients of the configuration, and those added before this was noted.
    pub created_at: Option<UnixMillis>,
}

impl Client {
    /// Whether it may act in a role; an admin may act in every one.
    pub fn may(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::Admin)
    }

    /// Tells it from an earlier client of its name: what was one's is not the other's. 0 when that is not known.
    pub fn generation(&self) -> u64 {
        self.created_at.map_or(0, |time| time.0)
    }

    /// Whether it is a user who has logged in, and no program or person of the operator's.
    pub const fn is_login(&self) -> bool {
        self.policy.subject.is_some()
    }

    /// Whether it may see what a link of that client and subject holds. A login sees its own links only: the others
    /// are other people's.
    pub fn may_see(&self, client: &str, subject: Option<&str>) -> bool {
        self.policy.subject.as_deref().is_none_or(|own| client == self.name && subject == Some(own))
    }
}

/// Clients by name.
pub type Clients = BTreeMap<String, ClientRecord>;

/// When keys were last used, by [`use_name`].
pub type Uses = BTreeMap<String, UnixMillis>;

/// What a key's use is kept under: `<client>:<key id>`. No client's name has a colon.
pub fn use_name(client: &str, key_id: &str) -> String {
    format!("{client}:{key_id}")
}

/// Finds out from all clients what is to become of one.
pub type Edit<'a> = &'a (dyn Fn(&Clients) -> Result<Change, Refusal> + Send + Sync);

/// Why a client was not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where clients are kept that are not in the configuration.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// All of them, by name.
    async fn load(&self) -> Result<Clients, StoreError>;

    /// Changes one in a single step: no other change comes between what `edit` sees and what it leaves behind. It may
    /// be asked several times.
    async fn change(&self, edit: Edit<'_>) -> Result<Change, ChangeError>;

    /// When each key was last used, as far as that was noted.
    async fn uses(&self) -> Result<Uses, StoreError>;

    /// Notes uses; a later one that is known already stays.
    async fn note_uses(&self, uses: &Uses) -> Result<(), StoreError>;
}
