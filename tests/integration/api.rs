//! The API: what it takes, what it refuses, and how it says so.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linkgate::clock::{Clock, SystemClock, UnixMillis};
use serde_json::{Value, json};

use crate::support::http::{Place, Response, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};

/// A Linkgate with one small file, `a.txt`.
fn site() -> Linkgate {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"x");
    linkgate
}

/// Sends a body of JSON as it is, as the client that mints.
fn send(linkgate: &Linkgate, path: &str, body: &[u8]) -> Response {
    send_as(linkgate, &linkgate.mint_key, "application/json", path, body)
}

fn send_as(linkgate: &Linkgate, key: &str, content_type: &str, path: &str, body: &[u8]) -> Response {
    let authorization = format!("Bearer {key}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
    request(&linkgate.place(), "POST", path, &headers, body)
}

fn try_mint(linkgate: &Linkgate, wish: &Value) -> Response {
    linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links", wish)
}

fn inspect(linkgate: &Linkgate, link: &Value) -> Value {
    let answer = linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sees to it that an answer is a refusal in the promised form; answers the problem.
#[track_caller]
fn refused(answer: &Response, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(answer.header("x-accel-expires").as_deref(), Some("0"));
    for header in ["x-accel-redirect", "x-sendfile", "x-reproxy-url", "location"] {
        assert_eq!(answer.header(header), None, "{header}");
    }
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:linkgate:problem:{name}"), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["title"].is_string(), "{problem}");
    problem
}

/// Like [`refused`] for a mint request whose field is named.
#[track_caller]
fn refused_field(linkgate: &Linkgate, wish: &Value, field: &str) {
    let problem = refused(&try_mint(linkgate, wish), 400, "invalid-request");
    assert_eq!(problem["field"], field, "{wish}: {problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
}

fn now() -> UnixMillis {
    SystemClock::new().now().wall
}

fn from_now(seconds: u64) -> String {
    now().plus(Duration::from_secs(seconds)).to_string()
}

fn time(value: &Value) -> UnixMillis {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text} is in UTC");
    UnixMillis::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is a time"))
}

/// The names of an object's members, in order.
fn members(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

mod minting {
    use super::*;

    #[test]
    fn a_link_holds_everything_that_is_promised() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "users/42/cat 1.jpg", "subject": "user-42" }));
        let promised =
            ["url", "token", "id", "collection", "path", "subject", "issued_at", "expires_at", "refresh_after"];
        assert_eq!(members(&link), promised);
        let (url, token, id) =
            (link["url"].as_str().unwrap(), link["token"].as_str().unwrap(), link["id"].as_str().unwrap());
        assert_eq!(url, format!("http://links.test/download/image/{token}"));
        assert!(url.len() < 200, "{}", url.len());
        let is_base64url = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        assert!(is_base64url(token) && is_base64url(id) && id.len() == 22, "{token} {id}");
        assert_eq!((&link["collection"], &link["path"]), (&json!("image"), &json!("users/42/cat 1.jpg")));
        let (issued, expires, refresh) =
            (time(&link["issued_at"]), time(&link["expires_at"]), time(&link["refresh_after"]));
        assert_eq!(expires.since(issued), Duration::from_secs(3_600));
        assert!(issued < refresh && refresh < expires);

        let anonymous = linkgate.mint(&json!({ "path": "a.txt" }));
        assert!(!members(&anonymous).contains(&"subject"));
        assert_ne!(anonymous["id"], linkgate.mint(&json!({ "path": "a.txt" }))["id"], "every link is one of its own");
    }

    #[test]
    fn a_link_carries_every_wish() {
        let linkgate = site();
        let (start, end) = (from_now(0), from_now(120));
        let link = linkgate.mint(&json!({
            "path": "a.txt", "collection": "image", "expires_at": end, "not_before": start, "subject": "user 42",
            "filename": "Été.txt", "disposition": "inline", "content_type": "text/plain; charset=utf-8",
            "client_networks": ["203.0.113.0/24", "2001:db8::/56"], "stable": false,
        }));
        let found = inspect(&linkgate, &link["url"]);
        assert_eq!((&found["valid"], &found["check"]), (&json!(true), &json!("permitted")), "{found}");
        for name in ["id", "collection", "path", "subject", "issued_at", "expires_at"] {
            assert_eq!(found[name], link[name], "{name}");
        }
        assert_eq!((time(&found["not_before"]), time(&found["expires_at"])), (time(&json!(start)), time(&json!(end))));
        assert_eq!(found["filename"], "Été.txt");
        assert_eq!(found["disposition"], "inline");
        assert_eq!(found["content_type"], "text/plain; charset=utf-8");
        assert_eq!(found["client_networks"], json!(["203.0.113.0/24", "2001:db8::/56"]));
        assert_eq!(found["key"], 1);
        assert!(found["client"].as_str().unwrap().starts_with("app-test"));
    }

    #[test]
    fn a_wish_that_is_null_is_none() {
        let linkgate = site();
        linkgate.mint(&json!({
            "path": "a.txt", "collection": null, "expires_in": null, "expires_at": null, "not_before": null,
            "subject": null, "filename": null, "disposition": null, "content_type": null, "client_networks": null,
            "max_downloads": null, "rate_limit": null, "stable": null,
        }));
    }

    #[test]
    fn a_link_lives_as_long_as_was_asked() {
        let linkgate = Builder::new().setting("max_ttl = \"2h\"").setting("default_ttl = \"10m\"").start();
        let life = |wish: Value| {
            let link = linkgate.mint(&wish);
            time(&link["expires_at"]).since(time(&link["issued_at"])).as_secs()
        };
        assert_eq!(life(json!({ "path": "a.txt" })), 600);
        assert_eq!(life(json!({ "path": "a.txt", "expires_in": 1 })), 1);
        assert_eq!(life(json!({ "path": "a.txt", "expires_in": 7_200 })), 7_200);
        let end = now().plus(Duration::from_millis(61_500));
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_at": end.to_string() }));
        assert_eq!(time(&link["expires_at"]), end);
        let elsewhere = linkgate.mint(&json!({ "path": "a.txt", "expires_at": from_now(60).replace('Z', "+00:00") }));
        assert!(elsewhere["expires_at"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn however_short_a_life_its_times_are_in_order() {
        let linkgate = site();
        for _ in 0..3 {
            linkgate.revoke(&json!({ "everything": true }));
            let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
            let [issued, refresh, expires] = ["issued_at", "refresh_after", "expires_at"].map(|name| time(&link[name]));
            assert!(issued < refresh && refresh < expires, "{link}");
            assert_eq!(expires.since(issued), Duration::from_secs(1));
            assert_eq!(linkgate.get(&path_of(&link)).status, 200);
        }
    }

    #[test]
    fn a_life_that_cannot_be_granted_is_refused() {
        let linkgate = Builder::new().setting("max_ttl = \"1h\"").start();
        for seconds in [json!(0), json!(3_601), json!(1_000_000_000_000_u64), json!(u64::MAX)] {
            refused_field(&linkgate, &json!({ "path": "a.txt", "expires_in": seconds }), "expires_in");
        }
        for end in ["1970-01-01T00:00:00Z".to_owned(), from_now(0), from_now(3_700), "9999-12-31T23:59:59Z".to_owned()]
        {
            let answer = try_mint(&linkgate, &json!({ "path": "a.txt", "expires_at": end }));
            refused(&answer, 400, "invalid-request");
        }
        let both = json!({ "path": "a.txt", "expires_in": 5, "expires_at": from_now(5) });
        refused_field(&linkgate, &both, "expires_at");
        let malformed = [
            json!(-1),
            json!(1.5),
            json!("60"),
            json!(true),
            json!("tomorrow"),
            json!("2026-01-31"),
            json!("2026-02-30T12:00:00Z"),
            json!("1969-12-31T23:59:59Z"),
        ];
        for odd in malformed {
            for field in ["expires_in", "expires_at", "not_before"] {
                refused(&try_mint(&linkgate, &json!({ "path": "a.txt", field: odd })), 400, "invalid-request");
            }
        }
    }

    #[test]
    fn a_link_begins_when_it_was_asked_to() {
        let linkgate = site();
        let status = |start: String| {
            let link = linkgate.mint(&json!({ "path": "a.txt", "not_before": start, "expires_in": 7_200 }));
            linkgate.get(&path_of(&link))
        };
        assert_eq!(status(from_now(0)).status, 200);
        assert_eq!(status("1970-01-01T00:00:00Z".into()).status, 200);
        assert_eq!(status(from_now(20)).status, 200, "clocks may disagree by thirty seconds");
        refused(&status(from_now(3_600)), 403, "invalid-link");
        refused_field(&linkgate, &json!({ "path": "a.txt", "not_before": from_now(7_200) }), "not_before");
    }

    #[test]
    fn a_link_bound_to_networks_works_from_these_only() {
        let linkgate = site();
        let from = |networks: Value, address: &str| {
            let link = linkgate.mint(&json!({ "path": "a.txt", "client_networks": networks }));
            request(&linkgate.place(), "GET", &path_of(&link), &[("X-Real-IP", address)], b"").status
        };
        let cases = [
            (json!(["203.0.113.0/24"]), "203.0.113.255", 200),
            (json!(["203.0.113.0/24"]), "203.0.114.0", 403),
            (json!(["203.0.113.7/24"]), "203.0.113.8", 200),
            (json!(["203.0.113.7"]), "203.0.113.7", 200),
            (json!(["203.0.113.7"]), "203.0.113.8", 403),
            (json!(["203.0.113.0/24"]), "::ffff:203.0.113.9", 200),
            (json!(["2001:db8::/56"]), "2001:db8:0:ff::1", 200),
            (json!(["2001:db8::/56"]), "2001:db8:0:100::1", 403),
            (json!(["2001:db8::1"]), "2001:db8::1", 200),
            (json!(["2001:db8::1"]), "2001:db8::2", 403),
            (json!(["10.0.0.0/8", "192.0.2.1"]), "192.0.2.1", 200),
            (json!(["0.0.0.0/0"]), "2001:db8::1", 403),
            (json!(["0.0.0.0/0", "::/0"]), "2001:db8::1", 200),
            (json!(["0.0.0.0/0", "::/0"]), "unknown", 403),
            (json!([]), "unknown", 200),
        ];
        for (networks, address, expected) in cases {
            assert_eq!(from(networks.clone(), address), expected, "{address} in {networks}");
        }
        let sixteen: Vec<_> = (0..16).map(|n| format!("10.{n}.0.0/16")).collect();
        assert_eq!(from(json!(sixteen), "10.15.1.1"), 200);

        let seventeen = vec!["10.0.0.0/8"; 17];
        for bad in [json!(seventeen), json!(["garbage"]), json!(["1.2.3.4/33"]), json!(["::/129"]), json!([""])] {
            refused_field(&linkgate, &json!({ "path": "a.txt", "client_networks": bad }), "client_networks");
        }
        for bad in [json!("10.0.0.0/8"), json!([7]), json!([null])] {
            let wish = json!({ "path": "a.txt", "client_networks": bad });
            refused(&try_mint(&linkgate, &wish), 400, "invalid-request");
        }
    }

    #[test]
    fn names_types_and_subjects_keep_their_rules() {
        let linkgate = site();
        let (longest_name, longest_subject) = ("n".repeat(255), "é".repeat(64));
        let longest_type = format!("text/{}", "x".repeat(122));
        let good = [
            ("filename", "cat 1.jpg"),
            ("filename", "漢字 \"quoted\"; 100%.txt"),
            ("filename", ".profile"),
            ("filename", &longest_name),
            ("content_type", "image/svg+xml"),
            ("content_type", "text/plain; charset=\"utf-8\""),
            ("content_type", &longest_type),
            ("subject", "user 42 <a@b.example>"),
            ("subject", &longest_subject),
        ];
        for (field, value) in good {
            let link = linkgate.mint(&json!({ "path": "a.txt", field: value }));
            let found = inspect(&linkgate, &link["token"]);
            assert_eq!(found[field], value);
            assert_eq!(linkgate.get(&path_of(&link)).status, 200, "{field} {value}");
        }
        let (long_name, long_type, long_subject) = ("n".repeat(256), format!("{longest_type}x"), "s".repeat(129));
        let bad = [
            ("filename", ""),
            ("filename", "."),
            ("filename", ".."),
            ("filename", "a/b"),
            ("filename", "a\\b"),
            ("filename", "a\0b"),
            ("filename", "a\r\nX-Evil: 1"),
            ("filename", "a\u{7f}"),
            ("filename", "a\u{85}"),
            ("filename", "photo\u{202e}gpj.exe"),
            ("filename", "a\u{2066}b"),
            ("filename", &long_name),
            ("content_type", ""),
            ("content_type", "text"),
            ("content_type", "/plain"),
            ("content_type", "text/"),
            ("content_type", " text/plain"),
            ("content_type", "text/pl ain"),
            ("content_type", "text/html\r\nX-Evil: 1"),
            ("content_type", "text/plain; é"),
            ("content_type", "text/plain, text/html"),
            ("content_type", &long_type),
            ("subject", ""),
            ("subject", "a\0"),
            ("subject", "a\nb"),
            ("subject", &long_subject),
        ];
        for (field, value) in bad {
            refused_field(&linkgate, &json!({ "path": "a.txt", field: value }), field);
        }
        for odd in ["", "Attachment", "INLINE", "none"] {
            refused(&try_mint(&linkgate, &json!({ "path": "a.txt", "disposition": odd })), 400, "invalid-request");
        }
    }

    #[test]
    fn a_hostile_path_is_refused_and_never_repaired() {
        let linkgate = site();
        let too_long = "a".repeat(1_025);
        let too_long_in_bytes = "é".repeat(513);
        let hostile = [
            "",
            ".",
            "..",
            "/",
            "//",
            "/a.txt",
            "a/",
            "a//b",
            "./a.txt",
            "a/./b",
            "../a.txt",
            "a/../b",
            "a/..",
            "a\\b",
            "..\\a",
            "a\0",
            "a\rb",
            "a\nb",
            "a\tb",
            "a\u{1b}b",
            "a\u{7f}b",
            "a\u{80}b",
            "a\u{9f}b",
            ".env",
            "a/.git/config",
            "...",
            &too_long,
            &too_long_in_bytes,
        ];
        for path in hostile {
            refused_field(&linkgate, &json!({ "path": path }), "path");
        }
        let segment = format!("{}/", "a".repeat(203));
        let longest = format!("{}{}", segment.repeat(5), "b".repeat(4));
        assert_eq!(longest.len(), 1_024);
        linkgate.file(&longest, b"far down");
        assert_eq!(linkgate.get(&linkgate.link(&longest)).text(), "far down");
        // Nothing is decoded either: these are names like any other.
        for path in ["%2e%2e/a.txt", "a%2fb", "a..b", "~", "file:x", "…"] {
            assert_eq!(linkgate.mint(&json!({ "path": path }))["path"], path);
        }
    }

    #[test]
    fn wishes_that_make_too_long_a_link_together_are_refused_together() {
        let linkgate = site();
        let networks: Vec<_> = (0..16).map(|n| format!("2001:db8:{n}::/48")).collect();
        let wish = json!({
            "path": "p".repeat(1_024), "filename": "n".repeat(255), "subject": "s".repeat(128), "client_networks": networks,
        });
        let problem = refused(&try_mint(&linkgate, &wish), 400, "invalid-request");
        assert!(problem["detail"].as_str().unwrap().contains("2048"), "{problem}");
    }

    #[test]
    fn what_is_not_supported_yet_is_said_so_by_name() {
        let linkgate = site();
        for (field, value) in [("stable", json!(true)), ("max_downloads", json!(1)), ("rate_limit", json!(65_536))] {
            let answer = try_mint(&linkgate, &json!({ "path": "a.txt", field: value }));
            assert_eq!(refused(&answer, 400, "not-supported-yet")["field"], field);
        }
        let answer = linkgate.api("POST", "/v1/revocations?wait=5s", &json!({ "subject": "nobody" }));
        assert_eq!(refused(&answer, 400, "not-supported-yet")["field"], "wait");
        let listed = linkgate.api("GET", "/v1/revocations", &Value::Null).json();
        assert_eq!(listed["revocations"], json!([]), "nothing was revoked");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let linkgate = site();
        let requests = [
            ("/v1/links", json!({ "path": "a.txt", "expires": 5 }), "expires"),
            ("/v1/links/batch", json!({ "links": [], "wait": true }), "wait"),
            ("/v1/links/inspect", json!({ "link": "x", "token": "y" }), "token"),
            ("/v1/revocations", json!({ "subject": "x", "until": 5 }), "until"),
        ];
        for (path, body, field) in requests {
            let problem = refused(&linkgate.api("POST", path, &body), 400, "invalid-request");
            assert!(problem["detail"].as_str().unwrap().contains(&format!("`{field}`")), "{problem}");
        }
        let query = linkgate.api("GET", "/v1/revocations?page=2", &Value::Null);
        assert!(refused(&query, 400, "invalid-request")["detail"].as_str().unwrap().contains("`page`"));
    }

    #[test]
    fn a_broken_body_is_a_400_that_says_where() {
        let linkgate = site();
        let nest = |before: &str, after: &str| format!("{before}{}{}{after}", "[".repeat(100_000), "]".repeat(100_000));
        let broken: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b"   ".to_vec(),
            b"{".to_vec(),
            b"{\"path\":\"a.txt\"".to_vec(),
            b"{\"path\":\"a.txt\"} {}".to_vec(),
            b"{\"path\":\"a.txt\",}".to_vec(),
            b"{'path':'a.txt'}".to_vec(),
            b"{\"path\":\"a.txt\",\"path\":\"b.txt\"}".to_vec(),
            b"{\"path\":\"\xff\xfe\"}".to_vec(),
            b"{\"path\":\"\xed\xa0\x80\"}".to_vec(),
            b"{\"path\":\"\\ud800\"}".to_vec(),
            b"{\"path\":\"a\nb\"}".to_vec(),
            b"\xef\xbb\xbf{\"path\":\"a.txt\"}".to_vec(),
            b"{\"path\":7}".to_vec(),
            b"{\"path\":null}".to_vec(),
            b"{\"path\":[\"a.txt\"]}".to_vec(),
            b"{\"path\":\"a.txt\",\"stable\":\"yes\"}".to_vec(),
            b"{\"path\":\"a.txt\",\"stable\":1}".to_vec(),
            b"{\"path\":\"a.txt\",\"expires_in\":1e400}".to_vec(),
            b"{\"path\":\"a.txt\",\"expires_in\":1e2}".to_vec(),
            format!("{{\"path\":\"a.txt\",\"expires_in\":{}}}", "9".repeat(100_000)).into_bytes(),
            b"{}".to_vec(),
            b"[]".to_vec(),
            b"null".to_vec(),
            b"7".to_vec(),
            b"\"a.txt\"".to_vec(),
            b"path=a.txt".to_vec(),
            nest("", "").into_bytes(),
            nest("{\"path\":", "}").into_bytes(),
            nest("{\"unknown\":", "}").into_bytes(),
            "[".repeat(1_000_000).into_bytes(),
            "{\"path\":".repeat(100_000).into_bytes(),
        ];
        for body in broken {
            let answer = send(&linkgate, "/v1/links", &body);
            let problem = refused(&answer, 400, "invalid-request");
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("line ") || detail.contains("object"), "{shown}: {problem}");
        }
        assert_eq!(send(&linkgate, "/v1/links", b" {\"path\" : \"\\u0061.txt\"}\r\n").status, 201);
    }

    #[test]
    fn a_body_that_is_too_large_is_a_413() {
        let linkgate = Builder::new().section("[limits]\nbody_bytes = 2048").start();
        let body = |length: usize| [br#"{"path":"a.txt"}"#, vec![b' '; length - 16].as_slice()].concat();
        assert_eq!(send(&linkgate, "/v1/links", &body(2_048)).status, 201);
        for length in [2_049, 10_000_000] {
            refused(&send(&linkgate, "/v1/links", &body(length)), 413, "payload-too-large");
        }
        refused(&send(&site(), "/v1/links", &body(10_000_000)), 413, "payload-too-large");
    }

    #[test]
    fn a_body_that_is_not_json_is_a_415() {
        let linkgate = site();
        let send =
            |content_type| send_as(&linkgate, &linkgate.mint_key, content_type, "/v1/links", b"{\"path\":\"a\"}");
        for other in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx", "application/ld+json"]
        {
            refused(&send(other), 415, "unsupported-media-type");
        }
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=1"] {
            assert_eq!(send(json).status, 201, "{json}");
        }
    }

    #[test]
    fn a_body_that_is_a_list_is_no_object() {
        let linkgate = site();
        let wish = json!(["a.txt", null, null, null, null, null, null, null, null, null, null, null, null]);
        refused(&try_mint(&linkgate, &wish), 400, "invalid-request");
        refused(&linkgate.api("POST", "/v1/links/inspect", &json!(["x"])), 400, "invalid-request");
        refused(&linkgate.api("POST", "/v1/links/batch", &json!([[{ "path": "a.txt" }]])), 400, "invalid-request");
        let batch = linkgate.api("POST", "/v1/links/batch", &json!({ "links": [wish] }));
        assert_eq!(batch.json()["results"][0]["status"], 400);
        let everything = json!([null, null, null, null, null, null, null, true, null, null, null, null]);
        refused(&linkgate.api("POST", "/v1/revocations", &everything), 400, "invalid-request");
        for odd in [&b"[]"[..], b"null", b"7", b"\"a.txt\"", b" [1]"] {
            let problem = refused(&send(&linkgate, "/v1/links", odd), 400, "invalid-request");
            assert!(!problem["detail"].as_str().unwrap().contains("struct"), "{problem}");
        }
    }

    #[test]
    fn a_life_of_half_a_billion_years_does_not_wrap_around() {
        let linkgate = site();
        for seconds in [18_446_744_073_709_552_u64, 18_446_744_073_709_553, 18_446_744_073_713_000] {
            refused_field(&linkgate, &json!({ "path": "a.txt", "expires_in": seconds }), "expires_in");
        }
    }

    #[test]
    fn a_refused_time_is_named_by_the_field_that_held_it() {
        let linkgate = site();
        for end in ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            refused_field(&linkgate, &json!({ "path": "a.txt", "expires_at": end }), "expires_at");
        }
    }
}

