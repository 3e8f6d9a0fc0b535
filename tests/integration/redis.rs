//! Revocations in Redis: shared by every verifier. What goes wrong with it is in [`crate::faults`].

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate, path_of, repository_file};
use crate::support::redis::Redis;

fn verifier(redis: &Redis) -> Linkgate {
    let linkgate = Builder::following(&redis.url()).start();
    linkgate.file("a.txt", b"contents");
    linkgate
}

fn second_verifier(redis: &Redis, first: &Linkgate) -> Linkgate {
    let linkgate = Builder::following(&redis.url()).beside(first).start();
    linkgate.file("a.txt", b"contents");
    linkgate
}

#[test]
fn a_revocation_bites_at_every_verifier_and_so_does_lifting_it() {
    let redis = Redis::start();
    let first = verifier(&redis);
    let second = second_verifier(&redis, &first);
    let link = first.mint(&json!({ "path": "a.txt", "subject": "u" }));
    let path = path_of(&link);
    assert_eq!((first.get(&path).status, second.get(&path).status), (200, 200));
    for what in [
        json!({ "link": link["url"] }),
        json!({ "subject": "u" }),
        json!({ "everything": true, "issued_before": null }),
    ] {
        let revocation = first.revoke(&what);
        assert_eq!(first.get(&path).status, 410, "the answering verifier has applied it: {what}");
        eventually("the other verifier refuses too", || second.get(&path).status == 410);
        second.reinstate(&revocation);
        assert_eq!(second.get(&path).status, 200);
        eventually("the first verifier permits again", || first.get(&path).status == 200);
    }
}

#[test]
fn a_verifier_that_starts_later_knows_everything() {
    let redis = Redis::start();
    let first = verifier(&redis);
    let paths: Vec<String> = (0..150).map(|_| first.link("a.txt")).collect();
    for path in &paths {
        first.revoke(&json!({ "link": format!("http://links.test{path}") }));
    }
    for n in 0..30 {
        first.revoke(&json!({ "path": format!("blocked/{n}.txt") }));
    }
    let second = second_verifier(&redis, &first);
    for path in &paths {
        assert_eq!(second.get(path).status, 410);
    }
    let blocked = second.api("POST", "/v1/links", &json!({ "path": "blocked/7.txt" }));
    assert_eq!(blocked.status, 409, "{}", blocked.text());
    let metrics = second.get("/metrics").text();
    assert!(metrics.contains("linkgate_revocations{set=\"links\"} 150"), "{metrics}");
    assert!(metrics.contains("linkgate_revocations{set=\"cut_offs\"} 30"), "{metrics}");
}

#[test]
fn one_revocation_of_several_can_be_lifted_and_the_strictest_of_the_rest_bites() {
    let redis = Redis::start();
    let linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    let standing = linkgate.revoke(&json!({ "path": "a.txt" }));
    let long_ago = linkgate.revoke(&json!({ "path": "a.txt", "issued_before": "2020-01-01T00:00:00Z" }));
    assert_eq!(linkgate.get(&path).status, 410);
    linkgate.reinstate(&standing);
    assert_eq!(linkgate.get(&path).status, 200, "the other one covers older links only");
    assert_eq!(linkgate.get(&format!("/v1/revocations/{}", long_ago["id"].as_str().unwrap())).status, 401);
    let again = linkgate.revoke(&json!({ "path": "a.txt" }));
    linkgate.reinstate(&long_ago);
    assert_eq!(linkgate.get(&path).status, 410);
    linkgate.reinstate(&again);
    assert_eq!(linkgate.get(&path).status, 200);
    let zsets = redis.cli(&["ZCARD", "linkgate:{rv}:c"]);
    assert_eq!(zsets, "2", "only the sentinel is left, and the trace of what was lifted");
}

#[test]
fn a_revocation_that_was_to_end_ends() {
    let redis = Redis::start();
    let linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    let soon = linkgate::clock::UnixMillis(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64 + 1_500,
    );
    linkgate.revoke(&json!({ "path": "a.txt", "expires_at": soon.to_string() }));
    assert_eq!(linkgate.get(&path).status, 410);
    eventually("the block has ended", || linkgate.get(&path).status == 200);
}

