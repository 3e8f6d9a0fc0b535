//! What a client may mint: a wish goes in, claims come out.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use super::claims::{Claims, MAX_DOWNLOADS, MAX_RATE_LIMIT};
use super::features::{Feature, FeatureFault, FeatureRules, Features};
use super::names::{ClientName, ContentType, Disposition, FileName, Invalid, MediaPath, Subject};
use super::networks::{MAX_NETWORKS, Networks};
use super::pattern::PathPattern;
use super::template::UnusableClaim;
use super::verify::CollectionRules;
use crate::clock::UnixMillis;

/// When a link shall end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After this long.
    In(Duration),
    /// At this time.
    At(UnixMillis),
}

/// What a caller asks for, unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub struct MintWish<'a> {
    pub path: &'a str,
    pub expiry: Option<Expiry>,
    pub not_before: Option<UnixMillis>,
    pub subject: Option<&'a str>,
    pub file_name: Option<&'a str>,
    pub disposition: Option<Disposition>,
    pub content_type: Option<&'a str>,
    pub networks: &'a [IpNet],
    pub max_downloads: Option<u64>,
    pub rate_limit: Option<u64>,
}

/// The bounds within which one client mints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MintPolicy {
    /// Collections it may mint for; `None` means every one.
    pub collections: Option<Vec<String>>,
    /// Paths it may mint for; none of them means no path at all.
    pub allow: Vec<PathPattern>,
    /// Longest life it may ask for, on top of the collection's own bound.
    pub max_ttl: Option<Duration>,
    /// Life when it asks for none, instead of the collection's default.
    pub default_ttl: Option<Duration>,
    /// What a link must and may have.
    pub features: FeatureRules,
    /// Whom every link is for; `None` leaves that to the wish. A login has no other subject than its own.
    pub subject: Option<String>,
    /// Why a pattern of a login's policy is not among `allow`: the first claim that could not be used.
    pub unusable: Option<UnusableClaim>,
}

/// Why a link is not minted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MintRefusal {
    #[error("`path` {0}")]
    Path(Invalid),
    #[error("`subject` {0}")]
    Subject(Invalid),
    #[error("`filename` {0}")]
    FileName(Invalid),
    #[error("`content_type` {0}")]
    ContentType(Invalid),
    #[error("`client_networks` may hold at most {MAX_NETWORKS} networks")]
    TooManyNetworks,
    #[error("`max_downloads` must be from 1 to {MAX_DOWNLOADS}")]
    MaxDownloads,
    #[error("`rate_limit` must be from 1 to {MAX_RATE_LIMIT} bytes per second")]
    RateLimit,
    #[error("the link would end before it begins: `expires_in` must be at least 1 second, `expires_at` in the future")]
    AlreadyOver,
    #[error("`not_before` must lie before the link's end")]
    NotBeforeAfterEnd,
    #[error("the link would live longer than the {0} seconds that are allowed here")]
    LifetimeTooLong(u64),
    #[error("the client's policy does not cover this collection")]
    CollectionNotAllowed,
    #[error("the client's policy does not cover this path: no pattern in `allow` matches")]
    PathNotAllowed,
    #[error("the client's policy requires `{}` for every link (`require`)", .0.as_str())]
    FeatureRequired(Feature),
    #[error("the client's policy does not permit `{}` (`permit`)", .0.as_str())]
    FeatureNotPermitted(Feature),
    #[error("no path can be minted for: {0}, and every pattern in `allow` needs a claim")]
    ClaimUnusable(UnusableClaim),
    #[error("a login's links are for its own subject: leave `subject` out, or name the login's own")]
    SubjectNotAllowed,
}

impl MintRefusal {
    /// Whether the wish was well-formed but outside the policy.
    pub const fn is_policy(&self) -> bool {
        self.rule().is_some()
    }

    /// The rule of the policy that is broken, as it is named where the policy is written.
    pub const fn rule(&self) -> Option<&'static str> {
        match self {
            Self::CollectionNotAllowed => Some("collections"),
            Self::PathNotAllowed | Self::ClaimUnusable(_) => Some("allow"),
            Self::SubjectNotAllowed => Some("subject_claim"),
            Self::FeatureRequired(_) => Some("require"),
            Self::FeatureNotPermitted(_) => Some("permit"),
            _ => None,
        }
    }
}

impl MintPolicy {
    /// Every path of every collection: for the operator.
    pub fn unbounded() -> Self {
        Self { allow: vec![PathPattern::anything()], ..Self::default() }
    }

