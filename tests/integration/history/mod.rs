//! Random revocations, downloads and faults, several at once, and a checker that knows what may be seen of them from
//! outside.
//!
//! The test runs three worlds side by side for less than a minute, other ones each time. For hours:
//!
//! ```text
//! LINKGATE_HISTORY_SEEDS=86 LINKGATE_HISTORY_SECONDS=90 cargo test --test integration -- --nocapture history::several
//! ```
//!
//! | variable | |
//! | --- | --- |
//! | `LINKGATE_HISTORY_SEED` | the first seed; the same seed makes the same wishes and faults, though not to the millisecond |
//! | `LINKGATE_HISTORY_SEEDS` | how many seeds, one after the other |
//! | `LINKGATE_HISTORY_SECONDS` | how long each history is |
//! | `LINKGATE_HISTORY_PARALLEL` | how many worlds run side by side |
//! | `LINKGATE_HISTORY_SHAPE` | `single`, `watched`, `replica`, `cluster`, `embedded`: only this one |

mod checker;
mod checker_tests;
mod events;
mod faults;
mod loss_tests;
mod plan;
mod planted;
mod random;
mod remembering;
mod report;
mod site;
mod users;
mod world;

use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use checker::check;
use random::Random;
use report::{Summary, Total};
use site::Shape;
use world::World;

#[test]
fn several_random_faults_at_once_let_nothing_revoked_through_and_refuse_nothing_valid() {
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let first = setting("LINKGATE_HISTORY_SEED").unwrap_or_else(now);
    let seeds = setting("LINKGATE_HISTORY_SEEDS").unwrap_or(3);
    let length = Duration::from_secs(setting("LINKGATE_HISTORY_SECONDS").unwrap_or(30));
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        for _ in 0..setting("LINKGATE_HISTORY_PARALLEL").unwrap_or(3) {
            scope.spawn(|| {
                loop {
                    let seed = first + next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    // A world that cannot go on is a violation, and others go on.
                    if std::panic::catch_unwind(|| live(seed, length, &total)).is_err() {
                        eprintln!("LINKGATE_HISTORY_SEED={seed} could not go on");
                        total.lock().unwrap().violations += 1;
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    eprintln!("{total}");
    assert_eq!(total.violations, 0, "see above");
}

/// One world from its beginning to its end.
fn live(seed: u64, length: Duration, total: &Mutex<Total>) {
    let shape = shape_of(seed);
    let world = World::new(shape, &mut Random::new(seed));
    let rounds = std::thread::scope(|scope| {
        for verifier in 0..world.verifiers.len() {
            let (world, random) = (&world, |n| Random::new(seed ^ n << 32));
            scope.spawn(move || world.download(verifier, random(1 + verifier as u64)));
            scope.spawn(move || world.write(verifier, random(11 + verifier as u64)));
        }
        scope.spawn(|| world.watch_the_machine());
        let _ending = world.end_when_dropped();
        plan::run(&world, length, Random::new(seed))
    });
    world.settle();
    let (natures, events) = (world.natures(), world.events());
    let violations = check(&natures, &events);
    let summary = Summary::of(&natures, &events);
    eprintln!("LINKGATE_HISTORY_SEED={seed} {shape:?}: {summary}, {} violations", violations.len());
    if !violations.is_empty() {
        eprintln!("{}{}", report::explain(&rounds, &events, &violations), world.logs());
    }
    let mut total = total.lock().unwrap();
    total.seeds += 1;
    total.length += length;
    total.events += events.len();
    total.violations += violations.len();
    total.count(&rounds);
    assert!(summary.quiet > 0, "no download met a verifier that had to be right about everything");
}

fn shape_of(seed: u64) -> Shape {
    let only = std::env::var("LINKGATE_HISTORY_SHAPE").ok();
    let named = |shape: &Shape| only.as_ref().is_some_and(|only| format!("{shape:?}").to_lowercase() == *only);
    Shape::ALL.into_iter().find(named).unwrap_or(Shape::ALL[(seed % Shape::ALL.len() as u64) as usize])
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}
