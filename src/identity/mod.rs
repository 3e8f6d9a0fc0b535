//! Logins: callers who show a JWT of an identity provider instead of an API key.
//!
//! | file | job |
//! | --- | --- |
//! | [`jwt`] | a login as text: parsed and checked; pure |
//! | [`times`] | when a login counts; pure |
//! | [`jwks`] | a provider's key set; pure |
//! | [`algorithm`], [`json`] | signatures, strict JSON; pure |
//! | [`fetch`] | getting a key set from a file or a URL |
//! | [`keys`] | one provider's keys, kept fresh in the background |
//! | [`provider`] | from a login to a client with a policy of its own |
//! | [`remembered`] | logins that were checked a moment ago |
//!
//! A login becomes a [`Client`] that exists for the one call: its name is the provider's, its policy is bound to the
//! login's claims. No API key is ever waited for because of a provider, and no provider's outage keeps anything else
//! from working.

pub mod algorithm;
pub mod fetch;
pub mod json;
pub mod jwks;
pub mod jwt;
pub mod keys;
mod provider;
mod remembered;
mod times;

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::algorithm::Algorithm;
use self::jwt::{JwtRefusal, UntrustedJwt};
pub use self::keys::KeyStatus;
pub use self::provider::{Provider, ProviderConfig};
use self::remembered::{LoginHash, Remembered};
use crate::clients::Client;
use crate::clock::Clock;
use crate::token::UnusableClaim;

/// Why a login opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginRefusal {
    /// It is not believed.
    #[error(transparent)]
    Jwt(#[from] JwtRefusal),
    /// It is believed, and names nobody links could be made for.
    #[error("{0}, and links are made for it")]
    Subject(UnusableClaim),
    /// The provider's keys are not known right now.
    #[error("the keys of the token's issuer are not known right now")]
    Unavailable,
}

impl LoginRefusal {
    /// The label of its counter.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Jwt(refusal) => refusal.name(),
            Self::Subject(_) => "subject",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What became of a login, and which provider it was for.
pub struct Login {
    pub provider: Option<Arc<Provider>>,
    pub outcome: Result<Arc<Client>, LoginRefusal>,
}

type Providers = Vec<Arc<Provider>>;

/// Every identity provider; swapped whole when the configuration changes.
pub struct Logins {
    providers: watch::Sender<Arc<Providers>>,
    remembered: Remembered,
    clock: Arc<dyn Clock>,
}

impl Logins {
    /// Knows the providers; keys come once it [follows](Self::follow) them.
    pub fn new(configured: &[ProviderConfig], clock: Arc<dyn Clock>) -> Self {
        let logins = Self { providers: watch::Sender::new(Arc::default()), remembered: Remembered::default(), clock };
        logins.replace(configured);
        logins
    }

    /// Puts other providers in place; keys that come from where they came from before are kept.
    pub fn replace(&self, configured: &[ProviderConfig]) {
        let old = self.providers();
        let provider = |config: &ProviderConfig| {
            let predecessor = old.iter().find(|old| old.config.name == config.name);
            Arc::new(Provider::new(config.clone(), predecessor.map(AsRef::as_ref)))
        };
        self.providers.send_replace(Arc::new(configured.iter().map(provider).collect()));
        self.remembered.clear();
    }

    /// Those there are.
    pub fn providers(&self) -> Arc<Providers> {
        Arc::clone(&self.providers.borrow())
    }

    /// Whether anybody could log in.
    pub fn has_providers(&self) -> bool {
        !self.providers.borrow().is_empty()
    }

    /// Whether a client's name belongs to a provider.
    pub fn has_name(&self, name: &str) -> bool {
        self.providers.borrow().iter().any(|provider| provider.config.name == name)
    }

    /// Keeps every provider's keys fresh, for ever.
    pub async fn follow(&self) {
        let mut changes = self.providers.subscribe();
        loop {
            let mut tasks = JoinSet::new();
            for provider in changes.borrow_and_update().iter() {
                let (provider, clock) = (Arc::clone(provider), Arc::clone(&self.clock));
                tasks.spawn(async move { provider.keys.follow(&*clock).await });
            }
            tokio::select! {
                outcome = changes.changed() => if outcome.is_err() { return },
                // None of them ends of its own accord.
                Some(_) = tasks.join_next() => return,
            }
        }
    }

    /// How it stands with every provider, by name.
    pub fn status(&self) -> Vec<(String, KeyStatus)> {
        let now = self.clock.now();
        self.providers().iter().map(|provider| (provider.config.name.clone(), provider.keys.status(now))).collect()
    }

    /// Whose login a text is.
    pub async fn authenticate(&self, text: &str) -> Login {
        let refuse = |refusal: JwtRefusal| Login { provider: None, outcome: Err(refusal.into()) };
        if text.len() > jwt::MAX_JWT_BYTES {
            return refuse(JwtRefusal::TooLong);
        }
        let hash = LoginHash::of(text);
        if let Some((provider, client)) = self.recall(&hash) {
            return Login { provider: Some(provider), outcome: Ok(client) };
        }
        let jwt = match UntrustedJwt::parse(text) {
            Ok(jwt) => jwt,
            Err(refusal) => return refuse(refusal),
        };
        let provider = match choose(&self.providers(), &jwt) {
            Ok(provider) => provider,
            Err(refusal) => return refuse(refusal),
        };
        let outcome = provider.believe(&jwt, &*self.clock).await.map(|believed| {
            let client = Arc::clone(&believed.client);
            self.remembered.keep(hash, believed);
            client
        });
        Login { provider: Some(provider), outcome }
    }

    /// A login that was believed before, if everything that spoke for it still does.
    fn recall(&self, hash: &LoginHash) -> Option<(Arc<Provider>, Arc<Client>)> {
        let believed = self.remembered.recall(hash)?;
        let now = self.clock.now();
        let provider = believed.provider;
        let is_current = self.providers.borrow().iter().any(|known| Arc::ptr_eq(known, &provider));
        let has_keys = provider.keys.usable(now).is_some_and(|keys| Arc::ptr_eq(&keys, &believed.keys));
        let is_in_time = believed.times.judge(provider.config.leeway, now.wall).is_ok();
        (is_current && has_keys && is_in_time).then_some((provider, believed.client))
    }
}

fn choose(providers: &Providers, jwt: &UntrustedJwt<'_>) -> Result<Arc<Provider>, JwtRefusal> {
    if let Some(provider) = providers.iter().find(|provider| provider.claims_issue_of(jwt)) {
        return Ok(Arc::clone(provider));
    }
    let is_known = providers.iter().any(|provider| jwt.issuer() == Some(&provider.config.issuer));
    Err(if is_known { JwtRefusal::WrongAudience } else { JwtRefusal::UnknownIssuer })
}
