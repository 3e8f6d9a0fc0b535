//! The revoked links: token id → until when the entry is needed.
//!
//! The links lie in many small tables, each behind a lock of its own: a table that grows is small, so neither growth
//! nor pruning holds up a verdict for longer than a few microseconds. Nearly every verdict is spared even that by the
//! filter in front of them, which needs no lock.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::link_filter::LinkFilter;
use super::link_table::{Entry, IdHasher, LinkTable};
use crate::clock::UnixMillis;
use crate::entropy;
use crate::token::TokenId;

/// At ten million links a table has about 2400.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 12;

/// Revoked links, for any number of readers and writers at once.
pub struct Links {
    hasher: IdHasher,
    filter: LinkFilter,
    shards: Box<[RwLock<Shard>]>,
    count: AtomicUsize,
    growth: Mutex<Option<Growth>>,
}

#[derive(Default)]
struct Shard {
    table: LinkTable,
    /// Entries that are gone, but may still have bits in the filter.
    lifted: usize,
}

/// How far a larger filter is filled.
#[derive(Clone, Copy)]
struct Growth {
    size: usize,
    /// Shards that it has the entries of.
    shards: usize,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            hasher: IdHasher::new(entropy::random()),
            filter: LinkFilter::new(SHARD_BITS),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            growth: Mutex::new(None),
        }
    }
}

impl Links {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Fetches what [`Links::contains`] will look at.
    pub fn expect(&self, id: TokenId) {
        self.filter.expect(self.hasher.hash(id));
    }

    /// Whether a link is among them.
    pub fn contains(&self, id: TokenId) -> bool {
        let hash = self.hasher.hash(id);
        self.filter.may_have(hash) && self.shards[shard_of(hash)].read().table.contains(id, hash, &self.hasher)
    }

    /// Adds a link, or changes its time.
    pub fn insert(&self, id: TokenId, until: UnixMillis) {
        let entry = Entry { id, until: seconds(until) };
        let hash = self.hasher.hash(id);
        let mut shard = self.shards[shard_of(hash)].write();
        self.filter.admit(hash);
        let is_new = shard.table.insert(entry, hash, &self.hasher);
        drop(shard);
        if is_new {
            let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if self.filter.is_too_small(count) {
                self.grow_filter();
            }
        }
    }

    /// Removes a link.
    pub fn remove(&self, id: TokenId) {
        let hash = self.hasher.hash(id);
        let at = shard_of(hash);
        let mut shard = self.shards[at].write();
        if shard.table.remove(id, hash, &self.hasher) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            shard.lifted += 1;
            if shard.lifted > shard.table.len() / 4 {
                self.renew_filter(at, &mut shard);
            }
        }
    }

    /// Makes room for that many links altogether.
    pub fn reserve(&self, links: usize) {
        // Three deviations more than the mean: hardly any shard will have to grow on the way there.
        let mean = links / SHARDS;
        let entries = mean + 3 * mean.isqrt();
        for shard in &self.shards {
            shard.write().table.reserve(entries, &self.hasher);
        }
        let mut growth = self.growth.lock();
        let begun = growth.map_or(0, |growth| growth.size);
        let growing = Growth { size: self.filter.size_for(links).max(begun), shards: 0 };
        *growth = self.fill_filter(growing, SHARDS);
    }

    /// Forgets links that are not needed after `past`, shard by shard.
    pub fn prune(&self, past: UnixMillis) {
        let is_needed = |entry: &Entry| millis(entry.until) >= past;
        for (at, shard) in self.shards.iter().enumerate() {
            if !shard.read().table.iter().all(is_needed) {
                let mut shard = shard.write();
                let forgotten = shard.table.retain(is_needed, &self.hasher);
                self.count.fetch_sub(forgotten, Ordering::Relaxed);
                self.renew_filter(at, &mut shard);
            }
        }
    }

    /// Hands every link to `visit`, from a copy of one shard at a time: no lock is held meanwhile.
    pub fn for_each(&self, mut visit: impl FnMut(TokenId, UnixMillis)) {
        for shard in &self.shards {
            let copy = shard.read().table.clone();
            copy.iter().for_each(|entry| visit(entry.id, millis(entry.until)));
        }
    }

    /// Goes one shard further on the way to a larger filter, so that none of the links that are added takes long.
    fn grow_filter(&self) {
        // Where another thread is at it, this one may go.
        let Some(mut growth) = self.growth.try_lock() else { return };
        let growing = growth.unwrap_or_else(|| Growth { size: self.filter.size_for(self.len()), shards: 0 });
        *growth = self.fill_filter(growing, 1);
    }

    /// Fills a larger filter from that many more shards; `None` when it has them all and is the one that is asked.
    fn fill_filter(&self, Growth { size, shards }: Growth, more: usize) -> Option<Growth> {
        self.filter.make(size);
        let end = SHARDS.min(shards + more);
        for shard in &self.shards[shards..end] {
            // Keeps writers away, and no verdict.
            let shard = shard.read();
            shard.table.iter().for_each(|entry| self.filter.admit_in(size, self.hasher.hash(entry.id)));
        }
        if end < SHARDS {
            return Some(Growth { size, shards: end });
        }
        self.filter.ask(size);
        None
    }

    fn renew_filter(&self, at: usize, shard: &mut Shard) {
        self.filter.renew(at, shard.table.iter().map(|entry| self.hasher.hash(entry.id)));
        shard.lifted = 0;
    }
}

