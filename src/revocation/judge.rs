//! The judgement: is a verified link covered by a revocation, and is what we know fresh enough to say so?
//!
//! Pure, and without allocation: it sees revocations only through [`RevocationView`].

use std::time::Duration;

use thiserror::Error;

use super::target::Kind;
use super::{STANDING, StalenessPolicy};
use crate::clock::{Moment, UnixMillis};
use crate::token::{KeyId, MAX_COLLECTION_BYTES, MAX_PATH_BYTES, Subject, TokenId, VerifiedToken};

/// A read-only look at what is revoked.
pub trait RevocationView {
    /// Whether this one link is revoked.
    fn has_link(&self, id: TokenId) -> bool;

    /// The cut-off of a member, in milliseconds: links issued at or before it are refused.
    fn cut_off(&self, member: &[u8]) -> Option<u64>;

    /// Whether a cut-off other than that of all links may cover links with these bearings; lets most judgements do
    /// without asking for each.
    fn may_cover(&self, bearings: &Bearings<'_>) -> bool;

    /// Whether there may be members with this tag; lets whole families of lookups be skipped.
    fn may_have(&self, tag: u8) -> bool;

    /// How long revocations may have been missing; `None` when the view was never complete.
    fn age(&self, now: Moment) -> Option<Duration>;

    /// What the store said about the downloads of the link in question; `None` when it was not asked.
    fn tally(&self) -> Option<Tally> {
        None
    }
}

/// Whether a link that counts its downloads has one left for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// This request belongs to a download that is counted.
    Within,
    /// There is none left.
    UsedUp,
}

/// The right to download: only [`admit`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'t> {
    token: VerifiedToken<'t>,
}

impl<'t> Permit<'t> {
    /// The token that was admitted.
    pub const fn token(&self) -> &VerifiedToken<'t> {
        &self.token
    }
}

/// Why a verified link is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    #[error("the link is covered by a revocation of kind `{0}`")]
    Revoked(Kind),
    #[error("the revocations have not been loaded yet")]
    NotLoaded,
    #[error("the revocations may be out of date")]
    Stale,
    #[error("the link's downloads are used up")]
    UsedUp,
    #[error("the link counts its downloads, and the store cannot be asked how many there were")]
    CannotCount,
}

impl Denied {
    /// The word for it in inspections.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Revoked(_) => "revoked",
            Self::NotLoaded => "not-loaded",
            Self::Stale => "stale",
            Self::UsedUp => "used-up",
            Self::CannotCount => "cannot-count",
        }
    }
}

/// Admits a verified token: not revoked, and the view fresh enough to know.
///
/// # Errors
/// The reason it is not admitted. A known revocation decides whatever the view's age.
pub fn admit<'t>(
    view: &dyn RevocationView,
    policy: StalenessPolicy,
    token: VerifiedToken<'t>,
    now: Moment,
) -> Result<Permit<'t>, Denied> {
    if let Some(kind) = covers(view, &token) {
        return Err(Denied::Revoked(kind));
    }
    let age = view.age(now).ok_or(Denied::NotLoaded)?;
    if age > policy.max_staleness && policy.on_stale != super::OnStale::Serve {
        return Err(Denied::Stale);
    }
    // Last, so that nothing that is refused is ever counted.
    if token.claims().max_downloads.is_some() {
        match view.tally() {
            Some(Tally::Within) => {}
            Some(Tally::UsedUp) => return Err(Denied::UsedUp),
            None => return Err(Denied::CannotCount),
        }
    }
    Ok(Permit { token })
}

/// The kind of revocation that covers a link, if any does.
pub fn covers(view: &dyn RevocationView, token: &VerifiedToken<'_>) -> Option<Kind> {
    let covered = covering(view, Bearings::of(token));
    if view.has_link(token.id()) {
        return Some(Kind::Link);
    }
    let (kind, cut_off) = covered?;
    (token.claims().issued_at.0 <= cut_off).then_some(kind)
}

