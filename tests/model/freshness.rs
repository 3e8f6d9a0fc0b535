//! How old what a process knows may be while it permits: beats, Sentinels that disagree, replicas that lag, machines that
//! freeze.
//!
//! Two servers, two processes, three Sentinels; a cut leaves the first of each on one side and the rest on the other. The
//! second process revokes a link, the first one judges it. Nothing has to happen in time: a process that does not read
//! for a while is a frozen one, and what was sent to a server may reach it late. Ages are told apart up to the bound, so
//! that the search knows no end of time.

use std::fmt;

use super::explore::{Model, breaks, holds};

const MAX_STALENESS: u8 = 1;
/// How far two clocks may differ.
const SKEW: u8 = 2;
const SERVERS: [&str; 2] = ["the first server", "the second server"];

const PERMITTED_TOO_LONG: &str = "a link is permitted for longer than the bound after its revocation was answered";

#[derive(Clone, Copy)]
struct Rules {
    shape: Shape,
    /// A process beats, connects and answers only where a majority of all Sentinels names its server.
    quorum: bool,
    /// A beat vouches for a time that the server had shown before the Sentinels were asked, however late it is written;
    /// otherwise for the time when it is written.
    beats_name_a_time: bool,
    /// A beat counts as written when the read before the one that brought it was asked for; otherwise, when the read was that
    /// brought it.
    dated_by_the_read_before: bool,
    /// A beat that is read from a replica is as old as the clocks say.
    replicas_by_the_clock: bool,
    /// A server's answer is as old as what the Sentinels had said before it was asked.
    vouched_before: bool,
}

/// How the first process comes to know.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// It follows the master that Sentinels name.
    Follows,
    /// It asks that master for each judgement.
    Asks,
    /// It follows a replica; there are no Sentinels.
    Replica,
}

/// How long ago something was: ages beyond every bound are the same.
type Age = u8;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    /// How far the first process's clock is ahead of the master's.
    clock: i8,
    is_cut: bool,
    /// The server that each Sentinel names.
    named: [usize; 3],
    servers: [Server; 2],
    /// What is on its way from the master to its replica.
    replicated: Server,
    revoker: Process,
    judge: Process,
    /// What the judge follows by.
    follower: Follower,
    /// What the judge was answered and has not judged by yet.
    answer: Option<Answer>,
    answered: Option<Age>,
    is_permitted_late: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Server {
    is_revoked: bool,
    beat: Option<Beat>,
    is_demoted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Beat {
    written: Age,
    vouched: Age,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    /// The server that it is connected to.
    server: usize,
    /// A beat that is on its way: to which server, and when the Sentinels were asked.
    sent: Option<(usize, Age)>,
    /// When a majority last named its server.
    vouched_at: Option<Age>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Follower {
    knows: bool,
    /// When the last read was asked for, and whether there has been a beat since.
    asked: Age,
    is_beat_unread: bool,
    complete: Option<Age>,
    beat: Option<Age>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Answer {
    is_revoked: bool,
    is_late: bool,
    asked: Age,
    /// Whether a majority had named the server lately when it was asked.
    is_vouched: bool,
}

#[derive(Clone)]
enum Event {
    Tick,
    Cut,
    Heal,
    FailOver,
    Demote,
    Replicate,
    Connect(Who, usize),
    Vouch(Who),
    Beat(usize),
    Read,
    Ask,
    Judge,
    Revoke,
}

#[derive(Clone, Copy)]
enum Who {
    Judge,
    Revoker,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Judge => "the judge",
            Self::Revoker => "the revoker",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "time passes"),
            Self::Cut => write!(f, "the judge and {} are cut off", SERVERS[0]),
            Self::Heal => write!(f, "the cut is over"),
            Self::FailOver => write!(f, "two Sentinels name {}", SERVERS[1]),
            Self::Demote => write!(f, "{} becomes a replica", SERVERS[0]),
            Self::Replicate => write!(f, "the replica takes what was on its way to it"),
            Self::Connect(who, server) => write!(f, "{who} connects to {}", SERVERS[*server]),
            Self::Vouch(who) => write!(f, "{who} makes sure of its server and sends a beat"),
            Self::Beat(server) => write!(f, "{} takes a beat", SERVERS[*server]),
            Self::Read => write!(f, "the judge reads"),
            Self::Ask => write!(f, "the judge asks"),
            Self::Judge => write!(f, "the judge judges by the answer"),
            Self::Revoke => write!(f, "the revoker answers the revocation"),
        }
    }
}

