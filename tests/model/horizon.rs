//! How far a revocation "until now" reaches, and how far ahead a link may be dated.
//!
//! One link, which two members cover, as its subject and its client do: links do not act on one another, so that what holds
//! for one holds for all. Every machine's clock is within [`LEEWAY`] of the true time. What the store says is applied
//! at once: how late that may be is the matter of `freshness`.

use std::fmt;

use super::explore::{Model, breaks, holds};

/// How far a clock may be from the true time.
const LEEWAY: i8 = 1;
/// How far two clocks may differ.
const SKEW: i8 = 2 * LEEWAY;
/// The true time at which a search begins and ends.
const FIRST: i8 = 10;
const LAST: i8 = 12;
const MOST_WRITES: u8 = 2;
const MEMBERS: [&str; 2] = ["subject", "client"];

const REVOKED_IS_PERMITTED: &str = "a link that was minted before a revocation's answer is permitted after it";
const VALID_IS_REFUSED: &str = "a link that was minted after a revocation's answer is refused";

#[derive(Clone, Copy)]
struct Rules {
    reach: Reach,
    latest_issue: LatestIssue,
    /// The store's time never goes back behind what it has told.
    steady: bool,
    /// A server that others wrote to before reaches, from its first write on, as far as links may be dated by any clock.
    arrival_floor: bool,
    /// The clock of the server that is written to may be set back, as far as the leeway lets it.
    sets_back: bool,
    /// The server that is written to may be replaced by another one, which lacks the last writes.
    fails_over: bool,
    /// The minter is offline and its clock may be far ahead.
    has_wrong_minter: bool,
}

/// How far a revocation "until now" reaches.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    /// The skew from the revoker's clock, or past what the same member was revoked up to before; links are dated up to
    /// twice as far ahead.
    OwnClock,
    /// To the horizon: the skew from the store's time; to the floor where that is further.
    Horizon,
}

/// The latest issue time that a verifier takes.
#[derive(Clone, Copy, PartialEq)]
enum LatestIssue {
    /// Far ahead of its own clock.
    Own,
    /// The skew from its own clock, or from the store's time where that is later.
    Later,
    /// The skew from the store's time, as far as that is known to have come.
    Store,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    time: i8,
    /// How far the clocks of both servers, of the minter and of the revoker are ahead of it.
    servers: [i8; 2],
    minter: i8,
    revoker: i8,
    /// The server that is written to, and what it holds.
    current: usize,
    store: Store,
    /// What the other one has of that.
    replica: Store,
    is_fork_known: bool,
    /// What all processes know: cut-offs, and how far the store's time is ahead of the true one at least.
    index: [Option<i8>; 2],
    ahead: i8,
    /// The latest time of the store that the minter was told.
    told: i8,
    link: Option<Link>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Store {
    cut_offs: [Option<i8>; 2],
    told: i8,
    floor: i8,
    writes: u8,
    /// The server that took the last revocation.
    server: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Link {
    issued_at: i8,
    /// Whether a revocation of each member was answered after it was minted.
    revoked: [bool; 2],
    /// Minted over the API, and every verifier takes it at once; or whether any does.
    is_taken: bool,
}

#[derive(Clone)]
enum Event {
    Tick,
    SetBack,
    MintOffline(i8),
    Mint(i8),
    Tell(i8),
    Revoke(usize, i8),
    RevokeUntil(usize, i8),
    Reinstate(usize),
    Replicate,
    FailOver,
    Restore,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "time passes"),
            Self::SetBack => write!(f, "the store's clock is set back"),
            Self::MintOffline(at) => write!(f, "a link is minted offline, dated {at}"),
            Self::Mint(at) => write!(f, "a link is minted, dated {at}"),
            Self::Tell(at) => write!(f, "the store tells the minter that it is {at}"),
            Self::Revoke(member, score) => write!(f, "the {} is revoked until now, up to {score}", MEMBERS[*member]),
            Self::RevokeUntil(member, score) => write!(f, "the {} is revoked up to {score}", MEMBERS[*member]),
            Self::Reinstate(member) => write!(f, "the {} is reinstated", MEMBERS[*member]),
            Self::Replicate => write!(f, "the replica catches up"),
            Self::FailOver => write!(f, "the replica takes over"),
            Self::Restore => write!(f, "what it had lost is written back"),
        }
    }
}

struct Horizon(Rules);

impl Horizon {
    /// The store's time, as its scripts see it.
    fn steady(&self, state: &State) -> i8 {
        let clock = state.time + state.servers[state.current];
        if self.0.steady { clock.max(state.store.told) } else { clock }
    }