    /// Checks what a wish asks for beyond path and life.
    ///
    /// # Errors
    /// Names the feature that is missing or not permitted.
    pub fn check_features(&self, asked: Features) -> Result<(), MintRefusal> {
        // Nobody asks for a subject that every link has.
        let own = if self.subject.is_some() { Features::of(Feature::Subject) } else { Features::NONE };
        let rules = FeatureRules { permitted: self.features.permitted.with(own), ..self.features };
        rules.check(asked.with(own)).map_err(|fault| match fault {
            FeatureFault::Missing(feature) => MintRefusal::FeatureRequired(feature),
            FeatureFault::Forbidden(feature) => MintRefusal::FeatureNotPermitted(feature),
        })
    }

    /// Checks a wish and turns it into claims. `network_bytes` is where the encoded networks are kept for the
    /// life of the claims; `default_ttl` is the collection's.
    ///
    /// # Errors
    /// The first rule that the wish breaks.
    pub fn grant<'a>(
        &'a self,
        wish: &MintWish<'a>,
        client: ClientName<'a>,
        rules: CollectionRules<'_>,
        default_ttl: Duration,
        now: UnixMillis,
        network_bytes: &'a mut Vec<u8>,
    ) -> Result<Claims<'a>, MintRefusal> {
        let path = MediaPath::parse(wish.path, rules.dotfiles).map_err(MintRefusal::Path)?;
        let subject = wish.subject.or(self.subject.as_deref());
        let subject = subject.map(Subject::parse).transpose().map_err(MintRefusal::Subject)?;
        let file_name = wish.file_name.map(FileName::parse).transpose().map_err(MintRefusal::FileName)?;
        let content_type = wish.content_type.map(ContentType::parse).transpose().map_err(MintRefusal::ContentType)?;
        if wish.networks.len() > MAX_NETWORKS {
            return Err(MintRefusal::TooManyNetworks);
        }
        let max_downloads = match wish.max_downloads {
            None => None,
            Some(wanted) => {
                let within = u32::try_from(wanted).ok().filter(|wanted| *wanted <= MAX_DOWNLOADS);
                Some(within.and_then(NonZeroU32::new).ok_or(MintRefusal::MaxDownloads)?)
            }
        };
        let rate_limit = match wish.rate_limit {
            None => None,
            Some(wanted) if wanted > MAX_RATE_LIMIT => return Err(MintRefusal::RateLimit),
            Some(wanted) => Some(NonZeroU64::new(wanted).ok_or(MintRefusal::RateLimit)?),
        };
        self.allows(rules.name.as_str(), path, subject)?;
        let max_ttl = self.max_ttl(rules);
        let expires_at = match wish.expiry {
            Some(Expiry::At(time)) => time,
            Some(Expiry::In(life)) => now.plus(life),
            None => now.plus(self.default_ttl.unwrap_or(default_ttl).min(max_ttl)),
        };
        if expires_at <= now {
            return Err(MintRefusal::AlreadyOver);
        }
        if expires_at.since(now) > max_ttl {
            return Err(MintRefusal::LifetimeTooLong(max_ttl.as_secs()));
        }
        if wish.not_before.is_some_and(|not_before| not_before >= expires_at) {
            return Err(MintRefusal::NotBeforeAfterEnd);
        }
        *network_bytes = Networks::encode(wish.networks);
        Ok(Claims {
            client,
            subject,
            expires_at,
            not_before: wish.not_before,
            issued_at: now,
            path,
            file_name,
            disposition: wish.disposition,
            content_type,
            networks: Networks::parse(network_bytes).unwrap_or_default(),
            max_downloads,
            rate_limit,
        })
    }

    /// The longest life it grants in a collection.
    pub fn max_ttl(&self, rules: CollectionRules<'_>) -> Duration {
        self.max_ttl.map_or(rules.max_ttl, |own| own.min(rules.max_ttl))
    }

    /// Whether it says anything about links of a collection.
    pub fn covers_collection(&self, collection: &str) -> bool {
        self.collections.as_ref().is_none_or(|names| names.iter().any(|name| name == collection))
    }

    fn allows(&self, collection: &str, path: MediaPath<'_>, subject: Option<Subject<'_>>) -> Result<(), MintRefusal> {
        if !self.covers_collection(collection) {
            return Err(MintRefusal::CollectionNotAllowed);
        }
        if !self.allow.iter().any(|pattern| pattern.matches(path.as_str())) {
            return Err(match &self.unusable {
                Some(unusable) if self.allow.is_empty() => MintRefusal::ClaimUnusable(unusable.clone()),
                _ => MintRefusal::PathNotAllowed,
            });
        }
        if self.subject.as_deref().is_some_and(|own| subject.map(Subject::as_str) != Some(own)) {
            return Err(MintRefusal::SubjectNotAllowed);
        }
        Ok(())
    }
}
