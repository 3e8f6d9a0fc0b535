//! What the store in Redis costs: `cargo bench --bench store`, with `redis-server` installed.
//!
//! * loading a million revoked links, and how long another client of the same Redis waits meanwhile;
//! * from the script's answer to the entry being judged by at each of fifty followers, at 100 and 1 000 writes a second.
//!
//! `cargo bench --bench store -- load` or `-- propagation` runs one of them.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on fails, and measures time itself"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linkgate::clock::{Clock, SystemClock, UnixMillis};
use linkgate::entropy;
use linkgate::revocation::redis::{RedisConfig, RedisStore};
use linkgate::revocation::{Bounds, IssuedBefore};
use linkgate::revocation::{Index, Kind, Proposal, RevocationId, RevocationStore, Target};
use linkgate::token::TokenId;

const LINKS: usize = 1_000_000;
const LOAD_ROUNDS: usize = 5;
const FOLLOWERS: usize = 50;
const SECONDS: u64 = 10;
const BOUNDS: Bounds = Bounds { max_ttl: Duration::from_secs(7 * 86_400), leeway: Duration::from_secs(2) };

/// A Redis of our own, ended with the bench.
struct Redis {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder.path()).stdout(Stdio::null());
        let process = command.spawn().expect("redis-server must be installed: see tests/run");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, _folder: folder }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Puts revoked links straight into the set: how they got there is not what is measured.
    fn fill(&self, links: usize) {
        let mut pipe = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--pipe"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = std::io::BufWriter::new(pipe.stdin.take().unwrap());
        let end = now().0 + 3_600_000;
        for at in 0..links {
            let id = entropy::token_id().to_string();
            writeln!(input, "ZADD linkgate:{{rv}}:t {} {id}\r", end + (at as u64 % 3_600_000)).unwrap();
        }
        drop(input);
        assert!(pipe.wait().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn now() -> UnixMillis {
    SystemClock::new().now().wall
}

/// A follower of its own, as one process would be.
struct Follower {
    store: RedisStore,
    index: Arc<Index>,
}

impl Follower {
    fn new(redis: &Redis, folder: &Path) -> Self {
        let index = Arc::new(Index::default());
        let config = RedisConfig { url: redis.url(), ..RedisConfig::default() };
        let clock = Arc::new(SystemClock::new());
        let store = RedisStore::new(&config, folder, Arc::clone(&index), clock, BOUNDS).unwrap();
        Self { store, index }
    }

    fn start(&self) -> tokio::task::JoinHandle<()> {
        let store = self.store.clone();
        tokio::spawn(async move { store.follow().await })
    }

    async fn until_fresh(&self) {
        let clock = SystemClock::new();
        while self.index.freshness().age(clock.now()).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn revocation(id: TokenId) -> Proposal {
    Proposal {
        id: RevocationId::new(entropy::random()),
        kind: Kind::Id,
        target: Target::Link(id),
        issued_before: IssuedBefore::Always,
        expires_at: None,
        reason: None,
        created_by: "bench".into(),
        link_expiry: Some(now().plus(Duration::from_secs(3_600))),
    }
}

/// The value below which that share of the values lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

async fn load() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let first = Follower::new(&redis, folder.path());
    let following = first.start();
    first.until_fresh().await;
    following.abort();
    redis.fill(LINKS);
    assert_eq!(redis.cli(&["ZCARD", "linkgate:{rv}:t"]), (LINKS + 1).to_string());

    let mut waits = Vec::new();
    let mut took = Vec::new();
    for _ in 0..LOAD_ROUNDS {
        let is_over = Arc::new(AtomicBool::new(false));
        let pinger = std::thread::spawn({
            let (is_over, port) = (Arc::clone(&is_over), redis.port);
            move || ping(port, &is_over)
        });
        let follower = Follower::new(&redis, folder.path());
        let following = follower.start();
        follower.until_fresh().await;
        took.push(follower.store.status().last_load.unwrap().0.as_secs_f64());
        is_over.store(true, Ordering::Relaxed);
        waits.extend(pinger.join().unwrap());
        assert_eq!(follower.index.counts().links, LINKS);
        following.abort();
    }
    println!(
        "load of {LINKS} links, {LOAD_ROUNDS} rounds: median {:.2} s, fastest {:.2} s, slowest {:.2} s",
        quantile(&mut took, 0.5),
        quantile(&mut took, 0.0),
        quantile(&mut took, 1.0)
    );
    println!(
        "  another client's PING meanwhile: p50 {:.2} ms, p99 {:.2} ms, slowest {:.2} ms",
        quantile(&mut waits, 0.5),
        quantile(&mut waits, 0.99),
        quantile(&mut waits, 1.0)
    );
}

/// Asks for a sign of life again and again; answers how long each took, in milliseconds.
fn ping(port: u16, is_over: &AtomicBool) -> Vec<f64> {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut waits = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        waits.push(asked.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(1));
    }
    waits
}

async fn propagation(per_second: u64) {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let followers: Vec<_> = (0..FOLLOWERS).map(|_| Follower::new(&redis, folder.path())).collect();
    let following: Vec<_> = followers.iter().map(Follower::start).collect();
    for follower in &followers {
        follower.until_fresh().await;
    }
    let writer = Follower::new(&redis, folder.path()).store;
    let started = Instant::now();
    let total = per_second * SECONDS;
    let mut watches = Vec::new();
    for at in 0..total {
        let due = started + Duration::from_micros(at * 1_000_000 / per_second);
        tokio::time::sleep_until(due.into()).await;
        let (writer, id) = (writer.clone(), entropy::token_id());
        // A few of the writes are watched closely; the rest is load.
        let is_watched = at % (per_second / 20).max(1) == 0;
        let indexes: Vec<_> =
            if is_watched { followers.iter().map(|one| Arc::clone(&one.index)).collect() } else { Vec::new() };
        watches.push(tokio::spawn(async move {
            writer.revoke(revocation(id), None).await.unwrap();
            let answered = Instant::now();
            let mut waits = Vec::with_capacity(indexes.len());
            let mut missing = indexes;
            while !missing.is_empty() {
                missing.retain(|index| {
                    let has = index.look(|view| view.has_link(id));
                    if has {
                        waits.push(answered.elapsed().as_secs_f64() * 1e3);
                    }
                    !has
                });
                if !missing.is_empty() {
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
            }
            waits
        }));
    }
    let mut waits = Vec::new();
    for watch in watches {
        waits.extend(watch.await.unwrap());
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "{FOLLOWERS} followers, {per_second} writes/s asked, {:.0} done: from the answer to being judged by, p50 {:.2} ms, \
         p99 {:.2} ms, slowest {:.2} ms",
        total as f64 / took,
        quantile(&mut waits, 0.5),
        quantile(&mut waits, 0.99),
        quantile(&mut waits, 1.0)
    );
    following.iter().for_each(tokio::task::JoinHandle::abort);
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if is_wanted("load") {
            load().await;
        }
        if is_wanted("propagation") {
            propagation(100).await;
            propagation(1_000).await;
        }
    });
}
