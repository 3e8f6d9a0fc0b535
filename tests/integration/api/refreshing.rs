//! New links for old ones.

use super::*;

fn refresh(linkgate: &Linkgate, key: &str, links: &Value) -> Vec<Value> {
    let answer = linkgate.api_with(key, "POST", "/v1/links/refresh", &json!({ "links": links }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"].as_array().unwrap().clone()
}

fn refresh_one(linkgate: &Linkgate, link: &Value) -> Value {
    refresh(linkgate, &linkgate.mint_key, &json!([link]))[0].clone()
}

#[track_caller]
fn refused_item(result: &Value, status: u16, name: &str) {
    assert_eq!((&result["status"], &result["type"]), (&json!(status), &json!(format!("urn:linkgate:problem:{name}"))));
    assert!(!result["detail"].as_str().unwrap().is_empty());
}

#[test]
fn a_refreshed_link_asks_for_all_that_the_old_one_did() {
    let linkgate = site();
    let old = linkgate.mint(&json!({
        "path": "a.txt", "expires_in": 600, "subject": "u", "filename": "é.txt", "disposition": "inline",
        "content_type": "text/plain", "client_networks": ["203.0.113.0/24"], "rate_limit": 5000,
    }));
    let new = refresh_one(&linkgate, &old["url"]);
    assert_ne!(new["url"], old["url"]);
    assert_eq!(time(&new["expires_at"]).since(time(&new["issued_at"])).as_secs(), 600);
    let (before, after) = (inspect(&linkgate, &old["url"]), inspect(&linkgate, &new["url"]));
    for name in
        ["path", "subject", "filename", "disposition", "content_type", "client_networks", "rate_limit", "client"]
    {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_eq!(refresh_one(&linkgate, &old["token"])["path"], "a.txt", "a bare token will do");
}

#[test]
fn an_expired_link_is_refreshed_for_as_long_as_the_setting_says() {
    let linkgate = Builder::new().section("[links]\nrefresh_grace = \"2s\"").start();
    linkgate.file("a.txt", b"x");
    let old = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
    crate::support::eventually("the link has expired", || linkgate.status(&path_of(&old)) == 410);
    let new = refresh_one(&linkgate, &old["url"]);
    assert_eq!(linkgate.status(&path_of(&new)), 200, "{new}");
    crate::support::eventually("it cannot be refreshed any more", || {
        let result = refresh_one(&linkgate, &old["url"]);
        result["type"] == "urn:linkgate:problem:expired"
    });
}

#[test]
fn a_stable_link_is_followed_by_a_stable_one() {
    let linkgate = site();
    let old = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 500_000, "stable": true }));
    assert_eq!(refresh_one(&linkgate, &old["url"])["url"], old["url"], "the window has not ended");
    let loose = linkgate.mint(&json!({ "path": "a.txt" }));
    assert_ne!(refresh_one(&linkgate, &loose["url"])["url"], loose["url"]);
}

#[test]
fn only_what_the_policy_still_allows_is_refreshed_and_only_by_the_client_itself() {
    let linkgate = site();
    let link = linkgate.mint(&json!({ "path": "a.txt", "subject": "u" }));
    let other = linkgate.new_client("other", &["mint"]);
    crate::support::eventually("the new client is known", || {
        linkgate.api_with(&other, "POST", "/v1/links", &json!({ "path": "a.txt" })).status == 201
    });
    refused_item(&refresh(&linkgate, &other, &json!([link["url"]]))[0], 403, "outside-policy");

    let revoked = linkgate.mint(&json!({ "path": "a.txt", "subject": "v" }));
    linkgate.revoke(&json!({ "subject": "v" }));
    refused_item(&refresh_one(&linkgate, &revoked["url"]), 410, "revoked");
    linkgate.revoke(&json!({ "link": link["url"] }));
    refused_item(&refresh_one(&linkgate, &link["url"]), 410, "revoked");

    let counted = linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 1 }));
    refused_item(&refresh_one(&linkgate, &counted["url"]), 400, "invalid-request");
    let answer = linkgate.api("POST", "/v1/links/refresh", &json!({ "links": [] }));
    refused(&answer, 400, "invalid-request");
}

#[test]
fn one_bad_link_among_many_spoils_none_of_them() {
    let linkgate = site();
    let good = linkgate.mint(&json!({ "path": "a.txt" }));
    let forged = good["url"].as_str().unwrap().replace("/image/AQ", "/image/AR");
    let mut links = vec![good["url"].clone(); 999];
    for (at, bad) in [(3, "x"), (500, forged.as_str()), (900, "")] {
        links[at] = json!(bad);
    }
    let results = refresh(&linkgate, &linkgate.mint_key, &json!(links));
    assert_eq!(results.len(), 999);
    for (at, result) in results.iter().enumerate() {
        if [3, 500, 900].contains(&at) {
            refused_item(result, 403, "invalid-link");
        } else {
            assert_eq!(result["path"], "a.txt", "{result}");
        }
    }
    let answer = linkgate.api("POST", "/v1/links/refresh", &json!({ "links": vec!["x"; 1_001] }));
    refused(&answer, 400, "invalid-request");
}
