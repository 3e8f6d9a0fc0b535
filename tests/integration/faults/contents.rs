//! What Redis holds is lost, torn, trimmed, foreign, or of another version.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, path_of};
use crate::support::redis::Redis;

const LINKS: &str = "linkgate:{rv}:t";
const META: &str = "linkgate:{rv}:m";
const STREAM: &str = "linkgate:{rv}:s";

fn pair() -> (Redis, Fleet) {
    let redis = Redis::start();
    let fleet = Fleet::over(&[redis.url(), redis.url()]);
    (redis, fleet)
}

#[test]
fn an_emptied_redis_is_never_read_as_nothing_being_revoked() {
    let (redis, mut fleet) = pair();
    let link = fleet.verifiers[0].mint(&json!({ "path": "a.txt", "subject": "gone" }));
    let blocked = fleet.verifiers[0].revoke(&json!({ "subject": "gone", "issued_before": null }));
    let revoked = fleet.revoke(0);
    fleet.watch_until("both know", |fleet| fleet.all(&path_of(&link), 410) && fleet.all(&revoked, 410));

    let epoch = redis.cli(&["HGET", META, "e"]);
    assert_eq!(redis.cli(&["FLUSHALL"]), "OK");
    fleet.watch(Duration::from_secs(1));
    fleet.watch_until("the sets were written back under a new epoch", |_| {
        let now = redis.cli(&["HGET", META, "e"]);
        !now.is_empty() && now != epoch && redis.cli(&["HEXISTS", META, "z"]) == "0"
    });
    fleet.recovers();
    assert!(fleet.all(&path_of(&link), 410) && fleet.all(&revoked, 410));

    // The record of who and why is lost, but the block can still be found and lifted.
    let first = &fleet.verifiers[0];
    let gone = format!("/v1/revocations/{}", blocked["id"].as_str().unwrap());
    assert_eq!(first.api("GET", &gone, &Value::Null).status, 404);
    let listed = first.api("GET", "/v1/revocations?kind=subject", &Value::Null).json();
    assert_eq!(listed["revocations"][0]["target"], "gone");
    assert_eq!(listed["revocations"][0]["created_by"], "linkgate");
    first.reinstate(&listed["revocations"][0]);
    fleet.watch_until("it works again", |fleet| fleet.all(&path_of(&link), 200));
}

#[test]
fn an_empty_redis_is_suspicious_after_a_restart_until_an_operator_accepts_the_loss() {
    let redis = Redis::start();
    let mut linkgate = Builder::following(&redis.url()).start();
    linkgate.file("a.txt", b"x");
    let path = linkgate.link("a.txt");
    linkgate.process.kill();
    redis.cli(&["FLUSHALL"]);
    linkgate.launch();
    eventually("it says why it is not ready", || linkgate.reason().contains("store init --accept-loss"));
    assert_eq!(linkgate.status(&path), 503);
    let refused = linkgate.run(&["store", "init"]);
    assert!(!refused.status.success());
    linkgate.succeed(&["store", "init", "--accept-loss"]);
    linkgate.until_ready();
    assert_eq!(linkgate.status(&path), 200);
}

#[test]
fn part_of_the_keys_missing_is_noticed_like_all_of_them_missing() {
    let (redis, mut fleet) = pair();
    for lost in ["t", "c", "m", "s"] {
        let revoked = fleet.revoke(1);
        fleet.all_know();
        redis.cli(&["DEL", &format!("linkgate:{{rv}}:{lost}")]);
        fleet.watch(Duration::from_millis(1_500));
        fleet.recovers();
        assert!(fleet.all(&revoked, 410), "after {lost} was lost");
    }
}

#[test]
fn a_key_of_another_type_is_named_and_judged_by_never() {
    let redis = Redis::start();
    redis.cli(&["SET", LINKS, "not a sorted set"]);
    let mut linkgate = Builder::following(&redis.url()).prepare();
    linkgate.launch();
    eventually("it names the trouble", || linkgate.reason().contains("another type"));
    redis.cli(&["DEL", LINKS]);
    linkgate.until_ready();
}

#[test]
fn a_key_that_becomes_another_type_stops_judging_until_it_is_removed_and_then_nothing_is_lost() {
    let (redis, mut fleet) = pair();
    let revoked = fleet.revoke(0);
    fleet.all_know();
    redis.cli(&["SET", LINKS, "not a sorted set"]);
    let refused = fleet.verifiers[0].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    fleet.watch_until("both refuse to judge", |fleet| fleet.all(&fleet.valid, 503));
    assert!(fleet.all(&revoked, 410), "what is known to be revoked stays so");
    let is_named = |fleet: &Fleet| fleet.verifiers.iter().all(|verifier| verifier.reason().contains("another type"));
    fleet.watch_until("both name the trouble", is_named);
    redis.cli(&["DEL", LINKS]);
    fleet.recovers();
}

