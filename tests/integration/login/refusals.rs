use ring::hmac;

use super::*;

#[test]
fn a_phone_mints_with_its_login_and_downloads_the_file() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let signer = Signer::new(algorithm, "one");
        let server = KeyServer::publishing(&[&signer]);
        let linkgate = site(&server, "");
        linkgate.file("users/42/cat.jpg", b"meow");
        let login = signer.login(&claims("42"));
        for _ in 0..3 {
            let answer = try_login(&linkgate, &login);
            assert_eq!(answer.status, 201, "{algorithm}: {}", answer.text());
            let link = answer.json();
            assert_eq!(link["subject"], "42");
            let file = linkgate.get(&path_of(&link));
            assert_eq!((file.status, file.body.as_slice()), (200, &b"meow"[..]));
        }
        let foreign = mint(&linkgate, &login, &json!({ "path": "users/43/cat.jpg" }));
        assert_eq!(problem(&foreign, 403, "outside-policy")["field"], "path");
        assert!(!linkgate.log().contains(&login[..40]), "no login is logged");
    }
}

#[test]
fn a_login_that_is_over_or_not_begun_is_refused_and_says_by_how_much() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let login = |name: &str, value: Value| signer.login(&with(name, value));
    refused(&linkgate, &login("exp", json!(seconds() - 100)), "expired 10");
    refused(&linkgate, &login("nbf", json!(seconds() + 100)), "`nbf` lies");
    refused(&linkgate, &login("iat", json!(seconds() + 100)), "`iat` lies");
    for good in [login("nbf", json!(seconds() + 20)), login("iat", json!(seconds() + 20))] {
        assert_eq!(try_login(&linkgate, &good).status, 201);
    }
    let mut endless = claims("42");
    endless.as_object_mut().unwrap().remove("exp");
    refused(&linkgate, &signer.login(&endless), "no `exp`");
    refused(&linkgate, &login("exp", json!("tomorrow")), "`exp` is no time");

    let short = login("exp", json!(seconds() + 2));
    assert_eq!(try_login(&linkgate, &short).status, 201);
    eventually("the login is over although it was believed before", || try_login(&linkgate, &short).status == 401);
    assert!(linkgate.metric("linkgate_logins_total{provider=\"app\",outcome=\"accepted\"}") >= 3.0);
    assert!(linkgate.metric("linkgate_logins_total{provider=\"app\",outcome=\"expired\"}") >= 2.0);
}

#[test]
fn a_login_for_somebody_else_is_refused() {
    let (signer, stranger) = (Signer::new("EdDSA", "one"), Signer::new("EdDSA", "one"));
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    for audience in [json!("other"), json!(["a", "b"]), json!([]), json!(null), json!({ "photos": 1 })] {
        refused(&linkgate, &signer.login(&with("aud", audience)), "`aud` does not name this service");
    }
    assert_eq!(try_login(&linkgate, &signer.login(&with("aud", json!(["a", AUDIENCE])))).status, 201);
    for issuer in
        [json!("https://login.example.com"), json!("HTTPS://LOGIN.EXAMPLE.COM/"), json!([ISSUER]), json!(null)]
    {
        refused(&linkgate, &signer.login(&with("iss", issuer)), "`iss` is no issuer");
    }
    refused(&linkgate, &stranger.login(&claims("42")), "signature does not hold");
    let unknown = Signer::new("EdDSA", "two");
    refused(&linkgate, &unknown.login(&claims("42")), "`kid` is none of");
    let mut nameless = Signer::new("EdDSA", "x");
    nameless.id = None;
    refused(&linkgate, &nameless.login(&claims("42")), "signature does not hold");
    for (outcome, provider) in
        [("wrong_audience", ""), ("unknown_issuer", ""), ("bad_signature", "app"), ("unknown_key", "app")]
    {
        let name = format!("linkgate_logins_total{{provider=\"{provider}\",outcome=\"{outcome}\"}}");
        assert!(linkgate.metric(&name) >= 1.0, "{name}");
    }
}

#[test]
fn two_providers_may_share_an_issuer_and_each_vouches_for_its_own_only() {
    let (ours, theirs) = (Signer::new("EdDSA", "one"), Signer::new("EdDSA", "one"));
    let (our_server, their_server) = (KeyServer::publishing(&[&ours]), KeyServer::publishing(&[&theirs]));
    let second = section(&their_server.url(), "").replace("\"app\"", "\"tv\"").replace(AUDIENCE, "television");
    let linkgate = Builder::new().section(&section(&our_server.url(), "")).section(&second).start();
    eventually("both have keys", || {
        let all = linkgate.get("/readyz").json()["identity_providers"].clone();
        all.as_array().unwrap().iter().all(|provider| provider["status"] == "ready")
    });
    let for_tv = with("aud", json!("television"));
    assert_eq!(try_login(&linkgate, &ours.login(&claims("42"))).status, 201);
    assert_eq!(try_login(&linkgate, &theirs.login(&for_tv)).status, 201);
    refused(&linkgate, &theirs.login(&claims("42")), "signature does not hold");
    refused(&linkgate, &ours.login(&for_tv), "signature does not hold");
}

