//! Remembering, across restarts, which store was believed: an empty Redis, or another one, is suspicious then.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

const FILE_NAME: &str = "store-epoch.json";

/// An epoch of a store, and those it descends from.
///
/// A store descends from another one when everything that was revoked there, as far as a process still knew it, was
/// written back to it; or when an operator has accepted that it is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub epoch: String,
    /// The newest first; `*` stands for every epoch before.
    #[serde(default)]
    pub ancestors: String,
}

impl Lineage {
    /// Whether a process that believed `other` may believe this one.
    pub fn descends_from(&self, other: &Self) -> bool {
        self.epoch == other.epoch || self.ancestors.split(' ').any(|known| known == other.epoch || known == ANY)
    }

    /// The epoch and those before it, as the scripts take them.
    pub fn words(&self) -> String {
        format!("{} {}", self.epoch, self.ancestors)
    }
}

/// Stands for every epoch before, in a [`Lineage`]: an operator has accepted that they are lost.
pub const ANY: &str = "*";

/// The note, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    store: String,
    #[serde(flatten)]
    lineage: Lineage,
}

/// What is remembered of the store, in the process and in the data folder.
pub struct Memory {
    path: PathBuf,
    store: String,
    known: Mutex<Option<Lineage>>,
    /// What stands in the data folder.
    kept: Mutex<Option<Lineage>>,
}

impl Memory {
    /// What the data folder says about the store at an address, below a key prefix.
    pub fn new(data_dir: &Path, address: &str, key_prefix: &str) -> Self {
        let (path, store) = (data_dir.join(FILE_NAME), format!("{address} {key_prefix}"));
        let note = crate::files::read(&path).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let known = note.filter(|note| note.store == store).map(|note| note.lineage);
        Self { path, store, kept: Mutex::new(known.clone()), known: Mutex::new(known) }
    }

    /// The store that was believed last.
    pub fn recall(&self) -> Option<Lineage> {
        self.known.lock().clone()
    }

    /// Notes for as long as the process runs which store is believed.
    pub fn note(&self, lineage: Lineage) {
        *self.known.lock() = Some(lineage);
    }

    /// Notes for good which store is believed. A folder that cannot be written only costs the suspicion after the next
    /// restart.
    pub fn remember(&self, lineage: &Lineage) {
        self.note(lineage.clone());
        if self.kept.lock().replace(lineage.clone()).as_ref() == Some(lineage) {
            return;
        }
        let note = Note { store: self.store.clone(), lineage: lineage.clone() };
        let written = serde_json::to_vec(&note)
            .map_err(std::io::Error::other)
            .and_then(|text| crate::files::replace(&self.path, &text));
        if let Err(error) = written {
            warn!(%error, "the data folder cannot be written: an emptied store would not be noticed after a restart");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_believed_only_when_it_descends_from_the_one_that_is_remembered() {
        let lineage = |epoch: &str, ancestors: &str| Lineage { epoch: epoch.into(), ancestors: ancestors.into() };
        let known = lineage("7", "5 3");
        for (met, is_believed) in [
            (lineage("7", ""), true),
            (lineage("8", "7 5"), true),
            (lineage("9", "8 7"), true),
            (lineage("8", "*"), true),
            (lineage("8", ""), false),
            (lineage("8", "5 3"), false),
            (lineage("8", "77"), false),
            (lineage("5", "3"), false),
        ] {
            assert_eq!(met.descends_from(&known), is_believed, "{met:?}");
        }
    }

    #[test]
    fn what_is_remembered_outlives_the_process_and_is_about_one_store() {
        let folder = tempfile::tempdir().unwrap();
        let lineage = Lineage { epoch: "7".into(), ancestors: "5 3".into() };
        Memory::new(folder.path(), "host:1/0", "linkgate").remember(&lineage);
        assert_eq!(Memory::new(folder.path(), "host:1/0", "linkgate").recall(), Some(lineage));
        assert_eq!(Memory::new(folder.path(), "host:2/0", "linkgate").recall(), None);
        assert_eq!(Memory::new(folder.path(), "host:1/0", "other").recall(), None);
    }
}
