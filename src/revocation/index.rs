//! What is revoked, in memory: the view that a running process judges by.
//!
//! Links and cut-offs lie in many shards, each behind a lock of its own, so that a writer never holds up a verdict
//! for long. Expiry is no business of a lookup: an entry that is there bites; pruning only frees memory.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::cut_offs::CutOffs;
use super::freshness::Freshness;
use super::horizon::StoreTime;
use super::judge::{Bearings, RevocationView};
use super::links::Links;
use super::{PRUNE_GRACE, STANDING};
use crate::clock::{Moment, UnixMillis};
use crate::token::TokenId;

/// How long, and how often at most, the old entries are waited for after they were replaced.
const RELEASE_PAUSE: Duration = Duration::from_millis(2);
const RELEASE_PAUSES: usize = 5_000;

/// One step of the sets. Steps carry the outcome, not a difference: applying one twice does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A link is revoked; the entry is needed until this time.
    Link { id: TokenId, until: UnixMillis },
    /// A cut-off has this value now.
    CutOff { member: &'a str, score: u64 },
    /// A link is no longer revoked.
    LinkLifted { id: TokenId },
    /// A cut-off is gone.
    CutOffLifted { member: &'a str },
}

/// How much an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexCounts {
    pub links: usize,
    pub cut_offs: usize,
}

/// Everything that is revoked.
#[derive(Default)]
pub struct Index {
    tables: ArcSwap<Tables>,
    freshness: Freshness,
    store_time: StoreTime,
}

impl Index {
    /// Lets a judgement look at what is revoked.
    pub fn look<R>(&self, judge: impl FnOnce(&dyn RevocationView) -> R) -> R {
        judge(&Look { tables: &self.tables.load(), freshness: &self.freshness })
    }

    /// Says that this link will be judged soon: what is known about it comes from memory meanwhile. Whoever made the id
    /// up, nothing but time is lost.
    pub fn expect(&self, id: TokenId) {
        self.tables.load().links.expect(id);
    }

    /// Takes a step.
    pub fn apply(&self, change: Change<'_>) {
        let tables = self.tables.load();
        match change {
            Change::Link { id, until } => tables.links.insert(id, until),
            Change::LinkLifted { id } => tables.links.remove(id),
            Change::CutOff { member, score } => tables.cut_offs.insert(member.as_bytes(), score),
            Change::CutOffLifted { member } => tables.cut_offs.remove(member.as_bytes()),
        }
    }

    /// When this index was last known to be complete.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// What was heard of the time by which the store decides.
    pub const fn store_time(&self) -> &StoreTime {
        &self.store_time
    }

    /// Makes room for that many links altogether, so that none of the tables grows on the way there.
    pub fn reserve_links(&self, links: usize) {
        self.tables.load().links.reserve(links);
    }

    /// Like [`Index::apply`], but never makes a cut-off less strict than it is.
    pub fn raise(&self, change: Change<'_>) {
        match change {
            Change::CutOff { member, score } => self.tables.load().cut_offs.raise(member.as_bytes(), score),
            other => self.apply(other),
        }
    }

    /// Puts a freshly loaded set of entries in place of the old one, at once.
    pub fn replace(&self, loaded: Index) -> Replaced {
        Replaced(self.tables.swap(loaded.tables.into_inner()))
    }

