//! Files of our own: for their owner only, written whole or not at all, never through a link that another has laid, and
//! believed only from those who could change them anyway.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::entropy::random;

/// Only the owner may read what is written here.
const MODE: u32 = 0o600;
/// Only the owner may look into a folder that is made here.
const FOLDER_MODE: u32 = 0o700;
/// The right of everybody to write.
const OTHERS_WRITE: u32 = 0o002;
/// The user who may change any file.
const ROOT: u32 = 0;
/// What the names of temporary files end with.
const TEMPORARY: &str = ".tmp";
/// From this age on a temporary file is what a killed process has left behind: none is written for so long.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Makes a folder and those above it, each for its owner only; one that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Whether everybody on the machine may put files into a folder, or take them away.
pub fn is_open_to_all(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|found| found.mode() & OTHERS_WRITE != 0)
}

/// Opens a file for reading and writing, mode 0600 where it has to be made first. A link is not followed.
///
/// # Errors
/// When it cannot be opened, or is not to be believed: see [`open`].
pub fn own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    let file = options.custom_flags(flags(OFlags::NOFOLLOW)).open(path).map_err(|error| {
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if is_link { io::Error::other("it is a symbolic link: put the file itself there") } else { error }
    })?;
    believe(&file, path)?;
    Ok(file)
}

/// Opens a file for reading: one of this process's user, of root or of the folder's owner, which not everybody may
/// write to.
///
/// # Errors
/// When it cannot be opened, is no regular file, or others could have put it there.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a pipe would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
    let found = believe(&file, path)?;
    Ok((file, found))
}

/// Reads a file that [`open`] opens.
///
/// # Errors
/// As for [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    open(path)?.0.read_to_end(&mut contents)?;
    Ok(contents)
}

/// Replaces a file, mode 0600: a reader sees the old contents or the new, and after a crash one of them is there.
///
/// # Errors
/// When the folder cannot be written or synced; the old file is untouched then.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(contents))
}

/// Like [`replace`], for contents that need not be in memory as a whole.
///
/// # Errors
/// When the folder cannot be written or synced, or `write` fails; the old file is untouched then.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = folder.join(temporary_name(name));
    // A name that cannot be guessed, made here or not at all: O_EXCL follows no link.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
    let written = (|| {
        remove_abandoned(folder, name, &file.metadata()?);
        file.set_permissions(Permissions::from_mode(MODE))?;
        write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn believe(file: &File, path: &Path) -> io::Result<Metadata> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let is_folders = || std::fs::metadata(folder_of(&path.canonicalize()?)).map(|folder| folder.uid() == owner);
    if owner != ROOT && owner != geteuid().as_raw() && !is_folders()? {
        return Err(io::Error::other(format!(
            "it belongs to another user (id {owner}), neither to this process's, nor to root, nor to the owner of its \
             folder: look who put it there"
        )));
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(io::Error::other(format!("everybody may write to it (mode {mode:03o}): run `chmod o-w` on it")));
    }
    Ok(found)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = name.to_owned();
    temporary.push(format!(".{:032x}{TEMPORARY}", u128::from_ne_bytes(random())));
    temporary
}

/// Removes what processes that were killed while they wrote have left behind. Ages are by the file system's own clock.
fn remove_abandoned(folder: &Path, name: &OsStr, fresh: &Metadata) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let is_ours = |entry: &OsStr| {
        let rest = entry.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(TEMPORARY.as_bytes()))
    };
    for entry in entries.flatten().filter(|entry| is_ours(&entry.file_name())) {
        let age = entry.metadata().and_then(|old| Ok(fresh.modified()?.duration_since(old.modified()?)));
        if age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

const fn flags(flags: OFlags) -> i32 {
    flags.bits() as i32
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for contents in [&b"one"[..], b"two"] {
            replace(&path, contents).unwrap();
            assert_eq!(read(&path).unwrap(), contents);
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        }
        replace_with(&path, |_| Err(io::Error::other("no"))).unwrap_err();
        assert_eq!((names(folder.path()), read(&path).unwrap()), (vec!["a".to_owned()], b"two".to_vec()));
    }

    #[test]
    fn no_two_temporary_names_are_alike_and_none_tells_the_next() {
        let names: std::collections::BTreeSet<_> = (0..100).map(|_| temporary_name(OsStr::new("a"))).collect();
        assert_eq!(names.len(), 100);
    }

    #[test]
    fn what_killed_processes_left_behind_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(file.metadata().unwrap().modified().unwrap() - age).unwrap();
        };
        let (old, young) = (ABANDONED * 2, ABANDONED / 2);
        for (name, age) in [("a.1.tmp", old), ("a.2.tmp", young), ("b.1.tmp", old), ("a.1", old), ("ab.1.tmp", old)] {
            put(name, age);
        }
        replace(&folder.path().join("a"), b"x").unwrap();
        assert_eq!(names(folder.path()), ["a", "a.1", "a.2.tmp", "ab.1.tmp", "b.1.tmp"]);
    }

    #[test]
    fn a_link_is_neither_followed_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(own(&link).unwrap_err().to_string().contains("symbolic link"));
        replace(&link, b"x").unwrap();
        assert!(!std::fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is replaced, not its target");
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }

    /// Whose a file is, whose its folder, its mode, and whether it is believed by root.
    #[test]
    fn a_file_is_believed_from_those_who_could_change_it_anyway() {
        if geteuid().as_raw() != ROOT {
            return;
        }
        let (owner, stranger) = (65_532, 65_533);
        for (of_file, of_folder, mode, is_believed) in [
            (ROOT, ROOT, 0o600, true),
            (owner, owner, 0o600, true),
            (owner, owner, 0o644, true),
            (ROOT, owner, 0o444, true),
            (stranger, ROOT, 0o600, false),
            (stranger, owner, 0o600, false),
            (stranger, owner, 0o644, false),
            (ROOT, ROOT, 0o666, false),
            (owner, owner, 0o602, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(of_file), None).unwrap();
            chown(folder.path(), Some(of_folder), None).unwrap();
            let seen = (open(&path).is_ok(), own(&path).is_ok());
            assert_eq!(seen, (is_believed, is_believed), "{of_file} {of_folder} {mode:o}");
        }
    }

    #[test]
    fn a_pipe_or_a_folder_is_no_file_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [pipe.as_path(), folder.path()] {
            assert!(open(path).is_err(), "{}", path.display());
            assert!(own(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_folder_that_is_made_is_its_owners_and_one_that_is_open_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a/b");
        create_folder(&made).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, FOLDER_MODE);
        assert!(!is_open_to_all(&made) && !is_open_to_all(&folder.path().join("none")));
        std::fs::set_permissions(&made, Permissions::from_mode(0o1777)).unwrap();
        assert!(is_open_to_all(&made));
    }
}
