//! What a store of revocations promises, and what it can tell.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;

use super::judge::Tally;
use super::questions::{Answers, Questions};
use super::{IssuedBefore, ListQuery, Page, Proposal, Revocation, RevocationId, Target};
use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::token::TokenId;

/// Where revocations are kept for good.
///
/// A store also keeps an [`Index`](super::Index) up to date; the index that it was made with shows a revocation once
/// [`RevocationStore::revoke`] has answered.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Records a revocation and makes it bite. Asking twice records it twice, which does no harm. With `wait`, answers
    /// once every verifier that is alive has applied it, or when that time is over.
    ///
    /// The store decides by its own time: two revocations "until now" cannot pass each other, nor a link that was dated
    /// before.
    async fn revoke(&self, proposal: Proposal, wait: Option<Duration>) -> Result<Recorded, StoreError>;

    /// Waits until the store's time has come so far, and sees to it that it never goes back behind that.
    async fn reach(&self, time: UnixMillis) -> Result<(), StoreError>;

    /// What the store's clock shows now.
    async fn clock(&self) -> Result<UnixMillis, StoreError>;

    /// Lifts a revocation; others that cover the same target go on biting. `None` when there is none of that id.
    async fn reinstate(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError>;

    /// Sees to it that a revocation which was answered before takes effect here as well, as if it had just been recorded.
    /// `false` when it is no longer there.
    async fn uphold(&self, id: &RevocationId) -> Result<bool, StoreError>;

    /// One revocation.
    async fn find(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError>;

    /// The revocation of a target that bites most, if there is any.
    async fn strictest(&self, target: &Target) -> Result<Option<Revocation>, StoreError>;

    /// A page of revocations, newest first.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Answers what one judgement asks, from the store itself.
    async fn ask(&self, questions: &Questions) -> Result<Answers, StoreError>;

    /// Counts a download, atomically.
    async fn count(&self, download: &Download) -> Result<Tally, StoreError>;

    /// Every verifier that has been heard of lately.
    async fn verifiers(&self) -> Result<Vec<Verifier>, StoreError>;

    /// What the keeper of the index is doing right now.
    fn status(&self) -> Status;

    /// Keeps the index fresh; runs for as long as the process does.
    async fn follow(&self);

    /// Says goodbye: the process is about to end.
    async fn close(&self);
}

/// Lifts a revocation and leaves a trace of that, by which a stable link that was covered comes back as another one. The
/// trace reaches as far as "until now" does, for a link may be dated ahead; and it is there first, or a link could come back
/// meanwhile.
///
/// # Errors
/// When the store did not lift it. That no trace could be left is no error: the same link comes back then.
pub async fn lift(store: &dyn RevocationStore, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
    let Some(found) = store.find(id).await? else { return Ok(None) };
    let trace = Proposal {
        id: RevocationId::new(random()),
        kind: found.kind,
        target: Target::Lifted(Box::new(found.target)),
        issued_before: IssuedBefore::Now,
        expires_at: None,
        reason: None,
        created_by: String::new(),
        link_expiry: None,
    };
    if let Err(error) = store.revoke(trace, None).await {
        warn!(%error, %id, "a revocation is lifted without a trace: stable links that it covers come back as they were");
    }
    store.reinstate(id).await
}

/// A revocation that the store has taken, where it stands in the store's order, and how safe it is.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub revocation: Revocation,
    /// Opaque; later ones were recorded later.
    pub position: String,
    pub durability: Durability,
    /// What its safety lacks: it takes effect, but a failover might lose it.
    pub shortfall: Option<Shortfall>,
    /// Where it was waited for: who has applied it.
    pub applied: Option<Applied>,
}

/// What a revocation that was answered survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of any Linkgate, not the sudden end of the store.
    Memory,
    /// The sudden end of the store: it was synced to disk.
    Disk,
    /// The loss of the store's machine, for as long as one of so many replicas is left.
    Replicated(u32),
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Disk => f.write_str("disk"),
            Self::Replicated(count) => write!(f, "replicated({count})"),
        }
    }
}

/// Why a revocation that was recorded may yet be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// So many replicas were to confirm it, and fewer did in time.
    Replicas { wanted: u32, reached: u32 },
    /// No majority of the Sentinels named the server that took it: another one may be the master by now.
    Quorum,
}

/// How far the verifiers that were alive when something was revoked have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Verifiers that were alive.
    pub verifiers: usize,
    /// Those that have applied it.
    pub applied: usize,
    /// From the store's writing it to the last of those having applied it, by the store's clock.
    pub slowest_ms: u64,
    /// Those that have not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One verifier of the fleet, as it last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub id: String,
    pub version: String,
    pub started_at: UnixMillis,
    /// By the store's clock.
    pub last_seen: UnixMillis,
    /// The last position it has applied.
    pub position: String,
    /// How old its revocations were when it reported.
    pub lag_ms: u64,
    /// Writes that the store has taken and it had not applied.
    pub behind: u64,
}

/// A request for a link that counts its downloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    pub link: TokenId,
    pub most: u32,
    pub issued_at: UnixMillis,
    pub expires_at: UnixMillis,
    /// Who asks, where that is known: what the same client asks again within the session window is no new download.
    pub client: Option<String>,
    /// Whether this request begins a download; a HEAD only asks whether one could.
    pub begins: bool,
}

/// What a store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why revocations are not followed, when they are not.
    pub trouble: Option<String>,
    /// How far loading everything has come.
    pub loading: Option<Progress>,
    /// Stream entries that were skipped because they are not ours.
    pub garbage: u64,
    /// How long the last load took, and how many entries it brought.
    pub last_load: Option<(Duration, usize)>,
    /// Snapshots that could not be written to disk.
    pub snapshot_failures: u64,
}

/// Entries loaded, of about so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub loaded: u64,
    pub of: u64,
}

/// Why a store did not do what it was asked. Nothing was recorded unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    #[error("the revocation store cannot be reached: {0}")]
    Unreachable(String),
    #[error("the revocation store did not answer in time; the change may or may not have been recorded, so ask again")]
    TimedOut,
    #[error("the revocation store refuses to be written: it is read-only")]
    ReadOnly,
    #[error("the revocation store refuses our credentials or rights: {0}")]
    Forbidden(String),
    #[error("the revocation store has no room left: nothing was recorded; free some and ask again")]
    Full,
    #[error("the revocation store lost its contents or has not been set up: {0}")]
    Lost(String),
    #[error("the revocation store holds something that is not ours: {0}")]
    Foreign(String),
    #[error("the revocation store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the store was not there to be asked, rather than there and not to be trusted.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut)
    }

    /// Whether the store takes no writes from this process, though it is there.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::ReadOnly)
    }
}
