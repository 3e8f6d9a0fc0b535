//! One shard of the revoked links: a table that is nearly full at every size.
//!
//! Open addressing with linear probing. The home of an entry is where its hash falls when the slots are spread over
//! the range of hashes, and entries lie in the order of their homes ("Robin Hood"), so a lookup that finds nothing
//! ends after a few slots. Removal moves the followers back and leaves no tombstones. At most 17 of 20 slots are
//! taken and at least 5 of 9, so that an entry costs 24 to 36 bytes, 30 right after growth.

use std::num::NonZeroU32;

use crate::token::TokenId;

/// A revoked link, and until when the entry is needed, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: TokenId,
    pub until: NonZeroU32,
}

const _: () = assert!(size_of::<Option<Entry>>() == 20, "an empty slot is told by its time");

/// Hashes token ids under a secret: whoever may revoke can name any id, and must not choose where it falls.
#[derive(Clone, Copy)]
pub struct IdHasher([u64; 3]);

impl IdHasher {
    /// A hasher with a secret of that many random bytes.
    pub fn new(secret: [u8; 24]) -> Self {
        let (words, _) = secret.as_chunks::<8>();
        Self(std::array::from_fn(|at| u64::from_ne_bytes(words[at])))
    }

    /// Two rounds of folded multiplication, as in wyhash.
    pub const fn hash(&self, id: TokenId) -> u64 {
        let [first, second, last] = self.0;
        let bits = u128::from_ne_bytes(id.0);
        fold(fold(bits as u64 ^ first, (bits >> 64) as u64 ^ second) ^ last, last | 1)
    }
}

const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The table. Every method must be given the same hasher, and hashes of its making.
///
/// Of a hash, the low half says where the home is.
#[derive(Clone, Default)]
pub struct LinkTable {
    slots: Box<[Option<Entry>]>,
    len: usize,
}

impl LinkTable {
    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    /// Whether there is an entry of that id.
    pub fn contains(&self, id: TokenId, hash: u64, hasher: &IdHasher) -> bool {
        self.find(id, hash, hasher).is_ok()
    }

    /// Puts an entry in place of the one of its id; whether there was none.
    pub fn insert(&mut self, entry: Entry, hash: u64, hasher: &IdHasher) -> bool {
        if let Ok(at) = self.find(entry.id, hash, hasher) {
            self.slots[at] = Some(entry);
            return false;
        }
        let len = self.len() + 1;
        if !has_room(self.slots.len(), len) {
            self.resize(roomy(len), hasher);
        }
        self.add(entry, hash, hasher);
        true
    }

    /// Removes the entry of that id; whether there was one.
    pub fn remove(&mut self, id: TokenId, hash: u64, hasher: &IdHasher) -> bool {
        let Ok(at) = self.find(id, hash, hasher) else { return false };
        self.close_gap(at, hasher);
        self.len -= 1;
        if is_sparse(self.slots.len(), self.len()) {
            self.resize(roomy(self.len()), hasher);
        }
        true
    }

