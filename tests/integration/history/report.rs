//! What is said of a history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::checker::{Violation, count_quiet};
use super::events::{Bearings, Event, Nature};
use super::faults::Fault;
use super::plan::Incident;

/// How many violations are shown in full.
const SHOWN: usize = 10;

/// The faults in their order, the violations, and what else happened to the links that they name.
pub fn explain(rounds: &[Vec<Incident>], events: &[Event], violations: &[Violation]) -> String {
    let shown = &violations[..violations.len().min(SHOWN)];
    let is_named = |link: &usize| shown.iter().any(|violation| violation.link() == Some(*link));
    let links: Vec<Bearings> = events
        .iter()
        .filter_map(|event| match event {
            Event::Minted { link, bearings, .. } if is_named(link) => Some(*bearings),
            _ => None,
        })
        .collect();
    let covering: BTreeSet<usize> = events
        .iter()
        .filter_map(|event| match event {
            Event::Revoked { revocation, target, .. } if links.iter().any(|link| target.names(link)) => {
                Some(*revocation)
            }
            _ => None,
        })
        .collect();
    let belongs = |event: &&Event| match event {
        Event::Fault { .. } | Event::Lost { .. } | Event::Ended { .. } | Event::Blind { .. } => true,
        Event::Minted { link, .. } => is_named(link),
        Event::Revoked { revocation, .. } | Event::Lifted { revocation, .. } => covering.contains(revocation),
        Event::Downloaded { link, verifier, status, started, .. } => shown.iter().any(|violation| match violation {
            Violation::TooManyDownloads { link: counted, .. } => link == counted && *status == 200,
            Violation::WrongRefusal { verifier: refusing, at, .. } => (verifier, started) == (refusing, at),
            _ => false,
        }),
        _ => false,
    };
    let faults = rounds.iter().map(|round| join(round, "; ") + "\n");
    let violations = shown.iter().map(|violation| format!("{violation:?}\n"));
    let events = events.iter().filter(belongs).map(|event| format!("{event:?}\n"));
    faults.chain(violations).chain(events).collect()
}

fn join(parts: &[impl Display], between: &str) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

pub struct Summary {
    links: usize,
    revocations: usize,
    unsure: usize,
    downloads: usize,
    permitted: usize,
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

impl Display for Summary {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { links, revocations, unsure, downloads, permitted, quiet } = self;
        write!(
            formatter,
            "{links} links, {revocations} revocations ({unsure} unsure), {downloads} downloads ({permitted} permitted, \
             {quiet} at rest)"
        )
    }
}

/// What many histories came to.
#[derive(Default)]
pub struct Total {
    pub seeds: usize,
    pub length: Duration,
    pub events: usize,
    pub violations: usize,
    faults: BTreeMap<Fault, usize>,
    pairs: BTreeMap<(Fault, Fault), usize>,
}

impl Total {
    /// Counts faults, and each pair of them at once.
    pub fn count(&mut self, rounds: &[Vec<Incident>]) {
        for round in rounds {
            let mut together: Vec<Fault> = round.iter().map(|incident| incident.fault).collect();
            together.sort();
            for (at, fault) in together.iter().enumerate() {
                *self.faults.entry(*fault).or_default() += 1;
                for other in &together[at + 1..] {
                    *self.pairs.entry((*fault, *other)).or_default() += 1;
                }
            }
        }
    }
}

impl Display for Total {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { seeds, length, events, violations, faults, pairs } = self;
        let kinds: Vec<String> = faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        let possible = Fault::pairs();
        let missing = possible.iter().filter(|pair| !pairs.contains_key(pair));
        let missing: Vec<String> = missing.map(|(one, other)| format!("{one:?}+{other:?}")).collect();
        write!(
            formatter,
            "{seeds} seeds, {} s, {events} events, {violations} violations\n{} faults: {}\n{} of {} pairs at once, {} \
             times; not: {}",
            length.as_secs(),
            faults.values().sum::<usize>(),
            kinds.join(", "),
            possible.len() - missing.len(),
            possible.len(),
            pairs.values().sum::<usize>(),
            missing.join(", ")
        )
    }
}
