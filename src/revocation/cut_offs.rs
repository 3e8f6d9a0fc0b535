//! The cut-offs: member → score, in milliseconds.
//!
//! A verdict asks for nine members or more, and nearly always there is none of them. That is answered for all of them
//! at once and without a lock: by a sieve that never leaves the processor's nearest caches while there are few
//! cut-offs, and by a filter in each shard while there are up to some hundred thousand. The hash of a path goes on
//! from that of its folder, so that all folders of a path cost hardly more than the path.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::RwLock;

use super::judge::{Bearings, MAX_DIGITS, decimal};

/// At a hundred thousand cut-offs a shard has about 50, and a filter's word six.
const SHARDS: usize = 2048;
const FILTER_WORDS: usize = 8;
const SIEVE: usize = 2048;
/// Counters of tags; the tags of [`Target`](super::Target) members do not share one.
const TAGS: usize = 32;
const EVERYTHING: &[u8] = b"*";
const NO_SCORE: u64 = u64::MAX;

/// Cut-offs, for any number of readers and writers at once.
pub struct CutOffs {
    hasher: DefaultHashBuilder,
    /// How many members fall where.
    sieve: Box<[AtomicU32]>,
    shards: Box<[Shard]>,
    /// How many there are with each tag, so that whole families of lookups can be skipped.
    tags: [AtomicUsize; TAGS],
    /// The score of `*`, which every verdict finds where it is there; or [`NO_SCORE`].
    everything: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Two bits of one word are set for each member of the table. Written under the table's lock.
    filter: [AtomicU64; FILTER_WORDS],
    table: RwLock<HashTable<CutOff>>,
}

struct CutOff {
    member: Box<[u8]>,
    score: u64,
}

impl Default for CutOffs {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            sieve: (0..SIEVE).map(|_| AtomicU32::new(0)).collect(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            tags: std::array::from_fn(|_| AtomicUsize::new(0)),
            everything: AtomicU64::new(NO_SCORE),
        }
    }
}

impl CutOffs {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tags.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many of them have this tag.
    pub fn count(&self, tag: u8) -> usize {
        self.tag(tag).load(Ordering::Relaxed)
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<u64> {
        if member == EVERYTHING {
            return Some(self.everything.load(Ordering::Acquire)).filter(|score| *score != NO_SCORE);
        }
        let hash = self.hash(member);
        if !self.may_have(hash) {
            return None;
        }
        self.shard(hash).table.read().find(hash, |cut_off| *cut_off.member == *member).map(|cut_off| cut_off.score)
    }

    /// Whether there may be a member that covers links with these bearings, `*` left aside.
    pub fn may_cover(&self, bearings: &Bearings<'_>) -> bool {
        let Bearings { key, client, subject, collection, path } = *bearings;
        // All are looked at whatever the others say: that way none waits for another.
        let mut may = false;
        if self.has_tag(b'k') {
            may |= self.may_have(self.begin().part(decimal(key.0, &mut [0; MAX_DIGITS])).end(b'k'));
        }
        if self.has_tag(b'a') {
            may |= self.may_have(self.begin().part(client.as_bytes()).end(b'a'));
        }
        if let Some(subject) = subject
            && self.has_tag(b's')
        {
            may |= self.may_have(self.hash_of(b's', subject.as_bytes()));
        }
        if self.has_tag(b'i') || self.has_tag(b'p') {
            let mut hash = self.begin().part(collection.as_bytes());
            for part in path.as_bytes().split(|byte| *byte == b'/') {
                may |= self.may_have(hash.end(b'p'));
                hash = hash.part(part);
            }
            may |= self.may_have(hash.end(b'i'));
        }
        may
    }

    /// Whether there are members with this tag.
    pub fn has_tag(&self, tag: u8) -> bool {
        self.tag(tag).load(Ordering::Acquire) > 0
    }

    fn may_have(&self, hash: u64) -> bool {
        self.sieve(hash).load(Ordering::Acquire) > 0 && self.shard(hash).may_have(hash)
    }

    /// Adds a member, or changes its score.
    pub fn insert(&self, member: &[u8], score: u64) {
        self.set(member, score, |known| *known = score);
    }

    /// Adds a member, or changes its score to a higher one.
    pub fn raise(&self, member: &[u8], score: u64) {
        self.set(member, score, |known| *known = score.max(*known));
    }

    fn set(&self, member: &[u8], score: u64, change: impl FnOnce(&mut u64)) {
        let hash = self.hash(member);
        let shard = self.shard(hash);
        let mut table = shard.table.write();
        let score = match table.find_mut(hash, |cut_off| *cut_off.member == *member) {
            Some(cut_off) => {
                change(&mut cut_off.score);
                cut_off.score
            }
            None => {
                let cut_off = CutOff { member: member.into(), score };
                table.insert_unique(hash, cut_off, |cut_off| self.hash(&cut_off.member));
                shard.admit(hash);
                self.sieve(hash).fetch_add(1, Ordering::Release);
                self.tag_of(member).fetch_add(1, Ordering::Release);
                score
            }
        };
        if member == EVERYTHING {
            self.everything.store(score, Ordering::Release);
        }
    }

    /// Removes a member.
    pub fn remove(&self, member: &[u8]) {
        let hash = self.hash(member);
        let shard = self.shard(hash);
        let mut table = shard.table.write();
        if let Ok(found) = table.find_entry(hash, |cut_off| *cut_off.member == *member) {
            found.remove();
            self.discount(hash, member);
            self.tidy(shard, &mut table);
        }
    }

    /// Forgets members with a score that is no longer needed, shard by shard.
    pub fn prune(&self, is_needed: impl Fn(u64) -> bool) {
        for shard in &self.shards {
            if shard.table.read().iter().all(|cut_off| is_needed(cut_off.score)) {
                continue;
            }
            let mut table = shard.table.write();
            table.retain(|cut_off| {
                let is_kept = is_needed(cut_off.score);
                if !is_kept {
                    self.discount(self.hash(&cut_off.member), &cut_off.member);
                }
                is_kept
            });
            self.tidy(shard, &mut table);
        }
    }

    /// Hands every member to `visit`, from a copy of one shard at a time: no lock is held meanwhile.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], u64)) {
        for shard in &self.shards {
            let copy: Vec<(Box<[u8]>, u64)> =
                shard.table.read().iter().map(|cut_off| (cut_off.member.clone(), cut_off.score)).collect();
            for (member, score) in &copy {
                visit(member, *score);
            }
        }
    }