    /// The latest issue that a verifier takes whose clock is so far ahead.
    fn latest_issue(&self, state: &State, clock: i8) -> i8 {
        let (own, store) = (state.time + clock, state.time + state.ahead);
        match self.0.latest_issue {
            LatestIssue::Own => own + 3 * SKEW,
            LatestIssue::Later => own.max(store) + SKEW,
            LatestIssue::Store => store + SKEW,
        }
    }

    /// The store takes a write, and everybody hears of it; answers its time.
    fn write(&self, state: &mut State) -> i8 {
        let at = self.steady(state);
        state.store.told = at;
        state.ahead = state.ahead.max(at - state.time);
        at
    }

    /// The same for a revocation: the first one that a server takes sets the floor.
    fn write_revocation(&self, state: &mut State) -> i8 {
        let at = self.write(state);
        let store = &mut state.store;
        if self.0.arrival_floor && store.server != state.current {
            store.floor = store.floor.max(at + 2 * SKEW);
        }
        store.server = state.current;
        at
    }

    fn reach(&self, state: &State, member: usize, at: i8) -> i8 {
        match self.0.reach {
            Reach::OwnClock => {
                let past_own = state.index[member].map_or(0, |cut_off| cut_off + 1);
                (state.time + state.revoker + SKEW).max(past_own)
            }
            Reach::Horizon => (at + SKEW).max(state.store.floor),
        }
    }

    fn cut(&self, state: &mut State, member: usize, score: i8) {
        for known in [&mut state.store.cut_offs[member], &mut state.index[member]] {
            *known = (*known).max(Some(score));
        }
        state.store.writes += 1;
        state.told = state.told.max(state.store.told);
    }

    fn mint(&self, state: &State) -> Vec<(Event, Link)> {
        let now = state.time + state.minter;
        let verifiers = [-LEEWAY, LEEWAY].map(|clock| self.latest_issue(state, clock));
        let offline = |ahead| {
            let issued_at = now + ahead;
            let is_taken = ahead == 0 || verifiers.iter().any(|latest| issued_at <= *latest);
            (Event::MintOffline(issued_at), Link { issued_at, revoked: [false; 2], is_taken })
        };
        let mut minted: Vec<_> = (0..=if self.0.has_wrong_minter { 3 * SKEW } else { 0 }).map(offline).collect();
        // The API dates a link past the cut-off that covers it, no further ahead than it can prove that others reach.
        let covering = state.index.iter().flatten().max().copied().unwrap_or(0);
        let issued_at = if covering < now { now } else { covering + 1 };
        let horizon = if self.0.reach == Reach::OwnClock { now + 2 * SKEW } else { state.told + SKEW };
        if issued_at <= now.max(horizon) {
            let is_taken = verifiers.iter().all(|latest| issued_at <= *latest);
            minted.push((Event::Mint(issued_at), Link { issued_at, revoked: [false; 2], is_taken }));
        }
        minted
    }
}

impl Model for Horizon {
    type State = State;
    type Event = Event;

    fn starts(&self) -> Vec<State> {
        let clocks = |bits: u8| [0, 1, 2, 3].map(|bit| if bits >> bit & 1 == 1 { LEEWAY } else { -LEEWAY });
        let start = |[first, second, minter, revoker]: [i8; 4]| State {
            time: FIRST,
            servers: [first, second],
            minter,
            revoker,
            current: 0,
            store: Store::default(),
            replica: Store::default(),
            is_fork_known: true,
            index: [None; 2],
            // Beats have told it.
            ahead: first,
            told: 0,
            link: None,
        };
        (0..16).map(clocks).map(start).collect()
    }

