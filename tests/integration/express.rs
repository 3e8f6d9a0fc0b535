//! What edges ask on connections that they keep: answered in a lane of its own, and like everywhere else.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::http::{Connection, Response};
use crate::support::linkgate::{Builder, Linkgate, path_of};

/// A Linkgate behind an edge, with one file.
fn site() -> Linkgate {
    let linkgate = Builder::new().edge("nginx").setting("dotfiles = true").start();
    linkgate.file("a.txt", b"bytes");
    linkgate
}

fn question(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

/// Asks on a connection that is kept.
fn ask(connection: &mut Connection, path: &str) -> Response {
    connection.send(question("GET", path, ""));
    connection.answer("GET").expect("an answer")
}

/// All of an answer but what differs each time; the order of header fields means nothing.
fn essence(answer: &Response, request_id: &str) -> (u16, Vec<(String, Vec<u8>)>, String) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "date" && name != "connection");
    headers.sort();
    (answer.status, headers, answer.text().replace(request_id, "ID"))
}

#[test]
fn every_answer_is_the_same_whoever_gives_it() {
    let linkgate = site();
    let link = linkgate.link("a.txt");
    let revoked = linkgate.mint(&json!({ "path": "b.txt" }));
    linkgate.revoke(&json!({ "link": revoked["url"] }));
    let expired = path_of(&linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 })));
    let described = linkgate.mint(&json!({
        "path": "ümlaut/.hidden/a b%2f\u{1f600}.txt", "filename": "weird \"name\" ✓.txt", "content_type": "text/plain",
        "disposition": "inline", "rate_limit": 5000,
    }));
    thread::sleep(Duration::from_millis(1100));
    let mut paths = vec![link.clone(), path_of(&revoked), expired, path_of(&described), format!("{link}?a=b&c")];
    paths.extend(
        ["/download/image/", "/download/image/x", "/download/other/x", "/download/", "/download/image/x/y"]
            .map(String::from),
    );
    paths.push(format!("/download/image/{}", "A".repeat(3000)));
    paths.push(link.replace("/image/", "/Image/"));
    let wishes = [
        "",
        "Accept: text/html\r\nAccept-Language: de\r\n",
        "Range: bytes=5-\r\n",
        "X-Linkgate-Delivery: accel\r\n",
        "X-Request-Id: 0123456789abcdef\r\nIf-None-Match: \"x\"\r\n",
    ];
    let mut kept = Connection::open(&linkgate.place());
    for path in &paths {
        for method in ["GET", "HEAD"] {
            for wish in wishes {
                let id = "X-Request-Id: 0123456789abcdef\r\n";
                let fields = if wish.contains("X-Request-Id") { wish.to_owned() } else { format!("{id}{wish}") };
                kept.send(question(method, path, &fields));
                let express = kept.answer(method).unwrap_or_else(|| panic!("{method} {path}: closed"));
                let mut other = Connection::open(&linkgate.place());
                other.send(question(method, path, &format!("{fields}Connection: close\r\n")));
                let other = other.answer(method).unwrap();
                let id = "0123456789abcdef";
                assert_eq!(essence(&express, id), essence(&other, id), "{method} {path} {fields}");
                for answer in [&express, &other] {
                    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_revoked_between_two_requests_of_a_connection_is_refused() {
    let linkgate = site();
    let link = linkgate.mint(&json!({ "path": "a.txt" }));
    let mut connection = Connection::open(&linkgate.place());
    assert_eq!(ask(&mut connection, &path_of(&link)).status, 200);
    let revocation = linkgate.revoke(&json!({ "link": link["url"] }));
    assert_eq!(ask(&mut connection, &path_of(&link)).status, 410);
    linkgate.reinstate(&revocation);
    assert_eq!(ask(&mut connection, &path_of(&link)).status, 200);
}

#[test]
fn a_connection_may_change_to_anything_else_and_back() {
    let linkgate = site();
    let link = linkgate.link("a.txt");
    let mut connection = Connection::open(&linkgate.place());
    assert_eq!(ask(&mut connection, &link).status, 200);
    let body = r#"{"path":"a.txt"}"#;
    let key = &linkgate.mint_key;
    connection.send(format!(
        "POST /v1/links HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(connection.answer("POST").unwrap().status, 201);
    for (path, status) in [(link.as_str(), 200), ("/livez", 200), ("/nothing", 404), (link.as_str(), 200)] {
        assert_eq!(ask(&mut connection, path).status, status, "{path}");
    }
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let linkgate = site();
    let link = linkgate.link("a.txt");
    let request = question("GET", &link, "X-Real-IP: 203.0.113.9\r\n");
    for size in [1, 7, 64, request.len() - 1] {
        let mut connection = Connection::open(&linkgate.place());
        assert_eq!(ask(&mut connection, &link).status, 200);
        for piece in request.as_bytes().chunks(size) {
            connection.send(piece);
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(connection.answer("GET").unwrap().status, 200, "pieces of {size}");
        connection.send(request.repeat(3));
        for _ in 0..3 {
            assert_eq!(connection.answer("GET").unwrap().status, 200, "after pieces of {size}");
        }
    }
}

#[test]
fn whoever_asks_and_does_not_read_gets_every_answer_in_the_end() {
    const REQUESTS: usize = 3_000;
    let linkgate = site();
    linkgate.file("b.txt", b"more bytes");
    let links = [linkgate.link("a.txt"), linkgate.link("b.txt")];
    let mut connection = Connection::open(&linkgate.place());
    thread::scope(|scope| {
        let mut writer = connection.another();
        scope.spawn(move || {
            for at in 0..REQUESTS {
                writer.send(question("GET", &links[at % 2], ""));
                if at < 500 {
                    // One by one at first, so that it is in the lane that the answers find no room.
                    thread::sleep(Duration::from_micros(500));
                }
            }
        });
        thread::sleep(Duration::from_millis(600));
        for at in 0..REQUESTS {
            let answer = connection.answer("GET").unwrap();
            let redirect = answer.header("x-accel-redirect").unwrap();
            assert!(redirect.ends_with(["a.txt", "b.txt"][at % 2]), "{at}: {redirect}");
        }
    });
}

#[test]
fn downloads_are_counted_here_as_well() {
    let linkgate = site();
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 2 })));
    let mut connection = Connection::open(&linkgate.place());
    let statuses = [1, 2, 3, 1].map(|client| {
        connection.send(question("GET", &link, &format!("X-Real-IP: 203.0.113.{client}\r\n")));
        connection.answer("GET").unwrap().status
    });
    assert_eq!(statuses, [200, 200, 410, 200]);
}

#[test]
fn files_that_linkgate_sends_itself_come_on_kept_connections_too() {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"bytes");
    let link = linkgate.link("a.txt");
    let mut connection = Connection::open(&linkgate.place());
    for _ in 0..3 {
        assert_eq!(ask(&mut connection, &link).text(), "bytes");
    }
}
