//! Answers that are kept for a while, in a table of their own.

use std::time::Duration;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::tables::{Outcome, commit, failed};
use super::{EmbeddedStore, storage_error};
use crate::answers::AnswerStore;
use crate::clock::UnixMillis;
use crate::revocation::StoreError;

/// Name → until when it is kept, and the value.
const ANSWERS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("answers");
/// Until when it is kept, and the name.
const BY_END: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("answers_by_end");
/// Answers forgotten in one sweep.
const SWEEP_BATCH: usize = 200;

/// Makes the tables.
pub fn create(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    transaction.open_table(ANSWERS).map_err(failed)?;
    transaction.open_table(BY_END).map_err(failed)?;
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
        let mut answers = transaction.open_table(ANSWERS).map_err(failed)?;
        let mut by_end = transaction.open_table(BY_END).map_err(failed)?;
        let mut over = Vec::new();
        for entry in by_end.range(..(now.0, "")).map_err(storage_error)?.take(SWEEP_BATCH) {
            let (key, _) = entry.map_err(storage_error)?;
            over.push((key.value().0, key.value().1.to_owned()));
        }
        for (end, name) in over {
            by_end.remove((end, name.as_str())).map_err(storage_error)?;
            answers.remove(name.as_str()).map_err(storage_error)?;
        }
    }
    commit(transaction)
}

/// Puts a value under a name, or frees it; answers the value that was there. What is there is left alone when
/// `only_if_free`.
fn put(
    database: &Database,
    name: &str,
    value: Option<(UnixMillis, &[u8])>,
    now: UnixMillis,
    only_if_free: bool,
) -> Result<Option<Vec<u8>>, StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    let before;
    {
        let mut answers = transaction.open_table(ANSWERS).map_err(failed)?;
        let mut by_end = transaction.open_table(BY_END).map_err(failed)?;
        let known = answers.get(name).map_err(storage_error)?.map(|entry| (entry.value().0, entry.value().1.to_vec()));
        before = known.as_ref().filter(|(end, _)| *end >= now.0).map(|(_, value)| value.clone());
        if only_if_free && before.is_some() {
            return Ok(before);
        }
        if let Some((end, _)) = known {
            by_end.remove((end, name)).map_err(storage_error)?;
            answers.remove(name).map_err(storage_error)?;
        }
        if let Some((end, value)) = value {
            answers.insert(name, (end.0, value)).map_err(storage_error)?;
            by_end.insert((end.0, name), ()).map_err(storage_error)?;
        }
    }
    commit(transaction)?;
    Ok(before)
}

impl EmbeddedStore {
    async fn put_answer(
        &self,
        name: &str,
        value: Option<(&[u8], Duration)>,
        only_if_free: bool,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        let value = value.map(|(value, hold)| (value.to_vec(), hold));
        self.run(move |inner| {
            let now = inner.clock.now().wall;
            let value = value.as_ref().map(|(value, hold)| (now.plus(*hold), value.as_slice()));
            inner.write(|database| Ok((put(database, &name, value, now, only_if_free)?, Outcome::Nothing)))
        })
        .await
    }
}

#[async_trait]
impl AnswerStore for EmbeddedStore {
    async fn claim(&self, name: &str, value: &[u8], hold: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        self.put_answer(name, Some((value, hold)), true).await
    }

    async fn keep(&self, name: &str, value: &[u8], hold: Duration) -> Result<(), StoreError> {
        self.put_answer(name, Some((value, hold)), false).await.map(|_| ())
    }

    async fn release(&self, name: &str) -> Result<(), StoreError> {
        self.put_answer(name, None, false).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_claimed_once_and_free_again_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(folder.path().join("t.redb")).unwrap();
        create(&database).unwrap();
        let claim = |at: u64, end| put(&database, "n", Some((UnixMillis(end), b"v")), UnixMillis(at), true).unwrap();
        assert_eq!(claim(1, 10), None);
        assert_eq!(claim(10, 20), Some(b"v".to_vec()));
        assert_eq!(claim(11, 20), None);
        assert!(!any_over(&database, UnixMillis(20)).unwrap());
        assert!(any_over(&database, UnixMillis(21)).unwrap());
        forget(&database, UnixMillis(21)).unwrap();
        assert!(!any_over(&database, UnixMillis(21)).unwrap());
        put(&database, "n", Some((UnixMillis(50), b"w")), UnixMillis(22), false).unwrap();
        assert_eq!(put(&database, "n", None, UnixMillis(23), false).unwrap(), Some(b"w".to_vec()));
        assert_eq!(claim(24, 30), None);
    }
}