mod batches {
    use super::*;

    fn batch(linkgate: &Linkgate, links: &Value) -> Response {
        linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/batch", &json!({ "links": links }))
    }

    #[test]
    fn results_stand_in_the_order_of_the_requests() {
        let linkgate = site();
        let wishes: Vec<_> = (0..50).map(|n| json!({ "path": format!("{n}.txt"), "subject": "u" })).collect();
        let answer = batch(&linkgate, &json!(wishes));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        let results = answer.json()["results"].as_array().unwrap().clone();
        let paths: Vec<_> = results.iter().map(|link| link["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(paths, (0..50).map(|n| format!("{n}.txt")).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_request_spoils_no_good_one() {
        let linkgate = site();
        linkgate.revoke(&json!({ "path": "blocked.txt" }));
        let wishes = json!([
            { "path": "a.txt" }, { "path": "../b" }, { "path": "a.txt", "what": 1 }, 7, { "path": "blocked.txt" },
            { "path": "a.txt", "stable": true }, { "path": "a.txt", "collection": "none" }, { "path": "a.txt" },
        ]);
        let results = batch(&linkgate, &wishes).json()["results"].clone();
        let expected = [
            None,
            Some(("invalid-request", 400)),
            Some(("invalid-request", 400)),
            Some(("invalid-request", 400)),
            Some(("already-revoked", 409)),
            Some(("not-supported-yet", 400)),
            Some(("invalid-request", 400)),
            None,
        ];
        for (result, expected) in results.as_array().unwrap().iter().zip(expected) {
            match expected {
                None => assert_eq!(linkgate.get(&path_of(result)).status, 200, "{result}"),
                Some((name, status)) => {
                    assert_eq!(result["type"], format!("urn:linkgate:problem:{name}"), "{result}");
                    assert_eq!(result["status"], status, "{result}");
                }
            }
        }
        assert_eq!(results.as_array().unwrap().len(), expected.len());
    }

    #[test]
    fn a_batch_holds_one_to_a_thousand_requests() {
        let linkgate = site();
        let wishes = |count| json!(vec![json!({ "path": "a.txt" }); count]);
        let answer = batch(&linkgate, &wishes(1_000));
        assert_eq!(answer.status, 200);
        let results = answer.json()["results"].clone();
        let mut ids: Vec<_> = results.as_array().unwrap().iter().map(|link| link["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1_000);
        for count in [0, 1_001] {
            let problem = refused(&batch(&linkgate, &wishes(count)), 400, "invalid-request");
            assert_eq!(problem["field"], "links");
        }
    }

    #[test]
    fn what_is_no_batch_is_refused_whole() {
        let linkgate = site();
        for odd in [json!({ "path": "a.txt" }), json!("a.txt"), json!(null), json!(1)] {
            refused(&batch(&linkgate, &odd), 400, "invalid-request");
        }
        let deep = format!("{{\"links\":[{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
        let answer = send(&linkgate, "/v1/links/batch", deep.as_bytes());
        assert_eq!((answer.status, &answer.json()["results"][0]["status"]), (200, &json!(400)));
        refused(&send(&linkgate, "/v1/links/batch", b"{\"links\":[{]}"), 400, "invalid-request");
    }
}

mod inspecting {
    use super::*;

    /// Nothing about the contents of what nobody signed.
    #[track_caller]
    fn is_unauthentic(found: &Value, check: &str) {
        assert_eq!(found["check"], check, "{found}");
        assert_eq!((&found["valid"], &found["authentic"]), (&json!(false), &json!(false)), "{found}");
        assert_eq!(members(found), ["valid", "status", "check", "detail", "authentic"]);
    }

    #[test]
    fn a_link_is_recognised_in_every_form_it_comes_in() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "a.txt" }));
        let (url, token) = (link["url"].as_str().unwrap(), link["token"].as_str().unwrap());
        let forms = [
            url.to_owned(),
            token.to_owned(),
            path_of(&link),
            format!("{url}?x=/1"),
            format!("{url}#top"),
            format!(" {url}\n"),
            format!("https://elsewhere.test/download/image/{token}"),
        ];
        for form in forms {
            let found = inspect(&linkgate, &json!(form));
            assert_eq!((&found["valid"], &found["status"]), (&json!(true), &json!(200)), "{form}");
            assert_eq!((&found["id"], &found["path"]), (&link["id"], &json!("a.txt")), "{form}");
        }
    }

    #[test]
    fn what_nobody_signed_says_nothing() {
        let linkgate = Builder::new().section("[collections.other]\nedge = \"nginx\"").start();
        let link = linkgate.mint(&json!({ "path": "secret/plan.txt" }));
        let token = link["token"].as_str().unwrap();
        let foreign = Builder::new().start().mint(&json!({ "path": "a.txt" }))["token"].clone();
        is_unauthentic(&inspect(&linkgate, &foreign), "bad-signature");

        let flipped = |at: usize| {
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        };
        is_unauthentic(&inspect(&linkgate, &json!(flipped(60))), "bad-signature");
        is_unauthentic(&inspect(&linkgate, &json!(flipped(10))), "bad-signature");
        is_unauthentic(&inspect(&linkgate, &json!(flipped(4))), "unknown-key");
        is_unauthentic(&inspect(&linkgate, &json!(flipped(0))), "unknown-version");
        is_unauthentic(&inspect(&linkgate, &json!(format!("/download/other/{token}"))), "bad-signature");
        is_unauthentic(&inspect(&linkgate, &json!(format!("/download/nowhere/{token}"))), "malformed");
        is_unauthentic(&inspect(&linkgate, &json!(&token[..80])), "bad-signature");
        is_unauthentic(&inspect(&linkgate, &json!("AQAAAAE")), "too-short");
        is_unauthentic(&inspect(&linkgate, &json!("not a link at all")), "not-base64url");
        is_unauthentic(&inspect(&linkgate, &json!("https://example.com/")), "malformed");
        is_unauthentic(&inspect(&linkgate, &json!("A".repeat(2_049))), "too-long");
        is_unauthentic(&inspect(&linkgate, &json!("A".repeat(1_000_000))), "too-long");
        for empty in ["", " ", "/", "?", "\0"] {
            let found = inspect(&linkgate, &json!(empty));
            assert_eq!((&found["valid"], &found["authentic"]), (&json!(false), &json!(false)), "{empty:?}");
        }
    }

    #[test]
    fn an_authentic_link_tells_exactly_why_it_is_refused() {
        let linkgate = site();
        let expired = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
        let early =
            linkgate.mint(&json!({ "path": "a.txt", "not_before": from_now(1_000), "expires_in": 2_000 }))["url"]
                .clone();
        let bound = linkgate.mint(&json!({ "path": "a.txt", "client_networks": ["10.0.0.0/8"] }))["url"].clone();
        let found = inspect(&linkgate, &early);
        assert_eq!((&found["check"], &found["status"]), (&json!("not-yet-valid"), &json!(403)), "{found}");
        let found = inspect(&linkgate, &bound);
        assert_eq!((&found["valid"], &found["check"]), (&json!(true), &json!("permitted")), "{found}");
        assert!(found["detail"].as_str().unwrap().contains("networks"), "{found}");

        crate::support::eventually("the link expires", || inspect(&linkgate, &expired["url"])["check"] == "expired");
        let found = inspect(&linkgate, &expired["url"]);
        assert_eq!((&found["status"], &found["authentic"]), (&json!(410), &json!(true)));
        assert_eq!((&found["path"], &found["valid"]), (&json!("a.txt"), &json!(false)));
        refused(&linkgate.get(&path_of(&expired)), 410, "expired");
    }

    #[test]
    fn a_revoked_link_names_the_kind_of_revocation() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "users/42/a.txt", "subject": "user-42" }));
        let client = inspect(&linkgate, &link["url"])["client"].clone();
        let kinds = [
            (json!({ "link": link["url"] }), "link"),
            (json!({ "id": link["id"] }), "link"),
            (json!({ "subject": "user-42" }), "subject"),
            (json!({ "path": "users/42/a.txt" }), "path"),
            (json!({ "path_prefix": "users/" }), "path_prefix"),
            (json!({ "client": client }), "client"),
            (json!({ "key": 1 }), "key"),
            (json!({ "everything": true }), "everything"),
        ];
        for (what, kind) in kinds {
            let revocation = linkgate.revoke(&what);
            let found = inspect(&linkgate, &link["token"]);
            assert_eq!((&found["check"], &found["status"]), (&json!("revoked"), &json!(410)), "{what}");
            assert_eq!((&found["revoked_by"], &found["authentic"]), (&json!(kind), &json!(true)), "{what}");
            linkgate.reinstate(&revocation);
            assert_eq!(inspect(&linkgate, &link["token"])["valid"], true, "{what}");
        }
    }
}

