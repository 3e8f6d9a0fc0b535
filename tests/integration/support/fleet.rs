//! Verifiers that share a store, and what must hold for them whatever happens to it:
//!
//! - nothing is permitted that was revoked: at once at the verifier that answered, after [`BOUND`] at the others as
//!   long as they hear from the store, and after [`CUT_OFF_BOUND`] at those that do not;
//! - nothing valid is refused by a verifier that is ready;
//! - when the fault is over everything works again without a restart.

use std::time::{Duration, Instant};

use super::linkgate::{Builder, Linkgate};
use super::{PATIENCE, eventually};

/// How soon every verifier that hears from the store refuses what was revoked.
pub const BOUND: Duration = Duration::from_secs(1);
/// How long a verifier of these tests may judge by what it knows.
pub const MAX_STALENESS: Duration = Duration::from_secs(3);
/// How soon a verifier that does not hear from the store refuses what was revoked: by then it refuses everything.
pub const CUT_OFF_BOUND: Duration = MAX_STALENESS.saturating_add(BOUND);

/// Some verifiers with the same keys and clients.
pub struct Fleet {
    pub verifiers: Vec<Linkgate>,
    /// A link that nobody revokes.
    pub valid: String,
    revoked: Vec<Revoked>,
}

struct Revoked {
    path: String,
    answered: Instant,
    answered_by: usize,
    bound: Duration,
}

impl Fleet {
    /// As many verifiers as there are URLs.
    pub fn over(urls: &[String]) -> Self {
        Self::of(urls.iter().map(|url| Builder::following(url)))
    }

    /// The first makes keys and clients, and must be able to write; the others share them.
    pub fn of(builders: impl IntoIterator<Item = Builder>) -> Self {
        let mut builders = builders.into_iter();
        let mut fleet = Self::new(builders.next().unwrap().start());
        for builder in builders {
            fleet.join(builder);
        }
        fleet
    }

    /// A fleet of one that runs already.
    pub fn new(first: Linkgate) -> Self {
        first.file("a.txt", b"contents");
        let valid = first.link("a.txt");
        Self { verifiers: vec![first], valid, revoked: Vec::new() }
    }

    /// Starts one more verifier.
    pub fn join(&mut self, builder: Builder) -> &Linkgate {
        let verifier = builder.beside(&self.verifiers[0]).start();
        verifier.file("a.txt", b"contents");
        self.verifiers.push(verifier);
        self.verifiers.last().unwrap()
    }

    /// Revokes a new link at one verifier, which refuses it at once.
    pub fn revoke(&mut self, at: usize) -> String {
        self.revoke_within(at, BOUND)
    }

    /// The same while others are cut off, by network or by being frozen.
    pub fn revoke_while_some_are_cut_off(&mut self, at: usize) -> String {
        self.revoke_within(at, CUT_OFF_BOUND)
    }

    fn revoke_within(&mut self, at: usize, bound: Duration) -> String {
        let verifier = &self.verifiers[at];
        let path = verifier.link("a.txt");
        assert_eq!(verifier.status(&path), 200);
        let answer = verifier.try_revoke(&path);
        assert_eq!(answer.status, 201, "{}", answer.text());
        self.was_revoked(&path, at, bound);
        path
    }

    fn was_revoked(&mut self, path: &str, at: usize, bound: Duration) {
        let answered = Instant::now();
        assert_eq!(self.verifiers[at].status(path), 410, "the verifier that answered refuses at once");
        self.revoked.push(Revoked { path: path.to_owned(), answered, answered_by: at, bound });
    }

    /// One look at every verifier: does all hold?
    pub fn look(&self) {
        (0..self.verifiers.len()).for_each(|at| self.look_at(at));
    }

    /// One look at one verifier.
    pub fn look_at(&self, at: usize) {
        let verifier = &self.verifiers[at];
        let was_ready = verifier.is_ready();
        let status = verifier.status(&self.valid);
        assert!([200, 503].contains(&status), "verifier {at} answered {status} to a valid link");
        if status == 503 && was_ready {
            assert!(!verifier.is_ready(), "verifier {at} was ready and refused a valid link\n{}", verifier.log());
        }
        for revoked in &self.revoked {
            let age = revoked.answered.elapsed();
            let is_over = at == revoked.answered_by || age > revoked.bound;
            let status = verifier.status(&revoked.path);
            let is_right = [410, 503].contains(&status) || status == 200 && !is_over;
            assert!(is_right, "verifier {at} answered {status} {age:?} after the revocation\n{}", verifier.log());
        }
    }

    /// Looks again and again.
    pub fn watch(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.look();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Looks until something is so.
    pub fn watch_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        eventually(what, || {
            self.look();
            is_so(self)
        });
    }

    /// Everything works at every verifier: valid links, what was revoked, and a new revocation.
    pub fn recovers(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.look();
            let Some(missing) = self.missing() else { break };
            assert!(Instant::now() < end, "no recovery in {PATIENCE:?}: {missing}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let path = self.verifiers[0].link("a.txt");
        // Its last connection may be one that it does not know to be dead.
        self.watch_until("revoking works", |fleet| fleet.verifiers[0].try_revoke(&path).status == 201);
        self.was_revoked(&path, 0, BOUND);
        self.watch_until("a new revocation bites", |fleet| fleet.all(&path, 410));
    }

    /// Looks until every verifier refuses all that was revoked: what the store answered in its last moment may not have
    /// reached the others.
    pub fn all_know(&self) {
        self.watch_until("all know", |fleet| fleet.revoked.iter().all(|revoked| fleet.all(&revoked.path, 410)));
    }

    /// Every verifier is fresh.
    #[track_caller]
    pub fn refuses_nothing_valid(&self) {
        for verifier in &self.verifiers {
            let status = verifier.status(&self.valid);
            assert_eq!(status, 200, "{}\n{}", verifier.reason(), verifier.log());
        }
    }

    /// Whether every verifier answers this.
    pub fn all(&self, path: &str, status: u16) -> bool {
        self.verifiers.iter().all(|verifier| verifier.status(path) == status)
    }

    fn missing(&self) -> Option<String> {
        self.verifiers.iter().enumerate().find_map(|(at, verifier)| {
            if !verifier.is_ready() {
                return Some(format!("verifier {at} is not ready: {}", verifier.reason()));
            }
            let wanted = self.revoked.iter().map(|revoked| (&revoked.path, 410)).chain([(&self.valid, 200)]);
            wanted.into_iter().find_map(|(path, wanted)| {
                let status = verifier.status(path);
                (status != wanted).then(|| format!("verifier {at} answers {status} instead of {wanted}"))
            })
        })
    }
}
