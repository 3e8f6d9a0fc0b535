//! Several servers: a failover that loses writes, slots that move, TLS, another make of server.

use std::time::Duration;

use crate::support::fleet::Fleet;
use crate::support::linkgate::Builder;
use crate::support::redis::{LOGGED, Redis};
use crate::support::tls::{Authority, following};
use crate::support::topology::{Cluster, Watched};
use crate::support::{eventually, folder, free_port};

const LINKS: &str = "linkgate:{rv}:t";

#[test]
fn a_failover_that_loses_five_acknowledged_writes_loses_no_revocation() {
    let servers = Watched::start();
    let mut fleet = Fleet::over(&[servers.url(), servers.url()]);
    fleet.revoke(0);
    fleet.all_know();
    servers.part();
    let lost = [0, 1, 0, 1, 0].map(|at| fleet.revoke(at));
    fleet.all_know();
    let count = |redis: &Redis| redis.cli(&["ZCARD", LINKS]).parse::<u32>().unwrap();
    assert_eq!((count(&servers.master), count(&servers.replica)), (7, 2), "the replica lacks five");
    let mut servers = servers;
    servers.master.stop();
    servers.until_promoted();
    fleet.recovers();
    assert!(lost.iter().all(|path| fleet.all(path, 410)));
    assert_eq!(count(&servers.replica), 8, "they were written back");
    fleet.join(Builder::following(&servers.url()));
    assert!(lost.iter().all(|path| fleet.all(path, 410)), "a new verifier learns them");

    // The old master comes back with what it had, and is told to follow.
    servers.master.launch();
    fleet.watch(Duration::from_secs(2));
    fleet.recovers();
}

#[test]
fn a_cluster_whose_slot_moves_while_it_is_followed_loses_nothing() {
    let cluster = Cluster::start();
    let owner = cluster.owner(LINKS);
    // One begins with the node that has the slot, the other one with another node.
    let mut fleet = Fleet::over(&[cluster.url_beginning_with(owner), cluster.url_beginning_with(owner + 1)]);
    let before = fleet.revoke(0);
    fleet.all_know();
    for step in 1..=2 {
        cluster.move_slot_of(LINKS, (owner + step) % 3, || fleet.watch(Duration::from_millis(500)));
        assert_eq!(cluster.owner(LINKS), (owner + step) % 3);
        fleet.recovers();
        assert!(fleet.all(&before, 410));
    }
    fleet.join(Builder::following(&cluster.url_beginning_with(owner)));
    fleet.recovers();
}

#[test]
fn a_node_of_a_cluster_that_dies_and_returns_loses_nothing() {
    let mut cluster = Cluster::start();
    let owner = cluster.owner(LINKS);
    let mut fleet = Fleet::over(&[cluster.url_beginning_with(0), cluster.url_beginning_with(1)]);
    fleet.revoke(0);
    fleet.revoke(1);
    fleet.all_know();
    cluster.nodes[owner].stop();
    fleet.watch_until("links wait", |fleet| fleet.all(&fleet.valid, 503));
    cluster.nodes[owner].launch();
    fleet.recovers();
}

#[test]
fn a_redis_behind_tls_is_used_only_when_both_sides_are_who_they_should_be() {
    let authority = Authority::new();
    let mut redis = authority.redis(&authority.sign("server", "IP:127.0.0.1"));
    let client = authority.sign("client", "DNS:linkgate.test");
    let mut fleet =
        Fleet::of([following(&redis, &authority, Some(&client)), following(&redis, &authority, Some(&client))]);
    let revoked = fleet.revoke(0);
    fleet.watch_until("it bites at both", |fleet| fleet.all(&revoked, 410));

    let foreign = Authority::new();
    let strangers = [
        (following(&redis, &foreign, Some(&client)), "a server of an unknown authority"),
        (following(&redis, &authority, None), "no certificate of our own"),
        (following(&redis, &authority, Some(&foreign.sign("client", "DNS:linkgate.test"))), "a foreign certificate"),
    ];
    for (builder, what) in strangers {
        never_follows(builder, &fleet, what);
    }
    redis.stop();
    redis.launch();
    fleet.recovers();
}

#[test]
fn a_redis_behind_tls_with_a_certificate_for_another_host_is_not_believed() {
    let authority = Authority::new();
    let redis = authority.redis(&authority.sign("server", "DNS:other.test"));
    let client = authority.sign("client", "DNS:linkgate.test");
    let mut linkgate = following(&redis, &authority, Some(&client)).prepare();
    linkgate.launch();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!linkgate.is_ready());
    assert_eq!(linkgate.run(&["check"]).status.code(), Some(1));
}

fn never_follows(builder: Builder, fleet: &Fleet, what: &str) {
    let mut linkgate = builder.beside(&fleet.verifiers[0]).prepare();
    linkgate.launch();
    eventually("it says why", || linkgate.log().contains("revocations cannot be followed"));
    assert!(!linkgate.is_ready(), "{what}");
    assert_eq!(linkgate.status(&fleet.valid), 503, "{what}");
}

#[test]
fn valkey_serves_as_well_as_redis() {
    let mut command = std::process::Command::new("valkey-server");
    if command.arg("--version").stdout(std::process::Stdio::null()).status().is_err() {
        // Not every distribution has it, so it is not among what tests/run installs.
        eprintln!("valkey-server is not installed: nothing was tested with it");
        return;
    }
    let mut valkey = Redis::of("valkey-server", folder(), free_port(), &[], &LOGGED);
    let mut fleet = Fleet::over(&[valkey.url(), valkey.url()]);
    for at in [0, 1] {
        let path = fleet.revoke(at);
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
    }
    valkey.stop();
    valkey.launch();
    fleet.recovers();
    valkey.cli(&["FLUSHALL"]);
    fleet.recovers();
}
