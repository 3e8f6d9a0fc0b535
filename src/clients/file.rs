//! The client file of one machine: `clients.json` in the data folder, replaced whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{ClientRecord, ClientStore};
use crate::files;
use crate::revocation::StoreError;

/// The file inside the data folder.
const FILE_NAME: &str = "clients.json";

/// Clients in a file. Several processes may use it: a change is made under a lock.
pub struct FileClients {
    path: PathBuf,
}

type Clients = BTreeMap<String, ClientRecord>;

impl FileClients {
    /// The clients of a data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE_NAME) }
    }

    fn read(&self) -> Result<Clients, StoreError> {
        match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| StoreError::Foreign(format!("{}: {error}", self.path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Clients::default()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Clients) -> T) -> Result<T, StoreError> {
        let lock = File::create(self.path.with_extension("lock")).map_err(|error| self.failed(&error))?;
        lock.lock().map_err(|error| self.failed(&error))?;
        let mut clients = self.read()?;
        let value = work(&mut clients);
        let text = serde_json::to_vec_pretty(&clients).map_err(|error| StoreError::Failed(error.to_string()))?;
        files::replace(&self.path, &text).map_err(|error| self.failed(&error))?;
        Ok(value)
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Failed(format!("{}: {error}", self.path.display())),
        }
    }
}

#[async_trait]
impl ClientStore for FileClients {
    async fn load(&self) -> Result<Clients, StoreError> {
        self.read()
    }

    async fn put(&self, name: &str, record: &ClientRecord) -> Result<(), StoreError> {
        self.change(|clients| {
            clients.insert(name.to_owned(), record.clone());
        })
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        self.change(|clients| clients.remove(name).is_some())
    }
}
