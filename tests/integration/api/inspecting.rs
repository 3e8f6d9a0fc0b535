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
        linkgate.mint(&json!({ "path": "a.txt", "not_before": from_now(1_000), "expires_in": 2_000 }))["url"].clone();
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

#[test]
fn each_check_is_told_with_its_outcome_and_what_revoked_the_link() {
    let linkgate = site();
    let link = linkgate.mint(&json!({
        "path": "users/7/a.txt", "subject": "u", "client_networks": ["203.0.113.0/24"], "max_downloads": 1,
    }));
    let outcomes = |found: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found["checks"].as_array().unwrap().iter().map(|one| (text(&one["check"]), text(&one["outcome"]))).collect()
    };
    let found = inspect(&linkgate, &link["url"]);
    let expected = [
        ("signature", "passed"),
        ("lifetime", "passed"),
        ("issued_at", "passed"),
        ("not_before", "passed"),
        ("networks", "unknown"),
        ("expires_at", "passed"),
        ("revocations", "passed"),
        ("freshness", "passed"),
        ("downloads", "passed"),
    ];
    assert_eq!(outcomes(&found), expected.map(|(check, outcome)| (check.to_owned(), outcome.to_owned())));
    assert!(!members(&found).contains(&"revocations"));

    let folder = linkgate.revoke(&json!({ "path_prefix": "users/7/", "reason": "moved" }));
    let subject = linkgate.revoke(&json!({ "subject": "u" }));
    linkgate.revoke(&json!({ "subject": "v" }));
    let found = inspect(&linkgate, &link["url"]);
    assert_eq!((&found["check"], &found["status"]), (&json!("revoked"), &json!(410)));
    assert!(outcomes(&found).contains(&("revocations".into(), "failed".into())));
    let mut ids: Vec<_> = found["revocations"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    let mut expected = vec![folder["id"].clone(), subject["id"].clone()];
    ids.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(ids, expected, "{found}");
}
