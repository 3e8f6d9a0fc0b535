//! What every request needs: the keys, the collections, the revocations, the clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::UnderWay;
use super::apart::Apart;
use super::listen::ListenConfig;
use super::metrics::Metrics;
use super::server::Limits;
use super::web::Origins;
use crate::answers::AnswerStore;
use crate::clients::{ClientStore, Limiter, Registry};
use crate::clock::{Clock, Moment, UnixMillis};
use crate::edge::DirectFiles;
use crate::identity::Logins;
use crate::mint::{Dates, Signing};
use crate::revocation::{
    Answers, Blind, Download, Index, Informed, Inquiry, Mode, OnStale, Questions, RevocationStore, RevocationView,
    StalenessPolicy, Status, StoreError, Tally, record,
};

/// How often the store is asked for one answer: a stable link that was revoked takes a round to step over.
const MAX_ROUNDS: usize = 64;

/// How much longer than clocks differ the store's time is waited for.
const HORIZON_MARGIN: Duration = Duration::from_secs(1);

/// One process, as its handlers see it.
pub struct AppState {
    pub signing: Signing,
    /// Of collections that are delivered directly, by name.
    pub direct: BTreeMap<String, DirectFiles>,
    pub index: Arc<Index>,
    pub mode: Mode,
    pub staleness: StalenessPolicy,
    /// How long after its end a link may still be refreshed.
    pub refresh_grace: Duration,
    pub store: Arc<dyn RevocationStore>,
    pub clients: Registry,
    pub client_store: Arc<dyn ClientStore>,
    pub limiter: Limiter,
    pub answers: Arc<dyn AnswerStore>,
    pub under_way: UnderWay,
    pub logins: Arc<Logins>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub listen: ListenConfig,
    pub limits: Limits,
    pub apart: Apart,
    pub origins: Origins,
}

/// What the store was asked on behalf of one judgement. Most judgements need nothing of it.
#[derive(Debug, Default)]
pub struct Evidence {
    answers: Option<Result<Answers, StoreError>>,
    /// Whether the store was asked to count, and what it said if it could.
    was_counted: bool,
    tally: Option<Tally>,
    clock: Option<Result<UnixMillis, StoreError>>,
}

/// What a judgement needs to be asked before it can end.
#[derive(Debug)]
pub enum Gap {
    Answers(Questions),
    Tally(Download),
    /// What the store's clock shows.
    Clock,
}

impl Evidence {
    /// Whether the store was asked what it holds.
    pub const fn has_answers(&self) -> bool {
        self.answers.is_some()
    }

    /// Whether the store was asked to count.
    pub const fn was_counted(&self) -> bool {
        self.was_counted
    }

    /// What the store's clock shows, where it was asked.
    pub const fn clock(&self) -> Option<&Result<UnixMillis, StoreError>> {
        self.clock.as_ref()
    }

    /// Asks the store.
    pub async fn fill(&mut self, gap: Gap, store: &dyn RevocationStore) {
        match gap {
            Gap::Answers(questions) => self.answers = Some(store.ask(&questions).await),
            Gap::Tally(download) => {
                let counted = store.count(&download).await;
                if let Err(error) = &counted {
                    tracing::warn!(%error, token = %download.link, "a download cannot be counted");
                }
                (self.was_counted, self.tally) = (true, counted.ok());
            }
            Gap::Clock => self.clock = Some(store.clock().await),
        }
    }
}

impl AppState {
    /// Takes up the clients of the store; those whose name an identity provider has are left out.
    ///
    /// # Errors
    /// When it cannot be read; everybody stays known as they are.
    pub async fn refresh_clients(&self) -> Result<(), StoreError> {
        self.clients.refresh(&*self.client_store, |name| self.logins.has_name(name)).await
    }

    /// How long revocations may have been missing.
    pub fn staleness_now(&self) -> Option<Duration> {
        self.index.freshness().age(self.clock.now())
    }

    /// The latest issue of a link that counts as made by now.
    pub fn latest_issue(&self, now: Moment) -> UnixMillis {
        self.index.store_time().latest_issue(now, self.signing.bounds)
    }

