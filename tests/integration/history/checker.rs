//! Judges a history. Pure: it is told what was seen from outside and when, and says what cannot be right.
//!
//! The promises:
//!
//! - **Late permit**: a download, or a refresh, that *started* later than a revocation's answer and the bound is not permitted, until
//!   lifting the revocation is asked for. The bound is nothing at the verifier that answered, [`BOUND`] at one that
//!   nothing happened to since, and [`CUT_OFF_BOUND`] at one that may have been cut off: by then it is stale. What the
//!   store loses is another matter: see [`super::remembering`].
//! - **Permit while blind**: a verifier that hears nothing permits nothing any more after [`CUT_OFF_BOUND`].
//! - **Wrong refusal**: nothing is called revoked that no revocation can cover, whatever fails meanwhile; a link that is
//!   minted after the answer to a revocation until now works at once; and a verifier that nothing has happened to for
//!   [`RECOVERY`] refuses nothing for any other reason.
//! - **Too many downloads**: a counted link is permitted to no more clients than it may be downloaded by.
//! - **Disagreement**: when everything is over, every verifier says what the history says; where a lost answer leaves
//!   both open, all of them say the same.
//! - **No recovery**: when everything is over, every verifier is ready without having been restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::events::{Bearings, Event, Folder, Loss, Nature, Reach, Target, Time};
use crate::support::fleet::{BOUND, CUT_OFF_BOUND};

/// How long a verifier may take to be itself again after a fault.
pub const RECOVERY: Duration = Duration::from_secs(6);
/// How far any clock may be from the true time.
pub const LEEWAY: Duration = Duration::from_secs(2);
/// How much later than a revocation until now a link is minted that it cannot reach, whoever mints it.
const BEYOND_REACH: Duration = Duration::from_secs(9);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    LatePermit { link: usize, verifier: usize, revocation: usize, at: Time, late_by: Duration },
    PermitWhileBlind { link: usize, verifier: usize, at: Time },
    WrongRefusal { link: usize, verifier: usize, status: u16, at: Time },
    TooManyDownloads { link: usize, permitted: usize, most: usize },
    Disagreement { link: usize, verifier: usize, status: u16, expected: u16 },
    NoRecovery { verifier: usize, reason: String },
}

impl Violation {
    /// The link that it is about, where it is about one.
    pub const fn link(&self) -> Option<usize> {
        match self {
            Self::LatePermit { link, .. }
            | Self::PermitWhileBlind { link, .. }
            | Self::WrongRefusal { link, .. }
            | Self::TooManyDownloads { link, .. }
            | Self::Disagreement { link, .. } => Some(*link),
            Self::NoRecovery { .. } => None,
        }
    }
}

/// Everything that cannot be right about a history.
pub fn check(natures: &[Nature], events: &[Event]) -> Vec<Violation> {
    let history = History::of(natures, events);
    let judged = history.downloads.iter().chain(&history.refreshed).filter_map(|asked| history.judge(asked));
    let unready = events.iter().filter_map(|event| match event {
        Event::Unready { verifier, reason } => {
            Some(Violation::NoRecovery { verifier: *verifier, reason: reason.clone() })
        }
        _ => None,
    });
    judged.chain(history.too_many_downloads()).chain(history.disagreements(events)).chain(unready).collect()
}

/// How many downloads met a verifier that had to be right about everything.
pub fn count_quiet(natures: &[Nature], events: &[Event]) -> usize {
    let history = History::of(natures, events);
    history.downloads.iter().filter(|download| history.was_at_rest(download)).count()
}

pub struct History {
    pub natures: Vec<Nature>,
    links: BTreeMap<usize, Link>,
    revocations: Vec<Revocation>,
    downloads: Vec<Download>,
    /// Links that were given a successor: a permit as well.
    refreshed: Vec<Download>,
    pub faults: Vec<(Option<usize>, Time, Time)>,
    blind: Vec<(usize, Time, Time)>,
    pub ended: Vec<(usize, Folder, Time)>,
    pub losses: Vec<(Loss, Time, Time)>,
}

