//! What goes wrong, at random, one thing after the other.

use std::time::{Duration, Instant};

use super::checker::Event;
use super::random::Random;
use super::world::World;
use crate::support::proxy::Network;
use crate::support::redis::Redis;

/// Breaks and mends things for a while; everything is whole again afterwards.
pub fn run(world: &World, redis: &mut Redis, length: Duration, mut random: Random) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        std::thread::sleep(random.millis(2_000..6_000));
        let verifier = random.number(0..3) as usize;
        let from = world.now();
        let concerned = match random.number(0..10) {
            0..3 => network(world, verifier, Network::BlackHole, random.millis(500..6_000)),
            3..5 => {
                let delay = random.millis(50..300);
                network(world, verifier, Network::Delay(delay), random.millis(1_000..4_000))
            }
            5..6 => network(world, verifier, Network::Cut, random.millis(300..6_000)),
            6..8 => {
                world.verifiers[verifier].process.signal("STOP");
                std::thread::sleep(random.millis(300..5_000));
                world.verifiers[verifier].process.signal("CONT");
                Some(verifier)
            }
            8 => {
                redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
                None
            }
            _ => {
                redis.stop();
                std::thread::sleep(random.millis(100..2_000));
                redis.launch();
                None
            }
        };
        world.record(Event::Fault { verifier: concerned, from, until: world.now() });
    }
}

/// Cuts one verifier off and does something again and again meanwhile.
pub fn cut_off(world: &World, verifier: usize, length: Duration, mut meanwhile: impl FnMut(Duration)) {
    let (from, begun) = (world.now(), Instant::now());
    world.proxies[verifier].set(Network::BlackHole);
    while begun.elapsed() < length {
        meanwhile(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    world.proxies[verifier].set(Network::Pass);
    world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
}

fn network(world: &World, verifier: usize, network: Network, length: Duration) -> Option<usize> {
    world.proxies[verifier].set(network);
    std::thread::sleep(length);
    world.proxies[verifier].set(Network::Pass);
    Some(verifier)
}
