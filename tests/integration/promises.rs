//! What an answer to a revocation promises, who has applied it, and what `linkgate check` says about the Redis behind it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

#[test]
fn an_answer_tells_how_durable_the_revocation_is() {
    let settings: [(&[&str], &str); 3] = [
        (&["--save", "", "--appendonly", "no"], "memory"),
        (&["--save", "", "--appendonly", "yes", "--appendfsync", "always"], "disk"),
        (&["--save", "", "--appendonly", "yes", "--appendfsync", "no"], "memory"),
    ];
    for (options, durability) in settings {
        let redis = Redis::with(options);
        let linkgate = Builder::following(&redis.url()).start();
        let answer = linkgate.revoke(&json!({ "subject": "u" }));
        assert_eq!(answer["durability"], durability, "{options:?}: {answer}");
    }
    let embedded = Builder::new().start();
    assert_eq!(embedded.revoke(&json!({ "subject": "u" }))["durability"], "disk");
}

#[test]
fn a_revocation_that_no_replica_has_is_not_yet_safe_but_bites() {
    let master = Redis::start();
    let replica = Redis::replica_of(&master);
    let demanding = Builder::following(&master.url()).store("min_replicas = 1\nreplica_timeout = \"300ms\"");
    let linkgate = demanding.start();
    linkgate.file("a.txt", b"x");
    crate::support::eventually("the replica has confirmed one", || {
        let answer = linkgate.api("POST", "/v1/revocations", &json!({ "subject": "u" }));
        answer.status == 201 && answer.json()["durability"] == "replicated(1)"
    });

    replica.process.signal("STOP");
    let path = linkgate.link("a.txt");
    let asked = Instant::now();
    let unsafe_yet = linkgate.try_revoke(&path);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(unsafe_yet.status, 503, "{}", unsafe_yet.text());
    assert_eq!(unsafe_yet.json()["type"], "urn:linkgate:problem:not-yet-safe");
    assert!(unsafe_yet.header("retry-after").is_some());
    assert_eq!(linkgate.status(&path), 410, "it takes effect nevertheless");
    replica.process.signal("CONT");
    crate::support::eventually("it can be repeated", || linkgate.try_revoke(&path).status == 201);
}

#[test]
fn an_answer_can_wait_for_every_verifier_and_names_those_that_are_missing() {
    let redis = Redis::start();
    let fleet = Fleet::over(&[redis.url(), redis.url(), redis.url()]);
    let first = &fleet.verifiers[0];
    crate::support::eventually("all have reported", || verifiers(first).len() == 3);
    for _ in 0..5 {
        let link = first.mint(&json!({ "path": "a.txt" }));
        let answer = wait(first, &json!({ "id": link["id"] }), "5s");
        let applied = &answer["applied"];
        assert_eq!((&applied["verifiers"], &applied["applied"]), (&json!(3), &json!(3)), "{answer}");
        assert!(applied["slowest_ms"].is_number() && applied.get("missing").is_none(), "{answer}");
        assert!(fleet.all(&path_of(&link), 410), "whoever has applied it refuses");
    }
    assert!(first.revoke(&json!({ "subject": "u" })).get("applied").is_none(), "only when asked for");

    fleet.verifiers[2].process.signal("STOP");
    let asked = Instant::now();
    let answer = wait(first, &json!({ "subject": "u" }), "1s");
    assert!(asked.elapsed() >= Duration::from_secs(1));
    let applied = &answer["applied"];
    assert_eq!((&applied["verifiers"], &applied["applied"]), (&json!(3), &json!(2)), "{answer}");
    let missing = applied["missing"].as_array().unwrap().clone();
    fleet.verifiers[2].process.signal("CONT");
    let listed = verifiers(first);
    assert!(missing.len() == 1 && listed.iter().any(|one| one["id"] == missing[0]), "{missing:?} of {listed:?}");
}

#[test]
fn a_wait_that_is_none_is_refused() {
    let linkgate = Builder::new().start();
    for bad in ["x", "-1s", "1h", "", "5"] {
        let answer = linkgate.api("POST", &format!("/v1/revocations?wait={bad}"), &json!({ "subject": "u" }));
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!("wait")), "{bad}: {}", answer.text());
    }
}

#[test]
fn admins_see_every_verifier_and_how_far_it_is() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url(), redis.url()]);
    fleet.revoke(0);
    let first = &fleet.verifiers[0];
    crate::support::eventually("both have reported", || verifiers(first).len() == 2);
    let listed = verifiers(first);
    assert_ne!(listed[0]["id"], listed[1]["id"]);
    for one in &listed {
        assert_eq!(one["version"], env!("CARGO_PKG_VERSION"), "{one}");
        assert!(one["position"].is_string() && one["lag_ms"].as_u64().unwrap() < 3_000, "{one}");
        assert!(one["started_at"].as_str() <= one["last_seen"].as_str(), "{one}");
    }
    let refused = first.api_with(&first.mint_key, "GET", "/v1/verifiers", &Value::Null);
    assert_eq!(refused.status, 403, "{}", refused.text());
}

#[test]
fn a_check_names_what_is_wrong_with_a_redis() {
    let master = Redis::durable();
    let cases: [(Redis, &[&str], bool); 4] = [
        (Redis::durable(), &["redis 7", "on disk"], true),
        (Redis::start(), &["persistence is off", "appendonly"], true),
        (
            Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]),
            &["allkeys-lru", "noeviction"],
            false,
        ),
        (Redis::replica_of(&master), &["replica", "master"], false),
    ];
    for (redis, words, is_good) in cases {
        let linkgate = Builder::following(&redis.url()).prepare();
        said(&linkgate, words, is_good);
    }
}

#[test]
fn a_check_names_rights_that_are_missing() {
    let redis = Redis::durable();
    let url = format!("redis://linkgate:secret@{}/0", redis.address());
    let linkgate = |rules: &[&str]| {
        let user = [&["ACL", "SETUSER", "linkgate", "reset", "on", ">secret", "~*"], rules].concat();
        assert_eq!(redis.cli(&user), "OK");
        Builder::following(&url).prepare()
    };
    said(&linkgate(&["+@all", "-xread"]), &["xread"], false);
    said(&linkgate(&["+@all", "-hmget", "-zscore"]), &["hmget"], false);
    said(&linkgate(&["+@all", "-eval", "-evalsha"]), &["eval"], true);
    said(&linkgate(&["+@all"]), &[], true);
}

fn said(linkgate: &Linkgate, words: &[&str], is_good: bool) {
    let checked = linkgate.run(&["check"]);
    let text = [checked.stdout, checked.stderr].map(|text| String::from_utf8_lossy(&text).to_lowercase()).concat();
    for word in words {
        assert!(text.contains(word), "{word} is not named in: {text}");
    }
    assert_eq!(checked.status.success(), is_good, "{text}");
}

/// Revokes and waits.
fn wait(linkgate: &Linkgate, what: &Value, span: &str) -> Value {
    let answer = linkgate.api("POST", &format!("/v1/revocations?wait={span}"), what);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn verifiers(linkgate: &Linkgate) -> Vec<Value> {
    let answer = linkgate.api("GET", "/v1/verifiers", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["verifiers"].as_array().unwrap().clone()
}
