//! What browsers, proxies and retrying clients expect of an API.

use super::*;
use crate::support::redis::Redis;

fn post(linkgate: &Linkgate, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let authorization = format!("Bearer {}", linkgate.admin_key);
    let fixed = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    request(&linkgate.place(), "POST", path, &[&fixed, headers].concat(), body.to_string().as_bytes())
}

fn get(linkgate: &Linkgate, path: &str, headers: &[(&str, &str)]) -> Response {
    let authorization = format!("Bearer {}", linkgate.admin_key);
    request(&linkgate.place(), "GET", path, &[&[("Authorization", authorization.as_str())], headers].concat(), b"")
}

crate::support::in_each!([
    a_request_that_is_sent_twice_is_answered_once,
    a_key_that_comes_with_another_request_is_refused,
    a_request_that_failed_may_be_sent_again_with_its_key,
    of_twenty_at_once_one_is_carried_out,
]: embedded = super::Site::embedded(), over_redis = super::Site::over_redis());

/// A Linkgate, and the Redis it keeps answers in.
struct Site {
    linkgate: Linkgate,
    _redis: Option<Redis>,
}

impl Site {
    fn embedded() -> Self {
        Self { linkgate: site(), _redis: None }
    }

    fn over_redis() -> Self {
        let redis = Redis::logged();
        let linkgate = Builder::new().redis(&redis.url()).start();
        linkgate.file("a.txt", b"x");
        Self { linkgate, _redis: Some(redis) }
    }
}

fn a_request_that_is_sent_twice_is_answered_once(site: Site) {
    let linkgate = &site.linkgate;
    let key = [("Idempotency-Key", "order-17")];
    let wish = json!({ "path": "a.txt" });
    let first = post(linkgate, "/v1/links", &key, &wish);
    let second = post(linkgate, "/v1/links", &key, &wish);
    assert_eq!((first.status, second.status, &first.body), (201, 201, &second.body));
    assert_eq!(
        (first.header("idempotent-replayed"), second.header("idempotent-replayed").as_deref()),
        (None, Some("true"))
    );
    assert_ne!(post(linkgate, "/v1/links", &[], &wish).body, first.body);
    assert_ne!(post(linkgate, "/v1/links", &[("Idempotency-Key", "order-18")], &wish).body, first.body);
    // Another client's key of the same name has nothing to do with it.
    let authorization = format!("Bearer {}", linkgate.mint_key);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), key[0]];
    let other = request(&linkgate.place(), "POST", "/v1/links", &headers, wish.to_string().as_bytes());
    assert_eq!((other.status, other.body == first.body), (201, false));

    let key = [("Idempotency-Key", "revoke-1")];
    let what = json!({ "subject": "u" });
    let first = post(linkgate, "/v1/revocations", &key, &what);
    let second = post(linkgate, "/v1/revocations", &key, &what);
    assert_eq!((first.status, &first.body, first.header("location")), (201, &second.body, second.header("location")));
    assert!(first.header("location").is_some());
    let listed = get(linkgate, "/v1/revocations", &[]).json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1);
}

fn a_key_that_comes_with_another_request_is_refused(site: Site) {
    let linkgate = &site.linkgate;
    let key = [("Idempotency-Key", "k")];
    assert_eq!(post(linkgate, "/v1/links", &key, &json!({ "path": "a.txt" })).status, 201);
    let answer = post(linkgate, "/v1/links", &key, &json!({ "path": "b.txt" }));
    refused(&answer, 422, "idempotency-key-reused");
    let answer = post(linkgate, "/v1/links/batch", &key, &json!({ "links": [{ "path": "a.txt" }] }));
    refused(&answer, 422, "idempotency-key-reused");
    for bad in ["", &"k".repeat(256)] {
        refused(
            &post(linkgate, "/v1/links", &[("Idempotency-Key", bad)], &json!({ "path": "a.txt" })),
            400,
            "invalid-request",
        );
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    refused(&post(linkgate, "/v1/links", &twice, &json!({ "path": "a.txt" })), 400, "invalid-request");
}

fn a_request_that_failed_may_be_sent_again_with_its_key(site: Site) {
    let linkgate = &site.linkgate;
    let key = [("Idempotency-Key", "k")];
    let wish = json!({ "path": "a.txt" });
    let block = linkgate.revoke(&json!({ "path": "a.txt" }));
    refused(&post(linkgate, "/v1/links", &key, &wish), 409, "already-revoked");
    linkgate.reinstate(&block);
    crate::support::eventually("it can be minted again", || post(linkgate, "/v1/links", &key, &wish).status == 201);
}

fn of_twenty_at_once_one_is_carried_out(site: Site) {
    let linkgate = &site.linkgate;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    post(linkgate, "/v1/revocations", &[("Idempotency-Key", "k")], &json!({ "subject": "u" }))
                })
            })
            .collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    for answer in &answers {
        assert!([201, 409].contains(&answer.status), "{}", answer.text());
        if answer.status == 409 {
            refused(answer, 409, "request-in-progress");
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 201));
    let listed = get(linkgate, "/v1/revocations", &[]).json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1);
}

