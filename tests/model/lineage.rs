//! Which store is believed, and what is written back to it: emptied stores, old copies, trimmed streams, newcomers,
//! operators who accept a loss.
//!
//! One link that is revoked and may be reinstated: links do not act on one another. Two processes, of any kind, which are
//! stopped, cut off and started again, with what they keep on disk or without. What a process does at the store each second
//! is one event, save for writing back, between whose parts everything else may happen. How old what a process knows may be
//! is the matter of `freshness`: here a process judges by what it has just read.

use std::fmt;

use super::explore::{Model, breaks, holds};

const PROCESSES: usize = 2;
const NAMES: [&str; PROCESSES] = ["A", "B"];
const MOST_EPOCHS: u8 = 3;
/// How often the store is emptied or put back to what it was.
const MOST_FAULTS: u8 = 1;

const FORGOTTEN: &str = "a process permits a link that it knew to be revoked";
const LOST: &str = "a link is permitted although it is revoked, and a process that knows has been at the store";
const DECEIVED: &str = "a newcomer's store is judged by although a process remembers the one before";
const RESURRECTED: &str = "a link is revoked again although it was reinstated, and nothing was lost";

#[derive(Clone, Copy)]
struct Rules {
    kinds: [Kind; PROCESSES],
    /// How often a process stops or is cut off.
    most_stops: u8,
    /// Writes about other links.
    most_others: u8,
    /// A process that remembers a store believes another one only if that descends from it.
    lineage: bool,
    /// A store that was set up on empty ground is judged by after every process that runs has looked at it.
    probation: bool,
    /// That the stream was only trimmed is believed when the list of writes has our last one in its place; otherwise, when
    /// it is long enough.
    history: bool,
    /// Positions name their epoch; otherwise stream ids are compared whatever store they are of.
    positions_name_epochs: bool,
    /// A copy of the index is taken only while it holds nothing that the store may lack.
    copies_are_settled: bool,
    /// A process writes its own revocation back only when the list of writes lacks it; otherwise whenever the stream has come
    /// so far without bringing it in time.
    debts_are_proved: bool,
}

/// How a process comes to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    /// Follows the store into an index.
    Follows,
    /// The same, without the right to write.
    Reads,
    /// Asks for each judgement.
    Asks,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    store: Option<Store>,
    /// What a failover or an operator puts in its place: a copy that was taken once.
    backup: Option<Store>,
    processes: [Process; PROCESSES],
    /// What callers were answered about the link last.
    answered: Answered,
    epochs: u8,
    ids: i8,
    faults: u8,
    others: u8,
    stops: u8,
    is_accepted: bool,
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answered {
    Nothing,
    Revoked,
    Reinstated,
}

type Epoch = u8;
/// Processes, or epochs, a bit each.
type Set = u8;

/// An epoch of a store, and those it descends from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Lineage {
    epoch: Epoch,
    ancestors: Set,
}

/// Among the ancestors: whatever came before, an operator has accepted that it is lost.
const ANY: Epoch = 0;

impl Lineage {
    fn descends_from(self, other: Self) -> bool {
        self.epoch == other.epoch || self.ancestors & (1 << other.epoch | 1 << ANY) != 0
    }

