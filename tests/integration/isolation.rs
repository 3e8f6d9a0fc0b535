//! What one caller does, the others do not feel: each has its own part of what all share, and revoking has its own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::{Place, raw, request};
use crate::support::identity::{KeyServer, Manner, Signer, seconds};
use crate::support::linkgate::{Builder, Linkgate, path_of};

const ISSUER: &str = "https://login.example.com/";

/// A section of an identity provider whose keys that server publishes; `more` are further lines.
fn provider(server: &KeyServer, more: &str) -> String {
    format!(
        "[[identity_providers]]\nname = \"app\"\nissuer = \"{ISSUER}\"\naudience = \"photos\"\n\
         algorithms = [\"EdDSA\"]\nallow = [\"users/{{sub}}/**\"]\njwks_url = \"{}\"\n{more}\n",
        server.url(),
    )
}

/// A Linkgate that takes logins of that server's keys, once it has them.
fn site_with_logins(server: &KeyServer, more: &str) -> Linkgate {
    let linkgate = Builder::new().section(&provider(server, more)).start();
    eventually("the keys are there", || linkgate.get("/readyz").json()["identity_providers"][0]["status"] == "ready");
    linkgate
}

fn login(signer: &Signer, user: &str) -> String {
    signer.login(&json!({
        "iss": ISSUER, "aud": "photos", "sub": user, "iat": seconds(), "exp": seconds() + 600,
    }))
}

/// Asks the same in a loop, on so many threads, until the work is done; answers what the work does.
fn meanwhile<T>(threads: usize, ask: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    use std::sync::atomic::{AtomicBool, Ordering};
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    ask();
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_login_that_asks_without_pause_locks_no_other_out() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let limits = "requests_per_second = 50\nlinks_per_second = 100\nsubject_links_per_second = 5";
    let linkgate = site_with_logins(&server, limits);
    let (mallory, bob) = (login(&signer, "mallory"), login(&signer, "bob"));
    let garbage = || drop(linkgate.api_with(&mallory, "POST", "/v1/links", &json!({})));
    let statuses: Vec<u16> = meanwhile(2, garbage, || {
        std::thread::sleep(Duration::from_secs(1));
        let mint = |_| {
            std::thread::sleep(Duration::from_millis(250));
            linkgate.api_with(&bob, "POST", "/v1/links", &json!({ "path": "users/bob/a.jpg" })).status
        };
        (0..12).map(mint).collect()
    });
    assert_eq!(statuses, [201; 12]);
    let refused: Vec<Value> = (0..20)
        .map(|_| linkgate.api_with(&mallory, "POST", "/v1/links", &json!({})))
        .filter(|answer| answer.status == 429)
        .map(|answer| answer.json()["rule"].clone())
        .collect();
    assert!(!refused.is_empty() && refused.iter().all(|rule| rule == "subject_requests_per_second"), "{refused:?}");
}

#[test]
fn a_login_that_asks_for_all_links_there_are_leaves_the_others_theirs() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site_with_logins(&server, "links_per_second = 50");
    let (mallory, bob) = (login(&signer, "mallory"), login(&signer, "bob"));
    let wish = json!({ "path": "users/mallory/a.jpg" });
    let batch = || drop(linkgate.api_with(&mallory, "POST", "/v1/links", &wish));
    let statuses: Vec<u16> = meanwhile(2, batch, || {
        std::thread::sleep(Duration::from_secs(3));
        let mint = |_| {
            std::thread::sleep(Duration::from_millis(250));
            linkgate.api_with(&bob, "POST", "/v1/links", &json!({ "path": "users/bob/a.jpg" })).status
        };
        (0..12).map(mint).collect()
    });
    assert_eq!(statuses, [201; 12]);
}

