//! What can go wrong. Each fault breaks something, waits, mends it, and writes down what must be forgiven meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::events::{Event, Folder, Loss, Time};
use super::random::Random;
use super::site::{REPLICA, Servers, Shape, skew};
use super::world::World;
use crate::support::eventually;
use crate::support::fleet::MAX_STALENESS;
use crate::support::proxy::Network;
use crate::support::sentinels::GLANCE;

pub const LINKS: &str = "linkgate:{rv}:t";
const STREAM: &str = "linkgate:{rv}:s";
/// How far a healthy replica may be behind.
const REPLICATION: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A verifier's network swallows everything, is slow, closes everything.
    BlackHole,
    Slow,
    Cut,
    /// A verifier is stopped, killed and started again, started with an older data folder or with none; its clock steps.
    Freeze,
    Restart,
    OldFolder,
    Newcomer,
    OwnClockStep,
    /// The server throws its clients out, hangs, is killed and keeps its log, comes back empty, or as it was before.
    ThrowOut,
    Hang,
    Kill,
    Empty,
    Rewind,
    /// Its contents are lost while it runs, its stream is, its clock steps.
    Flush,
    Trim,
    ClockStep,
    /// A verifier is cut off together with the master, or the master is lost; the replica takes over.
    Split,
    LoseMaster,
    /// A replica hears of everything late.
    Lag,
    /// A cluster moves the slot.
    MoveSlot,
}

/// What only one fault at a time can be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Network(usize),
    Process(usize),
    OwnClock(usize),
    Server,
    Contents,
    Clock,
    Topology,
}

use Fault::*;

impl Fault {
    /// What can go wrong in a world, most of it once; what its shape is about, more often.
    pub fn possible(shape: Shape) -> Vec<Self> {
        const OF_VERIFIERS: [Fault; 7] = [BlackHole, Slow, Cut, Freeze, Restart, OldFolder, Newcomer];
        let own: &[Self] = match shape {
            Shape::Embedded => return vec![Freeze, Restart, OwnClockStep],
            Shape::Single => &[OwnClockStep, ThrowOut, Hang, Kill, Empty, Rewind, Flush, Trim, ClockStep],
            Shape::Watched => &[OwnClockStep, ThrowOut, Hang, Flush, Trim, Split, Split, LoseMaster, LoseMaster],
            // The wall clocks say how old a replica's beats are: they promise no more than they agree.
            Shape::Replica => &[ThrowOut, Kill, Empty, Rewind, Flush, Trim, Lag, Lag, Lag],
            Shape::Cluster => &[OwnClockStep, ThrowOut, Hang, Kill, Flush, Trim, MoveSlot, MoveSlot],
        };
        [&OF_VERIFIERS, own].concat()
    }

    /// The pairs that can take place at once in some world, in their order.
    pub fn pairs() -> BTreeSet<(Self, Self)> {
        let at_once = |one: Self, other: Self| one.needs(0).iter().all(|need| !other.needs(1).contains(need));
        let all = Shape::ALL.into_iter().map(Self::possible);
        let pairs = all.flat_map(|faults| {
            let with_each = |one: &Self| faults.iter().map(move |other| (*one, *other)).collect::<Vec<_>>();
            faults.iter().flat_map(with_each).collect::<Vec<_>>()
        });
        pairs.filter(|(one, other)| one <= other && at_once(*one, *other)).collect()
    }

    /// Whether a verifier's process does not outlive it.
    pub const fn ends_a_process(self) -> bool {
        matches!(self, Restart | OldFolder | Newcomer)
    }

    /// Whether it is about one verifier.
    pub fn is_about_one(self) -> bool {
        let is_its_own =
            |need: &Resource| matches!(need, Resource::Network(_) | Resource::Process(_) | Resource::OwnClock(_));
        self.needs(0).iter().any(is_its_own)
    }

    /// What it needs for itself.
    pub fn needs(self, verifier: usize) -> Vec<Resource> {
        match self {
            BlackHole | Slow | Cut => vec![Resource::Network(verifier)],
            Freeze | Restart | OldFolder | Newcomer => vec![Resource::Process(verifier)],
            OwnClockStep => vec![Resource::OwnClock(verifier)],
            Hang | Kill | Empty | Rewind => vec![Resource::Server],
            Flush | Trim => vec![Resource::Contents],
            ThrowOut => vec![],
            ClockStep => vec![Resource::Clock],
            Split => vec![Resource::Topology, Resource::Server, Resource::Network(verifier)],
            LoseMaster => vec![Resource::Topology, Resource::Server],
            Lag => vec![Resource::Topology],
            MoveSlot => vec![Resource::Topology, Resource::Server, Resource::Contents],
        }
    }

