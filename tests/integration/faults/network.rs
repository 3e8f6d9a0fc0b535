//! The network between a verifier and its Redis swallows, delays or closes.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::fleet::{CUT_OFF_BOUND, Fleet};
use crate::support::linkgate::Builder;
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;

/// The first verifier reaches Redis directly, the second through a network that fails on demand.
fn pair() -> (Redis, Proxy, Fleet) {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let fleet = Fleet::over(&[redis.url(), proxy.url()]);
    (redis, proxy, fleet)
}

#[test]
fn a_verifier_behind_a_half_open_connection_refuses_everything_before_it_could_permit_what_was_revoked() {
    let (_redis, proxy, mut fleet) = pair();
    proxy.set(Network::BlackHole);
    let path = fleet.revoke_while_some_are_cut_off(0);
    let answered = Instant::now();
    assert_eq!(fleet.verifiers[1].status(&path), 200, "it cannot know yet");
    fleet.watch_until("it refuses", |fleet| fleet.verifiers[1].status(&path) == 503);
    assert!(answered.elapsed() < CUT_OFF_BOUND);
    fleet.watch(Duration::from_secs(1));
    assert!(!fleet.verifiers[1].is_ready());
    assert_eq!(fleet.verifiers[0].status(&fleet.valid), 200, "the other one is not concerned");
    let asked = Instant::now();
    assert_eq!(fleet.verifiers[1].try_revoke(&path).status, 503);
    assert!(asked.elapsed() < Duration::from_secs(8), "a revocation must not hang");
    proxy.set(Network::Pass);
    fleet.recovers();
}

#[test]
fn a_half_open_connection_that_heals_in_time_is_noticed_by_nobody() {
    let (_redis, proxy, mut fleet) = pair();
    for _ in 0..2 {
        proxy.set(Network::BlackHole);
        let path = fleet.revoke_while_some_are_cut_off(0);
        fleet.watch(Duration::from_secs(1));
        proxy.set(Network::Pass);
        fleet.watch_until("it has caught up", |fleet| fleet.verifiers[1].status(&path) == 410);
    }
    fleet.recovers();
}

#[test]
fn a_network_that_takes_200_ms_each_way_delays_revocations_and_refuses_nothing() {
    let (_redis, proxy, mut fleet) = pair();
    proxy.set(Network::Delay(Duration::from_millis(200)));
    fleet.watch(Duration::from_secs(1));
    for at in [0, 1, 0, 1] {
        let path = fleet.revoke(at);
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
        fleet.refuses_nothing_valid();
    }
    fleet.watch(Duration::from_secs(4));
    fleet.refuses_nothing_valid();
    proxy.set(Network::Pass);
    fleet.recovers();
}

#[test]
fn a_network_that_closes_every_connection_for_a_while_costs_only_what_may_have_been_missed() {
    let (_redis, proxy, mut fleet) = pair();
    proxy.set(Network::Cut);
    fleet.revoke_while_some_are_cut_off(0);
    fleet.watch_until("it refuses", |fleet| fleet.verifiers[1].status(&fleet.valid) == 503);
    proxy.set(Network::Pass);
    fleet.recovers();
}

#[test]
fn a_verifier_refuses_what_it_has_just_revoked_even_while_it_does_not_follow_yet() {
    let (_redis, proxy, fleet) = pair();
    for _ in 0..3 {
        let path = fleet.verifiers[0].link("a.txt");
        proxy.set(Network::Cut);
        std::thread::sleep(Duration::from_millis(1_800));
        proxy.set(Network::Pass);
        eventually("revoking works", || fleet.verifiers[1].try_revoke(&path).status == 201);
        assert_eq!(fleet.verifiers[1].status(&path), 410, "at once");
        fleet.watch_until("it follows again", |fleet| fleet.all(&fleet.valid, 200) && fleet.verifiers[1].is_ready());
    }
}

#[test]
fn a_verifier_that_comes_back_with_revocations_of_its_own_holds_up_none_that_asks_redis() {
    let redis = Redis::start();
    let proxy = Proxy::before(&redis.address());
    let direct = Builder::following(&redis.url()).revocation("mode = \"direct\"\ndirect_timeout = \"1s\"");
    let fleet = Fleet::of([direct, Builder::following(&proxy.url())]);
    proxy.set(Network::Delay(Duration::from_millis(100)));
    for _ in 0..3 {
        let path = fleet.verifiers[0].link("a.txt");
        eventually("its follower is thrown out", || {
            let clients = redis.cli(&["CLIENT", "LIST"]);
            let follower = clients.lines().find(|client| client.contains("cmd=xread"));
            let id = follower.and_then(|follower| follower.split(' ').find_map(|field| field.strip_prefix("id=")));
            id.is_some_and(|id| redis.cli(&["CLIENT", "KILL", "ID", id]) == "1")
        });
        // It answers before it follows again.
        assert_eq!(fleet.verifiers[1].try_revoke(&path).status, 201);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            assert_eq!(fleet.verifiers[0].status(&fleet.valid), 200);
        }
    }
}

#[test]
fn connections_that_redis_closes_are_made_anew_without_anybody_noticing() {
    let (redis, _proxy, mut fleet) = pair();
    for round in 0..10 {
        assert_ne!(redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]), "0");
        let path = fleet.verifiers[0].link("a.txt");
        eventually("revoking works", || fleet.verifiers[0].try_revoke(&path).status == 201);
        assert_eq!(fleet.verifiers[0].status(&path), 410, "at once, in round {round}");
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
        fleet.refuses_nothing_valid();
    }
    fleet.recovers();
}