mod revoking {
    use super::*;

    fn list(linkgate: &Linkgate, query: &str) -> Value {
        let answer = linkgate.api("GET", &format!("/v1/revocations{query}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn targets(page: &Value) -> Vec<String> {
        let revocations = page["revocations"].as_array().unwrap();
        revocations.iter().map(|one| one["target"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_kind_is_answered_in_the_promised_shape() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "users/42/a.txt", "subject": "user-42" }));
        let client = inspect(&linkgate, &link["url"])["client"].as_str().unwrap().to_owned();
        let id = link["id"].as_str().unwrap();
        // What is asked, the kind and target that are answered, whether only older links are covered, whether it ends.
        let kinds = [
            (json!({ "link": link["url"] }), "link", id, false, true),
            (json!({ "link": link["token"] }), "link", id, false, true),
            (json!({ "id": id }), "id", id, false, true),
            (json!({ "id": id, "issued_before": null }), "id", id, false, true),
            (json!({ "subject": "user-42" }), "subject", "user-42", true, true),
            (json!({ "path": "users/42/a.txt" }), "path", "users/42/a.txt", false, false),
            (json!({ "path_prefix": "users/42/" }), "path_prefix", "users/42/", false, false),
            (json!({ "path_prefix": "/" }), "path_prefix", "/", false, false),
            (json!({ "client": client }), "client", &client, true, true),
            (json!({ "key": 1 }), "key", "1", false, false),
            (json!({ "key": "1" }), "key", "1", false, false),
            (json!({ "everything": true }), "everything", "*", true, true),
            (json!({ "subject": "user-42", "issued_before": null }), "subject", "user-42", false, false),
        ];
        for (what, kind, target, is_cut_off, ends) in kinds {
            let answer = linkgate.api("POST", "/v1/revocations", &what);
            assert_eq!(answer.status, 201, "{what}: {}", answer.text());
            assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
            let one = answer.json();
            let names = members(&one);
            for name in [
                "id",
                "kind",
                "target",
                "issued_before",
                "created_at",
                "created_by",
                "expires_at",
                "reason",
                "position",
            ] {
                assert!(names.contains(&name), "{what}: {name}");
            }
            assert_eq!((&one["kind"], &one["target"]), (&json!(kind), &json!(target)), "{what}");
            assert_eq!(one["issued_before"].is_string(), is_cut_off, "{what}: {one}");
            assert_eq!(one["expires_at"].is_string(), ends, "{what}: {one}");
            assert!(now().since(time(&one["created_at"])) < Duration::from_secs(60), "{one}");
            assert!(one["created_by"].as_str().unwrap().starts_with("admin-test"), "{one}");
            assert_eq!(one["reason"], Value::Null);
            assert!(one["position"].is_string(), "{one}");
            let is_path = matches!(kind, "path" | "path_prefix");
            assert_eq!(one.get("collection"), is_path.then_some(&json!("image")), "{one}");
            assert_eq!(linkgate.get(&path_of(&link)).status, 410, "{what}");

            let place = answer.header("location").unwrap();
            assert_eq!(place, format!("/v1/revocations/{}", one["id"].as_str().unwrap()));
            let found = linkgate.api("GET", &place, &Value::Null).json();
            for name in ["id", "kind", "target", "issued_before", "created_at", "created_by", "expires_at", "reason"] {
                assert_eq!(found[name], one[name], "{what}: {name}");
            }
            linkgate.reinstate(&one);
            assert_eq!(linkgate.get(&path_of(&link)).status, 404, "{what} is lifted, and there is no such file");
            refused(&linkgate.api("GET", &place, &Value::Null), 404, "not-found");
            refused(&linkgate.api("DELETE", &place, &Value::Null), 404, "not-found");
        }
    }

    #[test]
    fn a_link_minted_right_after_the_answer_works_at_once() {
        let linkgate = site();
        let wish = json!({ "path": "a.txt", "subject": "user-42" });
        let client = inspect(&linkgate, &linkgate.mint(&wish)["url"])["client"].clone();
        for what in [json!({ "subject": "user-42" }), json!({ "client": client }), json!({ "everything": true })] {
            for round in 0..20 {
                let old = linkgate.mint(&wish);
                linkgate.revoke(&what);
                let new = linkgate.mint(&wish);
                refused(&linkgate.get(&path_of(&old)), 410, "revoked");
                assert_eq!(linkgate.get(&path_of(&new)).status, 200, "{what}, round {round}");
                assert_eq!(inspect(&linkgate, &new["token"])["valid"], true);
            }
        }
    }

    #[test]
    fn only_links_issued_before_the_named_time_are_refused() {
        let linkgate = site();
        let wish = json!({ "path": "a.txt", "subject": "user-42" });
        let old = linkgate.mint(&wish);
        std::thread::sleep(Duration::from_millis(5));
        let new = linkgate.mint(&wish);
        assert!(time(&old["issued_at"]) < time(&new["issued_at"]));
        let revocation = linkgate.revoke(&json!({ "path": "a.txt", "issued_before": new["issued_at"] }));
        assert_eq!(revocation["issued_before"], new["issued_at"]);
        refused(&linkgate.get(&path_of(&old)), 410, "revoked");
        assert_eq!(linkgate.get(&path_of(&new)).status, 200);
        assert_eq!(linkgate.get(&linkgate.link("a.txt")).status, 200);
        linkgate.reinstate(&revocation);

        // The same moment, written elsewhere in the world.
        let there = new["issued_at"].as_str().unwrap().replace('Z', "+00:00");
        linkgate.revoke(&json!({ "everything": true, "issued_before": there }));
        refused(&linkgate.get(&path_of(&old)), 410, "revoked");
        assert_eq!(linkgate.get(&path_of(&new)).status, 200);
    }

    #[test]
    fn a_standing_block_refuses_new_links_until_it_is_lifted() {
        let linkgate = site();
        let wish = json!({ "path": "users/42/a.txt", "subject": "user-42" });
        let client = inspect(&linkgate, &linkgate.mint(&wish)["url"])["client"].clone();
        let blocks = [
            (json!({ "subject": "user-42", "issued_before": null }), "subject"),
            (json!({ "path": "users/42/a.txt" }), "path"),
            (json!({ "path_prefix": "users/42/" }), "path_prefix"),
            (json!({ "path_prefix": "/", "collection": "image" }), "path_prefix"),
            (json!({ "client": client, "issued_before": null }), "client"),
            (json!({ "key": 1 }), "key"),
            (json!({ "everything": true, "issued_before": null }), "everything"),
            (json!({ "everything": true, "issued_before": from_now(3_600) }), "everything"),
        ];
        for (what, kind) in blocks {
            let block = linkgate.revoke(&what);
            let problem = refused(&try_mint(&linkgate, &wish), 409, "already-revoked");
            assert_eq!(problem["kind"], kind, "{what}");
            linkgate.reinstate(&block);
            assert_eq!(try_mint(&linkgate, &wish).status, 201, "{what}");
        }
        linkgate.revoke(&json!({ "path_prefix": "users/4/" }));
        linkgate.revoke(&json!({ "subject": "user-4", "issued_before": null }));
        linkgate.mint(&wish);
    }

    #[test]
    fn a_revocation_that_was_given_an_end_lifts_itself() {
        let linkgate = site();
        let link = linkgate.link("a.txt");
        let end = now().plus(Duration::from_millis(1_000));
        let revocation = linkgate.revoke(&json!({ "path": "a.txt", "expires_at": end.to_string() }));
        assert_eq!(time(&revocation["expires_at"]), end);
        refused(&linkgate.get(&link), 410, "revoked");
        refused(&try_mint(&linkgate, &json!({ "path": "a.txt" })), 409, "already-revoked");
        crate::support::eventually("the revocation ends", || linkgate.get(&link).status == 200);
        let late = now().since(end);
        assert!(late < Duration::from_secs(5), "it ended {late:?} late");
        linkgate.link("a.txt");
    }

    #[test]
    fn revoking_twice_is_no_error_and_lifting_one_leaves_the_other() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "a.txt", "subject": "user-42" }));
        for what in [json!({ "id": link["id"] }), json!({ "subject": "user-42" }), json!({ "path": "a.txt" })] {
            let (first, second) = (linkgate.revoke(&what), linkgate.revoke(&what));
            assert_ne!(first["id"], second["id"]);
            assert_ne!(first["position"], second["position"]);
            linkgate.reinstate(&first);
            refused(&linkgate.get(&path_of(&link)), 410, "revoked");
            linkgate.reinstate(&second);
            assert_eq!(linkgate.get(&path_of(&link)).status, 200, "{what}");
        }
        let block = linkgate.revoke(&json!({ "subject": "user-42", "issued_before": null }));
        let cut_off = linkgate.revoke(&json!({ "subject": "user-42" }));
        linkgate.reinstate(&block);
        refused(&linkgate.get(&path_of(&link)), 410, "revoked");
        assert_eq!(try_mint(&linkgate, &json!({ "path": "a.txt", "subject": "user-42" })).status, 201);
        linkgate.reinstate(&cut_off);
        assert_eq!(linkgate.get(&path_of(&link)).status, 200);
    }

    #[test]
    fn an_id_nobody_has_seen_can_be_revoked() {
        let linkgate = site();
        let revocation = linkgate.revoke(&json!({ "id": "AAAAAAAAAAAAAAAAAAAAAA", "reason": "leaked" }));
        assert_eq!((&revocation["kind"], &revocation["reason"]), (&json!("id"), &json!("leaked")));
        linkgate.revoke(&json!({ "subject": "never seen" }));
        linkgate.revoke(&json!({ "client": "never.seen" }));
        linkgate.revoke(&json!({ "key": 4_294_967_295_u32 }));
        linkgate.revoke(&json!({ "path": "never/seen" }));
    }

    #[test]
    fn an_expired_link_can_still_be_revoked() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
        crate::support::eventually("the link expires", || linkgate.get(&path_of(&link)).status == 410);
        linkgate.revoke(&json!({ "link": link["url"] }));
    }

    #[test]
    fn a_request_names_exactly_one_thing() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "a.txt" }))["url"].clone();
        let none = [
            json!({}),
            json!({ "reason": "x" }),
            json!({ "subject": null }),
            json!({ "everything": false }),
            json!({ "subject": "u", "path": "a.txt" }),
            json!({ "link": link, "id": "AAAAAAAAAAAAAAAAAAAAAA" }),
            json!({ "everything": true, "key": 1 }),
            json!({ "everything": false, "subject": "u" }),
        ];
        for body in none {
            let problem = refused(&linkgate.api("POST", "/v1/revocations", &body), 400, "invalid-request");
            assert!(problem["detail"].as_str().unwrap().contains("exactly one"), "{problem}");
        }
        assert_eq!(list(&linkgate, "")["revocations"], json!([]));
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_by_field() {
        let linkgate = site();
        let token = linkgate.mint(&json!({ "path": "a.txt" }))["token"].as_str().unwrap().to_owned();
        let foreign = Builder::new().start().mint(&json!({ "path": "a.txt" }))["url"].clone();
        let long = "x".repeat(501);
        let wrong = [
            (json!({ "link": "" }), "link"),
            (json!({ "link": "https://example.com/" }), "link"),
            (json!({ "link": format!("{token}A") }), "link"),
            (json!({ "link": foreign }), "link"),
            (json!({ "id": "short" }), "id"),
            (json!({ "id": "AAAAAAAAAAAAAAAAAAAAAB" }), "id"),
            (json!({ "subject": "" }), "subject"),
            (json!({ "subject": "s".repeat(129) }), "subject"),
            (json!({ "subject": "a\nb" }), "subject"),
            (json!({ "path": "../a" }), "path"),
            (json!({ "path": "a/" }), "path"),
            (json!({ "path_prefix": "" }), "path_prefix"),
            (json!({ "path_prefix": "users" }), "path_prefix"),
            (json!({ "path_prefix": "/users/" }), "path_prefix"),
            (json!({ "path_prefix": "a/../" }), "path_prefix"),
            (json!({ "client": "no spaces" }), "client"),
            (json!({ "key": "one" }), "key"),
            (json!({ "path": "a.txt", "collection": "none" }), "collection"),
            (json!({ "subject": "u", "collection": "image" }), "collection"),
            (json!({ "id": "AAAAAAAAAAAAAAAAAAAAAA", "issued_before": from_now(0) }), "issued_before"),
            (json!({ "subject": "u", "expires_at": from_now(0) }), "expires_at"),
            (json!({ "subject": "u", "expires_at": "1970-01-01T00:00:00Z" }), "expires_at"),
            (json!({ "subject": "u", "reason": long }), "reason"),
            (json!({ "subject": "u", "reason": "a\u{1b}[31m" }), "reason"),
        ];
        for (body, field) in wrong {
            let problem = refused(&linkgate.api("POST", "/v1/revocations", &body), 400, "invalid-request");
            assert_eq!(problem["field"], field, "{body}: {problem}");
        }
        let malformed = [
            json!({ "key": -1 }),
            json!({ "key": 4_294_967_296_u64 }),
            json!({ "everything": "yes" }),
            json!({ "subject": 7 }),
            json!({ "subject": "u", "issued_before": "yesterday" }),
            json!({ "subject": "u", "issued_before": 0 }),
            json!({ "subject": "u", "expires_at": "never" }),
            json!({ "subject": "u", "reason": ["x"] }),
        ];
        for body in malformed {
            refused(&linkgate.api("POST", "/v1/revocations", &body), 400, "invalid-request");
        }
        assert_eq!(list(&linkgate, "")["revocations"], json!([]));
        linkgate.revoke(&json!({ "subject": "u", "reason": "é".repeat(250) }));
    }

    #[test]
    fn a_list_is_read_page_by_page_without_loss_or_doubling() {
        let linkgate = site();
        for n in 0..25 {
            linkgate.revoke(&json!({ "subject": format!("user-{n}") }));
        }
        let first = list(&linkgate, "?limit=10");
        // What is added or lifted meanwhile disturbs nothing.
        linkgate.revoke(&json!({ "subject": "late" }));
        let lifted = first["revocations"][9].clone();
        linkgate.reinstate(&lifted);
        let mut pages = vec![first];
        while let Some(cursor) = pages.last().unwrap()["next_cursor"].as_str() {
            pages.push(list(&linkgate, &format!("?limit=10&cursor={cursor}")));
        }
        let sizes: Vec<_> = pages.iter().map(|page| targets(page).len()).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let all: Vec<Value> = pages.iter().flat_map(|page| page["revocations"].as_array().unwrap().clone()).collect();
        let times: Vec<_> = all.iter().map(|one| time(&one["created_at"])).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "newest first");
        let mut seen: Vec<_> = all.iter().map(|one| one["target"].as_str().unwrap().to_owned()).collect();
        seen.sort_unstable();
        let mut expected: Vec<_> = (0..25).map(|n| format!("user-{n}")).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);

        let exact = list(&linkgate, "?limit=25");
        assert_eq!(targets(&exact).len(), 25);
        assert!(exact.get("next_cursor").is_none(), "there is nothing behind the last one");
        assert_eq!(targets(&list(&linkgate, "")).len(), 25);
        assert_eq!(targets(&list(&linkgate, "?limit=1")), ["late"]);
    }

    #[test]
    fn a_list_can_be_narrowed() {
        let linkgate = site();
        linkgate.revoke(&json!({ "subject": "Anna", "reason": "left the company" }));
        linkgate.revoke(&json!({ "subject": "Bert" }));
        linkgate.revoke(&json!({ "path": "users/anna/a.txt" }));
        linkgate.revoke(&json!({ "path_prefix": "users/bert/", "reason": "100% sure & done" }));
        linkgate.revoke(&json!({ "everything": true }));
        assert_eq!(targets(&list(&linkgate, "?kind=subject")), ["Bert", "Anna"]);
        assert_eq!(targets(&list(&linkgate, "?kind=everything")), ["*"]);
        assert_eq!(targets(&list(&linkgate, "?kind=key")), Vec::<String>::new());
        assert_eq!(targets(&list(&linkgate, "?q=ANNA")), ["users/anna/a.txt", "Anna"]);
        assert_eq!(targets(&list(&linkgate, "?q=company")), ["Anna"]);
        assert_eq!(targets(&list(&linkgate, "?q=100%25+sure+%26")), ["users/bert/"]);
        assert_eq!(targets(&list(&linkgate, "?q=bert&kind=subject")), ["Bert"]);
        assert_eq!(targets(&list(&linkgate, "?q=admin-test")).len(), 5, "whoever revoked counts, too");
        assert_eq!(targets(&list(&linkgate, "?q=nothing-of-the-kind")), Vec::<String>::new());
        let narrowed = list(&linkgate, "?kind=subject&limit=1");
        let cursor = narrowed["next_cursor"].as_str().unwrap();
        assert_eq!(targets(&list(&linkgate, &format!("?kind=subject&limit=1&cursor={cursor}"))), ["Anna"]);

        let wrong = [
            "?kind=links",
            "?kind=",
            "?limit=0",
            "?limit=1001",
            "?limit=-1",
            "?limit=ten",
            "?limit=",
            "?cursor=x",
            "?cursor=",
            "?cursor=1.rev_x",
            "?limit=1&limit=2",
            "?sort=asc",
        ];
        for query in wrong {
            let answer = linkgate.api("GET", &format!("/v1/revocations{query}"), &Value::Null);
            refused(&answer, 400, "invalid-request");
        }
    }

    #[test]
    fn what_is_not_there_is_a_404() {
        let linkgate = site();
        for id in ["rev_AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA", "rev_", "x", "%2e%2e", "rev_%00", "a%2Fb"] {
            for method in ["GET", "DELETE"] {
                refused(&linkgate.api(method, &format!("/v1/revocations/{id}"), &Value::Null), 404, "not-found");
            }
        }
        for path in ["/v1/revocations/", "/v1/revocations/a/b", "/v1", "/v2/links", "/", "/v1/links/", "//v1/links"] {
            refused(&linkgate.api("GET", path, &Value::Null), 404, "not-found");
        }
    }

    #[test]
    fn an_id_that_is_not_even_text_is_a_404_as_well() {
        let linkgate = site();
        for method in ["GET", "DELETE"] {
            refused(&linkgate.api(method, "/v1/revocations/%ff", &Value::Null), 404, "not-found");
        }
    }
}