    /// Breaks and mends; answers whether it took place.
    pub fn take_place(self, world: &World, verifier: usize, random: &mut Random) -> bool {
        let from = world.now();
        match self {
            BlackHole => network(world, verifier, Network::BlackHole, random.millis(500..7_000)),
            Cut => network(world, verifier, Network::Cut, random.millis(300..7_000)),
            Slow => {
                let delay = random.millis(50..300);
                network(world, verifier, Network::Delay(delay), random.millis(1_000..4_000));
            }
            Freeze => {
                world.verifiers[verifier].signal("STOP");
                std::thread::sleep(random.millis(300..6_000));
                world.verifiers[verifier].signal("CONT");
                world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
            }
            Restart => restart(world, verifier, Folder::Kept, random),
            OldFolder => restart(world, verifier, Folder::Old, random),
            Newcomer => restart(world, verifier, Folder::Empty, random),
            OwnClockStep => {
                world.verifiers[verifier].clock.shift(skew(random));
                world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
            }
            Hang => return hang(world, random.millis(300..5_000)),
            Split => return split(world, verifier, random),
            LoseMaster => return lose_master(world, random),
            Lag => lag(world, random),
            MoveSlot => return move_slot(world, random),
            _ => {
                let lost = match self {
                    Flush => flush(world),
                    Kill | Empty | Rewind => stop_and_start(world, self, random),
                    _ => None,
                };
                let master = || world.servers.master();
                match self {
                    Trim => drop(world.servers.cli(master(), &["XTRIM", STREAM, "MAXLEN", "0"])),
                    ThrowOut => drop(world.servers.cli(master(), &["CLIENT", "KILL", "TYPE", "normal"])),
                    ClockStep => world.clock.shift(skew(random)),
                    _ => {}
                }
                let until = world.now();
                world.record(Event::Fault { verifier: None, from, until });
                if let Some((loss, from)) = lost {
                    world.record(Event::Lost { loss, from, until });
                }
            }
        }
        true
    }
}

