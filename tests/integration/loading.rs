//! Loading everything while others write: what comes out is what Redis holds, no more and no less.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::eventually;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

/// Hours from now to the ends of the links that are there beforehand: near, far, and none in between.
const SPREADS: [(u64, u64); 4] = [(1, 40_000), (24, 20_000), (24 * 30, 300), (24 * 3_650, 5)];
/// Links whose ends are the same millisecond: more than any page holds.
const TIED: u64 = 6_000;
/// Standing blocks, all with one score.
const BLOCKS: u64 = 3_000;
const ROUNDS: usize = 3;

/// Entries as Linkgate would have written them, without their records.
fn preload(redis: &Redis) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let mut commands = String::new();
    let mut id = 0;
    let mut link = |commands: &mut String, end: u64| {
        id += 1;
        writeln!(commands, "ZADD linkgate:{{rv}}:t {end} {id:021}A").unwrap();
    };
    for (hours, count) in SPREADS {
        for n in 0..count {
            link(&mut commands, now + hours * 3_600_000 + n * 61);
        }
    }
    (0..TIED).for_each(|_| link(&mut commands, now + 7_200_000));
    for n in 0..BLOCKS {
        writeln!(commands, "ZADD linkgate:{{rv}}:c {} s:blocked-{n}", 1_u64 << 51).unwrap();
        writeln!(commands, "ZADD linkgate:{{rv}}:c {} s:cut-{n}", now + n).unwrap();
    }
    redis.pipe(&commands);
}

/// Revokes and lifts until it is told to end; answers links that must be refused, and those that must not.
fn write_throughout(linkgate: &Linkgate, is_over: &AtomicBool) -> (Vec<String>, Vec<String>) {
    let (mut revoked, mut lifted) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let (kept, freed) = (linkgate.mint(&json!({ "path": "a.txt" })), linkgate.mint(&json!({ "path": "a.txt" })));
        linkgate.revoke(&json!({ "id": kept["id"] }));
        let passing = linkgate.revoke(&json!({ "id": freed["id"] }));
        linkgate.reinstate(&passing);
        revoked.push(path_of(&kept));
        lifted.push(path_of(&freed));
    }
    (revoked, lifted)
}

#[test]
fn a_verifier_that_loads_while_others_write_misses_nothing_and_makes_nothing_up() {
    let redis = Redis::start();
    let writer = Builder::new().redis(&redis.url()).start();
    writer.file("a.txt", b"x");
    preload(&redis);
    for _ in 0..ROUNDS {
        let is_over = AtomicBool::new(false);
        let (newcomer, (revoked, lifted)) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| write_throughout(&writer, &is_over));
            let newcomer = Builder::new().redis(&redis.url()).beside(&writer).start();
            is_over.store(true, Ordering::Relaxed);
            (newcomer, writing.join().unwrap())
        });
        newcomer.file("a.txt", b"x");
        assert!(!revoked.is_empty(), "something was written meanwhile");
        for path in &revoked {
            eventually("what was revoked meanwhile is refused", || newcomer.status(path) == 410);
        }
        for path in &lifted {
            eventually("what was lifted meanwhile is permitted", || newcomer.status(path) == 200);
        }
        for set in ["t", "c"] {
            // Traces of what was lifted are not counted, nor is the sentinel.
            let members = redis.cli(&["ZRANGE", &format!("linkgate:{{rv}}:{set}"), "0", "-1"]);
            let held = members.lines().filter(|member| *member != "!" && !member.starts_with("l:")).count();
            let name = if set == "t" { "links" } else { "cut_offs" };
            assert_eq!(newcomer.metric(&format!("linkgate_revocations{{set=\"{name}\"}}")), held as f64, "{name}");
        }
        assert!(newcomer.log().contains("loaded the revocations"));
    }
}