mod access {
    use super::*;
    use crate::support::http::{parse, raw};

    /// Method, path, a body that is right, and the role that is needed.
    fn endpoints() -> [(&'static str, &'static str, Value, &'static str); 7] {
        let one = "/v1/revocations/rev_AAAAAAAAAAAAAAAAAAAAAA";
        [
            ("POST", "/v1/links", json!({ "path": "a.txt" }), "mint"),
            ("POST", "/v1/links/batch", json!({ "links": [{ "path": "a.txt" }] }), "mint"),
            ("POST", "/v1/links/inspect", json!({ "link": "x" }), "inspect"),
            ("POST", "/v1/revocations", json!({ "subject": "nobody" }), "revoke"),
            ("GET", "/v1/revocations", Value::Null, "revoke"),
            ("GET", one, Value::Null, "revoke"),
            ("DELETE", one, Value::Null, "revoke"),
        ]
    }

    /// Adds a client before the start; answers its key.
    fn client(linkgate: &Linkgate, name: &str, arguments: &[&str]) -> String {
        let added = linkgate.succeed(&[&["clients", "add", name, "--json"], arguments].concat());
        serde_json::from_str::<Value>(&added).unwrap()["key"].as_str().unwrap().to_owned()
    }

    fn started(mut linkgate: Linkgate) -> Linkgate {
        linkgate.launch();
        linkgate.until_ready();
        linkgate.file("a.txt", b"x");
        linkgate
    }

    #[test]
    fn without_a_good_key_nobody_gets_in() {
        let linkgate = Builder::new().prepare();
        let other = client(&linkgate, "other", &["--role", "mint", "--allow", "**"]);
        let linkgate = started(linkgate);
        let key = &linkgate.mint_key;
        let name = &key[4..key.len() - 44];
        let secret = &key[key.len() - 43..];
        let last = if key.ends_with('A') { "B" } else { "A" };
        let bad = [
            "Bearer".to_owned(),
            "Bearer ".into(),
            "Basic dXNlcjpwYXNz".into(),
            format!("Basic {key}"),
            key.clone(),
            format!("Bearer{key}"),
            "Bearer lgk_".into(),
            "Bearer lgk__".into(),
            format!("Bearer lgk_{name}_"),
            format!("Bearer {name}"),
            format!("Bearer {secret}"),
            format!("Bearer lgk_nobody_{secret}"),
            format!("Bearer lgk_other_{secret}"),
            format!("Bearer lgk_{name}_{}", &other[other.len() - 43..]),
            format!("Bearer {}{last}", &key[..key.len() - 1]),
            format!("Bearer {key}{key}"),
            format!("Bearer {}", &key[..key.len() - 1]),
            format!("Bearer {}", key.to_uppercase()),
            format!("Bearer {key}, Bearer {key}"),
            format!("Bearer {}", "A".repeat(10_000)),
        ];
        for (method, path, body, _) in endpoints() {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let ask = |headers: &[(&str, &str)]| {
                let answer = request(&linkgate.place(), method, path, headers, body.as_bytes());
                refused(&answer, 401, "unauthorized");
                assert_eq!(answer.header("www-authenticate").as_deref(), Some("Bearer realm=\"linkgate\""));
            };
            ask(&[("Content-Type", "application/json")]);
            for value in &bad {
                ask(&[("Content-Type", "application/json"), ("Authorization", value)]);
            }
        }
        let garbled =
            b"GET /v1/revocations HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer lgk_\xff\xfe\r\n\r\n";
        refused(&parse(&raw(&linkgate.place(), garbled).unwrap(), "GET").unwrap(), 401, "unauthorized");

        for good in [format!("bearer {key}"), format!("BEARER   {key}")] {
            let headers = [("Authorization", good.as_str()), ("Content-Type", "application/json")];
            assert_eq!(request(&linkgate.place(), "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}").status, 201);
        }
    }

    #[test]
    fn a_role_opens_its_own_doors_and_no_others() {
        let linkgate = Builder::new().prepare();
        let roles = ["mint", "inspect", "revoke", "admin"];
        let keys = roles.map(|role| (role, client(&linkgate, role, &["--role", role, "--allow", "**"])));
        let both = client(&linkgate, "both", &["--role", "inspect", "--role", "revoke"]);
        let linkgate = started(linkgate);
        for (method, path, body, needed) in endpoints() {
            for (role, key) in &keys {
                let answer = linkgate.api_with(key, method, path, &body);
                if *role == needed || *role == "admin" {
                    assert!(matches!(answer.status, 200 | 201 | 404), "{role} {method} {path}: {}", answer.text());
                } else {
                    let problem = refused(&answer, 403, "forbidden");
                    assert_eq!(problem["role"], needed, "{role} {method} {path}");
                    assert!(problem["detail"].as_str().unwrap().contains(&format!("`{needed}`")), "{problem}");
                }
            }
            assert_eq!(
                linkgate.api_with(&both, method, path, &body).status == 403,
                needed == "mint",
                "{method} {path}"
            );
        }
    }

    #[test]
    fn a_client_mints_only_what_its_policy_covers() {
        let linkgate = Builder::new().section("[collections.other]\nedge = \"nginx\"").prepare();
        let user = client(&linkgate, "user", &["--role", "mint", "--allow", "users/42/**", "--allow", "shared/*.jpg"]);
        let narrow = client(
            &linkgate,
            "narrow",
            &["--role", "mint", "--allow", "**", "--collection", "image", "--max-ttl", "10m", "--default-ttl", "1m"],
        );
        let linkgate = started(linkgate);
        for path in ["users/42/a.txt", "users/42/deep/er/a.txt", "shared/a.jpg"] {
            assert_eq!(linkgate.api_with(&user, "POST", "/v1/links", &json!({ "path": path })).status, 201, "{path}");
        }
        let outside = [
            "users/43/a.txt",
            "users/4/a.txt",
            "users/421/a.txt",
            "users/42",
            "Users/42/a.txt",
            "users/42%2fa",
            "a.txt",
            "x/users/42/a.txt",
            "shared/deep/a.jpg",
            "shared/a.jpg/x",
            "users\u{2215}42/a.txt",
        ];
        for path in outside {
            let answer = linkgate.api_with(&user, "POST", "/v1/links", &json!({ "path": path }));
            assert_eq!(refused(&answer, 403, "outside-policy")["field"], "path", "{path}");
            let batch = json!({ "links": [{ "path": path }, { "path": "users/42/a.txt" }] });
            let results = linkgate.api_with(&user, "POST", "/v1/links/batch", &batch).json()["results"].clone();
            assert_eq!((&results[0]["status"], &results[1]["path"]), (&json!(403), &json!("users/42/a.txt")));
        }
        let climbing = linkgate.api_with(&user, "POST", "/v1/links", &json!({ "path": "users/42/../43/a.txt" }));
        refused(&climbing, 400, "invalid-request");

        let mint = |wish: Value| linkgate.api_with(&narrow, "POST", "/v1/links", &wish);
        let link = mint(json!({ "path": "a.txt" })).json();
        assert_eq!(time(&link["expires_at"]).since(time(&link["issued_at"])), Duration::from_secs(60));
        assert_eq!(mint(json!({ "path": "a.txt", "expires_in": 600 })).status, 201);
        refused(&mint(json!({ "path": "a.txt", "expires_in": 601 })), 400, "invalid-request");
        let answer = mint(json!({ "path": "a.txt", "collection": "other" }));
        assert_eq!(refused(&answer, 403, "outside-policy")["field"], "collection");
        for name in ["none", "", "Image", "image/", "../image"] {
            let answer = mint(json!({ "path": "a.txt", "collection": name }));
            assert_eq!(refused(&answer, 400, "invalid-request")["field"], "collection", "{name}");
        }
        assert_eq!(linkgate.mint(&json!({ "path": "a.txt", "collection": "other" }))["collection"], "other");
    }

    #[test]
    fn a_client_that_was_removed_is_refused_within_moments_and_its_links_live_on() {
        let linkgate = Builder::new().prepare();
        let key = client(&linkgate, "guest", &["--role", "mint", "--allow", "**"]);
        let linkgate = started(linkgate);
        let link = linkgate.api_with(&key, "POST", "/v1/links", &json!({ "path": "a.txt" })).json();
        linkgate.succeed(&["clients", "remove", "guest"]);
        crate::support::eventually("the client is gone", || {
            linkgate.api_with(&key, "POST", "/v1/links", &json!({ "path": "a.txt" })).status == 401
        });
        assert_eq!(linkgate.get(&path_of(&link)).status, 200);
    }
}

mod refusing {
    use super::*;

