//! The client file of one machine: `clients.json` in the data folder, replaced whole; beside it, when keys were used.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::{Change, ChangeError, ClientStore, Clients, Edit, Uses, use_name};
use crate::files;
use crate::revocation::StoreError;

/// The file inside the data folder.
const FILE_NAME: &str = "clients.json";
/// The file of the keys' uses beside it.
const USES_NAME: &str = "clients-used.json";

/// Clients in a file. Several processes may use it: a change is made under a lock.
pub struct FileClients {
    path: PathBuf,
    uses: PathBuf,
}

impl FileClients {
    /// The clients of a data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE_NAME), uses: data_dir.join(USES_NAME) }
    }

    fn lock(&self) -> Result<File, StoreError> {
        let path = self.path.with_extension("lock");
        let lock = files::own(&path).map_err(|error| failed(&path, &error))?;
        lock.lock().map_err(|error| failed(&self.path, &error))?;
        Ok(lock)
    }

    fn forget(&self, change: &Change) -> Result<(), StoreError> {
        let dropped = change.dropped_keys();
        let mut uses: Uses = read(&self.uses)?;
        let count = uses.len();
        for id in &dropped {
            uses.remove(&use_name(&change.name, id));
        }
        if uses.len() == count { Ok(()) } else { write(&self.uses, &uses) }
    }
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, StoreError> {
    match files::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| StoreError::Foreign(format!("{}: {error}", path.display())))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(failed(path, &error)),
    }
}

fn write(path: &Path, contents: &impl serde::Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(contents).map_err(|error| StoreError::Failed(error.to_string()))?;
    files::replace(path, &text).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(format!("{}: {error}", path.display())),
    }
}

#[async_trait]
impl ClientStore for FileClients {
    async fn load(&self) -> Result<Clients, StoreError> {
        read(&self.path)
    }

    async fn change(&self, edit: Edit<'_>) -> Result<Change, ChangeError> {
        let _lock = self.lock()?;
        let mut clients: Clients = read(&self.path)?;
        let change = edit(&clients)?;
        match &change.after {
            Some(record) => clients.insert(change.name.clone(), record.clone()),
            None => clients.remove(&change.name),
        };
        write(&self.path, &clients)?;
        // What is not forgotten now does no harm.
        let _ = self.forget(&change);
        Ok(change)
    }

    async fn uses(&self) -> Result<Uses, StoreError> {
        read(&self.uses)
    }

    async fn note_uses(&self, uses: &Uses) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        // A file that cannot be read holds nothing that could not be lost.
        let mut known: Uses = read(&self.uses).unwrap_or_default();
        for (name, time) in uses {
            let known = known.entry(name.clone()).or_default();
            *known = (*known).max(*time);
        }
        write(&self.uses, &known)
    }
}
