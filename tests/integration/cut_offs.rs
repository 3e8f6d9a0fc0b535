//! No link that was made before a revocation was answered works after it, whatever the clocks within the leeway show; and
//! one that is made after the answer works at once.

use std::time::Duration;

use linkgate::clock::{Clock, SystemClock, UnixMillis};
use serde_json::{Value, json};

use crate::support::clock::ShiftedClock;
use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

/// The leeway that is configured when nothing else is.
const LEEWAY: Duration = Duration::from_secs(2);

fn now() -> UnixMillis {
    SystemClock::new().now().wall
}

/// Two instances over one Redis whose clocks are so many milliseconds ahead of the machine's.
struct Pair {
    first: Linkgate,
    second: Linkgate,
    clocks: [ShiftedClock; 2],
    _redis: Redis,
}

impl Pair {
    fn with_clocks(first: i64, second: i64) -> Self {
        let redis = Redis::start();
        let clocks = [first, second].map(ShiftedClock::by);
        // As stale as they may be by default: a step of a clock is no longer than that.
        let first = Builder::new().redis(&redis.url()).clock(&clocks[0]).start();
        let second = Builder::new().redis(&redis.url()).clock(&clocks[1]).beside(&first).start();
        Self { first, second, clocks, _redis: redis }
    }

    fn both(&self) -> [&Linkgate; 2] {
        [&self.first, &self.second]
    }

    /// What an instance has answered has come to both.
    #[track_caller]
    fn eventually_answer(&self, link: &Value, status: u16) {
        let path = path_of(link);
        for (which, linkgate) in self.both().into_iter().enumerate() {
            linkgate.file(link["path"].as_str().unwrap(), b"x");
            eventually(&format!("instance {which} answers {status} to {link}"), || linkgate.status(&path) == status);
        }
    }

    /// Revokes at one instance what covers a link, until both have applied it.
    #[track_caller]
    fn revoke(&self, at: &Linkgate, what: &Value, link: &Value) -> Value {
        let revocation = at.revoke(what);
        self.eventually_answer(link, 410);
        revocation
    }
}

/// The client that mints for a Linkgate.
fn minter(linkgate: &Linkgate) -> Value {
    let link = linkgate.mint(&json!({ "path": "who.txt" }));
    let answer = linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] }));
    answer.json()["client"].clone()
}

/// What a link's kinds of revocation are asked with, but for the link's own.
fn kinds(link: &Value, client: &Value) -> Vec<(&'static str, Value)> {
    let path = link["path"].as_str().unwrap();
    let folder = &path[..=path.find('/').unwrap()];
    vec![
        ("subject", json!({ "subject": link["subject"] })),
        ("client", json!({ "client": client })),
        ("everything", json!({ "everything": true })),
        ("path", json!({ "path": path })),
        ("path_prefix", json!({ "path_prefix": folder })),
        ("key", json!({ "key": 1 })),
    ]
}

