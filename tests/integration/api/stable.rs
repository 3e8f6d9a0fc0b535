//! Stable links: the same request gives the same URL, so that a phone's cache hits.

use super::*;
use crate::support::redis::Redis;

crate::support::in_each!([
    the_same_request_gives_the_same_url_and_another_request_another,
    a_revoked_stable_link_is_replaced_by_another,
    a_stable_link_that_was_covered_comes_back_as_another_once_the_cause_is_lifted,
    a_cut_off_in_the_past_moves_the_link_and_never_shortens_its_life,
]: embedded = super::Site::embedded(), replica = super::Site::over_redis("replica"), direct = super::Site::over_redis("direct"));

/// One Linkgate or two that share a Redis, and keys.
struct Site {
    instances: Vec<Linkgate>,
    _redis: Option<Redis>,
}

impl Site {
    fn embedded() -> Self {
        let linkgate = Builder::new().start();
        linkgate.file("a.txt", b"x");
        Self { instances: vec![linkgate], _redis: None }
    }

    fn over_redis(mode: &str) -> Self {
        let redis = Redis::logged();
        let builder =
            || Builder::new().redis(&redis.url()).revocation(&format!("mode = \"{mode}\"\ndirect_timeout = \"1s\""));
        let first = builder().start();
        let second = builder().beside(&first).start();
        for linkgate in [&first, &second] {
            linkgate.file("a.txt", b"x");
        }
        Self { instances: vec![first, second], _redis: Some(redis) }
    }

    /// Mints with every instance; they must agree.
    fn mint(&self, wish: &Value) -> Value {
        let mut wish = wish.clone();
        wish["stable"] = json!(true);
        // An hour's window ends every half hour: both must ask in the same.
        let links: Vec<_> = self.instances.iter().map(|linkgate| linkgate.mint(&wish)).collect();
        assert!(links.iter().all(|link| link == &links[0]), "{links:#?}");
        links[0].clone()
    }

    /// Every instance's answer to a download; they must agree.
    fn status(&self, link: &Value) -> u16 {
        let statuses: Vec<_> = self.instances.iter().map(|linkgate| linkgate.status(&path_of(link))).collect();
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
        statuses[0]
    }

    /// Revokes; every verifier has applied it then.
    fn revoke(&self, what: &Value) -> Value {
        let answer = self.instances[0].api("POST", "/v1/revocations?wait=5s", what);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    fn reinstate(&self, revocation: &Value) {
        self.instances[0].reinstate(revocation);
        // A lifted revocation is not waited for: revoking something else is.
        self.revoke(&json!({ "subject": "nobody" }));
    }
}

/// A long life, so that no test meets the end of a window.
const LIFE: u64 = 6 * 24 * 3_600;

fn the_same_request_gives_the_same_url_and_another_request_another(site: Site) {
    let wish = json!({ "path": "a.txt", "expires_in": LIFE, "subject": "u" });
    let first = site.mint(&wish);
    assert_eq!(site.mint(&wish), first);
    assert_eq!(site.status(&first), 200);
    let left = time(&first["expires_at"]).since(now());
    assert!(left.as_secs() >= LIFE / 2 && left.as_secs() <= LIFE, "{left:?}");
    let refresh = time(&first["refresh_after"]);
    assert!(now() < refresh && refresh < time(&first["expires_at"]));

    let others = [
        json!({ "path": "a.txt", "expires_in": LIFE, "subject": "v" }),
        json!({ "path": "a.txt", "expires_in": LIFE }),
        json!({ "path": "a.txt", "expires_in": LIFE, "subject": "u", "disposition": "inline" }),
        json!({ "path": "a.txt", "expires_in": LIFE - 3_600, "subject": "u" }),
        json!({ "path": "a.txt", "expires_in": LIFE, "subject": "u", "rate_limit": 1_000_000 }),
    ];
    let mut urls: Vec<_> = others.iter().map(|wish| site.mint(wish)["url"].clone()).collect();
    urls.push(first["url"].clone());
    let distinct: std::collections::HashSet<_> = urls.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), urls.len());

    let end = from_now(1_000);
    let fixed = site.mint(&json!({ "path": "a.txt", "expires_at": end }));
    assert_eq!(site.mint(&json!({ "path": "a.txt", "expires_at": end })), fixed);
    assert_eq!(time(&fixed["expires_at"]), time(&json!(end)));
    assert_eq!(site.status(&fixed), 200);
}

