//! Revocations in Redis: shared by every verifier, and safe when Redis is not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

/// The shortest staleness a configuration may ask for, so that the tests need not wait long.
const STALENESS: &str = "[revocation]\nmax_staleness = \"3s\"";

fn verifier(redis: &Redis) -> Linkgate {
    let linkgate = Builder::new().redis(&redis.url()).section(STALENESS).start();
    linkgate.file("a.txt", b"contents");
    linkgate
}

fn second_verifier(redis: &Redis, first: &Linkgate) -> Linkgate {
    let linkgate = Builder::new().redis(&redis.url()).section(STALENESS).beside(first).start();
    linkgate.file("a.txt", b"contents");
    linkgate
}

fn reason(linkgate: &Linkgate) -> String {
    linkgate.get("/readyz").json()["reason"].as_str().unwrap_or_default().to_owned()
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
    assert_eq!(zsets, "1", "only the sentinel is left");
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
    let linkgate = Builder::new()
        .redis(&redis.url())
        .section("[revocation]\nmax_staleness = \"3s\"\non_stale = \"serve\"")
        .start();
    linkgate.file("a.txt", b"x");
    let (path, revoked) = (linkgate.link("a.txt"), linkgate.link("a.txt"));
    linkgate.revoke(&json!({ "link": format!("http://links.test{revoked}") }));
    redis.stop();
    eventually("it is stale", || linkgate.get("/readyz").status == 503);
    assert_eq!((linkgate.get(&path).status, linkgate.get(&revoked).status), (200, 410));
}

#[test]
fn an_emptied_redis_is_never_read_as_nothing_being_revoked() {
    let redis = Redis::start();
    let first = verifier(&redis);
    let second = second_verifier(&redis, &first);
    let link = first.mint(&json!({ "path": "a.txt", "subject": "gone" }));
    let path = path_of(&link);
    first.revoke(&json!({ "link": link["url"] }));
    let blocked = first.revoke(&json!({ "subject": "gone", "issued_before": null }));
    eventually("both know", || second.get(&path).status == 410);

    let epoch = redis.cli(&["HGET", "linkgate:{rv}:m", "e"]);
    assert_eq!(redis.cli(&["FLUSHALL"]), "OK");
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        for verifier in [&first, &second] {
            let status = verifier.get(&path).status;
            assert!(status == 410 || status == 503, "a revoked link was answered {status}");
        }
    }
    eventually("the sets were written back under a new epoch", || {
        let now = redis.cli(&["HGET", "linkgate:{rv}:m", "e"]);
        !now.is_empty() && now != epoch && redis.cli(&["HEXISTS", "linkgate:{rv}:m", "z"]) == "0"
    });
    eventually("both are ready", || first.get("/readyz").status == 200 && second.get("/readyz").status == 200);
    let fresh = first.link("a.txt");
    eventually("valid links work", || first.get(&fresh).status == 200 && second.get(&fresh).status == 200);
    assert_eq!((first.get(&path).status, second.get(&path).status), (410, 410));

    // The record of who and why is lost, but the block can still be found and lifted.
    let gone = format!("/v1/revocations/{}", blocked["id"].as_str().unwrap());
    assert_eq!(first.api("GET", &gone, &Value::Null).status, 404);
    let listed = first.api("GET", "/v1/revocations?kind=subject", &Value::Null).json();
    assert_eq!(listed["revocations"][0]["target"], "gone");
    assert_eq!(listed["revocations"][0]["created_by"], "linkgate");
}

#[test]
fn an_empty_redis_is_suspicious_after_a_restart_until_an_operator_accepts_the_loss() {
    let redis = Redis::start();
    let mut linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    linkgate.process.kill();
    redis.cli(&["FLUSHALL"]);
    linkgate.launch();
    eventually("it says why it is not ready", || reason(&linkgate).contains("store init --accept-loss"));
    assert_eq!(linkgate.get(&path).status, 503);
    let refused = linkgate.run(&["store", "init"]);
    assert!(!refused.status.success());
    linkgate.succeed(&["store", "init", "--accept-loss"]);
    linkgate.until_ready();
    assert_eq!(linkgate.get(&path).status, 200);
}

#[test]
fn part_of_the_keys_missing_is_noticed_like_all_of_them_missing() {
    for lost in ["t", "c", "m", "s"] {
        let redis = Redis::start();
        let linkgate = verifier(&redis);
        let (path, revoked) = (linkgate.link("a.txt"), linkgate.link("a.txt"));
        linkgate.revoke(&json!({ "link": format!("http://links.test{revoked}") }));
        redis.cli(&["DEL", &format!("linkgate:{{rv}}:{lost}")]);
        let until = Instant::now() + Duration::from_millis(2_000);
        while Instant::now() < until {
            assert!([410, 503].contains(&linkgate.get(&revoked).status), "after {lost} was lost");
        }
        eventually("it works again", || linkgate.get(&path).status == 200);
        assert_eq!(linkgate.get(&revoked).status, 410, "after {lost} was lost");
        linkgate.revoke(&json!({ "link": format!("http://links.test{path}") }));
        assert_eq!(linkgate.get(&path).status, 410);
    }
}

#[test]
fn redis_may_come_up_after_linkgate() {
    let mut redis = Redis::start();
    redis.stop();
    let mut linkgate = Builder::new().redis(&redis.url()).section(STALENESS).prepare();
    linkgate.launch();
    assert_eq!(linkgate.get("/livez").status, 200);
    assert_eq!(linkgate.get("/readyz").status, 503);
    assert!(reason(&linkgate).contains("not been loaded"), "{}", reason(&linkgate));
    let link = linkgate.succeed(&["mint", "a.txt"]);
    let path = link.strip_prefix("http://links.test").unwrap();
    assert_eq!(linkgate.get(path).status, 503);
    redis.launch();
    linkgate.until_ready();
    linkgate.file("a.txt", b"x");
    assert_eq!(linkgate.get(path).status, 200);
}

