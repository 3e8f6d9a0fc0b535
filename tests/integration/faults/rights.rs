//! Redis takes rights away, or never gave them: users, read-only servers, passwords.

use std::time::Duration;

use serde_json::json;

use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, path_of};
use crate::support::redis::Redis;

/// All that a verifier needs that only judges.
const READ_ONLY: [&str; 17] = [
    "on",
    ">secret",
    "resetkeys",
    "%R~linkgate:{rv}:*",
    "-@all",
    "+zscore",
    "+zmscore",
    "+zscan",
    "+zrange",
    "+xread",
    "+xrange",
    "+hmget",
    "+hget",
    "+hgetall",
    "+ping",
    "+hello",
    "+auth",
];

fn as_user(redis: &Redis) -> String {
    format!("redis://linkgate:secret@{}/0", redis.address())
}

fn set_user(redis: &Redis, rules: &[&str]) {
    let set = redis.cli(&[&["ACL", "SETUSER", "linkgate"], rules].concat());
    assert_eq!(set, "OK");
}

#[test]
fn rights_that_are_taken_away_stop_the_one_verifier_and_given_back_it_goes_on() {
    let redis = Redis::start();
    set_user(&redis, &["on", ">secret", "~*", "+@all"]);
    let mut fleet = Fleet::over(&[redis.url(), as_user(&redis)]);
    fleet.revoke(1);
    set_user(&redis, &["-@all"]);
    let refused = fleet.verifiers[1].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    fleet.revoke_while_some_are_cut_off(0);
    fleet.watch_until("it does not judge any more", |fleet| fleet.verifiers[1].status(&fleet.valid) == 503);
    assert!(fleet.verifiers[1].reason().contains("credentials"), "{}", fleet.verifiers[1].reason());
    assert_eq!(fleet.verifiers[0].status(&fleet.valid), 200, "the other one is not concerned");
    set_user(&redis, &["+@all"]);
    fleet.recovers();
    fleet.revoke(1);
}

#[test]
fn a_verifier_without_the_right_to_write_follows_and_judges() {
    let redis = Redis::start();
    set_user(&redis, &READ_ONLY);
    let mut fleet = Fleet::over(&[redis.url(), as_user(&redis)]);
    let path = fleet.revoke(0);
    fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
    fleet.watch(Duration::from_secs(4));
    fleet.refuses_nothing_valid(); // by the beats of the other one
    let refused = fleet.verifiers[1].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    fleet.recovers();
}

#[test]
fn a_verifier_that_reads_from_a_replica_follows_and_refuses_to_revoke() {
    let master = Redis::start();
    let replica = Redis::replica_of(&master);
    let mut fleet = Fleet::over(&[master.url(), replica.url()]);
    let path = fleet.revoke(0);
    fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
    let revoke = || fleet.verifiers[1].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    eventually("it has heard of its clients", || revoke().status != 401);
    let refused = revoke();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:linkgate:problem:store-unavailable");
    fleet.watch(Duration::from_secs(4));
    fleet.refuses_nothing_valid();

    // A replica that has lost its master answers as before: only the beats tell.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    fleet.revoke_while_some_are_cut_off(0);
    fleet.watch_until("it does not judge any more", |fleet| fleet.verifiers[1].status(&fleet.valid) == 503);
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    fleet.recovers();
}

#[test]
fn a_redis_that_becomes_read_only_refuses_revocations_until_it_is_writable_again() {
    let master = Redis::start();
    let other = Redis::start();
    let mut fleet = Fleet::over(&[master.url()]);
    fleet.revoke(0);
    master.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    let refused = fleet.verifiers[0].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    fleet.watch(Duration::from_millis(500));
    master.cli(&["REPLICAOF", "NO", "ONE"]);
    fleet.recovers();
}

#[test]
fn a_wrong_password_is_named_and_right_ones_work() {
    let redis = Redis::with(&["--save", "", "--requirepass", "open sesame"]);
    let mut wrong = Builder::new().redis(&format!("redis://:closed@{}/0", redis.address())).prepare();
    wrong.launch();
    eventually("it names the credentials", || wrong.reason().contains("credentials"));
    assert!(!wrong.log().contains("closed"), "no log holds a password");
    let check = wrong.run(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(shown.contains("credentials") && !shown.contains("closed"), "{shown}");

    let right = Builder::new().redis(&format!("redis://:open%20sesame@{}/0", redis.address())).start();
    right.file("a.txt", b"x");
    assert_eq!(right.status(&right.link("a.txt")), 200);
}

#[test]
fn what_was_lifted_stays_so_when_the_one_that_had_revoked_it_follows_again() {
    let redis = Redis::start();
    set_user(&redis, &["on", ">secret", "~*", "+@all"]);
    let fleet = Fleet::over(&[redis.url(), as_user(&redis)]);
    let path = fleet.verifiers[0].link("a.txt");
    fleet.watch_until("both permit it", |fleet| fleet.all(&path, 200));
    set_user(&redis, &["-xread"]);
    redis.cli(&["CLIENT", "KILL", "USER", "linkgate"]);
    std::thread::sleep(Duration::from_millis(500));
    let answer = fleet.verifiers[1].try_revoke(&path);
    assert_eq!(answer.status, 201);
    assert_eq!(fleet.verifiers[1].status(&path), 410, "at once");
    fleet.verifiers[0].reinstate(&answer.json());
    set_user(&redis, &["+xread"]);
    fleet.watch_until("it follows again", |fleet| fleet.verifiers[1].is_ready() && fleet.all(&path, 200));
    redis.cli(&["CLIENT", "KILL", "USER", "linkgate"]);
    fleet.watch(Duration::from_secs(3));
    assert!(fleet.all(&path, 200), "nothing was lost, so nothing is written back");
}

#[test]
fn a_user_that_may_not_ask_what_the_server_is_revokes_all_the_same_and_mints_what_is_covered_late() {
    let redis = Redis::start();
    set_user(&redis, &["on", ">secret", "~*", "+@all", "-info"]);
    let linkgate = Builder::following(&as_user(&redis)).start();
    linkgate.file("a.txt", b"x");
    let wish = json!({ "path": "a.txt", "subject": "u" });
    let before = path_of(&linkgate.mint(&wish));
    linkgate.revoke(&json!({ "subject": "u" }));
    let after = path_of(&linkgate.mint(&wish));
    assert_eq!([linkgate.status(&before), linkgate.status(&after)], [410, 200]);
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    linkgate.revoke(&json!({ "subject": "u" }));
    assert_eq!(linkgate.status(&after), 410, "a full Redis takes it all the same");
    assert_eq!(redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    let checked = String::from_utf8(linkgate.run(&["check"]).stdout).unwrap();
    assert!(checked.contains("may not ask INFO") && checked.contains("are minted late"), "{checked}");
}
