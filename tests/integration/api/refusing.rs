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
        answer.headers.retain(|(name, _)| name != "date" && name != "x-request-id");
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
    let get =
        |delivery: &str| request(&linkgate.place(), "GET", &path_of(&link), &[("X-Linkgate-Delivery", delivery)], b"");
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
    let ask = |method: &str, link: &str| request(&linkgate.place(), method, "/auth", &[("X-Original-URI", link)], b"");
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
            answer.headers.retain(|(name, _)| name != "date" && name != "x-request-id");
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
