//! Answers that are kept for a while, in a file of their own: what callers fill takes no room from revocations there.

use std::time::Duration;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::tables::{commit, failed};
use super::{EmbeddedStore, storage_error};
use crate::answers::{AnswerStore, Budget, ENTRY_BYTES, Place};
use crate::clock::UnixMillis;
use crate::revocation::StoreError;

/// Caller and name → its number in the caller's order, when it ends, and the value.
const ANSWERS: TableDefinition<'_, (&str, &str), (u64, u64, &[u8])> = TableDefinition::new("answers");
/// Caller and number → name.
const ORDER: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("answers_in_order");
/// When it ends, caller and name.
const BY_END: TableDefinition<'_, (u64, &str, &str), ()> = TableDefinition::new("answers_by_end");
/// Caller → bytes; a party's letter → those of all its callers.
const BYTES: TableDefinition<'_, &str, u64> = TableDefinition::new("bytes");
/// Party, bytes and caller.
const BY_BYTES: TableDefinition<'_, (&str, u64, &str), ()> = TableDefinition::new("callers_by_bytes");
/// Answers forgotten in one sweep.
const SWEEP_BATCH: usize = 200;

/// Makes the tables.
pub fn create(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    Tables::open(&transaction)?;
    commit(transaction)
}

/// Whether there is an answer whose time is over.
pub fn any_over(database: &Database, now: UnixMillis) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let by_end = transaction.open_table(BY_END).map_err(failed)?;
    let first = by_end.first().map_err(storage_error)?;
    Ok(first.is_some_and(|(key, _)| key.value().0 < now.0))
}

/// Forgets answers whose time is over, so many at a time.
pub fn forget(database: &Database, now: UnixMillis) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut tables = Tables::open(&transaction)?;
        let mut over = Vec::new();
        for entry in tables.by_end.range(..(now.0, "", "")).map_err(storage_error)?.take(SWEEP_BATCH) {
            let (key, _) = entry.map_err(storage_error)?;
            let (_, caller, name) = key.value();
            over.push((caller.to_owned(), name.to_owned()));
        }
        for (caller, name) in over {
            tables.remove(&caller, &name)?;
        }
    }
    commit(transaction)
}

/// What became of a value.
#[derive(Debug, PartialEq, Eq)]
struct Put {
    /// What was in the place.
    before: Option<Vec<u8>>,
    /// Whether the value is there now.
    is_kept: bool,
}

/// Puts a value in a place until its end, or frees the place. What is there is left alone unless it is `over`.
fn put(
    database: &Database,
    place: &Place,
    value: Option<(UnixMillis, &[u8])>,
    budget: Budget,
    now: UnixMillis,
    over: &[u8],
) -> Result<Put, StoreError> {
    let party = place.party.letter();
    let caller = format!("{party}:{}", place.caller);
    let transaction = database.begin_write().map_err(failed)?;
    let before;
    let fitting = value.filter(|(_, value)| cost(value) <= budget.each);
    {
        let mut tables = Tables::open(&transaction)?;
        before = tables.alive(&caller, &place.name, now)?;
        if before.as_ref().is_some_and(|known| known != over) {
            return Ok(Put { before, is_kept: false });
        }
        tables.remove(&caller, &place.name)?;
        if let Some((end, value)) = fitting {
            tables.insert(&caller, &place.name, end, value)?;
        }
        while tables.bytes(&caller)? > budget.each {
            tables.remove_oldest(&caller)?;
        }
        while tables.bytes(party)? > budget.all {
            let Some(most) = tables.caller_with_most(party)? else { break };
            tables.remove_oldest(&most)?;
        }
    }
    commit(transaction)?;
    Ok(Put { before, is_kept: fitting.is_some() })
}

/// What a value takes, in bytes.
const fn cost(value: &[u8]) -> u64 {
    value.len() as u64 + ENTRY_BYTES
}