#[test]
fn a_store_of_a_newer_layout_is_judged_by_never() {
    let (redis, mut fleet) = pair();
    let revoked = fleet.revoke(0);
    fleet.verifiers[1].process.kill();
    let layout = redis.cli(&["HGET", META, "v"]);
    redis.cli(&["HSET", META, "v", "9"]);
    fleet.verifiers[1].launch();
    eventually("it names the layout", || fleet.verifiers[1].reason().contains("layout 9"));
    assert_eq!(fleet.verifiers[1].status(&fleet.valid), 503);
    // Whoever ran before notices as well, at the latest with its next connection.
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    fleet.watch_until("the other one does not judge any more", |fleet| fleet.verifiers[0].status(&fleet.valid) == 503);
    assert_eq!(fleet.verifiers[0].status(&revoked), 410);
    redis.cli(&["HSET", META, "v", &layout]);
    fleet.recovers();
}

#[test]
fn a_stream_that_is_trimmed_under_its_readers_costs_nothing() {
    let (redis, mut fleet) = pair();
    for _ in 0..5 {
        fleet.revoke(0);
        redis.cli(&["XTRIM", STREAM, "MAXLEN", "0"]);
        let path = fleet.revoke(1);
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
    }
    fleet.recovers();
}

#[test]
fn garbage_among_our_entries_is_skipped_loudly_and_everything_else_goes_on() {
    let (redis, mut fleet) = pair();
    fleet.revoke(0);
    fleet.all_know();
    let garbage = |words: &str| {
        let script = format!(
            "local h = redis.call('HMGET', KEYS[1], 'l', 'n', 'e') \
             local id = redis.call('XADD', KEYS[2], '*', 'p', h[1], 'n', h[2] + 1, 'e', h[3], {words}) \
             redis.call('HSET', KEYS[1], 'l', id, 'n', h[2] + 1) return id"
        );
        let id = redis.cli(&["EVAL", &script, "2", META, STREAM]);
        assert!(id.contains('-'), "{id}");
        id
    };
    let ids = ["'zz', 'what ever'", "'t', 'no score'", "'t', '99 no-token-id'", "'c', '-1 s:u'"].map(garbage);
    for verifier in &fleet.verifiers {
        eventually("every entry is named in the log", || ids.iter().all(|id| verifier.log().contains(id)));
        eventually("and counted", || verifier.metric("linkgate_stream_garbage_total") >= 4.0);
        assert!(!verifier.log().contains("what ever"), "what a stranger wrote is not repeated");
    }
    fleet.watch(Duration::from_millis(500));
    fleet.refuses_nothing_valid();
    fleet.recovers();
    for verifier in &fleet.verifiers {
        assert_eq!(verifier.metric("linkgate_stream_garbage_total"), 4.0, "the four, and nothing of ours");
    }
}

#[test]
fn a_foreign_entry_in_the_stream_leads_to_a_new_load_and_nothing_is_lost() {
    let (redis, mut fleet) = pair();
    fleet.revoke(0);
    redis.cli(&["XADD", STREAM, "*", "what", "ever"]);
    redis.cli(&["EVAL", "return redis.call('XADD', KEYS[1], '*', 'not', '\\255\\254 text')", "1", STREAM]);
    let is_noticed = |fleet: &Fleet| fleet.verifiers.iter().all(|verifier| verifier.log().contains("gap"));
    fleet.watch_until("both notice", is_noticed);
    fleet.recovers();
}

#[test]
fn an_entry_that_only_claims_to_lift_everything_lifts_nothing_unless_it_is_chained() {
    let (redis, mut fleet) = pair();
    let revoked = fleet.revoke(0);
    let id = fleet.verifiers[0].api("POST", "/v1/links/inspect", &json!({ "link": revoked_url(&revoked) })).json();
    let lifting = format!("0 {}", id["id"].as_str().unwrap());
    redis.cli(&["XADD", STREAM, "*", "p", "1-1", "n", "0", "e", "1", "T", &lifting]);
    fleet.watch(Duration::from_secs(1));
    fleet.recovers();
    assert!(fleet.all(&revoked, 410));
}

fn revoked_url(path: &str) -> String {
    format!("http://links.test{path}")
}