/// Everything about a link that a cut-off can name.
#[derive(Clone, Copy, Debug)]
pub struct Bearings<'a> {
    pub key: KeyId,
    pub client: &'a str,
    pub subject: Option<&'a str>,
    pub collection: &'a str,
    pub path: &'a str,
}

impl<'t> Bearings<'t> {
    fn of(token: &VerifiedToken<'t>) -> Self {
        let claims = token.claims();
        Self {
            key: token.key_id(),
            client: claims.client.as_str(),
            subject: claims.subject.map(Subject::as_str),
            collection: token.collection().as_str(),
            path: claims.path.as_str(),
        }
    }
}

impl Bearings<'_> {
    /// Bytes of the longest member that names one of them.
    fn longest_member(&self) -> usize {
        let file = self.collection.len() + 1 + self.path.len();
        2 + file.max(self.client.len()).max(self.subject.map_or(0, str::len)).max(MAX_DIGITS)
    }
}

/// The strictest cut-off that covers a link with these bearings, and its kind.
pub fn covering(view: &dyn RevocationView, bearings: Bearings<'_>) -> Option<(Kind, u64)> {
    let mut strictest = None;
    let mut consider = |kind, cut_off: Option<u64>| {
        if let Some(cut_off) = cut_off
            && strictest.is_none_or(|(_, other)| cut_off > other)
        {
            strictest = Some((kind, cut_off));
        }
    };
    consider(Kind::Everything, view.cut_off(b"*"));
    if !view.may_cover(&bearings) {
        return strictest;
    }
    let mut usual = [0; USUAL_ROOM];
    let mut longest;
    let room: &mut [u8] = if bearings.longest_member() <= USUAL_ROOM {
        &mut usual
    } else {
        longest = [0; LONGEST_ROOM];
        &mut longest
    };
    consider(Kind::Key, view.cut_off(member(room, b'k', &[decimal(bearings.key.0, &mut [0; MAX_DIGITS])])));
    consider(Kind::Client, view.cut_off(member(room, b'a', &[bearings.client.as_bytes()])));
    if let Some(subject) = bearings.subject {
        consider(Kind::Subject, view.cut_off(member(room, b's', &[subject.as_bytes()])));
    }
    let file = member(room, b'i', &[bearings.collection.as_bytes(), b"/", bearings.path.as_bytes()]);
    consider(Kind::Path, view.cut_off(file));
    file[0] = b'p';
    for at in (0..file.len()).filter(|at| file[*at] == b'/') {
        consider(Kind::PathPrefix, view.cut_off(&file[..=at]));
    }
    strictest
}

/// When a link that is minted now counts as issued: now, or just past a cut-off that lies ahead, so that a link minted
/// after a revocation's answer works at once.
///
/// # Errors
/// The kind of the revocation that covers the link whenever it is issued.
pub fn issue_time(view: &dyn RevocationView, bearings: Bearings<'_>, now: UnixMillis) -> Result<UnixMillis, Kind> {
    match covering(view, bearings) {
        None => Ok(now),
        Some((_, cut_off)) if cut_off < now.0 => Ok(now),
        Some((_, cut_off)) if cut_off < STANDING => Ok(UnixMillis(cut_off + 1)),
        Some((kind, _)) => Err(kind),
    }
}

/// When a revocation that covered links with these bearings was last lifted, as far as that is still known.
pub fn last_lifted(view: &dyn RevocationView, bearings: Bearings<'_>) -> Option<UnixMillis> {
    if !view.may_have(b'l') {
        return None;
    }
    let Bearings { key, client, subject, collection, path } = bearings;
    let file = format!("{collection}/{path}");
    let folders = file.match_indices('/').map(|(at, _)| format!("l:p:{}", &file[..=at]));
    let named = [Some(format!("l:k:{key}")), Some(format!("l:a:{client}")), subject.map(|name| format!("l:s:{name}"))];
    let members = named.into_iter().flatten().chain([String::from("l:*"), format!("l:i:{file}")]).chain(folders);
    members.filter_map(|member| view.cut_off(member.as_bytes())).max().map(UnixMillis)
}

