//! Remembering, across restarts, that a store had been set up: an empty Redis is suspicious then.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

const FILE_NAME: &str = "store-epoch.json";

/// What is remembered: which store, and its epoch.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    store: String,
    epoch: String,
}

/// The note in the data folder.
pub struct EpochMemory {
    path: PathBuf,
    store: String,
    /// Known for as long as the process runs, also where the folder cannot be written.
    own: Mutex<Option<String>>,
}

impl EpochMemory {
    /// The note about the store at an address, below a key prefix.
    pub fn new(data_dir: &Path, address: &str, key_prefix: &str) -> Self {
        Self { path: data_dir.join(FILE_NAME), store: format!("{address} {key_prefix}"), own: Mutex::new(None) }
    }

    /// The epoch this store had when it was last seen.
    pub fn recall(&self) -> Option<String> {
        self.own.lock().clone().or_else(|| self.read())
    }

    fn read(&self) -> Option<String> {
        let text = crate::files::read(&self.path).ok()?;
        let remembered: Remembered = serde_json::from_slice(&text).ok()?;
        (remembered.store == self.store).then_some(remembered.epoch)
    }

    /// Notes the epoch. A folder that cannot be written only costs the suspicion after the next restart.
    pub fn remember(&self, epoch: &str) {
        if self.recall().as_deref() == Some(epoch) {
            return;
        }
        *self.own.lock() = Some(epoch.to_owned());
        let note = Remembered { store: self.store.clone(), epoch: epoch.to_owned() };
        let written = serde_json::to_vec(&note)
            .map_err(std::io::Error::other)
            .and_then(|text| crate::files::replace(&self.path, &text));
        if let Err(error) = written {
            warn!(%error, "the data folder cannot be written: an emptied store would not be noticed after a restart");
        }
    }
}
