//! Random revocations, downloads and faults, several at once, and a checker that knows what may be seen of them from
//! outside.
//!
//! The test runs three worlds side by side for a minute, other ones each time. For hours:
//!
//! ```text
//! LINKGATE_HISTORY_SEEDS=60 LINKGATE_HISTORY_SECONDS=120 cargo test --test integration -- --nocapture history::sixty
//! ```
//!
//! | variable | |
//! | --- | --- |
//! | `LINKGATE_TEST_SEED` | the first seed; the same seed makes the same wishes and faults, though not to the millisecond |
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
use plan::Tally;
use random::Random;
use report::{Summary, Total};
use site::Shape;
use world::World;

#[test]
fn sixty_seconds_of_random_faults_let_nothing_revoked_through_and_refuse_nothing_valid() {
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let first = setting("LINKGATE_TEST_SEED").unwrap_or_else(now);
    let seeds = setting("LINKGATE_HISTORY_SEEDS").unwrap_or(3);
    let length = Duration::from_secs(setting("LINKGATE_HISTORY_SECONDS").unwrap_or(60));
    eprintln!("LINKGATE_TEST_SEED={first}");
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
                    let run = std::panic::catch_unwind(|| live(seed, length));
                    let mut total = total.lock().unwrap();
                    total.seeds += 1;
                    total.length += length;
                    match run {
                        Ok((tally, events, violations)) => {
                            total.tally.add(&tally);
                            total.events += events;
                            total.violations += violations;
                        }
                        Err(_) => {
                            eprintln!("LINKGATE_TEST_SEED={seed} could not go on");
                            total.violations += 1;
                        }
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    eprintln!("{total}");
    assert_eq!(total.violations, 0, "see above");
}

/// One world from its beginning to its end; answers its faults, and how many events and violations there were.
fn live(seed: u64, length: Duration) -> (Tally, usize, usize) {
    let shape = shape_of(seed);
    let world = World::new(shape, &mut Random::new(seed));
    let tally = std::thread::scope(|scope| {
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
    let counted: usize = tally.faults.values().sum();
    eprintln!("LINKGATE_TEST_SEED={seed} {shape:?}: {summary}, {counted} faults, {} violations", violations.len());
    if !violations.is_empty() {
        eprintln!("{}\n{}", report::explain(&events, &violations), report::faults(&tally));
    }
    assert!(summary.quiet > 100, "hardly any download met a verifier that had to be right about everything");
    (tally, events.len(), violations.len())
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
