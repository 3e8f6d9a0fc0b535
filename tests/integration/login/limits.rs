use super::*;

#[test]
fn each_user_has_a_rate_and_all_of_them_together_have_one() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let more = "subject_links_per_second = 1\nsubject_links_burst = 2\nlinks_per_second = 1\nlinks_burst = 5";
    let linkgate = site(&server, more);
    let try_user = |user: &str| {
        // Each time another login of the same user.
        let mut claims = claims(user);
        claims["jti"] = json!(format!("{user} {}", seconds()));
        mint(&linkgate, &signer.login(&claims), &json!({ "path": format!("users/{user}/a.jpg") }))
    };
    for _ in 0..2 {
        let answer = try_user("1");
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("ratelimit-policy").unwrap(), "\"links\";q=5;w=5, \"subject-links\";q=2;w=2");
        assert!(answer.header("ratelimit").unwrap().contains("\"subject-links\";r="), "{answer:?}");
    }
    assert_eq!(problem(&try_user("1"), 429, "rate-limited")["rule"], "subject_links_per_second");
    assert_eq!((try_user("2").status, try_user("2").status), (201, 201), "another user is another bucket");
    let mut answer = try_user("3");
    while answer.status == 201 {
        answer = try_user("4");
    }
    let rule = problem(&answer, 429, "rate-limited")["rule"].clone();
    assert!(rule == "links_per_second" || rule == "subject_links_per_second", "{rule}");
    let batch = json!({ "links": vec![json!({ "path": "users/9/a.jpg" }); 3] });
    let answer = linkgate.api_with(&signer.login(&claims("9")), "POST", "/v1/links/batch", &batch);
    assert_eq!(problem(&answer, 403, "outside-policy")["rule"], "subject_links_burst");
}

#[test]
fn a_login_has_its_subject_without_asking_for_it() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate =
        site(&server, "require = [\"subject\", \"max_downloads\"]\npermit = [\"subject\", \"max_downloads\"]");
    let wish = |more: &str| {
        let mut wish = json!({ "path": "users/42/a.jpg" });
        wish[more] = json!(3);
        mint(&linkgate, &signer.login(&claims("42")), &wish)
    };
    assert_eq!(wish("max_downloads").json()["subject"], "42");
    assert_eq!(problem(&wish("rate_limit"), 403, "outside-policy")["rule"], "permit");
    assert_eq!(problem(&wish("expires_in"), 403, "outside-policy")["rule"], "require");
}

#[test]
fn no_client_of_the_store_takes_the_name_of_a_provider() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let body = json!({ "name": "app", "roles": ["admin"], "policy": { "allow": ["**"] } });
    let refused = problem(&linkgate.api("POST", "/v1/clients", &body), 409, "client-exists");
    assert!(refused["detail"].as_str().unwrap().contains("identity provider"), "{refused}");
    let output = linkgate.run(&["clients", "add", "app", "--role", "inspect"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("identity provider"), "{output:?}");
    for (method, path, body) in
        [("GET", "/v1/clients", Value::Null), ("POST", "/v1/clients", json!({ "name": "x", "roles": ["admin"] }))]
    {
        let answer = linkgate.api_with(&signer.login(&claims("42")), method, path, &body);
        problem(&answer, 403, "forbidden");
    }
}