    #[test]
    fn a_token_is_worth_nothing_under_another_collection() {
        let linkgate = Builder::new().section("[collections.other]\nedge = \"nginx\"").start();
        linkgate.file("a.txt", b"x");
        let link = linkgate.mint(&json!({ "path": "a.txt" }));
        let other = linkgate.mint(&json!({ "path": "a.txt", "collection": "other" }));
        for wrong in [
            format!("/download/other/{}", link["token"].as_str().unwrap()),
            format!("/download/image/{}", other["token"].as_str().unwrap()),
            format!("/download/nowhere/{}", link["token"].as_str().unwrap()),
        ] {
            refused(&linkgate.get(&wrong), 403, "invalid-link");
        }
        let permit = linkgate.get(&path_of(&other));
        assert_eq!(permit.header("x-accel-redirect").as_deref(), Some("/media/a.txt"));
        linkgate.revoke(&json!({ "everything": true }));
        refused(&linkgate.get(&path_of(&link)), 410, "revoked");
        refused(&linkgate.get(&path_of(&other)), 410, "revoked");
    }

    #[test]
    fn whatever_is_wrong_with_a_link_the_answer_is_the_same() {
        let linkgate = site();
        let early = linkgate.mint(&json!({ "path": "a.txt", "not_before": from_now(1_000), "expires_in": 2_000 }));
        let bound = linkgate.mint(&json!({ "path": "a.txt", "client_networks": ["203.0.113.0/24"] }));
        let foreign = path_of(&Builder::new().start().mint(&json!({ "path": "a.txt" })));
        let good = linkgate.link("a.txt");
        let wrong = [
            path_of(&early),
            path_of(&bound),
            foreign,
            format!("{}A", good),
            good[..good.len() - 1].to_owned(),
            good[..good.len() - 30].to_owned(),
            good.replace("/download/image/A", "/download/image/B"),
            "/download/image/x".into(),
            "/download/image/".into(),
            "/download/image".into(),
            "/download/".into(),
            "/download//".into(),
            format!("/download/image/{}", "A".repeat(2_048)),
            "/download/image/%00".into(),
            "/download/../livez".into(),
        ];
        let mut answers: Vec<_> = wrong.iter().map(|path| (path, linkgate.get(path))).collect();
        for (path, answer) in &mut answers {
            refused(answer, 403, "invalid-link");
            answer.headers.retain(|(name, _)| name != "date");
            assert!(answer.header("x-linkgate-token-id").is_none(), "{path}");
        }
        for (path, answer) in &answers {
            assert_eq!((&answer.headers, answer.text()), (&answers[0].1.headers, answers[0].1.text()), "{path}");
        }
    }

