//! Random revocations, downloads and faults, and a checker that knows what may be seen of them from outside.

mod checker;
mod checker_tests;
mod faults;
mod random;
mod world;

use std::time::Duration;

use checker::{Event, Violation, check, count_quiet};
use random::Random;
use world::World;

/// How long the random history is.
const LENGTH: Duration = Duration::from_secs(60);

#[test]
fn sixty_seconds_of_random_faults_let_nothing_revoked_through_and_refuse_nothing_valid() {
    // The same seed makes the same wishes and faults, though not to the millisecond.
    let seed = std::env::var("LINKGATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64);
    eprintln!("LINKGATE_TEST_SEED={seed}");

    // Two judge from memory, one asks Redis each time.
    let (world, mut redis) = World::new(["", "", "mode = \"direct\"\ndirect_timeout = \"1s\""]);
    std::thread::scope(|scope| {
        for verifier in 0..3 {
            let (world, random) = (&world, |n| Random::new(seed ^ n << 32));
            scope.spawn(move || world.download(verifier, random(1 + verifier as u64)));
            scope.spawn(move || world.write(verifier, random(11 + verifier as u64)));
        }
        let _ending = world.end_when_dropped();
        faults::run(&world, &mut redis, LENGTH, Random::new(seed));
    });
    world.settle();
    let events = world.events();
    let violations = check(&events);
    eprintln!("{}", summary(&events));
    assert!(violations.is_empty(), "LINKGATE_TEST_SEED={seed}\n{}", explain(&events, &violations));
    assert!(count_quiet(&events) > 1_000, "hardly any download met a verifier that had to be right about everything");
}

#[test]
fn the_checker_finds_a_verifier_that_goes_on_serving_while_it_hears_nothing() {
    let (world, _redis) = World::new(["", "", "on_stale = \"serve\""]);
    let links: Vec<usize> = (0..5).map(|_| world.mint(0, &mut Random::new(1)).unwrap()).collect();
    faults::cut_off(&world, 2, Duration::from_secs(7), |elapsed| {
        for link in &links {
            (0..3).for_each(|verifier| world.look(verifier, *link));
        }
        let is_to_be_revoked = |n: usize| elapsed > Duration::from_millis(200 * n as u64);
        (0..links.len()).filter(|n| is_to_be_revoked(*n)).for_each(|n| world.revoke_once(0, links[n]));
    });
    let violations = check(&world.events());
    let is_the_planted_one = |violation: &Violation| matches!(violation, Violation::LatePermit { verifier: 2, .. });
    assert!(!violations.is_empty() && violations.iter().all(is_the_planted_one), "{violations:?}");
}

/// The violations, and what else happened to what they name.
fn explain(events: &[Event], violations: &[Violation]) -> String {
    let is_named = |event: &&Event| {
        violations.iter().any(|violation| match (violation, event) {
            (_, Event::Fault { .. }) => true,
            (Violation::LatePermit { revocation: named, .. }, Event::Revoked { revocation, .. }) => revocation == named,
            (Violation::LatePermit { link: named, .. }, Event::Minted { link, .. }) => link == named,
            _ => false,
        })
    };
    let lines = events.iter().filter(is_named).map(|event| format!("{event:?}\n"));
    violations.iter().map(|violation| format!("{violation:?}\n")).chain(lines).collect()
}

fn summary(events: &[Event]) -> String {
    let count = |is_it: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
    let got = |wanted| count(&|event| matches!(event, Event::Downloaded { status, .. } if *status == wanted));
    format!(
        "{} links, {} revocations ({} unsure), {} liftings, {} faults; {} downloads permitted, {} revoked, {} not \
         judged; {} met a verifier at rest",
        count(&|event| matches!(event, Event::Minted { .. })),
        count(&|event| matches!(event, Event::Revoked { .. })),
        count(&|event| matches!(event, Event::Revoked { is_sure: false, .. })),
        count(&|event| matches!(event, Event::Lifted { .. })),
        count(&|event| matches!(event, Event::Fault { .. })),
        got(200),
        got(410),
        got(503),
        count_quiet(events),
    )
}
