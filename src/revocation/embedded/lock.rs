//! One process per data folder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files;

/// The file that is locked; it names the process that holds it.
const FILE_NAME: &str = "lock";

/// Ownership of a data folder, given up when dropped or when the process ends, however it ends.
pub struct FolderLock(File);

/// Why a folder could not be owned.
#[derive(Debug, Error)]
pub enum LockError {
    #[error(
        "the data folder {folder} is in use by another linkgate{holder}; talk to that one with --server, or give this one a folder of its own"
    )]
    Taken { folder: PathBuf, holder: String },
    #[error("cannot lock the data folder {folder}: {source}")]
    Io { folder: PathBuf, source: io::Error },
}

impl FolderLock {
    /// Locks a folder, which must exist.
    ///
    /// # Errors
    /// [`LockError::Taken`] when another process has it.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { folder: folder.to_owned(), source };
        let mut file = files::own(&folder.join(FILE_NAME)).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let holder = match file.read_to_string(&mut holder) {
                    Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
                    _ => String::new(),
                };
                return Err(LockError::Taken { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        // The number only helps a person: a full disk must not keep the process from starting.
        let _ = write!(file, "{}", std::process::id());
        Ok(Self(file))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child process that is about to start has a copy of the file for a moment.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_given_up_although_a_child_process_has_a_copy_of_the_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(folder.path()).unwrap();
        let _copy = lock.0.try_clone().unwrap();
        assert!(matches!(FolderLock::acquire(folder.path()), Err(LockError::Taken { .. })));
        drop(lock);
        FolderLock::acquire(folder.path()).unwrap();
    }
}