    #[test]
    fn a_link_that_is_over_names_itself_for_the_edges_log() {
        let linkgate = site();
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
        linkgate.revoke(&json!({ "path": "a.txt" }));
        let revoked = linkgate.get(&path_of(&link));
        refused(&revoked, 410, "revoked");
        assert_eq!(revoked.header("x-linkgate-token-id").as_deref(), link["id"].as_str());
        crate::support::eventually("the link expires", || {
            linkgate.get(&path_of(&link)).json()["type"] == "urn:linkgate:problem:expired"
        });
        let expired = linkgate.get(&path_of(&link));
        refused(&expired, 410, "expired");
        assert_eq!(expired.header("x-linkgate-token-id").as_deref(), link["id"].as_str());
    }

    #[test]
    fn an_edge_can_have_the_headers_under_names_of_its_own() {
        let linkgate = Builder::new().edge("nginx").start();
        let link = linkgate.mint(&json!({ "path": "ä/a b.txt", "content_type": "text/x", "expires_in": 60 }));
        let get = |delivery: &str| {
            request(&linkgate.place(), "GET", &path_of(&link), &[("X-Linkgate-Delivery", delivery)], b"")
        };
        let (plain, deferred) = (get("plain"), get("deferred"));
        for (ours, theirs) in
            [("x-linkgate-disposition", "content-disposition"), ("x-linkgate-cache-control", "cache-control")]
        {
            assert!(plain.header(theirs).is_some() && plain.header(ours).is_none(), "{theirs}");
            assert!(deferred.header(ours).is_some() && deferred.header(theirs).is_none(), "{theirs}");
        }
        for answer in [plain, deferred] {
            assert_eq!((answer.status, answer.body.len()), (200, 0));
            assert_eq!(answer.header("x-accel-redirect").as_deref(), Some("/media/%C3%A4/a%20b.txt"));
            assert_eq!(answer.header("content-type").as_deref(), Some("text/x"));
            assert_eq!(answer.header("x-linkgate-token-id").as_deref(), link["id"].as_str());
        }
    }

    #[test]
    fn an_edge_that_only_asks_hears_yes_or_why_not() {
        let linkgate = site();
        let ask =
            |method: &str, link: &str| request(&linkgate.place(), method, "/auth", &[("X-Original-URI", link)], b"");
        let reason = |link: &str| {
            let answer = ask("GET", link);
            assert_eq!(answer.status, 403, "{link}");
            assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
            assert!(answer.header("x-linkgate-path").is_none() && answer.body.is_empty());
            answer.header("x-linkgate-reason").unwrap()
        };
        let link = linkgate.mint(&json!({
            "path": "users/42/cat 1.jpg", "filename": "cat.jpg", "content_type": "image/x-cat", "expires_in": 60,
        }));
        for method in ["GET", "HEAD"] {
            let yes = ask(method, &format!("{}?x=1", path_of(&link)));
            assert_eq!(yes.status, 204);
            let expected = [
                ("x-linkgate-path", "users/42/cat 1.jpg"),
                ("x-linkgate-disposition", "attachment; filename=\"cat.jpg\""),
                ("x-linkgate-content-type", "image/x-cat"),
                ("x-linkgate-token-id", link["id"].as_str().unwrap()),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store"),
            ];
            for (name, value) in expected {
                assert_eq!(yes.header(name).as_deref(), Some(value), "{name}");
            }
            assert!(yes.header("x-linkgate-cache-control").unwrap().starts_with("private, max-age="));
            assert!(yes.header("x-linkgate-reason").is_none() && yes.header("x-accel-redirect").is_none());
        }
        let expiring = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
        let spaced = linkgate.mint(&json!({ "path": "a/ends with a space " }));
        assert_eq!(reason(&path_of(&spaced)), "invalid");
        assert_eq!(reason("/download/image/x"), "invalid");
        assert_eq!(reason(""), "invalid");
        linkgate.revoke(&json!({ "id": link["id"] }));
        assert_eq!(reason(&path_of(&link)), "revoked");
        crate::support::eventually("the link expires", || ask("GET", &path_of(&expiring)).status == 403);
        assert_eq!(reason(&path_of(&expiring)), "expired");
        let unasked = request(&linkgate.place(), "GET", "/auth", &[], b"");
        assert_eq!((unasked.status, unasked.header("x-linkgate-reason").as_deref()), (401, Some("missing")));
        assert!(unasked.header("www-authenticate").is_some());
    }

    #[test]
    fn a_refusal_is_a_page_for_people_and_a_problem_for_programs() {
        let linkgate = site();
        linkgate.revoke(&json!({ "everything": true, "issued_before": from_now(1) }));
        let get = |accept: &str| request(&linkgate.place(), "GET", "/download/image/x", &[("Accept", accept)], b"");
        for people in ["text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
            let page = get(people);
            assert_eq!(page.status, 403);
            assert_eq!(page.header("content-type").as_deref(), Some("text/html; charset=utf-8"));
            assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
            assert_eq!(page.header("cache-control").as_deref(), Some("no-store"));
            assert_eq!(page.header("x-accel-expires").as_deref(), Some("0"));
            assert!(page.text().contains("This link is not valid"));
        }
        for programs in ["*/*", "application/json", "text/html;q=0", "image/avif,*/*;q=0.1", "", "nonsense"] {
            refused(&get(programs), 403, "invalid-link");
        }
    }

    #[test]
    fn a_method_that_is_not_meant_is_a_405_that_names_those_that_are() {
        let linkgate = site();
        let link = linkgate.link("a.txt");
        let cases = [
            (link.as_str(), "POST", "GET, HEAD"),
            (&link, "DELETE", "GET, HEAD"),
            (&link, "OPTIONS", "GET, HEAD"),
            (&link, "NONSENSE", "GET, HEAD"),
            ("/download/image/x", "PUT", "GET, HEAD"),
            ("/auth", "POST", "GET, HEAD"),
            ("/livez", "POST", "GET, HEAD"),
            ("/readyz", "DELETE", "GET, HEAD"),
            ("/metrics", "PUT", "GET, HEAD"),
            ("/v1/links", "GET", "POST"),
            ("/v1/links/batch", "PUT", "POST"),
            ("/v1/links/inspect", "GET", "POST"),
            ("/v1/revocations", "DELETE", "GET, HEAD, POST"),
            ("/v1/revocations/x", "POST", "DELETE, GET, HEAD"),
        ];
        for (path, method, allowed) in cases {
            let answer = request(&linkgate.place(), method, path, &[], b"");
            refused(&answer, 405, "method-not-allowed");
            let allow = answer.header("allow").unwrap();
            let mut names: Vec<_> = allow.split(',').map(str::trim).collect();
            names.sort_unstable();
            assert_eq!(names.join(", "), allowed, "{method} {path}");
        }
    }

    #[test]
    fn head_answers_what_get_answers() {
        let linkgate = site();
        linkgate.revoke(&json!({ "subject": "nobody" }));
        let authorization = format!("Bearer {}", linkgate.admin_key);
        let headers = [("Authorization", authorization.as_str())];
        for path in ["/livez", "/readyz", "/v1/revocations", "/download/image/x", "/nothing"] {
            let [get, head] = ["GET", "HEAD"].map(|method| {
                let mut answer = request(&linkgate.place(), method, path, &headers, b"");
                answer.headers.retain(|(name, _)| name != "date");
                answer
            });
            assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{path}");
            assert!(head.body.is_empty(), "{path}");
        }
    }