    /// Makes filter and size of a shard fit what was left in it.
    fn tidy(&self, shard: &Shard, table: &mut HashTable<CutOff>) {
        let mut filter = [0; FILTER_WORDS];
        for cut_off in table.iter() {
            let (word, bits) = filter_bits(self.hash(&cut_off.member));
            filter[word] |= bits;
        }
        for (word, bits) in shard.filter.iter().zip(filter) {
            word.store(bits, Ordering::Release);
        }
        if table.len() * 4 < table.capacity() {
            table.shrink_to_fit(|cut_off| self.hash(&cut_off.member));
        }
    }

    fn discount(&self, hash: u64, member: &[u8]) {
        self.sieve(hash).fetch_sub(1, Ordering::Release);
        self.tag_of(member).fetch_sub(1, Ordering::Release);
        if member == EVERYTHING {
            self.everything.store(NO_SCORE, Ordering::Release);
        }
    }

    fn hash(&self, member: &[u8]) -> u64 {
        match member {
            [tag, b':', text @ ..] => self.hash_of(*tag, text),
            _ => self.hash_of(0, member),
        }
    }

    /// The slash at the end of a folder says nothing that its tag does not say.
    fn hash_of(&self, tag: u8, text: &[u8]) -> u64 {
        let text = text.strip_suffix(b"/").unwrap_or(text);
        text.split(|byte| *byte == b'/').fold(self.begin(), MemberHash::part).end(tag)
    }

    fn begin(&self) -> MemberHash {
        MemberHash(self.hasher.build_hasher())
    }

    /// The tables use the lowest and the highest bits of a hash; shards, filters and sieve those in between.
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 20) as usize % SHARDS]
    }

    fn sieve(&self, hash: u64) -> &AtomicU32 {
        &self.sieve[(hash >> 46) as usize % SIEVE]
    }

    fn tag(&self, tag: u8) -> &AtomicUsize {
        &self.tags[usize::from(tag) % TAGS]
    }

    fn tag_of(&self, member: &[u8]) -> &AtomicUsize {
        self.tag(member.first().copied().unwrap_or_default())
    }
}

/// The hash of a member whose parts, which slashes divide, come one after another.
#[derive(Clone)]
struct MemberHash(<DefaultHashBuilder as BuildHasher>::Hasher);

impl MemberHash {
    fn part(mut self, part: &[u8]) -> Self {
        self.0.write(part);
        self
    }

    fn end(&self, tag: u8) -> u64 {
        let mut hasher = self.0.clone();
        hasher.write_u8(tag);
        hasher.finish()
    }
}

impl Shard {
    fn may_have(&self, hash: u64) -> bool {
        let (word, bits) = filter_bits(hash);
        self.filter[word].load(Ordering::Acquire) & bits == bits
    }