#[test]
fn no_algorithm_but_the_configured_ones_is_believed() {
    let rsa = Signer::new("RS256", "one");
    let server = KeyServer::publishing(&[&rsa]);
    let linkgate = site(&server, "");
    let body = encode(claims("42").to_string());
    for header in
        [r#"{"alg":"none"}"#, r#"{"alg":"None","kid":"one"}"#, r#"{"alg":"","kid":"one"}"#, r#"{"kid":"one"}"#]
    {
        refused(&linkgate, &format!("{}.{body}.", encode(header)), "algorithm that is not allowed");
    }
    // The public key as if it were a shared secret, in the forms in which it is at hand.
    let key = rsa.jwk();
    let modulus = key["n"].as_str().unwrap();
    for secret in [key.to_string().into_bytes(), modulus.as_bytes().to_vec()] {
        for header in [r#"{"alg":"HS256","kid":"one"}"#, r#"{"alg":"RS256","kid":"one"}"#] {
            let text = format!("{}.{body}", encode(header));
            let tag = encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text.as_bytes()));
            let why = if header.contains("HS") { "not allowed" } else { "does not hold" };
            refused(&linkgate, &format!("{text}.{tag}"), why);
        }
    }
    let own_key = Signer::new("EdDSA", "mine");
    let header = json!({ "alg": "EdDSA", "jwk": own_key.jwk() }).to_string();
    refused(&linkgate, &own_key.sign(&header, &claims("42").to_string()), "another algorithm");
    let header = json!({ "alg": "RS256", "kid": "one", "crit": ["exp"] }).to_string();
    refused(&linkgate, &rsa.sign(&header, &claims("42").to_string()), "`crit`");
    let header = json!({ "alg": "RS256", "kid": "one", "typ": "logout+jwt" }).to_string();
    refused(&linkgate, &rsa.sign(&header, &claims("42").to_string()), "`typ`");

    let pinned = section(&server.url(), "").replace("\"RS256\", \"ES256\", ", "");
    let pinned = Builder::new().section(&pinned).start();
    until_keys(&pinned);
    refused(&pinned, &rsa.login(&claims("42")), "algorithm that is not allowed");
}

#[test]
fn with_several_keys_a_login_must_name_its_own() {
    let (first, second) = (Signer::new("EdDSA", "one"), Signer::new("ES256", "two"));
    let server = KeyServer::publishing(&[&first, &second]);
    let linkgate = site(&server, "");
    let claims = claims("42").to_string();
    assert_eq!(try_login(&linkgate, &second.login(&serde_json::from_str(&claims).unwrap())).status, 201);
    refused(&linkgate, &first.sign(r#"{"alg":"EdDSA"}"#, &claims), "no `kid`");
    refused(&linkgate, &first.sign(r#"{"alg":"EdDSA","kid":"two"}"#, &claims), "another algorithm");
}

#[test]
fn bombs_and_riddles_are_refused_at_once() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate =
        Builder::new().section(&section(&server.url(), "")).section("[limits]\nheader_bytes = 1048576").start();
    until_keys(&linkgate);
    let header = r#"{"alg":"EdDSA","kid":"one"}"#;
    let text = claims("42").to_string();
    let inside = text.trim_matches(['{', '}']);
    refused(&linkgate, &"a".repeat(900_000), "longer than 16384 bytes");
    assert_eq!(try_login(&linkgate, &"a".repeat(2 << 20)).status, 431);
    refused(&linkgate, &signer.login(&with("fill", json!("x".repeat(20_000)))), "longer than 16384 bytes");
    let doubled = format!("{{{inside},\"sub\":\"43\"}}");
    refused(&linkgate, &signer.sign(header, &doubled), "member twice");
    let doubled = r#"{"alg":"none","alg":"EdDSA","kid":"one"}"#;
    refused(&linkgate, &signer.sign(doubled, &text), "member twice");
    let bomb = format!("{{{inside},\"x\":{}{}}}", "[".repeat(3_000), "]".repeat(3_000));
    refused(&linkgate, &signer.sign(header, &bomb), "nested too deeply");
    let many = format!("{{{inside},\"x\":[{}0]}}", "0,".repeat(2_000));
    refused(&linkgate, &signer.sign(header, &many), "too many values");
    let login = signer.login(&claims("42"));
    let parts: Vec<&str> = login.split('.').collect();
    for shape in [
        format!("{login}."),
        format!("{login}.x"),
        format!("{login}="),
        parts[..2].join("."),
        format!("{}..{}", parts[0], parts[2]),
        format!("..{}", parts[2]),
        "eyJ".into(),
        "x".into(),
    ] {
        let answer = try_login(&linkgate, &shape);
        problem(&answer, 401, "unauthorized");
    }
    refused(&linkgate, &format!("{}.{}.{}", parts[0], encode(doubled), parts[2]), "member twice");
    assert_eq!(try_login(&linkgate, &login).status, 201, "{}", linkgate.log());
}

#[test]
fn api_keys_and_their_refusals_stay_as_they_were() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    assert_eq!(try_login(&linkgate, &linkgate.mint_key).status, 201);
    let answer = try_login(&linkgate, &format!("lgk_app_{}", "A".repeat(43)));
    problem(&answer, 401, "unauthorized");
    assert_eq!(answer.header("www-authenticate").as_deref(), Some("Bearer realm=\"linkgate\""));
    let nobody = request(&linkgate.place(), "POST", "/v1/links", &[("Content-Type", "application/json")], b"{}");
    assert_eq!(nobody.header("www-authenticate").as_deref(), Some("Bearer realm=\"linkgate\""));
    for name in ["POST /v1/revocations", "GET /v1/revocations", "GET /v1/verifiers"] {
        let (method, path) = name.split_once(' ').unwrap();
        let answer = linkgate.api_with(&signer.login(&claims("42")), method, path, &json!({ "subject": "x" }));
        problem(&answer, 403, "forbidden");
    }
}
