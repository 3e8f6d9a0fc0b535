//! One provider's keys, kept fresh in the background.
//!
//! They are fetched at the start and again after `refresh`; after a failure sooner, at growing intervals. A login with
//! an unknown key has them fetched at once, since the provider may have begun to use a new one, but at most once per
//! `cooldown`, whatever strangers send. Whatever goes wrong, the last keys go on working until they are `max_age` old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use super::fetch::{FETCH_TIMEOUT, FetchError, FileMark, Source};
use super::jwks::KeySet;
use crate::clock::{Clock, Moment};

/// How often a key set's file is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a first failed fetch; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long a login waits for the keys that are being fetched on its behalf.
const PATIENCE: Duration = FETCH_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Logins that wait so at once, for each provider: strangers who name unknown keys hold no more connections than this
/// while a provider hangs.
const MAX_WAITING: usize = 64;

/// Where keys come from, and how fresh they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    pub source: Source,
    pub refresh: Duration,
    /// Least time between two fetches that logins with unknown keys have caused.
    pub cooldown: Duration,
    /// How long keys that cannot be fetched again go on working.
    pub max_age: Duration,
}

/// The keys of one provider.
pub struct Keys {
    /// For the log.
    provider: String,
    config: KeysConfig,
    known: ArcSwapOption<Known>,
    trouble: Mutex<Option<FetchError>>,
    asked: Mutex<Asked>,
    wanted: Notify,
    /// Refreshes begun, and the last one that ended.
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    waiting: Semaphore,
    fetches: AtomicU64,
    failed_fetches: AtomicU64,
}

struct Known {
    set: Arc<KeySet>,
    /// When the source last showed this very set.
    confirmed: Moment,
    mark: Option<FileMark>,
}

/// The last refresh that a login caused.
#[derive(Default)]
struct Asked {
    at: Option<Duration>,
    /// It is done when this one has ended.
    number: u64,
}

/// How it stands with a provider's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Keys that can be used; none before the first fetch, or when the last ones are too old.
    pub usable: usize,
    /// Keys that had to be passed over.
    pub passed_over: usize,
    /// How old the last confirmation is.
    pub age: Option<Duration>,
    /// What is wrong with the source.
    pub trouble: Option<FetchError>,
    pub fetches: u64,
    pub failed_fetches: u64,
}

impl Keys {
    /// Keys that are yet to be fetched; until then those of a predecessor with the same source count.
    pub fn new(provider: &str, config: KeysConfig, predecessor: Option<&Self>) -> Self {
        let predecessor = predecessor.filter(|old| old.config.source == config.source);
        Self {
            provider: provider.to_owned(),
            config,
            known: ArcSwapOption::new(predecessor.and_then(|old| old.known.load_full())),
            trouble: Mutex::default(),
            asked: Mutex::default(),
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            waiting: Semaphore::new(MAX_WAITING),
            // Counters that Prometheus reads must not begin anew.
            fetches: predecessor.map_or(0, |old| old.fetches.load(Ordering::Relaxed)).into(),
            failed_fetches: predecessor.map_or(0, |old| old.failed_fetches.load(Ordering::Relaxed)).into(),
        }
    }

    /// The keys to judge by; `None` when there are none yet, or none that are still to be trusted.
    pub fn usable(&self, now: Moment) -> Option<Arc<KeySet>> {
        let known = self.known.load();
        let known = known.as_ref().filter(|known| now.since(known.confirmed) <= self.config.max_age)?;
        Some(Arc::clone(&known.set))
    }

    /// Like [`usable`](Self::usable), but keys that have grown old are fetched first: a machine that slept has not
    /// noticed yet that it should have.
    pub async fn usable_or_renewed(&self, clock: &dyn Clock) -> Option<Arc<KeySet>> {
        let usable = self.usable(clock.now());
        if usable.is_some() || self.known.load().is_none() {
            return usable;
        }
        // What could not be waited for is not there.
        let _is_done = self.ask_again(clock).await;
        self.usable(clock.now())
    }

