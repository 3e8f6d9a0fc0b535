//! The local copy of what is revoked: with it a verifier starts without Redis, and it is never believed blindly.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::eventually;
use crate::support::fleet::{CUT_OFF_BOUND, Fleet};
use crate::support::linkgate::{Builder, Linkgate};
use crate::support::proxy::{Network, Proxy};
use crate::support::redis::Redis;
use crate::support::small_disk::SmallDisk;

/// A fleet of one with a local copy, behind a network that fails on demand; one link is revoked.
struct Site {
    fleet: Fleet,
    revoked: String,
    proxy: Proxy,
    redis: Redis,
    cache: TempDir,
}

impl Site {
    fn new() -> Self {
        let redis = Redis::start();
        let proxy = Proxy::before(&redis.address());
        let cache = crate::support::folder();
        let mut fleet = Fleet::of([caching(&proxy.url(), cache.path().to_owned())]);
        let revoked = fleet.revoke(0);
        fleet.verifiers[0].revoke(&serde_json::json!({ "path": "blocked.txt" }));
        Self { fleet, revoked, proxy, redis, cache }
    }

    fn snapshot(&self) -> PathBuf {
        self.cache.path().join("revocations.snapshot")
    }

    fn verifier(&mut self) -> &mut Linkgate {
        &mut self.fleet.verifiers[0]
    }

    /// Ends the verifier in order, which leaves a copy of the last moment.
    fn stop(&mut self) {
        self.verifier().process.stop();
        assert!(self.snapshot().exists(), "the copy is written at the end");
    }
}

fn caching(url: &str, cache: PathBuf) -> Builder {
    Builder::following(url).revocation(&format!("cache_dir = {cache:?}"))
}

#[test]
fn a_verifier_with_a_young_copy_starts_without_redis_and_knows_what_is_revoked() {
    let mut site = Site::new();
    site.stop();
    site.proxy.set(Network::BlackHole);
    let started = Instant::now();
    site.verifier().launch();
    let first = [site.fleet.valid.clone(), site.revoked.clone()].map(|path| site.fleet.verifiers[0].status(&path));
    // On a busy machine a start may take longer than the copy is good for.
    assert!(first == [200, 410] || started.elapsed() > Duration::from_secs(2), "{first:?}\n{}", site.verifier().log());
    site.fleet
        .watch_until("in the end it may have missed something", |fleet| fleet.verifiers[0].status(&fleet.valid) == 503);
    assert!(started.elapsed() < CUT_OFF_BOUND, "{:?}", started.elapsed());
    assert_eq!(site.fleet.verifiers[0].status(&site.revoked), 410);
    site.proxy.set(Network::Pass);
    site.fleet.recovers();
}

#[test]
fn an_old_copy_still_refuses_what_was_revoked_and_permits_nothing() {
    let mut site = Site::new();
    site.stop();
    site.proxy.set(Network::BlackHole);
    std::thread::sleep(Duration::from_millis(3_500));
    site.verifier().launch();
    eventually("the copy is loaded", || site.fleet.verifiers[0].status(&site.revoked) == 410);
    assert_eq!(site.fleet.verifiers[0].status(&site.fleet.valid), 503);
    assert!(!site.fleet.verifiers[0].is_ready());
    site.proxy.set(Network::Pass);
    site.fleet.recovers();
}

#[test]
fn a_copy_is_written_while_the_verifier_runs_and_not_only_at_its_end() {
    let mut site = Site::new();
    let path = site.snapshot();
    eventually("a copy is there", || path.exists());
    let written = || std::fs::metadata(&path).unwrap().modified().unwrap();
    let (first, later) = (written(), site.fleet.revoke(0));
    eventually("it is written again", || written() > first);
    site.verifier().process.kill();
    site.proxy.set(Network::BlackHole);
    site.verifier().launch();
    eventually("the copy is loaded", || site.fleet.verifiers[0].status(&later) == 410);
}

