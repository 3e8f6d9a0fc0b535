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
        for name in
            ["id", "kind", "target", "issued_before", "created_at", "created_by", "expires_at", "reason", "position"]
        {
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
