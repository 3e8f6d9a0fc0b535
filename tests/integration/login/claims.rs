use super::*;

#[test]
fn a_claim_opens_its_own_folder_and_nothing_else() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let try_path =
        |user: &str, path: &str| mint(&linkgate, &signer.login(&claims(user)), &json!({ "path": path })).status;
    assert_eq!(try_path("42", "users/42/a/b.jpg"), 201);
    for path in ["users/4/a.jpg", "users/421/a.jpg", "users/42", "a.jpg", "users/*/a.jpg", "users/{sub}/a.jpg"] {
        assert_eq!(try_path("42", path), 403, "{path}");
    }
    for user in ["🎉", "é", "auth0|5f7c", "a b", "%2f", "a..b", "~"] {
        assert_eq!(try_path(user, &format!("users/{user}/a.jpg")), 201, "{user}");
        assert_eq!(try_path(user, "users/42/a.jpg"), 403, "{user}");
    }
    let login = signer.login(&with("sub", json!(42)));
    assert_eq!(try_login(&linkgate, &login).json()["subject"], "42", "a whole number is its digits");
}

#[test]
fn a_claim_that_could_mean_more_than_one_folder_opens_none_and_says_why() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let long = "a".repeat(128);
    let refuse = |value: Value, path: &str, why: &str| {
        let answer = mint(&linkgate, &signer.login(&with("sub", value)), &json!({ "path": path }));
        let problem = problem(&answer, 403, "outside-policy");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("`sub`") && detail.contains(why), "{detail}");
        assert_eq!(problem["claim"], "sub");
    };
    refuse(json!("42/../43"), "users/43/a.jpg", "contains a `/`");
    refuse(json!("a/b"), "users/a/b/c.jpg", "contains a `/`");
    refuse(json!("*"), "users/42/a.jpg", "contains a `*`");
    refuse(json!("**"), "users/42/a.jpg", "contains a `*`");
    refuse(json!(".."), "users/a.jpg", "begins with a dot");
    refuse(json!("."), "users/a.jpg", "begins with a dot");
    refuse(json!(".git"), "users/x/a.jpg", "begins with a dot");
    refuse(json!("a\\b"), "users/a/b.jpg", "contains a backslash");
    refuse(json!("{sub}"), "users/42/a.jpg", "contains a brace");
    refuse(json!("a\u{0}b"), "users/a/b.jpg", "control character");
    refuse(json!("a\r\nb"), "users/a/b.jpg", "control character");
    refuse(json!("a\u{85}"), "users/a/b.jpg", "control character");
    refuse(json!(""), "users/a.jpg", "is empty");
    refuse(json!(format!("{long}a")), "users/a/b.jpg", "longer than 128 bytes");
    refuse(json!(null), "users/a.jpg", "is missing");
    refuse(json!(true), "users/true/a.jpg", "neither text nor a whole number");
    refuse(json!(4.5), "users/4.5/a.jpg", "neither text nor a whole number");
    refuse(json!(["42"]), "users/42/a.jpg", "neither text nor a whole number");
    let login = signer.login(&with("sub", json!(long)));
    assert_eq!(mint(&linkgate, &login, &json!({ "path": format!("users/{long}/a.jpg") })).status, 201);
}

#[test]
fn several_claims_together_make_a_path() {
    let signer = Signer::new("ES256", "one");
    let server = KeyServer::publishing(&[&signer]);
    let patterns = "[\"tenants/{https://example.com/tenant}/users/{sub}/*.jpg\", \"public/**\"]";
    let section = section(&server.url(), "").replace("[\"users/{sub}/**\"]", patterns);
    let linkgate = Builder::new().section(&section).start();
    until_keys(&linkgate);
    let login = signer.login(&with("https://example.com/tenant", json!("acme")));
    let status = |login: &str, path: &str| mint(&linkgate, login, &json!({ "path": path })).status;
    assert_eq!(status(&login, "tenants/acme/users/42/a.jpg"), 201);
    for path in ["tenants/acme/users/42/a.png", "tenants/acme/users/43/a.jpg", "tenants/x/users/42/a.jpg"] {
        assert_eq!(status(&login, path), 403, "{path}");
    }
    let without = signer.login(&claims("42"));
    assert_eq!(status(&without, "tenants/acme/users/42/a.jpg"), 403);
    assert_eq!(status(&without, "public/a.png"), 201, "a pattern without claims needs none");
    let widened = signer.login(&with("https://example.com/tenant", json!("*")));
    assert_eq!(status(&widened, "tenants/acme/users/42/a.jpg"), 403);
}

