//! What is said of a history.

use std::fmt::{self, Formatter};
use std::time::Duration;

use super::checker::{Violation, count_quiet};
use super::events::{Event, Nature};
use super::plan::Tally;

/// The violations, and what else happened to what they name.
pub fn explain(events: &[Event], violations: &[Violation]) -> String {
    let is_named = |event: &&Event| {
        violations.iter().take(SHOWN).any(|violation| match (violation, event) {
            (_, Event::Fault { .. } | Event::Lost { .. } | Event::Ended { .. } | Event::Blind { .. }) => true,
            (Violation::LatePermit { revocation: named, .. }, Event::Revoked { revocation, .. }) => revocation == named,
            (Violation::LatePermit { revocation: named, .. }, Event::Lifted { revocation, .. }) => revocation == named,
            (violation, Event::Minted { link, .. }) => *link == violation.link(),
            (Violation::TooManyDownloads { link: named, .. }, Event::Downloaded { link, status: 200, .. }) => {
                link == named
            }
            _ => false,
        })
    };
    let lines = events.iter().filter(is_named).map(|event| format!("{event:?}\n"));
    let shown = violations.iter().take(SHOWN).map(|violation| format!("{violation:?}\n"));
    shown.chain(lines).collect()
}

/// How many violations are shown in full.
const SHOWN: usize = 10;

pub struct Summary {
    pub links: usize,
    pub revocations: usize,
    pub unsure: usize,
    pub downloads: usize,
    pub permitted: usize,
    pub quiet: usize,
}

impl Summary {
    pub fn of(natures: &[Nature], events: &[Event]) -> Self {
        let count = |is_it: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
        Self {
            links: count(&|event| matches!(event, Event::Minted { .. })),
            revocations: count(&|event| matches!(event, Event::Revoked { .. })),
            unsure: count(&|event| matches!(event, Event::Revoked { is_sure: false, .. })),
            downloads: count(&|event| matches!(event, Event::Downloaded { .. })),
            permitted: count(&|event| matches!(event, Event::Downloaded { status: 200, .. })),
            quiet: count_quiet(natures, events),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { links, revocations, unsure, downloads, permitted, quiet, .. } = self;
        write!(
            formatter,
            "{links} links, {revocations} revocations ({unsure} unsure), {downloads} downloads ({permitted} permitted, \
             {quiet} at rest)"
        )
    }
}

/// Faults by kind and by pair.
pub fn faults(tally: &Tally) -> String {
    let kinds: Vec<String> = tally.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
    let pairs: Vec<String> =
        tally.pairs.iter().map(|((one, other), count)| format!("{one:?}+{other:?} {count}")).collect();
    format!("faults: {}; at once: {}", kinds.join(", "), pairs.join(", "))
}

/// What many histories came to.
#[derive(Default)]
pub struct Total {
    pub seeds: usize,
    pub length: Duration,
    pub events: usize,
    pub tally: Tally,
    pub violations: usize,
}

impl fmt::Display for Total {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { seeds, length, events, tally, violations } = self;
        write!(
            formatter,
            "{seeds} seeds, {} s, {events} events, {violations} violations\n{}",
            length.as_secs(),
            faults(tally)
        )
    }
}
