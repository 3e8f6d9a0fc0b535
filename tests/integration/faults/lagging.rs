//! A replica that is followed hears of everything later than it should.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::fleet::{CUT_OFF_BOUND, Fleet};
use crate::support::linkgate::{Builder, path_of};
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;

/// How far the replica is behind: longer than a verifier may be stale.
const LAG: Duration = Duration::from_secs(6);
/// How long a busy machine may hold up what is asked for.
const ALLOWANCE: Duration = Duration::from_millis(500);

/// Verifiers over a master and over its replica; the replica hears through a network.
struct Site {
    fleet: Fleet,
    network: Proxy,
    _servers: [Redis; 2],
}

impl Site {
    fn new(settings: &str) -> Self {
        let master = Redis::start();
        let network = Proxy::before(&master.address());
        let replica = Redis::replica_through(&master, network.port());
        let reading = Builder::following(&replica.url()).revocation(settings);
        let mut fleet = Fleet::of([Builder::following(&master.url()), reading]);
        let path = fleet.revoke(0);
        fleet.watch_until("it bites at both", |fleet| fleet.all(&path, 410));
        Self { fleet, network, _servers: [master, replica] }
    }
}

crate::support::in_each!([
    a_replica_that_lags_further_than_a_verifier_may_be_stale_is_not_judged_by,
    a_replica_that_lags_a_little_is_judged_by,
]: with_an_index = "", in_direct_mode = "mode = \"direct\"\ndirect_timeout = \"1s\"");

fn a_replica_that_lags_further_than_a_verifier_may_be_stale_is_not_judged_by(settings: &str) {
    let mut site = Site::new(settings);
    let lags = Instant::now();
    site.network.set(Network::Delay(LAG));
    site.fleet.revoke_while_some_are_cut_off(0);
    site.fleet.watch_until("it judges no more", |fleet| fleet.verifiers[1].status(&fleet.valid) == 503);
    assert!(lags.elapsed() < CUT_OFF_BOUND + ALLOWANCE, "it took {:?}", lags.elapsed());
    // Something arrives all the time then, and all of it is old.
    while lags.elapsed() < LAG + Duration::from_secs(5) {
        site.fleet.look();
        assert_eq!(site.fleet.verifiers[1].status(&site.fleet.valid), 503, "{:?} after it lags", lags.elapsed());
        assert!(!site.fleet.verifiers[1].is_ready());
        std::thread::sleep(Duration::from_millis(20));
    }
    site.network.set(Network::Pass);
    site.fleet.recovers();
}

fn a_replica_that_lags_a_little_is_judged_by(settings: &str) {
    let mut site = Site::new(settings);
    site.network.set(Network::Delay(Duration::from_millis(500)));
    site.fleet.watch(Duration::from_millis(2_500));
    site.fleet.revoke_while_some_are_cut_off(0);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        site.fleet.look();
        site.fleet.refuses_nothing_valid();
        std::thread::sleep(Duration::from_millis(20));
    }
    site.network.set(Network::Pass);
    site.fleet.recovers();
}

#[test]
fn a_link_dated_ahead_waits_where_all_is_heard_late_and_is_never_called_one_of_the_future() {
    let master = Redis::start();
    let network = Proxy::before(&master.address());
    network.set(Network::Delay(Duration::from_millis(1_200)));
    let replica = Redis::replica_through(&master, network.port());
    let mut fleet = Fleet::of([Builder::following(&master.url())]);
    // It never heard how far the store's time really is.
    fleet.join(Builder::following(&replica.url()));
    let [minter, verifier] = &fleet.verifiers[..] else { panic!("two of them") };
    minter.revoke(&json!({ "subject": "ann" }));
    // Counts as issued just past the cut-off, as far ahead as a link may be.
    let link = path_of(&minter.mint(&json!({ "path": "a.txt", "subject": "ann" })));
    assert_eq!(minter.status(&link), 200);
    let mut seen = vec![verifier.status(&link)];
    while seen.last() != Some(&200) && seen.len() < 500 {
        assert_eq!(verifier.status(&fleet.valid), 200);
        std::thread::sleep(Duration::from_millis(20));
        seen.push(verifier.status(&link));
    }
    seen.dedup();
    assert_eq!(seen, [503, 200]);
}