    /// Has the keys fetched again, unless that was done a moment ago, and waits until it is done; whether it is.
    pub async fn ask_again(&self, clock: &dyn Clock) -> bool {
        let mut ended = self.ended.subscribe();
        let needed = {
            let mut asked = self.asked.lock();
            let now = clock.uptime();
            if asked.at.is_none_or(|at| now.saturating_sub(at) >= self.config.cooldown) {
                // A fetch under way may have been answered before the key was there.
                *asked = Asked { at: Some(now), number: self.begun.load(Ordering::Acquire) + 1 };
                self.wanted.notify_one();
            }
            asked.number
        };
        if *ended.borrow() >= needed {
            return true;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return false };
        matches!(tokio::time::timeout(PATIENCE, ended.wait_for(|ended| *ended >= needed)).await, Ok(Ok(_)))
    }

    /// Keeps them fresh, for ever.
    pub async fn follow(&self, clock: &dyn Clock) {
        let mut retry = FIRST_RETRY;
        loop {
            let pause = if self.refresh(clock).await {
                retry = FIRST_RETRY;
                self.config.refresh
            } else {
                let pause = retry.min(self.config.refresh);
                retry = (retry * 2).min(LAST_RETRY);
                pause
            };
            let pause = match self.config.source {
                Source::File(_) => WATCH_INTERVAL,
                Source::Url(_) => pause,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// How it stands.
    pub fn status(&self, now: Moment) -> KeyStatus {
        let known = self.known.load();
        KeyStatus {
            usable: self.usable(now).map_or(0, |set| set.len()),
            passed_over: known.as_ref().map_or(0, |known| known.set.passed_over.len()),
            age: known.as_ref().map(|known| now.since(known.confirmed)),
            trouble: self.trouble.lock().clone(),
            fetches: self.fetches.load(Ordering::Relaxed),
            failed_fetches: self.failed_fetches.load(Ordering::Relaxed),
        }
    }

    /// Brings them up to date; whether that worked.
    async fn refresh(&self, clock: &dyn Clock) -> bool {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let known = self.known.load_full();
        let mark = self.config.source.mark();
        let confirmed = clock.now();
        let is_same_file = mark.is_some() && known.as_ref().is_some_and(|known| known.mark == mark);
        let renewed = match &known {
            Some(known) if is_same_file => Ok(Arc::clone(&known.set)),
            _ => self.fetch(known.as_deref()).await,
        };
        let trouble = match renewed {
            Ok(set) => {
                self.known.store(Some(Arc::new(Known { set, confirmed, mark })));
                None
            }
            Err(error) => Some(error),
        };
        let is_fresh = trouble.is_none();
        self.note(trouble);
        self.ended.send_replace(number);
        is_fresh
    }

    /// Fetches the set; one that says what is known already stays the same object.
    async fn fetch(&self, known: Option<&Known>) -> Result<Arc<KeySet>, FetchError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        match self.config.source.fetch().await {
            Ok(set) => Ok(match known {
                Some(known) if *known.set == set => Arc::clone(&known.set),
                _ => {
                    let (keys, passed_over) = (set.len(), set.passed_over.len());
                    info!(provider = self.provider, keys, passed_over, "took up the keys of an identity provider");
                    Arc::new(set)
                }
            }),
            Err(error) => {
                self.failed_fetches.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Says once what has changed.
    fn note(&self, trouble: Option<FetchError>) {
        let mut known = self.trouble.lock();
        if *known == trouble {
            return;
        }
        let provider = &self.provider;
        match &trouble {
            Some(error) if self.known.load().is_some() => {
                warn!(provider, %error, "the keys of an identity provider cannot be fetched: going on with the last ones");
            }
            Some(error) => {
                warn!(provider, %error, "the keys of an identity provider cannot be fetched: nobody can log in with it");
            }
            None => info!(provider, "the keys of an identity provider can be fetched again"),
        }
        *known = trouble;
    }
}