struct Download {
    link: usize,
    verifier: usize,
    client: u8,
    status: u16,
    started: Time,
    ended: Time,
}

struct Link {
    bearings: Bearings,
    verifier: usize,
    issued_at: u64,
    most: Option<usize>,
    asked: Time,
    answered: Time,
}

pub struct Revocation {
    number: usize,
    pub verifier: usize,
    target: Target,
    reach: Reach,
    is_sure: bool,
    pub asked: Time,
    pub answered: Time,
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

impl History {
    fn of(natures: &[Nature], events: &[Event]) -> Self {
        let mut history = Self {
            natures: natures.to_vec(),
            links: BTreeMap::new(),
            revocations: Vec::new(),
            downloads: Vec::new(),
            refreshed: Vec::new(),
            faults: Vec::new(),
            blind: Vec::new(),
            ended: Vec::new(),
            losses: Vec::new(),
        };
        events.iter().for_each(|event| history.note(event));
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

    fn note(&mut self, event: &Event) {
        match *event {
            Event::Minted { link, bearings, verifier, issued_at, most, asked, answered } => {
                self.links.insert(link, Link { bearings, verifier, issued_at, most, asked, answered });
            }
            Event::Revoked { revocation: number, verifier, target, reach, is_sure, asked, answered } => {
                let (lifting, lifted) = (None, None);
                let revocation =
                    Revocation { number, verifier, target, reach, is_sure, asked, answered, lifting, lifted };
                self.revocations.push(revocation);
            }
            Event::Downloaded { link, verifier, client, status, started, ended } => {
                self.downloads.push(Download { link, verifier, client, status, started, ended });
            }
            Event::Refreshed { link, verifier, started, ended } => {
                self.refreshed.push(Download { link, verifier, client: 0, status: 200, started, ended });
            }
            Event::Fault { verifier, from, until } => self.faults.push((verifier, from, until)),
            Event::Blind { verifier, from, until } => self.blind.push((verifier, from, until)),
            Event::Ended { verifier, folder, at } => self.ended.push((verifier, folder, at)),
            Event::Lost { loss, from, until } => self.losses.push((loss, from, until)),
            Event::Lifted { .. } | Event::Settled { .. } | Event::Unready { .. } => {}
        }
    }

    fn judge(&self, download: &Download) -> Option<Violation> {
        let Download { link, verifier, status, started, .. } = *download;
        let is_right = match status {
            200 => return self.late_permit(download).or_else(|| self.permit_while_blind(download)),
            410 => {
                self.covering(link).any(|revocation| self.may_refuse_by(revocation, download))
                    || self.may_be_used_up(download)
            }
            0 | 503 => !self.was_at_rest(download) || self.may_not_be_counted(download),
            _ => false,
        };
        (!is_right).then_some(Violation::WrongRefusal { link, verifier, status, at: started })
    }

    fn late_permit(&self, download: &Download) -> Option<Violation> {
        let Download { link, verifier, started, ended, .. } = *download;
        self.covering_surely(link).find_map(|revocation| {
            // What starts again from a copy on disk judges by that as long as it is young.
            let has_started_again =
                self.natures[verifier].has_copy && self.has_ended(verifier, revocation.asked, started);
            let bound = match revocation.verifier {
                answering if answering == verifier && !has_started_again => Duration::ZERO,
                _ if self.is_quiet(verifier, revocation.asked.saturating_sub(RECOVERY), started) => BOUND,
                _ => CUT_OFF_BOUND,
            };
            let holds_from = self.holds_from(revocation, verifier, started, revocation.answered + bound)?;
            let late_by = started.checked_sub(holds_from)?;
            let is_in_force = revocation.lifting.is_none_or(|lifting| ended < lifting);
            (!late_by.is_zero() && is_in_force).then_some(Violation::LatePermit {
                link,
                verifier,
                revocation: revocation.number,
                at: started,
                late_by,
            })
        })
    }

    fn permit_while_blind(&self, download: &Download) -> Option<Violation> {
        let Download { link, verifier, started: at, ended, .. } = *download;
        let is_blind =
            |blind: &&(usize, Time, Time)| blind.0 == verifier && blind.1 + CUT_OFF_BOUND < at && ended < blind.2;
        self.blind.iter().find(is_blind).map(|_| Violation::PermitWhileBlind { link, verifier, at })
    }

    /// Whether a verifier may refuse by a revocation at some moment of a download.
    fn may_refuse_by(&self, revocation: &Revocation, download: &Download) -> bool {
        let Download { verifier, started, ended, .. } = *download;
        let is_still_known = |lifted: Time| {
            let was_cut_off = || !self.is_quiet(verifier, lifted.saturating_sub(RECOVERY), started);
            started <= lifted + BOUND || was_cut_off() || self.may_come_back(revocation, verifier)
        };
        ended >= revocation.asked && revocation.lifted.is_none_or(is_still_known)
    }

    /// Whether a revocation that was lifted may be in force again: what is known is united after a loss. A verifier that
    /// cannot write keeps to itself what it had known, whatever was lifted meanwhile, and so does an old data folder.
    fn may_come_back(&self, revocation: &Revocation, verifier: usize) -> bool {
        let is_kept = self.keeps_to_itself(verifier) || self.ended.iter().any(|ended| ended.1 == Folder::Old);
        let from = if is_kept { Some(revocation.asked) } else { revocation.lifting };
        self.losses.iter().any(|(_, _, until)| from.is_some_and(|from| *until >= from))
    }

    fn keeps_to_itself(&self, verifier: usize) -> bool {
        let Nature { has_index, writes, .. } = self.natures[verifier];
        has_index && !writes
    }

    /// Whether a verifier has permitted something in a time: it has believed the store then.
    pub fn has_judged(&self, verifier: usize, from: Time, until: Time) -> bool {
        let is_it = |download: &Download| {
            download.verifier == verifier && download.status == 200 && from < download.started && download.ended < until
        };
        self.downloads.iter().any(is_it)
    }

    /// Whether as many other clients as the link may have may have downloaded it.
    fn may_be_used_up(&self, download: &Download) -> bool {
        let Some(most) = self.links[&download.link].most else { return false };
        let others = self.downloads.iter().filter(|other| {
            let is_counted = !matches!(other.status, 403 | 410) && other.started <= download.ended;
            other.link == download.link && other.client != download.client && is_counted
        });
        others.map(|other| other.client).collect::<BTreeSet<u8>>().len() >= most
    }

    /// Whether counting waits for good: the verifier cannot, or the count was lost.
    fn may_not_be_counted(&self, download: &Download) -> bool {
        let link = &self.links[&download.link];
        let is_lost = || self.losses.iter().any(|(_, _, until)| link.asked < *until + RECOVERY + BEYOND_REACH);
        link.most.is_some() && (!self.natures[download.verifier].writes || is_lost())
    }

    fn too_many_downloads(&self) -> Vec<Violation> {
        let mut permitted: BTreeMap<usize, BTreeSet<u8>> = BTreeMap::new();
        for download in self.downloads.iter().filter(|download| download.status == 200) {
            permitted.entry(download.link).or_default().insert(download.client);
        }
        let exceeded = permitted.into_iter().filter_map(|(link, clients)| {
            let known = &self.links[&link];
            let (most, permitted) = (known.most?, clients.len());
            // A store that came back as it was before has forgotten downloads, and nothing tells.
            let rewound = self.losses.iter().filter(|(loss, _, until)| *loss != Loss::Emptied && *until > known.asked);
            let most = most * (1 + rewound.count());
            (permitted > most).then_some(Violation::TooManyDownloads { link, permitted, most })
        });
        exceeded.collect()
    }

    /// The revocations that cover a link, or may.
    fn covering(&self, link: usize) -> impl Iterator<Item = &Revocation> {
        self.revocations.iter().filter(move |known| self.covers(known, link) != Covers::No)
    }

    fn covering_surely(&self, link: usize) -> impl Iterator<Item = &Revocation> {
        self.revocations.iter().filter(move |known| known.is_sure && self.covers(known, link) == Covers::Yes)
    }

    fn covers(&self, revocation: &Revocation, number: usize) -> Covers {
        let link = &self.links[&number];
        match revocation.reach {
            _ if !revocation.target.names(&link.bearings) => Covers::No,
            Reach::Whenever => Covers::Yes,
            Reach::Before(time) if link.issued_at < time => Covers::Yes,
            Reach::Before(time) if link.issued_at > time => Covers::No,
            Reach::UntilNow if link.answered < revocation.asked => Covers::Yes,
            Reach::UntilNow if revocation.is_sure && self.is_minted_behind(link, revocation) => Covers::No,
            // Without an answer it may still be on its way.
            Reach::Before(_) | Reach::UntilNow => Covers::Maybe,
        }
    }

    /// Whether a link was minted by a verifier that knew of a revocation until now, which was in force, or long after it.
    fn is_minted_behind(&self, link: &Link, revocation: &Revocation) -> bool {
        let known_from = match link.verifier {
            answering if answering == revocation.verifier => Duration::ZERO,
            _ if self.is_quiet(link.verifier, revocation.asked.saturating_sub(RECOVERY), link.answered) => BOUND,
            _ => BEYOND_REACH,
        };
        let is_lost = || self.losses.iter().any(|(_, _, until)| *until >= revocation.asked);
        let is_lifted = || revocation.lifting.is_some_and(|lifting| lifting <= link.answered);
        link.asked > revocation.answered + if is_lifted() || is_lost() { BEYOND_REACH } else { known_from }
    }

    fn was_at_rest(&self, download: &Download) -> bool {
        self.is_quiet(download.verifier, download.started.saturating_sub(RECOVERY), download.ended)
    }

    pub fn is_quiet(&self, verifier: usize, from: Time, until: Time) -> bool {
        let concerns = |fault: &&(Option<usize>, Time, Time)| fault.0.is_none_or(|at| at == verifier);
        !self.faults.iter().filter(concerns).any(|fault| fault.1 <= until && from < fault.2)
    }

    fn disagreements(&self, events: &[Event]) -> Vec<Violation> {
        let mut said = BTreeMap::new();
        let settled = events.iter().filter_map(|event| match *event {
            Event::Settled { link, verifier, status } => Some((link, verifier, status)),
            _ => None,
        });
        settled
            .filter_map(|(link, verifier, status)| {
                let first = *said.entry(link).or_insert(status);
                let expected = self.settled_status(link, verifier).unwrap_or(first);
                let keeps_it = status == 410
                    && self.keeps_to_itself(verifier)
                    && self.covering(link).any(|known| self.may_come_back(known, verifier));
                (status != expected && !keeps_it).then_some(Violation::Disagreement {
                    link,
                    verifier,
                    status,
                    expected,
                })
            })
            .collect()
    }

    /// What a link gets in the end; `None` where the history leaves it open.
    fn settled_status(&self, link: usize, verifier: usize) -> Option<u16> {
        let is_sure = |known: &Revocation| {
            let is_kept = self.holds_from(known, known.verifier, Time::MAX, known.answered).is_some();
            known.lifting.is_none() && is_kept
        };
        let is_left = |known: &Revocation| known.lifted.is_none() || self.may_come_back(known, verifier);
        match self.covering_surely(link).any(is_sure) {
            true => Some(410),
            false if !self.covering(link).any(is_left) => Some(200),
            false => None,
        }
    }
}