#[test]
fn a_wrong_password_is_named_and_right_ones_work() {
    let redis = Redis::with(&["--save", "", "--requirepass", "open sesame"]);
    let mut wrong = Builder::new().redis(&format!("redis://:closed@{}/0", redis.address())).prepare();
    wrong.launch();
    eventually("it names the credentials", || reason(&wrong).contains("credentials"));
    assert!(!wrong.log().contains("closed"), "no log holds a password");
    let check = wrong.run(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(shown.contains("credentials") && !shown.contains("closed"), "{shown}");

    let right = Builder::new().redis(&format!("redis://:open%20sesame@{}/0", redis.address())).start();
    right.file("a.txt", b"x");
    assert_eq!(right.get(&right.link("a.txt")).status, 200);
}

#[test]
fn a_read_only_redis_refuses_revocations_and_says_so() {
    let master = Redis::start();
    let linkgate = verifier(&master);
    let path = linkgate.link("a.txt");
    let (host, port) = master.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let other = Redis::start();
    let (_, other_port) = other.address().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    master.cli(&["REPLICAOF", &host, &other_port]);
    let refused = linkgate.api("POST", "/v1/revocations", &json!({ "subject": "u" }));
    assert_eq!(refused.status, 503, "{}", refused.text());
    master.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually("it is writable again", || {
        linkgate.api("POST", "/v1/revocations", &json!({ "subject": "u" })).status == 201
    });
    eventually("links work", || linkgate.get(&path).status == 200);
    drop(port);
}

#[test]
fn a_key_of_another_type_is_named_and_judged_by_never() {
    let redis = Redis::start();
    redis.cli(&["SET", "linkgate:{rv}:t", "not a sorted set"]);
    let mut linkgate = Builder::new().redis(&redis.url()).section(STALENESS).prepare();
    linkgate.launch();
    eventually("it names the trouble", || reason(&linkgate).contains("another type"));
    assert_eq!(linkgate.get("/readyz").status, 503);
    redis.cli(&["DEL", "linkgate:{rv}:t"]);
    linkgate.until_ready();
}

#[test]
fn a_store_of_a_newer_layout_is_judged_by_never() {
    let redis = Redis::start();
    let mut linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    linkgate.process.kill();
    redis.cli(&["HSET", "linkgate:{rv}:m", "v", "2"]);
    linkgate.launch();
    eventually("it names the layout", || reason(&linkgate).contains("layout 2"));
    assert_eq!(linkgate.get(&path).status, 503);
}

#[test]
fn a_connection_that_is_cut_or_a_stream_that_is_trimmed_costs_nothing() {
    let redis = Redis::start();
    let linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    let mut revoked = Vec::new();
    for round in 0..5 {
        let victim = linkgate.link("a.txt");
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        if round % 2 == 0 {
            redis.cli(&["XTRIM", "linkgate:{rv}:s", "MAXLEN", "0"]);
        }
        eventually("revoking works", || {
            linkgate.api("POST", "/v1/revocations", &json!({ "link": format!("http://links.test{victim}") })).status
                == 201
        });
        eventually("it bites", || linkgate.get(&victim).status == 410);
        revoked.push(victim);
        assert_eq!(linkgate.get(&path).status, 200);
    }
    for victim in &revoked {
        assert_eq!(linkgate.get(victim).status, 410);
    }
    eventually("it is ready", || linkgate.get("/readyz").status == 200);
}

#[test]
fn garbage_in_the_stream_is_skipped_loudly_and_a_foreign_entry_leads_to_a_new_load() {
    let redis = Redis::start();
    let linkgate = verifier(&redis);
    let (path, revoked) = (linkgate.link("a.txt"), linkgate.link("a.txt"));
    linkgate.revoke(&json!({ "link": format!("http://links.test{revoked}") }));
    redis.cli(&["XADD", "linkgate:{rv}:s", "*", "what", "ever"]);
    eventually("it recovers", || {
        linkgate.log().contains("gap") && linkgate.get("/readyz").status == 200 && linkgate.get(&path).status == 200
    });
    assert_eq!(linkgate.get(&revoked).status, 410);
    let another = linkgate.link("a.txt");
    linkgate.revoke(&json!({ "link": format!("http://links.test{another}") }));
    eventually("new revocations bite", || linkgate.get(&another).status == 410);
}

#[test]
fn a_redis_that_hangs_is_given_up_and_taken_up_again() {
    let redis = Redis::start();
    let linkgate = verifier(&redis);
    let path = linkgate.link("a.txt");
    redis.process.signal("STOP");
    eventually("links wait once revocations may be missing", || linkgate.get(&path).status == 503);
    let asked = Instant::now();
    assert_eq!(linkgate.api("POST", "/v1/revocations", &json!({ "subject": "u" })).status, 503);
    assert!(asked.elapsed() < Duration::from_secs(8), "a revocation must not hang");
    redis.process.signal("CONT");
    eventually("links work again", || linkgate.get(&path).status == 200);
}

#[test]
fn a_verifier_that_was_frozen_wakes_up_stale() {
    let redis = Redis::start();
    let frozen = verifier(&redis);
    let other = second_verifier(&redis, &frozen);
    let path = frozen.link("a.txt");
    frozen.process.signal("STOP");
    other.revoke(&json!({ "link": format!("http://links.test{path}") }));
    std::thread::sleep(Duration::from_millis(3_500));
    frozen.process.signal("CONT");
    let first = frozen.get(&path).status;
    assert!(first == 503 || first == 410, "its first answer was {first}");
    eventually("it knows", || frozen.get(&path).status == 410);
}
