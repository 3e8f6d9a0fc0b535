//! Judging from memory and asking Redis each time give the same verdicts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;

/// Asks Redis each time; with time to spare, because the machine may be busy.
const DIRECT: &str = "mode = \"direct\"\ndirect_timeout = \"1s\"";
const REPLICA: &str = "mode = \"replica\"";

crate::support::in_each!([
    every_kind_of_revocation_bites_at_once_and_is_lifted_at_once,
    what_a_revocation_does_not_name_is_not_concerned,
    only_links_issued_before_the_named_time_are_refused,
    a_link_minted_after_the_revocation_works_at_once,
    a_standing_block_refuses_to_mint_until_it_is_lifted,
    one_of_several_revocations_can_be_lifted,
    an_expired_link_is_gone_and_a_changed_one_was_never_ours,
    inspecting_says_what_a_download_would_get,
    a_counted_link_is_used_up,
    an_emptied_redis_never_permits_what_was_revoked,
    an_unreachable_redis_permits_nothing_in_the_end,
    a_verifier_that_starts_without_redis_permits_nothing,
]: replica = super::REPLICA, direct = super::DIRECT);

struct Site {
    redis: Redis,
    linkgate: Linkgate,
}

impl Site {
    fn new(mode: &str) -> Self {
        let redis = Redis::start();
        let linkgate = Builder::following(&redis.url()).revocation(mode).start();
        for path in ["a.txt", "users/42/a.txt", "users/43/a.txt"] {
            linkgate.file(path, b"contents");
        }
        Self { redis, linkgate }
    }

    fn mint(&self) -> Value {
        self.linkgate.mint(&json!({ "path": "users/42/a.txt", "subject": "user-42" }))
    }

    fn status(&self, link: &Value) -> u16 {
        self.linkgate.status(&path_of(link))
    }

