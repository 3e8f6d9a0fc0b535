//! A filter in one piece in front of all tables of links: whether an id may be there is told by one word of memory,
//! without a lock.
//!
//! The invariant: at any time, each entry of the tables has its bits in the filter that is asked. So bits are set
//! before an entry is added, and under the lock of its shard. A filter that has become too small is followed by one
//! twice its size, which is filled from one shard after another and then asked instead. Until then bits are set in
//! both: what is added to a shard before its turn is found there, what is added later sees the new filter.
//!
//! The words of a shard lie side by side, so that whoever holds its lock can make them anew.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Entries in a word of the filter when it is followed by another: eight bits for each. At least four when it was
/// made so by growing.
const ENTRIES_PER_WORD: usize = 8;
/// Sizes that there can be, each twice the one before.
const SIZES: usize = 18;

/// Filters of all sizes that were needed so far.
///
/// Those that have become too small stay, for a lookup that still reads one to need neither lock nor count. Together
/// they take less memory than the one that followed them. It never shrinks: with the links at their fewest again it
/// keeps at most four bytes for each of the most there were.
pub struct LinkFilter {
    /// The smallest has a word for each shard.
    shard_bits: u32,
    sizes: [OnceLock<Box<[AtomicU64]>>; SIZES],
    /// The size that is asked.
    current: AtomicUsize,
}

impl LinkFilter {
    /// An empty filter in front of `1 << shard_bits` shards, which the highest bits of a hash tell apart.
    pub fn new(shard_bits: u32) -> Self {
        let filter = Self { shard_bits, sizes: std::array::from_fn(|_| OnceLock::new()), current: AtomicUsize::new(0) };
        filter.make(0);
        filter
    }

    /// Whether an entry with this hash may be there.
    pub fn may_have(&self, hash: u64) -> bool {
        let size = self.current.load(Ordering::Acquire);
        let word = self.sizes[size].get().and_then(|words| words.get(self.word_of(hash, size)));
        word.is_none_or(|word| word.load(Ordering::Acquire) & bits_of(hash) == bits_of(hash))
    }

    /// Fetches the word that [`LinkFilter::may_have`] will look at.
    pub fn expect(&self, hash: u64) {
        let size = self.current.load(Ordering::Acquire);
        if let Some(words) = self.sizes[size].get() {
            prefetch_index::prefetch_index(words, self.word_of(hash, size));
        }
    }

    /// Admits an entry that is about to be added to its shard, whose lock is held.
    pub fn admit(&self, hash: u64) {
        for size in self.current.load(Ordering::Acquire)..SIZES {
            self.admit_in(size, hash);
        }
    }

    /// Makes the words of a shard anew, whose lock is held: that of the lifted entries is gone then.
    pub fn renew(&self, shard: usize, hashes: impl Iterator<Item = u64>) {
        let size = self.current.load(Ordering::Acquire);
        let words_per_shard = 1 << size;
        let mut words = vec![0; words_per_shard];
        for hash in hashes {
            words[self.word_of(hash, size) % words_per_shard] |= bits_of(hash);
        }
        let from = shard * words_per_shard;
        let renewed = self.sizes[size].get().and_then(|all| all.get(from..from + words_per_shard));
        for (word, bits) in renewed.unwrap_or_default().iter().zip(words) {
            word.store(bits, Ordering::Release);
        }
    }

    /// Whether that many entries are more than the filter that is asked should have.
    pub fn is_too_small(&self, entries: usize) -> bool {
        let current = self.current.load(Ordering::Relaxed);
        entries > self.capacity(current) && current + 1 < SIZES
    }

    /// The size for that many entries; never smaller than that which is asked.
    pub fn size_for(&self, entries: usize) -> usize {
        let current = self.current.load(Ordering::Relaxed);
        (current..SIZES).find(|size| entries <= self.capacity(*size)).unwrap_or(SIZES - 1)
    }

    /// Makes the filter of a size; bits are set in it from now on.
    pub fn make(&self, size: usize) {
        self.sizes[size].get_or_init(|| (0..1 << (self.shard_bits + size as u32)).map(|_| AtomicU64::new(0)).collect());
    }

    /// Admits an entry that is in its shard, whose lock is held, to the filter of a size that was made.
    pub fn admit_in(&self, size: usize, hash: u64) {
        let word = self.sizes[size].get().and_then(|words| words.get(self.word_of(hash, size)));
        if let Some(word) = word {
            word.fetch_or(bits_of(hash), Ordering::Release);
        }
    }

    /// From now on the filter of that size is asked: all entries have their bits there.
    pub fn ask(&self, size: usize) {
        self.current.store(size, Ordering::Release);
    }

    const fn capacity(&self, size: usize) -> usize {
        ENTRIES_PER_WORD << (self.shard_bits as usize + size)
    }

    /// The highest bits of a hash, those of its shard first.
    const fn word_of(&self, hash: u64, size: usize) -> usize {
        (hash >> (u64::BITS - self.shard_bits - size as u32)) as usize
    }
}

/// The three bits of an entry in its word, from the lowest bits of its hash.
const fn bits_of(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << ((hash >> 6) & 63) | 1 << ((hash >> 12) & 63)
}