struct Freshness(Rules);

impl State {
    fn process(&mut self, who: Who) -> &mut Process {
        match who {
            Who::Judge => &mut self.judge,
            Who::Revoker => &mut self.revoker,
        }
    }

    fn reaches(&self, who: Who, server: usize) -> bool {
        !self.is_cut || (server == 0) == matches!(who, Who::Judge)
    }

    /// Everything is a moment older.
    fn tick(&mut self, most: Age) {
        let servers = self.servers.iter_mut().chain([&mut self.replicated]);
        let beats = servers.flat_map(|server| &mut server.beat).flat_map(|beat| [&mut beat.written, &mut beat.vouched]);
        let processes = [&mut self.judge, &mut self.revoker].into_iter();
        let known = processes
            .flat_map(|process| process.sent.iter_mut().map(|(_, asked)| asked).chain(&mut process.vouched_at));
        let Follower { asked, complete, beat, .. } = &mut self.follower;
        let answer = self.answer.iter_mut().map(|answer| &mut answer.asked);
        let followed = [asked].into_iter().chain(complete).chain(beat);
        for age in beats.chain(known).chain(followed).chain(answer).chain(&mut self.answered) {
            *age = most.min(*age + 1);
        }
    }
}

impl Freshness {
    /// How long after the answer a link may be permitted.
    fn bound(&self) -> Age {
        MAX_STALENESS + if self.0.shape == Shape::Replica { SKEW } else { 0 }
    }

    /// The server that the Sentinels which a process reaches name, as far as it believes them.
    fn named(&self, state: &State, who: Who) -> Option<usize> {
        let reached: &[usize] = match (state.is_cut, who) {
            (false, _) => &state.named,
            (true, Who::Judge) => &state.named[..1],
            (true, Who::Revoker) => &state.named[1..],
        };
        if !self.0.quorum {
            return reached.first().copied();
        }
        (0..2).find(|server| reached.iter().filter(|named| *named == server).count() > state.named.len() / 2)
    }

    /// When it was last certain that the server was the one everybody writes to, by a beat that a read has brought.
    fn date(&self, state: &State, beat: Beat) -> Age {
        let since = if self.0.dated_by_the_read_before { state.follower.asked } else { 0 };
        let by_read = since + (beat.vouched - beat.written);
        if self.0.shape == Shape::Replica && self.0.replicas_by_the_clock {
            by_read.max(beat.vouched.saturating_add_signed(state.clock))
        } else {
            by_read
        }
    }
}

impl Model for Freshness {
    type State = State;
    type Event = Event;

    fn starts(&self) -> Vec<State> {
        let is_replica = self.0.shape == Shape::Replica;
        let clocks = if is_replica { -(SKEW as i8)..=SKEW as i8 } else { 0..=0 };
        let start = |clock| State {
            clock,
            is_cut: false,
            named: [0; 3],
            servers: [Server::default(); 2],
            replicated: Server::default(),
            revoker: Process::default(),
            judge: Process { server: usize::from(is_replica), ..Process::default() },
            follower: Follower::default(),
            answer: None,
            answered: None,
            is_permitted_late: false,
        };
        clocks.map(start).collect()
    }