#[test]
fn no_store_holds_a_link_that_was_minted_with_a_key() {
    let redis = Redis::logged();
    let linkgate = Builder::new().redis(&redis.url()).start();
    let key = [("Idempotency-Key", "k")];
    let link = post(&linkgate, "/v1/links", &key, &json!({ "path": "secret-name.txt" })).json();
    let names = redis.cli(&["KEYS", "*:w:c:*"]);
    let caller = names.lines().find(|name| redis.cli(&["TYPE", name]) == "hash").unwrap();
    let kept = redis.cli(&["HGETALL", caller]);
    assert!(kept.len() > 100, "{kept}");
    assert!(!kept.contains(link["token"].as_str().unwrap()) && !kept.contains("secret-name"), "{kept}");
}

#[test]
fn a_request_has_an_id_in_its_answer_and_in_the_log() {
    let linkgate = site();
    let named = get(&linkgate, "/v1/revocations", &[("X-Request-Id", "trace-42")]);
    assert_eq!(named.header("x-request-id").as_deref(), Some("trace-42"));
    assert_eq!(get(&linkgate, "/v1/revocations", &[]).header("x-request-id").map(|id| id.len()), Some(22));
    assert_eq!(
        get(&linkgate, "/v1/revocations", &[("X-Request-Id", "a b")]).header("x-request-id").map(|id| id.len()),
        Some(22)
    );
    post(&linkgate, "/v1/revocations", &[("X-Request-Id", "trace-43")], &json!({ "subject": "u" }));
    let refused = linkgate.get_as("GET", "/download/image/nothing", &[("X-Request-Id", "trace-44")]);
    assert_eq!(refused.header("x-request-id").as_deref(), Some("trace-44"));
    crate::support::eventually("the log names them", || {
        let log = linkgate.log();
        log.lines().any(|line| line.contains("trace-43") && line.contains("revoked"))
            && log.lines().any(|line| line.contains("trace-44") && line.contains("download refused"))
    });
}

#[test]
fn a_list_that_has_not_changed_is_not_sent_again() {
    let linkgate = site();
    linkgate.revoke(&json!({ "subject": "u" }));
    let first = get(&linkgate, "/v1/revocations", &[]);
    let tag = first.header("etag").unwrap();
    let again = get(&linkgate, "/v1/revocations", &[("If-None-Match", &tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.clone())));
    linkgate.revoke(&json!({ "subject": "v" }));
    let changed = get(&linkgate, "/v1/revocations", &[("If-None-Match", &tag)]);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag));
}

#[test]
fn what_is_large_is_compressed_for_whoever_takes_it() {
    let linkgate = site();
    for number in 0..20 {
        linkgate.revoke(&json!({ "subject": format!("user-{number}") }));
    }
    let plain = get(&linkgate, "/v1/revocations", &[]);
    let packed = get(&linkgate, "/v1/revocations", &[("Accept-Encoding", "gzip")]);
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding").as_deref()), (None, Some("gzip")));
    assert!(packed.body.len() < plain.body.len() / 2);
    assert_eq!(packed.header("etag"), plain.header("etag"));
    assert_eq!(packed.header("vary").as_deref(), Some("accept-encoding"));
}

#[test]
fn pages_of_configured_origins_may_call_and_no_others() {
    let linkgate = Builder::new().section("[api]\ncors_origins = [\"https://app.example.com\"]").start();
    let preflight = |origin: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type,idempotency-key"),
        ];
        request(&linkgate.place(), "OPTIONS", "/v1/links", &headers, b"")
    };
    let allowed = preflight("https://app.example.com");
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin").as_deref(), Some("https://app.example.com"));
    let headers = allowed.header("access-control-allow-headers").unwrap();
    assert!(
        ["authorization", "content-type", "idempotency-key"].iter().all(|name| headers.contains(name)),
        "{headers}"
    );
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), None);
    let refused = request(&linkgate.place(), "GET", "/v1/revocations", &[("Origin", "https://app.example.com")], b"");
    assert_eq!(refused.status, 401);
    assert!(refused.header("access-control-allow-origin").is_some(), "a page may read why it was refused");

    let closed = site();
    let answer = request(&closed.place(), "GET", "/v1/revocations", &[("Origin", "https://app.example.com")], b"");
    assert_eq!(answer.header("access-control-allow-origin"), None, "off unless it is configured");
}

/// Capacitor on iOS, Ionic, Tauri and browsers' extensions give their pages a scheme of their own.
#[test]
fn the_pages_of_apps_may_call_from_the_origins_that_apps_have() {
    let apps = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "https://localhost",
        "http://localhost:3000",
        "http://[::1]:3000",
    ];
    let linkgate = Builder::new().section(&format!("[api]\ncors_origins = {apps:?}")).start();
    let allowed = |origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        request(&linkgate.place(), "OPTIONS", "/v1/links", &headers, b"").header("access-control-allow-origin")
    };
    for origin in apps {
        assert_eq!(allowed(origin).as_deref(), Some(origin));
    }
    for other in ["capacitor://localhost:80", "capacitor://local", "http://localhost:3001", "ionic://other", "null"] {
        assert_eq!(allowed(other), None, "{other}");
    }
}
