use std::time::{Duration, Instant};

use super::*;
use crate::support::folder;
use crate::support::tls::Authority;

const FETCHES: &str = "linkgate_identity_fetches_total{provider=\"app\"}";
const FAILURES: &str = "linkgate_identity_fetch_failures_total{provider=\"app\"}";

#[test]
fn a_new_key_is_picked_up_by_the_first_login_that_uses_it() {
    let (old, new) = (Signer::new("EdDSA", "old"), Signer::new("ES256", "new"));
    let server = KeyServer::publishing(&[&old]);
    let linkgate = site(&server, "");
    assert_eq!(try_login(&linkgate, &old.login(&claims("42"))).status, 201);
    server.publish(&[&new]);
    assert_eq!(try_login(&linkgate, &new.login(&claims("42"))).status, 201);
    assert_eq!(server.asked(), 2);
    refused(&linkgate, &old.login(&claims("42")), "`kid` is none of");
}

#[test]
fn an_only_key_without_a_name_may_be_changed_as_well() {
    let [mut old, mut new] = ["EdDSA", "EdDSA"].map(|algorithm| Signer::new(algorithm, "x"));
    (old.id, new.id) = (None, None);
    let server = KeyServer::publishing(&[&old]);
    let linkgate = site(&server, "");
    let before = old.login(&claims("42"));
    assert_eq!(try_login(&linkgate, &before).status, 201);
    server.publish(&[&new]);
    assert_eq!(try_login(&linkgate, &new.login(&claims("42"))).status, 201);
    refused(&linkgate, &before, "signature does not hold");
}

#[test]
fn a_flood_of_unknown_keys_asks_the_provider_once() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "jwks_cooldown = \"2s\"");
    let stranger = Signer::new("EdDSA", "x");
    let flood = |round: usize| {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (linkgate, stranger) = (&linkgate, &stranger);
                scope.spawn(move || {
                    for n in 0..25 {
                        let header = json!({ "alg": "EdDSA", "kid": format!("{round}-{thread}-{n}") }).to_string();
                        let login = stranger.sign(&header, &claims("42").to_string());
                        assert_eq!(try_login(linkgate, &login).status, 401);
                    }
                });
            }
        });
    };
    let started = Instant::now();
    flood(0);
    let most = 2 + started.elapsed().as_secs() as usize / 2;
    assert!((2..=most).contains(&server.asked()), "asked {} times", server.asked());
    std::thread::sleep(Duration::from_secs(2));
    let before = server.asked();
    let started = Instant::now();
    flood(1);
    let most = 1 + started.elapsed().as_secs() as usize / 2;
    assert!((1..=most).contains(&(server.asked() - before)), "asked {} times", server.asked() - before);
    assert_eq!(try_login(&linkgate, &signer.login(&claims("42"))).status, 201);
}

#[test]
fn while_the_provider_is_away_logins_wait_and_api_keys_work() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::start(Manner::Closes);
    let linkgate = Builder::new().section(&section(&server.url(), "")).start();
    let login = signer.login(&claims("42"));
    let answer = try_login(&linkgate, &login);
    problem(&answer, 503, "identity-unavailable");
    assert_eq!(answer.header("retry-after").as_deref(), Some("5"));
    assert_eq!(try_login(&linkgate, &linkgate.mint_key).status, 201);
    eventually("the trouble is noticed", || provider(&linkgate)["trouble"].is_string());
    assert_eq!(provider(&linkgate)["status"], "unavailable");
    assert_eq!(linkgate.get("/readyz").status, 200, "links are judged without a provider");
    assert!(linkgate.metric(FAILURES) >= 1.0);
    assert_eq!(linkgate.metric("linkgate_identity_keys{provider=\"app\"}"), 0.0);
    assert!(linkgate.metric("linkgate_identity_keys_age_seconds{provider=\"app\"}").is_infinite());
    assert!(linkgate.metric("linkgate_logins_total{provider=\"app\",outcome=\"unavailable\"}") >= 1.0);
    server.publish(&[&signer]);
    until_keys(&linkgate);
    assert_eq!(try_login(&linkgate, &login).status, 201);
    assert_eq!(linkgate.metric("linkgate_identity_keys{provider=\"app\"}"), 1.0);
}

#[test]
fn whatever_the_provider_answers_the_last_keys_go_on_working() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "jwks_refresh = \"1s\"");
    let login = || signer.login(&claims("42"));
    let huge = format!("{{\"keys\":[],\"fill\":\"{}\"}}", "x".repeat(300_000));
    let short = short_key();
    let bad = [
        (Manner::Closes, "broke off"),
        (Manner::Answers("<html>".into()), "not a JSON object"),
        (Manner::Answers("{\"keys\":[]}".into()), "empty"),
        (Manner::Answers(String::new()), "not a JSON object"),
        (Manner::Answers(huge), "larger than 262144 bytes"),
        (Manner::Answers(short), "shorter than 2048 bits"),
        (Manner::Says("302 Found\r\nLocation: http://127.0.0.1:1/"), "redirect"),
        (Manner::Says("500 Oops"), "status is 500"),
        (Manner::Says("204 No Content"), "status is 204"),
        (Manner::Hangs, "no answer within 5 seconds"),
    ];
    for (manner, why) in bad {
        let said_before = linkgate.log().matches(why).count();
        server.behave(manner);
        eventually(why, || provider(&linkgate)["trouble"].as_str().is_some_and(|trouble| trouble.contains(why)));
        assert_eq!(try_login(&linkgate, &login()).status, 201, "{why}");
        let said = linkgate.log().matches(why).count() - said_before;
        assert_eq!(said, 1, "{why} is logged once: {}", linkgate.log());
        server.publish(&[&signer]);
        eventually("it recovers", || provider(&linkgate)["trouble"].is_null());
    }
    assert!(linkgate.metric(FETCHES) > linkgate.metric(FAILURES));
}

