//! A store that is not the one it was: emptied and set up by a newcomer, put back to a backup, or with another clock.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::clock::ShiftedClock;
use crate::support::eventually;
use crate::support::fleet::Fleet;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

/// For so long a newcomer waits, at a Redis that is empty, for those who know better.
const PROBATION: Duration = Duration::from_secs(2);
/// How long a process may take to start on a busy machine.
const ALLOWANCE: Duration = Duration::from_secs(1);

/// Looks for a while whether any of some verifiers permits a link.
fn never_permit(verifiers: &[&Linkgate], path: &str, length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        for (at, verifier) in verifiers.iter().enumerate() {
            let status = verifier.status(path);
            let after = begun.elapsed();
            assert!(
                [410, 503].contains(&status),
                "verifier {at} answered {status} after {after:?}\n{}",
                verifier.log()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn newcomer(redis: &Redis, other: &Linkgate) -> Linkgate {
    let newcomer = Builder::following(&redis.url()).beside(other).prepare();
    newcomer.file("a.txt", b"contents");
    newcomer
}

#[test]
fn a_newcomer_on_a_redis_that_was_never_used_is_ready_after_two_seconds_at_most() {
    let redis = Redis::start();
    let mut linkgate = Builder::following(&redis.url()).newcomer().prepare();
    redis.cli(&["FLUSHALL"]); // the clients that were added have set it up
    std::fs::remove_file(linkgate.data_dir().join("store-epoch.json")).unwrap_or_default();
    let launched = Instant::now();
    linkgate.launch();
    linkgate.until_ready();
    assert!(launched.elapsed() < PROBATION + ALLOWANCE, "it took {:?}", launched.elapsed());
}

#[test]
fn a_verifier_in_direct_mode_does_not_believe_an_emptied_redis_that_a_newcomer_has_set_up() {
    let redis = Redis::start();
    let direct = Builder::following(&redis.url()).revocation("mode = \"direct\"\ndirect_timeout = \"1s\"");
    let mut fleet = Fleet::of([direct]);
    let revoked = fleet.revoke(0);
    std::thread::sleep(Duration::from_millis(1_500)); // it looks after the store once a second
    redis.cli(&["FLUSHALL"]);
    let mut newcomer = newcomer(&redis, &fleet.verifiers[0]);
    newcomer.launch();
    never_permit(&[&fleet.verifiers[0], &newcomer], &revoked, PROBATION + Duration::from_secs(4));
    assert!(!fleet.verifiers[0].is_ready());
    fleet.verifiers[0].succeed(&["store", "init", "--accept-loss"]);
    fleet.verifiers[0].until_ready();
    newcomer.until_ready();
    assert_eq!([&fleet.verifiers[0], &newcomer].map(|one| one.status(&fleet.valid)), [200; 2]);
}

#[test]
fn a_verifier_that_starts_does_not_believe_an_emptied_redis_that_a_newcomer_has_set_up() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url()]);
    let revoked = fleet.revoke(0);
    fleet.verifiers[0].process.stop();
    redis.cli(&["FLUSHALL"]);
    let mut newcomer = newcomer(&redis, &fleet.verifiers[0]);
    newcomer.launch();
    newcomer.until_ready();
    fleet.verifiers[0].launch();
    never_permit(&[&fleet.verifiers[0]], &revoked, Duration::from_secs(4));
    assert!(!fleet.verifiers[0].is_ready());
    fleet.verifiers[0].succeed(&["store", "init", "--accept-loss"]);
    fleet.verifiers[0].until_ready();
    assert_eq!(fleet.verifiers[0].status(&fleet.valid), 200);
}

#[test]
fn newcomers_at_a_redis_that_is_emptied_permit_nothing_that_a_running_verifier_remembers() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url()]);
    let revoked = fleet.revoke(0);
    for _ in 0..3 {
        let mut newcomer = newcomer(&redis, &fleet.verifiers[0]);
        redis.cli(&["FLUSHALL"]);
        newcomer.launch();
        never_permit(&[&fleet.verifiers[0], &newcomer], &revoked, PROBATION + Duration::from_secs(1));
        newcomer.until_ready();
        fleet.recovers();
        assert_eq!(newcomer.status(&revoked), 410);
    }
}

