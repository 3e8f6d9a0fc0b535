//! A table file and its one writer.

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use redb::Database;
use redb::backends::FileBackend;
use tracing::error;

use super::storage_error;
use crate::files;
use crate::revocation::StoreError;

/// What is done to a file that was just opened: its tables are made or checked, and its contents taken up.
type Prepare = Box<dyn Fn(&Database) -> Result<(), StoreError> + Send + Sync>;

/// Tables in a file of their own: who writes here waits for nobody who writes elsewhere.
pub struct TableFile {
    path: PathBuf,
    prepare: Prepare,
    /// `None` after an I/O error until the file could be opened again.
    database: RwLock<Option<Database>>,
    /// Held from the first look at the tables until the change has taken effect: keeps both in one order.
    writer: Mutex<()>,
}

impl TableFile {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// When it cannot be opened or is damaged.
    pub fn open(
        path: PathBuf,
        prepare: impl Fn(&Database) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let database = open_database(&path)?;
        prepare(&database)?;
        Ok(Self { path, prepare: Box::new(prepare), database: RwLock::new(Some(database)), writer: Mutex::new(()) })
    }

    /// Changes the tables; what was changed takes effect before the next change begins.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn write<C, T>(
        &self,
        work: impl Fn(&Database) -> Result<C, StoreError>,
        effect: impl FnOnce(C) -> T,
    ) -> Result<T, StoreError> {
        let _writer = self.writer.lock();
        self.reopen_if_broken()?;
        let result = match &*self.database.read() {
            Some(database) => work(database),
            None => Err(StoreError::Failed("the table file is closed".into())),
        };
        match result {
            Ok(change) => Ok(effect(change)),
            Err(error) => {
                // After a failed write redb refuses everything until the file is opened anew.
                *self.database.write() = None;
                if let Err(reopening) = self.reopen_if_broken() {
                    error!(%reopening, "a table file could not be opened again after a failed write");
                }
                Err(error)
            }
        }
    }

    /// Reads the tables.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read<T>(&self, work: impl Fn(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.database.read() {
            Some(database) => work(database),
            None => Err(StoreError::Failed("the table file is closed after a failed write".into())),
        }
    }

    fn reopen_if_broken(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        if database.is_none() {
            let opened = open_database(&self.path)?;
            // What was being written may be there after all: what is on disk counts.
            (self.prepare)(&opened)?;
            *database = Some(opened);
        }
        Ok(())
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    let fail = |error: redb::DatabaseError| match error {
        redb::DatabaseError::Storage(error) => storage_error(error),
        other => StoreError::Failed(format!("cannot open {}: {other}", path.display())),
    };
    let io = |error| match storage_error(redb::StorageError::Io(error)) {
        StoreError::Failed(why) => StoreError::Failed(format!("cannot open {}: {why}", path.display())),
        full => full,
    };
    let is_new = !path.exists();
    let file = files::own(path).map_err(io)?;
    let database =
        FileBackend::new(file).and_then(|file| Database::builder().create_with_backend(file)).map_err(fail)?;
    if is_new {
        sync_folder(path).map_err(io)?;
    }
    Ok(database)
}

/// A new file's name is only durable once its folder is synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
