//! Taking links back: what a revocation is, where revocations are kept, and the judgement that rests on them.
//!
//! [`judge`](admit) is pure: a verified token, a read-only [`RevocationView`] and a moment go in, a [`Permit`]
//! or a [`Denied`] comes out. [`Index`] is the view that a running process keeps in memory; [`Answers`] are what a
//! store said to the [`Questions`] of one judgement. A [`RevocationStore`] keeps revocations for good and keeps the
//! index up to date: [`embedded`] on this machine's disk, [`redis`] for any number of verifiers.
//!
//! Two sets decide (see `docs/architecture.md`): *links*, token id → how long the entry is needed, and
//! *cut-offs*, who or what → a time; a link is covered when it was issued at or before that time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::token::{Invalid, TokenId};

mod cut_offs;
pub mod embedded;
mod freshness;
mod horizon;
mod index;
mod judge;
mod link_filter;
mod link_table;
mod links;
mod list;
mod questions;
pub mod redis;
mod store;
mod target;

pub use freshness::{Freshness, OnStale, StalenessPolicy};
pub use horizon::{StoreTime, latest_conceivable_issue, reach};
pub use index::{Change, Index, IndexCounts, Replaced};
pub use judge::{Bearings, Denied, Permit, RevocationView, Tally, admit, covering, covers, issue_time, last_lifted};
pub use list::{DEFAULT_PAGE, ListQuery, MAX_PAGE, Page, PageCursor};
pub use questions::{Answers, Blind, Informed, Inquiry, Questions, record};
pub use store::{
    Applied, Download, Durability, Progress, Recorded, RevocationStore, Shortfall, Status, StoreError, Verifier, lift,
};
pub use target::{Kind, Target};

/// Where a judgement finds out what is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// In an index of its own that follows the store: a download waits on nobody.
    #[default]
    Replica,
    /// In the store, asked for each judgement: for processes that are frozen between requests.
    Direct,
}

/// A cut-off that no issue time is beyond: blocks links whenever issued. Prunes and clocks never reach it.
pub const STANDING: u64 = 1 << 51;
/// How long an entry outlives the last link it can match, so that a clock stepped back revives nothing.
pub const PRUNE_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest reason, in bytes.
pub const MAX_REASON_BYTES: usize = 500;

/// Names one revocation: `rev_` and 22 base64url characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevocationId(String);

impl RevocationId {
    const PREFIX: &str = "rev_";

    /// Makes an id of 128 random bits.
    pub fn new(random: [u8; 16]) -> Self {
        Self(format!("{}{}", Self::PREFIX, TokenId(random)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RevocationId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let id = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        TokenId::from_str(id)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| Invalid::Alphabet("`rev_` and 22 base64url characters"))
    }
}

/// One revocation, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub id: RevocationId,
    pub kind: Kind,
    /// What it covers, as the member of its set.
    #[serde(rename = "member")]
    pub target: Target,
    /// What is written into the set: for a link until when the entry is needed, else the cut-off. Milliseconds.
    pub score: u64,
    /// Links issued before this are refused; `None` refuses them whenever issued.
    pub issued_before: Option<UnixMillis>,
    pub created_at: UnixMillis,
    /// The client that asked for it.
    pub created_by: String,
    /// When it ends by itself; `None` for a block that stands until it is lifted.
    pub expires_at: Option<UnixMillis>,
    /// When the store may forget it.
    pub lapses_at: Option<UnixMillis>,
    pub reason: Option<String>,
}

impl Revocation {
    /// Whether it refuses links of its target that were issued then.
    pub fn covers(&self, issued_at: UnixMillis) -> bool {
        matches!(self.target, Target::Link(_)) || issued_at.0 <= self.score
    }
}

/// What is asked for when something is revoked. The store decides when that was, and how far "until now" reaches.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub id: RevocationId,
    pub kind: Kind,
    pub target: Target,
    pub issued_before: IssuedBefore,
    /// Until when the caller wants it to last; `None` for as long as it can match anything.
    pub expires_at: Option<UnixMillis>,
    pub reason: Option<String>,
    pub created_by: String,
    /// When the named link ends, where that is known.
    pub link_expiry: Option<UnixMillis>,
}

/// Which links a cut-off covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBefore {
    /// Those issued until now, whatever the clocks of minters show within the leeway.
    Now,
    /// Those issued strictly before a time.
    Time(UnixMillis),
    /// All of them.
    Always,
}

