//! A new link for an old one: the same wishes, a new life.

use std::time::Duration;

use thiserror::Error;

use super::{Awaits, Dates, Link, MintError, MintRequest, Signing};
use crate::clock::{Rfc3339, UnixMillis};
use crate::collection::Collection;
use crate::revocation::{Kind, RevocationView, covers};
use crate::token::{Claims, Examined, Keyring, MintPolicy, Presentation, Refusal, Subject, VerifiedToken, is_stable};

/// Why a link is not refreshed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RefreshError {
    #[error("this is no link of ours, or its signature does not hold: {0}")]
    Invalid(&'static str),
    #[error("the link was minted by another client, or for somebody else: only its own may refresh it")]
    Foreign,
    #[error("the link was minted before the client of this name was added, by another that had it: mint a new one")]
    Predecessor,
    #[error("the link ended more than {0} seconds ago: mint a new one")]
    LongExpired(u64),
    #[error("the link was withdrawn (revocation of kind `{0}`): a refresh does not bring it back")]
    Revoked(Kind),
    #[error("the link counts its downloads, and a new one would begin to count anew: mint one instead")]
    Counted,
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl Awaits for RefreshError {
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis> {
        match self {
            Self::Mint(error) => error.awaits(most),
            _ => None,
        }
    }
}

/// Who wants a link refreshed.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    pub client: &'a str,
    pub policy: &'a MintPolicy,
    /// Since when there is this client of its name, where that is known.
    pub since: Option<UnixMillis>,
}

impl Signing {
    /// Makes a new link with everything that an authentic one of the same client asks for; it may have ended at most
    /// `grace` ago. `life` is the new one's, the old one's when there is none. A stable link is followed by a stable one.
    ///
    /// # Errors
    /// The first thing that stands against it.
    pub fn refresh(
        &self,
        link: &str,
        owner: Owner<'_>,
        life: Option<u64>,
        grace: Duration,
        revocations: &dyn RevocationView,
        dates: Dates,
    ) -> Result<Link, RefreshError> {
        let keyring = self.keyring.load();
        let now = dates.now;
        let presentation = Presentation::of_an_onlooker(now, dates.latest_issue);
        let old = self.authentic(link, &keyring, presentation, |old, collection| {
            judge(old, owner, &keyring, grace, revocations, now)?;
            Ok(request(&old.token, collection, &keyring, owner.policy, life, now))
        });
        let request = old.unwrap_or(Err(RefreshError::Invalid("the signature does not match")))?;
        Ok(self.mint(&request, owner.client, owner.policy, revocations, dates)?)
    }
}

/// Whether a link may have a successor.
fn judge(
    old: &Examined<'_>,
    owner: Owner<'_>,
    keyring: &Keyring,
    grace: Duration,
    revocations: &dyn RevocationView,
    now: UnixMillis,
) -> Result<(), RefreshError> {
    let claims = old.token.claims();
    let is_own = owner.policy.subject.as_deref().is_none_or(|own| claims.subject.map(Subject::as_str) == Some(own));
    if claims.client.as_str() != owner.client || !is_own {
        return Err(RefreshError::Foreign);
    }
    if owner.since.is_some_and(|since| latest_minting(&old.token, keyring) < since) {
        return Err(RefreshError::Predecessor);
    }
    match old.verdict {
        Ok(()) | Err(Refusal::NotYetValid | Refusal::OutsideNetworks | Refusal::Expired) => {}
        Err(refusal) => return Err(RefreshError::Invalid(refusal.name())),
    }
    if now >= claims.expires_at.plus(grace) {
        return Err(RefreshError::LongExpired(grace.as_secs()));
    }
    if let Some(kind) = covers(revocations, &old.token) {
        return Err(RefreshError::Revoked(kind));
    }
    if claims.max_downloads.is_some() {
        return Err(RefreshError::Counted);
    }
    Ok(())
}

/// When a link was made at the latest, by its own word. A stable one counts as issued when its window began, which ends
/// before half of the link's life is over: it is the same link each time within.
fn latest_minting(token: &VerifiedToken<'_>, keyring: &Keyring) -> UnixMillis {
    let Claims { issued_at, expires_at, .. } = *token.claims();
    if is_stable(keyring, token) { issued_at.plus(expires_at.since(issued_at) / 2) } else { issued_at }
}

/// The request that would have made the link, with a life that begins now.
fn request(
    old: &VerifiedToken<'_>,
    collection: &Collection,
    keyring: &Keyring,
    policy: &MintPolicy,
    life: Option<u64>,
    now: UnixMillis,
) -> MintRequest {
    let Claims { path, subject, file_name, disposition, content_type, networks, rate_limit, .. } = *old.claims();
    let lived = old.claims().expires_at.since(old.claims().issued_at).min(policy.max_ttl(collection.rules()));
    MintRequest {
        path: path.as_str().to_owned(),
        collection: Some(collection.name().as_str().to_owned()),
        expires_in: Some(life.unwrap_or(lived.as_secs().max(1))),
        expires_at: None,
        not_before: old.claims().not_before.filter(|begin| *begin > now).map(Rfc3339),
        subject: subject.map(|subject| subject.as_str().to_owned()),
        filename: file_name.map(|name| name.as_str().to_owned()),
        disposition,
        content_type: content_type.map(|kind| kind.as_str().to_owned()),
        client_networks: (!networks.is_empty()).then(|| networks.iter().map(|network| network.to_string()).collect()),
        max_downloads: None,
        rate_limit: rate_limit.map(std::num::NonZero::get),
        stable: Some(is_stable(keyring, old)),
    }
}