    /// Keeps only some entries; answers how many are gone.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool, hasher: &IdHasher) -> usize {
        let before = self.len();
        let kept = self.iter().filter(|entry| keep(entry)).count();
        if kept < before {
            self.slots.iter_mut().for_each(|slot| *slot = slot.filter(&keep));
            // Filled in anew, which closes the gaps.
            let slots = self.slots.len();
            self.resize(if is_sparse(slots, kept) { roomy(kept) } else { slots }, hasher);
        }
        before - kept
    }

    /// Makes room for that many entries altogether.
    pub fn reserve(&mut self, entries: usize, hasher: &IdHasher) {
        if !has_room(self.slots.len(), entries) {
            self.resize(tight(entries), hasher);
        }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Where the entry of that id is, or where it would have to be put.
    fn find(&self, id: TokenId, hash: u64, hasher: &IdHasher) -> Result<usize, usize> {
        let mut at = spread(hash, self.slots.len());
        let mut distance = 0;
        // One slot is empty at least, unless there are none at all.
        while let Some(Some(entry)) = self.slots.get(at) {
            if entry.id == id {
                return Ok(at);
            }
            if self.distance(at, entry, hasher) < distance {
                break;
            }
            at = self.after(at);
            distance += 1;
        }
        Err(at)
    }

    /// Adds an entry that is not there and for which there is room; those that lie behind make way.
    fn add(&mut self, entry: Entry, hash: u64, hasher: &IdHasher) {
        let (Ok(mut at) | Err(mut at)) = self.find(entry.id, hash, hasher);
        let mut carried = Some(entry);
        while carried.is_some() {
            std::mem::swap(&mut self.slots[at], &mut carried);
            at = self.after(at);
        }
        self.len += 1;
    }

    /// Empties a slot; the entries behind it that are not at home move up.
    fn close_gap(&mut self, mut at: usize, hasher: &IdHasher) {
        loop {
            let next = self.after(at);
            match self.slots[next] {
                Some(entry) if self.distance(next, &entry, hasher) > 0 => self.slots[at] = Some(entry),
                _ => {
                    self.slots[at] = None;
                    return;
                }
            }
            at = next;
        }
    }

    fn resize(&mut self, slots: usize, hasher: &IdHasher) {
        let old = std::mem::take(self);
        self.slots = vec![None; slots].into_boxed_slice();
        for entry in old.slots.into_iter().flatten() {
            self.add(entry, hasher.hash(entry.id), hasher);
        }
    }

    /// How far behind its home an entry lies.
    fn distance(&self, at: usize, entry: &Entry, hasher: &IdHasher) -> usize {
        let home = spread(hasher.hash(entry.id), self.slots.len());
        if at >= home { at - home } else { at + self.slots.len() - home }
    }

    const fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// Spreads the low halves of hashes over that many places, in their order.
const fn spread(hash: u64, places: usize) -> usize {
    ((hash as u32 as u64 * places as u64) >> 32) as usize
}

const fn is_sparse(slots: usize, entries: usize) -> bool {
    entries * 9 < slots * 5 && roomy(entries) < slots
}

const fn has_room(slots: usize, entries: usize) -> bool {
    entries * 20 <= slots * 17
}

/// The fewest slots for that many entries.
const fn tight(entries: usize) -> usize {
    (entries * 20).div_ceil(17)
}

/// Slots for that many entries and a quarter more.
const fn roomy(entries: usize) -> usize {
    tight(entries * 5).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const HASHER: IdHasher = IdHasher([0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7]);

    fn entry(number: u32, until: u32) -> Entry {
        // All but the last four bytes are shared, as an unkind revoker may choose them.
        let mut id = [7; 16];
        id[12..].copy_from_slice(&number.to_be_bytes());
        Entry { id: TokenId(id), until: NonZeroU32::new(until).unwrap() }
    }

    fn longest_probe(table: &LinkTable) -> usize {
        let occupied = table.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
        occupied.map(|(at, entry)| table.distance(at, entry, &HASHER)).max().unwrap_or_default()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u32),
        Remove(u32),
        Retain(u32),
        Reserve(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => (0..300_u32, 1..100_u32).prop_map(|(number, until)| Step::Insert(number, until)),
            8 => (0..300_u32).prop_map(Step::Remove),
            1 => (0..100_u32).prop_map(Step::Retain),
            1 => (0..200_usize).prop_map(Step::Reserve),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_would_hold(steps in prop::collection::vec(step(), 0..600)) {
            let mut table = LinkTable::default();
            let mut model = HashMap::new();
            let mut is_reserved = false;
            for step in steps {
                match step {
                    Step::Insert(number, until) => {
                        let Entry { id, until } = entry(number, until);
                        prop_assert_eq!(table.insert(Entry { id, until }, HASHER.hash(id), &HASHER), model.insert(id, until).is_none());
                    }
                    Step::Remove(number) => {
                        let id = entry(number, 1).id;
                        let is_there = model.remove(&id).is_some();
                        prop_assert_eq!(table.remove(id, HASHER.hash(id), &HASHER), is_there);
                        is_reserved &= !is_there;
                    }
                    Step::Retain(from) => {
                        let before = model.len();
                        model.retain(|_, until| until.get() >= from);
                        prop_assert_eq!(table.retain(|entry| entry.until.get() >= from, &HASHER), before - model.len());
                        is_reserved &= before == model.len();
                    }
                    Step::Reserve(entries) => {
                        table.reserve(entries, &HASHER);
                        is_reserved = true;
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(is_reserved || !is_sparse(table.slots.len(), table.len()));
            }
            for number in 0..300 {
                let id = entry(number, 1).id;
                prop_assert_eq!(table.contains(id, HASHER.hash(id), &HASHER), model.contains_key(&id));
            }
            let held: HashMap<_, _> = table.iter().map(|entry| (entry.id, entry.until)).collect();
            prop_assert_eq!(held, model);
        }
    }

    fn insert(table: &mut LinkTable, number: u32) {
        let entry = entry(number, 1);
        assert!(table.insert(entry, HASHER.hash(entry.id), &HASHER));
    }

    fn remove(table: &mut LinkTable, number: u32) {
        let id = entry(number, 1).id;
        assert!(table.remove(id, HASHER.hash(id), &HASHER));
    }

    #[test]
    fn an_entry_costs_at_most_36_bytes_at_every_size() {
        let bytes = |table: &LinkTable| size_of_val(&*table.slots);
        let mut table = LinkTable::default();
        for number in 0..20_000 {
            insert(&mut table, number);
            assert!(table.len() < 50 || bytes(&table) <= 30 * table.len(), "{} at {}", bytes(&table), table.len());
        }
        for number in 0..20_000 {
            remove(&mut table, number);
            assert!(table.len() < 50 || bytes(&table) <= 37 * table.len(), "{} at {}", bytes(&table), table.len());
        }
        assert_eq!(bytes(&table), 0);
    }

    #[test]
    fn ids_chosen_alike_do_not_pile_up() {
        let mut table = LinkTable::default();
        (0..50_000).for_each(|number| insert(&mut table, number));
        assert!(longest_probe(&table) < 100, "{}", longest_probe(&table));
    }

    #[test]
    fn room_that_was_made_ahead_is_not_made_again() {
        let mut table = LinkTable::default();
        table.reserve(1_000, &HASHER);
        let slots = table.slots.len();
        (0..1_000).for_each(|number| insert(&mut table, number));
        table.reserve(1_000, &HASHER);
        assert_eq!((slots, table.slots.len()), (1_177, 1_177));
    }
}
