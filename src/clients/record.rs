//! A client as it is written down: in the configuration, in the client file, in Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Client, KeyHash, Role};
use crate::token::{ClientName, CollectionName, LoginPolicy, MintPolicy, PathPattern, PathTemplate, PatternError};

/// A client in plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    pub roles: Vec<Role>,
    #[serde(default)]
    pub policy: PolicyRecord,
    pub key_hashes: Vec<String>,
}

/// A policy in plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<String>>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<u64>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_ttl: Option<u64>,
}

/// Why a record is no client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("a client's name is 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first")]
    Name,
    #[error("a client needs at least one role: mint, inspect, revoke or admin")]
    NoRole,
    #[error("a client that mints needs at least one pattern in `allow`, such as \"users/42/**\" or \"**\"")]
    NothingAllowed,
    #[error("the pattern {0:?} in `allow`: {1}")]
    Pattern(String, PatternError),
    #[error("{0:?} is not the name of a collection")]
    Collection(String),
    #[error("a client needs at least one key hash")]
    NoKey,
    #[error("a key hash is \"sha256:\" and 64 hexadecimal digits")]
    KeyHash,
    #[error("`max_ttl` and `default_ttl` must be at least one second, and `default_ttl` at most `max_ttl`")]
    Ttl,
}

impl ClientRecord {
    /// # Errors
    /// The first thing that is wrong with the record.
    pub fn build(&self, name: &str) -> Result<Client, RecordError> {
        ClientName::parse(name).map_err(|_| RecordError::Name)?;
        if self.roles.is_empty() {
            return Err(RecordError::NoRole);
        }
        let policy = self.policy.build()?;
        let mints = self.roles.contains(&Role::Mint) || self.roles.contains(&Role::Admin);
        if policy.allow.is_empty() && mints {
            return Err(RecordError::NothingAllowed);
        }
        let key_hashes: Vec<KeyHash> = self
            .key_hashes
            .iter()
            .map(|hash| hash.parse().map_err(|()| RecordError::KeyHash))
            .collect::<Result<_, _>>()?;
        if key_hashes.is_empty() {
            return Err(RecordError::NoKey);
        }
        Ok(Client { name: name.to_owned(), roles: self.roles.clone(), policy, key_hashes })
    }
}

impl PolicyRecord {
    /// # Errors
    /// The first thing that is wrong with the record.
    pub fn build(&self) -> Result<MintPolicy, RecordError> {
        let parse_pattern =
            |text: &String| PathPattern::parse(text).map_err(|error| RecordError::Pattern(text.clone(), error));
        let allow: Vec<_> = self.allow.iter().map(parse_pattern).collect::<Result<_, _>>()?;
        for collection in self.collections.iter().flatten() {
            CollectionName::parse(collection).map_err(|_| RecordError::Collection(collection.clone()))?;
        }
        let is_inverted = self.default_ttl.zip(self.max_ttl).is_some_and(|(default, max)| default > max);
        if is_inverted || self.default_ttl == Some(0) || self.max_ttl == Some(0) {
            return Err(RecordError::Ttl);
        }
        Ok(MintPolicy {
            collections: self.collections.clone(),
            allow,
            max_ttl: self.max_ttl.map(Duration::from_secs),
            default_ttl: self.default_ttl.map(Duration::from_secs),
            ..MintPolicy::default()
        })
    }

    /// The policy of a provider's logins, whose patterns may name claims.
    ///
    /// # Errors
    /// The first thing that is wrong with the record.
    pub fn build_for_logins(&self, subject_claim: &str) -> Result<LoginPolicy, RecordError> {
        let parse =
            |text: &String| PathTemplate::parse(text).map_err(|error| RecordError::Pattern(text.clone(), error));
        let allow = self.allow.iter().map(parse).collect::<Result<_, _>>()?;
        let bounds = Self { allow: Vec::new(), ..self.clone() }.build()?;
        Ok(LoginPolicy { allow, bounds, subject_claim: subject_claim.into() })
    }
}
