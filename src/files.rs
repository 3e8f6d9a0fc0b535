//! Files of our own: for their owner only, written whole or not at all, never through a link that another has laid, and
//! believed only from those who could change them anyway.
//!
//! A secret is held to more, by one rule for every file that holds one:
//!
//! | whose file | may also be read by | so that |
//! | --- | --- | --- |
//! | this process's user's, or the folder's owner's | – | its owner closes it |
//! | root's, in another user's hand or another group's | its group | secrets can be handed over: `fsGroup`, systemd credentials |
//! | anybody's, on a file system that is mounted read-only | everybody | mounted secrets work as they come: their mode cannot be changed there |

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, OFlags, StatVfsMountFlags, accessat, fchown, fstatvfs};
use rustix::process::{Gid, Uid, geteuid};

use crate::entropy::random;

/// Only the owner may read what is written here.
const MODE: u32 = 0o600;
/// Only the owner may look into a folder that is made here.
const FOLDER_MODE: u32 = 0o700;
/// The right of everybody to write.
const OTHERS_WRITE: u32 = 0o002;
/// The right of a file's group to read it.
const GROUP_READS: u32 = 0o040;
/// The user who may change any file, and his group.
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

/// Looks whether this process may make files in a folder.
///
/// # Errors
/// Why it may not.
pub fn may_write_in(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::Error::other(format!("{} is no folder", folder.display())));
    }
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
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
    let found = believe(&file, path)?;
    if found.len() == 0 {
        // It was made just now, or might as well have been. The folder's owner could take it away in any case.
        let _ = leave_to(&file, &std::fs::metadata(folder_of(path))?);
    }
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

/// Opens a file that holds a secret, by the rule [above](self).
///
/// # Errors
/// As for [`open`], and when more users may read it than have to. The message says what mends that.
pub fn open_secret(path: &Path) -> io::Result<File> {
    let (file, found) = open(path)?;
    let mode = found.mode() & 0o777;
    let is_handed_over = found.uid() == ROOT && (!geteuid().is_root() || found.gid() != ROOT);
    let allowed = if is_handed_over { MODE | GROUP_READS } else { MODE };
    if mode & 0o077 & !allowed == 0 || fstatvfs(&file)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(file);
    }
    let path = path.display();
    Err(io::Error::other(if is_handed_over {
        format!(
            "it is root's and open to more than its group's readers (mode {mode:03o}): give it the group of Linkgate's user \
             and run `chmod 640 {path}`; where its mode cannot be changed, set `defaultMode: 0440` and `fsGroup` \
             (Kubernetes), or mount it read-only"
        )
    } else {
        format!(
            "it can be read by others than its owner (mode {mode:03o}, user id {}): run `chmod 600 {path}`; where its mode \
             cannot be changed, let root own it and its group read it (`defaultMode: 0440` and `fsGroup` in Kubernetes), \
             or mount it read-only",
            found.uid()
        )
    }))
}