#[test]
fn while_redis_is_gone_links_work_until_they_may_be_stale_and_then_wait_for_it() {
    let mut redis = Redis::start();
    let linkgate = verifier(&redis);
    let (path, revoked) = (linkgate.link("a.txt"), linkgate.link("a.txt"));
    linkgate.revoke(&json!({ "link": format!("http://links.test{revoked}") }));

    redis.stop();
    let gone = Instant::now();
    assert_eq!(linkgate.get(&path).status, 200, "what is known is fresh for a while");
    assert_eq!(linkgate.get(&revoked).status, 410);
    let refused = linkgate.api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:linkgate:problem:store-unavailable");

    eventually("links wait once revocations may be missing", || linkgate.get(&path).status == 503);
    let waited = gone.elapsed();
    assert!(waited > Duration::from_millis(1_500) && waited < Duration::from_secs(6), "{waited:?}");
    let stale = linkgate.get(&path);
    assert!(stale.header("retry-after").is_some());
    assert_eq!(stale.json()["type"], "urn:linkgate:problem:cannot-judge");
    assert_eq!(linkgate.get(&revoked).status, 410, "what is known to be revoked stays so");
    assert_eq!(linkgate.get("/readyz").status, 503);
    assert_eq!(linkgate.get("/livez").status, 200);
    assert_eq!(linkgate.api("POST", "/v1/links", &json!({ "path": "a.txt" })).status, 503);

    // Redis comes back with nothing: this process writes back what it knows.
    redis.launch();
    eventually("links work again", || linkgate.get(&path).status == 200);
    assert_eq!(linkgate.get(&revoked).status, 410);
    let newcomer = second_verifier(&redis, &linkgate);
    assert_eq!(newcomer.get(&revoked).status, 410, "a newcomer learns it from Redis again");
}

#[test]
fn serving_while_stale_is_a_choice() {
    let mut redis = Redis::start();
    let linkgate = Builder::following(&redis.url()).revocation("on_stale = \"serve\"").start();
    linkgate.file("a.txt", b"x");
    let (path, revoked) = (linkgate.link("a.txt"), linkgate.link("a.txt"));
    linkgate.revoke(&json!({ "link": format!("http://links.test{revoked}") }));
    redis.stop();
    eventually("it is stale", || linkgate.get("/readyz").status == 503);
    assert_eq!((linkgate.get(&path).status, linkgate.get(&revoked).status), (200, 410));
}

/// Where the first answer of the store is lost, a revocation is written once more, with its id.
#[test]
fn a_revocation_that_was_written_twice_is_lifted_as_one_is() {
    let redis = Redis::start();
    let linkgate = Builder::following(&redis.url()).start();
    linkgate.file("a.txt", b"x");
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "subject": "ann" })));
    let script = ["prelude", "revoke"].map(|name| repository_file(&format!("src/revocation/redis/scripts/{name}.lua")));
    let keys = ["t", "c", "m", "s", "r", "i", "o", "x", "g"].map(|key| format!("linkgate:{{rv}}:{key}"));
    let id = "rev_AAAAAAAAAAAAAAAAAAAAAA";
    let record = format!(r#"{{"id":"{id}","kind":"subject","member":"s:ann","created_by":"t","reason":null}}"#);
    let words = ["600000", id, "s:ann", "", "", "", "3600000", "86400000", &record, "4000", "0", ""];
    for _ in 0..2 {
        let script = script.concat();
        let answer = redis.cli(&[&["EVAL", &script, "9"][..], &keys.each_ref().map(String::as_str), &words].concat());
        assert!(!answer.contains("ERR"), "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
    eventually("it is revoked", || linkgate.status(&link) == 410);
    linkgate.reinstate(&json!({ "id": id }));
    eventually("it works again", || linkgate.status(&link) == 200);
    assert_eq!(redis.cli(&["ZSCORE", "linkgate:{rv}:c", "s:ann"]), "");
}