fn time(value: &Value) -> UnixMillis {
    UnixMillis::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

fn with(mut what: Value, field: &str, value: Value) -> Value {
    what[field] = value;
    what
}

/// A link made with the key file by a clock that is so many milliseconds ahead.
fn offline(linkgate: &Linkgate, ahead: i64, subject: &str) -> Value {
    let clock = ShiftedClock::by(ahead);
    let mut command = linkgate.command(&["mint", "a.txt", "--subject", subject, "--json"]);
    let output = command.envs(clock.environment()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_issue_time_further_ahead_than_clocks_may_be_wrong_is_no_cut_off() {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"x");
    let client = minter(&linkgate);
    for what in [json!({ "client": client }), json!({ "path": "a.txt" }), json!({ "everything": true })] {
        let ahead = now().plus(LEEWAY + Duration::from_millis(1_800)).to_string();
        let answer = linkgate.api("POST", "/v1/revocations", &with(what.clone(), "issued_before", json!(ahead)));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["field"], "issued_before", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("issued_before"), "{problem}");
    }
    let link = linkgate.mint(&json!({ "path": "a.txt", "subject": "u" }));
    assert!(now() >= time(&link["issued_at"]));
}

#[test]
fn a_link_that_a_cut_off_has_moved_ahead_is_revoked_like_any_other() {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"x");
    let client = minter(&linkgate);
    let soon = now().plus(LEEWAY - Duration::from_millis(50)).to_string();
    linkgate.revoke(&json!({ "client": client, "issued_before": soon }));
    let links: Vec<_> = (0..3).map(|_| linkgate.mint(&json!({ "path": "a.txt", "subject": "u" }))).collect();
    assert!(links.iter().all(|link| linkgate.status(&path_of(link)) == 200));
    linkgate.revoke(&json!({ "subject": "u" }));
    assert!(links.iter().all(|link| linkgate.status(&path_of(link)) == 410));
    let after = linkgate.mint(&json!({ "path": "a.txt", "subject": "u" }));
    std::thread::sleep(LEEWAY);
    assert!(links.iter().all(|link| linkgate.status(&path_of(link)) == 410));
    assert_eq!(linkgate.status(&path_of(&after)), 200);
}

#[test]
fn a_revoker_whose_clock_is_behind_reaches_what_one_that_is_ahead_has_moved() {
    let pair = Pair::with_clocks(1_500, 0);
    let client = minter(&pair.first);
    for round in 0..5 {
        let subject = format!("user{round}");
        let wish = json!({ "path": "a.txt", "subject": subject });
        pair.revoke(&pair.first, &json!({ "client": client }), &pair.second.mint(&wish));
        let link = pair.second.mint(&wish);
        pair.eventually_answer(&link, 200);
        pair.revoke(&pair.second, &json!({ "subject": subject }), &link);
    }
}

#[test]
fn whatever_moved_a_link_whatever_is_revoked_later_reaches_it() {
    let pair = Pair::with_clocks(1_500, -1_500);
    let client = minter(&pair.first);
    let about = |round: &str| json!({ "path": format!("f{round}/a.txt"), "subject": format!("u{round}") });
    let names: Vec<&str> = kinds(&about(""), &client).into_iter().map(|(name, _)| name).collect();
    for (mover, moved_by) in names.iter().enumerate() {
        for (revoker, revoked_by) in names.iter().enumerate() {
            let what = about(&format!("{mover}{revoker}"));
            // A cut-off that lies as far ahead as the first one's clock allows; the link is moved past it.
            let ahead = now().plus(Duration::from_millis(1_500) + LEEWAY / 2).to_string();
            let (_, cause) = kinds(&what, &client).swap_remove(mover);
            let mover = pair.revoke(&pair.first, &with(cause, "issued_before", json!(ahead)), &pair.second.mint(&what));
            let link = pair.second.mint(&what);
            let lives = format!("{link} moved by {moved_by}, to be revoked by {revoked_by}");
            assert_eq!(time(&link["issued_at"]), time(&json!(ahead)), "{lives}");
            let until_now = matches!(*revoked_by, "subject" | "client" | "everything");
            let (_, revocation) = kinds(&what, &client).swap_remove(revoker);
            let block = pair.revoke(&pair.second, &revocation, &link);
            assert_eq!(block["issued_before"].is_string(), until_now, "{lives}");
            // Both lifted, the next two meet no other.
            [&mover, &block].into_iter().for_each(|revocation| pair.first.reinstate(revocation));
            pair.eventually_answer(&link, 200);
        }
    }
}

