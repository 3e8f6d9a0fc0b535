//! A client that is removed and added again under its name inherits nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::linkgate::{Builder, Linkgate};
use crate::support::redis::Redis;

/// Adds the client; answers its key.
fn add(linkgate: &Linkgate) -> String {
    let policy = json!({ "allow": ["**"], "links_per_second": 1, "links_burst": 5 });
    let wish = json!({ "name": "app", "roles": ["mint", "inspect"], "policy": policy });
    let answer = linkgate.api("POST", "/v1/clients", &wish);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["key"].as_str().unwrap().to_owned()
}

fn mint(linkgate: &Linkgate, key: &str, wish: &Value) -> Value {
    let answer = linkgate.api_with(key, "POST", "/v1/links", wish);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn refresh(linkgate: &Linkgate, key: &str, link: &Value) -> Value {
    let answer = linkgate.api_with(key, "POST", "/v1/links/refresh", &json!({ "links": [link["url"]] }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"][0].clone()
}

#[test]
fn a_client_that_is_added_again_refreshes_none_of_its_predecessors_links_and_begins_with_full_buckets() {
    let redis = Redis::start();
    for linkgate in [Builder::new().start(), Builder::following(&redis.url()).start()] {
        let first = add(&linkgate);
        let old = mint(&linkgate, &first, &json!({ "path": "a.txt" }));
        assert!(refresh(&linkgate, &first, &old)["url"].is_string(), "its own it may refresh");
        for _ in 0..3 {
            mint(&linkgate, &first, &json!({ "path": "a.txt" }));
        }
        assert_eq!(linkgate.api_with(&first, "POST", "/v1/links", &json!({ "path": "a.txt" })).status, 429);

        assert_eq!(linkgate.api("DELETE", "/v1/clients/app", &Value::Null).status, 204);
        std::thread::sleep(Duration::from_millis(5));
        let second = add(&linkgate);
        let refused = refresh(&linkgate, &second, &old);
        assert_eq!(refused["type"], "urn:linkgate:problem:outside-policy", "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("mint a new one"), "{refused}");
        // Four are left of five: the bucket is not its predecessor's.
        let new = mint(&linkgate, &second, &json!({ "path": "a.txt" }));
        assert!(refresh(&linkgate, &second, &new)["url"].is_string());
        let stable = mint(&linkgate, &second, &json!({ "path": "a.txt", "stable": true }));
        assert_eq!(refresh(&linkgate, &second, &stable)["url"], stable["url"], "its window began before the client");
    }
}

#[test]
fn changing_or_rotating_a_client_makes_it_no_other() {
    let linkgate = Builder::new().start();
    let key = add(&linkgate);
    let link = mint(&linkgate, &key, &json!({ "path": "a.txt" }));
    let before = linkgate.api("GET", "/v1/clients/app", &Value::Null).json();
    assert!(before["created_at"].is_string(), "{before}");
    let patched = linkgate.api("PATCH", "/v1/clients/app", &json!({ "roles": ["mint"] }));
    assert_eq!((patched.status, &patched.json()["created_at"]), (200, &before["created_at"]));
    let rotated = linkgate.api("POST", "/v1/clients/app/keys", &json!({ "drop_old": true }));
    let key = rotated.json()["key"].as_str().unwrap().to_owned();
    assert!(refresh(&linkgate, &key, &link)["url"].is_string());
}
