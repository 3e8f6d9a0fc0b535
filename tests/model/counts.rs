//! How often a counted link was used, across the loss of its count.
//!
//! One link, for one download. A process follows the store, and a newcomer sets it up when it is emptied; the newcomer judges
//! once the other has written back what it knows, which is the matter of `lineage`.

use std::fmt;

use super::explore::{Model, breaks, holds};

/// How far a clock may be from the true time, and how far two may differ.
const LEEWAY: i8 = 1;
const SKEW: i8 = 2 * LEEWAY;
/// The true time at which a search begins and ends.
const FIRST: i8 = 10;
const LAST: i8 = 12;
const NAMES: [&str; 2] = ["the process", "the newcomer"];

const USED_TWICE: &str = "a link for one download is downloaded twice";

#[derive(Clone, Copy)]
struct Rules {
    /// Counting names the epoch that the process judges by; in another one the count is lost.
    names_epoch: bool,
    /// Every set-up notes until when links may have used downloads that are not known any more.
    forgets_at_set_up: bool,
    /// Counts of links are lost that are dated so much after a store's time: at a set-up, and when a process has written back.
    ahead: [i8; 2],
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    time: i8,
    /// How far the store's clock is ahead of it.
    clock: i8,
    store: Option<Store>,
    /// The epochs that both processes judge by.
    epochs: [Option<u8>; 2],
    issued_at: Option<i8>,
    downloads: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Store {
    epoch: u8,
    used: u8,
    /// Until when a link is dated whose count may be lost.
    forgotten: i8,
}

#[derive(Clone)]
enum Event {
    Tick,
    Mint(i8),
    Count(usize),
    Empty,
    SetUp,
    Restore,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "time passes"),
            Self::Mint(at) => write!(f, "a link is minted, dated {at}"),
            Self::Count(p) => write!(f, "{} counts a download", NAMES[*p]),
            Self::Empty => write!(f, "the store is emptied"),
            Self::SetUp => write!(f, "the newcomer sets the store up"),
            Self::Restore => write!(f, "the process writes back what it knows"),
        }
    }
}

struct Counts(Rules);

impl Counts {
    /// Counts a download, if the count is known and not used up.
    fn count(&self, state: &State, p: usize) -> Option<State> {
        let mut next = state.clone();
        let store = next.store.as_mut()?;
        let is_other = state.epochs[p]? != store.epoch && self.0.names_epoch;
        let is_lost = store.used == 0 && state.issued_at? <= store.forgotten;
        if is_other || is_lost || store.used > 0 {
            return None;
        }
        store.used += 1;
        next.downloads += 1;
        Some(next)
    }
}

impl Model for Counts {
    type State = State;
    type Event = Event;

    fn starts(&self) -> Vec<State> {
        let start = |clock| State {
            time: FIRST,
            clock,
            store: Some(Store { epoch: 1, used: 0, forgotten: 0 }),
            epochs: [Some(1), None],
            issued_at: None,
            downloads: 0,
        };
        [-LEEWAY, LEEWAY].map(start).into()
    }

    fn events(&self, state: &State) -> Vec<(Event, State)> {
        let mut events = Vec::new();
        let mut add = |event: Event, change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            events.push((event, next));
        };
        if state.time < LAST {
            add(Event::Tick, &|next| next.time += 1);
        }
        if state.issued_at.is_none() {
            // By a minter's clock, or past a cut-off: no further than the skew ahead of any store's time.
            for ahead in -LEEWAY..=LEEWAY + SKEW {
                add(Event::Mint(state.time + ahead), &|next| next.issued_at = Some(state.time + ahead));
            }
        }
        let now = state.time + state.clock;
        match &state.store {
            Some(store) if store.epoch == 1 => add(Event::Empty, &|next| next.store = None),
            None => add(Event::SetUp, &|next| {
                let forgotten = if self.0.forgets_at_set_up { now + self.0.ahead[0] } else { 0 };
                next.store = Some(Store { epoch: 2, used: 0, forgotten });
            }),
            Some(_) if state.epochs[0] == Some(1) => add(Event::Restore, &|next| {
                next.epochs = [Some(2); 2];
                next.store.iter_mut().for_each(|store| store.forgotten = store.forgotten.max(now + self.0.ahead[1]));
            }),
            Some(_) => {}
        }
        events.extend((0..2).filter_map(|p| Some((Event::Count(p), self.count(state, p)?))));
        events
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        (state.downloads > 1).then_some(USED_TWICE)
    }
}

const RULES: Rules = Rules { names_epoch: true, forgets_at_set_up: true, ahead: [SKEW, 2 * SKEW] };

#[test]
fn a_link_is_downloaded_no_more_often_than_it_may_though_its_count_is_lost() {
    holds(&Counts(RULES));
}

#[test]
fn where_a_newcomer_sets_the_store_up_without_a_word_and_counting_names_no_epoch_used_up_links_are_given_away() {
    let rules = Rules { names_epoch: false, forgets_at_set_up: false, ..RULES };
    breaks(
        &Counts(rules),
        USED_TWICE,
        &[
            "a link is minted, dated 9",
            "the process counts a download",
            "the store is emptied",
            "the newcomer sets the store up",
            "the process counts a download",
        ],
    );
}

#[test]
fn where_counts_are_lost_only_up_to_now_a_link_that_is_dated_ahead_is_given_away_again() {
    breaks(
        &Counts(Rules { ahead: [0; 2], ..RULES }),
        USED_TWICE,
        &[
            "a link is minted, dated 10",
            "the process counts a download",
            "the store is emptied",
            "the newcomer sets the store up",
            "the process writes back what it knows",
            "the process counts a download",
        ],
    );
}