#[test]
fn clocks_that_are_set_while_it_runs_let_no_link_escape() {
    let pair = Pair::with_clocks(0, 0);
    let client = minter(&pair.first);
    for (round, [first, second]) in
        [[1_900, -1_900], [-1_900, 1_900], [0, 1_900], [1_900, 1_900]].into_iter().enumerate()
    {
        let wish = json!({ "path": "a.txt", "subject": format!("u{round}"), "stable": round % 2 == 1 });
        pair.clocks[0].shift(first);
        pair.clocks[1].shift(second);
        pair.revoke(&pair.first, &json!({ "client": client }), &pair.second.mint(&wish));
        let links = [pair.first.mint(&wish), pair.second.mint(&wish)];
        links.iter().for_each(|link| pair.eventually_answer(link, 200));
        pair.second.revoke(&json!({ "subject": format!("u{round}") }));
        links.iter().for_each(|link| pair.eventually_answer(link, 410));
        let renewed = pair.second.mint(&wish);
        pair.eventually_answer(&renewed, 200);
    }
}

#[test]
fn a_link_that_is_made_after_the_answer_works_at_once_where_it_was_made() {
    let pair = Pair::with_clocks(-1_900, 1_900);
    let client = minter(&pair.first);
    let wish = json!({ "path": "a.txt", "subject": "u" });
    for linkgate in pair.both() {
        linkgate.file("a.txt", b"x");
        for what in [json!({ "client": client }), json!({ "subject": "u" }), json!({ "everything": true })] {
            linkgate.revoke(&what);
            let batch = linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/batch", &json!({ "links": [wish] }));
            let link = linkgate.mint(&wish);
            let body = json!({ "links": [link["url"]] });
            let refreshed = linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links/refresh", &body);
            let stable = linkgate.mint(&with(wish.clone(), "stable", json!(true)));
            for link in [link, batch.json()["results"][0].clone(), refreshed.json()["results"][0].clone(), stable] {
                assert!(link["url"].is_string(), "{what}: {link}");
                assert_eq!(linkgate.status(&path_of(&link)), 200, "{what}: {link}");
            }
        }
    }
}

/// The ways of keeping revocations and of asking for them.
fn ways(redis: &Redis) -> [(&'static str, Builder); 3] {
    let direct = Builder::following(&redis.url()).store("key_prefix = \"direct\"").revocation("mode = \"direct\"");
    [("embedded", Builder::new()), ("redis", Builder::following(&redis.url())), ("direct", direct)]
}

#[test]
fn a_link_from_as_far_ahead_as_clocks_differ_works_and_can_be_revoked() {
    let redis = Redis::start();
    for (way, builder) in ways(&redis) {
        let linkgate = builder.start();
        linkgate.file("a.txt", b"x");
        // By half a second less than clocks may differ, for a slow machine.
        let ahead = (LEEWAY * 2).as_millis() as i64 - 500;
        let link = path_of(&offline(&linkgate, ahead, "u"));
        assert_eq!(linkgate.status(&link), 200, "{way}");
        linkgate.revoke(&json!({ "subject": "u" }));
        assert_eq!(linkgate.status(&link), 410, "{way}");
        std::thread::sleep(LEEWAY * 2);
        assert_eq!(linkgate.status(&link), 410, "{way}, when it would have been issued");
    }
}

#[test]
fn a_link_from_further_ahead_than_clocks_differ_is_refused() {
    let redis = Redis::start();
    for (way, builder) in ways(&redis) {
        let linkgate = builder.start();
        linkgate.file("a.txt", b"x");
        let link = offline(&linkgate, (LEEWAY * 2).as_millis() as i64 + 3_000, "u");
        assert_eq!(linkgate.status(&path_of(&link)), 403, "{way}");
        let found = linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] })).json();
        assert_eq!((&found["check"], &found["authentic"]), (&json!("issued-in-the-future"), &json!(true)), "{way}");
    }
}