    /// The times by which links are made now.
    pub fn dates(&self) -> Dates {
        let now = self.clock.now();
        let store_time = self.index.store_time();
        Dates {
            now: now.wall,
            horizon: store_time.told().plus(self.signing.bounds.skew()),
            latest_issue: self.latest_issue(now),
            counts_lost: store_time.counts_lost(),
        }
    }

    /// How long a request for links waits for the store's time.
    pub fn horizon_patience(&self) -> Duration {
        self.signing.bounds.skew() + HORIZON_MARGIN
    }

    /// Lets a judgement look at what is revoked: in the index, or among the answers of the store.
    ///
    /// # Errors
    /// [`Gap`] when the store must be asked first.
    pub fn look<R>(&self, evidence: &Evidence, judge: impl FnOnce(&dyn RevocationView) -> R) -> Result<R, Gap> {
        let tally = evidence.tally;
        let informed = |view: &dyn RevocationView| judge(&Informed { view, tally });
        Ok(match (self.mode, &evidence.answers) {
            (Mode::Direct, None) => return Err(Gap::Answers(record(informed))),
            (_, Some(Ok(answers))) => informed(answers),
            (Mode::Direct, Some(Err(error))) => {
                let serves = self.staleness.on_stale == OnStale::Serve && error.is_absence();
                informed(&Blind { serves })
            }
            (Mode::Replica, _) => self.index.look(informed),
        })
    }

    /// Looks at what is revoked, and asks the store about it where this process does not know.
    ///
    /// # Errors
    /// When the store had to be asked and did not answer.
    pub async fn consult<R>(&self, judge: impl Fn(&dyn RevocationView) -> R) -> Result<R, StoreError> {
        let asks = self.mode == Mode::Direct || (self.asks_when_stale() && self.is_stale());
        if !asks {
            return Ok(self.index.look(judge));
        }
        let mut inquiry = Inquiry::default();
        for _ in 0..MAX_ROUNDS {
            match inquiry.judge(&judge) {
                Ok(result) => return Ok(result),
                Err(questions) => {
                    let answers = self.store.ask(&questions).await?;
                    inquiry.learn(questions, answers);
                }
            }
        }
        Err(StoreError::Failed(format!("{MAX_ROUNDS} rounds of questions leave some open")))
    }

    /// Whether the store is asked when the index is too old.
    pub fn asks_when_stale(&self) -> bool {
        self.mode == Mode::Replica && self.staleness.on_stale == OnStale::Direct
    }

    fn is_stale(&self) -> bool {
        self.staleness_now().is_none_or(|age| age > self.staleness.max_staleness)
    }

    /// Whether this process judges at all right now: ready, or told to go on with what it knows.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn judges(&self) -> Result<(), String> {
        if self.mode == Mode::Replica && self.staleness.on_stale == OnStale::Serve && self.staleness_now().is_some() {
            return Ok(());
        }
        let ready = self.readiness().await;
        if ready.is_err() && self.asks_when_stale() {
            return self.can_ask().await;
        }
        ready
    }

    /// Whether the store can be asked, and what it says is young enough.
    async fn can_ask(&self) -> Result<(), String> {
        match self.store.ask(&Questions::default()).await {
            Ok(answers) if answers.age <= self.staleness.max_staleness => Ok(()),
            Ok(answers) => Err(format!("what the store answers is {} seconds old", answers.age.as_secs())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether this process knows what is revoked right now.
    ///
    /// # Errors
    /// Why it does not know.
    pub async fn readiness(&self) -> Result<(), String> {
        if self.mode == Mode::Direct {
            return self.can_ask().await;
        }
        let why = || match self.store.status() {
            Status { loading: Some(progress), .. } => {
                format!("{} of {} entries are loaded", progress.loaded, progress.of)
            }
            Status { trouble: Some(trouble), .. } => trouble,
            _ => "no sign of life from the store".into(),
        };
        match self.staleness_now() {
            None => Err(format!("the revocations have not been loaded yet: {}", why())),
            Some(age) if age > self.staleness.max_staleness => {
                Err(format!("the revocations are {} seconds old: {}", age.as_secs(), why()))
            }
            Some(_) => Ok(()),
        }
    }
}
