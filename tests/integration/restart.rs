//! Restarts that nobody notices: sockets that are handed over (`sd_listen_fds(3)`), and what a service manager is told.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::{Connection, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::nginx::{Nginx, Variant};
use crate::support::redis::Redis;
use crate::support::{Process, binary, eventually, uninterrupted};

/// How often the verifier is restarted under load; `LINKGATE_RESTARTS=20` makes thirty seconds of it.
fn restarts() -> usize {
    std::env::var("LINKGATE_RESTARTS").map_or(4, |text| text.parse().expect("a number"))
}

const BETWEEN_RESTARTS: Duration = Duration::from_millis(1_500);
const CLIENTS: usize = 8;

/// Starts a process with a socket that this test listens on, as a service manager does.
fn start(linkgate: &Linkgate, socket: &impl AsFd, name: &str, environment: &[(&str, &str)]) -> Process {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(linkgate.folder.path().join("log.txt")).unwrap();
    // The number of the process is known only to itself: a shell writes it down and becomes the process.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(binary());
    command.args(["serve", "--config"]).arg(linkgate.folder.path().join("linkgate.toml"));
    command.env_clear().envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)]).envs(environment.iter().copied());
    if name == "download" {
        command.envs([("LINKGATE_LISTEN__API", "off"), ("LINKGATE_LISTEN__OPS", "off")]);
    }
    command.stdin(socket.as_fd().try_clone_to_owned().unwrap()).stdout(Stdio::null()).stderr(log);
    Process::start(&mut command)
}

/// A Linkgate that is not running, and the socket that it is to be handed.
fn site(builder: Builder) -> (Linkgate, UnixListener) {
    let linkgate = builder.edge("nginx").prepare();
    linkgate.file("a.txt", b"bytes");
    let socket = UnixListener::bind(linkgate.socket()).unwrap();
    (linkgate, socket)
}

fn link(linkgate: &Linkgate) -> String {
    path_of(&serde_json::from_str(&linkgate.succeed(&["mint", "a.txt", "--json"])).unwrap())
}

/// Downloads through nginx on kept connections while `restart` goes on; says how many there were.
fn downloads_all_succeed(linkgate: &Linkgate, nginx: &Nginx, link: &str, restart: impl FnOnce()) -> usize {
    let (is_over, downloads, slowest) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(&nginx.place());
                while !is_over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    connection.send(format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n"));
                    let answer = connection.answer("GET").expect("an answer");
                    assert_eq!(
                        (answer.status, answer.text().as_str()),
                        (200, "bytes"),
                        "{}{}",
                        nginx.errors(),
                        linkgate.log()
                    );
                    if answer.header("connection").is_some_and(|value| value == "close") {
                        connection = Connection::open(&nginx.place());
                    }
                    slowest.fetch_max(begun.elapsed().as_millis() as usize, Ordering::Relaxed);
                    downloads.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        // Whatever fails, the clients must end.
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(restart));
        is_over.store(true, Ordering::Relaxed);
        restarted.unwrap();
    });
    let (downloads, slowest) = (downloads.into_inner(), slowest.into_inner());
    eprintln!("{downloads} downloads, none failed; the slowest took {slowest} ms");
    downloads
}

#[test]
fn a_process_that_takes_the_place_of_another_loses_no_download() {
    let (linkgate, socket) = site(Builder::new());
    let mut process = start(&linkgate, &socket, "download", &[]);
    let link = link(&linkgate);
    let nginx = Nginx::start(&linkgate, Variant::Redirect);
    let downloads = downloads_all_succeed(&linkgate, &nginx, &link, || {
        for _ in 0..restarts() {
            thread::sleep(BETWEEN_RESTARTS);
            process.stop();
            process = start(&linkgate, &socket, "download", &[]);
        }
        thread::sleep(BETWEEN_RESTARTS);
    });
    assert!(downloads > 1_000, "{downloads}");
}

#[test]
fn two_processes_share_a_socket_while_one_follows_the_other() {
    let redis = Redis::start();
    let (linkgate, socket) = site(Builder::new().redis(&redis.url()));
    let mut process = start(&linkgate, &socket, "download", &[]);
    let link = link(&linkgate);
    let nginx = Nginx::start(&linkgate, Variant::Redirect);
    let downloads = downloads_all_succeed(&linkgate, &nginx, &link, || {
        for _ in 0..restarts() {
            thread::sleep(BETWEEN_RESTARTS / 2);
            let next = start(&linkgate, &socket, "download", &[]);
            thread::sleep(BETWEEN_RESTARTS / 2);
            process.stop();
            process = next;
        }
    });
    assert!(downloads > 1_000, "{downloads}");
}