#[test]
fn what_a_revocation_is_answered_with_is_what_is_kept_and_is_the_stores_time() {
    let clock = ShiftedClock::by(1_900);
    let redis = Redis::start();
    for builder in [Builder::new(), Builder::following(&redis.url()).clock(&clock)] {
        let linkgate = builder.start();
        let answers = [
            json!({ "subject": "u" }),
            json!({ "subject": "u", "reason": "é \"quoted\" \\ 100%" }),
            json!({ "path": "a.txt" }),
            json!({ "path": "a.txt", "issued_before": "2020-01-01T00:00:00Z" }),
            json!({ "everything": true, "expires_at": now().plus(Duration::from_secs(60)).to_string() }),
            json!({ "id": "AAAAAAAAAAAAAAAAAAAAAA" }),
        ];
        for what in answers {
            let before = now();
            let mut answer = linkgate.revoke(&what);
            let after = now();
            let place = format!("/v1/revocations/{}", answer["id"].as_str().unwrap());
            for field in ["position", "durability"] {
                answer.as_object_mut().unwrap().remove(field);
            }
            assert_eq!(linkgate.api("GET", &place, &Value::Null).json(), answer, "{what}");
            let created = time(&answer["created_at"]);
            // Whole milliseconds of two clocks: one may have begun the next already.
            let slack = Duration::from_millis(50);
            assert!((before.minus(slack)..=after.plus(slack)).contains(&created), "{what}: {answer}");
        }
    }
}

#[test]
fn until_now_reaches_what_was_minted_by_a_server_that_lost_its_last_writes_in_a_failover() {
    let clocks = [1_900, -1_900].map(ShiftedClock::by);
    let master = Redis::with_clock(&clocks[0]);
    let first = Builder::following(&master.url()).start();
    let mut replica = Redis::replica_of(&master);
    replica.set_clock(&clocks[1]);
    replica.stop();
    replica.launch();
    eventually("the replica is in step", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
    // What comes from now on is lost.
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    let client = minter(&first);
    first.revoke(&json!({ "client": client }));
    let link = first.mint(&json!({ "path": "a.txt", "subject": "u" }));
    drop((first.process.signal("KILL"), master));
    let second = Builder::following(&replica.url()).beside(&first).start();
    second.file("a.txt", b"x");
    second.revoke(&json!({ "subject": "u" }));
    // Until the link's issue time has come by every clock.
    let end = time(&link["issued_at"]).plus(LEEWAY);
    while now() < end {
        assert_ne!(second.status(&path_of(&link)), 200, "{link}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(second.status(&path_of(&link)), 410, "{link}");
}

#[test]
fn a_redis_that_was_started_again_holds_up_no_link_that_nothing_covers() {
    let mut redis = Redis::logged();
    let linkgate = Builder::following(&redis.url()).start();
    linkgate.file("a.txt", b"x");
    redis.stop();
    redis.launch();
    eventually("it is written to again", || {
        linkgate.api("POST", "/v1/revocations", &json!({ "subject": "covered" })).status == 201
    });
    let timed = |subject: &str| {
        let begun = std::time::Instant::now();
        let link = linkgate.mint(&json!({ "path": "a.txt", "subject": subject }));
        assert_eq!(linkgate.status(&path_of(&link)), 200, "{link}");
        begun.elapsed()
    };
    assert!(timed("other") < Duration::from_secs(1));
    // One that is covered waits until the store's time is past all that the server before may have dated.
    let waited = timed("covered");
    assert!(waited < LEEWAY * 2 + Duration::from_secs(1), "{waited:?}");
}

#[test]
fn a_verifier_whose_clock_is_ahead_permits_nothing_that_until_now_would_not_reach() {
    let clocks = [-1_900, 1_900].map(ShiftedClock::by);
    let redis = Redis::with_clock(&clocks[0]);
    let linkgate = Builder::following(&redis.url()).clock(&clocks[1]).start();
    linkgate.file("a.txt", b"x");
    // Further ahead than a clock may be, and yet not further ahead of the verifier's than clocks may differ.
    let link = path_of(&offline(&linkgate, (LEEWAY * 2).as_millis() as i64 + 1_000, "u"));
    assert_eq!(linkgate.status(&link), 403, "the store's clock says that no minter within the leeway has dated it");
    linkgate.revoke(&json!({ "subject": "u" }));
    assert_eq!(linkgate.status(&link), 403);
}