/// Where a file really is: behind the link that its path may be.
///
/// # Errors
/// When it is a link that leads nowhere.
pub fn behind_link(path: &Path) -> io::Result<PathBuf> {
    if !std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Ok(path.to_owned());
    }
    path.canonicalize().map_err(|_| io::Error::other("it is a symbolic link that leads nowhere"))
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
/// What root replaces stays its owner's and its group's, as far as it was readable for them; what root makes is the
/// folder's owner's: a command that root runs must not lock the service out.
///
/// # Errors
/// When the folder cannot be written or synced, the owner cannot be kept, or `write` fails; the old file is untouched then.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = folder.join(temporary_name(name));
    // A name that cannot be guessed, made here or not at all: O_EXCL follows no link.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary)?;
    let written = (|| {
        remove_abandoned(folder, name, &file.metadata()?);
        let mode = keep_owner(&file, path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
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

/// Gives a file that is about to take another's place to whom that belongs; answers the mode it is to have.
fn keep_owner(file: &File, path: &Path) -> io::Result<u32> {
    let folder = std::fs::metadata(folder_of(path))?;
    let Some(old) = std::fs::symlink_metadata(path).ok().filter(Metadata::is_file) else {
        // As root's own it would be as good as it ever was.
        let _ = leave_to(file, &folder);
        return Ok(MODE);
    };
    let is_believed = [ROOT, folder.uid()].contains(&old.uid());
    leave_to(file, if is_believed { &old } else { &folder })?;
    let is_handed_over = geteuid().is_root() && old.uid() == ROOT;
    Ok(if is_handed_over { MODE | old.mode() & GROUP_READS } else { MODE })
}

/// Makes a file of root's somebody else's; what another user makes stays his.
fn leave_to(file: &File, of: &Metadata) -> io::Result<()> {
    if geteuid().is_root() && (of.uid(), of.gid()) != (ROOT, ROOT) {
        fchown(file, Some(Uid::from_raw(of.uid())), Some(Gid::from_raw(of.gid())))?;
    }
    Ok(())
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

    /// Whose a secret is, whose its group, its mode, and whether root and whether its owner take it.
    #[test]
    fn a_secret_is_its_owners_alone_and_one_that_root_hands_over_its_groups_as_well() {
        let user = geteuid().as_raw();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let is_taken = |mode: u32| {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match open_secret(&path) {
                Ok(_) => true,
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(&format!("mode {mode:03o}")) && said.contains("defaultMode"), "{said}");
                    assert!(!said.contains("  "), "{said}");
                    false
                }
            }
        };
        for mode in 0..0o1000 {
            // Who may write to it could have made it; root reads what nobody may.
            if mode & 0o400 != 0 && mode & OTHERS_WRITE == 0 {
                assert_eq!(is_taken(mode), mode % 0o100 == 0, "{mode:o}");
            }
        }
        if user != ROOT {
            return;
        }
        for (owner, group, mode, expected) in [
            (ROOT, 65_532, 0o440, true),
            (ROOT, 65_532, 0o640, true),
            (ROOT, 65_532, 0o660, false),
            (ROOT, 65_532, 0o650, false),
            (ROOT, 65_532, 0o644, false),
            (ROOT, ROOT, 0o640, false),
        ] {
            chown(&path, Some(owner), Some(group)).unwrap();
            assert_eq!(is_taken(mode), expected, "{owner} {group} {mode:o}");
        }
    }

    /// Whose a file and its folder are before root replaces it, and whose it is and with what mode afterwards.
    #[test]
    fn what_root_replaces_or_makes_is_still_for_whom_it_was() {
        if geteuid().as_raw() != ROOT {
            return;
        }
        let (service, stranger) = (65_532, 65_533);
        for (of_file, of_folder, left) in [
            (Some((service, service, 0o600)), service, (service, service, 0o600)),
            (Some((service, stranger, 0o640)), service, (service, stranger, 0o600)),
            (Some((ROOT, service, 0o640)), ROOT, (ROOT, service, 0o640)),
            (Some((ROOT, service, 0o440)), service, (ROOT, service, 0o640)),
            (Some((ROOT, ROOT, 0o600)), service, (ROOT, ROOT, 0o600)),
            (Some((stranger, stranger, 0o600)), service, (service, service, 0o600)),
            (Some((stranger, stranger, 0o600)), ROOT, (ROOT, ROOT, 0o600)),
            (None, service, (service, service, 0o600)),
            (None, ROOT, (ROOT, ROOT, 0o600)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            chown(folder.path(), Some(of_folder), Some(of_folder)).unwrap();
            let path = folder.path().join("a");
            if let Some((user, group, mode)) = of_file {
                std::fs::write(&path, "x").unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                chown(&path, Some(user), Some(group)).unwrap();
            }
            replace(&path, b"y").unwrap();
            let found = std::fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), left, "{of_file:?} {of_folder}");
            let made = own(&folder.path().join("lock")).unwrap().metadata().unwrap();
            assert_eq!((made.uid(), made.gid()), (of_folder, of_folder));
        }
    }

    #[test]
    fn a_link_leads_to_a_file_or_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link, inner) = (folder.path().join("file"), folder.path().join("link"), folder.path().join("inner"));
        symlink("inner", &link).unwrap();
        symlink("file", &inner).unwrap();
        assert!(behind_link(&link).unwrap_err().to_string().contains("leads nowhere"));
        std::fs::write(&file, "x").unwrap();
        let real = file.canonicalize().unwrap();
        assert_eq!(behind_link(&link).unwrap(), real);
        assert_eq!(
            (behind_link(&file).unwrap(), behind_link(&folder.path().join("no")).unwrap()),
            (file, folder.path().join("no"))
        );
    }

    #[test]
    fn a_pipe_or_a_folder_is_no_file_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
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
