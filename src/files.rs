//! Small files written whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 0600.
    OwnerOnly,
    /// 0644.
    Everyone,
}

impl Mode {
    const fn bits(self) -> u32 {
        match self {
            Self::OwnerOnly => 0o600,
            Self::Everyone => 0o644,
        }
    }
}

/// Replaces a file: a reader sees the old contents or the new, and after a crash one of them is there.
///
/// # Errors
/// When the folder cannot be written or synced; the old file is untouched then.
pub fn replace(path: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode.bits()).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode.bits()))?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
