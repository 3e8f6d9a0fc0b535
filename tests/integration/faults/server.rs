//! The Redis server dies, hangs, or has no room.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::http::request;
use crate::support::redis::Redis;

fn pair(redis: &Redis) -> Fleet {
    Fleet::over(&[redis.url(), redis.url()])
}

#[test]
fn a_redis_that_is_killed_and_kept_its_log_loses_nothing_and_nobody_notices() {
    let mut redis = Redis::durable();
    let mut fleet = pair(&redis);
    let by_subject = fleet.verifiers[0].mint(&json!({ "path": "a.txt", "subject": "u" }));
    fleet.verifiers[0].revoke(&json!({ "subject": "u" }));
    for at in [0, 1, 0] {
        fleet.revoke(at);
    }
    let epoch = redis.cli(&["HGET", "linkgate:{rv}:m", "e"]);
    let last = fleet.revoke(1);
    fleet.all_know();
    redis.stop();
    let refused = fleet.verifiers[0].api("POST", "/v1/revocations", &json!({ "subject": "v" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    fleet.watch(Duration::from_millis(500));
    redis.launch();
    fleet.recovers();
    assert_eq!(redis.cli(&["HGET", "linkgate:{rv}:m", "e"]), epoch, "it is the same store");
    let listed = fleet.verifiers[1].api("GET", "/v1/revocations?limit=10", &Value::Null).json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 6, "{listed}");
    let path = crate::support::linkgate::path_of(&by_subject);
    assert!(fleet.all(&path, 410) && fleet.all(&last, 410));
}

#[test]
fn a_redis_that_comes_back_empty_is_filled_by_those_who_remember_and_a_newcomer_learns_everything() {
    let mut redis = Redis::start();
    let mut fleet = pair(&redis);
    let revoked: Vec<String> = [0, 1, 0, 1].map(|at| fleet.revoke(at)).into();
    let blocked = fleet.verifiers[0].revoke(&json!({ "path": "blocked.txt" }));
    fleet.all_know();
    redis.stop();
    fleet.watch(Duration::from_millis(500));
    redis.launch();
    fleet.recovers();
    fleet.join(crate::support::linkgate::Builder::following(&redis.url()));
    assert!(revoked.iter().all(|path| fleet.all(path, 410)));
    for verifier in &fleet.verifiers {
        let mint = || verifier.api("POST", "/v1/links", &json!({ "path": "blocked.txt" }));
        eventually("the client has been written back, and heard of", || mint().status != 401);
        let refused = mint();
        assert_eq!(refused.status, 409, "the block {} stands: {}", blocked["id"], refused.text());
    }
}

#[test]
fn a_redis_that_comes_back_as_it_was_before_is_told_what_has_been_revoked_since() {
    let mut redis = Redis::start();
    let mut fleet = pair(&redis);
    fleet.revoke(0);
    assert_eq!(redis.cli(&["SAVE"]), "OK");
    let since: Vec<String> = [0, 1, 0].map(|at| fleet.revoke(at)).into();
    fleet.all_know();
    redis.stop();
    redis.launch();
    fleet.recovers();
    fleet.join(crate::support::linkgate::Builder::following(&redis.url()));
    assert!(since.iter().all(|path| fleet.all(path, 410)));
}

#[test]
fn a_redis_that_hangs_for_ten_seconds_makes_verifiers_refuse_what_they_cannot_know_and_resume_with_it() {
    let redis = Redis::start();
    let mut fleet = pair(&redis);
    fleet.revoke(0);
    fleet.all_know();
    redis.process.signal("STOP");
    let stopped = Instant::now();
    fleet.watch_until("links wait once revocations may be missing", |fleet| fleet.all(&fleet.valid, 503));
    assert!(stopped.elapsed() > Duration::from_millis(1_500), "what is known is fresh for a while");
    let asked = Instant::now();
    let refused = fleet.verifiers[0].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:linkgate:problem:store-unavailable");
    assert!(asked.elapsed() < Duration::from_secs(8), "a revocation must not hang");
    fleet.watch(Duration::from_secs(10).saturating_sub(stopped.elapsed()));
    redis.process.signal("CONT");
    fleet.recovers();
}

#[test]
fn a_redis_without_room_takes_revocations_all_the_same_and_loses_none() {
    let redis = Redis::with(&["--save", "", "--maxmemory-policy", "noeviction"]);
    let mut fleet = pair(&redis);
    let mut revoked: Vec<String> = [0, 1].map(|at| fleet.revoke(at)).into();
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert!(redis.cli(&["SET", "something", "else"]).contains("OOM"), "there is no room");
    revoked.extend([0, 1].map(|at| fleet.revoke(at)));
    let (admin, key) = (&fleet.verifiers[0], [("Idempotency-Key", "k")]);
    let what = json!({ "subject": "u", "reason": "r".repeat(500) });
    let authorization = format!("Bearer {}", admin.admin_key);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), key[0]];
    let answer = request(&admin.place(), "POST", "/v1/revocations", &headers, what.to_string().as_bytes());
    assert_eq!(answer.status, 201, "no answer is kept, and it is carried out: {}", answer.text());
    admin.reinstate(&answer.json());
    fleet.watch(Duration::from_millis(4_500));
    fleet.refuses_nothing_valid();
    fleet.recovers();
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert!(revoked.iter().all(|path| fleet.all(path, 410)));
    let listed = fleet.verifiers[0].api("GET", "/v1/revocations", &Value::Null).json();
    assert!(listed["revocations"].as_array().unwrap().len() >= 4, "{listed}");
}

#[test]
fn redis_may_come_up_after_linkgate() {
    let mut redis = Redis::start();
    redis.stop();
    let mut linkgate = crate::support::linkgate::Builder::following(&redis.url()).prepare();
    linkgate.launch();
    assert_eq!(linkgate.status("/livez"), 200);
    assert_eq!(linkgate.status("/readyz"), 503);
    assert!(linkgate.reason().contains("not been loaded"), "{}", linkgate.reason());
    let link = linkgate.succeed(&["mint", "a.txt"]);
    let path = link.strip_prefix("http://links.test").unwrap();
    assert_eq!(linkgate.status(path), 503);
    redis.launch();
    linkgate.until_ready();
    linkgate.file("a.txt", b"x");
    assert_eq!(linkgate.status(path), 200);
}
