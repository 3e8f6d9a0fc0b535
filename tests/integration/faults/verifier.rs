//! A verifier itself is frozen, or killed at the worst moment.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::clock::ShiftedClock;
use crate::support::eventually;
use crate::support::fleet::{Fleet, MAX_STALENESS};
use crate::support::linkgate::Builder;
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;

/// Revocations that take a while to load.
const MANY: usize = 200_000;

#[test]
fn a_verifier_that_nothing_happens_to_stays_fresh() {
    // Each alone with its Redis, so that nobody else's beats help.
    let sites: Vec<(Redis, Fleet)> = (0..4)
        .map(|_| {
            let redis = Redis::start();
            let fleet = Fleet::over(&[redis.url()]);
            (redis, fleet)
        })
        .collect();
    let (end, mut oldest) = (Instant::now() + Duration::from_secs(20), 0.0_f64);
    while Instant::now() < end {
        for (_, fleet) in &sites {
            oldest = oldest.max(fleet.verifiers[0].metric("linkgate_revocation_staleness_seconds"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // A beat a second, and half a second for a busy machine.
    assert!(oldest < 2.5, "what a verifier knew was {oldest} s old at a time");
}

#[test]
fn a_verifier_that_was_frozen_for_too_long_wakes_up_stale_and_then_knows() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url(), redis.url()]);
    fleet.verifiers[1].process.signal("STOP");
    let path = fleet.revoke_while_some_are_cut_off(0);
    std::thread::sleep(MAX_STALENESS + Duration::from_millis(500));
    fleet.verifiers[1].process.signal("CONT");
    let first = fleet.verifiers[1].status(&path);
    assert!(first == 503 || first == 410, "its first answer was {first}");
    fleet.recovers();
}

#[test]
fn a_verifier_that_was_frozen_for_a_moment_catches_up_even_when_the_stream_was_trimmed() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url(), redis.url()]);
    fleet.revoke(0);
    fleet.all_know();
    fleet.verifiers[1].process.signal("STOP");
    let missed = [0, 0, 0].map(|at| fleet.revoke_while_some_are_cut_off(at));
    redis.cli(&["XTRIM", "linkgate:{rv}:s", "MAXLEN", "0"]);
    std::thread::sleep(Duration::from_millis(1_200));
    fleet.verifiers[1].process.signal("CONT");
    fleet.watch_until("it has caught up", |fleet| missed.iter().all(|path| fleet.all(path, 410)));
    assert_eq!(fleet.verifiers[1].status(&fleet.valid), 200, "it was never stale");
    fleet.recovers();
}

#[test]
fn a_verifier_that_is_killed_while_it_loads_permits_nothing_before_and_starts_again() {
    let redis = Redis::start();
    let mut fleet = Fleet::over(&[redis.url()]);
    let revoked = fleet.revoke(0);
    preload(&redis);
    let mut late = Builder::following(&redis.url()).beside(&fleet.verifiers[0]).prepare();
    late.file("a.txt", b"contents");
    for pause in [0, 40, 150] {
        late.launch();
        std::thread::sleep(Duration::from_millis(pause));
        assert!([410, 503].contains(&late.status(&revoked)), "after {pause} ms");
        let status = late.status(&fleet.valid);
        assert!(status == 503 || late.is_ready(), "it answered {status} before it was ready, after {pause} ms");
        late.process.kill();
    }
    late.launch();
    late.until_ready();
    assert_eq!(late.metric("linkgate_revocations{set=\"links\"}"), (MANY + 1) as f64);
    fleet.verifiers.push(late);
    fleet.recovers();
}

/// Writes members into the set of links, as a store has them that has been used for long.
fn preload(redis: &Redis) {
    let far = u64::MAX >> 22; // an end in milliseconds, below any epoch
    let mut commands = String::new();
    for n in 0..MANY {
        writeln!(commands, "ZADD linkgate:{{rv}}:t {far} {n:021}A").unwrap();
    }
    redis.pipe(&commands);
}

crate::support::in_each!([
    a_verifier_that_has_just_started_calls_no_link_that_others_make_one_of_the_future,
]: with_an_index = "", in_direct_mode = "mode = \"direct\"\ndirect_timeout = \"1s\"");

fn a_verifier_that_has_just_started_calls_no_link_that_others_make_one_of_the_future(settings: &str) {
    let redis = Redis::start();
    let clocks = [1_500, -1_500].map(ShiftedClock::by);
    let first = Builder::following(&redis.url()).clock(&clocks[0]);
    let network = Proxy::before(&redis.address());
    let second = Builder::following(&network.url()).clock(&clocks[1]).revocation(settings);
    let mut fleet = Fleet::of([first, second]);
    fleet.verifiers[1].process.kill();
    network.set(Network::Cut);
    let link = fleet.verifiers[0].link("a.txt");
    fleet.verifiers[0].revoke(&json!({ "everything": true }));
    assert_eq!(fleet.verifiers[0].status(&link), 410);
    // Counts as issued as far ahead as links may be.
    let link = fleet.verifiers[0].link("a.txt");
    assert_eq!(fleet.verifiers[0].status(&link), 200);
    fleet.verifiers[1].launch();
    let status = fleet.verifiers[1].status(&link);
    network.set(Network::Pass);
    assert_eq!(status, 503, "it has not heard of the store's time yet");
    eventually("it permits the link", || match fleet.verifiers[1].status(&link) {
        200 => true,
        503 => false,
        status => panic!("it was answered {status}"),
    });
}
