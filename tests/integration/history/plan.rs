//! Faults at random: mostly two or three that overlap, then some rest.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::events::Event;
use super::faults::{Fault, Resource};
use super::random::Random;
use super::world::World;

/// How often each fault took place, and each pair of them at once.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub faults: BTreeMap<Fault, usize>,
    pub pairs: BTreeMap<(Fault, Fault), usize>,
}

impl Tally {
    fn note(&mut self, mut together: Vec<Fault>) {
        together.sort();
        for (at, fault) in together.iter().enumerate() {
            *self.faults.entry(*fault).or_default() += 1;
            for other in &together[at + 1..] {
                *self.pairs.entry((*fault, *other)).or_default() += 1;
            }
        }
    }

    pub fn add(&mut self, other: &Self) {
        other.faults.iter().for_each(|(fault, count)| *self.faults.entry(*fault).or_default() += count);
        other.pairs.iter().for_each(|(pair, count)| *self.pairs.entry(*pair).or_default() += count);
    }
}

/// Breaks and mends things for a while; everything is whole again afterwards.
pub fn run(world: &World, length: Duration, mut random: Random) -> Tally {
    let end = Instant::now() + length;
    let mut tally = Tally::default();
    while Instant::now() < end {
        std::thread::sleep(random.millis(1_000..9_000));
        let from = world.now();
        let took_place = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for (fault, verifier) in choose(world, &mut random) {
                let (mut random, took_place) = (Random::new(random.number(0..u64::MAX)), &took_place);
                scope.spawn(move || {
                    std::thread::sleep(random.millis(0..2_000));
                    if fault.take_place(world, verifier, &mut random) {
                        took_place.lock().unwrap().push(fault);
                    }
                });
            }
        });
        tally.note(took_place.into_inner().unwrap());
        let has_lost = |event: &Event| matches!(event, Event::Lost { until, .. } if *until >= from);
        if world.events().iter().any(has_lost) {
            // What was lost is written back by those who remember: they may have been hindered until now.
            world.record(Event::Fault { verifier: None, from, until: world.now() });
            world.lift_what_came_back();
        }
    }
    tally
}

/// One to three faults, each with the verifier that it is about, that do not hinder one another.
fn choose(world: &World, random: &mut Random) -> Vec<(Fault, usize)> {
    let wanted = random.pick(&[1, 2, 2, 2, 3, 3]);
    let (mut chosen, mut taken): (Vec<(Fault, usize)>, Vec<Resource>) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let fault = random.pick(Fault::possible(world.shape));
        let verifier = random.number(0..world.verifiers.len() as u64) as usize;
        let needs = fault.needs(verifier);
        let ends = matches!(fault, Fault::Restart | Fault::Newcomer);
        if chosen.len() < wanted
            && (!ends || world.verifiers[verifier].may_end)
            && !needs.iter().any(|need| taken.contains(need))
            && !chosen.iter().any(|(other, at)| (*other, *at) == (fault, verifier))
        {
            taken.extend(needs);
            chosen.push((fault, verifier));
        }
    }
    chosen
}