#[test]
fn every_link_of_a_login_is_for_its_subject() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "max_ttl = \"10m\"\ndefault_ttl = \"1m\"");
    linkgate.file("users/42/cat.jpg", b"meow");
    let login = signer.login(&claims("42"));
    let wish = |subject: &str| json!({ "path": "users/42/cat.jpg", "subject": subject });
    assert_eq!(mint(&linkgate, &login, &wish("42")).json()["subject"], "42");
    for other in ["43", "4", "42 ", "admin"] {
        let problem = problem(&mint(&linkgate, &login, &wish(other)), 403, "outside-policy");
        assert_eq!(problem["field"], "subject", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("own subject"), "{problem}");
    }
    let batch = json!({ "links": [wish("42"), wish("43"), { "path": "users/43/cat.jpg" }, { "path": "users/42/b" }] });
    let results = linkgate.api_with(&login, "POST", "/v1/links/batch", &batch).json()["results"].clone();
    let statuses: Vec<_> = results.as_array().unwrap().iter().map(|one| one["status"].as_u64()).collect();
    assert_eq!(statuses, [None, Some(403), Some(403), None]);
    assert_eq!(results[3]["subject"], "42");
    let answer = mint(&linkgate, &login, &json!({ "path": "users/42/cat.jpg", "expires_in": 601 }));
    problem(&answer, 400, "invalid-request");

    let link = try_login(&linkgate, &login).json();
    linkgate.revoke(&json!({ "subject": "42" }));
    assert_eq!(linkgate.get(&path_of(&link)).status, 410);
    let link = try_login(&linkgate, &login).json();
    assert_eq!(linkgate.get(&path_of(&link)).status, 200);
    linkgate.revoke(&json!({ "client": "app" }));
    assert_eq!(linkgate.get(&path_of(&link)).status, 410);
    linkgate.revoke(&json!({ "subject": "42", "issued_before": null }));
    problem(&try_login(&linkgate, &login), 409, "already-revoked");
}

#[test]
fn a_login_may_look_into_its_own_links_and_nobody_elses() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let (own, other) = (signer.login(&claims("42")), signer.login(&claims("43")));
    let inspect = |login: &str, link: &Value| {
        linkgate.api_with(login, "POST", "/v1/links/inspect", &json!({ "link": link["url"] }))
    };
    let link = try_login(&linkgate, &own).json();
    assert_eq!(inspect(&own, &link).json()["path"], "users/42/cat.jpg");
    let counted = mint(&linkgate, &own, &json!({ "path": "users/42/cat.jpg", "max_downloads": 3 })).json();
    assert_eq!(inspect(&own, &counted).json()["valid"], true);
    let of_a_backend = linkgate.mint(&json!({ "path": "users/42/cat.jpg", "subject": "42" }));
    let of_nobody = linkgate.mint(&json!({ "path": "users/42/cat.jpg" }));
    for (login, link) in [(&other, &link), (&other, &counted), (&own, &of_a_backend), (&own, &of_nobody)] {
        let answer = inspect(login, link);
        problem(&answer, 403, "outside-policy");
        assert!(!answer.text().contains("cat.jpg"), "{}", answer.text());
    }
    assert_eq!(inspect(&other, &json!({ "url": "nonsense" })).json()["authentic"], false);
    let admin = linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] }));
    assert_eq!(admin.json()["subject"], "42");
}

#[test]
fn whom_links_are_for_may_stand_in_another_claim() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "subject_claim = \"account\"");
    let link = try_login(&linkgate, &signer.login(&with("account", json!("a/7")))).json();
    assert_eq!(link["subject"], "a/7", "a subject is no path");
    let answer = try_login(&linkgate, &signer.login(&claims("42")));
    assert_eq!(problem(&answer, 403, "outside-policy")["claim"], "account");
}
