//! A client as it is written down: in the configuration, in the client file, in Redis, in the API.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::api_key::ClientKey;
use super::limiter::{Limit, RateRules};
use super::names::{RESERVED, is_reserved};
use super::rates::{MAX_RATE, Quota};
use super::{Client, Role};
use crate::clock::Rfc3339;
use crate::token::{
    ClientName, CollectionName, Feature, FeatureRules, Features, LoginPolicy, MintPolicy, PathPattern, PathTemplate,
    PatternError,
};

/// A client in plain values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    pub roles: Vec<Role>,
    #[serde(default)]
    pub policy: PolicyRecord,
    pub keys: Vec<KeyRecord>,
    /// When it was added; not known of clients in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Rfc3339>,
}

/// A key in plain values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    pub hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Rfc3339>,
}

/// What a client may ask for. `null` is the same as leaving a field out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Policy)]
pub struct PolicyRecord {
    /// Paths it may make links for: `*` is one segment, `**` any number.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub allow: Vec<String>,
    /// Collections it may make links for; all of them by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<String>>,
    /// Longest life of its links, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_ttl: Option<u64>,
    /// Life of its links when it asks for none, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub default_ttl: Option<u64>,
    /// What every link must have.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub require: Vec<Feature>,
    /// What a link may have; everything by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Vec<Feature>>,
    /// Requests a second that each instance takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests_per_second: Option<u64>,
    /// How many of them at once; one second's worth by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests_burst: Option<u64>,
    /// Links a second that each instance makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub links_per_second: Option<u64>,
    /// How many of them at once, so also the largest batch; one second's worth by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub links_burst: Option<u64>,
    /// Links a second for each subject by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub subject_links_per_second: Option<u64>,
    /// How many of them at once; one second's worth by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub subject_links_burst: Option<u64>,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Why a record is no client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("a client's name is 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first")]
    Name,
    #[error("the name {0} stands for Linkgate itself or its operator (reserved: {list}); choose another", list = RESERVED.join(", "))]
    Reserved(String),
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
    #[error("`{}` is required and not permitted: no link could be made; put it into `permit`, too", .0.as_str())]
    Contradiction(Feature),
    #[error("`{0}` must be a whole number from 1 to {MAX_RATE}")]
    Rate(&'static str),
    #[error("`{0}` goes with `{1}`")]
    BurstAlone(&'static str, &'static str),
}

impl RecordError {
    /// The field of a request that is at fault, where one is.
    pub fn field(&self) -> Option<String> {
        let name = match self {
            Self::Name | Self::Reserved(_) => "name",
            Self::NoRole => "roles",
            Self::NothingAllowed | Self::Pattern(..) => "policy.allow",
            Self::Collection(_) => "policy.collections",
            Self::Ttl => "policy.max_ttl",
            Self::Contradiction(_) => "policy.require",
            Self::Rate(rule) | Self::BurstAlone(rule, _) => return Some(format!("policy.{rule}")),
            Self::NoKey | Self::KeyHash => return None,
        };
        Some(name.to_owned())
    }
}

impl ClientRecord {
    /// # Errors
    /// The first thing that is wrong with the record.
    pub fn build(&self, name: &str) -> Result<Client, RecordError> {
        check_name(name)?;
        if self.roles.is_empty() {
            return Err(RecordError::NoRole);
        }
        let policy = self.policy.build()?;
        let mints = self.roles.contains(&Role::Mint) || self.roles.contains(&Role::Admin);
        if policy.allow.is_empty() && mints {
            return Err(RecordError::NothingAllowed);
        }
        let key = |key: &KeyRecord| {
            let hash = key.hash.parse().map_err(|()| RecordError::KeyHash)?;
            Ok(ClientKey::new(hash, key.created_at.map(|time| time.0)))
        };
        let keys = self.keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Client {
            name: name.to_owned(),
            roles: self.roles.clone(),
            policy,
            rates: self.policy.rates()?,
            keys,
            created_at: self.created_at.map(|time| time.0),
        })
    }
}

/// Checks a name that a client or an identity provider is to have.
///
/// # Errors
/// When it is none, or is reserved.
pub fn check_name(name: &str) -> Result<(), RecordError> {
    ClientName::parse(name).map_err(|_| RecordError::Name)?;
    if is_reserved(name) { Err(RecordError::Reserved(name.to_owned())) } else { Ok(()) }
}

/// What a client that is in force would be written down as.
impl From<&Client> for ClientRecord {
    fn from(client: &Client) -> Self {
        let key = |key: &ClientKey| KeyRecord { hash: key.hash.to_string(), created_at: key.created_at.map(Rfc3339) };
        Self {
            roles: client.roles.clone(),
            policy: PolicyRecord::new(&client.policy, &client.rates),
            keys: client.keys.iter().map(key).collect(),
            created_at: client.created_at.map(Rfc3339),
        }
    }
}

impl PolicyRecord {
    fn new(policy: &MintPolicy, rates: &RateRules) -> Self {
        let FeatureRules { required, permitted } = policy.features;
        let rate = |quota: Option<Quota>| quota.map(|quota| u64::from(quota.per_second()));
        let burst = |quota: Option<Quota>| {
            quota.filter(|quota| quota.burst() != quota.per_second()).map(|quota| u64::from(quota.burst()))
        };
        Self {
            allow: policy.allow.iter().map(ToString::to_string).collect(),
            collections: policy.collections.clone(),
            max_ttl: policy.max_ttl.map(|span| span.as_secs()),
            default_ttl: policy.default_ttl.map(|span| span.as_secs()),
            require: required.iter().collect(),
            permit: (permitted != Features::ALL).then(|| permitted.iter().collect()),
            requests_per_second: rate(rates.requests),
            requests_burst: burst(rates.requests),
            links_per_second: rate(rates.links),
            links_burst: burst(rates.links),
            subject_links_per_second: rate(rates.subject_links),
            subject_links_burst: burst(rates.subject_links),
        }
    }