    fn events(&self, state: &State) -> Vec<(Event, State)> {
        let mut steps = Vec::new();
        let mut add = |step: &dyn Fn(&mut State) -> Event| {
            let mut next = state.clone();
            let step = step(&mut next);
            steps.push((step, next));
        };
        if state.time < LAST {
            add(&|next| {
                next.time += 1;
                Event::Tick
            });
        }
        if self.0.sets_back && state.servers[state.current] > 0 {
            add(&|next| {
                next.servers[next.current] = -LEEWAY;
                Event::SetBack
            });
        }
        if state.link.is_none() {
            for (step, link) in self.mint(state) {
                add(&|next| {
                    next.link = Some(link.clone());
                    step.clone()
                });
            }
            add(&|next| {
                let at = self.write(next);
                next.told = next.told.max(at);
                Event::Tell(at)
            });
        }
        if state.store.writes < MOST_WRITES {
            for member in 0..2 {
                add(&|next| {
                    let at = self.write_revocation(next);
                    let score = self.reach(next, member, at);
                    self.cut(next, member, score);
                    if let Some(link) = next.link.as_mut().filter(|link| link.is_taken) {
                        link.revoked[member] = true;
                    }
                    Event::Revoke(member, score)
                });
                // By hand, up to a leeway ahead by the revoker's clock; in former times up to any.
                add(&|next| {
                    let ahead = if self.0.reach == Reach::OwnClock { 2 * SKEW } else { LEEWAY };
                    let score = next.time + next.revoker + ahead - 1;
                    self.write_revocation(next);
                    self.cut(next, member, score);
                    Event::RevokeUntil(member, score)
                });
                if state.store.cut_offs[member].is_some() {
                    add(&|next| {
                        self.write(next);
                        next.store.writes += 1;
                        (next.store.cut_offs[member], next.index[member]) = (None, None);
                        if let Some(link) = &mut next.link {
                            link.revoked[member] = false;
                        }
                        Event::Reinstate(member)
                    });
                }
            }
        }
        if self.0.fails_over && state.current == 0 {
            if state.replica != state.store {
                add(&|next| {
                    next.replica = next.store.clone();
                    Event::Replicate
                });
            }
            add(&|next| {
                next.is_fork_known = next.replica.writes == next.store.writes;
                next.store = std::mem::take(&mut next.replica);
                next.current = 1;
                Event::FailOver
            });
        }
        if !state.is_fork_known {
            add(&|next| {
                self.write(next);
                for (kept, known) in next.store.cut_offs.iter_mut().zip(next.index) {
                    *kept = (*kept).max(known);
                }
                next.is_fork_known = true;
                Event::Restore
            });
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let link = state.link.as_ref()?;
        let escapes = |member: usize| link.revoked[member] && state.index[member] < Some(link.issued_at);
        if (0..2).any(escapes) {
            Some(REVOKED_IS_PERMITTED)
        } else if !link.is_taken && !self.0.has_wrong_minter {
            Some(VALID_IS_REFUSED)
        } else {
            None
        }
    }
}

const RULES: Rules = Rules {
    reach: Reach::Horizon,
    latest_issue: LatestIssue::Store,
    steady: true,
    arrival_floor: true,
    sets_back: false,
    fails_over: false,
    has_wrong_minter: false,
};

#[test]
fn a_revocation_reaches_every_link_that_was_minted_before_its_answer() {
    holds(&Horizon(Rules { sets_back: true, ..RULES }));
}

#[test]
fn a_revocation_reaches_those_links_though_another_server_has_taken_over_without_the_last_writes() {
    holds(&Horizon(Rules { sets_back: true, fails_over: true, ..RULES }));
}

#[test]
fn a_minter_whose_clock_is_wrong_dates_no_link_that_is_taken_and_that_a_revocation_does_not_reach() {
    holds(&Horizon(Rules { has_wrong_minter: true, ..RULES }));
}

#[test]
fn where_a_revocation_reaches_by_the_revokers_clock_a_link_that_was_dated_past_another_cut_off_escapes() {
    let rules = Rules { reach: Reach::OwnClock, latest_issue: LatestIssue::Own, ..RULES };
    breaks(
        &Horizon(rules),
        REVOKED_IS_PERMITTED,
        &[
            "the subject is revoked until now, up to 11",
            "a link is minted, dated 12",
            "the client is revoked until now, up to 11",
        ],
    );
}

#[test]
fn where_the_stores_time_goes_back_with_its_clock_a_link_that_was_dated_by_it_before_escapes() {
    breaks(
        &Horizon(Rules { steady: false, sets_back: true, ..RULES }),
        REVOKED_IS_PERMITTED,
        &[
            "the subject is revoked up to 11",
            "the store's clock is set back",
            "a link is minted, dated 12",
            "the subject is revoked until now, up to 11",
        ],
    );
}

#[test]
fn where_a_server_that_takes_over_has_no_floor_a_link_that_was_dated_by_the_one_before_escapes() {
    breaks(
        &Horizon(Rules { arrival_floor: false, fails_over: true, ..RULES }),
        REVOKED_IS_PERMITTED,
        &[
            "the subject is revoked up to 11",
            "a link is minted, dated 12",
            "the replica takes over",
            "the subject is revoked until now, up to 11",
        ],
    );
}

#[test]
fn where_links_are_taken_from_far_ahead_those_of_a_minter_whose_clock_is_wrong_escape() {
    let rules = Rules { latest_issue: LatestIssue::Own, has_wrong_minter: true, ..RULES };
    breaks(
        &Horizon(rules),
        REVOKED_IS_PERMITTED,
        &["a link is minted offline, dated 12", "the subject is revoked until now, up to 11"],
    );
}

#[test]
fn where_a_verifiers_own_clock_counts_beside_the_stores_links_of_a_minter_whose_clock_is_wrong_escape() {
    let rules = Rules { latest_issue: LatestIssue::Later, has_wrong_minter: true, ..RULES };
    breaks(
        &Horizon(rules),
        REVOKED_IS_PERMITTED,
        &["a link is minted offline, dated 12", "the subject is revoked until now, up to 11"],
    );
}
