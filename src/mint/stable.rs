//! Stable links: the same request in the same window gives the same claims, so the same id and the same URL.
//!
//! A window is half of the life that is asked for, aligned to the epoch; a link is issued at the window's beginning and
//! lives one life from there, so it always has more than half of it left. For a fixed end, windows are halved towards
//! it: the link counts as issued so long before its end as the next power of two covers what is left.
//!
//! What was revoked moves a link out of the way, again the same way everywhere: behind a cut-off that covers it, behind
//! a revocation that was lifted, and, when this one link was revoked, a millisecond further.

use std::time::Duration;

use super::MintError;
use crate::clock::UnixMillis;
use crate::revocation::{Bearings, Kind, RevocationView, Target, covering, issue_time, last_lifted};
use crate::token::{Claims, CollectionName, Expiry, Keyring, TokenId, stable_id};

/// How many links of one window may be revoked one by one until no other takes their place.
const MAX_REPLACEMENTS: u64 = 1000;

/// When a stable link is issued and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    issued_at: UnixMillis,
    expires_at: UnixMillis,
    /// What is left of a life that is measured from the issue, at the least.
    least: Duration,
}

impl Window {
    fn of_life(life: Duration, now: UnixMillis) -> Self {
        let half = (life.as_millis() as u64 / 2).max(1);
        let issued_at = UnixMillis(now.0 - now.0 % half);
        Self { issued_at, expires_at: issued_at.plus(life), least: Duration::from_millis(half) }
    }

    fn of_end(end: UnixMillis, now: UnixMillis, max_ttl: Duration) -> Self {
        let left = end.since(now).as_millis() as u64;
        let span = Duration::from_millis(left.next_power_of_two()).min(max_ttl);
        Self { issued_at: end.minus(span), expires_at: end, least: Duration::ZERO }
    }

    fn issued_after(self, time: UnixMillis) -> Self {
        if self.issued_at > time {
            return self;
        }
        let issued_at = UnixMillis(time.0 + 1);
        Self { issued_at, expires_at: self.expires_at.max(issued_at.plus(self.least)), ..self }
    }
}

/// Puts claims that were granted for `now` into their window; answers the link's id.
///
/// # Errors
/// When a standing revocation covers the link whenever it is issued.
pub fn settle(
    claims: &mut Claims<'_>,
    expiry: Option<Expiry>,
    max_ttl: Duration,
    (keyring, collection): (&Keyring, CollectionName<'_>),
    (revocations, bearings): (&dyn RevocationView, Bearings<'_>),
) -> Result<TokenId, MintError> {
    let now = claims.issued_at;
    let mut window = match expiry {
        Some(Expiry::At(end)) => Window::of_end(end, now, max_ttl),
        _ => Window::of_life(claims.expires_at.since(now), now),
    };
    issue_time(revocations, bearings, now).map_err(MintError::Covered)?;
    if let Some((_, cut_off)) = covering(revocations, bearings) {
        window = window.issued_after(UnixMillis(cut_off));
    }
    if let Some(lifted) = last_lifted(revocations, bearings) {
        window = window.issued_after(lifted);
    }
    for _ in 0..=MAX_REPLACEMENTS {
        (claims.issued_at, claims.expires_at) = (window.issued_at, window.expires_at);
        let id = stable_id(keyring, collection, claims);
        if !revocations.has_link(id) && !was_lifted(revocations, id) {
            return Ok(id);
        }
        window = window.issued_after(window.issued_at);
    }
    Err(MintError::Covered(Kind::Link))
}

/// Whether a revocation of this one link was lifted.
fn was_lifted(revocations: &dyn RevocationView, id: TokenId) -> bool {
    if !revocations.may_have(b'l') {
        return false;
    }
    let member = Target::Lifted(Box::new(Target::Link(id))).member();
    revocations.cut_off(member.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_window_is_half_a_life_and_leaves_more_than_half_of_it() {
        let begin = UnixMillis(1_800_000 * 1_000);
        let first = Window::of_life(HOUR, begin);
        assert_eq!((first.issued_at, first.expires_at), (begin, begin.plus(HOUR)));
        for later in [1, 1_000, 1_799_999] {
            assert_eq!(Window::of_life(HOUR, UnixMillis(begin.0 + later)), first);
        }
        let next = Window::of_life(HOUR, UnixMillis(begin.0 + 1_800_000));
        assert_eq!(next.issued_at, begin.plus(HOUR / 2));
    }

    #[test]
    fn the_shortest_life_has_a_window_too() {
        let window = Window::of_life(Duration::from_millis(1), UnixMillis(5));
        assert_eq!((window.issued_at, window.expires_at), (UnixMillis(5), UnixMillis(6)));
    }

    #[test]
    fn a_fixed_end_keeps_its_link_until_half_of_what_was_left_is_gone() {
        let end = UnixMillis(1 << 40);
        let at = |left: u64| Window::of_end(end, UnixMillis(end.0 - left), HOUR * 24);
        assert_eq!(at(1 << 20), at((1 << 19) + 1));
        assert_ne!(at(1 << 19), at(1 << 20));
        assert_eq!(at(1 << 20).expires_at, end);
        let bounded = Window::of_end(end, end.minus(HOUR), HOUR);
        assert_eq!(bounded.issued_at, end.minus(HOUR), "no link claims a longer life than may be asked for");
    }

    #[test]
    fn a_cut_off_moves_the_issue_and_never_shortens_what_is_left() {
        let begin = UnixMillis(1_800_000 * 1_000);
        let window = Window::of_life(HOUR, begin);
        assert_eq!(window.issued_after(begin.minus(HOUR)), window);
        let moved = window.issued_after(begin.plus(HOUR / 4));
        assert_eq!(moved.issued_at.0, begin.plus(HOUR / 4).0 + 1);
        assert_eq!(moved.expires_at, window.expires_at);
        let far = window.issued_after(begin.plus(HOUR));
        assert_eq!(far.expires_at.since(far.issued_at), HOUR / 2);
    }
}