/// The shards use the highest bits of a hash, the tables the others.
const fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARD_BITS)) as usize
}

/// Rounded up; times beyond the year 2106 stay there for good.
fn seconds(until: UnixMillis) -> NonZeroU32 {
    let seconds = u32::try_from(until.0.div_ceil(1000)).unwrap_or(u32::MAX);
    NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN)
}

fn millis(until: NonZeroU32) -> UnixMillis {
    if until == NonZeroU32::MAX { UnixMillis::MAX } else { UnixMillis(u64::from(until.get()) * 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> TokenId {
        let mut id = [7; 16];
        id[12..].copy_from_slice(&number.to_be_bytes());
        TokenId(id)
    }

    #[test]
    fn links_are_counted_once() {
        let links = Links::default();
        for _ in 0..2 {
            (0..1_000).for_each(|number| links.insert(id(number), UnixMillis(u64::from(number) * 1_000)));
        }
        assert_eq!(links.len(), 1_000);
        for _ in 0..2 {
            links.remove(id(999));
        }
        assert_eq!(links.len(), 999);
        links.prune(UnixMillis(500_000));
        assert_eq!(links.len(), 499);
        assert!((0..999).all(|number| links.contains(id(number)) == (number >= 500)));
    }

    /// How many of ten thousand questions for ids that are not there the filter leaves open.
    fn left_open(links: &Links) -> usize {
        (1_000_000..1_010_000).filter(|number| links.filter.may_have(links.hasher.hash(id(*number)))).count()
    }

    #[test]
    fn what_is_revoked_is_seen_at_once_while_the_filter_grows() {
        const LINKS: u32 = 150_000;
        let links = Links::default();
        let revoked = [AtomicUsize::new(0), AtomicUsize::new(0)];
        std::thread::scope(|scope| {
            for (half, done) in revoked.iter().enumerate() {
                let links = &links;
                scope.spawn(move || {
                    loop {
                        // Each was revoked before the count said so.
                        let seen = done.load(Ordering::Acquire);
                        let newest = (seen.saturating_sub(50)..seen).chain((0..seen).step_by(seen / 50 + 1));
                        for number in newest {
                            assert!(links.contains(id((number * 2 + half) as u32)), "{number} of {seen}");
                        }
                        if seen == LINKS as usize / 2 {
                            break;
                        }
                    }
                });
                scope.spawn(move || {
                    for number in (half as u32..LINKS).step_by(2) {
                        links.insert(id(number), UnixMillis::MAX);
                        done.fetch_add(1, Ordering::Release);
                    }
                });
            }
        });
        assert!((0..LINKS).all(|number| links.contains(id(number))));
        assert!(!links.filter.is_too_small(links.len()));
        assert!(left_open(&links) < 600, "{}", left_open(&links));
    }

    #[test]
    fn the_filter_is_made_anew_while_it_is_read() {
        let links = Links::default();
        (0..100_000).for_each(|number| links.insert(id(number), UnixMillis(u64::from(number % 2) * 9_000)));
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in (0..100_000).filter(|number| number % 10 > 1 && number % 3 == 0) {
                    links.remove(id(number));
                }
                links.prune(UnixMillis(5_000));
                done.store(1, Ordering::Release);
            });
            while done.load(Ordering::Acquire) == 0 {
                assert!((1..100_000).step_by(10).all(|number| links.contains(id(number))));
            }
        });
        (0..100_000).for_each(|number| links.remove(id(number)));
        assert_eq!((links.len(), left_open(&links)), (0, 0));
    }

    #[test]
    fn the_filter_answers_for_nearly_every_id_that_is_not_there() {
        let links = Links::default();
        for number in 0..80_000 {
            links.insert(id(number), UnixMillis::MAX);
            assert!(number % 8_000 > 0 || left_open(&links) < 700, "{} at {number}", left_open(&links));
        }
        let reserved = Links::default();
        reserved.reserve(500_000);
        (0..80_000).for_each(|number| reserved.insert(id(number), UnixMillis::MAX));
        assert!(left_open(&reserved) < 30, "{}", left_open(&reserved));
        assert!((0..80_000).all(|number| reserved.contains(id(number))));
    }

    #[test]
    fn room_that_is_made_late_loses_nobody() {
        let links = Links::default();
        (0..40_000).for_each(|number| links.insert(id(number), UnixMillis::MAX));
        links.reserve(300_000);
        (40_000..50_000).for_each(|number| links.insert(id(number), UnixMillis::MAX));
        assert!((0..50_000).all(|number| links.contains(id(number))));
    }

    #[test]
    fn ids_chosen_alike_are_spread_over_the_shards() {
        let links = Links::default();
        (0..160_000).for_each(|number| links.insert(id(number), UnixMillis::MAX));
        let fullest = links.shards.iter().map(|shard| shard.read().table.iter().count()).max();
        assert!(fullest < Some(90), "{fullest:?}, where forty is the mean");
    }

    #[test]
    fn times_that_no_entry_can_hold_are_the_nearest_that_it_can() {
        assert_eq!(millis(seconds(UnixMillis(0))), UnixMillis(1_000));
        assert_eq!(millis(seconds(UnixMillis(1_001))), UnixMillis(2_000));
        assert_eq!(millis(seconds(UnixMillis::MAX)), UnixMillis::MAX);
    }

    #[test]
    fn whoever_visits_may_change_what_is_visited() {
        let links = Links::default();
        (0..1_000).for_each(|number| links.insert(id(number), UnixMillis(5_000)));
        let mut visited = 0;
        links.for_each(|id, until| {
            assert_eq!(until, UnixMillis(5_000));
            links.remove(id);
            visited += 1;
        });
        assert_eq!((visited, links.len()), (1_000, 0));
    }

    #[test]
    fn pruning_holds_one_lock_at_a_time() {
        let links = Links::default();
        (0..100_000).for_each(|number| links.insert(id(number), UnixMillis(5_000)));
        let reading = links.shards[SHARDS / 2].read();
        std::thread::scope(|scope| {
            let pruning = scope.spawn(|| links.prune(UnixMillis(10_000)));
            // It gets as far as the shard that is being read, and waits there with nothing else in its hands.
            while links.len() > 60_000 || links.shards[SHARDS / 2].try_read().is_some() {
                std::thread::yield_now();
            }
            let held = links.shards.iter().filter(|shard| shard.try_write().is_none()).count();
            assert_eq!((held, pruning.is_finished()), (1, false));
            drop(reading);
        });
        assert_eq!(links.len(), 0);
    }
}