    #[test]
    fn oversized_requests_are_refused_by_size() {
        let linkgate = site();
        let get = |path: &str, headers: &[(&str, &str)]| request(&linkgate.place(), "GET", path, headers, b"");
        refused(&get(&format!("/download/image/{}", "A".repeat(2_049)), &[]), 414, "uri-too-long");
        refused(&get(&format!("/download/image/{}", "A".repeat(9_000)), &[]), 414, "uri-too-long");
        assert_eq!(get("/livez", &[("X-Large", &"a".repeat(20_000))]).status, 431);
        assert_eq!(get("/livez", &[("X-Many", "a"); 100]).status, 431);
        assert_eq!(get("/livez", &[("X-Large", &"a".repeat(8_000))]).status, 200);
        assert_eq!(get("/livez", &[("X-Many", "a"); 50]).status, 200);
        let small = Builder::new().section("[limits]\nheader_bytes = 8192\nheaders = 16").start();
        let status = |headers: &[(&str, &str)]| request(&small.place(), "GET", "/livez", headers, b"").status;
        assert_eq!(status(&[("X-Large", &"a".repeat(9_000))]), 431);
        assert_eq!(status(&[("X-Many", "a"); 20]), 431);
        assert_eq!(status(&[("X-Many", "a"); 10]), 200);
    }
}

mod wire {
    use super::*;
    use crate::support::http::{parse, raw};

    /// Sends bytes, says that nothing more will come, and reads whatever is answered.
    fn throw(linkgate: &Linkgate, bytes: &[u8]) -> Vec<u8> {
        let mut stream = connect(linkgate);
        // The server may have made up its mind before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        until_closed(&mut stream, &mut answer);
        answer
    }

    /// Reads until the server closes, with or without having read everything itself.
    fn until_closed(stream: &mut UnixStream, answer: &mut Vec<u8>) {
        if let Err(error) = stream.read_to_end(answer) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection stays open");
        }
    }