/// All tables, open for writing. A caller goes by `<letter of its party>:<caller>`.
struct Tables<'t> {
    answers: Table<'t, (&'static str, &'static str), (u64, u64, &'static [u8])>,
    order: Table<'t, (&'static str, u64), &'static str>,
    by_end: Table<'t, (u64, &'static str, &'static str), ()>,
    bytes: Table<'t, &'static str, u64>,
    by_bytes: Table<'t, (&'static str, u64, &'static str), ()>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            answers: transaction.open_table(ANSWERS).map_err(failed)?,
            order: transaction.open_table(ORDER).map_err(failed)?,
            by_end: transaction.open_table(BY_END).map_err(failed)?,
            bytes: transaction.open_table(BYTES).map_err(failed)?,
            by_bytes: transaction.open_table(BY_BYTES).map_err(failed)?,
        })
    }

    /// The value in a place, unless its time is over.
    fn alive(&self, caller: &str, name: &str, now: UnixMillis) -> Result<Option<Vec<u8>>, StoreError> {
        let known = self.answers.get((caller, name)).map_err(storage_error)?;
        Ok(known.filter(|entry| entry.value().1 >= now.0).map(|entry| entry.value().2.to_vec()))
    }

    fn insert(&mut self, caller: &str, name: &str, end: UnixMillis, value: &[u8]) -> Result<(), StoreError> {
        let last = self.order.range((caller, 0)..=(caller, u64::MAX)).map_err(storage_error)?.next_back();
        let number = last.transpose().map_err(storage_error)?.map_or(0, |(key, _)| key.value().1 + 1);
        self.answers.insert((caller, name), (number, end.0, value)).map_err(storage_error)?;
        self.order.insert((caller, number), name).map_err(storage_error)?;
        self.by_end.insert((end.0, caller, name), ()).map_err(storage_error)?;
        let bytes = self.bytes(caller)?;
        self.account(caller, bytes, bytes + cost(value))
    }

    fn remove(&mut self, caller: &str, name: &str) -> Result<(), StoreError> {
        let (number, end, cost) = {
            let Some(entry) = self.answers.remove((caller, name)).map_err(storage_error)? else { return Ok(()) };
            let (number, end, value) = entry.value();
            (number, end, cost(value))
        };
        self.order.remove((caller, number)).map_err(storage_error)?;
        self.by_end.remove((end, caller, name)).map_err(storage_error)?;
        let bytes = self.bytes(caller)?;
        self.account(caller, bytes, bytes.saturating_sub(cost))
    }

    fn remove_oldest(&mut self, caller: &str) -> Result<(), StoreError> {
        let oldest = {
            let first = self.order.range((caller, 0)..=(caller, u64::MAX)).map_err(storage_error)?.next();
            first.transpose().map_err(storage_error)?.map(|(_, name)| name.value().to_owned())
        };
        match oldest {
            Some(name) => self.remove(caller, &name),
            None => self.account(caller, self.bytes(caller)?, 0),
        }
    }

    fn bytes(&self, whose: &str) -> Result<u64, StoreError> {
        Ok(self.bytes.get(whose).map_err(storage_error)?.map_or(0, |bytes| bytes.value()))
    }

    /// Notes what a caller takes now, and with it what all do.
    fn account(&mut self, caller: &str, before: u64, now: u64) -> Result<(), StoreError> {
        let party = caller.split(':').next().unwrap_or_default();
        let all = self.bytes(party)?.saturating_sub(before) + now;
        self.bytes.insert(party, all).map_err(storage_error)?;
        self.by_bytes.remove((party, before, caller)).map_err(storage_error)?;
        if now > 0 {
            self.bytes.insert(caller, now).map_err(storage_error)?;
            self.by_bytes.insert((party, now, caller), ()).map_err(storage_error)?;
        } else {
            self.bytes.remove(caller).map_err(storage_error)?;
        }
        Ok(())
    }

    fn caller_with_most(&self, party: &str) -> Result<Option<String>, StoreError> {
        let callers = self.by_bytes.range((party, 0, "")..(party, u64::MAX, "")).map_err(storage_error)?;
        let most = { callers }.next_back().transpose().map_err(storage_error)?;
        Ok(most.map(|(key, _)| key.value().2.to_owned()))
    }
}

impl EmbeddedStore {
    async fn put_answer(
        &self,
        place: &Place,
        value: Option<(&[u8], Duration)>,
        over: &[u8],
    ) -> Result<Put, StoreError> {
        let place = place.clone();
        let value = value.map(|(value, hold)| (value.to_vec(), hold));
        let over = over.to_vec();
        let _turn = self.inner.keepers.acquire().await.map_err(|closed| StoreError::Failed(closed.to_string()))?;
        self.run(move |inner| {
            let now = inner.clock.now().wall;
            let value = value.as_ref().map(|(value, hold)| (now.plus(*hold), value.as_slice()));
            let put = |database: &Database| put(database, &place, value, place.party.budget(), now, &over);
            inner.answers.write(put, |put| put)
        })
        .await
    }
}

#[async_trait]
impl AnswerStore for EmbeddedStore {
    async fn claim(
        &self,
        place: &Place,
        value: &[u8],
        over: Option<&[u8]>,
        hold: Duration,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let put = self.put_answer(place, Some((value, hold)), over.unwrap_or_default()).await?;
        Ok(put.before.filter(|_| !put.is_kept))
    }

    async fn keep(&self, place: &Place, value: &[u8], over: &[u8], hold: Duration) -> Result<bool, StoreError> {
        Ok(self.put_answer(place, Some((value, hold)), over).await?.is_kept)
    }

