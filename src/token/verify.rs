//! The judge of a token by itself: signature, claims and times. Revocation comes after.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::claims::{Claims, ClaimsError};
use super::codec::UntrustedToken;
use super::id::TokenId;
use super::keyring::{KeyId, Keyring};
use super::names::{CollectionName, Dotfiles};
use crate::clock::UnixMillis;

/// How far `nbf` may lie in the future of a verifier whose clock is behind the minter's.
pub const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(30);

/// What the collection that a link names demands of its tokens.
#[derive(Clone, Copy, Debug)]
pub struct CollectionRules<'a> {
    /// Bound into the signature.
    pub name: CollectionName<'a>,
    /// Longest life, from `iat` to `exp`.
    pub max_ttl: Duration,
    /// Whether dot-led path segments are handed out.
    pub dotfiles: Dotfiles,
    /// How long after a link's end a download that was begun may be gone on with.
    pub resume_grace: Duration,
}

/// The circumstances a token is presented in.
#[derive(Clone, Copy, Debug)]
pub struct Presentation {
    /// The verifier's wall clock.
    pub now: UnixMillis,
    /// The latest `iat` that any clock within the leeway may have given a link by now.
    pub latest_issue: UnixMillis,
    /// Who asks, when that is known for sure; a link bound to networks is refused when it is not.
    pub client_address: Option<IpAddr>,
    /// Whether the request goes on with a download that was begun: only then does a collection's resume grace apply.
    pub resumes: bool,
}

impl Presentation {
    /// By somebody who looks into a link without being its client.
    pub const fn of_an_onlooker(now: UnixMillis, latest_issue: UnixMillis) -> Self {
        Self { now, latest_issue, client_address: None, resumes: false }
    }
}

/// Why a token is refused, whatever the revocation lists say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("no known key has the id in the token")]
    UnknownKey,
    #[error("the token was signed with a retired key")]
    RetiredKey,
    #[error("the signature does not match (altered, another key, or another collection)")]
    BadSignature,
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    #[error("the link lives longer than the collection allows")]
    LifetimeTooLong,
    #[error("the link claims to come from the future")]
    IssuedInTheFuture,
    #[error("the link is not valid yet")]
    NotYetValid,
    #[error("the link may not be used from this network")]
    OutsideNetworks,
    #[error("the link has expired")]
    Expired,
}

impl Refusal {
    /// The word for it in the specification and in inspections.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown-key",
            Self::RetiredKey => "retired-key",
            Self::BadSignature => "bad-signature",
            Self::Claims(ClaimsError::Encoding) => "claims-encoding",
            Self::Claims(ClaimsError::Unknown) => "claims-unknown",
            Self::Claims(ClaimsError::Value) => "claims-value",
            Self::Claims(ClaimsError::Missing) => "claims-missing",
            Self::LifetimeTooLong => "lifetime-too-long",
            Self::IssuedInTheFuture => "issued-in-the-future",
            Self::NotYetValid => "not-yet-valid",
            Self::OutsideNetworks => "outside-networks",
            Self::Expired => "expired",
        }
    }
}

/// A token whose signature, claims and times are right. Whether it was revoked is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedToken<'t> {
    key_id: KeyId,
    id: TokenId,
    collection: CollectionName<'t>,
    claims: Claims<'t>,
}

impl<'t> VerifiedToken<'t> {
    /// The key it was signed with.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Its id.
    pub const fn id(&self) -> TokenId {
        self.id
    }

    /// The collection it is good for.
    pub const fn collection(&self) -> CollectionName<'t> {
        self.collection
    }

    /// What it says.
    pub const fn claims(&self) -> &Claims<'t> {
        &self.claims
    }
}

/// An authentic token and how its times and networks were judged: for inspection, which explains refusals.
pub(crate) struct Examined<'t> {
    pub token: VerifiedToken<'t>,
    pub verdict: Result<(), Refusal>,
}

/// Judges a token: key, signature, claims, life, times, networks, in this order.
///
/// # Errors
/// The first check that fails. Before the signature holds, nothing but version and key id is looked at.
pub fn verify<'t>(
    token: UntrustedToken<'t>,
    rules: CollectionRules<'t>,
    keyring: &Keyring,
    presentation: Presentation,
) -> Result<VerifiedToken<'t>, Refusal> {
    let Examined { token, verdict } = examine(token, rules, keyring, presentation)?;
    verdict.map(|()| token)
}

/// Like [`verify`], but an authentic token is handed back together with the refusal.
pub(crate) fn examine<'t>(
    token: UntrustedToken<'t>,
    rules: CollectionRules<'t>,
    keyring: &Keyring,
    presentation: Presentation,
) -> Result<Examined<'t>, Refusal> {
    let key_id = token.key_id();
    let id = token.token_id();
    let key = keyring.find(key_id).ok_or(Refusal::UnknownKey)?.map_err(|_retired| Refusal::RetiredKey)?;
    let (signed, tag) = token.signed_and_tag();
    if !key.is_authentic(rules.name, signed, tag) {
        return Err(Refusal::BadSignature);
    }
    let bytes = token.into_claims();
    key.apply_keystream(id, bytes);
    let claims = Claims::decode(bytes, rules.dotfiles)?;
    let verdict = judge(&claims, rules, presentation);
    let token = VerifiedToken { key_id, id, collection: rules.name, claims };
    Ok(Examined { token, verdict })
}

fn judge(claims: &Claims<'_>, rules: CollectionRules<'_>, presentation: Presentation) -> Result<(), Refusal> {
    outcomes(claims, rules, presentation).into_iter().try_for_each(|(_, outcome)| outcome)
}

/// How an authentic token does in each check of its claims, in the order in which they decide.
pub(crate) fn outcomes(
    claims: &Claims<'_>,
    rules: CollectionRules<'_>,
    presentation: Presentation,
) -> [(&'static str, Result<(), Refusal>); 5] {
    let Presentation { now, latest_issue, client_address, resumes } = presentation;
    let unless = |is_wrong: bool, refusal| if is_wrong { Err(refusal) } else { Ok(()) };
    let life = claims.expires_at.since(claims.issued_at);
    let is_early = claims.not_before.is_some_and(|not_before| not_before > now.plus(NOT_BEFORE_LEEWAY));
    let is_outside =
        !claims.networks.is_empty() && !client_address.is_some_and(|address| claims.networks.contains(address));
    let grace = if resumes { rules.resume_grace } else { Duration::ZERO };
    [
        ("lifetime", unless(life > rules.max_ttl, Refusal::LifetimeTooLong)),
        ("issued_at", unless(claims.issued_at > latest_issue, Refusal::IssuedInTheFuture)),
        ("not_before", unless(is_early, Refusal::NotYetValid)),
        ("networks", unless(is_outside, Refusal::OutsideNetworks)),
        ("expires_at", unless(now >= claims.expires_at.plus(grace), Refusal::Expired)),
    ]
}
