//! Judges a history. Pure: it is told what was seen from outside and when, and says what cannot be right.
//!
//! The promises:
//!
//! - **Late permit**: a download that *started* later than a revocation's answer and the bound is not permitted, until
//!   somebody asks to lift the revocation. The bound is nothing at the verifier that answered, [`BOUND`] at one that
//!   nothing happened to since, and [`CUT_OFF_BOUND`] at one that may have been cut off: by then it is stale.
//! - **Wrong refusal**: nothing is called revoked that no revocation can cover, whatever fails meanwhile; and a
//!   verifier that nothing has happened to for [`RECOVERY`] refuses nothing for any other reason.
//! - **Disagreement**: when everything is over, every verifier says what the history says; where a lost answer leaves
//!   both open, all of them say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::fleet::{BOUND, CUT_OFF_BOUND};

/// How long a verifier may take to be itself again after a fault.
pub const RECOVERY: Duration = Duration::from_secs(6);
/// By how much a revocation of what was issued until now looks ahead, for clocks that disagree.
pub const LEEWAY: Duration = Duration::from_secs(2);

/// Since the beginning of the history.
pub type Time = Duration;

/// What revocations can name about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearings {
    pub subject: u8,
    pub folder: u8,
    pub file: u8,
    pub client: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Link(usize),
    Subject(u8),
    Path { folder: u8, file: u8 },
    Folder(u8),
    Client(u8),
    Everything,
}

/// What was seen. Links, revocations and verifiers are numbered.
#[derive(Clone, Debug)]
pub enum Event {
    Minted {
        link: usize,
        bearings: Bearings,
        asked: Time,
        answered: Time,
    },
    /// `is_standing`: it covers links whenever issued. `is_sure`: the answer said that it was recorded.
    Revoked {
        revocation: usize,
        verifier: usize,
        target: Target,
        is_standing: bool,
        is_sure: bool,
        asked: Time,
        answered: Time,
    },
    Lifted {
        revocation: usize,
        is_sure: bool,
        asked: Time,
        answered: Time,
    },
    Downloaded {
        link: usize,
        verifier: usize,
        status: u16,
        started: Time,
        ended: Time,
    },
    /// Something was wrong at one verifier, or at all of them.
    Fault {
        verifier: Option<usize>,
        from: Time,
        until: Time,
    },
    /// An answer after everything was over.
    Settled {
        link: usize,
        verifier: usize,
        status: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    LatePermit { link: usize, verifier: usize, revocation: usize, late_by: Duration },
    WrongRefusal { link: usize, verifier: usize, status: u16, at: Time },
    Disagreement { link: usize, verifier: usize, status: u16, expected: u16 },
}

/// Everything that cannot be right about a history.
pub fn check(events: &[Event]) -> Vec<Violation> {
    let history = History::of(events);
    let downloads = events.iter().filter_map(|event| match *event {
        Event::Downloaded { link, verifier, status, started, ended } => {
            history.judge(&Download { link, verifier, status, started, ended })
        }
        _ => None,
    });
    downloads.chain(history.disagreements(events)).collect()
}

/// How many downloads met a verifier that had to be right about everything.
pub fn count_quiet(events: &[Event]) -> usize {
    let history = History::of(events);
    let is_quiet = |event: &&Event| match **event {
        Event::Downloaded { verifier, started, ended, .. } => {
            history.is_quiet(verifier, started.saturating_sub(RECOVERY), ended)
        }
        _ => false,
    };
    events.iter().filter(is_quiet).count()
}

struct Download {
    link: usize,
    verifier: usize,
    status: u16,
    started: Time,
    ended: Time,
}

struct Link {
    bearings: Bearings,
    asked: Time,
    answered: Time,
}

struct Revocation {
    number: usize,
    verifier: usize,
    target: Target,
    is_standing: bool,
    is_sure: bool,
    asked: Time,
    answered: Time,
    /// When lifting it was first asked for, and when an answer said that it was lifted.
    lifting: Option<Time>,
    lifted: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    Yes,
    No,
    /// Which was first, the link or the revocation, cannot be told from outside.
    Maybe,
}

impl Revocation {
    fn covers(&self, number: usize, link: &Link) -> Covers {
        let Bearings { subject, folder, file, client } = link.bearings;
        let is_named = match self.target {
            Target::Link(named) => named == number,
            Target::Subject(named) => named == subject,
            Target::Path { folder: in_folder, file: named } => (in_folder, named) == (folder, file),
            Target::Folder(named) => named == folder,
            Target::Client(named) => named == client,
            Target::Everything => true,
        };
        match is_named {
            false => Covers::No,
            true if self.is_standing || link.answered < self.asked => Covers::Yes,
            true if link.asked > self.answered + LEEWAY => Covers::No,
            true => Covers::Maybe,
        }
    }
}

struct History {
    links: BTreeMap<usize, Link>,
    revocations: Vec<Revocation>,
    faults: Vec<(Option<usize>, Time, Time)>,
}

impl History {
    fn of(events: &[Event]) -> Self {
        let mut history = Self { links: BTreeMap::new(), revocations: Vec::new(), faults: Vec::new() };
        for event in events {
            match *event {
                Event::Minted { link, bearings, asked, answered } => {
                    history.links.insert(link, Link { bearings, asked, answered });
                }
                Event::Revoked { revocation: number, verifier, target, is_standing, is_sure, asked, answered } => {
                    let (lifting, lifted) = (None, None);
                    history.revocations.push(Revocation {
                        number,
                        verifier,
                        target,
                        is_standing,
                        is_sure,
                        asked,
                        answered,
                        lifting,
                        lifted,
                    });
                }
                Event::Fault { verifier, from, until } => history.faults.push((verifier, from, until)),
                _ => {}
            }
        }
        for event in events {
            let Event::Lifted { revocation, is_sure, asked, answered } = *event else { continue };
            let lifted = history.revocations.iter_mut().find(|known| known.number == revocation);
            let Some(lifted) = lifted else { continue };
            lifted.lifting = Some(lifted.lifting.map_or(asked, |first| first.min(asked)));
            if is_sure {
                lifted.lifted = Some(lifted.lifted.map_or(answered, |first| first.min(answered)));
            }
        }
        history
    }