    fn connect(linkgate: &Linkgate) -> UnixStream {
        let stream = UnixStream::connect(linkgate.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn status(answer: &[u8]) -> Option<u16> {
        parse(answer, "HEAD").map(|answer| answer.status)
    }

    /// How many answers there are in some bytes.
    fn count(answers: &[u8]) -> usize {
        answers.windows(9).filter(|window| *window == b"HTTP/1.1 ").count()
    }

    #[track_caller]
    fn is_well(linkgate: &mut Linkgate, link: &str) {
        assert_eq!(linkgate.get("/livez").status, 200);
        assert_eq!(linkgate.get("/readyz").status, 200);
        assert_eq!(linkgate.get(link).status, 200);
        assert_eq!(linkgate.process.0.try_wait().unwrap(), None, "the process goes on");
        assert!(!linkgate.log().contains("panicked"), "{}", linkgate.log());
    }

    /// The same numbers every time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }

        fn bytes(&mut self, length: usize) -> Vec<u8> {
            (0..length).map(|_| self.below(256) as u8).collect()
        }
    }

    #[test]
    fn garbage_is_answered_with_400_or_not_at_all() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let mut dice = Dice(0x4c69_6e6b_6761_7465);
        for _ in 0..200 {
            let length = 1 + dice.below(2_000);
            let answer = throw(&linkgate, &dice.bytes(length));
            assert!(matches!(status(&answer), None | Some(400)), "{}", String::from_utf8_lossy(&answer));
        }
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn good_requests_with_a_few_wrong_bytes_do_no_harm() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let body = json!({ "path": "a.txt", "subject": "user-42", "expires_in": 60 }).to_string();
        let requests = [
            format!("GET {link} HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\nAccept: text/html;q=0.5\r\n\r\n"),
            format!("GET /auth HTTP/1.1\r\nHost: test\r\nX-Original-URI: {link}\r\n\r\n"),
            format!(
                "POST /v1/links HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                linkgate.mint_key,
                body.len()
            ),
            format!(
                "GET /v1/revocations?limit=10&q=a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\r\n",
                linkgate.admin_key
            ),
        ];
        let mut dice = Dice(42);
        for round in 0..400 {
            let mut bytes = requests[round % requests.len()].clone().into_bytes();
            for _ in 0..=dice.below(6) {
                let at = dice.below(bytes.len());
                match dice.below(3) {
                    0 => bytes[at] = dice.below(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, dice.below(256) as u8),
                }
            }
            let answer = throw(&linkgate, &bytes);
            assert!(status(&answer).is_none_or(|status| status < 500), "{}", String::from_utf8_lossy(&answer));
        }
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn a_broken_head_is_a_400() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let broken: [&[u8]; 14] = [
            b"GET\r\n\r\n",
            b"GET /livez\r\n\r\n",
            b"GET /livez HTTP/9.9\r\n\r\n",
            b"GET /li vez HTTP/1.1\r\n\r\n",
            b"GET /li\0vez HTTP/1.1\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
            b"G\0T /livez HTTP/1.1\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nX-Nul: a\0b\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nX-Return: a\rb\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nX-Folded: a\r\n b\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nNo colon\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nSpace : before\r\n\r\n",
            b"GET /livez HTTP/1.1\r\n: no name\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ];
        for bytes in broken {
            let answer = throw(&linkgate, bytes);
            assert_eq!(status(&answer), Some(400), "{}", String::from_utf8_lossy(bytes));
        }
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn a_request_cannot_be_smuggled_inside_another() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let hidden = format!("GET {link} HTTP/1.1\r\nHost: test\r\n\r\n");
        let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5);
        let framings = [
            (both.as_str(), "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            ("Transfer-Encoding: chunked\r\n", "-1\r\n"),
            ("Content-Length: 0\r\nContent-Length: 5\r\n", ""),
            ("Content-Length: 0, 0\r\n", ""),
            ("Content-Length: +0\r\n", ""),
            ("Content-Length: -1\r\n", ""),
            ("Content-Length: 0x0\r\n", ""),
            ("Content-Length: 99999999999999999999\r\n", ""),
        ];
        for (framing, body) in framings {
            for path in ["/v1/links", "/livez", "/download/image/x"] {
                let answer = throw(
                    &linkgate,
                    format!("POST {path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n{body}{hidden}").as_bytes(),
                );
                assert!(count(&answer) <= 1, "{framing}: {}", String::from_utf8_lossy(&answer));
                assert_ne!(status(&answer), Some(200), "{framing}");
            }
        }
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn pipelined_requests_are_answered_in_their_order() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let paths = ["/livez", "/nothing", link.as_str(), "/download/image/x"];
        let requests: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
        let last = "GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        let answers = raw(&linkgate.place(), (requests + last).as_bytes()).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(statuses, ["200", "404", "200", "403", "200"]);
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn requests_that_stop_halfway_are_forgotten() {
        let mut linkgate = site();
        let link = linkgate.link("a.txt");
        let authorization =
            format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", linkgate.mint_key);
        let halves = [
            "G".to_owned(),
            format!("GET {link}"),
            format!("GET {link} HTTP/1.1\r\nHost: te"),
            format!("POST /v1/links HTTP/1.1\r\n{authorization}Content-Length: 100\r\n\r\n{{\"path\":\"a.txt\"}}"),
            format!("POST /v1/links HTTP/1.1\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"p"),
        ];
        for half in &halves {
            let answer = throw(&linkgate, half.as_bytes());
            assert!(matches!(status(&answer), None | Some(400)), "{half}: {}", String::from_utf8_lossy(&answer));
        }
        let mut open: Vec<_> = (0..100).map(|_| connect(&linkgate)).collect();
        for (stream, half) in open.iter_mut().zip(halves.iter().cycle()) {
            stream.write_all(half.as_bytes()).unwrap();
        }
        is_well(&mut linkgate, &link);
        drop(open);
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn whoever_dawdles_is_cut_off() {
        let mut linkgate =
            Builder::new().section("[limits]\nheader_timeout = \"1s\"\nrequest_timeout = \"1s\"").start();
        linkgate.file("a.txt", b"x");
        let link = linkgate.link("a.txt");
        let (mut silent, mut slow, mut stuck) = (connect(&linkgate), connect(&linkgate), connect(&linkgate));
        let mut idle = connect(&linkgate);
        let start = now();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").unwrap();
        let head = format!(
            "POST /v1/links HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{",
            linkgate.mint_key
        );
        stuck.write_all(head.as_bytes()).unwrap();
        while now().since(start) < Duration::from_millis(800) {
            let _ = slow.write_all(b"a");
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&answer), None, "there was no request");
        idle.read_to_end(&mut answer).unwrap();
        assert_eq!((status(&answer), count(&answer)), (Some(200), 1), "it was answered, and closed later on");
        answer.clear();
        until_closed(&mut slow, &mut answer);
        assert!(matches!(status(&answer), None | Some(408)), "{}", String::from_utf8_lossy(&answer));
        answer.clear();
        until_closed(&mut stuck, &mut answer);
        refused(&parse(&answer, "POST").unwrap(), 408, "timeout");
        let took = now().since(start);
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
        is_well(&mut linkgate, &link);
    }

    #[test]
    fn a_client_that_waits_for_permission_to_send_gets_it() {
        let linkgate = site();
        let mut stream = connect(&linkgate);
        let body = b"{\"path\":\"a.txt\"}";
        let head = format!(
            "POST /v1/links HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n",
            linkgate.mint_key,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(status(&answer), Some(201));
    }

    #[test]
    fn as_many_connections_are_served_as_were_allowed_and_more_wait() {
        let linkgate = Builder::new().section("[limits]\nconnections = 2").start();
        let ask = |stream: &mut UnixStream, patience: u64| {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(patience))).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).map(|()| answer.to_vec())
        };
        let (mut first, mut second, mut third) = (connect(&linkgate), connect(&linkgate), connect(&linkgate));
        assert_eq!(ask(&mut first, 10_000).unwrap(), b"HTTP/1.1 200");
        assert_eq!(ask(&mut second, 10_000).unwrap(), b"HTTP/1.1 200");
        assert!(ask(&mut third, 300).is_err(), "the third waits");
        drop(first);
        third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = [0; 12];
        third.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[test]
    fn one_connection_at_a_time_is_enough_to_work() {
        let linkgate = Builder::new().section("[limits]\nconnections = 1").start();
        for _ in 0..5 {
            assert_eq!(linkgate.get("/livez").status, 200);
        }
        let operator = Place::Unix(linkgate.data_dir().join("operator.sock"));
        assert_eq!(request(&operator, "GET", "/livez", &[], b"").status, 200);
    }
}

mod listeners {
    use super::*;

    /// Every route, and the audience it belongs to.
    fn routes(link: &str) -> Vec<(&'static str, String, &'static str)> {
        vec![
            ("GET", link.to_owned(), "download"),
            ("GET", "/download/image/x".into(), "download"),
            ("GET", "/auth".into(), "download"),
            ("POST", "/v1/links".into(), "api"),
            ("POST", "/v1/links/batch".into(), "api"),
            ("POST", "/v1/links/inspect".into(), "api"),
            ("POST", "/v1/revocations".into(), "api"),
            ("GET", "/v1/revocations".into(), "api"),
            ("GET", "/v1/revocations/x".into(), "api"),
            ("GET", "/livez".into(), "ops"),
            ("GET", "/readyz".into(), "ops"),
            ("GET", "/metrics".into(), "ops"),
        ]
    }

    /// Starts with downloads on the usual socket, and the others as told.
    fn start(api: &str, ops: &str) -> Linkgate {
        let mut linkgate = Builder::new().prepare();
        let file = linkgate.folder.path().join("linkgate.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (name, place) in [("api", api), ("ops", ops)] {
            let socket = format!("{name} = \"unix:{}\"", linkgate.socket().display());
            let other = if place == "off" {
                place.to_owned()
            } else {
                format!("unix:{}", linkgate.folder.path().join(place).display())
            };
            assert!(text.contains(&socket));
            text = text.replace(&socket, &format!("{name} = {other:?}"));
        }
        std::fs::write(&file, text).unwrap();
        linkgate.launch();
        linkgate.file("a.txt", b"x");
        linkgate
    }

    fn place(linkgate: &Linkgate, name: &str) -> Place {
        Place::Unix(linkgate.folder.path().join(name))
    }

    fn mint(linkgate: &Linkgate, place: &Place) -> String {
        let authorization = format!("Bearer {}", linkgate.mint_key);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        path_of(&request(place, "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}").json())
    }

    #[test]
    fn each_of_three_sockets_answers_only_its_own_audience() {
        let linkgate = start("api.sock", "ops.sock");
        let places = [("download", "all.sock"), ("api", "api.sock"), ("ops", "ops.sock")];
        let link = mint(&linkgate, &place(&linkgate, "api.sock"));
        for (audience, socket) in places {
            for (method, path, owner) in routes(&link) {
                let answer = request(&place(&linkgate, socket), method, &path, &[], b"");
                if audience == owner {
                    assert_ne!(answer.status, 404, "{path} on {socket}");
                } else {
                    refused(&answer, 404, "not-found");
                }
            }
        }
        assert_eq!(linkgate.get(&link).status, 200);
        assert_eq!(request(&place(&linkgate, "ops.sock"), "GET", "/readyz", &[], b"").status, 200);
    }

    #[test]
    fn a_listener_can_be_switched_off() {
        let linkgate = start("all.sock", "off");
        let link = mint(&linkgate, &linkgate.place());
        for (method, path, owner) in routes(&link) {
            let answer = request(&linkgate.place(), method, &path, &[], b"");
            assert_eq!(answer.status == 404, owner == "ops", "{path}: {}", answer.status);
        }
        let linkgate = start("off", "all.sock");
        for (method, path, owner) in routes("/download/image/x") {
            let answer = request(&linkgate.place(), method, &path, &[], b"");
            assert_eq!(answer.status == 404, owner == "api", "{path}: {}", answer.status);
        }
    }

    #[test]
    fn the_operators_own_socket_needs_no_key_and_sends_no_files() {
        let linkgate = site();
        let operator = Place::Unix(linkgate.data_dir().join("operator.sock"));
        let headers = [("Content-Type", "application/json")];
        let link = request(&operator, "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}");
        assert_eq!(link.status, 201);
        let path = path_of(&link.json());
        refused(&request(&operator, "GET", &path, &[], b""), 404, "not-found");
        assert_eq!(linkgate.get(&path).status, 200);
        refused(
            &request(&linkgate.place(), "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}"),
            401,
            "unauthorized",
        );
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(linkgate.data_dir().join("operator.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

mod figures {
    use super::*;

    /// The value of a figure, its labels included in the name.
    fn figure(linkgate: &Linkgate, name: &str) -> f64 {
        let text = linkgate.get("/metrics").text();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn whoever_runs_it_is_told_how_it_is() {
        let linkgate = site();
        for (path, word) in [("/livez", "alive"), ("/readyz", "ready")] {
            let answer = linkgate.get(path);
            assert_eq!((answer.status, answer.json()), (200, json!({ "status": word })));
            assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        }
        let metrics = linkgate.get("/metrics");
        assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
        let text = metrics.text();
        assert!(text.ends_with("# EOF\n"));
        for line in [
            "# TYPE linkgate_download_requests counter",
            "linkgate_download_requests_total{verdict=\"permitted\"} 0",
            "# TYPE linkgate_verify_duration_seconds histogram",
            "linkgate_verify_duration_seconds_bucket{le=\"+Inf\"} 0",
            "# TYPE linkgate_revocations gauge",
            "linkgate_revocations{set=\"links\"} 0",
            "linkgate_revocations{set=\"cut_offs\"} 0",
            "# TYPE linkgate_revocation_staleness_seconds gauge",
            "linkgate_revocation_staleness_seconds 0.0",
            "linkgate_guarded_redirects_total 0",
            "# TYPE linkgate_build info",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(text.contains(&format!("linkgate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn every_verdict_is_counted() {
        let linkgate = site();
        let verdict =
            |name: &str| figure(&linkgate, &format!("linkgate_download_requests_total{{verdict=\"{name}\"}}"));
        let link = linkgate.mint(&json!({ "path": "a.txt", "subject": "user-42" }));
        let path = path_of(&link);
        for _ in 0..3 {
            linkgate.get(&path);
        }
        request(&linkgate.place(), "HEAD", &path, &[], b"");
        request(&linkgate.place(), "GET", "/auth", &[("X-Original-URI", &path)], b"");
        assert_eq!(verdict("permitted"), 5.0);
        linkgate.get("/download/image/x");
        linkgate.get("/download/nowhere/x");
        assert_eq!(verdict("malformed"), 2.0);
        linkgate.get(&path[.."/download/image/".len() + 80]);
        assert_eq!(verdict("bad_signature"), 1.0);
        linkgate.get(&path.replace("/AQAAAA", "/AQAAAB"));
        assert_eq!(verdict("unknown_key"), 1.0);
        linkgate.get(&path_of(&linkgate.mint(&json!({ "path": "a.txt", "client_networks": ["10.0.0.0/8"] }))));
        assert_eq!(verdict("refused"), 1.0);
        request(&linkgate.place(), "POST", &path, &[], b"");
        assert_eq!(verdict("bad_request"), 1.0);
        linkgate.get(&linkgate.link("gone.txt"));
        assert_eq!(verdict("file_not_found"), 1.0);
        assert_eq!((verdict("revoked"), verdict("expired"), verdict("stale")), (0.0, 0.0, 0.0));

        assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 0.0);
        let revocation = linkgate.revoke(&json!({ "subject": "user-42" }));
        linkgate.revoke(&json!({ "id": link["id"] }));
        linkgate.get(&path);
        assert_eq!(verdict("revoked"), 1.0);
        assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 1.0);
        assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"links\"}"), 1.0);
        linkgate.reinstate(&revocation);
        assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 0.0);

        assert!(figure(&linkgate, "linkgate_verify_duration_seconds_count") >= 12.0);
        assert!(figure(&linkgate, "linkgate_verify_duration_seconds_sum") > 0.0);
        let buckets = figure(&linkgate, "linkgate_verify_duration_seconds_bucket{le=\"+Inf\"}");
        assert_eq!(buckets, figure(&linkgate, "linkgate_verify_duration_seconds_count"));
    }

    #[test]
    fn api_requests_are_counted_by_route_and_never_by_what_strangers_send() {
        let linkgate = site();
        linkgate.link("a.txt");
        linkgate.api("GET", "/v1/revocations/rev_AAAAAAAAAAAAAAAAAAAAAA", &Value::Null);
        for odd in ["NONSENSE", "PURGE"] {
            request(&linkgate.place(), odd, "/v1/links", &[], b"");
            request(&linkgate.place(), odd, "/v1/elsewhere", &[], b"");
        }
        let name = |operation: &str, status: u16| {
            format!("linkgate_api_requests_total{{operation=\"{operation}\",status=\"{status}\"}}")
        };
        assert_eq!(figure(&linkgate, &name("POST /v1/links", 201)), 1.0);
        assert_eq!(figure(&linkgate, &name("GET /v1/revocations/{id}", 404)), 1.0);
        let text = linkgate.get("/metrics").text();
        assert!(!text.contains("NONSENSE") && !text.contains("elsewhere") && !text.contains("rev_AAAA"), "{text}");
    }

    #[test]
    fn every_download_is_counted_once() {
        let linkgate = site();
        let total = || {
            let text = linkgate.get("/metrics").text();
            let lines = text.lines().filter(|line| line.starts_with("linkgate_download_requests_total"));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        linkgate.get(&linkgate.link("a.txt"));
        linkgate.get(&linkgate.link("gone.txt"));
        request(&linkgate.place(), "POST", "/download/image/x", &[], b"");
        assert_eq!(total(), 3);
    }
}

mod reference {
    use linkgate::config::SETTING_NAMES;
    use linkgate::http::ProblemKind;

    use super::*;
    use crate::support::linkgate::repository_file;

    #[test]
    fn every_problem_stands_in_the_reference_with_its_status() {
        let text = repository_file("docs/http-api.md");
        for kind in ProblemKind::ALL {
            let row = format!("| `{}` | {} |", kind.name(), kind.status().as_u16());
            assert_eq!(text.lines().filter(|line| line.starts_with(&row)).count(), 1, "{row}");
        }
    }

    #[test]
    fn every_limit_stands_in_the_reference() {
        let text = repository_file("docs/http-api.md");
        for name in SETTING_NAMES.iter().filter(|name| name.starts_with("limits.")) {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }

    /// The JSON of the reference's example with a name, which stands in a comment before it.
    fn example(name: &str) -> Value {
        let text = repository_file("docs/http-api.md");
        let marker = format!("<!-- example: {name} -->");
        let (_, rest) = text.split_once(&marker).unwrap_or_else(|| panic!("{marker} in docs/http-api.md"));
        let (_, rest) = rest.split_once("```json\n").unwrap();
        let (json, _) = rest.split_once("```").unwrap();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The examples of the reference, sent as they are, are answered as it says.
    #[test]
    fn the_examples_of_the_reference_are_real() {
        let linkgate = Builder::new().start();
        let call = |path: &str, request: &str, status: u16, answer: &str| {
            let given = linkgate.api("POST", path, &example(request));
            assert_eq!(given.status, status, "{request}: {}", given.text());
            let (given, written) = (given.json(), example(answer));
            assert_eq!(members(&given), members(&written), "{answer}: {given}");
            given
        };
        let link = call("/v1/links", "mint request", 201, "link");
        let batch = call("/v1/links/batch", "batch request", 200, "batch answer");
        for (given, written) in
            batch["results"].as_array().unwrap().iter().zip(example("batch answer")["results"].as_array().unwrap())
        {
            assert_eq!(members(given), members(written), "{given}");
        }
        let revocation = call("/v1/revocations", "revocation request", 201, "revocation");
        let problem = call("/v1/links", "refused request", 400, "problem");
        assert_eq!(problem, example("problem"));
        let listed = linkgate.api("GET", "/v1/revocations?limit=1", &Value::Null).json();
        assert_eq!(members(&listed["revocations"][0]), members(&example("revocation list")["revocations"][0]));
        linkgate.reinstate(&revocation);
        linkgate.revoke(&json!({ "id": link["id"] }));
        let found = inspect(&linkgate, &link["url"]);
        assert_eq!(members(&found), members(&example("inspection")), "{found}");
        assert_eq!(found["detail"], example("inspection")["detail"]);
    }
}
