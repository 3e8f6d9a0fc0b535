use super::*;
use crate::support::eventually;
use crate::support::http::{parse, raw};
use crate::support::redis::Redis;

const BACKEND: &str = "/v1/clients/backend";

fn backend() -> Value {
    json!({ "name": "backend", "roles": ["mint"], "policy": { "allow": ["users/**"], "max_ttl": 3600 } })
}

/// Adds `backend` as the admin; answers it with its key.
fn add_backend(linkgate: &Linkgate) -> Value {
    let answer = linkgate.api("POST", "/v1/clients", &backend());
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn key_of(made: &Value) -> String {
    made["key"].as_str().unwrap().to_owned()
}

fn mint_as(linkgate: &Linkgate, key: &str) -> Response {
    linkgate.api_with(key, "POST", "/v1/links", &json!({ "path": "users/42/a.txt" }))
}

/// A request of the admin with headers of its own.
fn with_headers(linkgate: &Linkgate, method: &str, path: &str, more: &[(&str, &str)], body: &Value) -> Response {
    let authorization = format!("Bearer {}", linkgate.admin_key);
    let mut headers = vec![("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    headers.extend(more);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(&linkgate.place(), method, path, &headers, body.as_bytes())
}

fn with_each_store(test: impl Fn(Linkgate)) {
    let redis = Redis::start();
    for builder in [Builder::new(), Builder::new().redis(&redis.url())] {
        test(builder.start());
    }
}

#[test]
fn a_client_is_made_shown_and_removed() {
    with_each_store(|linkgate| {
        let answer = linkgate.api("POST", "/v1/clients", &backend());
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("location").as_deref(), Some(BACKEND));
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        let made = answer.json();
        assert_eq!(members(&made), ["name", "roles", "policy", "kept", "created_at", "keys", "key"]);
        let key = key_of(&made);
        assert!(key.starts_with("lgk_backend_"), "{key}");
        assert_eq!(mint_as(&linkgate, &key).status, 201, "it counts at once where it was made");

        let found = linkgate.api("GET", BACKEND, &Value::Null);
        assert_eq!(found.header("etag"), answer.header("etag"));
        let shown = found.json();
        assert_eq!(members(&shown), ["name", "roles", "policy", "kept", "created_at", "keys"]);
        assert_eq!((&shown["name"], &shown["kept"]), (&json!("backend"), &json!("store")));
        assert_eq!(shown["policy"], backend()["policy"]);
        assert_eq!(shown["keys"].as_array().unwrap().len(), 1);
        assert_eq!(shown["keys"][0]["id"].as_str().unwrap().len(), 12);
        assert!(now().since(time(&shown["keys"][0]["created_at"])) < Duration::from_secs(60));
        assert!(!found.text().contains(&key[12..]) && !found.text().contains("sha256"), "{}", found.text());

        let again = linkgate.api("POST", "/v1/clients", &backend());
        refused(&again, 409, "client-exists");
        assert_eq!(mint_as(&linkgate, &key).status, 201, "the first one stays");
        assert_eq!(linkgate.api("DELETE", BACKEND, &Value::Null).status, 204);
        assert_eq!(mint_as(&linkgate, &key).status, 401, "and is gone at once");
        refused(&linkgate.api("GET", BACKEND, &Value::Null), 404, "not-found");
        refused(&linkgate.api("DELETE", BACKEND, &Value::Null), 404, "not-found");
    });
}

#[test]
fn a_patch_changes_what_it_names_and_counts_at_once() {
    with_each_store(|linkgate| {
        let key = key_of(&add_backend(&linkgate));
        let before = linkgate.api("GET", BACKEND, &Value::Null).header("etag");
        let patch = json!({ "policy": { "allow": ["users/7/**"], "max_ttl": null, "permit": ["subject"] } });
        let answer = linkgate.api("PATCH", BACKEND, &patch);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_ne!(answer.header("etag"), before);
        assert_eq!(answer.json()["policy"], json!({ "allow": ["users/7/**"], "permit": ["subject"] }));
        let problem = refused(&mint_as(&linkgate, &key), 403, "outside-policy");
        assert_eq!((&problem["rule"], &problem["field"]), (&json!("allow"), &json!("path")));
        let merge = [("Content-Type", "application/merge-patch+json")];
        let answer = with_headers(&linkgate, "PATCH", BACKEND, &merge, &json!({ "roles": ["inspect"] }));
        assert_eq!((answer.status, &answer.json()["roles"]), (200, &json!(["inspect"])));
        refused(&mint_as(&linkgate, &key), 403, "forbidden");
    });
}

#[test]
fn keys_are_added_and_revoked_one_by_one() {
    with_each_store(|linkgate| {
        let made = add_backend(&linkgate);
        let first = key_of(&made);
        let rotate = |body: Value| {
            let answer = linkgate.api("POST", "/v1/clients/backend/keys", &body);
            assert_eq!(answer.status, 201, "{}", answer.text());
            let made = answer.json();
            assert_eq!(members(&made), ["client", "id", "created_at", "key"]);
            let id = made["id"].as_str().unwrap();
            assert_eq!(answer.header("location"), Some(format!("/v1/clients/backend/keys/{id}")));
            made
        };
        let second = rotate(json!({}));
        assert_eq!((mint_as(&linkgate, &first).status, mint_as(&linkgate, &key_of(&second)).status), (201, 201));

        let drop = |id: &Value| {
            linkgate.api("DELETE", &format!("/v1/clients/backend/keys/{}", id.as_str().unwrap()), &Value::Null)
        };
        assert_eq!(drop(&made["keys"][0]["id"]).status, 204);
        assert_eq!((mint_as(&linkgate, &first).status, mint_as(&linkgate, &key_of(&second)).status), (401, 201));
        refused(&drop(&made["keys"][0]["id"]), 404, "not-found");
        refused(&drop(&json!("none")), 404, "not-found");

        let third = rotate(json!({ "drop_old": true }));
        assert_eq!(
            (mint_as(&linkgate, &key_of(&second)).status, mint_as(&linkgate, &key_of(&third)).status),
            (401, 201)
        );
        assert_eq!(drop(&third["id"]).status, 204, "the last key may go: it may be in wrong hands");
        assert_eq!(linkgate.api("GET", BACKEND, &Value::Null).json()["keys"], json!([]));
        let fourth = rotate(json!({}));
        assert_eq!(mint_as(&linkgate, &key_of(&fourth)).status, 201);
    });
}

#[test]
fn clients_are_listed_by_name_page_by_page() {
    let linkgate = Builder::new().start();
    for name in ["b", "a", "C", "d.1"] {
        let body = json!({ "name": name, "roles": ["inspect"] });
        assert_eq!(linkgate.api("POST", "/v1/clients", &body).status, 201);
    }
    let whole = linkgate.api("GET", "/v1/clients", &Value::Null).json();
    assert_eq!(members(&whole), ["clients"]);
    let names = |list: &Value| -> Vec<String> {
        list["clients"].as_array().unwrap().iter().map(|client| client["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = names(&whole);
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted());
    let (mut paged, mut path) = (Vec::new(), "/v1/clients?limit=4".to_owned());
    loop {
        let page = linkgate.api("GET", &path, &Value::Null).json();
        paged.extend(names(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/clients?limit=4&cursor={cursor}");
    }
    assert_eq!(paged, all);
    for query in ["limit=0", "limit=1001", "limit=x", "page=2"] {
        refused(&linkgate.api("GET", &format!("/v1/clients?{query}"), &Value::Null), 400, "invalid-request");
    }
}

#[test]
fn clients_of_the_configuration_are_shown_and_not_changed() {
    let hash = "0a".repeat(32);
    let linkgate = Builder::new()
        .section(&format!(
            "[[clients]]\nname = \"fixed\"\nroles = [\"mint\"]\nallow = [\"**\"]\nrequire = [\"subject\"]\n\
             links_per_second = 5\nkey_hashes = [\"sha256:{hash}\"]"
        ))
        .start();
    let shown = linkgate.api("GET", "/v1/clients/fixed", &Value::Null).json();
    assert_eq!(shown["kept"], "configuration");
    assert_eq!(shown["policy"], json!({ "allow": ["**"], "require": ["subject"], "links_per_second": 5 }));
    assert_eq!(shown["keys"], json!([{ "id": &hash[..12] }]));
    let listed = linkgate.api("GET", "/v1/clients", &Value::Null).json();
    assert!(listed["clients"].as_array().unwrap().contains(&shown), "{listed}");
    for (method, path, body) in [
        ("PATCH", "/v1/clients/fixed", json!({ "roles": ["admin"] })),
        ("DELETE", "/v1/clients/fixed", Value::Null),
        ("POST", "/v1/clients/fixed/keys", json!({})),
        ("DELETE", "/v1/clients/fixed/keys/0a0a0a0a0a0a", Value::Null),
    ] {
        let problem = refused(&linkgate.api(method, path, &body), 409, "client-read-only");
        assert!(problem["detail"].as_str().unwrap().contains("configuration"), "{problem}");
    }
    let body = json!({ "name": "fixed", "roles": ["inspect"] });
    refused(&linkgate.api("POST", "/v1/clients", &body), 409, "client-exists");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_word_on_what_would() {
    let linkgate = Builder::new().start();
    let refuse = |name: &str, policy: Value, field: Option<&str>, words: &str| {
        let body = json!({ "name": name, "roles": ["mint"], "policy": policy });
        let problem = refused(&linkgate.api("POST", "/v1/clients", &body), 400, "invalid-request");
        assert_eq!(problem.get("field").and_then(Value::as_str), field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{words}: {problem}");
    };
    let good = json!({ "allow": ["**"] });
    for name in
        ["", "a b", "-a", "a/b", "é", "🎉", "a\r\nb", "a\"b", "a:b", "!", "#", &"a".repeat(65), &"a".repeat(255)]
    {
        refuse(name, good.clone(), Some("name"), "1 to 64 letters");
    }
    let with = |more: Value| {
        let mut policy = good.clone();
        policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        policy
    };
    refuse("a", json!({}), Some("policy.allow"), "at least one pattern");
    refuse("a", json!({ "allow": [] }), Some("policy.allow"), "at least one pattern");
    refuse("a", json!({ "allow": [""] }), Some("policy.allow"), "must not be empty");
    refuse("a", json!({ "allow": ["users/{unknown}/**"] }), Some("policy.allow"), "identity_providers");
    refuse("a", json!({ "allow": ["a\nb"] }), Some("policy.allow"), "a\\nb");
    refuse("a", with(json!({ "collections": ["film"] })), Some("policy.collections"), "no collection film");
    refuse("a", with(json!({ "collections": ["a\"\r\n"] })), Some("policy.collections"), "no collection");
    refuse("a", with(json!({ "max_ttl": 0 })), Some("policy.max_ttl"), "at least one second");
    refuse("a", with(json!({ "max_ttl": 1, "default_ttl": 2 })), Some("policy.max_ttl"), "at most `max_ttl`");
    refuse("a", with(json!({ "require": ["stable"], "permit": [] })), Some("policy.require"), "not permitted");
    refuse("a", with(json!({ "links_per_second": 0 })), Some("policy.links_per_second"), "from 1 to 1000000");
    refuse("a", with(json!({ "links_burst": 5 })), Some("policy.links_burst"), "goes with `links_per_second`");
    refuse("a", with(json!({ "requests_per_second": 10_000_000 })), Some("policy.requests_per_second"), "from 1 to");
    refuse("a", with(json!({ "require": ["wings"] })), None, "expected one of `not_before`");
    refuse("a", with(json!({ "speed": 1 })), None, "unknown field `speed`");
    refuse("a", with(json!({ "max_ttl": "1h" })), None, "expected u64");
    for body in [
        json!({}),
        json!({ "name": "a" }),
        json!({ "name": "a", "roles": [] }),
        json!({ "name": "a", "roles": ["king"] }),
        json!({ "name": "a", "roles": ["inspect"], "keys": [] }),
        json!([]),
    ] {
        refused(&linkgate.api("POST", "/v1/clients", &body), 400, "invalid-request");
    }
    let longest = "a".repeat(64);
    for body in [
        json!({ "name": longest, "roles": ["mint"], "policy": { "allow": ["**", "a/**", "a/**"] } }),
        json!({ "name": "0", "roles": ["inspect"], "policy": null }),
        json!({ "name": "nulls", "roles": ["inspect"], "policy": { "allow": null, "max_ttl": null, "permit": null } }),
    ] {
        let answer = linkgate.api("POST", "/v1/clients", &body);
        assert_eq!(answer.status, 201, "{body}: {}", answer.text());
    }
    add_backend(&linkgate);
    for patch in [
        "{\"roles\":null}",
        "{\"roles\":[]}",
        "{\"name\":\"x\"}",
        "{\"policy\":{\"allow\":null}}",
        "{\"policy\":{\"require\":[\"subject\"],\"permit\":[\"stable\"]}}",
        "{\"policy\":{\"max_ttl\":1,\"max_ttl\":2}}",
        "[]",
        "{",
        "",
    ] {
        let authorization = format!("Bearer {}", linkgate.admin_key);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let answer = request(&linkgate.place(), "PATCH", BACKEND, &headers, patch.as_bytes());
        refused(&answer, 400, "invalid-request");
    }
    let plain = with_headers(&linkgate, "PATCH", BACKEND, &[("Content-Type", "text/plain")], &json!({}));
    refused(&plain, 415, "unsupported-media-type");
    for name in ["nobody", "%2e%2e", "%00", "a%2fb", "%ff", &"a".repeat(255)] {
        let path = format!("/v1/clients/{name}");
        for (method, path, body) in [
            ("GET", path.clone(), Value::Null),
            ("DELETE", path.clone(), Value::Null),
            ("PATCH", path.clone(), json!({})),
            ("POST", format!("{path}/keys"), json!({})),
            ("DELETE", format!("{path}/keys/x"), Value::Null),
        ] {
            let answer = with_headers(&linkgate, method, &path, &[], &body);
            refused(&answer, 404, "not-found");
        }
    }
}

#[test]
fn a_change_meant_for_another_state_is_refused() {
    with_each_store(|linkgate| {
        add_backend(&linkgate);
        let tag = linkgate.api("GET", BACKEND, &Value::Null).header("etag").unwrap();
        let patch = |if_match: &str, ttl: u64| {
            let body = json!({ "policy": { "max_ttl": ttl } });
            with_headers(&linkgate, "PATCH", BACKEND, &[("If-Match", if_match)], &body)
        };
        assert_eq!(patch(&tag, 60).status, 200);
        refused(&patch(&tag, 70), 412, "precondition-failed");
        let weak = format!("W/{}", linkgate.api("GET", BACKEND, &Value::Null).header("etag").unwrap());
        refused(&patch(&weak, 70), 412, "precondition-failed");
        for no_tag in ["", "x", "\"", "\"a", "*, \"a\"", "\"a\" \"b"] {
            let answer = patch(no_tag, 70);
            assert!(matches!(answer.status, 400 | 412), "{no_tag}: {}", answer.text());
        }
        refused(&patch("", 70), 400, "invalid-request");
        refused(&patch("\"other\"", 0), 400, "invalid-request");
        let seen = linkgate.api("GET", BACKEND, &Value::Null).header("etag").unwrap();
        let again = with_headers(&linkgate, "GET", BACKEND, &[("If-None-Match", &seen)], &Value::Null);
        assert_eq!((again.status, again.header("etag")), (304, Some(seen)));
        assert_eq!(linkgate.api("GET", BACKEND, &Value::Null).json()["policy"]["max_ttl"], 60);
        assert_eq!(patch("*", 80).status, 200);
        let now = linkgate.api("GET", BACKEND, &Value::Null).header("etag").unwrap();
        assert_eq!(patch(&format!("\"other\", {now}"), 90).status, 200);
        let stale = [("If-Match", now.as_str())];
        refused(&with_headers(&linkgate, "DELETE", BACKEND, &stale, &Value::Null), 412, "precondition-failed");
        let keys = "/v1/clients/backend/keys";
        refused(&with_headers(&linkgate, "POST", keys, &stale, &json!({})), 412, "precondition-failed");
    });
}

#[test]
fn changes_at_the_same_time_do_not_undo_each_other() {
    let redis = Redis::start();
    let first = Builder::new().redis(&redis.url()).start();
    let second = Builder::new().redis(&redis.url()).beside(&first).start();
    add_backend(&first);
    eventually("the other one knows the admin", || second.api("GET", BACKEND, &Value::Null).status == 200);
    let made: Vec<Value> = std::thread::scope(|scope| {
        let rotators: Vec<_> = [&first, &second, &first, &second]
            .into_iter()
            .map(|linkgate| {
                scope.spawn(move || {
                    let rotate = |_| {
                        let answer = linkgate.api("POST", "/v1/clients/backend/keys", &json!({}));
                        assert_eq!(answer.status, 201, "{}", answer.text());
                        answer.json()
                    };
                    (0..10).map(rotate).collect::<Vec<_>>()
                })
            })
            .collect();
        rotators.into_iter().flat_map(|rotator| rotator.join().unwrap()).collect()
    });
    let shown = first.api("GET", BACKEND, &Value::Null).json();
    assert_eq!(shown["keys"].as_array().unwrap().len(), 41, "no key was lost");
    eventually("each of them works", || made.iter().all(|made| mint_as(&first, &key_of(made)).status == 201));
}

#[test]
fn the_last_admin_is_not_removed_over_the_api_and_the_operator_needs_none() {
    with_each_store(|linkgate| {
        let name = linkgate.admin_key["lgk_".len()..linkgate.admin_key.len() - 44].to_owned();
        let own = format!("/v1/clients/{name}");
        let id = linkgate.api("GET", &own, &Value::Null).json()["keys"][0]["id"].as_str().unwrap().to_owned();
        let own_key = format!("{own}/keys/{id}");
        let tries = [
            ("DELETE", &own, Value::Null),
            ("DELETE", &own_key, Value::Null),
            ("PATCH", &own, json!({ "roles": ["mint"] })),
        ];
        for (method, path, body) in &tries {
            let problem = refused(&linkgate.api(method, path, body), 409, "last-admin");
            assert!(problem["detail"].as_str().unwrap().contains("linkgate clients"), "{problem}");
        }
        let deputy = linkgate.api(
            "POST",
            "/v1/clients",
            &json!({ "name": "deputy", "roles": ["admin"], "policy": { "allow": ["**"] } }),
        );
        assert_eq!(deputy.status, 201, "{}", deputy.text());
        assert_eq!(linkgate.api("DELETE", &own, &Value::Null).status, 204, "now there is another");
        let deputy = key_of(&deputy.json());
        refused(&linkgate.api_with(&deputy, "DELETE", "/v1/clients/deputy", &Value::Null), 409, "last-admin");
        linkgate.succeed(&["clients", "remove", "deputy"]);
        eventually("nobody is left", || linkgate.api_with(&deputy, "GET", "/v1/clients", &Value::Null).status == 401);
        linkgate.succeed(&["clients", "add", "phoenix", "--role", "admin", "--allow", "**"]);
    });
}

#[test]
fn the_operators_socket_may_remove_the_last_admin_and_make_another() {
    let linkgate = Builder::new().start();
    let name = &linkgate.admin_key["lgk_".len()..linkgate.admin_key.len() - 44];
    let socket = Place::from(linkgate.data_dir().join("operator.sock").as_path());
    let head = format!("DELETE /v1/clients/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(parse(&raw(&socket, head.as_bytes()).unwrap(), "DELETE").unwrap().status, 204);
    refused(&linkgate.api("GET", "/v1/clients", &Value::Null), 401, "unauthorized");
    let body = json!({ "name": "boss", "roles": ["admin"], "policy": { "allow": ["**"] } }).to_string();
    let made = request(&socket, "POST", "/v1/clients", &[("Content-Type", "application/json")], body.as_bytes());
    let key = key_of(&made.json());
    assert_eq!(linkgate.api_with(&key, "GET", "/v1/clients", &Value::Null).status, 200);
}

#[test]
fn a_configured_admin_makes_the_stores_last_one_dispensable() {
    let hash = "0a".repeat(32);
    let section = format!(
        "[[clients]]\nname = \"boss\"\nroles = [\"admin\"]\nallow = [\"**\"]\nkey_hashes = [\"sha256:{hash}\"]"
    );
    let linkgate = Builder::new().section(&section).start();
    let name = &linkgate.admin_key["lgk_".len()..linkgate.admin_key.len() - 44];
    assert_eq!(linkgate.api("DELETE", &format!("/v1/clients/{name}"), &Value::Null).status, 204);
}

#[test]
fn only_admins_see_and_change_clients() {
    let linkgate = Builder::new().start();
    add_backend(&linkgate);
    let lesser = json!({ "name": "lesser", "roles": ["mint", "inspect", "revoke"], "policy": { "allow": ["**"] } });
    let lesser = key_of(&linkgate.api("POST", "/v1/clients", &lesser).json());
    for (method, path, body) in [
        ("GET", "/v1/clients", Value::Null),
        ("POST", "/v1/clients", backend()),
        ("GET", BACKEND, Value::Null),
        ("PATCH", BACKEND, json!({})),
        ("DELETE", BACKEND, Value::Null),
        ("POST", "/v1/clients/backend/keys", json!({})),
        ("DELETE", "/v1/clients/backend/keys/x", Value::Null),
    ] {
        let authorization = format!("Bearer {lesser}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = request(&linkgate.place(), method, path, &headers, body.as_bytes());
        assert_eq!(refused(&answer, 403, "forbidden")["role"], "admin", "{method} {path}");
    }
}

#[test]
fn features_are_required_and_permitted_by_name() {
    let linkgate = Builder::new().start();
    let body = json!({ "name": "strict", "roles": ["mint"], "policy": {
        "allow": ["**"], "require": ["subject"], "permit": ["subject", "client_networks", "max_downloads"] } });
    let key = key_of(&linkgate.api("POST", "/v1/clients", &body).json());
    let mint = |more: Value| {
        let mut wish = json!({ "path": "a.txt", "subject": "u" });
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        linkgate.api_with(&key, "POST", "/v1/links", &wish)
    };
    assert_eq!(mint(json!({})).status, 201);
    assert_eq!(
        mint(json!({ "client_networks": ["203.0.113.0/24"], "max_downloads": 3, "expires_in": 60 })).status,
        201
    );
    assert_eq!(mint(json!({ "stable": false, "client_networks": [], "filename": null })).status, 201);
    let problem = refused(&mint(json!({ "subject": null })), 403, "outside-policy");
    assert_eq!((&problem["rule"], &problem["field"]), (&json!("require"), &json!("subject")), "{problem}");
    for (field, value) in [
        ("stable", json!(true)),
        ("rate_limit", json!(1000)),
        ("filename", json!("a")),
        ("disposition", json!("inline")),
        ("content_type", json!("text/plain")),
        ("not_before", json!("2099-01-01T00:00:00Z")),
    ] {
        let problem = refused(&mint(json!({ field: value })), 403, "outside-policy");
        assert_eq!((&problem["rule"], &problem["field"]), (&json!("permit"), &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
    let batch = json!({ "links": [{ "path": "a.txt" }, { "path": "a.txt", "subject": "u" }] });
    let results = linkgate.api_with(&key, "POST", "/v1/links/batch", &batch).json()["results"].clone();
    assert_eq!((&results[0]["rule"], &results[1]["path"]), (&json!("require"), &json!("a.txt")));

    let patch = json!({ "policy": { "require": ["stable", "rate_limit"], "permit": null } });
    assert_eq!(linkgate.api("PATCH", "/v1/clients/strict", &patch).status, 200);
    assert_eq!(refused(&mint(json!({ "stable": true })), 403, "outside-policy")["field"], "rate_limit");
    assert_eq!(refused(&mint(json!({ "rate_limit": 1000 })), 403, "outside-policy")["field"], "stable");
    let made = mint(json!({ "stable": true, "rate_limit": 1000, "expires_in": 600 }));
    assert_eq!(made.status, 201, "{}", made.text());
    let patch = json!({ "policy": { "require": ["client_networks"], "permit": null } });
    assert_eq!(linkgate.api("PATCH", "/v1/clients/strict", &patch).status, 200);
    assert_eq!(refused(&mint(json!({ "client_networks": [] })), 403, "outside-policy")["field"], "client_networks");
    assert_eq!(mint(json!({ "client_networks": ["::/0"], "filename": "b" })).status, 201);
}

#[test]
fn a_change_takes_effect_on_every_instance_within_moments() {
    let redis = Redis::start();
    let first = Builder::new().redis(&redis.url()).start();
    let second = Builder::new().redis(&redis.url()).beside(&first).start();
    let made = add_backend(&first);
    let key = key_of(&made);
    let moments = |what: &str, is_so: &mut dyn FnMut() -> bool| {
        let start = std::time::Instant::now();
        eventually(what, is_so);
        assert!(start.elapsed() < Duration::from_secs(5), "{what} took {:?}", start.elapsed());
    };
    moments("the client is known", &mut || mint_as(&second, &key).status == 201);
    first.api("PATCH", BACKEND, &json!({ "policy": { "allow": ["users/7/**"] } }));
    moments("its policy is another", &mut || mint_as(&second, &key).status == 403);
    second.api("PATCH", BACKEND, &json!({ "policy": { "allow": ["**"], "require": ["subject"] } }));
    moments("and on the other one", &mut || mint_as(&first, &key).json()["rule"] == "require");
    let id = made["keys"][0]["id"].as_str().unwrap();
    assert_eq!(first.api("DELETE", &format!("/v1/clients/backend/keys/{id}"), &Value::Null).status, 204);
    assert_eq!(mint_as(&first, &key).status, 401);
    moments("its key is refused", &mut || mint_as(&second, &key).status == 401);
}

#[test]
fn when_a_key_was_last_used_is_known_to_everybody_who_shares_the_store() {
    with_each_store(|linkgate| {
        let made = add_backend(&linkgate);
        assert_eq!(linkgate.api("GET", BACKEND, &Value::Null).json()["keys"][0].get("last_used_at"), None);
        mint_as(&linkgate, &key_of(&made));
        let shown = linkgate.api("GET", BACKEND, &Value::Null).json();
        assert!(now().since(time(&shown["keys"][0]["last_used_at"])) < Duration::from_secs(5), "{shown}");

        // The admin's key was used first: it was written down at once, and nothing more for a minute.
        let own = || {
            let listed = linkgate.succeed(&["clients", "list", "--json"]);
            let listed: Value = serde_json::from_str(&listed).unwrap();
            let clients = listed["clients"].as_array().unwrap().clone();
            let admin = |client: &&Value| client["name"].as_str().unwrap().starts_with("admin-test");
            clients.iter().find(admin).unwrap()["keys"][0]["last_used_at"].clone()
        };
        eventually("another process knows", || own().is_string());
        assert!(now().since(time(&own())) < Duration::from_secs(30));
        let table = linkgate.succeed(&["clients", "list"]);
        assert!(table.contains("LAST USED") && table.contains(own().as_str().unwrap()), "{table}");
    });
}

#[test]
fn uses_that_cannot_be_written_down_disturb_nobody() {
    let linkgate = Builder::new().start();
    std::fs::create_dir(linkgate.data_dir().join("clients-used.json")).unwrap();
    let key = key_of(&add_backend(&linkgate));
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(mint_as(&linkgate, &key).status, 201);
    assert!(linkgate.api("GET", BACKEND, &Value::Null).json()["keys"][0]["last_used_at"].is_string());
    assert_eq!(linkgate.api("DELETE", BACKEND, &Value::Null).status, 204);
}

#[test]
fn a_store_that_is_gone_is_a_503_and_those_that_are_known_go_on() {
    let mut redis = Redis::start();
    let linkgate = Builder::new().redis(&redis.url()).start();
    let key = key_of(&add_backend(&linkgate));
    redis.stop();
    for (method, path, body) in
        [("GET", "/v1/clients", Value::Null), ("POST", "/v1/clients", backend()), ("DELETE", BACKEND, Value::Null)]
    {
        let answer = linkgate.api(method, path, &body);
        refused(&answer, 503, "store-unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    let inspected = linkgate.api_with(&key, "POST", "/v1/links/inspect", &json!({ "link": "x" }));
    assert_eq!(inspected.status, 403, "it is known still: {}", inspected.text());
}

#[test]
fn clients_outlive_a_redis_that_was_emptied_and_changes_go_on_from_there() {
    let redis = Redis::start();
    let linkgate = Builder::new().redis(&redis.url()).start();
    let made = add_backend(&linkgate);
    eventually("it was seen", || linkgate.api("GET", BACKEND, &Value::Null).status == 200);
    redis.cli(&["DEL", "linkgate:{rv}:clients"]);
    let answer = linkgate.api("PATCH", BACKEND, &json!({ "policy": { "max_ttl": 60 } }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(mint_as(&linkgate, &key_of(&made)).status, 201);
    assert_eq!(linkgate.api("GET", "/v1/clients", &Value::Null).json()["clients"].as_array().unwrap().len(), 3);
}