#[test]
fn a_stranger_writes_few_lines_of_log_whatever_it_asks_for() {
    let linkgate = Builder::new().edge("nginx").start();
    linkgate.file("a.txt", b"x");
    let link = linkgate.link("a.txt");
    let forged = format!("{}{}", &link[..link.len() - 1], if link.ends_with('A') { 'Q' } else { 'A' });
    let unknown_key = {
        let other = Builder::new().edge("nginx").start();
        other.file("a.txt", b"x");
        other.link("a.txt")
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let requests = [
        get("/download/image/garbage"),
        get("/download/image/AQAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        get(&forged),
        get(&unknown_key),
        get("/download/nothing/x"),
        format!("POST {link} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        "GET /auth HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Original-URI: /download/image/x\r\n\r\n".to_owned(),
        "GET /v1/revocations HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer lgk_a_b\r\n\r\n"
            .to_owned(),
        "POST /v1/links HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{".to_owned(),
        "GET / HTTP/1.1\r\nConnection: close\r\nHost : test\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\x00\r\n\r\n".to_owned(),
    ];
    for head in requests {
        let (before, begun) = (linkgate.log().len(), Instant::now());
        for _ in 0..1_500 {
            // Some are answered by an end alone.
            let _ = raw(&linkgate.place(), head.as_bytes());
        }
        let seconds = begun.elapsed().as_secs() + 2;
        let (written, most) = ((linkgate.log().len() - before) as u64, seconds * 4_000);
        assert!(written <= most, "{written} bytes for {head:?}");
    }
    assert!(linkgate.metric("linkgate_log_lines_left_out_total") > 1_000.0);
    eventually("the number is written", || linkgate.log().contains("were left out of the log"));
}

#[test]
fn what_was_revoked_is_logged_line_by_line_however_much_it_is() {
    let linkgate = Builder::new().start();
    for number in 0..60 {
        linkgate.revoke(&json!({ "subject": format!("user-{number}") }));
    }
    let revoked = linkgate.log().lines().filter(|line| line.contains(": revoked")).count();
    assert_eq!(revoked, 60, "{}", linkgate.log());
}

#[test]
fn revoking_is_answered_while_slow_links_hold_every_slot() {
    const SLOTS: usize = 50;
    for has_own_listener in [true, false] {
        let builder = Builder::new().section(&format!("[limits]\nconnections = {SLOTS}"));
        let folder = crate::support::folder();
        let api = folder.path().join("api.sock");
        let linkgate = match has_own_listener {
            true => builder.environment("LINKGATE_LISTEN__API", &format!("unix:{}", api.display())),
            false => builder,
        };
        let linkgate = linkgate.start();
        let api = if has_own_listener { Place::Unix(api) } else { linkgate.place() };
        linkgate.file("a.txt", &[b'x'; 1 << 20]);
        let call = |path: &str, key: &str, body: &Value| {
            let headers = [("Authorization", &*format!("Bearer {key}")), ("Content-Type", "application/json")];
            request(&api, "POST", path, &headers, body.to_string().as_bytes())
        };
        let minted = call("/v1/links", &linkgate.mint_key, &json!({ "path": "a.txt", "rate_limit": 64 }));
        assert_eq!(minted.status, 201, "{}", minted.text());
        let link = path_of(&minted.json());
        let _crowd: Vec<_> = (0..SLOTS)
            .map(|_| {
                let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
                stream.write_all(format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
                stream.read_exact(&mut [0; 16]).unwrap();
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_secs(2));
        for number in 0..5 {
            let begun = Instant::now();
            let answer = call("/v1/revocations", &linkgate.admin_key, &json!({ "subject": format!("u{number}") }));
            assert_eq!(answer.status, 201, "{}", answer.text());
            let most = Duration::from_secs(if has_own_listener { 1 } else { 3 });
            assert!(begun.elapsed() < most, "{:?}, own listener: {has_own_listener}", begun.elapsed());
        }
    }
}

#[test]
fn revoking_does_not_queue_behind_downloads_that_are_counted() {
    const CALLERS: usize = 200;
    let linkgate = Builder::new().edge("nginx").start();
    linkgate.file("a.txt", b"x");
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 1_000_000 })));
    let get = || assert_eq!(linkgate.status(&link), 200);
    let timed = |work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    let (mut counts, mut revocations): (Vec<_>, Vec<_>) = meanwhile(CALLERS, get, || {
        std::thread::sleep(Duration::from_secs(1));
        let pair = |number| {
            let revoke = || drop(linkgate.revoke(&json!({ "subject": format!("u{number}") })));
            (timed(&get), timed(&revoke))
        };
        (0..15).map(pair).unzip()
    });
    counts.sort_unstable();
    revocations.sort_unstable();
    // Each count waits for those of all the other callers.
    assert!(revocations[7] * 3 < counts[7], "revoking took {revocations:?}, counting {counts:?}");
}

#[test]
fn strangers_with_unknown_keys_hold_few_connections_while_a_provider_hangs() {
    const STRANGERS: usize = 150;
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site_with_logins(&server, "jwks_cooldown = \"1h\"");
    server.behave(Manner::Hangs);
    let unknown = login(&Signer::new("EdDSA", "two"), "mallory");
    let ask = || {
        let begun = Instant::now();
        let answer = linkgate.api_with(&unknown, "POST", "/v1/links", &json!({ "path": "users/mallory/a.jpg" }));
        (answer.status, begun.elapsed())
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let strangers: Vec<_> = (0..STRANGERS).map(|_| scope.spawn(ask)).collect();
        strangers.into_iter().map(|stranger| stranger.join().unwrap()).collect()
    });
    let waited = answers.iter().filter(|(_, took)| *took >= Duration::from_secs(3)).count();
    assert!(waited <= 64, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [401, 503].contains(status)), "{answers:?}");
}