    fn judge(&self, download: &Download) -> Option<Violation> {
        let Download { link, verifier, status, started, ended } = *download;
        match status {
            200 => self.late_permit(download),
            410 if self.covering(link).any(|revocation| self.may_bite(revocation, verifier, started, ended)) => None,
            503 if !self.is_quiet(verifier, started.saturating_sub(RECOVERY), ended) => None,
            _ => Some(Violation::WrongRefusal { link, verifier, status, at: started }),
        }
    }

    fn late_permit(&self, download: &Download) -> Option<Violation> {
        let Download { link, verifier, started, ended, .. } = *download;
        let revocations = self.revocations.iter().filter(|known| known.is_sure);
        revocations.filter(|known| known.covers(link, &self.links[&link]) == Covers::Yes).find_map(|revocation| {
            let bound = match revocation.verifier {
                answering if answering == verifier => Duration::ZERO,
                _ if self.is_quiet(verifier, revocation.asked.saturating_sub(RECOVERY), started) => BOUND,
                _ => CUT_OFF_BOUND,
            };
            let late_by = started.checked_sub(revocation.answered + bound)?;
            let is_in_force = revocation.lifting.is_none_or(|lifting| ended < lifting);
            (!late_by.is_zero() && is_in_force).then_some(Violation::LatePermit {
                link,
                verifier,
                revocation: revocation.number,
                late_by,
            })
        })
    }

    /// The revocations that cover a link, or may.
    fn covering(&self, link: usize) -> impl Iterator<Item = &Revocation> {
        self.revocations.iter().filter(move |known| known.covers(link, &self.links[&link]) != Covers::No)
    }

    /// Whether a verifier may refuse by a revocation at some moment of a time.
    fn may_bite(&self, revocation: &Revocation, verifier: usize, from: Time, until: Time) -> bool {
        let is_still_known =
            |lifted: Time| from <= lifted + BOUND || !self.is_quiet(verifier, lifted.saturating_sub(RECOVERY), from);
        until >= revocation.asked && revocation.lifted.is_none_or(is_still_known)
    }

    fn is_quiet(&self, verifier: usize, from: Time, until: Time) -> bool {
        let concerns = |fault: &(Option<usize>, Time, Time)| fault.0.is_none_or(|at| at == verifier);
        !self.faults.iter().filter(|fault| concerns(fault)).any(|fault| fault.1 <= until && from <= fault.2)
    }

    fn disagreements(&self, events: &[Event]) -> Vec<Violation> {
        let mut said = BTreeMap::new();
        let settled = events.iter().filter_map(|event| match *event {
            Event::Settled { link, verifier, status, .. } => Some((link, verifier, status)),
            _ => None,
        });
        settled
            .filter_map(|(link, verifier, status)| {
                let first = *said.entry(link).or_insert(status);
                let expected = self.settled_status(link).unwrap_or(first);
                (status != expected).then_some(Violation::Disagreement { link, verifier, status, expected })
            })
            .collect()
    }

    /// What a link gets in the end; `None` where the history leaves it open.
    fn settled_status(&self, link: usize) -> Option<u16> {
        let left: Vec<_> = self.covering(link).filter(|known| known.lifted.is_none()).collect();
        let is_sure = |known: &&Revocation| {
            known.is_sure && known.lifting.is_none() && known.covers(link, &self.links[&link]) == Covers::Yes
        };
        match left.iter().any(is_sure) {
            true => Some(410),
            false if left.is_empty() => Some(200),
            false => None,
        }
    }
}
