//! The store for one machine: a table file on disk, written and synced before a revocation is answered.
//!
//! Counted downloads are written far more often than anything else, and by strangers; kept answers by every caller. Each
//! have a file and a writer of their own, so that no revocation waits for them.
//!
//! The files are redb's: copy-on-write, checksummed, so that a process killed at any moment leaves the last
//! answered state behind. One process owns a data folder at a time; [`FolderLock`] sees to that.

mod answers;
mod counts;
mod file;
mod lock;
mod tables;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redb::Database;
use tokio::sync::Semaphore;
use tracing::warn;

use self::file::TableFile;
pub use self::lock::{FolderLock, LockError};
use super::{
    Answers, Applied, Bounds, Download, Durability, Index, ListQuery, Page, Proposal, Questions, Recorded, Revocation,
    RevocationId, RevocationStore, Status, StoreError, Tally, Target, Verifier,
};
use crate::clock::{Clock, UnixMillis};

/// The table file inside the data folder.
pub const FILE_NAME: &str = "revocations.redb";
/// A file has one history.
const EPOCH: &str = "embedded";
/// The file of counted downloads beside it.
const COUNTS_FILE_NAME: &str = "downloads.redb";
/// The file of answers that are kept.
const ANSWERS_FILE_NAME: &str = "answers.redb";
/// Downloads that are counted on threads of the runtime at once, and answers that are kept; the others wait without one.
/// One writes to a file at a time.
const TURNS: usize = 2;
/// How often revocations that have ended are lifted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The durable store of one machine.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    revocations: TableFile,
    counts: TableFile,
    answers: TableFile,
    /// Whose turn it is to count, and to keep an answer: threads that wait for the disk must be left to revocations.
    counters: Semaphore,
    keepers: Semaphore,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    session_window: Duration,
    started_at: UnixMillis,
    _lock: FolderLock,
}

impl EmbeddedStore {
    /// Opens or makes the store in a data folder and loads the index.
    ///
    /// # Errors
    /// When another process owns the folder, or the file cannot be opened or is damaged.
    pub fn open(
        data_dir: &Path,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
        session_window: Duration,
    ) -> Result<Self, StoreError> {
        let lock = FolderLock::acquire(data_dir).map_err(|error| StoreError::Failed(error.to_string()))?;
        let revocations = TableFile::open(data_dir.join(FILE_NAME), {
            let (index, clock) = (Arc::clone(&index), Arc::clone(&clock));
            move |database| {
                tables::create(database)?;
                tables::load(database, &index)?;
                // Links may be dated by a time that the clock had shown before it was set back.
                index.store_time().learn(EPOCH, tables::told(database)?, clock.now(), bounds);
                Ok(())
            }
        })?;
        let counts = TableFile::open(data_dir.join(COUNTS_FILE_NAME), counts::create)?;
        let answers = TableFile::open(data_dir.join(ANSWERS_FILE_NAME), answers::create)?;
        index.freshness().set_always();
        Ok(Self {
            inner: Arc::new(Inner {
                revocations,
                counts,
                answers,
                counters: Semaphore::new(TURNS),
                keepers: Semaphore::new(TURNS),
                index,
                started_at: clock.now().wall,
                clock,
                bounds,
                session_window,
                _lock: lock,
            }),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))
    }
}

impl Inner {
    fn write<T>(&self, work: impl Fn(&Database) -> Result<(T, tables::Outcome), StoreError>) -> Result<T, StoreError> {
        self.revocations.write(work, |(value, outcome)| {
            outcome.apply(&self.index);
            value
        })
    }

    fn read<T>(&self, work: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.revocations.read(work)
    }
}

#[async_trait]
impl RevocationStore for EmbeddedStore {
    async fn revoke(&self, proposal: Proposal, wait: Option<Duration>) -> Result<Recorded, StoreError> {
        self.run(move |inner| {
            let now = inner.clock.now();
            let (position, revocation) =
                inner.write(|database| tables::insert(database, proposal.clone(), now.wall, inner.bounds))?;
            inner.index.store_time().learn(EPOCH, revocation.created_at, now, inner.bounds);
            Ok(Recorded {
                revocation,
                position: position.to_string(),
                durability: Durability::Disk,
                shortfall: None,
                // The only verifier there is has applied it before it answers.
                applied: wait.map(|_| Applied { verifiers: 1, applied: 1, ..Applied::default() }),
            })
        })
        .await
    }

