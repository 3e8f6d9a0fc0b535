//! Files with secrets, as machines and orchestrators hand them over.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::linkgate::{Builder, Linkgate};
use crate::support::small_disk::SmallDisk;

/// Linkgate's user in these tests, and his group.
const SERVICE: u32 = 65_532;
const STRANGER: u32 = 65_533;

/// What a command says as the service's user; `Ok` when it works.
fn as_service(linkgate: &Linkgate, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(), String> {
    let command = linkgate.command(arguments);
    let mut service = Command::new("setpriv");
    service.args(["--reuid=65532", "--regid=65532", "--clear-groups"]).arg(command.get_program());
    let output = service.args(command.get_args()).env_clear().envs(environment.iter().copied()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// What `linkgate keys list` says as the service's user; `Ok` when it reads the file.
fn read_as_service(linkgate: &Linkgate, file: &Path) -> Result<(), String> {
    as_service(linkgate, &["keys", "list"], &[("LINKGATE_KEYS__FILE", file.to_str().unwrap())])
}

fn prepared() -> (Linkgate, PathBuf) {
    let linkgate = Builder::new().prepare();
    for folder in [linkgate.folder.path().to_owned(), linkgate.data_dir()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = linkgate.data_dir().join("keys.toml");
    (linkgate, file)
}

/// Owner, group, mode; and a word of the refusal, where it is refused. One rule for every file that holds a secret.
#[test]
fn a_key_file_is_taken_from_its_owner_and_from_root_s_hand_and_not_when_more_can_read_it() {
    let (linkgate, file) = prepared();
    let tls_key = linkgate.folder.path().join("tls.key");
    std::fs::write(&tls_key, "no key at all").unwrap();
    let names = [tls_key.clone(), file.clone()].map(|path| path.to_str().unwrap().to_owned());
    let store = [
        ("LINKGATE_STORE__URL", "rediss://127.0.0.1:1"),
        ("LINKGATE_STORE__TLS_CERT", &names[1]),
        ("LINKGATE_STORE__TLS_KEY", &names[0]),
    ];
    for (owner, group, mode, refusal) in [
        (SERVICE, SERVICE, 0o600, None),
        (SERVICE, SERVICE, 0o400, None),
        (0, SERVICE, 0o440, None),
        (0, SERVICE, 0o640, None),
        (SERVICE, SERVICE, 0o640, Some("chmod 600")),
        (SERVICE, SERVICE, 0o640, Some("`defaultMode: 0440` and `fsGroup`")),
        (0, SERVICE, 0o444, Some("`defaultMode: 0440` and `fsGroup`")),
        (SERVICE, SERVICE, 0o644, Some("chmod 600")),
        (0, 0, 0o444, Some("mount it read-only")),
        (0, SERVICE, 0o644, Some("mount it read-only")),
        (0, SERVICE, 0o666, Some("everybody may write")),
        (STRANGER, SERVICE, 0o640, Some("belongs to another user")),
        (STRANGER, STRANGER, 0o644, Some("belongs to another user")),
    ] {
        for secret in [&file, &tls_key] {
            std::fs::set_permissions(secret, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(secret, Some(owner), Some(group)).unwrap();
        }
        let seen = read_as_service(&linkgate, &file);
        match refusal {
            None => assert_eq!(seen, Ok(()), "{owner} {group} {mode:o}"),
            Some(words) => assert!(seen.clone().is_err_and(|said| said.contains(words)), "{owner} {mode:o}: {seen:?}"),
        }
        // It is no key, so that the store cannot be opened in any case.
        let seen = as_service(&linkgate, &["check"], &store).unwrap_err();
        let is_refused = seen.contains("`store.tls_key`");
        assert!(
            is_refused == refusal.is_some() && refusal.is_none_or(|words| seen.contains(words)),
            "{mode:o}: {seen}"
        );
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

/// The service is stopped; somebody looks and changes things as root, and forgets `sudo -u`.
#[test]
fn commands_that_root_runs_leave_the_service_its_files() {
    let (linkgate, file) = prepared();
    let data = linkgate.data_dir();
    let all = || std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for path in all().into_iter().chain([data.clone(), linkgate.folder.path().to_owned()]) {
        chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    for command in [
        &["keys", "new"][..],
        &["clients", "add", "backend", "--role", "mint", "--allow", "**"],
        &["revocations"],
        &["revoke", "--subject", "user-42"],
    ] {
        linkgate.succeed(command);
        for path in all() {
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), SERVICE, "{}, after {command:?}", path.display());
        }
    }
    for look in [&["keys", "list"][..], &["clients", "list"], &["revocations"], &["check"]] {
        assert_eq!(as_service(&linkgate, look, &[]), Ok(()), "{look:?}");
    }

    // What root hands over stays handed over.
    chown(&file, Some(0), Some(SERVICE)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    linkgate.succeed(&["keys", "new"]);
    assert_eq!(read_as_service(&linkgate, &file), Ok(()));
}

#[test]
fn a_key_file_behind_a_link_is_changed_where_it_is() {
    let (linkgate, file) = prepared();
    let real = linkgate.folder.path().join("real.toml");
    std::fs::rename(&file, &real).unwrap();
    symlink("../real.toml", &file).unwrap();
    let before = std::fs::read_to_string(&real).unwrap();
    linkgate.succeed(&["keys", "new"]);
    assert!(std::fs::symlink_metadata(&file).unwrap().is_symlink());
    let after = std::fs::read_to_string(&real).unwrap();
    assert!(after.starts_with(&before) && after.len() > before.len(), "{after}");

    std::fs::remove_file(&real).unwrap();
    let output = linkgate.run(&["keys", "new"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("leads nowhere"), "{output:?}");
}
