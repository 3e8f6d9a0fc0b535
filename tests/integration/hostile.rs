//! Clients that mean no good, or cannot help it: they wait, stammer or do not read, and everybody else is served.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::http::{Connection, request};
use crate::support::linkgate::{Builder, Linkgate};

const SLOTS: usize = 20;

/// A Linkgate with few slots, and a link to its file.
fn site(limits: &str, edge: &'static str, bytes: usize) -> (Linkgate, String) {
    let linkgate = Builder::new().edge(edge).section(&format!("[limits]\n{limits}")).start();
    linkgate.file("a.txt", &vec![b'x'; bytes]);
    let link = linkgate.link("a.txt");
    (linkgate, link)
}

/// Takes every slot, each with these bytes and no more.
fn crowd(linkgate: &Linkgate, bytes: &str) -> Vec<UnixStream> {
    let silent = |_| {
        let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    (0..SLOTS * 2).map(silent).collect()
}

/// How long somebody takes to be served who comes after the crowd.
fn wait(linkgate: &Linkgate, link: &str) -> Duration {
    let begun = Instant::now();
    assert_eq!(request(&linkgate.place(), "GET", link, &[], b"").status, 200);
    begun.elapsed()
}

#[test]
fn connections_that_say_nothing_give_way_to_those_that_ask() {
    let (linkgate, link) = site(&format!("connections = {SLOTS}"), "nginx", 5);
    let _crowd = crowd(&linkgate, "");
    assert!(wait(&linkgate, &link) < Duration::from_secs(10));
}

#[test]
fn requests_that_never_end_give_way_to_those_that_do() {
    let (linkgate, link) = site(&format!("connections = {SLOTS}"), "nginx", 5);
    let _crowd = crowd(&linkgate, &format!("GET {link} HTTP/1.1\r\nHost: te"));
    assert!(wait(&linkgate, &link) < Duration::from_secs(10));
}

#[test]
fn requests_whose_body_does_not_come_give_way_to_those_that_are_whole() {
    let (linkgate, link) = site(&format!("connections = {SLOTS}"), "nginx", 5);
    for (path, length) in [("/v1/links", 100), ("/v1/revocations", 100), ("/v1/links/batch", 4 << 20)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}", linkgate.admin_key);
        let body = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{\"");
        let _crowd = crowd(&linkgate, &format!("{head}\r\n{body}"));
        let waited = wait(&linkgate, &link);
        assert!(waited < Duration::from_secs(10), "{path}: {waited:?}");
    }
}

#[test]
fn answers_that_nobody_reads_give_way_to_those_that_are_wanted() {
    let (linkgate, link) = site(&format!("connections = {SLOTS}"), "direct", 20 << 20);
    let _crowd = crowd(&linkgate, &format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let begun = Instant::now();
    assert_eq!(request(&linkgate.place(), "HEAD", &link, &[], b"").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn whoever_is_served_is_not_disturbed_by_a_crowd() {
    let (linkgate, link) = site(&format!("connections = {SLOTS}"), "nginx", 5);
    let mut connection = Connection::open(&linkgate.place());
    let mut ask = || {
        connection.send(format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(connection.answer("GET").expect("an answer").status, 200);
        std::thread::sleep(Duration::from_millis(20));
    };
    ask();
    let _crowd = crowd(&linkgate, "");
    (0..150).for_each(|_| ask());
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let (linkgate, link) = site("write_timeout = \"1s\"", "direct", 20 << 20);
    let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.write_all(format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let mut rest = Vec::new();
    // It is closed in the midst of it: an error on some systems, an early end on others.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 10 << 20, "{} bytes were sent", rest.len());
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_its_answer() {
    let (linkgate, link) = site("write_timeout = \"1s\"", "direct", 3 << 20);
    let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
    stream.write_all(format!("GET {link} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let (mut bytes, mut part) = (0, vec![0; 256 << 10]);
    loop {
        let read = stream.read(&mut part).unwrap();
        bytes += read;
        if read == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(bytes > 3 << 20, "{bytes}");
}