    fn inspect(&self, link: &Value) -> Value {
        let answer = self.linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Every kind of revocation that covers a link of [`Self::mint`], with its name.
    fn kinds(&self, link: &Value) -> Vec<(&'static str, Value)> {
        vec![
            ("link", json!({ "link": link["url"] })),
            ("link", json!({ "id": link["id"] })),
            ("subject", json!({ "subject": "user-42" })),
            ("path", json!({ "path": "users/42/a.txt" })),
            ("path_prefix", json!({ "path_prefix": "users/42/" })),
            ("path_prefix", json!({ "path_prefix": "users/" })),
            ("path_prefix", json!({ "path_prefix": "/" })),
            ("client", json!({ "client": self.inspect(link)["client"] })),
            ("key", json!({ "key": 1 })),
            ("everything", json!({ "everything": true })),
            ("subject", json!({ "subject": "user-42", "issued_before": null })),
            ("everything", json!({ "everything": true, "issued_before": null })),
        ]
    }
}

fn every_kind_of_revocation_bites_at_once_and_is_lifted_at_once(mode: &str) {
    let site = Site::new(mode);
    let link = site.mint();
    for (kind, what) in site.kinds(&link) {
        assert_eq!(site.status(&link), 200, "before {what}");
        let revocation = site.linkgate.revoke(&what);
        let refused = site.linkgate.get(&path_of(&link));
        assert_eq!(refused.status, 410, "{what}");
        assert_eq!(refused.json()["type"], "urn:linkgate:problem:revoked");
        assert_eq!(site.inspect(&link)["revoked_by"], kind, "{what}");
        site.linkgate.reinstate(&revocation);
        assert_eq!(site.status(&link), 200, "after {what} was lifted");
    }
}

fn what_a_revocation_does_not_name_is_not_concerned(mode: &str) {
    let site = Site::new(mode);
    let link = site.mint();
    let other = site.linkgate.mint(&json!({ "path": "users/43/a.txt", "subject": "user-43" }));
    for what in [
        json!({ "link": other["url"] }),
        json!({ "subject": "user-4" }),
        json!({ "path": "users/42/a" }),
        json!({ "path": "a.txt" }),
        json!({ "path_prefix": "users/4/" }),
        json!({ "path_prefix": "users/42/a.txt/" }),
        json!({ "client": "nobody" }),
        json!({ "key": 2 }),
    ] {
        site.linkgate.revoke(&what);
        assert_eq!(site.status(&link), 200, "{what}");
    }
    assert_eq!(site.status(&other), 410);
}

fn only_links_issued_before_the_named_time_are_refused(mode: &str) {
    let site = Site::new(mode);
    let old = site.mint();
    std::thread::sleep(Duration::from_millis(5));
    let new = site.mint();
    site.linkgate.revoke(&json!({ "subject": "user-42", "issued_before": new["issued_at"] }));
    assert_eq!((site.status(&old), site.status(&new)), (410, 200));
    site.linkgate.revoke(&json!({ "everything": true, "issued_before": "2020-01-01T00:00:00Z" }));
    assert_eq!((site.status(&old), site.status(&new)), (410, 200));
}

fn a_link_minted_after_the_revocation_works_at_once(mode: &str) {
    let site = Site::new(mode);
    for _ in 0..10 {
        let old = site.mint();
        site.linkgate.revoke(&json!({ "subject": "user-42" }));
        let new = site.mint();
        assert_eq!((site.status(&old), site.status(&new)), (410, 200));
    }
}

fn a_standing_block_refuses_to_mint_until_it_is_lifted(mode: &str) {
    let site = Site::new(mode);
    for what in [
        json!({ "subject": "user-42", "issued_before": null }),
        json!({ "path": "users/42/a.txt" }),
        json!({ "path_prefix": "users/" }),
        json!({ "key": 1 }),
    ] {
        let block = site.linkgate.revoke(&what);
        let wish = json!({ "path": "users/42/a.txt", "subject": "user-42" });
        let refused = site.linkgate.api("POST", "/v1/links", &wish);
        assert_eq!(refused.status, 409, "{what}: {}", refused.text());
        assert_eq!(refused.json()["type"], "urn:linkgate:problem:already-revoked");
        site.linkgate.reinstate(&block);
        assert_eq!(site.status(&site.mint()), 200);
    }
}

fn one_of_several_revocations_can_be_lifted(mode: &str) {
    let site = Site::new(mode);
    let link = site.mint();
    let revocations = site.kinds(&link).into_iter().map(|(_, what)| site.linkgate.revoke(&what));
    let revocations: Vec<Value> = revocations.collect();
    for revocation in &revocations {
        assert_eq!(site.status(&link), 410);
        site.linkgate.reinstate(revocation);
    }
    assert_eq!(site.status(&link), 200);
}

fn an_expired_link_is_gone_and_a_changed_one_was_never_ours(mode: &str) {
    let site = Site::new(mode);
    let link = site.linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1 }));
    let changed = format!("{}A", path_of(&link));
    assert_eq!(site.linkgate.status(&changed), 403);
    eventually("it expires", || site.status(&link) == 410);
    assert_eq!(site.linkgate.get(&path_of(&link)).json()["type"], "urn:linkgate:problem:expired");
}

fn inspecting_says_what_a_download_would_get(mode: &str) {
    let site = Site::new(mode);
    let link = site.mint();
    let found = site.inspect(&link);
    assert_eq!((&found["valid"], &found["status"], &found["check"]), (&json!(true), &json!(200), &json!("permitted")));
    site.linkgate.revoke(&json!({ "subject": "user-42" }));
    let found = site.inspect(&link);
    assert_eq!((&found["valid"], &found["status"], &found["check"]), (&json!(false), &json!(410), &json!("revoked")));
}

fn a_counted_link_is_used_up(mode: &str) {
    let site = Site::new(mode);
    let link = site.linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 2 }));
    let get = |address: &str| site.linkgate.get_as("GET", &path_of(&link), &[("X-Real-IP", address)]);
    assert_eq!(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| get(address).status), [200, 200, 410]);
    assert_eq!(get("192.0.2.3").json()["type"], "urn:linkgate:problem:used-up");
    site.linkgate.revoke(&json!({ "id": link["id"] }));
    assert_eq!(get("192.0.2.1").json()["type"], "urn:linkgate:problem:revoked");
}