    fn words(self) -> Set {
        1 << self.epoch | self.ancestors
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Store {
    lineage: Lineage,
    is_revoked: bool,
    /// The list of writes: stream ids, and what was written; those before `oldest` are no longer in the stream.
    writes: Vec<(i8, Operation)>,
    oldest: usize,
    /// Who is writing back.
    leases: Set,
    is_on_probation: bool,
    /// An epoch that is missed.
    missed: Option<Epoch>,
    /// Who has looked at it, and who has run since it was set up on empty ground. Nothing was written back to it since.
    looked: Set,
    witnesses: Set,
    is_new: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Operation {
    Link,
    LinkLifted,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Settled,
    OnProbation,
    Contested,
    Restoring,
}

/// What a new store is set up on.
#[derive(Clone, Copy, PartialEq)]
enum Ground {
    Empty,
    Lost,
    Accepted,
}

/// How the store's history relates to what a process has read.
#[derive(Clone, Copy, PartialEq)]
enum History {
    Continuous,
    Trimmed,
    Forked,
}

/// One write of one epoch's stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Step {
    epoch: Epoch,
    id: i8,
}

/// How far a process has read: to a write, and how many there were before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Position {
    at: Step,
    count: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Process {
    kind: Kind,
    mode: Mode,
    /// Whether the index has the link.
    knows: bool,
    applied: Option<Position>,
    memory: Option<Lineage>,
    /// A revocation of its own that the stream has not brought.
    unseen: Option<Step>,
    is_restoring: bool,
    /// The store's epoch and the position when everything was last written back.
    restored: Option<(Epoch, Position)>,
    keeps_own: bool,
    /// Whether it has read since the store last lost anything.
    is_up_to_date: bool,
    /// Whether it has known the link to be revoked, and whether the store that it remembers did.
    has_known: bool,
    is_noted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mode {
    Stopped,
    CutOff,
    Runs,
}

#[derive(Clone, Copy)]
enum Event {
    Empty,
    Copy,
    PutBack,
    Trim,
    AcceptLoss,
    Settle,
    LeaseEnds(usize),
    Stop(usize),
    Start(usize, Start),
    CutOff(usize),
    IsBack(usize),
    Revoke(usize),
    Reinstate(usize),
    WriteOther(usize),
    SetUp(usize, Ground),
    Restore(usize),
    FinishRestoring(usize),
    Object(usize),
    Load(usize),
    Read(usize),
    Ask(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Start {
    Empty,
    /// From its note of the store alone.
    Note,
    /// From its copy of the index.
    Copy,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the store is emptied"),
            Self::Copy => write!(f, "a copy of the store is taken"),
            Self::PutBack => write!(f, "the store is put back to its copy"),
            Self::Trim => write!(f, "the stream is trimmed"),
            Self::AcceptLoss => write!(f, "an operator accepts the loss"),
            Self::Settle => write!(f, "the probation ends"),
            Self::LeaseEnds(p) => write!(f, "{}'s lease runs out", NAMES[p]),
            Self::Stop(p) => write!(f, "{} stops", NAMES[p]),
            Self::Start(p, Start::Empty) => write!(f, "{} starts with an empty data folder", NAMES[p]),
            Self::Start(p, Start::Note) => write!(f, "{} starts with its note", NAMES[p]),
            Self::Start(p, Start::Copy) => write!(f, "{} starts with its copy of the index", NAMES[p]),
            Self::CutOff(p) => write!(f, "{} is cut off", NAMES[p]),
            Self::IsBack(p) => write!(f, "{} is back", NAMES[p]),
            Self::Revoke(p) => write!(f, "{} revokes the link", NAMES[p]),
            Self::Reinstate(p) => write!(f, "{} reinstates the link", NAMES[p]),
            Self::WriteOther(p) => write!(f, "{} revokes another link", NAMES[p]),
            Self::SetUp(p, Ground::Empty) => write!(f, "{} sets the store up on empty ground", NAMES[p]),
            Self::SetUp(p, _) => write!(f, "{} sets the store up to write back", NAMES[p]),
            Self::Restore(p) => write!(f, "{} writes back what it knows", NAMES[p]),
            Self::FinishRestoring(p) => write!(f, "{} has written everything back", NAMES[p]),
            Self::Object(p) => write!(f, "{} objects", NAMES[p]),
            Self::Load(p) => write!(f, "{} loads", NAMES[p]),
            Self::Read(p) => write!(f, "{} reads on", NAMES[p]),
            Self::Ask(p) => write!(f, "{} asks", NAMES[p]),
        }
    }
}

impl Store {
    fn standing(&self) -> Standing {
        if self.leases != 0 {
            Standing::Restoring
        } else if self.missed.is_some() {
            Standing::Contested
        } else if self.is_on_probation {
            Standing::OnProbation
        } else {
            Standing::Settled
        }
    }

    fn last(&self) -> Position {
        let count = self.writes.len() - 1;
        Position { at: Step { epoch: self.lineage.epoch, id: self.writes[count].0 }, count }
    }

    fn holds(&self, step: Step) -> bool {
        step.epoch == self.lineage.epoch && self.writes.iter().any(|(id, _)| *id == step.id)
    }

    /// Says that it descends from other epochs.
    fn descend(&mut self, epochs: Set) {
        self.lineage.ancestors |= epochs & !(1 << self.lineage.epoch);
        self.missed = self.missed.filter(|missed| self.lineage.ancestors & (1 << missed | 1 << ANY) == 0);
    }
}

impl Process {
    fn runs(&self) -> bool {
        self.mode == Mode::Runs
    }

    fn epoch(&self) -> Option<Epoch> {
        self.applied.map(|position| position.at.epoch).or(self.memory.map(|lineage| lineage.epoch))
    }

    /// Keeps what is on disk.
    fn restart(&self, start: Start) -> Self {
        let Self { kind, knows, applied, memory, has_known, is_noted, .. } = *self;
        let stopped = Self::stopped(kind);
        match start {
            Start::Empty => stopped,
            Start::Note => Self { memory, is_noted, ..stopped },
            Start::Copy => Self { knows, applied, memory, has_known, is_noted, ..stopped },
        }
    }

    fn stopped(kind: Kind) -> Self {
        Self {
            kind,
            mode: Mode::Stopped,
            knows: false,
            applied: None,
            memory: None,
            unseen: None,
            is_restoring: false,
            restored: None,
            keeps_own: false,
            is_up_to_date: false,
            has_known: false,
            is_noted: false,
        }
    }
}

struct Protocol(Rules);

impl Protocol {
    fn set_up(&self, state: &mut State, ground: Ground, p: usize) {
        state.epochs += 1;
        let epoch = state.epochs;
        let running = (0..PROCESSES).filter(|p| state.processes[*p].runs());
        let is_restored = ground == Ground::Lost;
        state.store = Some(Store {
            lineage: Lineage { epoch, ancestors: 0 },
            is_revoked: false,
            writes: Vec::new(),
            oldest: 0,
            leases: if is_restored { 1 << p } else { 0 },
            is_on_probation: ground == Ground::Empty && self.0.probation,
            missed: state.processes[p].epoch().filter(|_| is_restored),
            looked: 0,
            witnesses: if ground == Ground::Empty { running.fold(0, |set, p| set | 1 << p) } else { 0 },
            is_new: ground == Ground::Empty,
        });
        append(state, Operation::Other);
    }

    fn history(&self, store: &Store, position: Position) -> History {
        let last = store.last();
        if store.standing() == Standing::Restoring || last.at.epoch != position.at.epoch || last.count < position.count
        {
            return History::Forked;
        }
        let is_kept = store.writes[store.oldest..].iter().any(|(id, _)| *id == position.at.id);
        let is_same = !self.0.history || store.writes[position.count].0 == position.at.id;
        let has_gone_on = last.at.id > position.at.id && store.writes[store.oldest].0 > position.at.id;
        if last.at == position.at || is_kept {
            History::Continuous
        } else if is_same && has_gone_on {
            History::Trimmed
        } else {
            History::Forked
        }
    }

    /// Whether a position lies at a step or behind it.
    fn has_reached(&self, position: Position, step: Step) -> bool {
        position.at.id >= step.id && (position.at.epoch == step.epoch || !self.0.positions_name_epochs)
    }

    /// Whether a store may lack a revocation of a process's own.
    fn may_lack(&self, store: &Store, step: Step) -> bool {
        if self.0.debts_are_proved { !store.holds(step) } else { !self.has_reached(store.last(), step) }
    }

    fn descends(&self, store: &Store, remembered: Option<Lineage>) -> bool {
        !self.0.lineage || remembered.is_none_or(|remembered| store.lineage.descends_from(remembered))
    }

    /// What a process does at the store each second.
    fn look(&self, state: &State, p: usize) -> Option<(Event, State)> {
        let mut next = state.clone();
        let me = &mut next.processes[p];
        let is_index = me.kind != Kind::Asks;
        let known = me.applied.filter(|_| is_index);
        let Some(store) = &mut next.store else {
            me.is_restoring = false;
            let ground = match (known, me.memory) {
                (Some(_), _) => Ground::Lost,
                (None, None) => Ground::Empty,
                (None, Some(_)) => return None,
            };
            if me.kind == Kind::Reads || state.epochs == MOST_EPOCHS {
                return None;
            }
            self.set_up(&mut next, ground, p);
            return Some((Event::SetUp(p, ground), next));
        };
        if store.is_on_probation {
            store.looked |= 1 << p;
            store.witnesses |= 1 << p;
        }
        let history = known.map(|position| self.history(store, position));
        if std::mem::take(&mut me.is_restoring) {
            finish_restoring(store, me, p);
            me.restored = known.map(|position| (store.lineage.epoch, position));
            return Some((Event::FinishRestoring(p), next));
        }
        if history == Some(History::Continuous) {
            let read = &store.writes[known?.count + 1..];
            for (_, operation) in read {
                match operation {
                    Operation::Link => me.knows = true,
                    Operation::LinkLifted => me.knows = false,
                    Operation::Other => {}
                }
            }
            self.arrive(&mut next, p);
            return Some((Event::Read(p), next));
        }
        let is_restored = me.restored.is_some() && me.restored == known.map(|position| (store.lineage.epoch, position));
        if history == Some(History::Forked) && !is_restored && !me.keeps_own {
            if me.kind == Kind::Reads {
                me.keeps_own = true;
            } else {
                store.leases |= 1 << p;
                me.is_restoring = true;
                if me.knows {
                    write_back(&mut next);
                }
                return Some((Event::Restore(p), next));
            }
        }
        let remembered = me.memory.filter(|_| !me.keeps_own);
        let descends = self.descends(store, remembered);
        match store.standing() {
            Standing::OnProbation if !descends && me.kind != Kind::Reads => {
                store.missed = remembered.map(|lineage| lineage.epoch);
                Some((Event::Object(p), next))
            }
            Standing::Settled if descends => {
                if is_index {
                    let own = me.knows && me.keeps_own || me.unseen.is_some_and(|step| self.may_lack(store, step));
                    (me.knows, me.restored) = (store.is_revoked || own, None);
                }
                self.arrive(&mut next, p);
                Some((if is_index { Event::Load(p) } else { Event::Ask(p) }, next))
            }
            // It has looked at least.
            _ => (next != *state).then_some((Event::Ask(p), next)),
        }
    }

    /// A process has come to the end of the stream, and judges.
    fn arrive(&self, state: &mut State, p: usize) {
        let is_known =
            state.processes.iter().any(|one| one.runs() && one.is_up_to_date && one.knows && one.kind == Kind::Follows);
        let Some(store) = &mut state.store else { return };
        let is_witness = |q: usize| q == p || store.witnesses >> q & 1 == 1;
        let is_remembered = (0..PROCESSES).any(|q| {
            let other = &state.processes[q];
            // One that may not write cannot object, either.
            let may_object = q == p || other.kind != Kind::Reads;
            let is_of_another = other.epoch() != Some(store.lineage.epoch);
            other.runs() && is_witness(q) && may_object && is_of_another && (other.knows || other.is_noted)
        });
        let me = &mut state.processes[p];
        let is_permitted = if me.kind == Kind::Asks { !store.is_revoked } else { !me.knows };
        if is_permitted && state.answered == Answered::Revoked {
            state.broken = match () {
                () if store.is_new && is_remembered => Some(DECEIVED),
                () if is_known || state.faults == 0 => Some(LOST),
                () => None,
            };
        }
        if !me.keeps_own {
            (me.memory, me.is_noted) = (Some(store.lineage), store.is_revoked);
        }
        if me.kind == Kind::Asks {
            return;
        }
        me.applied = Some(store.last());
        (me.is_up_to_date, me.has_known) = (true, me.has_known || me.knows);
        // The next beat leads the stream past its own revocation, if that was not there.
        if let Some(step) = me.unseen.take()
            && !(self.0.debts_are_proved && store.holds(step))
        {
            write_back(state);
            if let Some(store) = &mut state.store {
                finish_restoring(store, &mut state.processes[p], p);
            }
        }
    }
}

fn append(state: &mut State, operation: Operation) -> Option<Step> {
    state.ids += 1;
    let store = state.store.as_mut()?;
    // Each store's clock is behind that of the one before.
    let id = state.ids - 40 * (store.lineage.epoch as i8 - 2);
    store.is_revoked = match operation {
        Operation::Link => true,
        Operation::LinkLifted => false,
        Operation::Other => store.is_revoked,
    };
    store.writes.push((id, operation));
    Some(Step { epoch: store.lineage.epoch, id })
}

/// Writes the revocation back, if the store lacks it.
fn write_back(state: &mut State) {
    if state.store.as_ref().is_some_and(|store| !store.is_revoked) {
        append(state, Operation::Link);
    }
}

fn finish_restoring(store: &mut Store, me: &mut Process, p: usize) {
    let followed = me.applied.map_or(0, |position| 1 << position.at.epoch);
    store.descend(followed | me.memory.map_or(0, Lineage::words));
    (store.is_on_probation, store.is_new) = (false, false);
    store.leases &= !(1 << p);
}

impl Model for Protocol {
    type State = State;
    type Event = Event;

    fn starts(&self) -> Vec<State> {
        let mut state = State {
            store: None,
            backup: None,
            processes: self.0.kinds.map(Process::stopped),
            answered: Answered::Nothing,
            epochs: 0,
            ids: 0,
            faults: 0,
            others: 0,
            stops: 0,
            is_accepted: false,
            broken: None,
        };
        self.set_up(&mut state, Ground::Accepted, 0);
        state.processes[0].mode = Mode::Runs;
        self.arrive(&mut state, 0);
        vec![state]
    }

    fn events(&self, state: &State) -> Vec<(Event, State)> {
        // No promise is left to break.
        if state.answered == Answered::Reinstated && state.faults > 0 {
            return Vec::new();
        }
        let running = (0..PROCESSES).filter(|p| state.processes[*p].runs());
        let mut events: Vec<_> = running.filter_map(|p| self.look(state, p)).collect();
        let mut add = |event: Event, change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            events.push((event, next));
        };
        let fault = |next: &mut State, store: Option<Store>| {
            next.store = store;
            next.faults += 1;
            next.processes.iter_mut().for_each(|one| one.is_up_to_date = false);
        };
        if let Some(store) = &state.store {
            if state.faults < MOST_FAULTS {
                add(Event::Empty, &|next| fault(next, None));
                if state.backup.as_ref().is_some_and(|backup| backup != store) {
                    add(Event::PutBack, &|next| {
                        fault(next, next.backup.clone());
                        next.store.iter_mut().for_each(|store| (store.looked, store.witnesses) = (0, 0));
                    });
                }
                if state.backup.is_none() {
                    add(Event::Copy, &|next| next.backup = next.store.clone());
                }
            }
            if store.oldest + 1 < store.writes.len() {
                add(Event::Trim, &|next| {
                    next.store.iter_mut().for_each(|store| store.oldest = store.writes.len() - 1);
                });
            }
            let all_have_looked = store.witnesses & !store.looked == 0;
            if store.is_on_probation && store.missed.is_none() && all_have_looked {
                add(Event::Settle, &|next| next.store.iter_mut().for_each(|store| store.is_on_probation = false));
            }
        }
        let can_set_up = state.store.is_some() || state.epochs < MOST_EPOCHS;
        if !state.is_accepted && state.faults > 0 && can_set_up {
            add(Event::AcceptLoss, &|next| {
                if next.store.is_none() {
                    self.set_up(next, Ground::Accepted, 0);
                }
                let is_revoked = next.store.as_ref().is_some_and(|store| store.is_revoked);
                if let Some(store) = &mut next.store {
                    store.descend(1 << ANY);
                    (store.is_on_probation, store.is_new) = (false, false);
                }
                next.is_accepted = true;
                if next.answered == Answered::Revoked && !is_revoked {
                    next.answered = Answered::Nothing;
                }
                next.processes.iter_mut().for_each(|one| (one.has_known, one.is_noted) = (false, false));
            });
        }
        for p in 0..PROCESSES {
            let me = &state.processes[p];
            let leave = |next: &mut State, mode| {
                let has_copy = me.unseen.is_none() && !me.keeps_own || !self.0.copies_are_settled;
                next.processes[p] = match mode {
                    Mode::Stopped => me.restart(if has_copy { Start::Copy } else { Start::Note }),
                    _ => Process { mode, ..me.clone() },
                };
                next.store.iter_mut().for_each(|store| store.witnesses &= !(1 << p));
            };
            if !me.runs() && state.store.as_ref().is_some_and(|store| store.leases >> p & 1 == 1) {
                add(Event::LeaseEnds(p), &|next| {
                    next.store.iter_mut().for_each(|store| store.leases &= !(1 << p));
                });
            }
            match me.mode {
                Mode::Stopped => {
                    for start in [Start::Empty, Start::Note, Start::Copy] {
                        let is_possible = match start {
                            Start::Empty => true,
                            Start::Note => me.memory.is_some(),
                            Start::Copy => me.applied.is_some(),
                        };
                        if is_possible {
                            add(Event::Start(p, start), &|next| {
                                next.processes[p] = Process { mode: Mode::Runs, ..me.restart(start) };
                            });
                        }
                    }
                    continue;
                }
                Mode::CutOff => {
                    add(Event::IsBack(p), &|next| next.processes[p].mode = Mode::Runs);
                    continue;
                }
                Mode::Runs => {
                    if state.stops < self.0.most_stops {
                        for (event, mode) in [(Event::Stop(p), Mode::Stopped), (Event::CutOff(p), Mode::CutOff)] {
                            add(event, &|next| {
                                leave(next, mode);
                                next.stops += 1;
                            });
                        }
                    }
                }
            }
            let Some(store) = state.store.as_ref().filter(|_| me.kind != Kind::Reads) else { continue };
            if state.others < self.0.most_others {
                add(Event::WriteOther(p), &|next| {
                    next.others += 1;
                    append(next, Operation::Other);
                });
            }
            if state.answered == Answered::Nothing {
                add(Event::Revoke(p), &|next| {
                    next.answered = Answered::Revoked;
                    let Some(step) = append(next, Operation::Link) else { return };
                    let me = &mut next.processes[p];
                    me.is_noted |= me.memory.is_some_and(|lineage| lineage.epoch == step.epoch);
                    if let Some(position) = me.applied.filter(|_| me.kind == Kind::Follows) {
                        me.has_known = true;
                        if !self.has_reached(position, step) {
                            (me.knows, me.unseen) = (true, Some(step));
                        }
                    }
                });
            }
            if state.answered == Answered::Revoked && store.is_revoked {
                add(Event::Reinstate(p), &|next| {
                    next.answered = Answered::Reinstated;
                    append(next, Operation::LinkLifted);
                    next.processes.iter_mut().for_each(|one| (one.has_known, one.is_noted) = (false, false));
                });
            }
        }
        events
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let has_forgotten = |one: &Process| one.runs() && one.has_known && !one.knows;
        if state.processes.iter().any(has_forgotten) {
            return Some(FORGOTTEN);
        }
        let is_back = state.store.as_ref().is_some_and(|store| store.is_revoked);
        if state.answered == Answered::Reinstated && state.faults == 0 && is_back {
            return Some(RESURRECTED);
        }
        state.broken
    }
}

const RULES: Rules = Rules {
    kinds: [Kind::Follows; PROCESSES],
    most_stops: 1,
    most_others: 1,
    lineage: true,
    probation: true,
    history: true,
    positions_name_epochs: true,
    debts_are_proved: true,
    copies_are_settled: true,
};

#[test]
fn processes_with_an_index_lose_no_revocation_that_one_of_them_knows_and_believe_no_store_that_did() {
    holds(&Protocol(Rules { most_stops: 0, ..RULES }));
}

#[test]
fn neither_do_they_when_they_are_stopped_cut_off_and_started_again() {
    holds(&Protocol(Rules { most_others: 0, ..RULES }));
}

#[test]
fn neither_do_processes_one_of_which_asks_for_each_judgement() {
    holds(&Protocol(Rules { kinds: [Kind::Asks, Kind::Follows], ..RULES }));
}

#[test]
fn processes_that_ask_for_each_judgement_believe_no_store_but_the_one_that_they_remember() {
    holds(&Protocol(Rules { kinds: [Kind::Asks; PROCESSES], ..RULES }));
}

#[test]
fn a_process_without_the_right_to_write_forgets_nothing_either() {
    holds(&Protocol(Rules { kinds: [Kind::Follows, Kind::Reads], most_others: 0, ..RULES }));
}

#[test]
fn where_whatever_store_is_there_is_believed_a_newcomers_deceives_a_process_that_remembers_the_one_before() {
    breaks(
        &Protocol(Rules { kinds: [Kind::Asks; 2], lineage: false, ..RULES }),
        DECEIVED,
        &[
            "A revokes the link",
            "the store is emptied",
            "B starts with an empty data folder",
            "B sets the store up on empty ground",
            "A asks",
            "B asks",
            "the probation ends",
            "A asks",
        ],
    );
}

#[test]
fn where_a_store_is_believed_as_soon_as_it_is_set_up_a_newcomer_permits_what_a_running_process_remembers() {
    breaks(
        &Protocol(Rules { probation: false, ..RULES }),
        DECEIVED,
        &[
            "A revokes the link",
            "the store is emptied",
            "B starts with an empty data folder",
            "B sets the store up on empty ground",
            "B loads",
        ],
    );
}

#[test]
fn where_a_trimmed_stream_is_believed_without_proof_the_one_process_that_knows_forgets() {
    breaks(
        &Protocol(Rules { history: false, ..RULES }),
        FORGOTTEN,
        &[
            "a copy of the store is taken",
            "A revokes the link",
            "A reads on",
            "the store is put back to its copy",
            "A revokes another link",
            "the stream is trimmed",
            "A loads",
        ],
    );
}

#[test]
fn where_positions_of_different_epochs_compare_a_process_permits_what_it_has_just_revoked() {
    breaks(
        &Protocol(Rules { positions_name_epochs: false, ..RULES }),
        FORGOTTEN,
        &["the store is emptied", "A sets the store up to write back", "A revokes the link"],
    );
}

#[test]
fn where_a_process_writes_its_own_back_without_proof_that_it_is_lost_a_reinstated_link_is_revoked_again() {
    breaks(
        &Protocol(Rules { debts_are_proved: false, ..RULES }),
        RESURRECTED,
        &["A revokes the link", "A reinstates the link", "A reads on"],
    );
}

#[test]
fn where_a_copy_is_taken_of_a_revocation_that_the_stream_has_not_brought_it_is_not_written_back() {
    breaks(
        &Protocol(Rules { copies_are_settled: false, ..RULES }),
        LOST,
        &[
            "a copy of the store is taken",
            "A revokes the link",
            "the store is put back to its copy",
            "A stops",
            "A starts with its copy of the index",
            "A reads on",
            "B starts with an empty data folder",
            "B loads",
        ],
    );
}
