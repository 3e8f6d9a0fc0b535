//! Random minting, revoking, lifting and refreshing by processes whose clocks are anywhere within the leeway, and are set
//! anew meanwhile. After each step every link is judged as the order of the steps says, whatever the clocks say:
//!
//! - a link that was made before a revocation "until now" is covered by it, one that is made after it is not;
//! - a standing block covers all, an issue time those that count as issued before it;
//! - what nothing covers is permitted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use linkgate::app::{Parts, create_data_dir, open_redis};
use linkgate::clients::FileClients;
use linkgate::clock::{Clock, ManualClock, Moment, SystemClock, UnixMillis};
use linkgate::config::{Config, KeySource, Overrides, StoreConfig};
use linkgate::entropy::random;
use linkgate::http::AppState;
use linkgate::inspect::Outcome;
use linkgate::key_file::Keys;
use linkgate::mint::{Awaits, Dates, Link, MintError, MintRequest, Owner, RefreshError};
use linkgate::revocation::embedded::EmbeddedStore;
use linkgate::revocation::{Index, IssuedBefore, Kind, Proposal, RevocationId, RevocationView, Target, lift};
use linkgate::token::{KeyId, MintPolicy};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestCaseError, TestError, TestRunner};
use tokio::runtime::Runtime;

use crate::support::clock::ShiftedClock;
use crate::support::folder;
use crate::support::redis::{LOGGED, Redis};

/// The one that mints by the API, and the one that mints with the key file.
const MINTERS: [&str; 2] = ["backend", "offline"];
const SUBJECTS: [&str; 2] = ["ann", "bob"];
const PATHS: [&str; 2] = ["a/x.txt", "b/x.txt"];
const KEY: KeyId = KeyId(1);
/// How soon a process has heard of what another one answered.
const BOUND: Duration = Duration::from_secs(2);

/// What may happen next. Places in lists are taken modulo their lengths, clocks in thousandths of the leeway.
#[derive(Clone, Debug)]
enum Step {
    Mint {
        at: usize,
        subject: usize,
        path: usize,
        is_stable: bool,
    },
    MintOffline {
        clock: i64,
        subject: usize,
        path: usize,
    },
    Refresh {
        at: usize,
        link: usize,
    },
    Revoke {
        at: usize,
        what: What,
        when: When,
    },
    RevokeLink {
        at: usize,
        link: usize,
    },
    Lift {
        at: usize,
        revocation: usize,
    },
    Pass {
        millis: u64,
    },
    SetClock {
        at: usize,
        clock: i64,
    },
    /// The store has another clock: it was set, or the store begins anew on another machine.
    SetStore {
        clock: i64,
        is_elsewhere: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Subject(usize),
    Client(usize),
    Path(usize),
    Folder(usize),
    Key,
    Everything,
}

#[derive(Clone, Copy, Debug)]
enum When {
    UntilNow,
    Always,
    /// So far from the revoker's time, in thousandths of the leeway.
    Before(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let clock = || prop_oneof![Just(-1_000), Just(0), Just(1_000), -1_000..=1_000_i64];
    let what = prop_oneof![
        (0..2_usize).prop_map(What::Subject),
        (0..2_usize).prop_map(What::Client),
        (0..2_usize).prop_map(What::Path),
        (0..2_usize).prop_map(What::Folder),
        Just(What::Key),
        Just(What::Everything),
    ];
    let when = prop_oneof![
        6 => Just(When::UntilNow),
        1 => Just(When::Always),
        2 => (-4_000..=1_000_i64).prop_map(When::Before),
    ];
    let place = 0..64_usize;
    let step = prop_oneof![
        6 => (place.clone(), 0..2_usize, 0..2_usize, any::<bool>())
            .prop_map(|(at, subject, path, is_stable)| Step::Mint { at, subject, path, is_stable }),
        2 => (clock(), 0..2_usize, 0..2_usize)
            .prop_map(|(clock, subject, path)| Step::MintOffline { clock, subject, path }),
        2 => (place.clone(), place.clone()).prop_map(|(at, link)| Step::Refresh { at, link }),
        6 => (place.clone(), what, when).prop_map(|(at, what, when)| Step::Revoke { at, what, when }),
        1 => (place.clone(), place.clone()).prop_map(|(at, link)| Step::RevokeLink { at, link }),
        3 => (place.clone(), place.clone()).prop_map(|(at, revocation)| Step::Lift { at, revocation }),
        1 => (0..40_u64).prop_map(|millis| Step::Pass { millis }),
        2 => (place, clock()).prop_map(|(at, clock)| Step::SetClock { at, clock }),
        1 => (clock(), any::<bool>()).prop_map(|(clock, is_elsewhere)| Step::SetStore { clock, is_elsewhere }),
    ];
    prop::collection::vec(step, 1..40)
}

/// A clock that is wrong by so many milliseconds.
struct WrongClock {
    right: Arc<dyn Clock>,
    by: AtomicI64,
}

impl Clock for WrongClock {
    fn now(&self) -> Moment {
        let Moment { wall, uptime } = self.right.now();
        Moment { wall: UnixMillis(wall.0.saturating_add_signed(self.by.load(Ordering::Relaxed))), uptime }
    }
}

struct Process {
    state: Arc<AppState>,
    clock: Arc<WrongClock>,
}

/// Where revocations are kept, and what a process that begins needs.
enum Store {
    Embedded { right: Arc<ManualClock>, config: Box<Config> },
    Redis { server: Redis, clock: ShiftedClock },
}

struct Minted {
    link: Link,
    subject: &'static str,
    path: &'static str,
    minter: &'static str,
    /// Its place in the order of all that was minted and revoked.
    order: usize,
    /// A revocation that covered it was lifted.
    was_lifted: bool,
}

struct Revoked {
    id: RevocationId,
    target: Target,
    before: Before,
    order: usize,
}

impl Revoked {
    fn names(&self, minted: &Minted) -> bool {
        match self.target {
            Target::Link(id) => id.to_string() == minted.link.id,
            ref target => names(target, minted.subject, minted.path, minted.minter),
        }
    }

