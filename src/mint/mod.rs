//! Making links: from a request, through a client's policy and the revocations, to a URL.

mod identify;
mod refresh;
mod stable;

use std::collections::BTreeMap;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

pub use self::identify::Identified;
pub use self::refresh::{Owner, RefreshError};
use crate::clock::{Rfc3339, UnixMillis};
use crate::collection::Collection;
use crate::entropy;
use crate::revocation::{Bearings, Bounds, Kind, RevocationView, covering, issue_time};
use crate::token::{
    ClientName, Disposition, Expiry, Feature, Features, Keyring, MAX_TOKEN_CHARS, MintPolicy, MintRefusal, MintWish,
    Subject, parse_network, seal,
};

/// Most links in one batch.
pub const MAX_BATCH: usize = 1000;
/// The collection of a request that names none.
pub const DEFAULT_COLLECTION: &str = "image";

/// The times by which links are made.
#[derive(Clone, Copy, Debug)]
pub struct Dates {
    pub now: UnixMillis,
    /// The latest issue that a link may be given ahead of now, so that whatever is revoked afterwards reaches it.
    pub horizon: UnixMillis,
    /// The latest issue of a link that counts as made by now.
    pub latest_issue: UnixMillis,
}

impl Dates {
    /// By one's own clock alone: no link is dated ahead of it.
    pub const fn at(now: UnixMillis) -> Self {
        Self { now, horizon: now, latest_issue: now }
    }
}

/// What minting needs.
pub struct Signing {
    pub keyring: ArcSwap<Keyring>,
    pub collections: BTreeMap<String, Collection>,
    /// What links start with; no slash at the end.
    pub public_url: String,
    pub bounds: Bounds,
}

/// A request for a link, as it stands in JSON.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// The file, relative to its collection's root: 1 to 1024 bytes of UTF-8, matched byte for byte. Refused, never
    /// repaired: a `/` at either end, an empty, `.` or `..` segment, a segment that starts with `.` (unless the collection
    /// allows it), a backslash, a control character.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f]+(/[^/\\\u0000-\u001f\u007f-\u009f]+)*$"
    )]
    pub path: String,
    /// A collection of the configuration; `image` when left out.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    pub collection: Option<String>,
    /// Life of the link in seconds, at most `max_ttl` of collection and policy. Otherwise the policy's, else the
    /// collection's `default_ttl`.
    #[schema(minimum = 1)]
    pub expires_in: Option<u64>,
    /// The end of the link's life as a time; give one of the two.
    pub expires_at: Option<Rfc3339>,
    /// From when on the link works, give or take 30 seconds for clocks that disagree. At once when left out.
    pub not_before: Option<Rfc3339>,
    /// Whom the link is for, 1 to 128 bytes without control characters: what you will want to revoke by.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    pub subject: Option<String>,
    /// The name offered for saving: 1 to 255 bytes, no `/`, backslash, control or direction-changing character. The last
    /// segment of `path` when left out.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+$"
    )]
    pub filename: Option<String>,
    /// Whether a browser saves or shows the file; otherwise the collection's.
    pub disposition: Option<Disposition>,
    /// A media type, at most 127 bytes. Guessed by the edge when left out.
    #[schema(max_length = 127, pattern = "^[^/; ]+/[^/; ]+ *(;.*)?$", examples("image/jpeg"))]
    pub content_type: Option<String>,
    /// Networks or addresses the link may be used from; from anywhere when left out.
    #[schema(max_items = 16, examples("203.0.113.0/24", "2001:db8::/56"))]
    pub client_networks: Option<Vec<String>>,
    /// How many downloads the link is good for; any number when left out.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_downloads: Option<u64>,
    /// How fast it may be downloaded, in bytes per second; as fast as it goes when left out.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    pub rate_limit: Option<u64>,
    /// Whether the same request gives the same URL for half of the life that is asked for, so that caches hit.
    pub stable: Option<bool>,
}

impl MintRequest {
    /// What it asks for beyond path and life. An empty list and `false` ask for nothing.
    pub fn features(&self) -> Features {
        let asked = |feature| match feature {
            Feature::NotBefore => self.not_before.is_some(),
            Feature::Subject => self.subject.is_some(),
            Feature::Filename => self.filename.is_some(),
            Feature::Disposition => self.disposition.is_some(),
            Feature::ContentType => self.content_type.is_some(),
            Feature::ClientNetworks => self.client_networks.as_ref().is_some_and(|networks| !networks.is_empty()),
            Feature::MaxDownloads => self.max_downloads.is_some(),
            Feature::RateLimit => self.rate_limit.is_some(),
            Feature::Stable => self.stable == Some(true),
        };
        Feature::ALL.into_iter().filter(|feature| asked(*feature)).collect()
    }
}

/// A link, as it is answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Link {
    /// What to hand out. A credential until it is over: keep it out of logs.
    #[schema(format = "uri")]
    pub url: String,
    /// The last segment of the URL.
    #[schema(max_length = 2048, pattern = "^[A-Za-z0-9_-]+$")]
    pub token: String,
    /// Names the link in logs and revocations; cannot be used to download.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    pub id: String,
    /// Its collection.
    pub collection: String,
    /// Its file.
    pub path: String,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub subject: Option<String>,
    /// When it was made. May lie a little ahead when something that covers the link was revoked a moment ago.
    pub issued_at: Rfc3339,
    /// When it ends.
    pub expires_at: Rfc3339,
    /// When an app should ask for a new link, so that a picture never breaks on screen.
    pub refresh_after: Rfc3339,
}

