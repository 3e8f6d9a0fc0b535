//! The store for one machine: a table file on disk, written and synced before a revocation is answered.
//!
//! The file is redb's: copy-on-write, checksummed, so that a process killed at any moment leaves the last
//! answered state behind. One process owns a data folder at a time; [`FolderLock`] sees to that.

mod answers;
mod counts;
mod lock;
mod tables;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use redb::Database;
use tracing::{error, warn};

pub use self::lock::{FolderLock, LockError};
use super::{
    Answers, Applied, Download, Durability, Index, ListQuery, Page, Questions, Recorded, Revocation, RevocationId,
    RevocationStore, Status, StoreError, Tally, Target, Verifier,
};
use crate::clock::{Clock, UnixMillis};

/// The table file inside the data folder.
pub const FILE_NAME: &str = "revocations.redb";
/// How often revocations that have ended are lifted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The durable store of one machine.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// `None` after an I/O error until the file could be opened again.
    database: RwLock<Option<Database>>,
    /// Held from the first look at the tables until the index shows the change: keeps both in one order.
    writer: Mutex<()>,
    index: Arc<Index>,
    clock: Arc<dyn Clock>,
    max_ttl: Duration,
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
        max_ttl: Duration,
        session_window: Duration,
    ) -> Result<Self, StoreError> {
        let lock = FolderLock::acquire(data_dir).map_err(|error| StoreError::Failed(error.to_string()))?;
        let path = data_dir.join(FILE_NAME);
        let database = open_database(&path)?;
        tables::load(&database, &index)?;
        index.freshness().set_always();
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                database: RwLock::new(Some(database)),
                writer: Mutex::new(()),
                index,
                started_at: clock.now().wall,
                clock,
                max_ttl,
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
        let _writer = self.writer.lock();
        self.reopen_if_broken()?;
        let result = match &*self.database.read() {
            Some(database) => work(database),
            None => Err(StoreError::Failed("the table file is closed".into())),
        };
        match result {
            Ok((value, outcome)) => {
                outcome.apply(&self.index);
                Ok(value)
            }
            Err(error) => {
                // After a failed write redb refuses everything until the file is opened anew.
                *self.database.write() = None;
                if let Err(reopening) = self.reopen_if_broken() {
                    error!(%reopening, "the revocation store could not be opened again after a failed write");
                }
                Err(error)
            }
        }
    }

    fn read<T>(&self, work: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.database.read() {
            Some(database) => work(database),
            None => Err(StoreError::Failed("the table file is closed after a failed write".into())),
        }
    }

    fn reopen_if_broken(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        if database.is_none() {
            let opened = open_database(&self.path)?;
            // What was being written may be there after all: whatever is on disk bites.
            tables::load(&opened, &self.index)?;
            *database = Some(opened);
        }
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for EmbeddedStore {
    async fn revoke(&self, revocation: Revocation, wait: Option<Duration>) -> Result<Recorded, StoreError> {
        self.run(move |inner| {
            let position = inner.write(|database| tables::insert(database, &revocation))?;
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

    async fn reinstate(&self, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
        let id = id.clone();
        self.run(move |inner| inner.write(|database| tables::remove(database, &id))).await
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
        self.run(move |inner| {
            let now = inner.clock.now().wall;
            let count = |database: &Database| counts::count(database, &download, now, inner.session_window);
            inner.write(|database| Ok((count(database)?, tables::Outcome::Nothing)))
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
                        inner.index.prune(now, inner.max_ttl);
                    }
                    if inner.read(|database| counts::any_over(database, now))? {
                        inner.write(|database| Ok((counts::forget(database, now)?, tables::Outcome::Nothing)))?;
                    }
                    if inner.read(|database| answers::any_over(database, now))? {
                        inner.write(|database| Ok((answers::forget(database, now)?, tables::Outcome::Nothing)))?;
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

fn open_database(path: &Path) -> Result<Database, StoreError> {
    let fail = |error: redb::DatabaseError| match error {
        redb::DatabaseError::Storage(error) => storage_error(error),
        other => StoreError::Failed(format!("cannot open {}: {other}", path.display())),
    };
    let is_new = !path.exists();
    let database = Database::create(path).map_err(fail)?;
    if is_new {
        restrict(path).map_err(|error| StoreError::Failed(error.to_string()))?;
        sync_folder(path).map_err(|error| StoreError::Failed(error.to_string()))?;
    }
    tables::create(&database)?;
    counts::create(&database)?;
    answers::create(&database)?;
    Ok(database)
}

/// Only the owner may read who was locked out of what.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// A new file's name is only durable once its folder is synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
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
