//! Downloads of links that count them: one transaction for each request, on disk before it is answered.

use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::storage_error;
use super::tables::{commit, failed};
use crate::clock::UnixMillis;
use crate::revocation::{Download, PRUNE_GRACE, StoreError, Tally};

/// Link → downloads begun, and when the link may be forgotten.
const BEGUN: TableDefinition<'_, [u8; 16], (u32, u64)> = TableDefinition::new("downloads");
/// Link and client → when that client last asked.
const SESSIONS: TableDefinition<'_, ([u8; 16], &str), u64> = TableDefinition::new("download_sessions");
/// The time to forget, and the link.
const BY_END: TableDefinition<'_, (u64, [u8; 16]), ()> = TableDefinition::new("downloads_by_end");
/// Links forgotten in one sweep.
const SWEEP_BATCH: usize = 200;

/// Makes the tables.
pub fn create(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    transaction.open_table(BEGUN).map_err(failed)?;
    transaction.open_table(SESSIONS).map_err(failed)?;
    transaction.open_table(BY_END).map_err(failed)?;
    commit(transaction)
}

/// Counts a download, unless it goes on with one that the same client began within the window.
pub fn count(database: &Database, download: &Download, now: UnixMillis, window: Duration) -> Result<Tally, StoreError> {
    let link = download.link.0;
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut begun = transaction.open_table(BEGUN).map_err(failed)?;
        let mut sessions = transaction.open_table(SESSIONS).map_err(failed)?;
        let used = begun.get(link).map_err(storage_error)?.map_or(0, |value| value.value().0);
        let goes_on = match &download.client {
            Some(client) => {
                let seen = sessions.get((link, client.as_str())).map_err(storage_error)?;
                seen.is_some_and(|seen| now.since(UnixMillis(seen.value())) <= window)
            }
            None => false,
        };
        if !goes_on && used >= download.most {
            return Ok(Tally::UsedUp);
        }
        if !download.begins {
            return Ok(Tally::Within);
        }
        if !goes_on {
            let end = download.expires_at.plus(PRUNE_GRACE).0;
            begun.insert(link, (used + 1, end)).map_err(storage_error)?;
            let mut by_end = transaction.open_table(BY_END).map_err(failed)?;
            by_end.insert((end, link), ()).map_err(storage_error)?;
        }
        if let Some(client) = &download.client {
            sessions.insert((link, client.as_str()), now.0).map_err(storage_error)?;
        }
    }
    commit(transaction)?;
    Ok(Tally::Within)
}

/// Whether there is a count that no link needs any more.
pub fn any_over(database: &Database, now: UnixMillis) -> Result<bool, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let by_end = transaction.open_table(BY_END).map_err(failed)?;
    let first = by_end.first().map_err(storage_error)?;
    Ok(first.is_some_and(|(key, _)| key.value().0 < now.0))
}

/// Forgets counts that no link needs any more, so many at a time.
pub fn forget(database: &Database, now: UnixMillis) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut begun = transaction.open_table(BEGUN).map_err(failed)?;
        let mut sessions = transaction.open_table(SESSIONS).map_err(failed)?;
        let mut by_end = transaction.open_table(BY_END).map_err(failed)?;
        let mut over = Vec::new();
        for entry in by_end.range(..(now.0, [0; 16])).map_err(storage_error)?.take(SWEEP_BATCH) {
            over.push(entry.map_err(storage_error)?.0.value());
        }
        for (end, link) in over {
            by_end.remove((end, link)).map_err(storage_error)?;
            begun.remove(link).map_err(storage_error)?;
            let mut clients = Vec::new();
            for entry in sessions.range((link, "")..).map_err(storage_error)? {
                let (key, _) = entry.map_err(storage_error)?;
                if key.value().0 != link {
                    break;
                }
                clients.push(key.value().1.to_owned());
            }
            for client in clients {
                sessions.remove((link, client.as_str())).map_err(storage_error)?;
            }
        }
    }
    commit(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenId;

    const WINDOW: Duration = Duration::from_secs(600);

    fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(folder.path().join("t.redb")).unwrap();
        create(&database).unwrap();
        (folder, database)
    }

    fn request(client: Option<&str>, begins: bool) -> Download {
        Download {
            link: TokenId([3; 16]),
            most: 2,
            issued_at: UnixMillis(1),
            expires_at: UnixMillis(10_000),
            client: client.map(str::to_owned),
            begins,
        }
    }

    #[test]
    fn a_client_that_goes_on_is_counted_once_for_as_long_as_it_keeps_asking() {
        let (_folder, database) = database();
        let ask = |client, begins, at| count(&database, &request(client, begins), UnixMillis(at), WINDOW).unwrap();
        assert_eq!(ask(Some("a"), true, 1_000), Tally::Within);
        assert_eq!(ask(Some("a"), true, 500_000), Tally::Within);
        assert_eq!(ask(Some("a"), true, 1_000_000), Tally::Within, "the window slides");
        assert_eq!(ask(Some("b"), false, 1_000_000), Tally::Within, "looking takes nothing");
        assert_eq!(ask(Some("b"), true, 1_000_000), Tally::Within);
        assert_eq!(ask(Some("c"), true, 1_000_001), Tally::UsedUp);
        assert_eq!(ask(Some("c"), false, 1_000_001), Tally::UsedUp);
        assert_eq!(ask(Some("a"), true, 1_600_001), Tally::UsedUp, "it has been away for too long");
        assert_eq!(ask(Some("b"), true, 1_600_000), Tally::Within);
    }

    #[test]
    fn whoever_is_unknown_begins_a_download_each_time() {
        let (_folder, database) = database();
        let ask = || count(&database, &request(None, true), UnixMillis(5), WINDOW).unwrap();
        assert_eq!([ask(), ask(), ask()], [Tally::Within, Tally::Within, Tally::UsedUp]);
    }

    #[test]
    fn counts_are_forgotten_long_after_the_link_has_ended() {
        let (_folder, database) = database();
        count(&database, &request(Some("a"), true), UnixMillis(5), WINDOW).unwrap();
        let end = UnixMillis(10_000).plus(PRUNE_GRACE);
        assert!(!any_over(&database, end).unwrap());
        let later = end.plus(Duration::from_millis(1));
        assert!(any_over(&database, later).unwrap());
        forget(&database, later).unwrap();
        assert!(!any_over(&database, later).unwrap());
        let transaction = database.begin_read().unwrap();
        assert!(transaction.open_table(SESSIONS).unwrap().first().unwrap().is_none());
    }
}