/// The times that bound revocations.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest life any collection gives a link.
    pub max_ttl: Duration,
    /// How far any machine's clock may be from the true time.
    pub leeway: Duration,
}

impl Bounds {
    /// How far two machines' clocks may differ.
    pub const fn skew(self) -> Duration {
        self.leeway.saturating_mul(2)
    }
}

impl Proposal {
    /// What is written into the set, unless it follows from when the store takes it.
    fn fixed_score(&self, now: UnixMillis, bounds: Bounds) -> Option<u64> {
        match self.issued_before {
            _ if matches!(self.target, Target::Link(_)) => Some(self.link_expiry.unwrap_or(now.plus(bounds.max_ttl)).0),
            IssuedBefore::Always => Some(STANDING),
            IssuedBefore::Time(time) => Some(time.0.saturating_sub(1)),
            IssuedBefore::Now => None,
        }
    }

    /// How long after its score such an entry ends by itself; `None` when it stands until it is lifted.
    fn life(&self, bounds: Bounds) -> Option<Duration> {
        match (&self.target, self.issued_before) {
            (Target::Link(_), _) => Some(Duration::ZERO),
            (_, IssuedBefore::Always) => None,
            _ => Some(bounds.max_ttl),
        }
    }

    /// The revocation, taken by the store at a time, with the score that it was given.
    fn recorded(self, at: UnixMillis, score: u64, bounds: Bounds) -> Revocation {
        let natural_end = self.life(bounds).map(|life| UnixMillis(score).plus(life));
        let issued_before = match (&self.target, self.issued_before) {
            (Target::Link(_), _) | (_, IssuedBefore::Always) => None,
            (_, IssuedBefore::Now) => Some(at),
            (_, IssuedBefore::Time(time)) => Some(time),
        };
        Revocation {
            id: self.id,
            kind: self.kind,
            target: self.target,
            score,
            issued_before,
            created_at: at,
            created_by: self.created_by,
            expires_at: self.expires_at.or(natural_end),
            lapses_at: self.expires_at.or(natural_end.map(|end| end.plus(PRUNE_GRACE))),
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_ttl: Duration::from_secs(3_600), leeway: Duration::from_secs(2) };
    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn revocation(target: Target, issued_before: IssuedBefore, expires_at: Option<UnixMillis>) -> Revocation {
        let proposal = Proposal {
            id: RevocationId::new([7; 16]),
            kind: Kind::Subject,
            target,
            issued_before,
            expires_at,
            reason: None,
            created_by: "test".into(),
            link_expiry: None,
        };
        let score = proposal.fixed_score(NOW, BOUNDS).unwrap_or(NOW.0 + 4_000);
        proposal.recorded(NOW, score, BOUNDS)
    }

    #[test]
    fn a_cut_off_lives_as_long_as_the_last_link_it_can_match() {
        let cut = revocation(Target::Subject("u".into()), IssuedBefore::Now, None);
        assert_eq!(cut.score, NOW.0 + 4_000);
        assert_eq!(cut.issued_before, Some(NOW));
        assert_eq!(cut.expires_at, Some(UnixMillis(NOW.0 + 4_000 + 3_600_000)));
        assert_eq!(cut.lapses_at, cut.expires_at.map(|end| end.plus(PRUNE_GRACE)));
    }

    #[test]
    fn a_standing_block_never_ends_by_itself_unless_asked_to() {
        let block = revocation(Target::Everything, IssuedBefore::Always, None);
        assert_eq!((block.score, block.expires_at, block.lapses_at), (STANDING, None, None));
        let until = Some(UnixMillis(NOW.0 + 5));
        let block = revocation(Target::Everything, IssuedBefore::Always, until);
        assert_eq!((block.expires_at, block.lapses_at), (until, until));
    }

    #[test]
    fn a_link_nobody_has_seen_is_remembered_for_the_longest_life() {
        let link = revocation(Target::Link(TokenId([1; 16])), IssuedBefore::Always, None);
        assert_eq!(link.score, NOW.0 + 3_600_000);
        assert_eq!(link.issued_before, None);
    }

    #[test]
    fn links_issued_at_the_named_time_are_not_covered() {
        let cut = revocation(Target::Everything, IssuedBefore::Time(UnixMillis(500)), None);
        assert_eq!(cut.score, 499);
    }

    #[test]
    fn a_revocation_id_is_recognised_by_its_shape() {
        let id = RevocationId::new([9; 16]);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert!("rev_short".parse::<RevocationId>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAAA".parse::<RevocationId>().is_err());
    }
}