fn an_emptied_redis_never_permits_what_was_revoked(mode: &str) {
    let site = Site::new(mode);
    let (link, other) = (site.mint(), site.mint());
    site.linkgate.revoke(&json!({ "link": link["url"] }));
    site.linkgate.revoke(&json!({ "path_prefix": "users/", "issued_before": other["issued_at"] }));
    site.redis.cli(&["FLUSHALL"]);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let status = site.status(&link);
        assert!([410, 503].contains(&status), "a revoked link was answered {status}");
    }
}

fn an_unreachable_redis_permits_nothing_in_the_end(mode: &str) {
    let mut site = Site::new(mode);
    let (link, revoked) = (site.mint(), site.mint());
    site.linkgate.revoke(&json!({ "link": revoked["url"] }));
    site.redis.stop();
    eventually("valid links wait", || {
        let status = site.status(&revoked);
        assert!([410, 503].contains(&status), "a revoked link was answered {status}");
        site.status(&link) == 503
    });
    let waiting = site.linkgate.get(&path_of(&link));
    assert_eq!(waiting.json()["type"], "urn:linkgate:problem:cannot-judge");
    assert!(waiting.header("retry-after").is_some());
    assert!(!site.linkgate.is_ready());
}

fn a_verifier_that_starts_without_redis_permits_nothing(mode: &str) {
    let mut site = Site::new(mode);
    let (link, revoked) = (site.mint(), site.mint());
    site.linkgate.revoke(&json!({ "link": revoked["url"] }));
    let mut redis = std::mem::replace(&mut site.redis, Redis::durable());
    redis.stop();
    site.linkgate.process.kill();
    site.linkgate.launch();
    assert_eq!((site.status(&link), site.status(&revoked)), (503, 503));
    assert!(!site.linkgate.is_ready());
}

#[test]
fn a_verifier_that_asks_each_time_refuses_what_another_has_revoked_at_once() {
    let redis = Redis::start();
    let modes = [REPLICA, DIRECT].map(|mode| Builder::following(&redis.url()).revocation(mode));
    let fleet = Fleet::of(modes);
    for _ in 0..30 {
        let path = fleet.verifiers[0].link("a.txt");
        assert_eq!(fleet.verifiers[1].status(&path), 200);
        assert_eq!(fleet.verifiers[0].try_revoke(&path).status, 201);
        assert_eq!(fleet.verifiers[1].status(&path), 410);
    }
}

#[test]
fn a_verifier_that_asks_each_time_does_not_wait_longer_than_it_was_told() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let mut fleet = Fleet::of([Builder::following(&redis.url()), Builder::following(&proxy.url()).revocation(DIRECT)]);
    proxy.set(Network::BlackHole);
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(fleet.verifiers[1].status(&fleet.valid), 503);
        assert!(asked.elapsed() < Duration::from_millis(2_500), "{:?}", asked.elapsed());
    }
    fleet.revoke_while_some_are_cut_off(0);
    proxy.set(Network::Pass);
    fleet.recovers();
}

#[test]
fn a_verifier_that_may_not_follow_asks_each_time_if_that_is_its_choice() {
    let redis = Redis::start();
    let set_user = |rules: &[&str]| redis.cli(&[&["ACL", "SETUSER", "linkgate"], rules].concat());
    assert_eq!(set_user(&["on", ">secret", "~*", "+@all"]), "OK");
    let url = format!("redis://linkgate:secret@{}/0", redis.address());
    let choice = "on_stale = \"direct\"\ndirect_timeout = \"1s\"";
    let mut fleet = Fleet::of([Builder::following(&redis.url()), Builder::following(&url).revocation(choice)]);
    assert_eq!(set_user(&["-xread"]), "OK");
    let staleness = || fleet.verifiers[1].metric("linkgate_revocation_staleness_seconds");
    eventually("what it has in memory is too old", || staleness() > 3.2);
    assert_eq!(fleet.verifiers[1].status(&fleet.valid), 200, "it asks Redis");
    let path = fleet.revoke(0);
    assert_eq!(fleet.verifiers[1].status(&path), 410, "it asks Redis");
    assert_eq!(set_user(&["+xread"]), "OK");
    fleet.recovers();
}