    /// Hands every entry to `visit`; holds one shard's lock at a time, and none while visiting.
    pub fn for_each(&self, mut visit: impl FnMut(Change<'_>)) {
        let tables = self.tables.load_full();
        tables.links.for_each(|id, until| visit(Change::Link { id, until }));
        tables.cut_offs.for_each(|member, score| {
            if let Ok(member) = std::str::from_utf8(member) {
                visit(Change::CutOff { member, score });
            }
        });
    }

    /// How many entries there are.
    pub fn counts(&self) -> IndexCounts {
        let tables = self.tables.load();
        // What was lifted is only a trace.
        let cut_offs = tables.cut_offs.len().saturating_sub(tables.cut_offs.count(b'l'));
        IndexCounts { links: tables.links.len(), cut_offs }
    }

    /// Forgets entries that can match no link any more.
    ///
    /// Goes through everything, one shard's lock at a time: a tenth of a second for ten million links. Not for a
    /// thread that serves requests.
    pub fn prune(&self, now: UnixMillis, max_ttl: Duration) {
        let tables = self.tables.load_full();
        let past = now.minus(PRUNE_GRACE);
        tables.links.prune(past);
        tables.cut_offs.prune(|score| score >= STANDING || UnixMillis(score).plus(max_ttl) >= past);
    }
}

/// The entries that were there before.
#[must_use = "they are to be freed where nobody waits"]
pub struct Replaced(Arc<Tables>);

impl Replaced {
    /// Frees them. Blocks until nobody looks at them any more, so that it is not the last verdict that saw them which
    /// frees them: hundreds of megabytes take a while. Not for a thread that serves requests.
    pub fn free(self) {
        for _ in 0..RELEASE_PAUSES {
            if Arc::strong_count(&self.0) == 1 {
                break;
            }
            thread::sleep(RELEASE_PAUSE);
        }
    }
}

#[derive(Default)]
struct Tables {
    links: Links,
    cut_offs: CutOffs,
}

/// One look at the index, for one judgement: the tables are fetched once.
struct Look<'i> {
    tables: &'i Tables,
    freshness: &'i Freshness,
}

impl RevocationView for Look<'_> {
    fn has_link(&self, id: TokenId) -> bool {
        self.tables.links.contains(id)
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        self.tables.cut_offs.score(member)
    }

    fn may_cover(&self, bearings: &Bearings<'_>) -> bool {
        self.tables.cut_offs.may_cover(bearings)
    }

    fn may_have(&self, tag: u8) -> bool {
        self.tables.cut_offs.has_tag(tag)
    }

    fn age(&self, now: Moment) -> Option<Duration> {
        self.freshness.age(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_outlives_the_last_link_it_can_match() {
        let index = Index::default();
        let id = TokenId([1; 16]);
        let hour = Duration::from_secs(3_600);
        let end = UnixMillis(1_000_000);
        index.apply(Change::Link { id, until: end });
        index.apply(Change::CutOff { member: "s:u", score: end.0 });
        index.apply(Change::CutOff { member: "*", score: STANDING });

        index.prune(end.plus(PRUNE_GRACE), hour);
        assert!(index.look(|view| view.has_link(id)) && index.look(|view| view.cut_off(b"s:u")).is_some());
        index.prune(end.plus(PRUNE_GRACE).plus(Duration::from_secs(1)), hour);
        assert!(!index.look(|view| view.has_link(id)) && index.look(|view| view.cut_off(b"s:u")).is_some());
        index.prune(end.plus(PRUNE_GRACE).plus(hour * 2), hour);
        assert_eq!(index.look(|view| view.cut_off(b"s:u")), None);
        assert_eq!(index.counts(), IndexCounts { links: 0, cut_offs: 1 });
        assert_eq!(index.look(|view| view.cut_off(b"*")), Some(STANDING));
    }

    #[test]
    fn steps_can_be_taken_twice() {
        let index = Index::default();
        for _ in 0..2 {
            index.apply(Change::CutOff { member: "s:u", score: 5 });
        }
        assert_eq!(index.counts(), IndexCounts { links: 0, cut_offs: 1 });
        for _ in 0..2 {
            index.apply(Change::CutOffLifted { member: "s:u" });
        }
        assert_eq!(index.counts(), IndexCounts::default());
    }

    #[test]
    fn what_was_replaced_is_freed_by_whoever_replaced_it() {
        let index = Index::default();
        let loaded = Index::default();
        loaded.reserve_links(100_000);
        loaded.apply(Change::Link { id: TokenId([1; 16]), until: UnixMillis::MAX });
        let old = Arc::downgrade(&index.tables.load_full());
        thread::scope(|scope| {
            let replacing = index.look(|view| {
                let replacing = scope.spawn(|| index.replace(loaded).free());
                while !index.look(|view| view.has_link(TokenId([1; 16]))) {
                    thread::yield_now();
                }
                assert!(!view.has_link(TokenId([1; 16])), "a judgement sees one set of entries from beginning to end");
                assert!(!replacing.is_finished());
                replacing
            });
            assert!(replacing.join().is_ok());
        });
        assert_eq!((old.strong_count(), index.counts().links), (0, 1));
    }
}
