//! One identity provider: from a login to a client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::LoginRefusal;
use super::algorithm::Algorithm;
use super::jwks::KeySet;
use super::jwt::{JwtRefusal, UntrustedJwt, VerifiedJwt};
use super::keys::{Keys, KeysConfig};
use super::remembered::Believed;
use crate::clients::{Client, RateRules, Role};
use crate::clock::Clock;
use crate::token::{ClaimFault, LoginPolicy};

/// An identity provider, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// The client's name that its logins' links carry.
    pub name: String,
    pub issuer: String,
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
    pub keys: KeysConfig,
    /// How far the provider's clock may be ahead of ours.
    pub leeway: Duration,
    pub roles: Vec<Role>,
    pub policy: LoginPolicy,
    /// How fast all of its logins may go together, and each of them.
    pub rates: RateRules,
}

/// An identity provider, with its keys.
pub struct Provider {
    pub config: ProviderConfig,
    pub keys: Keys,
}

impl Provider {
    /// Takes over the keys of the provider that had this name before, if they come from the same place.
    pub fn new(config: ProviderConfig, predecessor: Option<&Self>) -> Self {
        let keys = Keys::new(&config.name, config.keys.clone(), predecessor.map(|old| &old.keys));
        Self { config, keys }
    }

    /// Whether a login says it is one of this provider's, for us.
    pub fn claims_issue_of(&self, jwt: &UntrustedJwt<'_>) -> bool {
        jwt.issuer() == Some(&self.config.issuer) && jwt.is_for(&self.config.audience)
    }

    /// Believes a login or not. An unknown key makes it look for new ones first.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn believe(
        self: &Arc<Self>,
        jwt: &UntrustedJwt<'_>,
        clock: &dyn Clock,
    ) -> Result<Believed, LoginRefusal> {
        let keys = self.keys.usable_or_renewed(clock).await.ok_or(LoginRefusal::Unavailable)?;
        let refusal = match self.verify(jwt, &keys, clock) {
            Ok(verified) => return self.bind(&verified, keys),
            Err(refusal) => refusal,
        };
        let may_have_a_new_key = match refusal {
            JwtRefusal::UnknownKey => true,
            // A provider that names no keys may have changed its only one.
            JwtRefusal::BadSignature => !jwt.names_key(),
            _ => false,
        };
        if !may_have_a_new_key {
            return Err(refusal.into());
        }
        if !self.keys.ask_again(clock).await {
            return Err(LoginRefusal::Unavailable);
        }
        let renewed = self.keys.usable(clock.now()).ok_or(LoginRefusal::Unavailable)?;
        if Arc::ptr_eq(&renewed, &keys) {
            return Err(refusal.into());
        }
        self.bind(&self.verify(jwt, &renewed, clock)?, Arc::clone(&renewed))
    }

    fn verify<'j>(
        &self,
        jwt: &'j UntrustedJwt<'_>,
        keys: &KeySet,
        clock: &dyn Clock,
    ) -> Result<VerifiedJwt<'j>, JwtRefusal> {
        jwt.verify(keys, &self.config.algorithms, self.config.leeway, clock.now().wall)
    }

    /// The client that a login is, with the policy that its claims make.
    fn bind(self: &Arc<Self>, verified: &VerifiedJwt<'_>, keys: Arc<KeySet>) -> Result<Believed, LoginRefusal> {
        let policy = self.config.policy.bind(|name| claim(verified, name)).map_err(LoginRefusal::Subject)?;
        let client = Client {
            name: self.config.name.clone(),
            roles: self.config.roles.clone(),
            policy,
            rates: self.config.rates,
            keys: Vec::new(),
            created_at: None,
        };
        Ok(Believed { provider: Arc::clone(self), keys, times: verified.times(), client: Arc::new(client) })
    }
}

/// A claim as text; whole numbers are written in decimal digits.
fn claim<'v>(verified: &VerifiedJwt<'v>, name: &str) -> Result<Cow<'v, str>, ClaimFault> {
    match verified.claim(name) {
        None | Some(Value::Null) => Err(ClaimFault::Missing),
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Cow::Owned(number.to_string())),
        Some(_) => Err(ClaimFault::Type),
    }
}
