//! A master that was replaced goes on answering those who are cut off together with it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::fleet::{CUT_OFF_BOUND, Fleet};
use crate::support::http::{Response, request};
use crate::support::linkgate::{Builder, Linkgate};
use crate::support::sentinels::Watched;

/// Where the verifier beside the old master is.
const BESIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long a busy machine may hold up what is asked for.
const ALLOWANCE: Duration = Duration::from_millis(500);

/// Verifiers over watched servers: the first is on the side of the replica, the second beside the old master.
struct Split {
    servers: Watched,
    fleet: Fleet,
    parted: Instant,
}

impl Split {
    fn new(settings: &str) -> Self {
        let servers = Watched::start();
        let beside = Builder::following(&servers.url()).revocation(settings).source_address(BESIDE);
        let mut fleet = Fleet::of([Builder::following(&servers.url()), beside]);
        let acknowledged = revoke_ann(&fleet.verifiers[0]);
        assert_eq!(acknowledged.status, 201, "{}", acknowledged.text());
        fleet.revoke(0);
        fleet.all_know();
        let split = Self { servers, fleet, parted: Instant::now() };
        split.servers.part(0, BESIDE);
        split
    }

    /// The replica takes over, and the one on its side goes on with it.
    fn fail_over(&self) {
        self.servers.until_replaced(0);
        let revoke = || self.fleet.verifiers[0].api("POST", "/v1/revocations", &json!({ "subject": "u" }));
        self.fleet.watch_until("it revokes and judges by the new master", |fleet| {
            revoke().status == 201 && fleet.verifiers[0].is_ready()
        });
    }

    fn heal(&mut self) {
        self.servers.heal(BESIDE);
        self.fleet.recovers();
    }
}

/// Always with the same key.
fn revoke_ann(at: &Linkgate) -> Response {
    let authorization = format!("Bearer {}", at.admin_key);
    let headers =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", "ann")];
    request(&at.place(), "POST", "/v1/revocations", &headers, br#"{"subject":"ann"}"#)
}

crate::support::in_each!([
    a_verifier_beside_a_master_that_was_replaced_permits_nothing_once_it_may_be_stale,
    a_verifier_beside_a_master_that_was_replaced_acknowledges_no_revocation,
]: with_an_index = "", in_direct_mode = "mode = \"direct\"\ndirect_timeout = \"1s\"");

fn a_verifier_beside_a_master_that_was_replaced_permits_nothing_once_it_may_be_stale(settings: &str) {
    let mut split = Split::new(settings);
    split.fail_over();
    split.fleet.revoke_while_some_are_cut_off(0);
    while split.parted.elapsed() < CUT_OFF_BOUND + ALLOWANCE {
        split.fleet.look();
        std::thread::sleep(Duration::from_millis(20));
    }
    let end = Instant::now() + CUT_OFF_BOUND + ALLOWANCE;
    while Instant::now() < end {
        split.fleet.look();
        let (status, parted) = (split.fleet.verifiers[1].status(&split.fleet.valid), split.parted.elapsed());
        assert_eq!(status, 503, "{parted:?} after it was cut off");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!split.fleet.verifiers[1].is_ready());
    split.heal();
}

fn a_verifier_beside_a_master_that_was_replaced_acknowledges_no_revocation(settings: &str) {
    let mut split = Split::new(settings);
    let path = split.fleet.verifiers[1].link("a.txt");
    split.fail_over();
    let refused = split.fleet.verifiers[1].try_revoke(&path);
    assert_eq!(refused.status, 503, "{}", refused.text());
    // Nor what was acknowledged before: it may have been lifted meanwhile, where all the others look.
    let again = revoke_ann(&split.fleet.verifiers[1]);
    assert_eq!(again.status, 503, "{}", again.text());
    split.heal();
    // What was not acknowledged may be there or not, but it is the same everywhere.
    let status = split.fleet.verifiers[0].status(&path);
    split.fleet.watch_until("both say the same", |fleet| fleet.all(&path, status));
}