/// Cuts one verifier off and does something again and again meanwhile.
pub fn cut_off(world: &World, verifier: usize, length: Duration, mut meanwhile: impl FnMut(Duration)) {
    let (begun, address) = (Instant::now(), world.verifiers[verifier].address);
    let from = world.now();
    world.servers.set_for(address, Some(Network::BlackHole));
    while begun.elapsed() < length {
        meanwhile(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    let until = world.now();
    world.servers.set_for(address, None);
    world.record(Event::Blind { verifier, from, until });
    world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
}

fn network(world: &World, verifier: usize, network: Network, length: Duration) {
    let address = world.verifiers[verifier].address;
    let from = world.now();
    world.servers.set_for(address, Some(network));
    let blind_from = world.now();
    std::thread::sleep(length);
    let until = world.now();
    world.servers.set_for(address, None);
    if !matches!(network, Network::Delay(_)) {
        world.record(Event::Blind { verifier, from: blind_from, until });
    }
    world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
}

fn restart(world: &World, verifier: usize, folder: Folder, random: &mut Random) {
    let from = world.now();
    world.record(Event::Ended { verifier, folder, at: from });
    world.verifiers[verifier].end();
    match folder {
        Folder::Kept => {}
        Folder::Old => world.verifiers[verifier].go_back(),
        Folder::Empty => world.verifiers[verifier].forget(),
    }
    std::thread::sleep(random.millis(0..2_500));
    world.verifiers[verifier].launch();
    world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
}

/// Empties the store; answers since when it may be empty.
fn flush(world: &World) -> Option<(Loss, Time)> {
    let (end, from) = (Instant::now() + Duration::from_secs(5), world.now());
    while Instant::now() < end {
        if world.servers.cli(world.servers.master(), &["FLUSHALL"]) == "OK" {
            return Some((Loss::Emptied, from));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

fn stop_and_start(world: &World, fault: Fault, random: &mut Random) -> Option<(Loss, Time)> {
    let (servers, master) = (&world.servers, world.servers.master());
    let backed_up = world.now();
    let backup = (fault == Rewind).then(|| servers.with(master, |redis| redis.backup()));
    if backup.is_some() {
        std::thread::sleep(random.millis(500..3_000));
    }
    let from = world.now();
    servers.change(master, |redis| redis.stop());
    if fault != Kill {
        servers.change(master, |redis| redis.restore(backup.as_ref()));
    }
    std::thread::sleep(random.millis(100..2_000));
    servers.launch(master);
    match fault {
        Empty => Some((Loss::Emptied, from)),
        Rewind => Some((Loss::Rewound { to: backed_up }, from)),
        _ => None,
    }
}

fn hang(world: &World, length: Duration) -> bool {
    if world.servers.watched().is_some() && !is_whole(world) {
        return false;
    }
    let (master, from) = (world.servers.master(), world.now());
    world.servers.signal(master, "STOP");
    let blind_from = world.now();
    std::thread::sleep(length);
    let until = world.now();
    world.servers.signal(master, "CONT");
    if world.servers.watched().is_some() {
        // The replica may take over, or may have.
        eventually("the Sentinels agree", || {
            std::thread::sleep(GLANCE);
            is_whole(world)
        });
        let loss = Loss::Rewound { to: from.saturating_sub(REPLICATION) };
        world.record(Event::Lost { loss, from, until: world.now() });
    } else {
        (0..world.verifiers.len())
            .for_each(|verifier| world.record(Event::Blind { verifier, from: blind_from, until }));
    }
    world.record(Event::Fault { verifier: None, from, until: world.now() });
    true
}

/// Whether a majority names a master that has its replica at hand.
fn is_whole(world: &World) -> bool {
    let named = world.servers.watched().and_then(|watched| watched.named());
    named.is_some_and(|named| world.servers.cli(named, &["INFO", "replication"]).contains("state=online"))
}

fn split(world: &World, verifier: usize, random: &mut Random) -> bool {
    if !is_whole(world) {
        return false;
    }
    let (master, address) = (world.servers.master(), world.verifiers[verifier].address);
    let from = world.now();
    world.servers.watched().unwrap().part(master, address);
    let blind_from = world.now();
    world.servers.watched().unwrap().until_replaced(master);
    let replaced = world.now();
    std::thread::sleep(random.millis(0..5_000));
    let until = world.now();
    world.servers.watched().unwrap().heal(address);
    world.record(Event::Blind { verifier, from: blind_from, until });
    let loss = Loss::Rewound { to: from.saturating_sub(REPLICATION) };
    world.record(Event::Lost { loss, from, until: replaced });
    world.record(Event::Fault { verifier: None, from, until: replaced });
    world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
    true
}

fn lose_master(world: &World, random: &mut Random) -> bool {
    if !is_whole(world) {
        return false;
    }
    let (master, from) = (world.servers.master(), world.now());
    world.servers.change(master, |redis| redis.stop());
    world.servers.watched().unwrap().until_replaced(master);
    let replaced = world.now();
    std::thread::sleep(random.millis(0..3_000));
    world.servers.launch(master);
    let loss = Loss::Rewound { to: from.saturating_sub(REPLICATION) };
    world.record(Event::Lost { loss, from, until: replaced });
    world.record(Event::Fault { verifier: None, from, until: replaced });
    true
}

fn lag(world: &World, random: &mut Random) {
    let Servers::Replica { networks, .. } = &world.servers else { return };
    let delay = random.millis(500..8_000);
    let from = world.now();
    networks[0].set_for(REPLICA, Some(Network::Delay(delay)));
    let blind_from = world.now();
    std::thread::sleep(delay + random.millis(1_000..5_000));
    let until = world.now();
    networks[0].set_for(REPLICA, None);
    std::thread::sleep(delay); // what is on its way arrives
    for verifier in (0..world.verifiers.len()).filter(|verifier| !world.verifiers[*verifier].nature.writes) {
        if delay > MAX_STALENESS + REPLICATION {
            world.record(Event::Blind { verifier, from: blind_from, until });
        }
        world.record(Event::Fault { verifier: Some(verifier), from, until: world.now() });
    }
}

fn move_slot(world: &World, random: &mut Random) -> bool {
    let Servers::Cluster { cluster, .. } = &world.servers else { return false };
    let (from, owner) = (world.now(), world.servers.master());
    if world.servers.cli(owner, &["EXISTS", LINKS]) != "1" {
        return false;
    }
    let to = (owner + 1 + random.number(0..2) as usize) % 3;
    cluster.read().unwrap().move_slot_of(LINKS, to, || std::thread::sleep(random.millis(0..1_000)));
    world.record(Event::Fault { verifier: None, from, until: world.now() });
    true
}
