//! How old what a process knows may be while it permits: beats, Sentinels that disagree, replicas that lag, machines that
//! freeze.
//!
//! Two servers, two processes, three Sentinels. A cut leaves the first server, the first process and one Sentinel on one side,
//! the rest on the other. Nothing has to happen in time: a process that does not read for a while is a frozen one,
//! and what was sent to a server may reach it late.

use std::fmt;

use super::explore::{Model, breaks, holds};

const MAX_STALENESS: i8 = 1;
/// The true time at which a search ends.
const LAST: i8 = 5;
/// How far two clocks may differ.
const SKEW: i8 = 2;
const SERVERS: [&str; 2] = ["the old master", "the other server"];

const PERMITTED_TOO_LONG: &str = "a link is permitted for longer than the bound after its revocation was answered";

#[derive(Clone, Copy)]
struct Rules {
    shape: Shape,
    /// A process beats, connects and answers only where a majority of all Sentinels names its server.
    quorum: bool,
    /// A beat vouches for the server's time that was read before the Sentinels were asked, however late it is written;
    /// otherwise for the time when it is written.
    beats_name_a_time: bool,
    /// A beat was written after the read before the one that brought it was asked for; otherwise it counts as written after
    /// the read that brought it was.
    dated_by_the_read_before: bool,
    /// A beat that is read from a replica is as old as the clocks say.
    replicas_by_the_clock: bool,
    /// An answer of a server is as old as what the Sentinels had said before it was asked.
    asked_before: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// The first process follows.
    Follows,
    /// The first process asks for each judgement.
    Asks,
    /// There are no Sentinels; the first process follows the other server, a replica of the first.
    Replica,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    time: i8,
    /// How far the clocks of the master and of the first process are ahead of it.
    clocks: [i8; 2],
    is_cut: bool,
    has_been_cut: bool,
    /// The server that each Sentinel names.
    named: [usize; 3],
    servers: [Server; 2],
    processes: [Process; 2],
    /// When the revocation was answered, and whether the first process has permitted the link for too long since.
    answered: Option<i8>,
    is_late: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Server {
    is_revoked: bool,
    /// The last beat: by the master's clock, when it was written and until when it vouches.
    beat: Option<(i8, i8)>,
    is_demoted: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    server: usize,
    knows: bool,
    /// When the last read was asked for, and the last beat that was read by then.
    asked: i8,
    read: Option<(i8, i8)>,
    complete: Option<i8>,
    beat: Option<i8>,
    /// A beat that is on its way: to which server, and when the Sentinels were asked.
    sent: Option<(usize, i8)>,
    /// When a majority was last asked and named a server.
    vouched_at: Option<i8>,
    /// An answer that is on its way: whether it knows, when it was asked for and what was vouched for then.
    answer: Option<(bool, i8, Option<i8>)>,
}

#[derive(Clone)]
enum Step {
    Tick,
    Cut,
    Heal,
    FailOver,
    Demote,
    Replicate,
    Connect(usize, usize),
    Vouch(usize),
    Beat(usize, i8),
    Read(usize),
    Ask,
    Answer,
    Revoke(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "time passes"),
            Self::Cut => write!(f, "process 0 is cut off together with {}", SERVERS[0]),
            Self::Heal => write!(f, "the cut is over"),
            Self::FailOver => write!(f, "two Sentinels name {}", SERVERS[1]),
            Self::Demote => write!(f, "{} becomes a replica", SERVERS[0]),
            Self::Replicate => write!(f, "the replica catches up"),
            Self::Connect(process, server) => write!(f, "process {process} connects to {}", SERVERS[*server]),
            Self::Vouch(process) => write!(f, "process {process} makes sure of its server and sends a beat"),
            Self::Beat(server, vouched) => write!(f, "{} takes a beat that vouches until {vouched}", SERVERS[*server]),
            Self::Read(process) => write!(f, "process {process} reads"),
            Self::Ask => write!(f, "process 0 asks about the link"),
            Self::Answer => write!(f, "process 0 is answered"),
            Self::Revoke(process) => write!(f, "process {process} answers the revocation"),
        }
    }
}

struct Freshness(Rules);

impl Freshness {
    /// The server that the Sentinels which a process reaches name, where it believes them.
    fn named(&self, state: &State, process: usize) -> Option<usize> {
        if self.0.shape == Shape::Replica {
            return Some(0);
        }
        let reached: &[usize] = match (state.is_cut, process) {
            (false, _) => &state.named,
            (true, 0) => &state.named[..1],
            (true, _) => &state.named[1..],
        };
        if !self.0.quorum {
            return reached.first().copied();
        }
        (0..2).find(|server| reached.iter().filter(|named| *named == server).count() > state.named.len() / 2)
    }

