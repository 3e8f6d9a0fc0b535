use super::*;
use crate::support::http::{parse, raw};

/// Method, path, a body that is right, and the role that is needed.
fn endpoints() -> [(&'static str, &'static str, Value, &'static str); 14] {
    let one = "/v1/revocations/rev_AAAAAAAAAAAAAAAAAAAAAA";
    [
        ("POST", "/v1/links", json!({ "path": "a.txt" }), "mint"),
        ("POST", "/v1/links/batch", json!({ "links": [{ "path": "a.txt" }] }), "mint"),
        ("POST", "/v1/links/inspect", json!({ "link": "x" }), "inspect"),
        ("POST", "/v1/revocations", json!({ "subject": "nobody" }), "revoke"),
        ("GET", "/v1/revocations", Value::Null, "revoke"),
        ("GET", one, Value::Null, "revoke"),
        ("DELETE", one, Value::Null, "revoke"),
        ("GET", "/v1/clients", Value::Null, "admin"),
        ("POST", "/v1/clients", json!({ "name": "made", "roles": ["inspect"] }), "admin"),
        ("GET", "/v1/clients/nobody", Value::Null, "admin"),
        ("PATCH", "/v1/clients/nobody", json!({}), "admin"),
        ("DELETE", "/v1/clients/nobody", Value::Null, "admin"),
        ("POST", "/v1/clients/nobody/keys", json!({}), "admin"),
        ("DELETE", "/v1/clients/nobody/keys/x", Value::Null, "admin"),
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
    let garbled = b"GET /v1/revocations HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer lgk_\xff\xfe\r\n\r\n";
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
        let is_refused = linkgate.api_with(&both, method, path, &body).status == 403;
        assert_eq!(is_refused, matches!(needed, "mint" | "admin"), "{method} {path}");
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