/// Room for any member: a tag, a collection, a path.
const LONGEST_ROOM: usize = 3 + MAX_COLLECTION_BYTES + MAX_PATH_BYTES;
/// Room for members of the usual length, which costs less to clear.
const USUAL_ROOM: usize = 192;

/// Writes `tag:parts…`; parts come from checked types and fit.
fn member<'r>(room: &'r mut [u8], tag: u8, parts: &[&[u8]]) -> &'r mut [u8] {
    room[0] = tag;
    room[1] = b':';
    let mut end = 2;
    for part in parts {
        room[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    &mut room[..end]
}

/// Digits of the longest key id.
pub const MAX_DIGITS: usize = 10;

/// The digits of a key id, as they stand in its member.
pub fn decimal(mut number: u32, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::{Change, Index};

    const BEARINGS: Bearings<'static> = Bearings {
        key: KeyId(42),
        client: "backend",
        subject: Some("user-7"),
        collection: "image",
        path: "users/7/cat.jpg",
    };

    fn index(members: &[(&str, u64)]) -> Index {
        let index = Index::default();
        for (member, score) in members {
            index.apply(Change::CutOff { member, score: *score });
        }
        index
    }

    #[test]
    fn every_kind_of_cut_off_is_found() {
        let cases = [
            ("*", Kind::Everything),
            ("k:42", Kind::Key),
            ("a:backend", Kind::Client),
            ("s:user-7", Kind::Subject),
            ("i:image/users/7/cat.jpg", Kind::Path),
            ("p:image/", Kind::PathPrefix),
            ("p:image/users/", Kind::PathPrefix),
            ("p:image/users/7/", Kind::PathPrefix),
        ];
        for (member, kind) in cases {
            assert_eq!(index(&[(member, 5)]).look(|view| covering(view, BEARINGS)), Some((kind, 5)), "{member}");
        }
    }

    #[test]
    fn a_neighbour_is_not_covered() {
        let neighbours = [
            ("k:4", 5),
            ("a:back", 5),
            ("s:user-77", 5),
            ("i:other/users/7/cat.jpg", 5),
            ("i:image/users/7/cat.jp", 5),
            ("p:image/users/77/", 5),
            ("p:image/user", 5),
        ];
        assert_eq!(index(&neighbours).look(|view| covering(view, BEARINGS)), None);
    }

    #[test]
    fn the_strictest_of_several_cut_offs_bites() {
        let index = index(&[("s:user-7", 10), ("a:backend", 30), ("*", 20)]);
        assert_eq!(index.look(|view| covering(view, BEARINGS)), Some((Kind::Client, 30)));
    }

    #[test]
    fn a_link_minted_after_a_cut_off_is_issued_just_past_it() {
        let now = UnixMillis(100_000);
        let at = |score| index(&[("s:user-7", score)]).look(|view| issue_time(view, BEARINGS, now));
        assert_eq!(at(99_999), Ok(now));
        assert_eq!(at(100_000), Ok(UnixMillis(100_001)));
        assert_eq!(at(102_000), Ok(UnixMillis(102_001)));
        assert_eq!(at(104_000), Ok(UnixMillis(104_001)));
        assert_eq!(at(STANDING), Err(Kind::Subject));
    }

    #[test]
    fn the_longest_names_are_found_too() {
        let [collection, path] = [MAX_COLLECTION_BYTES, MAX_PATH_BYTES].map(|bytes| "x".repeat(bytes));
        let bearings = Bearings { collection: &collection, path: &path, ..BEARINGS };
        for (member, kind) in [
            (format!("i:{collection}/{path}"), Kind::Path),
            (format!("p:{collection}/"), Kind::PathPrefix),
            ("s:user-7".to_owned(), Kind::Subject),
        ] {
            assert_eq!(index(&[(&member, 5)]).look(|view| covering(view, bearings)), Some((kind, 5)), "{member}");
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let written = |number| decimal(number, &mut [0; MAX_DIGITS]).to_vec();
        assert_eq!(written(0), b"0");
        assert_eq!(written(u32::MAX), b"4294967295");
    }
}