/// Why no link was made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MintError {
    #[error("there is no collection of that name here")]
    UnknownCollection,
    #[error("give either `expires_in` or `expires_at`, not both")]
    TwoExpiries,
    #[error("{0:?} in `client_networks` is not a network such as \"203.0.113.0/24\" or \"2001:db8::/56\"")]
    Network(String),
    #[error(transparent)]
    Refused(#[from] MintRefusal),
    #[error("a standing revocation of kind `{0}` covers such a link; reinstate it first")]
    Covered(Kind),
    #[error("a revocation of kind `{kind}` that reaches further ahead than a link can be dated covers such a link")]
    Ahead {
        kind: Kind,
        /// When the link would count as issued.
        date: UnixMillis,
    },
    #[error("the link's token would be longer than {MAX_TOKEN_CHARS} characters")]
    TooLong,
}

/// What came of making links, which may be too early for some.
pub trait Awaits {
    /// The issue time, the latest up to `most`, that the horizon must have come to before more can be made.
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis>;
}

impl Awaits for MintError {
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Ahead { date, .. } => Some(*date).filter(|date| *date <= most),
            _ => None,
        }
    }
}

impl<T, E: Awaits> Awaits for Result<T, E> {
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis> {
        self.as_ref().err()?.awaits(most)
    }
}

impl<T: Awaits> Awaits for Vec<T> {
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis> {
        self.iter().filter_map(|made| made.awaits(most)).max()
    }
}

impl Signing {
    /// Makes a link.
    ///
    /// # Errors
    /// The first thing that stands against it.
    pub fn mint(
        &self,
        request: &MintRequest,
        client: &str,
        policy: &MintPolicy,
        revocations: &dyn RevocationView,
        dates: Dates,
    ) -> Result<Link, MintError> {
        let now = dates.now;
        policy.check_features(request.features())?;
        let name = request.collection.as_deref().unwrap_or(DEFAULT_COLLECTION);
        // Which collections there are is no business of a login that may not use them.
        if policy.subject.is_some() && !policy.covers_collection(name) {
            return Err(MintRefusal::CollectionNotAllowed.into());
        }
        let collection = self.collections.get(name).ok_or(MintError::UnknownCollection)?;
        let networks = networks(request.client_networks.as_deref().unwrap_or_default())?;
        let wish = MintWish {
            path: &request.path,
            expiry: match (request.expires_in, request.expires_at) {
                (Some(_), Some(_)) => return Err(MintError::TwoExpiries),
                (Some(seconds), None) => Some(Expiry::In(Duration::from_secs(seconds))),
                (None, Some(time)) => Some(Expiry::At(time.0)),
                (None, None) => None,
            },
            not_before: request.not_before.map(|time| time.0),
            subject: request.subject.as_deref(),
            file_name: request.filename.as_deref(),
            disposition: request.disposition,
            content_type: request.content_type.as_deref(),
            networks: &networks,
            max_downloads: request.max_downloads,
            rate_limit: request.rate_limit,
        };
        let client = ClientName::parse(client).map_err(|_| MintRefusal::CollectionNotAllowed)?;
        let mut network_bytes = Vec::new();
        let mut claims =
            policy.grant(&wish, client, collection.rules(), collection.default_ttl, now, &mut network_bytes)?;

        let keyring = self.keyring.load();
        let bearings = Bearings {
            key: keyring.active_id(),
            client: client.as_str(),
            subject: claims.subject.map(Subject::as_str),
            collection: collection.name().as_str(),
            path: claims.path.as_str(),
        };
        let id = if request.stable == Some(true) {
            let max_ttl = policy.max_ttl(collection.rules());
            let (signing, revoked) = ((&**keyring, collection.name()), (revocations, bearings));
            stable::settle(&mut claims, wish.expiry, max_ttl, signing, revoked)?
        } else {
            let issued_at = issue_time(revocations, bearings, now).map_err(MintError::Covered)?;
            if request.expires_at.is_none() {
                // A life that was asked for begins when the link counts as issued.
                claims.expires_at = claims.expires_at.plus(issued_at.since(now));
            }
            claims.issued_at = issued_at;
            entropy::token_id()
        };
        // Whatever moved it ahead: later than this, a revocation that comes after it might not reach it.
        if claims.issued_at > now.max(dates.horizon) {
            let kind = covering(revocations, bearings).map_or(Kind::Link, |(kind, _)| kind);
            return Err(MintError::Ahead { kind, date: claims.issued_at });
        }
        let token = seal(&keyring, collection.name(), id, &claims).map_err(|_| MintError::TooLong)?;
        Ok(Link {
            url: self.url(collection, &token),
            token,
            id: id.to_string(),
            collection: collection.name().as_str().to_owned(),
            path: request.path.clone(),
            subject: claims.subject.map(|subject| subject.as_str().to_owned()),
            issued_at: Rfc3339(claims.issued_at),
            expires_at: Rfc3339(claims.expires_at),
            refresh_after: Rfc3339(refresh_after(claims.issued_at, claims.expires_at)),
        })
    }

    /// The address of a token.
    pub fn url(&self, collection: &Collection, token: &str) -> String {
        format!("{}/download/{}/{token}", self.public_url, collection.name().as_str())
    }
}

/// Three quarters into the life: early enough that a slow phone still shows the picture.
fn refresh_after(issued: UnixMillis, expires: UnixMillis) -> UnixMillis {
    issued.plus(expires.since(issued) / 4 * 3)
}

fn networks(list: &[String]) -> Result<Vec<IpNet>, MintError> {
    let parse = |text: &String| parse_network(text).ok_or_else(|| MintError::Network(text.chars().take(64).collect()));
    list.iter().map(parse).collect()
}