    fn reaches(state: &State, process: usize, server: usize) -> bool {
        !state.is_cut || process == server
    }

    /// How long revocations may have been missing from what a process knows.
    fn is_fresh(process: &Process, now: i8) -> bool {
        process.complete.zip(process.beat).is_some_and(|(complete, beat)| now - complete.min(beat) <= MAX_STALENESS)
    }

    fn bound(&self) -> i8 {
        MAX_STALENESS + if self.0.shape == Shape::Replica { SKEW } else { 0 }
    }

    fn is_too_late(&self, state: &State) -> bool {
        state.answered.is_some_and(|answered| state.time - answered > self.bound())
    }

    fn read(&self, state: &mut State, process: usize) {
        let time = state.time;
        let Process { server, .. } = state.processes[process];
        let Server { is_revoked, beat, .. } = state.servers[server];
        let is_replica = self.0.shape == Shape::Replica && server == 1;
        let wall = time + state.clocks[1];
        let reader = &mut state.processes[process];
        if beat > reader.read
            && let Some((written, vouched)) = beat
        {
            let since = if self.0.dated_by_the_read_before { reader.asked } else { time };
            let before_writing = written - vouched;
            let age = if is_replica && self.0.replicas_by_the_clock {
                (time - since + before_writing).max(wall - vouched)
            } else {
                time - since + before_writing
            };
            reader.beat = reader.beat.max(Some(time - age));
        }
        reader.knows |= is_revoked;
        (reader.asked, reader.read, reader.complete) = (time, beat, Some(time));
    }
}

impl Model for Freshness {
    type State = State;
    type Step = Step;

    fn starts(&self) -> Vec<State> {
        let is_replica = self.0.shape == Shape::Replica;
        let clocks: &[[i8; 2]] = if is_replica { &[[-1, -1], [-1, 1], [1, -1], [1, 1]] } else { &[[0, 0]] };
        let start = |clocks: &[i8; 2]| State {
            time: 0,
            clocks: *clocks,
            is_cut: false,
            has_been_cut: false,
            named: [0; 3],
            servers: [Server::default(), Server { is_demoted: is_replica, ..Server::default() }],
            processes: [Process { server: usize::from(is_replica), ..Process::default() }, Process::default()],
            answered: None,
            is_late: false,
        };
        clocks.iter().map(start).collect()
    }