fn a_revoked_stable_link_is_replaced_by_another(site: Site) {
    let wish = json!({ "path": "a.txt", "expires_in": LIFE });
    let mut links = vec![site.mint(&wish)];
    for _ in 0..3 {
        let last = links.last().unwrap();
        site.revoke(&json!({ "link": last["url"] }));
        let next = site.mint(&wish);
        assert_eq!(site.mint(&wish), next);
        assert!(links.iter().all(|link| link["url"] != next["url"]));
        assert_eq!((site.status(links.last().unwrap()), site.status(&next)), (410, 200));
        links.push(next);
    }
}

fn a_stable_link_that_was_covered_comes_back_as_another_once_the_cause_is_lifted(site: Site) {
    let wish = json!({ "path": "a.txt", "expires_in": LIFE, "subject": "u" });
    let mut before = site.mint(&wish);
    for cause in [
        json!({ "path": "a.txt" }),
        json!({ "path_prefix": "/" }),
        json!({ "subject": "u", "issued_before": null }),
        json!({ "id": before["id"] }),
    ] {
        let cause = if cause.get("id").is_some() { json!({ "id": before["id"] }) } else { cause };
        let revocation = site.revoke(&cause);
        assert_eq!(site.status(&before), 410);
        site.reinstate(&revocation);
        let after = site.mint(&wish);
        assert_ne!(after["url"], before["url"], "{cause}");
        assert_eq!((site.status(&after), site.status(&before)), (200, 200), "what was lifted does not bite: {cause}");
        before = after;
    }
    let listed = site.instances[0].api("GET", "/v1/revocations", &Value::Null).json();
    let subjects: Vec<_> = listed["revocations"].as_array().unwrap().iter().map(|one| &one["target"]).collect();
    assert!(subjects.iter().all(|target| **target == "nobody"), "no list shows what was lifted: {listed}");
}

fn a_cut_off_in_the_past_moves_the_link_and_never_shortens_its_life(site: Site) {
    let wish = json!({ "path": "a.txt", "expires_in": LIFE, "subject": "u" });
    let before = site.mint(&wish);
    site.revoke(&json!({ "subject": "u" }));
    let after = site.mint(&wish);
    assert_eq!(site.mint(&wish), after);
    assert_eq!((site.status(&before), site.status(&after)), (410, 200));
    assert!(time(&after["expires_at"]).since(now()).as_secs() >= LIFE / 2);
}

#[test]
fn instances_that_share_a_key_agree_on_a_stable_link() {
    let first = site();
    let second = Builder::new().beside_keys_of(&first).start();
    let wish = json!({ "path": "a.txt", "expires_in": LIFE, "stable": true });
    let minted = |linkgate: &Linkgate| linkgate.succeed(&["mint", "a.txt", "--expires-in", "6d", "--stable"]);
    assert_eq!(minted(&first), minted(&second), "offline, each by its own");
    assert_eq!(first.mint(&wish), first.mint(&wish));
}

#[test]
fn a_stable_link_of_the_shortest_life_works() {
    let linkgate = site();
    for _ in 0..3 {
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 1, "stable": true }));
        assert!(time(&link["issued_at"]) < time(&link["expires_at"]));
        linkgate.revoke(&json!({ "everything": true }));
        let link = linkgate.mint(&json!({ "path": "a.txt", "expires_in": 4, "stable": true }));
        assert_eq!(linkgate.status(&path_of(&link)), 200, "{link}");
    }
}