/// A key set whose only key is too short.
fn short_key() -> String {
    json!({ "keys": [{ "kty": "RSA", "kid": "one", "n": encode([0xff; 128]), "e": "AQAB" }] }).to_string()
}

#[test]
fn keys_that_cannot_be_renewed_are_trusted_for_so_long_and_no_longer() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "jwks_refresh = \"1s\"\njwks_max_age = \"4s\"");
    let login = signer.login(&claims("42"));
    assert_eq!(try_login(&linkgate, &login).status, 201);
    server.behave(Manner::Closes);
    eventually("the trouble is noticed", || provider(&linkgate)["trouble"].is_string());
    assert_eq!(try_login(&linkgate, &login).status, 201);
    eventually("the keys are too old, also for logins that were believed before", || {
        try_login(&linkgate, &login).status == 503
    });
    assert_eq!(provider(&linkgate)["status"], "unavailable");
    assert_eq!(try_login(&linkgate, &linkgate.mint_key).status, 201);
    server.publish(&[&signer]);
    eventually("they are back", || try_login(&linkgate, &login).status == 201);
}

#[test]
fn a_key_that_is_withdrawn_takes_its_logins_along() {
    let (kept, stolen) = (Signer::new("EdDSA", "kept"), Signer::new("EdDSA", "stolen"));
    let server = KeyServer::publishing(&[&kept, &stolen]);
    let linkgate = site(&server, "jwks_refresh = \"1s\"");
    let login = stolen.login(&claims("42"));
    assert_eq!(try_login(&linkgate, &login).status, 201);
    server.publish(&[&kept]);
    eventually("the login is over", || try_login(&linkgate, &login).status == 401);
    assert_eq!(try_login(&linkgate, &kept.login(&claims("42"))).status, 201);
}

#[test]
fn keys_in_a_file_are_taken_up_when_it_changes() {
    let (old, new) = (Signer::new("RS256", "old"), Signer::new("EdDSA", "new"));
    let folder = folder();
    let file = folder.path().join("keys.json");
    let section = section("x", "").replace("jwks_url = \"x\"", &format!("jwks_file = {file:?}"));
    let linkgate = Builder::new().section(&section).start();
    assert_eq!(try_login(&linkgate, &old.login(&claims("42"))).status, 503);
    let write = |text: String| {
        std::fs::write(folder.path().join("new"), text).unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
    };
    write(key_set(&[&old]));
    until_keys(&linkgate);
    assert_eq!(try_login(&linkgate, &old.login(&claims("42"))).status, 201);
    write("{".into());
    eventually("the file is no key set", || provider(&linkgate)["trouble"].is_string());
    assert_eq!(try_login(&linkgate, &old.login(&claims("42"))).status, 201);
    std::fs::remove_file(&file).unwrap();
    eventually("the file is gone", || {
        provider(&linkgate)["trouble"].as_str().is_some_and(|trouble| trouble.contains("cannot be read"))
    });
    write(key_set(&[&new]));
    assert_eq!(try_login(&linkgate, &new.login(&claims("42"))).status, 201, "within one request");
    assert!(provider(&linkgate)["trouble"].is_null());
}

#[test]
fn keys_come_over_tls_from_a_host_that_an_authority_vouches_for() {
    let signer = Signer::new("EdDSA", "one");
    let folder = folder();
    std::fs::write(folder.path().join("keys.json"), key_set(&[&signer])).unwrap();
    let authority = Authority::new();
    let identity = authority.sign("provider", "DNS:localhost");
    let port = crate::support::free_port();
    let mut command = std::process::Command::new("openssl");
    command.args(["s_server", "-WWW", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert"]);
    command.arg(&identity.certificate).arg("-key").arg(&identity.key).current_dir(folder.path());
    command.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let _server = crate::support::Process::start(&mut command);
    let section = section(&format!("https://localhost:{port}/keys.json"), "");
    let trusting = |authority: &Authority| {
        let file = authority.certificate();
        Builder::new().section(&section).environment("SSL_CERT_FILE", file.to_str().unwrap()).start()
    };
    let linkgate = trusting(&authority);
    until_keys(&linkgate);
    assert_eq!(try_login(&linkgate, &signer.login(&claims("42"))).status, 201);
    let linkgate = trusting(&Authority::new());
    eventually("nobody vouches for the host", || {
        provider(&linkgate)["trouble"].as_str().is_some_and(|trouble| trouble.contains("TLS with localhost"))
    });
    assert_eq!(try_login(&linkgate, &signer.login(&claims("42"))).status, 503);
}