#[test]
fn a_revocation_that_one_verifier_remembers_outlives_a_backup_and_a_trimmed_stream() {
    let mut redis = Redis::logged();
    let mut fleet = Fleet::over(&[redis.url(), redis.url()]);
    fleet.revoke(0);
    fleet.all_know();
    let path = fleet.verifiers[1].link("a.txt");
    let backup = redis.backup();
    let [other, answering] = [0, 1].map(|at| &fleet.verifiers[at]);
    other.process.signal("STOP");
    std::thread::sleep(Duration::from_millis(50)); // until it has stopped
    assert_eq!(answering.try_revoke(&path).status, 201);
    assert_eq!(answering.status(&path), 410);
    answering.process.signal("STOP");
    redis.stop();
    redis.restore(Some(&backup));
    redis.launch();
    other.process.signal("CONT");
    eventually("the other one goes on", || other.is_ready());
    let later: Vec<String> = (0..6).map(|_| fleet.revoke_while_some_are_cut_off(0)).collect();
    redis.cli(&["XTRIM", "linkgate:{rv}:s", "MAXLEN", "0"]);
    let [other, answering] = [0, 1].map(|at| &fleet.verifiers[at]);
    answering.process.signal("CONT");
    never_permit(&[answering], &path, Duration::from_secs(3));
    eventually("it is written back", || other.status(&path) == 410);
    fleet.recovers();
    assert!(later.iter().chain([&path]).all(|path| fleet.all(path, 410)));
}

#[test]
fn a_verifier_refuses_what_it_has_revoked_though_redis_came_back_empty_with_its_clock_behind() {
    let mut redis = Redis::logged();
    // They go on judging by what they know while Redis is away.
    let mut fleet = Fleet::of([(), ()].map(|()| Builder::new().redis(&redis.url())));
    fleet.revoke(0);
    fleet.all_know();
    let links: Vec<String> = (0..200).map(|_| fleet.verifiers[0].link("a.txt")).collect();
    let [answering, other] = [0, 1].map(|at| &fleet.verifiers[at]);
    redis.stop();
    other.process.signal("STOP");
    // Until the one that will answer looks for Redis every few seconds only.
    std::thread::sleep(Duration::from_secs(5));
    redis.restore(None);
    let behind = ShiftedClock::by(-30_000);
    redis.set_clock(&behind);
    redis.launch();
    other.process.signal("CONT");
    let end = Instant::now() + Duration::from_secs(4);
    let mut revoked: Vec<&String> = Vec::new();
    for link in &links {
        if Instant::now() > end {
            break;
        }
        if answering.try_revoke(link).status == 201 {
            revoked.push(link);
        }
        for path in revoked.iter().rev().take(10) {
            let status = answering.status(path);
            assert!([410, 503].contains(&status), "{status} after its own answer\n{}", answering.log());
        }
    }
    assert!(!revoked.is_empty(), "nothing could be revoked\n{}", answering.log());
    fleet.recovers();
    assert!(revoked.iter().all(|path| fleet.all(path, 410)));
}

#[test]
fn counted_links_that_are_used_up_stay_so_while_a_newcomer_sets_an_emptied_redis_up() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url()]);
    let mut clients = 1_u32..;
    for _ in 0..4 {
        let link = path_of(&fleet.verifiers[0].mint(&json!({ "path": "a.txt", "max_downloads": 1 })));
        let mut newcomer = newcomer(&redis, &fleet.verifiers[0]);
        let mut get = |verifier: &Linkgate| {
            let address = format!("2001:db8::{:x}", clients.next().unwrap());
            verifier.get_as("GET", &link, &[("X-Real-IP", &address)]).status
        };
        assert_eq!([get(&fleet.verifiers[0]), get(&fleet.verifiers[0])], [200, 410]);
        redis.cli(&["FLUSHALL"]);
        newcomer.launch();
        for _ in 0..25 {
            for verifier in [&fleet.verifiers[0], &newcomer] {
                let status = get(verifier);
                assert!([410, 503].contains(&status), "it was used up and answered {status}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        fleet.recovers();
        let mint = || fleet.verifiers[0].api("POST", "/v1/links", &json!({ "path": "a.txt" }));
        eventually("its clients are known again", || mint().status == 201);
    }
}
