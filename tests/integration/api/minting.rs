use super::*;

#[test]
fn a_link_holds_everything_that_is_promised() {
    let linkgate = site();
    let link = linkgate.mint(&json!({ "path": "users/42/cat 1.jpg", "subject": "user-42" }));
    let promised = ["url", "token", "id", "collection", "path", "subject", "issued_at", "expires_at", "refresh_after"];
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
    for end in ["1970-01-01T00:00:00Z".to_owned(), from_now(0), from_now(3_700), "9999-12-31T23:59:59Z".to_owned()] {
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
    let send = |content_type| send_as(&linkgate, &linkgate.mint_key, content_type, "/v1/links", b"{\"path\":\"a\"}");
    for other in ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonx", "application/ld+json"] {
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
