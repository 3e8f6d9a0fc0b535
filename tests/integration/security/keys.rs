//! Key files, as machines and orchestrators hand them over.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::linkgate::{Builder, Linkgate};
use crate::support::small_disk::SmallDisk;

/// Linkgate's user in these tests, and his group.
const SERVICE: u32 = 65_532;
const STRANGER: u32 = 65_533;

/// What `linkgate keys list` says as the service's user; `Ok` when it reads the file.
fn read_as_service(linkgate: &Linkgate, file: &Path) -> Result<(), String> {
    let command = linkgate.command(&["keys", "list"]);
    let mut as_service = Command::new("setpriv");
    as_service.args(["--reuid=65532", "--regid=65532", "--clear-groups"]).arg(command.get_program());
    let output = as_service.args(command.get_args()).env_clear().env("LINKGATE_KEYS__FILE", file).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn prepared() -> (Linkgate, PathBuf) {
    let linkgate = Builder::new().prepare();
    for folder in [linkgate.folder.path().to_owned(), linkgate.data_dir()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = linkgate.data_dir().join("keys.toml");
    (linkgate, file)
}

/// Owner, group, mode; and a word of the refusal, where it is refused.
#[test]
fn a_key_file_is_taken_from_its_owner_and_from_root_s_hand_and_not_when_more_can_read_it() {
    let (linkgate, file) = prepared();
    for (owner, group, mode, refusal) in [
        (SERVICE, SERVICE, 0o600, None),
        (SERVICE, SERVICE, 0o400, None),
        (0, SERVICE, 0o440, None),
        (0, SERVICE, 0o640, None),
        (SERVICE, SERVICE, 0o640, Some("chmod 600")),
        (SERVICE, SERVICE, 0o644, Some("chmod 600")),
        (0, 0, 0o444, Some("mount it read-only")),
        (0, SERVICE, 0o644, Some("mount it read-only")),
        (0, SERVICE, 0o666, Some("everybody may write")),
        (STRANGER, SERVICE, 0o640, Some("belongs to another user")),
        (STRANGER, STRANGER, 0o644, Some("belongs to another user")),
    ] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&file, Some(owner), Some(group)).unwrap();
        let seen = read_as_service(&linkgate, &file);
        match refusal {
            None => assert_eq!(seen, Ok(()), "{owner} {group} {mode:o}"),
            Some(words) => assert!(seen.clone().is_err_and(|said| said.contains(words)), "{owner} {mode:o}: {seen:?}"),
        }
    }
}

/// Kubernetes mounts a Secret read-only, by default open to all in the container, behind two links.
#[test]
fn a_mounted_secret_works_as_it_comes() {
    let (linkgate, file) = prepared();
    let disk = SmallDisk::mount();
    std::fs::create_dir(disk.path().join("..2026")).unwrap();
    std::fs::copy(&file, disk.path().join("..2026/keys.toml")).unwrap();
    symlink("..2026", disk.path().join("..data")).unwrap();
    symlink("..data/keys.toml", disk.path().join("keys.toml")).unwrap();
    let secret = disk.path().join("keys.toml");
    std::fs::set_permissions(disk.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for mode in [0o440, 0o444, 0o644] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&secret, Some(0), Some(SERVICE)).unwrap();
        let remount = |options: &str| {
            let mounted = Command::new("mount").args(["-o", options]).arg(disk.path()).status().unwrap();
            assert!(mounted.success());
        };
        remount("remount,ro");
        let as_service = read_as_service(&linkgate, &secret);
        let as_root = linkgate.command(&["keys", "list"]).env("LINKGATE_KEYS__FILE", &secret).output().unwrap();
        remount("remount,rw");
        assert_eq!(as_service, Ok(()), "{mode:o}");
        assert!(as_root.status.success(), "{mode:o}: {as_root:?}");
    }
}
