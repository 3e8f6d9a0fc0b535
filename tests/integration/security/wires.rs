//! An API key goes in clear text to this machine alone, unless that is asked for.

use std::io::Read;
use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use crate::support::linkgate::{Builder, Linkgate};

/// Not a loopback address, and reaches this machine on every Linux.
const DISTANT: &str = "0.0.0.0";

fn ask(linkgate: &Linkgate, server: &str, more: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = linkgate.command(&[&["mint", "a.txt", "--server", server], more].concat());
    command.env("LINKGATE_API_KEY", &linkgate.mint_key).envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn a_key_is_not_sent_in_clear_text_to_another_machine_unless_that_is_said() {
    let linkgate = Builder::new().environment("LINKGATE_LISTEN__API", "127.0.0.1:0").start();
    let log = linkgate.log();
    let address = log.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    for near in ["127.0.0.1", "localhost"] {
        assert!(ask(&linkgate, &format!("http://{near}:{port}"), &[], &[]).status.success(), "{near}");
    }
    let distant = format!("http://{DISTANT}:{port}");
    for off in [&[][..], &[("LINKGATE_PLAIN_HTTP", "")], &[("LINKGATE_PLAIN_HTTP", "false")]] {
        let refused = ask(&linkgate, &distant, &[], off);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("clear text") && said.contains("--plain-http"), "{said}");
        assert!(!said.contains(&linkgate.mint_key), "{said}");
    }
    assert!(ask(&linkgate, &distant, &["--plain-http"], &[]).status.success());
    for on in ["true", "1"] {
        assert!(ask(&linkgate, &distant, &[], &[("LINKGATE_PLAIN_HTTP", on)]).status.success(), "{on}");
    }
    let typo = ask(&linkgate, &distant, &[], &[("LINKGATE_PLAIN_HTTP", "treu")]);
    assert_eq!(typo.status.code(), Some(2), "{typo:?}");
}

/// Every command that calls a server goes the same way.
#[test]
fn nothing_at_all_is_sent_to_a_server_that_must_not_have_the_key() {
    let linkgate = Builder::new().prepare();
    let listener = TcpListener::bind((DISTANT, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = format!("http://{DISTANT}:{port}");
    for command in [
        &["mint", "a.txt"][..],
        &["inspect", "x"],
        &["revoke", "--everything"],
        &["reinstate", "rev_0000000000000000000000"],
        &["revocations"],
        &["verifiers"],
        &["clients", "list"],
        &["clients", "add", "x", "--role", "mint", "--allow", "**"],
    ] {
        let output = linkgate
            .command(command)
            .env("LINKGATE_SERVER", &server)
            .env("LINKGATE_API_KEY", &linkgate.admin_key)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--plain-http"), "{command:?}: {output:?}");
    }
    for odd in
        [format!("http://127.0.0.1@{DISTANT}:{port}"), format!("http://me:pw@127.0.0.1:{port}"), "ftp://x".into()]
    {
        let output = ask(&linkgate, &odd, &["--plain-http"], &[]);
        assert_eq!(output.status.code(), Some(1), "{odd}: {output:?}");
    }
    std::thread::sleep(Duration::from_millis(100));
    if let Ok((mut stream, _)) = listener.accept() {
        let mut sent = [0; 64];
        let count = stream.read(&mut sent).unwrap_or_default();
        panic!("it was sent {:?}", String::from_utf8_lossy(&sent[..count]));
    }
}
