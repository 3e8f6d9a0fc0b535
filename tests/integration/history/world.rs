//! Verifiers over one store, and what was seen of them: everything is written down.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::checker::RECOVERY;
use super::events::{Bearings, Event, Nature, Time};
use super::random::Random;
use super::site::{Servers, Shape, Site};
use super::users::ToLift;
use crate::support::clock::ShiftedClock;
use crate::support::http::Place;
use crate::support::linkgate::Linkgate;
use crate::support::{PATIENCE, folder};

/// How much of its log a verifier shows.
const LOG_LINES: usize = 300;

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
    pub clock: ShiftedClock,
    /// What its data folder held a while ago.
    backup: Mutex<Option<TempDir>>,
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
                clock: member.clock,
                backup: Mutex::default(),
            });
            let verifier = verifiers.last().unwrap();
            *verifier.backup.lock().unwrap() = Some(verifier.copy_of_data());
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

    /// The end of every verifier's log, without the refusals.
    pub fn logs(&self) -> String {
        let last_lines = |(at, verifier): (usize, &Verifier)| {
            let log = verifier.linkgate.lock().unwrap().log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("refused")).collect();
            format!("verifier {at}:\n{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
        };
        self.verifiers.iter().enumerate().map(last_lines).collect()
    }

    /// Waits until everything should be well, and asks every verifier for every link.
    pub fn settle(&self) {
        std::thread::sleep(RECOVERY);
        let begun = Instant::now();
        for (at, verifier) in self.verifiers.iter().enumerate() {
            let linkgate = verifier.linkgate.lock().unwrap();
            while !linkgate.is_ready() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(50));
            }
            if !linkgate.is_ready() {
                self.record(Event::Unready { verifier: at, reason: linkgate.reason() });
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
        for file in self.files_to_forget() {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Puts the data folder back to what it was the last time, as a machine that is restored from a backup.
    pub fn go_back(&self) {
        let now = self.copy_of_data();
        let before = self.backup.lock().unwrap().replace(now);
        self.forget();
        for file in std::fs::read_dir(before.unwrap().path()).unwrap().flatten() {
            let to = self.linkgate.lock().unwrap().data_dir().join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
    }

    fn copy_of_data(&self) -> TempDir {
        let copy = folder();
        for file in self.files_to_forget() {
            // What is replaced at this moment is none of the copy.
            let _ = std::fs::copy(&file, copy.path().join(file.file_name().unwrap()));
        }
        copy
    }

    fn files_to_forget(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.linkgate.lock().unwrap().data_dir()).unwrap().flatten();
        files.filter(|file| file.file_name() != "keys.toml").map(|file| file.path()).collect()
    }
}
