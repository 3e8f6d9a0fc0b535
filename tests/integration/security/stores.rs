//! A Redis user for those who only judge.

use serde_json::json;

use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, repository_file};
use crate::support::redis::Redis;

/// The rules of the user that `docs/deployment.md` recommends, and those that let it report to the fleet.
fn documented() -> (Vec<String>, String) {
    let text = repository_file("docs/deployment.md");
    let line = text.lines().find_map(|line| line.strip_prefix("user judge ")).expect("a user is recommended");
    let reporting = text.lines().find(|line| line.starts_with("(+eval")).expect("what reporting takes");
    (line.replace(">PASSWORD", ">secret").split_whitespace().map(str::to_owned).collect(), reporting.to_owned())
}

fn set_user(redis: &Redis, rules: &[String]) {
    let command: Vec<&str> = ["ACL", "SETUSER", "judge"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    assert_eq!(redis.cli(&command), "OK");
}

/// A verifier that only judges, as that user.
fn judge(redis: &Redis, mode: &str) -> Builder {
    Builder::following(&format!("redis://judge:secret@{}/0", redis.address()))
        .revocation(&format!("mode = \"{mode}\""))
        .environment("LINKGATE_LISTEN__API", "off")
}

#[test]
fn a_verifier_that_only_judges_needs_four_keys_and_reads_no_client() {
    for mode in ["replica", "direct"] {
        let redis = Redis::start();
        let (rules, _) = documented();
        set_user(&redis, &rules);
        let mut fleet = Fleet::of([Builder::following(&redis.url()), judge(&redis, mode)]);
        let path = fleet.revoke(0);
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
        fleet.refuses_nothing_valid();
        // Long enough for whatever is done once a second.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let log = fleet.verifiers[1].log();
        assert!(!log.contains("clients cannot be read"), "{mode}: {log}");
        let denied = redis.cli(&["ACL", "LOG"]);
        assert!(!denied.contains("hgetall") && !denied.contains(":clients"), "{mode}: {denied}");
    }
}

#[test]
fn an_attacker_in_a_verifier_reads_no_client_no_record_and_no_answer() {
    let redis = Redis::start();
    let (rules, _) = documented();
    set_user(&redis, &rules);
    let linkgate = Builder::following(&redis.url()).start();
    linkgate.revoke(&json!({ "subject": "u", "reason": "secret" }));
    let as_judge = |command: &[&str]| {
        redis.cli(&[&["--no-auth-warning", "--user", "judge", "--pass", "secret"], command].concat())
    };
    let key = |name: &str| format!("linkgate:{{rv}}:{name}");
    assert!(redis.cli(&["HGETALL", &key("clients")]).contains("sha256:"), "there is something to read");
    for name in ["clients", "used", "r", "i", "o", "x", "f", "d:x", "w:x"] {
        for command in [
            &["HGETALL", &key(name)][..],
            &["HMGET", &key(name), "a"],
            &["ZRANGE", &key(name), "0", "-1"],
            &["XREAD", "STREAMS", &key(name), "0"],
            &["GET", &key(name)],
        ] {
            let said = as_judge(command);
            assert!(said.contains("NOPERM"), "{command:?}: {said}");
        }
    }
    for name in ["t", "c", "m", "s"] {
        for command in [&["DEL", &key(name)][..], &["ZADD", &key(name), "1", "x"], &["HSET", &key(name), "a", "b"]] {
            assert!(as_judge(command).contains("NOPERM"), "{command:?}");
        }
    }
    assert_eq!(as_judge(&["HMGET", &key("m"), "v"]), redis.cli(&["HGET", &key("m"), "v"]));
}

#[test]
fn with_one_writable_key_a_verifier_that_only_judges_is_seen_in_the_fleet() {
    let redis = Redis::start();
    let (mut rules, reporting) = documented();
    rules.push(reporting);
    set_user(&redis, &rules);
    let fleet = Fleet::of([Builder::following(&redis.url()), judge(&redis, "replica")]);
    eventually("both are seen", || {
        let answer = fleet.verifiers[0].api("GET", "/v1/verifiers", &serde_json::Value::Null);
        answer.json()["verifiers"].as_array().is_some_and(|all| all.len() == 2)
    });
}