    fn covers(&self, minted: &Minted) -> bool {
        let is_before = match self.before {
            Before::Always => true,
            Before::Itself => minted.order < self.order,
            Before::Time(time) => minted.link.issued_at.0 < time,
        };
        is_before && self.names(minted)
    }
}

/// Which links of its target a revocation covers.
#[derive(Clone, Copy)]
enum Before {
    Itself,
    Always,
    Time(UnixMillis),
}

/// What is to become of a link.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Revoked,
    Permitted,
    /// A link that was made with the key file does not know what was revoked before.
    Either,
}

struct World<'r> {
    runtime: &'r Runtime,
    processes: Vec<Process>,
    store: Store,
    minted: Vec<Minted>,
    revoked: Vec<Revoked>,
    order: usize,
    rule: Rule,
    _following: Vec<Following>,
}

/// How "until now" is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// As it is.
    ByTheStore,
    /// By the revoker's own clock, which knows nothing but earlier cut-offs of the same target.
    ByTheRevoker,
}

/// A task that follows the store until it is dropped.
struct Following(tokio::task::JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Checked = Result<(), TestCaseError>;

impl<'r> World<'r> {
    fn new(runtime: &'r Runtime, processes: Vec<Process>, store: Store) -> Self {
        Self {
            runtime,
            processes,
            store,
            minted: Vec::new(),
            revoked: Vec::new(),
            order: 0,
            rule: Rule::ByTheStore,
            _following: Vec::new(),
        }
    }

    fn run(&mut self, steps: &[Step]) -> Checked {
        for step in steps {
            self.take(step).and_then(|()| self.check()).map_err(|error| match error {
                TestCaseError::Fail(why) => TestCaseError::fail(format!("{why}\nafter {step:?}")),
                rejected => rejected,
            })?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Checked {
        self.order += 1;
        match *step {
            Step::Mint { at, subject, path, is_stable } => {
                let request = MintRequest {
                    path: PATHS[path].into(),
                    subject: Some(SUBJECTS[subject].into()),
                    stable: Some(is_stable),
                    ..MintRequest::default()
                };
                self.mint(at, &request, SUBJECTS[subject], PATHS[path])
            }
            Step::MintOffline { clock, subject, path } => {
                let (minter, subject, path) = (MINTERS[1], SUBJECTS[subject], PATHS[path]);
                let request =
                    MintRequest { path: path.into(), subject: Some(subject.into()), ..MintRequest::default() };
                let clock = WrongClock { right: self.right(), by: AtomicI64::new(self.share(clock)) };
                let dates = Dates::at(clock.now().wall);
                let signing = &self.processes[0].state.signing;
                let made = Index::default()
                    .look(|nothing| signing.mint(&request, minter, &MintPolicy::unbounded(), nothing, dates));
                let link = made.map_err(|error| TestCaseError::fail(format!("offline: {error}")))?;
                self.minted.push(Minted { link, subject, path, minter, order: self.order, was_lifted: false });
                Ok(())
            }
            Step::Refresh { at, link } if !self.minted.is_empty() => self.refresh(at, link % self.minted.len()),
            Step::Revoke { at, what, when } => self.revoke(at, target(what), when),
            Step::RevokeLink { at, link } if !self.minted.is_empty() => {
                let id = self.minted[link % self.minted.len()].link.id.parse().unwrap();
                self.revoke(at, Target::Link(id), When::Always)
            }
            Step::Lift { at, revocation } if !self.revoked.is_empty() => {
                let lifted = self.revoked.swap_remove(revocation % self.revoked.len());
                let lifting = lift(&*self.process(at).state.store, &lifted.id);
                let found = self.runtime.block_on(lifting).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert!(found.is_some(), "a revocation cannot be found to be lifted");
                for minted in &mut self.minted {
                    minted.was_lifted |= lifted.covers(minted);
                }
                self.until_all_have_heard();
                Ok(())
            }
            Step::Pass { millis } => {
                self.pass(Duration::from_millis(millis));
                Ok(())
            }
            Step::SetClock { at, clock } => {
                let by = self.share(clock);
                self.process(at).clock.by.store(by, Ordering::Relaxed);
                Ok(())
            }
            Step::SetStore { clock, is_elsewhere } => self.set_store(clock, is_elsewhere),
            Step::Refresh { .. } | Step::RevokeLink { .. } | Step::Lift { .. } => Ok(()),
        }
    }

    fn mint(&mut self, at: usize, request: &MintRequest, subject: &'static str, path: &'static str) -> Checked {
        let policy = MintPolicy::unbounded();
        let made =
            self.issue(at, |state, view, dates| state.signing.mint(request, MINTERS[0], &policy, view, dates))?;
        match made {
            Ok(link) => self.keep(link, subject, path),
            Err(error) => self.refused(&error, subject, path),
        }
    }

    fn refresh(&mut self, at: usize, old: usize) -> Checked {
        let (subject, path, minter) = (self.minted[old].subject, self.minted[old].path, self.minted[old].minter);
        let (url, policy) = (self.minted[old].link.url.clone(), MintPolicy::unbounded());
        let owner = Owner { client: minter, policy: &policy, since: None };
        let grace = Duration::from_secs(60);
        let made = self
            .issue(at, |state, view, dates| state.signing.refresh(&url, owner, None, grace, view, dates))
            .map_err(|error| TestCaseError::fail(format!("a refresh: {error}")))?;
        match made {
            Ok(link) => {
                prop_assert_ne!(self.expected(&self.minted[old]), Expected::Revoked, "a refresh of what was revoked");
                self.keep_of(link, subject, path, minter)
            }
            Err(RefreshError::Revoked(_)) => {
                prop_assert_ne!(self.expected(&self.minted[old]), Expected::Permitted);
                Ok(())
            }
            Err(RefreshError::Mint(error)) => self.refused_of(&error, subject, path, minter),
            Err(error) => Err(TestCaseError::fail(format!("a refresh: {error}"))),
        }
    }

    fn keep(&mut self, link: Link, subject: &'static str, path: &'static str) -> Checked {
        self.keep_of(link, subject, path, MINTERS[0])
    }

    /// A new link must not be revoked; a stable one may be the one that was there.
    fn keep_of(&mut self, link: Link, subject: &'static str, path: &'static str, minter: &'static str) -> Checked {
        if let Some(known) = self.minted.iter().find(|known| known.link.id == link.id) {
            prop_assert_ne!(self.expected(known), Expected::Revoked, "a link that was revoked is given out again");
            prop_assert!(!known.was_lifted, "a link that was revoked comes back as it was");
            return Ok(());
        }
        // By the API, whoever is named as minter.
        let minted = Minted { link, subject, path, minter, order: self.order, was_lifted: false };
        prop_assert_ne!(self.judged(&minted), Expected::Revoked, "a link is covered that was made after all else");
        self.minted.push(minted);
        Ok(())
    }

    fn refused(&self, error: &MintError, subject: &str, path: &str) -> Checked {
        self.refused_of(error, subject, path, MINTERS[0])
    }

    /// Only a standing block keeps a link from being made.
    fn refused_of(&self, error: &MintError, subject: &str, path: &str, minter: &str) -> Checked {
        let is_blocked = self
            .revoked
            .iter()
            .any(|revoked| matches!(revoked.before, Before::Always) && names(&revoked.target, subject, path, minter));
        prop_assert!(is_blocked && matches!(error, MintError::Covered(_)), "{error:?}, and is_blocked is {is_blocked}");
        Ok(())
    }

    /// Makes a link as the API does: where it would be dated too far ahead it waits.
    fn issue<E>(
        &self,
        at: usize,
        make: impl Fn(&AppState, &dyn RevocationView, Dates) -> Result<Link, E>,
    ) -> Result<Result<Link, E>, TestCaseError>
    where
        Result<Link, E>: Awaits,
    {
        let Process { state, clock } = self.process(at);
        let skew = state.signing.bounds.skew();
        let begun = clock.uptime();
        loop {
            let dates = match self.rule {
                Rule::ByTheStore => state.dates(),
                Rule::ByTheRevoker => {
                    let now = clock.now().wall;
                    Dates { now, horizon: now.plus(skew), latest_issue: now.plus(skew), counts_lost: UnixMillis(0) }
                }
            };
            let made = state.index.look(|view| make(state, view, dates));
            let Some(date) = made.awaits(UnixMillis::MAX) else { return Ok(made) };
            let waited = clock.uptime().saturating_sub(begun);
            prop_assert!(waited <= state.horizon_patience(), "a request for a link is not answered in {waited:?}");
            let needed = date.minus(skew);
            if matches!(self.store, Store::Embedded { .. }) {
                self.pass(needed.since(clock.now().wall));
            }
            let reached = self
                .runtime
                .block_on(async { tokio::time::timeout(state.horizon_patience(), state.store.reach(needed)).await });
            prop_assert!(matches!(reached, Ok(Ok(()))), "the store's time does not come to {needed}: {reached:?}");
        }
    }

    fn revoke(&mut self, at: usize, target: Target, when: When) -> Checked {
        let process = self.process(at);
        let now = process.clock.now().wall;
        let (issued_before, before) = match when {
            When::UntilNow => (IssuedBefore::Now, Before::Itself),
            When::Always => (IssuedBefore::Always, Before::Always),
            When::Before(share) => {
                let time = UnixMillis(now.0.saturating_add_signed(self.share(share)));
                (IssuedBefore::Time(time), Before::Time(time))
            }
        };
        let issued_before = match (issued_before, self.rule) {
            (IssuedBefore::Now, Rule::ByTheRevoker) => {
                let near = now.plus(process.state.signing.bounds.skew()).0;
                let known = process.state.index.look(|view| view.cut_off(target.member().as_bytes()));
                let known = known.filter(|known| *known <= near).map_or(0, |known| known + 1);
                let reach = now.plus(process.state.signing.bounds.leeway).0.max(known);
                IssuedBefore::Time(UnixMillis(reach + 1))
            }
            (other, _) => other,
        };
        let id = RevocationId::new(random());
        let proposal = Proposal {
            id: id.clone(),
            kind: match target {
                Target::Link(_) => Kind::Id,
                _ => Kind::Subject,
            },
            target: target.clone(),
            issued_before,
            expires_at: None,
            reason: None,
            created_by: "test".into(),
            link_expiry: None,
        };
        let recorded = self.runtime.block_on(process.state.store.revoke(proposal, None));
        let recorded = recorded.map_err(|error| TestCaseError::fail(error.to_string()))?.revocation;
        let kept = self.runtime.block_on(process.state.store.find(&id));
        prop_assert_eq!(kept.ok().flatten(), Some(recorded), "what is kept is what was answered");
        self.revoked.push(Revoked { id, target, before, order: self.order });
        self.until_all_have_heard();
        Ok(())
    }

    /// Waits until every process has heard of all that was answered: a link that one makes before counts as made before.
    fn until_all_have_heard(&self) {
        let nothing = RevocationId::new([0; 16]);
        for Process { state, .. } in &self.processes {
            let lifted = self.runtime.block_on(state.store.reinstate(&nothing));
            assert_eq!(lifted, Ok(None), "it waits until what was written before is applied");
        }
    }

    /// Every process judges every link as it should; at once where there is one, else soon.
    fn check(&self) -> Checked {
        let patience = if matches!(self.store, Store::Embedded { .. }) { Duration::ZERO } else { BOUND };
        let end = Instant::now() + patience;
        loop {
            let wrong = self.minted.iter().find_map(|minted| {
                let (expected, judged) = (self.expected(minted), self.judged(minted));
                let is_right = expected == judged || expected == Expected::Either;
                (!is_right)
                    .then(|| format!("expected {expected:?}, judged {judged:?}: issued at {}", minted.link.issued_at.0))
            });
            match wrong {
                None => return Ok(()),
                Some(why) if Instant::now() >= end => return Err(TestCaseError::fail(why)),
                Some(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn expected(&self, minted: &Minted) -> Expected {
        let mut expected = Expected::Permitted;
        for revoked in &self.revoked {
            if revoked.covers(minted) {
                return Expected::Revoked;
            }
            if revoked.names(minted) && minted.minter == MINTERS[1] {
                expected = Expected::Either;
            }
        }
        expected
    }

    /// What all processes agree on; [`Expected::Either`] where they do not, or refuse it for another reason.
    fn judged(&self, minted: &Minted) -> Expected {
        let mut all = self.processes.iter().map(|Process { state, clock }| {
            let now = clock.now();
            let judged = state.index.look(|view| {
                state.signing.inspect(&minted.link.url, view, state.staleness, (now, state.latest_issue(now)))
            });
            let revocations =
                judged.checks.iter().find(|check| check.check == "revocations").map(|check| check.outcome);
            match (judged.valid, revocations) {
                (true, _) => Expected::Permitted,
                (false, Some(Outcome::Failed)) => Expected::Revoked,
                _ => Expected::Either,
            }
        });
        let first = all.next().unwrap();
        if all.all(|other| other == first) { first } else { Expected::Either }
    }

    fn set_store(&mut self, clock: i64, is_elsewhere: bool) -> Checked {
        let by = self.share(clock);
        match &mut self.store {
            Store::Embedded { right, config } => {
                self.processes[0].clock.by.store(by, Ordering::Relaxed);
                if is_elsewhere {
                    // The file has one owner at a time.
                    self.processes.clear();
                    self.processes.push(embedded(right, config, by));
                }
            }
            Store::Redis { server, clock } => {
                clock.shift(by);
                if is_elsewhere {
                    // What it had told and not written down with a revocation has not come to the other machine.
                    server.cli(&["HDEL", "linkgate:{rv}:m", "u"]);
                    server.stop();
                    server.launch();
                }
            }
        }
        Ok(())
    }

    fn process(&self, at: usize) -> &Process {
        &self.processes[at % self.processes.len()]
    }

    fn right(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.processes[0].clock.right)
    }

    fn share(&self, thousandths: i64) -> i64 {
        thousandths * self.processes[0].state.signing.bounds.leeway.as_millis() as i64 / 1_000
    }

    fn pass(&self, time: Duration) {
        match &self.store {
            Store::Embedded { right, .. } => right.advance(time),
            Store::Redis { .. } => std::thread::sleep(time),
        }
    }
}

fn target(what: What) -> Target {
    match what {
        What::Subject(which) => Target::subject(SUBJECTS[which]),
        What::Client(which) => Target::client(MINTERS[which]),
        What::Path(which) => Target::path("image", PATHS[which]),
        What::Folder(which) => Target::folder("image", &PATHS[which][..2]),
        What::Key => Ok(Target::Key(KEY)),
        What::Everything => Ok(Target::Everything),
    }
    .unwrap()
}

fn names(target: &Target, subject: &str, path: &str, minter: &str) -> bool {
    match target {
        Target::Subject(name) => name == subject,
        Target::Client(name) => name == minter,
        Target::Path { path: name, .. } => name == path,
        Target::Folder { folder, .. } => path.starts_with(folder),
        Target::Key(_) | Target::Everything => true,
        Target::Link(_) | Target::Lifted(_) => false,
    }
}

fn config(folder: &Path, sections: &str) -> Config {
    let text = format!(
        "public_url = \"https://files.example\"\ndata_dir = \"{0}/data\"\n[collections.image]\nroot = \"{0}/media\"\n{sections}",
        folder.display()
    );
    let config = Config::parse("test", &text, [], &Overrides::default()).unwrap();
    create_data_dir(&config.data_dir).unwrap();
    config
}

/// Writes one key for all processes of a configuration.
fn keys() -> Keys {
    let mut keys = Keys::default();
    keys.add(SystemClock::new().now().wall);
    keys
}

fn give(config: &Config, keys: &Keys) {
    let KeySource::File(path) = &config.key_source else { panic!("{:?}", config.key_source) };
    keys.write(path).unwrap();
}

fn embedded(right: &Arc<ManualClock>, config: &Config, by: i64) -> Process {
    let clock = Arc::new(WrongClock { right: Arc::clone(right) as _, by: AtomicI64::new(by) });
    let index = Arc::new(Index::default());
    let (dir, window) = (&config.data_dir, config.session_window);
    let store = EmbeddedStore::open(dir, Arc::clone(&index), Arc::clone(&clock) as _, config.bounds, window).unwrap();
    let parts = Parts {
        clock: Arc::clone(&clock) as _,
        index,
        store: Arc::new(store.clone()),
        clients: Arc::new(FileClients::new(dir)),
        answers: Arc::new(store),
    };
    Process { state: parts.into_state(config, "https://files.example".into()).unwrap(), clock }
}

fn over_a_file(runtime: &Runtime, steps: &[Step], rule: Rule) -> Checked {
    let folder = folder();
    let config = config(folder.path(), "");
    give(&config, &keys());
    let right = Arc::new(ManualClock::at(SystemClock::new().now().wall));
    let process = embedded(&right, &config, 0);
    let mut world = World::new(runtime, vec![process], Store::Embedded { right, config: Box::new(config) });
    world.rule = rule;
    world.run(steps)
}

fn over_redis(runtime: &Runtime, steps: &[Step]) -> Checked {
    let clock = ShiftedClock::by(0);
    let mut server = Redis::with(&LOGGED);
    server.set_clock(&clock);
    server.stop();
    server.launch();
    let (keys, mut following, mut folders) = (keys(), Vec::new(), Vec::new());
    let processes = (0..2).map(|_| {
        let folder = folder();
        let sections = format!("[store]\nurl = \"{}\"\n[revocation]\nleeway = \"200ms\"\n", server.url());
        let config = config(folder.path(), &sections);
        assert!(matches!(config.store, StoreConfig::Redis(_)));
        give(&config, &keys);
        let right: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let clock = Arc::new(WrongClock { right, by: AtomicI64::new(0) });
        let index = Arc::new(Index::default());
        let store = open_redis(&config, Arc::clone(&index), Arc::clone(&clock) as _).unwrap();
        let parts = Parts {
            clock: Arc::clone(&clock) as _,
            index,
            store: Arc::new(store.clone()),
            clients: Arc::new(store.clone()),
            answers: Arc::new(store.clone()),
        };
        following
            .push(Following(runtime.spawn(async move { linkgate::revocation::RevocationStore::follow(&store).await })));
        folders.push(folder);
        Process { state: parts.into_state(&config, "https://files.example".into()).unwrap(), clock }
    });
    let processes: Vec<_> = processes.collect();
    let mut world = World::new(runtime, processes, Store::Redis { server, clock });
    world._following = following;
    let end = Instant::now() + crate::support::PATIENCE;
    while world.processes.iter().any(|process| runtime.block_on(process.state.readiness()).is_err()) {
        assert!(Instant::now() < end, "not ready");
        std::thread::sleep(Duration::from_millis(2));
    }
    world.run(steps)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// As many sequences as `PROPTEST_CASES` asks for.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Runs { cases, failure_persistence: None, max_shrink_iters: 200, ..Runs::default() })
}

#[test]
fn no_clock_within_the_leeway_lets_a_link_escape_the_embedded_store() {
    let runtime = runtime();
    let found = runner(cases(100)).run(&steps(), |steps| over_a_file(&runtime, &steps, Rule::ByTheStore));
    found.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn no_clock_within_the_leeway_lets_a_link_escape_a_fleet_over_redis() {
    let runtime = runtime();
    let found = runner(cases(12)).run(&steps(), |steps| over_redis(&runtime, &steps));
    found.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_checker_finds_a_revoker_that_goes_by_its_own_clock() {
    let runtime = runtime();
    let found = runner(100).run(&steps(), |steps| over_a_file(&runtime, &steps, Rule::ByTheRevoker));
    let Err(TestError::Fail(why, _)) = &found else { panic!("{found:?}") };
    assert!(why.message().contains("expected Revoked, judged Permitted"), "{found:?}");
}
