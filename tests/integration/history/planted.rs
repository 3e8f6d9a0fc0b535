//! Verifiers that break a promise on purpose: the checker sees it.

use std::time::Duration;

use super::checker::{Violation, check};
use super::faults;
use super::random::Random;
use super::site::Shape;
use super::world::World;

#[test]
fn the_checker_finds_a_verifier_that_goes_on_serving_while_it_hears_nothing() {
    let lines = ["", "on_stale = \"serve\""];
    let world = World::planted(Shape::Single, &mut Random::new(1), &lines);
    let mint = |n| (n..).find_map(|seed| world.mint(0, &mut Random::new(seed))).unwrap();
    let links: Vec<usize> = (0..5).map(|n| mint(100 * n)).collect();
    faults::cut_off(&world, 1, Duration::from_secs(7), |elapsed| {
        for link in &links {
            (0..3).for_each(|verifier| world.look(verifier, *link, 1));
        }
        let is_to_be_revoked = |n: usize| elapsed > Duration::from_millis(200 * n as u64);
        (0..links.len()).filter(|n| is_to_be_revoked(*n)).for_each(|n| world.revoke_once(0, links[n]));
    });
    let violations = check(&world.natures(), &world.events());
    let is_the_planted_one = |violation: &Violation| {
        matches!(violation, Violation::LatePermit { verifier: 1, .. } | Violation::PermitWhileBlind { verifier: 1, .. })
    };
    assert!(!violations.is_empty() && violations.iter().all(is_the_planted_one), "{violations:?}");
}
