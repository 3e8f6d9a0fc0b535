//! What making links costs: `cargo bench --bench mint`.
//!
//! In the core, one thread, links made anew and stable ones; and over HTTP, a thousand in one request, by the wall clock
//! and by the server's own processor time.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot go on fails, and measures time itself"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use linkgate::collection::Collection;
use linkgate::mint::{Dates, MintRequest, Signing};
use linkgate::revocation::Bounds;
use linkgate::token::MintPolicy;
use server::Server;

#[allow(dead_code, reason = "other benches use more of it")]
#[path = "fixture/mod.rs"]
mod fixture;
#[path = "fixture/server.rs"]
mod server;

const ROUNDS: usize = 21;
/// Links of one kind in one round.
const LINKS: usize = 20_000;
/// Links in a batch.
const BATCH: usize = 1_000;

fn main() {
    let signing = Signing {
        keyring: ArcSwap::from_pointee(fixture::keyring()),
        collections: BTreeMap::from([("image".to_owned(), Collection::new("image", "/media".into()).unwrap())]),
        public_url: "https://dl.example.com".into(),
        bounds: Bounds { max_ttl: fixture::HOUR * 24 * 7, leeway: Duration::from_secs(2) },
    };
    let policy = MintPolicy::unbounded();
    let index = fixture::index(std::iter::empty());
    let request = |number: usize, stable| MintRequest {
        path: format!("users/{number}/holiday/IMG_{number:04}.jpg"),
        subject: Some(format!("user-{number}")),
        stable: Some(stable),
        ..MintRequest::default()
    };
    let requests = [false, true].map(|stable| (0..LINKS).map(|number| request(number, stable)).collect::<Vec<_>>());
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (requests, costs) in requests.iter().zip(&mut costs) {
            let start = Instant::now();
            for request in requests {
                let minted =
                    index.look(|view| signing.mint(request, "backend", &policy, view, Dates::at(fixture::NOW)));
                black_box(minted.unwrap());
            }
            costs.push(start.elapsed().as_secs_f64() / LINKS as f64);
        }
    }
    for (name, costs) in ["made anew", "stable"].iter().zip(&costs) {
        let cost = median(costs);
        println!("{name:<12} {:>6.0} ns a link, {:>7.0} links a second", cost * 1e9, 1.0 / cost);
    }

    let server = Server::start("");
    let mut connection = server.connection();
    let links: Vec<_> = (0..BATCH)
        .map(|number| format!("{{\"path\":\"users/{number}/a.jpg\",\"subject\":\"user-{number}\"}}"))
        .collect();
    let body = format!("{{\"links\":[{}]}}", links.join(","));
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (start, used) = (Instant::now(), server.cpu());
        assert_eq!(connection.post("/v1/links/batch", &server.api_key, &body), 200);
        times.push(start.elapsed().as_secs_f64() * 1e3);
        cpu.push((server.cpu() - used) as f64 / 1e6);
    }
    println!(
        "a batch of {BATCH}: median {:.2} ms, of the server's processor time {:.2} ms",
        median(&times),
        median(&cpu)
    );
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