    /// What may be minted.
    ///
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
        let features = FeatureRules {
            required: self.require.iter().copied().collect(),
            permitted: self.permit.as_ref().map_or(Features::ALL, |permit| permit.iter().copied().collect()),
        };
        if let Some(feature) = features.required.first_not_in(features.permitted) {
            return Err(RecordError::Contradiction(feature));
        }
        Ok(MintPolicy {
            collections: self.collections.clone(),
            allow,
            max_ttl: self.max_ttl.map(Duration::from_secs),
            default_ttl: self.default_ttl.map(Duration::from_secs),
            features,
            ..MintPolicy::default()
        })
    }

    /// How fast.
    ///
    /// # Errors
    /// The first rate that is none.
    pub fn rates(&self) -> Result<RateRules, RecordError> {
        Ok(RateRules {
            requests: quota(Limit::Requests, self.requests_per_second, self.requests_burst)?,
            subject_requests: None,
            links: quota(Limit::Links, self.links_per_second, self.links_burst)?,
            subject_links: quota(Limit::SubjectLinks, self.subject_links_per_second, self.subject_links_burst)?,
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

/// One limit, if it is set.
///
/// # Errors
/// When a number is out of range, or there is a burst and no rate.
pub fn quota(limit: Limit, per_second: Option<u64>, burst: Option<u64>) -> Result<Option<Quota>, RecordError> {
    match (per_second, burst) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RecordError::BurstAlone(limit.burst_rule(), limit.rule())),
        (Some(rate), burst) => {
            let wrong = if Quota::new(rate, None).is_none() { limit.rule() } else { limit.burst_rule() };
            Quota::new(rate, burst).map(Some).ok_or(RecordError::Rate(wrong))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(policy: PolicyRecord) -> ClientRecord {
        let key = KeyRecord { hash: format!("sha256:{}", "0a".repeat(32)), created_at: None };
        ClientRecord {
            roles: vec![Role::Mint],
            policy: PolicyRecord { allow: vec!["**".into()], ..policy },
            keys: vec![key],
            created_at: None,
        }
    }

    #[test]
    fn what_is_in_force_is_written_as_it_was() {
        let policy = PolicyRecord {
            collections: Some(vec!["image".into()]),
            max_ttl: Some(3600),
            default_ttl: Some(60),
            require: vec![Feature::Subject],
            permit: Some(vec![Feature::Subject, Feature::Stable]),
            requests_per_second: Some(10),
            requests_burst: Some(50),
            links_per_second: Some(100),
            subject_links_per_second: Some(1),
            subject_links_burst: Some(20),
            ..PolicyRecord::default()
        };
        let written = record(policy);
        assert_eq!(ClientRecord::from(&written.build("a").unwrap()), written);
        let bare = record(PolicyRecord::default());
        assert_eq!(ClientRecord::from(&bare.build("a").unwrap()), bare);
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<ClientRecord>(&text).unwrap(), written);
    }

    #[test]
    fn a_record_that_makes_no_sense_says_why() {
        let wrong = |policy: PolicyRecord| record(policy).build("a").unwrap_err();
        let none = PolicyRecord::default;
        assert_eq!(
            wrong(PolicyRecord { require: vec![Feature::Stable], permit: Some(vec![]), ..none() }),
            RecordError::Contradiction(Feature::Stable)
        );
        for number in [0, 1_000_001, u64::MAX] {
            let rate = PolicyRecord { links_per_second: Some(number), ..none() };
            assert_eq!(wrong(rate), RecordError::Rate("links_per_second"));
            let burst = PolicyRecord { requests_per_second: Some(1), requests_burst: Some(number), ..none() };
            assert_eq!(wrong(burst), RecordError::Rate("requests_burst"));
        }
        assert_eq!(
            wrong(PolicyRecord { subject_links_burst: Some(1), ..none() }),
            RecordError::BurstAlone("subject_links_burst", "subject_links_per_second")
        );
    }

    #[test]
    fn no_client_may_be_called_what_stands_for_linkgate_or_its_operator() {
        for name in RESERVED.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]) {
            assert_eq!(record(PolicyRecord::default()).build(&name).unwrap_err(), RecordError::Reserved(name.clone()));
            assert_eq!(check_name(&name), Err(RecordError::Reserved(name)));
        }
        for name in ["operators", "linkgate-2", "admin", "app"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-", "!", "#", "a:b", ".", "a/b"] {
            assert_eq!(check_name(name), Err(RecordError::Name), "{name}");
        }
    }

    #[test]
    fn a_record_is_read_strictly() {
        for text in [
            r#"{"roles":["mint"]}"#,
            r#"{"roles":["king"],"keys":[]}"#,
            r#"{"roles":["mint"],"keys":[],"extra":1}"#,
            r#"{"roles":["mint"],"keys":[{"hash":"x","name":"y"}]}"#,
            r#"{"roles":["mint"],"keys":[],"policy":{"alow":["**"]}}"#,
            r#"{"roles":["mint"],"keys":[],"policy":{"require":["wings"]}}"#,
        ] {
            assert!(serde_json::from_str::<ClientRecord>(text).is_err(), "{text}");
        }
        let nulls = r#"{"roles":["mint"],"keys":[],"policy":{"allow":null,"require":null,"max_ttl":null}}"#;
        assert_eq!(serde_json::from_str::<ClientRecord>(nulls).unwrap().policy, PolicyRecord::default());
    }
}
