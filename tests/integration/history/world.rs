//! Verifiers over one store, and what was seen of them: everything is written down.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use super::checker::RECOVERY;
use super::events::{Bearings, Event, Nature, Time};
use super::random::Random;
use super::site::{Servers, Shape, Site};
use super::users::ToLift;
use crate::support::PATIENCE;
use crate::support::clock::ShiftedClock;
use crate::support::http::Place;
use crate::support::linkgate::Linkgate;

pub struct World {
    pub shape: Shape,
    pub servers: Servers,
    pub clock: ShiftedClock,
    pub verifiers: Vec<Verifier>,
    begun: Instant,
    events: Mutex<Vec<Event>>,
    pub(super) links: Mutex<Vec<Known>>,
    pub(super) to_lift: Mutex<Vec<ToLift>>,
    pub(super) revocations: AtomicUsize,
    /// Held while something is revoked, and alone while what came back is lifted.
    pub(super) revoking: RwLock<()>,
    is_over: AtomicBool,
}

/// A verifier whose process comes and goes.
pub struct Verifier {
    pub linkgate: Mutex<Linkgate>,
    pub place: Place,
    pub mint_key: String,
    pub admin_key: String,
    pub nature: Nature,
    pub may_end: bool,
    pub address: IpAddr,
    _clock: ShiftedClock,
}

#[derive(Clone)]
pub struct Known {
    pub path: String,
    pub id: String,
    pub issued_at: u64,
    pub bearings: Bearings,
    pub most: Option<usize>,
}

impl World {
    pub fn new(shape: Shape, random: &mut Random) -> Self {
        Self::planted(shape, random, &[])
    }

    /// A world with more lines for each verifier's `[revocation]`.
    pub fn planted(shape: Shape, random: &mut Random, lines: &[&str]) -> Self {
        let Site { servers, clock, members } = Site::of(shape, random);
        let mut verifiers: Vec<Verifier> = Vec::new();
        for (at, member) in members.into_iter().enumerate() {
            let builder = member.builder().revocation(lines.get(at).unwrap_or(&""));
            let builder = match verifiers.first() {
                None => builder,
                Some(first) => builder.beside(&first.linkgate.lock().unwrap()),
            };
            let linkgate = builder.start();
            for (folder, file) in (0..4).flat_map(|folder| (0..4).map(move |file| (folder, file))) {
                linkgate.file(&format!("{folder}/{file}.txt"), b"contents");
            }
            verifiers.push(Verifier {
                place: linkgate.place(),
                mint_key: linkgate.mint_key.clone(),
                admin_key: linkgate.admin_key.clone(),
                nature: member.nature,
                may_end: member.may_end,
                address: member.address,
                linkgate: Mutex::new(linkgate),
                _clock: member.clock,
            });
        }
        Self {
            shape,
            servers,
            clock,
            verifiers,
            begun: Instant::now(),
            events: Mutex::default(),
            links: Mutex::default(),
            to_lift: Mutex::default(),
            revocations: AtomicUsize::new(0),
            revoking: RwLock::default(),
            is_over: AtomicBool::new(false),
        }
    }

    pub fn now(&self) -> Time {
        self.begun.elapsed()
    }

    pub fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub fn natures(&self) -> Vec<Nature> {
        self.verifiers.iter().map(|verifier| verifier.nature).collect()
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Ends downloads and writes even when what waits for them fails.
    pub fn end_when_dropped(&self) -> impl Drop {
        struct Ending<'a>(&'a AtomicBool);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Ending(&self.is_over)
    }

    /// Writes down when the machine itself stood still: nothing can be promised then.
    pub fn watch_the_machine(&self) {
        const STEP: Duration = Duration::from_millis(20);
        const STALL: Duration = Duration::from_millis(250);
        while !self.is_over() {
            let from = self.now();
            std::thread::sleep(STEP);
            let until = self.now();
            if until - from > STALL {
                self.record(Event::Fault { verifier: None, from, until });
            }
        }
    }

    /// Waits until everything should be well, and asks every verifier for every link.
    pub fn settle(&self) {
        std::thread::sleep(RECOVERY);
        let begun = Instant::now();
        for (at, verifier) in self.verifiers.iter().enumerate() {
            let linkgate = verifier.linkgate.lock().unwrap();
            while !linkgate.is_ready() {
                let reason = linkgate.reason();
                assert!(begun.elapsed() < PATIENCE, "verifier {at} is not ready: {reason}\n{}", last_lines(&linkgate));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let links = self.links.lock().unwrap().clone();
        for (link, known) in links.iter().enumerate().filter(|(_, known)| known.most.is_none()) {
            for (verifier, asked) in self.verifiers.iter().enumerate() {
                let status = asked.linkgate.lock().unwrap().status(&known.path);
                self.record(Event::Settled { link, verifier, status });
            }
        }
    }
}

impl Verifier {
    pub fn signal(&self, signal: &str) {
        self.linkgate.lock().unwrap().process.signal(signal);
    }

    pub fn end(&self) {
        self.linkgate.lock().unwrap().process.kill();
    }

    pub fn launch(&self) {
        self.linkgate.lock().unwrap().launch();
    }

    /// Leaves nothing in the data folder but the keys, as in a new container.
    pub fn forget(&self) {
        let folder = self.linkgate.lock().unwrap().data_dir();
        for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.file_name() != "keys.toml") {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// The end of a log, without the refusals.
fn last_lines(linkgate: &Linkgate) -> String {
    let log = linkgate.log();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("refused")).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