/// Begins a request with a body of the largest size for each caller and path, sends so many bytes of it and then nothing more.
fn stall(linkgate: &Linkgate, requests: &[(&str, &str)], sent: usize) -> Vec<UnixStream> {
    let begin = |(key, path): &(&str, &str)| {
        let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            4 << 20
        );
        stream.write_all(head.as_bytes()).unwrap();
        // One that waits, or is given up meanwhile, does not take all of it.
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = stream.write_all(&vec![b' '; sent]);
        stream.set_nonblocking(true).unwrap();
        stream
    };
    std::thread::scope(|scope| {
        let calls: Vec<_> = requests.iter().map(|request| scope.spawn(move || begin(request))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn bodies_that_do_not_come_keep_no_other_caller_waiting() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site_with_logins(&server, "");
    let other = linkgate.new_client("other", &["mint"]);
    let bob = login(&signer, "bob");
    let batch = |user: &str| json!({ "links": vec![json!({ "path": format!("users/{user}/a.jpg") }); 500] });
    let timed = |key: &str, path: &str, body: &Value| {
        let begun = Instant::now();
        (linkgate.api_with(key, "POST", path, body).status, begun.elapsed())
    };
    eventually("the client is known", || timed(&other, "/v1/links/batch", &batch("x")).0 == 200);
    let link = linkgate.api_with(&bob, "POST", "/v1/links", &batch("bob")["links"][0]).json()["url"].clone();
    for (logins, each, sent, more) in
        [(2, 2, 0, ""), (4, 3, 1_000, " "), (2, 100, 1_000, ""), (4, 2, 3 << 20, " "), (3, 12, 1 << 20, "")]
    {
        let mallories: Vec<_> = (0..logins).map(|number| login(&signer, &format!("mallory-{number}"))).collect();
        let logins_and_a_client = mallories.iter().chain([&linkgate.mint_key]);
        let of_each = |key| ["/v1/links/refresh", "/v1/links/batch"].map(|path| (key, path));
        let requests: Vec<_> = logins_and_a_client.flat_map(|key: &String| of_each(key.as_str())).collect();
        let stalled = stall(&linkgate, &requests.repeat(each), sent);
        let what = format!("{logins} logins and a client, {each} times {sent} bytes, then {more:?}");
        let trickle = || {
            std::thread::sleep(Duration::from_millis(50));
            stalled.iter().for_each(|mut stream| drop(stream.write(more.as_bytes())));
        };
        meanwhile(1, trickle, || {
            for (key, path, body, status) in [
                (&bob, "/v1/links/refresh", json!({ "links": [link] }), 200),
                (&bob, "/v1/links/batch", batch("bob"), 200),
                (&other, "/v1/links/batch", batch("x"), 200),
                (&linkgate.admin_key, "/v1/revocations", json!({ "subject": "u" }), 201),
            ] {
                let (answered, took) = timed(key, path, &body);
                assert_eq!(answered, status, "{what}: {path}");
                assert!(took < Duration::from_millis(1_500), "{what}: {path} took {took:?}");
            }
        });
    }
}

#[test]
fn answers_that_are_not_read_keep_no_other_caller_waiting() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site_with_logins(&server, "");
    let bob = login(&signer, "bob");
    let batch = |user: &str, links: usize| {
        let path = format!("users/{user}/{}{}.jpg", "p/".repeat(400), "f".repeat(100));
        json!({ "links": vec![json!({ "path": path }); links] })
    };
    let mint = |links| linkgate.api_with(&bob, "POST", "/v1/links/batch", &batch("bob", links));
    let minted = |links| mint(links).json()["results"].as_array().map(Vec::len);
    assert_eq!(minted(1_000), Some(1_000));
    let call = |number: usize| {
        let user = format!("mallory-{}", number % 5);
        let body = batch(&user, 1_000).to_string();
        let head = format!(
            "POST /v1/links/batch HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            login(&signer, &user),
            body.len()
        );
        let mut stream = UnixStream::connect(linkgate.socket()).unwrap();
        let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        stream
    };
    let unread: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..40).map(|number| scope.spawn(move || call(number))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    // Those that have no room are refused by then.
    std::thread::sleep(Duration::from_secs(8));
    let begun = Instant::now();
    assert_eq!(mint(10).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Who reads, however late, gets all of it, or an end before that.
    for mut stream in unread {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 503"));
    }
    assert_eq!(minted(1_000), Some(1_000));
}