    fn steps(&self, state: &State) -> Vec<(Step, State)> {
        let mut steps = Vec::new();
        let mut add = |step: Step, change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            steps.push((step, next));
        };
        let Rules { shape, quorum, beats_name_a_time, asked_before, .. } = self.0;
        if state.time < LAST {
            add(Step::Tick, &|next| next.time += 1);
        }
        if shape == Shape::Replica {
            add(Step::Replicate, &|next| next.servers[1] = Server { is_demoted: true, ..next.servers[0].clone() });
        } else if state.is_cut {
            add(Step::Heal, &|next| next.is_cut = false);
            if state.named[1] == 0 {
                add(Step::FailOver, &|next| (next.named[1], next.named[2]) = (1, 1));
            }
        } else {
            if !state.has_been_cut {
                add(Step::Cut, &|next| (next.is_cut, next.has_been_cut) = (true, true));
            }
            if state.named[1] == 1 && !state.servers[0].is_demoted {
                add(Step::Demote, &|next| {
                    next.named[0] = 1;
                    next.servers[0].is_demoted = true;
                });
            }
        }
        for process in 0..2 {
            let own = &state.processes[process];
            let named = self.named(state, process);
            let is_reached = Self::reaches(state, process, own.server);
            if let Some(server) = named
                && server != own.server
                && shape != Shape::Replica
                && Self::reaches(state, process, server)
            {
                add(Step::Connect(process, server), &|next| {
                    let time = next.time;
                    next.processes[process].server = server;
                    if shape == Shape::Asks {
                        next.processes[process].vouched_at = Some(time);
                    } else if process == 0 {
                        let Server { is_revoked, beat, .. } = next.servers[server];
                        let own = &mut next.processes[0];
                        own.knows |= is_revoked;
                        (own.asked, own.read) = (time, beat);
                    }
                });
            }
            let is_vouched = named == Some(own.server) || !quorum;
            if is_vouched && is_reached && own.sent.is_none() && !(shape == Shape::Replica && process == 0) {
                add(Step::Vouch(process), &|next| {
                    let time = next.time;
                    let own = &mut next.processes[process];
                    own.sent = Some((own.server, time));
                    if shape == Shape::Asks && process == 0 {
                        own.vouched_at = Some(time);
                    }
                });
            }
            if let Some((server, asked)) = own.sent {
                let now = state.time + state.clocks[0];
                let vouched = if beats_name_a_time { asked + state.clocks[0] } else { now };
                add(Step::Beat(server, vouched), &|next| {
                    next.processes[process].sent = None;
                    let taken = &mut next.servers[server];
                    if !taken.is_demoted && taken.beat.is_none_or(|(_, before)| vouched > before) {
                        taken.beat = Some((now, vouched));
                    }
                });
            }
            if is_reached && process == 0 && shape != Shape::Asks {
                add(Step::Read(process), &|next| self.read(next, process));
            }
            // Where no majority names it, the write takes effect all the same; it is not answered.
            let may_revoke = state.answered.is_none() && !state.servers[own.server].is_demoted;
            if may_revoke && is_reached && is_vouched && process == 1 {
                add(Step::Revoke(process), &|next| {
                    let server = next.processes[process].server;
                    next.servers[server].is_revoked = true;
                    if !next.is_cut && server == 0 && shape != Shape::Replica {
                        next.servers[1].is_revoked = true;
                    }
                    next.processes[process].knows = true;
                    next.answered = Some(next.time);
                });
            }
        }
        if shape == Shape::Asks {
            let own = &state.processes[0];
            if own.answer.is_none() && Self::reaches(state, 0, own.server) {
                add(Step::Ask, &|next| {
                    let is_revoked = next.servers[next.processes[0].server].is_revoked;
                    let own = &mut next.processes[0];
                    own.answer = Some((is_revoked, next.time, own.vouched_at));
                });
            }
            if let Some((is_revoked, asked, vouched_before)) = own.answer {
                let vouched_at = if asked_before { vouched_before } else { own.vouched_at };
                let is_fresh = vouched_at.is_some_and(|vouched| asked - vouched <= MAX_STALENESS);
                // The link is permitted as of when it was asked for.
                let is_late = state.answered.is_some_and(|answered| asked - answered > self.bound());
                add(Step::Answer, &|next| {
                    next.processes[0].answer = None;
                    next.is_late |= !is_revoked && is_fresh && is_late;
                });
            }
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let permits = |process: &Process| !process.knows && Self::is_fresh(process, state.time);
        let is_late = state.is_late || self.is_too_late(state) && permits(&state.processes[0]);
        is_late.then_some(PERMITTED_TOO_LONG)
    }
}

const RULES: Rules = Rules {
    shape: Shape::Follows,
    quorum: true,
    beats_name_a_time: true,
    dated_by_the_read_before: true,
    replicas_by_the_clock: true,
    asked_before: true,
};
const ASKS: Rules = Rules { shape: Shape::Asks, ..RULES };
const REPLICA: Rules = Rules { shape: Shape::Replica, ..RULES };

#[test]
fn a_follower_permits_nothing_that_was_revoked_longer_ago_than_the_bound() {
    holds(&Freshness(RULES));
}

#[test]
fn a_process_that_asks_permits_nothing_that_was_revoked_longer_ago_than_the_bound() {
    holds(&Freshness(ASKS));
}

#[test]
fn a_follower_of_a_replica_permits_nothing_that_was_revoked_longer_ago_than_the_bound() {
    holds(&Freshness(REPLICA));
}

#[test]
fn where_a_beat_needs_no_majority_an_old_master_looks_fresh_for_good() {
    breaks(&Freshness(Rules { quorum: false, ..RULES }), PERMITTED_TOO_LONG);
}

#[test]
fn where_a_beat_vouches_for_when_it_is_written_one_that_comes_late_makes_an_old_master_look_fresh() {
    breaks(&Freshness(Rules { beats_name_a_time: false, ..RULES }), PERMITTED_TOO_LONG);
}

#[test]
fn where_a_beat_counts_from_the_read_that_brought_it_a_process_that_was_frozen_wakes_up_fresh() {
    breaks(&Freshness(Rules { dated_by_the_read_before: false, ..RULES }), PERMITTED_TOO_LONG);
}

#[test]
fn where_a_beat_counts_from_its_read_a_replica_that_lags_looks_fresh() {
    breaks(&Freshness(Rules { replicas_by_the_clock: false, ..REPLICA }), PERMITTED_TOO_LONG);
}

#[test]
fn where_the_sentinels_may_be_asked_after_the_server_another_ones_answer_counts_as_the_masters() {
    breaks(&Freshness(Rules { asked_before: false, ..ASKS }), PERMITTED_TOO_LONG);
}