    fn admit(&self, hash: u64) {
        let (word, bits) = filter_bits(hash);
        self.filter[word].fetch_or(bits, Ordering::Release);
    }
}

/// The word of a shard's filter that a member belongs to, and its two bits there.
const fn filter_bits(hash: u64) -> (usize, u64) {
    ((hash >> 31) as usize % FILTER_WORDS, 1 << ((hash >> 34) & 63) | 1 << ((hash >> 40) & 63))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::token::KeyId;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_would_hold(steps in prop::collection::vec((0..50_u64, 0..4_u64), 0..300)) {
            let cut_offs = CutOffs::default();
            let mut model = HashMap::new();
            for (number, step) in steps {
                let member = format!("p:image/{number}/").into_bytes();
                match step {
                    0 => {
                        cut_offs.remove(&member);
                        model.remove(&member);
                    }
                    1 if number < 5 => {
                        cut_offs.prune(|score| score >= number * 20);
                        model.retain(|_, score| *score >= number * 20);
                    }
                    _ => {
                        cut_offs.insert(&member, step * number);
                        model.insert(member, step * number);
                    }
                }
                prop_assert_eq!(cut_offs.len(), model.len());
                prop_assert_eq!(cut_offs.has_tag(b'p'), !model.is_empty());
            }
            for number in 0..50 {
                let member = format!("p:image/{number}/").into_bytes();
                prop_assert_eq!(cut_offs.score(&member), model.get(&member).copied());
            }
            let mut held = HashMap::new();
            cut_offs.for_each(|member, score| assert_eq!(held.insert(member.to_vec(), score), None));
            prop_assert_eq!(held, model);
        }
    }

    #[test]
    fn the_filters_answer_most_questions_among_a_hundred_thousand_cut_offs() {
        let cut_offs = CutOffs::default();
        (0..100_000).for_each(|number| cut_offs.insert(format!("p:image/users/{number}/").as_bytes(), 1));
        let passed = (0..10_000)
            .map(|number| cut_offs.hash(format!("i:image/users/{number}/cat.jpg").as_bytes()))
            .filter(|hash| cut_offs.shard(*hash).may_have(*hash))
            .count();
        assert!(passed < 1_000, "{passed}");
    }

    #[test]
    fn nothing_stays_in_a_filter_when_all_is_lifted() {
        let cut_offs = CutOffs::default();
        let members: Vec<String> = (0..10_000).map(|number| format!("s:user-{number}")).collect();
        for member in &members {
            cut_offs.insert(member.as_bytes(), 1);
        }
        for member in &members {
            cut_offs.remove(member.as_bytes());
        }
        let words = cut_offs.shards.iter().flat_map(|shard| &shard.filter);
        assert!(words.into_iter().all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(cut_offs.sieve.iter().all(|count| count.load(Ordering::Relaxed) == 0));
        assert!(cut_offs.shards.iter().all(|shard| shard.table.read().capacity() == 0));
    }

    #[test]
    fn any_cut_off_that_covers_a_link_is_announced() {
        let bearings = Bearings {
            key: KeyId(42),
            client: "backend",
            subject: Some("user/7"),
            collection: "image",
            path: "users/7/cat.jpg",
        };
        let covering = ["k:42", "a:backend", "s:user/7", "i:image/users/7/cat.jpg"];
        let folders = ["p:image/", "p:image/users/", "p:image/users/7/"];
        for member in covering.into_iter().chain(folders) {
            let cut_offs = CutOffs::default();
            assert!(!cut_offs.may_cover(&bearings));
            cut_offs.insert(member.as_bytes(), 1);
            assert!(cut_offs.may_cover(&bearings), "{member}");
            cut_offs.remove(member.as_bytes());
            assert!(!cut_offs.may_cover(&bearings), "{member}");
        }
        let cut_offs = CutOffs::default();
        cut_offs.insert(b"*", 1);
        assert!(!cut_offs.may_cover(&bearings), "that one is asked for by its name");
    }

    #[test]
    fn the_cut_off_of_all_links_is_read_as_it_was_written() {
        let cut_offs = CutOffs::default();
        assert_eq!(cut_offs.score(b"*"), None);
        cut_offs.insert(b"*", 5);
        cut_offs.raise(b"*", 3);
        assert_eq!(cut_offs.score(b"*"), Some(5));
        cut_offs.prune(|_| false);
        assert_eq!(cut_offs.score(b"*"), None);
    }

    #[test]
    fn known_tags_do_not_share_a_counter() {
        let mut counters: Vec<usize> = b"*kasipl".iter().map(|tag| usize::from(*tag) % TAGS).collect();
        counters.sort_unstable();
        counters.dedup();
        assert_eq!(counters.len(), 7);
    }
}
