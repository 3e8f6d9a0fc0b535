//! Verifiers that break a promise on purpose, or are lied to: the checker sees it, and nothing else.

use std::time::Duration;

use serde_json::json;

use super::checker::{Violation, check};
use super::events::{Event, Folder, Loss, Reach, Target};
use super::faults;
use super::random::Random;
use super::site::Shape;
use super::world::World;
use crate::support::fleet::{BOUND, CUT_OFF_BOUND};

/// The verifiers of [`Shape::Single`].
const FIRST: usize = 0;
const SECOND: usize = 1;
const DIRECT: usize = 2;

fn world(lines: &[&str]) -> World {
    World::planted(Shape::Single, &mut Random::new(1), lines)
}

/// Mints links that anyone may download until they are revoked.
fn mint(world: &World, count: usize) -> Vec<usize> {
    let uncounted = |link: &usize| world.known(*link).most.is_none();
    (0..).filter_map(|seed| world.mint(FIRST, &mut Random::new(seed))).filter(uncounted).take(count).collect()
}

/// Downloads at every verifier.
fn look(world: &World, link: usize) {
    (0..world.verifiers.len()).for_each(|verifier| world.look(verifier, link, 1));
}

#[track_caller]
fn finds(world: &World, is_planted: impl Fn(&Violation) -> bool) {
    let violations = check(&world.natures(), &world.events());
    assert!(!violations.is_empty() && violations.iter().all(is_planted), "{violations:?}");
}

#[track_caller]
fn finds_nothing(world: &World) {
    assert_eq!(check(&world.natures(), &world.events()), []);
}

#[test]
fn the_checker_finds_a_verifier_that_goes_on_serving_while_it_hears_nothing() {
    let world = world(&["", "on_stale = \"serve\""]);
    let links = mint(&world, 5);
    faults::cut_off(&world, SECOND, Duration::from_secs(7), |elapsed| {
        for link in &links {
            look(&world, *link);
        }
        let is_to_be_revoked = |n: usize| elapsed > Duration::from_millis(200 * n as u64);
        (0..links.len()).filter(|n| is_to_be_revoked(*n)).for_each(|n| world.revoke_once(FIRST, links[n]));
    });
    finds(&world, |violation| {
        matches!(
            violation,
            Violation::LatePermit { verifier: SECOND, .. } | Violation::PermitWhileBlind { verifier: SECOND, .. }
        )
    });
}

#[test]
fn the_checker_finds_a_verifier_that_hears_of_other_cut_offs_than_were_revoked() {
    let world = world(&[]);
    let revoke = |link: usize| {
        let subject = world.known(link).bearings.subject;
        let what = json!({ "subject": format!("s{subject}") });
        world.revoke(FIRST, what, Target::Subject(subject), Reach::UntilNow, None);
        std::thread::sleep(BOUND);
    };
    let link = mint(&world, 1)[0];
    revoke(link);
    look(&world, link);
    finds_nothing(&world);
    // Subjects in members, whatever their cut-offs.
    world.servers.lie_to(world.verifiers[SECOND].address, "s:s", "s:x");
    let link = mint(&world, 1)[0];
    revoke(link);
    look(&world, link);
    finds(&world, |violation| matches!(violation, Violation::LatePermit { verifier: SECOND, .. }));
}

#[test]
fn the_checker_finds_a_verifier_that_takes_a_store_for_the_one_that_it_knows() {
    let world = world(&[]);
    let epoch = || world.servers.cli(0, &["HGET", "linkgate:{rv}:m", "e"]);
    let link = mint(&world, 1)[0];
    world.revoke_once(FIRST, link);
    std::thread::sleep(CUT_OFF_BOUND);
    let from = world.now();
    // Those who know the store are held up, and one that knows none sets up another.
    [FIRST, DIRECT].iter().for_each(|verifier| world.verifiers[*verifier].signal("STOP"));
    world.record(Event::Ended { verifier: SECOND, folder: Folder::Empty, at: from });
    world.verifiers[SECOND].end();
    world.verifiers[SECOND].forget();
    let (lost_from, known) = (world.now(), epoch());
    assert_eq!(world.servers.cli(0, &["FLUSHALL"]), "OK");
    world.verifiers[SECOND].launch();
    world.verifiers[SECOND].linkgate.lock().unwrap().until_ready();
    world.verifiers[DIRECT].signal("CONT");
    let until = world.now();
    world.record(Event::Lost { loss: Loss::Emptied, from: lost_from, until });
    world.record(Event::Fault { verifier: None, from, until });
    let look = || {
        (0..20).for_each(|_| {
            world.look(DIRECT, link, 1);
            std::thread::sleep(Duration::from_millis(50));
        });
    };
    let still_stopped = || Event::Fault { verifier: Some(FIRST), from, until: world.now() };
    world.record(Event::Fault { verifier: Some(DIRECT), from, until });
    look();
    world.record(still_stopped());
    finds_nothing(&world);
    world.servers.lie_to(world.verifiers[DIRECT].address, &epoch(), &known);
    look();
    world.record(still_stopped());
    world.verifiers[FIRST].signal("CONT");
    finds(&world, |violation| matches!(violation, Violation::LatePermit { verifier: DIRECT, .. }));
}