    async fn reach(&self, time: UnixMillis) -> Result<(), StoreError> {
        while self.inner.index.store_time().told() < time {
            tokio::time::sleep(time.since(self.inner.clock.now().wall)).await;
            self.run(|inner| {
                let now = inner.clock.now();
                let at = inner.write(|database| tables::tell(database, now.wall, inner.bounds))?;
                inner.index.store_time().learn(EPOCH, at, now, inner.bounds);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn clock(&self) -> Result<UnixMillis, StoreError> {
        Ok(self.inner.clock.now().wall)
    }

    async fn reinstate(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        let id = id.clone();
        self.run(move |inner| inner.write(|database| tables::remove(database, &id))).await
    }

    async fn uphold(&self, id: &RevocationId) -> Result<bool, StoreError> {
        Ok(self.find(id).await?.is_some())
    }

    async fn find(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        let id = id.clone();
        self.run(move |inner| inner.read(|database| tables::find(database, &id))).await
    }

    async fn strictest(&self, target: &Target) -> Result<Option<Revocation>, StoreError> {
        let target = target.clone();
        self.run(move |inner| inner.read(|database| tables::strictest_of(database, &target))).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let query = query.clone();
        self.run(move |inner| inner.read(|database| tables::list(database, &query))).await
    }

    async fn ask(&self, questions: &Questions) -> Result<Answers, StoreError> {
        Ok(self.inner.index.look(|view| Answers {
            age: Duration::ZERO,
            links: questions.links.iter().copied().filter(|id| view.has_link(*id)).collect(),
            cut_offs: questions
                .members
                .iter()
                .filter_map(|member| Some((member.clone(), view.cut_off(member)?)))
                .collect(),
        }))
    }

    async fn count(&self, download: &Download) -> Result<Tally, StoreError> {
        let download = download.clone();
        let _turn = self.inner.counters.acquire().await.map_err(|closed| StoreError::Failed(closed.to_string()))?;
        self.run(move |inner| {
            let now = inner.clock.now().wall;
            let count = |database: &Database| counts::count(database, &download, now, inner.session_window);
            inner.counts.write(count, |tally| tally)
        })
        .await
    }

    async fn verifiers(&self) -> Result<Vec<Verifier>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let position = self.run(|inner| inner.read(tables::position)).await?;
        Ok(vec![Verifier {
            id: "embedded".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: inner.started_at,
            last_seen: inner.clock.now().wall,
            position: position.to_string(),
            lag_ms: 0,
            behind: 0,
        }])
    }

    fn status(&self) -> Status {
        Status::default()
    }

    async fn close(&self) {}

    async fn follow(&self) {
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        let start = self.inner.clock.now();
        loop {
            tick.tick().await;
            let swept = self
                .run(move |inner| {
                    let now = inner.clock.now().unhurried(start);
                    let lapsed = inner.read(|database| tables::lapsed(database, now))?;
                    for id in &lapsed {
                        inner.write(|database| tables::remove(database, id))?;
                    }
                    if !lapsed.is_empty() {
                        inner.index.prune(now, inner.bounds.max_ttl);
                    }
                    if inner.counts.read(|database| counts::any_over(database, now))? {
                        inner.counts.write(|database| counts::forget(database, now), |()| ())?;
                    }
                    if inner.answers.read(|database| answers::any_over(database, now))? {
                        inner.answers.write(|database| answers::forget(database, now), |()| ())?;
                    }
                    Ok(())
                })
                .await;
            if let Err(error) = swept {
                warn!(%error, "revocations that have ended could not be lifted; they go on biting");
            }
        }
    }
}

fn storage_error(error: redb::StorageError) -> StoreError {
    match error {
        redb::StorageError::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            ) =>
        {
            StoreError::Full
        }
        other => StoreError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::token::TokenId;

    /// More than the runtime has threads for what blocks.
    const DOWNLOADS: usize = 600;

    #[tokio::test]
    async fn what_revocations_are_read_and_written_for_waits_for_no_download_that_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (hour, now) = (Duration::from_secs(3_600), clock.now().wall);
        let bounds = Bounds { max_ttl: hour, leeway: Duration::from_secs(2) };
        let store = EmbeddedStore::open(folder.path(), Arc::default(), clock, bounds, hour).unwrap();
        let inner = Arc::clone(&store.inner);
        let (ready, begun) = tokio::sync::oneshot::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        // A disk that hangs while a download is counted.
        let disk = std::thread::spawn(move || {
            inner.counts.write(
                |_| Ok(()),
                |()| {
                    ready.send(()).unwrap();
                    held.recv().unwrap();
                },
            )
        });
        begun.await.unwrap();
        let mut downloads = tokio::task::JoinSet::new();
        for number in 0..DOWNLOADS {
            let store = store.clone();
            let download = Download {
                link: TokenId((number as u128).to_be_bytes()),
                most: 1,
                issued_at: now,
                expires_at: now.plus(hour),
                client: None,
                begins: true,
            };
            downloads.spawn(async move { store.count(&download).await });
        }
        tokio::task::yield_now().await;
        let nothing = RevocationId::new([0; 16]);
        let looked = async {
            store.reinstate(&nothing).await.unwrap();
            store.list(&ListQuery::default()).await.unwrap();
            store.verifiers().await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(20), looked).await.expect("nothing of it waits for the counts");
        release.send(()).unwrap();
        disk.join().unwrap().unwrap();
        while let Some(counted) = downloads.join_next().await {
            assert_eq!(counted.unwrap().unwrap(), Tally::Within);
        }
    }
}