    fn events(&self, state: &State) -> Vec<(Event, State)> {
        let mut steps = Vec::new();
        let mut add = |step: Event, change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            steps.push((step, next));
        };
        let Rules { shape, quorum, beats_name_a_time, vouched_before, .. } = self.0;
        let has_sentinels = shape != Shape::Replica;
        add(Event::Tick, &|next| next.tick(self.bound() + 1));
        if !has_sentinels {
            add(Event::Replicate, &|next| {
                next.follower.is_beat_unread |= next.servers[1].beat != next.replicated.beat;
                (next.servers[1], next.replicated) = (next.replicated, next.servers[0]);
            });
        } else if state.is_cut {
            add(Event::Heal, &|next| next.is_cut = false);
            if state.named[1] == 0 {
                add(Event::FailOver, &|next| next.named = [0, 1, 1]);
            }
        } else if state.named[1] == 0 {
            add(Event::Cut, &|next| next.is_cut = true);
        } else if !state.servers[0].is_demoted {
            add(Event::Demote, &|next| {
                next.named[0] = 1;
                next.servers[0].is_demoted = true;
            });
        }
        for (who, process) in [(Who::Judge, &state.judge), (Who::Revoker, &state.revoker)] {
            let is_reached = state.reaches(who, process.server);
            let named = if has_sentinels { self.named(state, who) } else { Some(process.server) };
            if let Some(server) = named.filter(|server| *server != process.server && state.reaches(who, *server)) {
                add(Event::Connect(who, server), &|next| {
                    next.process(who).server = server;
                    if shape == Shape::Asks {
                        next.process(who).vouched_at = Some(0);
                    } else if matches!(who, Who::Judge) {
                        let follower = &mut next.follower;
                        follower.knows |= next.servers[server].is_revoked;
                        (follower.asked, follower.is_beat_unread) = (0, false);
                    }
                });
            }
            let is_vouched = named == Some(process.server) || !quorum;
            let may_write = is_reached && is_vouched && (has_sentinels || process.server == 0);
            if may_write && process.sent.is_none() {
                add(Event::Vouch(who), &|next| {
                    let process = next.process(who);
                    process.sent = Some((process.server, 0));
                    if shape == Shape::Asks {
                        process.vouched_at = Some(0);
                    }
                });
            }
            if let Some((server, asked)) = process.sent {
                add(Event::Beat(server), &|next| {
                    next.process(who).sent = None;
                    let vouched = if beats_name_a_time { asked } else { 0 };
                    let taken = &mut next.servers[server];
                    if !taken.is_demoted && taken.beat.is_none_or(|before| vouched < before.vouched) {
                        taken.beat = Some(Beat { written: 0, vouched });
                        next.follower.is_beat_unread |= next.judge.server == server;
                    }
                });
            }
        }
        let Process { server, .. } = state.revoker;
        let is_named = !has_sentinels || !quorum || self.named(state, Who::Revoker) == Some(server);
        if state.answered.is_none()
            && state.reaches(Who::Revoker, server)
            && is_named
            && !state.servers[server].is_demoted
        {
            add(Event::Revoke, &|next| {
                next.servers[server].is_revoked = true;
                // What a failover loses is the matter of `lineage`.
                next.servers[1].is_revoked |= has_sentinels && !next.is_cut;
                next.answered = Some(0);
            });
        }
        let is_reached = state.reaches(Who::Judge, state.judge.server);
        let held = state.servers[state.judge.server];
        match &state.answer {
            _ if shape != Shape::Asks => {
                if is_reached {
                    add(Event::Read, &|next| {
                        if let Some(beat) = held.beat.filter(|_| state.follower.is_beat_unread) {
                            let dated = self.date(state, beat).min(self.bound() + 1);
                            next.follower.beat = Some(next.follower.beat.map_or(dated, |before| before.min(dated)));
                        }
                        let follower = &mut next.follower;
                        follower.knows |= held.is_revoked;
                        (follower.asked, follower.complete, follower.is_beat_unread) = (0, Some(0), false);
                    });
                }
            }
            None => {
                if is_reached {
                    add(Event::Ask, &|next| {
                        next.answer = Some(Answer {
                            is_revoked: held.is_revoked,
                            is_late: next.answered > Some(self.bound()),
                            asked: 0,
                            is_vouched: next.judge.vouched_at.is_some_and(|at| at <= MAX_STALENESS),
                        });
                    });
                }
            }
            Some(answer) => add(Event::Judge, &|next| {
                let is_vouched_since = !vouched_before && next.judge.vouched_at.is_some_and(|at| at < answer.asked);
                let is_permitted = (answer.is_vouched || is_vouched_since) && !answer.is_revoked;
                next.is_permitted_late = is_permitted && answer.is_late;
                next.answer = None;
            }),
        }
        steps
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let Follower { knows, complete, beat, .. } = state.follower;
        let is_fresh = complete.zip(beat).is_some_and(|(complete, beat)| complete.max(beat) <= MAX_STALENESS);
        let is_late = state.answered > Some(self.bound());
        (state.is_permitted_late || is_fresh && !knows && is_late).then_some(PERMITTED_TOO_LONG)
    }
}

