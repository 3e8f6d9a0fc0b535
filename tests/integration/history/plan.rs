//! Faults at random: mostly two or three that overlap, then some rest.

use std::fmt::{self, Formatter};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::events::{Event, Folder, Time};
use super::faults::{Fault, Resource};
use super::random::Random;
use super::world::World;

/// A fault that took place.
#[derive(Clone, Debug)]
pub struct Incident {
    pub fault: Fault,
    /// The verifier that it was about, where it was about one.
    verifier: Option<usize>,
    from: Time,
    until: Time,
}

impl fmt::Display for Incident {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { fault, verifier, from, until } = self;
        let whose = verifier.map(|verifier| format!(" of verifier {verifier}")).unwrap_or_default();
        write!(formatter, "{:.3}–{:.3} s: {fault:?}{whose}", from.as_secs_f32(), until.as_secs_f32())
    }
}

/// Breaks and mends things for a while; answers what took place at once, again and again. Everything is whole afterwards.
pub fn run(world: &World, length: Duration, mut random: Random) -> Vec<Vec<Incident>> {
    let end = Instant::now() + length;
    let mut rounds = Vec::new();
    while Instant::now() < end {
        std::thread::sleep(random.millis(1_000..6_000));
        let round = Mutex::new(Vec::new());
        let from = world.now();
        std::thread::scope(|scope| {
            for (fault, verifier) in choose(world, &mut random) {
                let (mut random, round) = (Random::new(random.number(0..u64::MAX)), &round);
                scope.spawn(move || {
                    std::thread::sleep(random.millis(0..2_000));
                    let from = world.now();
                    if fault.take_place(world, verifier, &mut random) {
                        let verifier = fault.is_about_one().then_some(verifier);
                        let incident = Incident { fault, verifier, from, until: world.now() };
                        round.lock().unwrap().push(incident);
                    }
                });
            }
        });
        rounds.push(round.into_inner().unwrap());
        if world.has_lost() && world.events().iter().any(|event| brings_back(event, from)) {
            // What was lost is written back by those who remember: they may have been hindered until now.
            world.record(Event::Fault { verifier: None, from, until: world.now() });
            world.lift_what_came_back();
        }
    }
    rounds
}

/// Whether something that was lifted may be in force again since a time.
fn brings_back(event: &Event, from: Time) -> bool {
    match event {
        Event::Lost { until, .. } => *until >= from,
        Event::Ended { folder: Folder::Old, at, .. } => *at >= from,
        _ => false,
    }
}

/// One to three faults, each with the verifier that it is about, that do not hinder one another.
fn choose(world: &World, random: &mut Random) -> Vec<(Fault, usize)> {
    let wanted = random.pick(&[1, 2, 2, 2, 3, 3]);
    let (mut chosen, mut taken): (Vec<(Fault, usize)>, Vec<Resource>) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let fault = random.pick(&Fault::possible(world.shape));
        let verifier = random.number(0..world.verifiers.len() as u64) as usize;
        let needs = fault.needs(verifier);
        if chosen.len() < wanted
            && (!fault.ends_a_process() || world.verifiers[verifier].may_end)
            && !needs.iter().any(|need| taken.contains(need))
            && !chosen.contains(&(fault, verifier))
        {
            taken.extend(needs);
            chosen.push((fault, verifier));
        }
    }
    chosen
}