#[test]
fn a_process_that_nobody_needs_ends_and_whoever_comes_then_waits_for_the_next() {
    let (linkgate, socket) = site(Builder::new());
    let idle = [("LINKGATE_LIMITS__IDLE_EXIT", "1s")];
    let mut process = start(&linkgate, &socket, "download", &idle);
    let link = link(&linkgate);
    for _ in 0..2 {
        assert_eq!(linkgate.status(&link), 200);
        let mut connection = Connection::open(&linkgate.place());
        connection.send(format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(connection.answer("GET").unwrap().status, 200);
        thread::sleep(Duration::from_millis(2_500));
        assert!(process.0.try_wait().unwrap().is_none(), "a connection is open: {}", linkgate.log());
        drop(connection);
        eventually("it ends", || process.0.try_wait().unwrap().is_some());
        assert!(process.0.wait().unwrap().success(), "{}", linkgate.log());
        assert!(linkgate.socket().exists(), "the socket is not its own");

        let waiting = thread::spawn({
            let (place, link) = (linkgate.place(), link.clone());
            move || request(&place, "GET", &link, &[], b"").status
        });
        thread::sleep(Duration::from_millis(100));
        process = start(&linkgate, &socket, "download", &idle);
        assert_eq!(waiting.join().unwrap(), 200);
    }
}

#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let (linkgate, socket) = site(Builder::new());
    let manager = UnixDatagram::bind(linkgate.folder.path().join("notify.sock")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let heard = || {
        let mut message = [0; 200];
        let length = uninterrupted(|| manager.recv(&mut message)).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let address = linkgate.folder.path().join("notify.sock").display().to_string();
    let mut process = start(&linkgate, &socket, "download", &[("NOTIFY_SOCKET", &address)]);
    assert_eq!(heard().trim(), "READY=1\nSTATUS=serving");
    process.stop();
    assert_eq!(heard().trim(), "STOPPING=1\nSTATUS=draining");
}

#[test]
fn a_socket_without_a_name_is_for_all() {
    let linkgate = Builder::new().prepare();
    linkgate.file("a.txt", b"bytes");
    let socket = UnixListener::bind(linkgate.socket()).unwrap();
    let mut process = start(&linkgate, &socket, "linkgate.socket", &[]);
    linkgate.until_ready();
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt" })));
    assert_eq!(linkgate.get(&link).text(), "bytes");
    process.stop();
    assert!(linkgate.socket().exists(), "the socket is not its own");
}

#[test]
fn systemds_own_tool_starts_it_when_somebody_comes() {
    let linkgate = Builder::new().edge("nginx").prepare();
    linkgate.file("a.txt", b"bytes");
    let mut command = linkgate.command(&["serve"]);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(linkgate.socket()).arg(binary()).args(arguments);
    let process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    eventually("the socket is there", || linkgate.socket().exists());
    linkgate.until_ready();
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt" })));
    assert_eq!(linkgate.status(&link), 200);
    drop(process);
}

#[test]
fn what_cannot_be_listened_on_is_refused_at_the_start() {
    let (linkgate, _socket) = site(Builder::new());
    let file = std::fs::File::open(linkgate.folder.path().join("linkgate.toml")).unwrap();
    let connected = std::os::unix::net::UnixStream::pair().unwrap().0;
    let status = |process: &mut Process| process.0.wait().unwrap().code();
    assert_eq!(status(&mut start(&linkgate, &file, "download", &[])), Some(1));
    assert_eq!(status(&mut start(&linkgate, &connected, "download", &[])), Some(1));
    let log = linkgate.log();
    assert_eq!(log.matches("a socket that was handed over (LISTEN_FDS) cannot be used").count(), 2, "{log}");
}

/// A service manager may listen on every address of the machine: of which one links are to lead to, only a setting tells.
#[test]
fn a_wildcard_address_that_was_handed_over_is_in_no_link() {
    let (linkgate, _socket) = site(Builder::new());
    let configuration = linkgate.folder.path().join("linkgate.toml");
    std::fs::write(&configuration, format!("data_dir = {:?}\n", linkgate.data_dir())).unwrap();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let socket = std::net::TcpListener::bind(address).unwrap();
        let mut process = start(&linkgate, &socket, "", &[]);
        eventually("it refuses to start", || process.0.try_wait().unwrap().is_some());
        assert_eq!(process.0.wait().unwrap().code(), Some(1), "{address}");
    }
    assert_eq!(linkgate.log().matches("`public_url` must be set").count(), 2, "{}", linkgate.log());
}