    async fn release(&self, place: &Place, over: &[u8]) -> Result<(), StoreError> {
        self.put_answer(place, None, over).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::answers::Party;

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(folder.path().join("t.redb")).unwrap();
        create(&database).unwrap();
        (folder, database)
    }

    fn place(party: Party, caller: &str, name: &str) -> Place {
        Place { party, caller: caller.into(), name: name.into() }
    }

    #[test]
    fn a_place_is_claimed_once_and_free_again_when_its_time_is_over() {
        let (_folder, database) = database();
        let (place, budget) = (place(Party::Clients, "a", "n"), Party::Clients.budget());
        let claim = |at: u64, end| {
            put(&database, &place, Some((UnixMillis(end), b"v")), budget, UnixMillis(at), b"").unwrap().before
        };
        assert_eq!(claim(1, 10), None);
        assert_eq!(claim(10, 20), Some(b"v".to_vec()));
        assert_eq!(claim(11, 20), None);
        assert!(!any_over(&database, UnixMillis(20)).unwrap());
        assert!(any_over(&database, UnixMillis(21)).unwrap());
        forget(&database, UnixMillis(21)).unwrap();
        assert!(!any_over(&database, UnixMillis(21)).unwrap());
        let kept = put(&database, &place, Some((UnixMillis(50), b"w")), budget, UnixMillis(22), b"").unwrap();
        assert_eq!(kept, Put { before: None, is_kept: true });
        let freed = put(&database, &place, None, budget, UnixMillis(23), b"w").unwrap();
        assert_eq!(freed, Put { before: Some(b"w".to_vec()), is_kept: false });
        assert_eq!(claim(24, 30), None);
        let over =
            |known: &[u8]| put(&database, &place, Some((UnixMillis(40), b"x")), budget, UnixMillis(25), known).unwrap();
        assert_eq!(over(b"w"), Put { before: Some(b"v".to_vec()), is_kept: false });
        assert_eq!(over(b"v"), Put { before: Some(b"v".to_vec()), is_kept: true });
        assert_eq!(over(b"v"), Put { before: Some(b"x".to_vec()), is_kept: false });
    }

    const BUDGET: Budget = Budget { each: 3 * ENTRY_BYTES, all: 7 * ENTRY_BYTES };

    /// Checks the accounts against what is there.
    fn audit(tables: &Tables<'_>) {
        for party in Party::ALL.map(Party::letter) {
            let mut all = 0;
            for caller in (0..5).map(|caller| format!("{party}:{caller}")) {
                let entries = tables.answers.range((caller.as_str(), "")..=(caller.as_str(), "~")).unwrap();
                let bytes: u64 = entries.map(|entry| cost(entry.unwrap().1.value().2)).sum();
                assert_eq!(tables.bytes(&caller).unwrap(), bytes);
                assert!(bytes <= BUDGET.each, "{bytes}");
                all += bytes;
            }
            assert_eq!(tables.bytes(party).unwrap(), all);
            assert!(all <= BUDGET.all, "{all}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Values are put, freed and forgotten in any order.
        #[test]
        fn no_caller_and_no_party_ever_takes_more_than_its_budget(
            steps in vec((0..2_usize, 0..5_u32, 0..6_u32, 0..900_usize, 0..2_000_u64, any::<bool>(), any::<u8>()), 1..40)
        ) {
            let (_folder, database) = database();
            let mut now = UnixMillis(1_000);
            for (party, caller, name, size, life, only_if_free, chance) in steps {
                now = now.plus(Duration::from_millis(100));
                let place = place(Party::ALL[party], &caller.to_string(), &name.to_string());
                let value = vec![7; size];
                let wish = (chance > 30).then_some((now.plus(Duration::from_millis(life)), value.as_slice()));
                let known = Tables::open(&database.begin_write().unwrap()).unwrap().alive(
                    &format!("{}:{}", place.party.letter(), place.caller), &place.name, now).unwrap();
                let over = known.filter(|_| !only_if_free).unwrap_or_default();
                let done = put(&database, &place, wish, BUDGET, now, &over).unwrap();
                prop_assert!(!done.is_kept || cost(&value) <= BUDGET.each);
                if chance % 10 == 0 {
                    forget(&database, now).unwrap();
                }
                let transaction = database.begin_write().unwrap();
                let tables = Tables::open(&transaction).unwrap();
                audit(&tables);
                let (party, caller) = (place.party.letter(), format!("{}:{caller}", place.party.letter()));
                let is_there = tables.alive(&caller, &place.name, UnixMillis(0)).unwrap().is_some();
                let most = tables.caller_with_most(party).unwrap().map_or(0, |most| tables.bytes(&most).unwrap());
                let had_most = tables.bytes(&caller).unwrap() + cost(&value) >= most;
                prop_assert!(!done.is_kept || is_there || had_most, "who has more makes room");
            }
        }
    }
}
