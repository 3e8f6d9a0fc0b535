//! Other users of the machine: what they lay into our folders, and what they could read out of memory.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::linkgate::{Builder, Linkgate};
use crate::support::{Process, binary, eventually};

/// A user of the machine who is neither root nor Linkgate's.
const STRANGER: u32 = 65_533;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_file_is_written_through_a_link_that_lies_where_it_could_be_expected() {
    let linkgate = Builder::new().prepare();
    let (data, victim) = (linkgate.data_dir(), linkgate.folder.path().join("victim"));
    std::fs::write(&victim, "precious").unwrap();
    let config = linkgate.folder.path().join("linkgate.toml");
    // The shell's number is the program's that takes its place, so the name it might choose is known.
    for (name, command) in [
        ("keys.toml.$$.tmp", "keys new"),
        ("clients.json.$$.tmp", "clients add a --role mint --allow '**'"),
        ("clients.lock", "clients add b --role mint --allow '**'"),
        ("lock", "revoke --everything"),
        ("revocations.redb", "revoke --everything"),
    ] {
        let fixed = data.join(name);
        let _ = std::fs::remove_file(&fixed);
        let script = format!(
            "ln -s '{}' \"{}/{name}\"; exec '{}' {command} --config '{}'",
            victim.display(),
            data.display(),
            binary().display(),
            config.display()
        );
        let output = Command::new("sh").args(["-c", &script]).env_clear().stdin(Stdio::null()).output().unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}: {output:?}");
        let _ = std::fs::remove_file(&fixed);
    }
}

#[test]
fn a_folder_that_everybody_may_write_to_is_named_and_what_strangers_put_there_is_not_believed() {
    let mut linkgate = Builder::new().prepare();
    set_mode(&linkgate.data_dir(), 0o777);
    let checked = linkgate.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("warning") && said.contains("chmod o-w"), "{said}");
    linkgate.launch();
    linkgate.until_ready();
    assert!(linkgate.log().contains("chmod o-w"), "{}", linkgate.log());
    eventually("clients are known", || linkgate.api("GET", "/v1/clients", &serde_json::Value::Null).status == 200);
    linkgate.process.stop();

    for name in ["clients.json", "keys.toml", "revocations.redb", "clients.lock", "lock"] {
        let path = linkgate.data_dir().join(name);
        chown(&path, Some(STRANGER), None).unwrap();
        let output = linkgate.run(&["clients", "add", "x", "--role", "mint", "--allow", "**"]);
        let revoked = linkgate.run(&["revoke", "--everything"]);
        let said = String::from_utf8_lossy(&[output.stderr, revoked.stderr].concat()).into_owned();
        assert!(said.contains("belongs to another user"), "{name}: {said}");
        chown(&path, Some(0), None).unwrap();
    }
}

/// The line of `/proc/<id>/limits` about core files.
fn core_limit(process: &Process) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.0.id())).unwrap();
    limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
}

/// Commands that have read the keys' environment and wait for something.
fn waiting(linkgate: &Linkgate, arguments: &str, environment: &[(&str, &str)]) -> Process {
    let script = format!("ulimit -c unlimited; exec '{}' {arguments} --config linkgate.toml", binary().display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env_clear().envs(environment.iter().copied());
    command.current_dir(linkgate.folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(&mut command)
}

#[test]
fn no_command_that_dies_leaves_its_keys_in_a_core_file() {
    let linkgate = Builder::new().prepare();
    for arguments in ["serve", "inspect -", "revoke -"] {
        let mut process = waiting(&linkgate, arguments, &[]);
        eventually("the limit is lowered", || {
            core_limit(&process).split_whitespace().skip(4).take(2).all(|limit| limit == "0")
        });
        process.signal("ABRT");
        let status = process.0.wait().unwrap();
        assert!(status.signal().is_some() && !status.core_dumped(), "{arguments}: {status:?}");
    }
    let cores = std::fs::read_dir(linkgate.folder.path()).unwrap();
    let cores = cores.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("core"));
    assert_eq!(cores.count(), 0);

    let process = waiting(&linkgate, "inspect -", &[("LINKGATE_ALLOW_CORE_DUMPS", "1")]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(core_limit(&process).contains("unlimited"), "debugging is possible: {}", core_limit(&process));
}

/// Another process of the same user could read its memory otherwise.
#[test]
fn the_memory_of_a_process_is_root_s_to_look_at() {
    let linkgate = Builder::new().prepare();
    set_mode(linkgate.folder.path(), 0o755);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]).arg(binary()).args(["inspect", "-"]);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(&mut command);
    let environ = format!("/proc/{}/environ", process.0.id());
    eventually("what it holds is root's", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.0.id())).unwrap_or_default();
        let owner = std::fs::metadata(&environ).map(|found| std::os::unix::fs::MetadataExt::uid(&found));
        name.trim() == "linkgate" && owner.is_ok_and(|owner| owner == 0)
    });
}

#[test]
fn a_socket_is_never_open_to_more_than_it_is_meant_for() {
    let linkgate = Builder::new().prepare();
    let script = format!("umask 0; exec '{}' serve --config linkgate.toml", binary().display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env_clear().current_dir(linkgate.folder.path()).stdin(Stdio::null());
    let _process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let socket = linkgate.data_dir().join("operator.sock");
    eventually("the operator's socket is there", || match std::fs::metadata(&socket) {
        Ok(found) => {
            let mode = found.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{mode:o}");
            true
        }
        Err(_) => false,
    });
}
