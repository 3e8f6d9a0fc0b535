//! What is revoked, in memory: the view that a running process judges by.
//!
//! Links lie in shards, each behind a lock of its own, so that a writer never holds up a verdict for long.
//! Expiry is no business of a lookup: an entry that is there bites; pruning only frees memory.

use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::{RwLock, RwLockReadGuard};

use super::freshness::Freshness;
use super::judge::RevocationView;
use super::{PRUNE_GRACE, STANDING};
use crate::clock::{Moment, UnixMillis};
use crate::token::TokenId;

const SHARDS: usize = 64;
/// The tags of cut-off members, in the order of their counters.
const TAGS: [u8; 6] = *b"*kasip";

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
}

impl Index {
    /// Lets a judgement look at what is revoked.
    pub fn look<R>(&self, judge: impl FnOnce(&dyn RevocationView) -> R) -> R {
        let tables = self.tables.load();
        judge(&Look { tables: &tables, cut_offs: tables.cut_offs.read(), freshness: &self.freshness })
    }

    /// Takes a step.
    pub fn apply(&self, change: Change<'_>) {
        self.tables.load().apply(change);
    }

    /// When this index was last known to be complete.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Puts a freshly loaded set of entries in place of the old one.
    pub fn replace(&self, loaded: Index) {
        self.tables.store(loaded.tables.into_inner());
    }

    /// Hands every entry to `visit`; holds one shard's lock at a time.
    pub fn for_each(&self, mut visit: impl FnMut(Change<'_>)) {
        let tables = self.tables.load();
        for shard in &tables.links {
            for (id, until) in shard.read().iter() {
                visit(Change::Link { id: *id, until: until_millis(*until) });
            }
        }
        for (member, score) in &tables.cut_offs.read().scores {
            if let Ok(member) = std::str::from_utf8(member) {
                visit(Change::CutOff { member, score: *score });
            }
        }
    }

    /// How many entries there are.
    pub fn counts(&self) -> IndexCounts {
        let tables = self.tables.load();
        IndexCounts {
            links: tables.links.iter().map(|shard| shard.read().len()).sum(),
            cut_offs: tables.cut_offs.read().scores.len(),
        }
    }

    /// Forgets entries that can match no link any more. One lock at a time.
    pub fn prune(&self, now: UnixMillis, max_ttl: Duration) {
        let tables = self.tables.load();
        let past = now.minus(PRUNE_GRACE);
        for shard in &tables.links {
            shard.write().retain(|_, until| until_millis(*until) >= past);
        }
        tables.cut_offs.write().retain(|score| score >= STANDING || UnixMillis(score).plus(max_ttl) >= past);
    }
}

/// One look at the index, for one judgement: tables and cut-offs are fetched once.
struct Look<'i> {
    tables: &'i Tables,
    cut_offs: RwLockReadGuard<'i, CutOffs>,
    freshness: &'i Freshness,
}

impl RevocationView for Look<'_> {
    fn has_link(&self, id: TokenId) -> bool {
        self.tables.shard(id).read().contains_key(&id)
    }

    fn cut_off(&self, member: &[u8]) -> Option<u64> {
        self.cut_offs.scores.get(member).copied()
    }

    fn may_have(&self, tag: u8) -> bool {
        TAGS.iter().position(|known| *known == tag).is_some_and(|at| self.cut_offs.counts[at] > 0)
    }

    fn age(&self, now: Moment) -> Option<Duration> {
        self.freshness.age(now)
    }
}

struct Tables {
    /// Token id → needed until, in seconds: 20 bytes an entry.
    links: [RwLock<HashMap<TokenId, u32>>; SHARDS],
    cut_offs: RwLock<CutOffs>,
}

#[derive(Default)]
struct CutOffs {
    scores: HashMap<Box<[u8]>, u64>,
    /// How many there are with each tag, so that whole families of lookups can be skipped.
    counts: [usize; TAGS.len()],
}

impl Default for Tables {
    fn default() -> Self {
        Self { links: std::array::from_fn(|_| RwLock::default()), cut_offs: RwLock::default() }
    }
}

impl Tables {
    fn shard(&self, id: TokenId) -> &RwLock<HashMap<TokenId, u32>> {
        &self.links[usize::from(id.0[0]) % SHARDS]
    }

    fn apply(&self, change: Change<'_>) {
        match change {
            Change::Link { id, until } => {
                self.shard(id).write().insert(id, until_seconds(until));
            }
            Change::LinkLifted { id } => {
                self.shard(id).write().remove(&id);
            }
            Change::CutOff { member, score } => self.cut_offs.write().set(member, score),
            Change::CutOffLifted { member } => self.cut_offs.write().lift(member),
        }
    }
}

impl CutOffs {
    fn set(&mut self, member: &str, score: u64) {
        if self.scores.insert(member.as_bytes().into(), score).is_none()
            && let Some(count) = count_of(&mut self.counts, member.as_bytes())
        {
            *count += 1;
        }
    }

    fn lift(&mut self, member: &str) {
        if self.scores.remove(member.as_bytes()).is_some()
            && let Some(count) = count_of(&mut self.counts, member.as_bytes())
        {
            *count -= 1;
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(u64) -> bool) {
        let Self { scores, counts } = self;
        scores.retain(|member, score| {
            let is_kept = keep(*score);
            if !is_kept && let Some(count) = count_of(counts, member) {
                *count -= 1;
            }
            is_kept
        });
    }
}

fn count_of<'c>(counts: &'c mut [usize; TAGS.len()], member: &[u8]) -> Option<&'c mut usize> {
    let at = TAGS.iter().position(|tag| member.first() == Some(tag))?;
    Some(&mut counts[at])
}

/// Rounded up; times beyond the year 2106 stay there for good.
fn until_seconds(until: UnixMillis) -> u32 {
    u32::try_from(until.0.div_ceil(1000)).unwrap_or(u32::MAX)
}

fn until_millis(until: u32) -> UnixMillis {
    if until == u32::MAX { UnixMillis::MAX } else { UnixMillis(u64::from(until) * 1000) }
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
        assert!(!index.look(|view| view.may_have(b's')));
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
        assert!(!index.look(|view| view.may_have(b's')));
    }
}