const RULES: Rules = Rules {
    shape: Shape::Follows,
    quorum: true,
    beats_name_a_time: true,
    dated_by_the_read_before: true,
    replicas_by_the_clock: true,
    vouched_before: true,
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
    breaks(
        &Freshness(Rules { quorum: false, ..RULES }),
        PERMITTED_TOO_LONG,
        &[
            "the judge and the first server are cut off",
            "two Sentinels name the second server",
            "the revoker connects to the second server",
            "the revoker answers the revocation",
            "time passes",
            "time passes",
            "the judge makes sure of its server and sends a beat",
            "the judge reads",
            "the first server takes a beat",
            "the judge reads",
        ],
    );
}

#[test]
fn where_a_beat_vouches_for_when_it_is_written_one_that_comes_late_makes_an_old_master_look_fresh() {
    breaks(
        &Freshness(Rules { beats_name_a_time: false, ..RULES }),
        PERMITTED_TOO_LONG,
        &[
            "the judge makes sure of its server and sends a beat",
            "the judge and the first server are cut off",
            "two Sentinels name the second server",
            "the revoker connects to the second server",
            "the revoker answers the revocation",
            "time passes",
            "time passes",
            "the judge reads",
            "the first server takes a beat",
            "the judge reads",
        ],
    );
}

#[test]
fn where_a_beat_counts_from_the_read_that_brought_it_a_process_that_was_frozen_wakes_up_fresh() {
    breaks(
        &Freshness(Rules { dated_by_the_read_before: false, ..RULES }),
        PERMITTED_TOO_LONG,
        &[
            "the judge makes sure of its server and sends a beat",
            "the judge and the first server are cut off",
            "two Sentinels name the second server",
            "the first server takes a beat",
            "the revoker connects to the second server",
            "the revoker answers the revocation",
            "time passes",
            "time passes",
            "the judge reads",
        ],
    );
}

#[test]
fn where_a_beat_counts_from_its_read_a_replica_that_lags_looks_fresh() {
    breaks(
        &Freshness(Rules { replicas_by_the_clock: false, ..REPLICA }),
        PERMITTED_TOO_LONG,
        &[
            "the revoker makes sure of its server and sends a beat",
            "the first server takes a beat",
            "the replica takes what was on its way to it",
            "the revoker answers the revocation",
            "time passes",
            "time passes",
            "time passes",
            "time passes",
            "the judge reads",
            "the replica takes what was on its way to it",
            "the judge reads",
        ],
    );
}

#[test]
fn where_the_sentinels_are_asked_after_the_server_an_old_masters_answer_counts_as_the_new_ones() {
    breaks(
        &Freshness(Rules { vouched_before: false, ..ASKS }),
        PERMITTED_TOO_LONG,
        &[
            "the judge and the first server are cut off",
            "two Sentinels name the second server",
            "the cut is over",
            "the revoker connects to the second server",
            "the revoker answers the revocation",
            "time passes",
            "time passes",
            "the judge asks",
            "time passes",
            "the judge connects to the second server",
            "the judge judges by the answer",
        ],
    );
}