#[test]
fn what_was_revoked_or_lifted_since_the_copy_is_learned_before_anything_is_permitted() {
    let mut site = Site::new();
    let other = Builder::following(&site.redis.url()).beside(&site.fleet.verifiers[0]).start();
    let (missed, lifted) = (other.link("a.txt"), other.link("a.txt"));
    let revocation = other.try_revoke(&lifted).json();
    eventually("it knows", || site.fleet.verifiers[0].status(&lifted) == 410);
    site.stop();
    assert_eq!(other.try_revoke(&missed).status, 201);
    other.reinstate(&revocation);
    std::thread::sleep(Duration::from_millis(1_000));
    site.verifier().launch();
    site.verifier().until_ready();
    eventually("it has caught up", || {
        let [missed, lifted] = [&missed, &lifted].map(|path| site.fleet.verifiers[0].status(path));
        (missed, lifted) == (410, 200)
    });
    site.fleet.recovers();
}

type Damage = fn(Vec<u8>) -> Vec<u8>;

#[test]
fn a_damaged_copy_is_put_aside_with_a_warning_and_everything_is_loaded_from_redis() {
    let mut site = Site::new();
    let damages: [(&str, Damage); 5] = [
        ("flipped in the middle", |mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("flipped at the start", |mut bytes| {
            bytes[0] ^= 0x80;
            bytes
        }),
        ("cut short", |bytes| bytes[..bytes.len() - 1].to_vec()),
        ("empty", |_| Vec::new()),
        ("garbage", |_| b"not a copy of anything\n".repeat(100)),
    ];
    for (name, damage) in damages {
        site.stop();
        let copy = std::fs::read(site.snapshot()).unwrap();
        std::fs::write(site.snapshot(), damage(copy)).unwrap();
        // Without Redis there is nothing to judge by.
        site.proxy.set(Network::BlackHole);
        let said = site.verifier().log().len();
        site.verifier().launch();
        for path in [&site.fleet.valid, &site.revoked] {
            assert_eq!(site.fleet.verifiers[0].status(path), 503, "{name}");
        }
        let log = site.fleet.verifiers[0].log()[said..].to_lowercase();
        let warns = |line: &str| line.contains("warn") && line.contains("snapshot");
        assert!(log.lines().any(warns), "{name} is warned about: {log}");
        site.proxy.set(Network::Pass);
        site.fleet.recovers();
    }
}

#[test]
fn a_copy_of_a_store_that_was_emptied_meanwhile_lets_nothing_revoked_through() {
    let mut site = Site::new();
    site.stop();
    site.redis.cli(&["FLUSHALL"]);
    site.verifier().launch();
    let end = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < end {
        let status = site.fleet.verifiers[0].status(&site.revoked);
        assert!([410, 503].contains(&status), "a revoked link was answered {status}");
    }
}

#[test]
fn a_copy_still_knows_what_a_redis_that_came_back_as_it_was_before_has_lost() {
    let mut site = Site::new();
    assert_eq!(site.redis.cli(&["SAVE"]), "OK");
    let since = site.fleet.revoke(0);
    site.stop();
    site.redis.stop();
    site.redis.launch();
    site.verifier().launch();
    site.fleet.recovers();
    site.fleet.join(Builder::following(&site.redis.url()));
    assert!(site.fleet.all(&since, 410), "and tells it");
}

#[test]
fn a_full_disk_below_the_copy_stops_nothing() {
    let disk = SmallDisk::mount();
    let redis = Redis::start();
    let mut fleet = Fleet::of([caching(&redis.url(), disk.path().to_owned())]);
    disk.fill();
    fleet.watch_until("it says that it cannot write the copy", |fleet| {
        // There is always something new to write.
        fleet.verifiers[0].revoke(&serde_json::json!({ "subject": "x".repeat(100) }));
        fleet.verifiers[0].log().to_lowercase().contains("snapshot")
    });
    assert!(fleet.verifiers[0].is_ready());
    fleet.recovers();
    disk.make_room();
    fleet.verifiers[0].process.stop();
    fleet.verifiers[0].launch();
    fleet.recovers();
}
