//! The embedded store: what it has answered it still knows, whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::clock::ShiftedClock;
use crate::support::http::try_request;
use crate::support::linkgate::{Builder, Linkgate};
use crate::support::small_disk::SmallDisk;

/// Times the process is killed.
const KILLS: usize = 50;

#[test]
fn every_acknowledged_revocation_survives_fifty_kills() {
    let mut linkgate = Builder::new().start();
    linkgate.file("a.txt", b"x");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..KILLS {
        let links: Vec<Value> = (0..40).map(|_| linkgate.mint(&json!({ "path": "a.txt" }))).collect();
        // Somewhere in the middle of forty revocations, a different place each time.
        let delay = Duration::from_micros((round as u64 * 7919) % 60_000);
        let is_over = AtomicBool::new(false);
        let revoked = std::thread::scope(|scope| {
            let revoker = scope.spawn(|| revoke_until_it_dies(&linkgate, &links, &is_over));
            std::thread::sleep(delay);
            linkgate.process.signal("KILL");
            is_over.store(true, Ordering::Relaxed);
            revoker.join().unwrap()
        });
        acknowledged.extend(revoked);
        linkgate.process.kill();
        linkgate.launch();
        linkgate.until_ready();
        let sample = acknowledged.iter().rev().take(45);
        for path in sample {
            assert_eq!(linkgate.get(path).status, 410, "a revocation was lost in round {round}");
        }
    }
    assert!(acknowledged.len() > KILLS, "only {} revocations were acknowledged", acknowledged.len());
    for path in &acknowledged {
        assert_eq!(linkgate.get(path).status, 410, "a revocation was lost");
    }
    let listed = linkgate.api("GET", "/v1/revocations?limit=1000", &Value::Null).json();
    assert!(listed["revocations"].as_array().unwrap().len() >= acknowledged.len().min(1000));
}

/// Revokes one link after the other; answers the paths of those whose revocation was acknowledged.
fn revoke_until_it_dies(linkgate: &Linkgate, links: &[Value], is_over: &AtomicBool) -> Vec<String> {
    let authorization = format!("Bearer {}", linkgate.admin_key);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let mut acknowledged = Vec::new();
    for link in links {
        let body = json!({ "id": link["id"] }).to_string();
        let answer = try_request(&linkgate.place(), "POST", "/v1/revocations", &headers, body.as_bytes());
        match answer {
            Ok(answer) if answer.status == 201 => acknowledged.push(crate::support::linkgate::path_of(link)),
            _ if is_over.load(Ordering::Relaxed) => break,
            _ => {}
        }
    }
    acknowledged
}

#[test]
fn revocations_and_what_was_lifted_are_the_same_after_a_restart() {
    let mut linkgate = Builder::new().start();
    linkgate.file("a/b.txt", b"x");
    let path = linkgate.link("a/b.txt");
    let first = linkgate.revoke(&json!({ "path": "a/b.txt", "reason": "one" }));
    let second = linkgate.revoke(&json!({ "path": "a/b.txt", "reason": "two" }));
    linkgate.reinstate(&first);
    assert_eq!(linkgate.get(&path).status, 410, "the other one still bites");
    linkgate.process.kill();
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!(linkgate.get(&path).status, 410);
    let listed = linkgate.api("GET", "/v1/revocations", &Value::Null).json();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1);
    assert_eq!(listed["revocations"][0]["id"], second["id"]);
    linkgate.reinstate(&second);
    assert_eq!(linkgate.get(&path).status, 200);
}

#[test]
fn a_full_disk_loses_nothing_and_is_over_when_there_is_room() {
    let disk = SmallDisk::mount();
    let data = disk.path().join("data");
    let mut linkgate = Builder::new().environment("LINKGATE_DATA_DIR", &data.display().to_string()).start();
    linkgate.file("a.txt", b"x");
    let kept = linkgate.link("a.txt");
    linkgate.revoke(&json!({ "link": format!("http://links.test{kept}") }));

    disk.fill();
    let refused = (0..2000)
        .map(|_| {
            linkgate.api("POST", "/v1/revocations", &json!({ "subject": "x".repeat(100), "reason": "r".repeat(500) }))
        })
        .find(|answer| answer.status != 201)
        .expect("a full disk must be noticed");
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:linkgate:problem:store-full");
    assert_eq!(linkgate.get(&kept).status, 410, "what was recorded still bites");

    disk.make_room();
    let after = linkgate.link("a.txt");
    linkgate.revoke(&json!({ "link": format!("http://links.test{after}") }));
    linkgate.process.kill();
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!((linkgate.get(&kept).status, linkgate.get(&after).status), (410, 410));
}

#[test]
fn a_link_that_counts_as_issued_ahead_works_though_the_process_restarts_with_its_clock_set_back() {
    let clock = ShiftedClock::by(1_500);
    let mut linkgate = Builder::new().clock(&clock).start();
    linkgate.file("a.txt", b"contents");
    linkgate.revoke(&json!({ "everything": true }));
    let link = linkgate.link("a.txt");
    linkgate.process.kill();
    clock.shift(-1_500);
    linkgate.launch();
    linkgate.until_ready();
    assert_eq!(linkgate.status(&link), 200, "{}", linkgate.log());
}
