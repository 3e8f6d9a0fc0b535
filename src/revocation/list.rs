//! Pages of revocations, newest first.

use std::fmt;
use std::str::FromStr;

use super::target::{Kind, Target};
use super::{Revocation, RevocationId};
use crate::clock::UnixMillis;
use crate::token::Invalid;

/// Revocations on a page when nothing is asked.
pub const DEFAULT_PAGE: usize = 100;
/// Most revocations on a page.
pub const MAX_PAGE: usize = 1000;
/// How many records one call looks through before it hands out a cursor instead of a full page.
pub(super) const SCAN_BUDGET: usize = 20_000;

/// Which revocations to show.
#[derive(Clone, Debug)]
pub struct ListQuery {
    pub kind: Option<Kind>,
    /// Text that target, reason or creator must contain; case does not matter.
    pub text: Option<String>,
    /// 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<PageCursor>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { kind: None, text: None, limit: DEFAULT_PAGE, after: None }
    }
}

impl ListQuery {
    /// Whether a revocation belongs on the list.
    pub fn matches(&self, revocation: &Revocation) -> bool {
        !matches!(revocation.target, Target::Lifted(_))
            && self.kind.is_none_or(|kind| kind == revocation.kind)
            && self.text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                let holds = |field: &str| field.to_lowercase().contains(&text);
                holds(&revocation.target.member())
                    || holds(&revocation.created_by)
                    || revocation.reason.as_deref().is_some_and(holds)
                    || holds(revocation.id.as_str())
            })
    }
}

/// Where a page ended: the creation time and id of its last revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCursor {
    pub created_at: UnixMillis,
    pub id: RevocationId,
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created_at.0, self.id)
    }
}

impl FromStr for PageCursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = Invalid::Alphabet("what `next_cursor` of the page before held");
        let (created_at, id) = text.split_once('.').ok_or(wrong)?;
        Ok(Self {
            created_at: created_at.parse().map(UnixMillis).map_err(|_| wrong)?,
            id: id.parse().map_err(|_| wrong)?,
        })
    }
}

/// Some revocations, newest first, and where the next page starts.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub revocations: Vec<Revocation>,
    pub next: Option<PageCursor>,
}
