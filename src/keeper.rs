//! The keeper: takes up changes of keys, clients and policies while the process runs, and notes which API keys are used.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::app::read_keys;
use crate::clients::Uses;
use crate::clock::Steps;
use crate::config::{Config, KeySource, Overrides};
use crate::http::AppState;
use crate::revocation::StoreError;
use crate::token::Keyring;

/// How often the key file and the client store are looked at for changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often, at most, a process notes in the store when API keys were last used.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// The task that watches key file, configuration and client store.
pub struct Keeper {
    state: Arc<AppState>,
    config_file: Option<PathBuf>,
    overrides: Overrides,
    key_source: KeySource,
    /// Whether there is anybody whose keys the store would have to be asked for.
    takes_clients: bool,
    /// What of the keys' use stands in the store, and when it was last written there.
    noted: Uses,
    noted_at: Option<Duration>,
}

impl Keeper {
    /// A keeper of one process.
    pub const fn new(
        state: Arc<AppState>,
        config_file: Option<PathBuf>,
        overrides: Overrides,
        key_source: KeySource,
        takes_clients: bool,
    ) -> Self {
        Self { state, config_file, overrides, key_source, takes_clients, noted: Uses::new(), noted_at: None }
    }

    /// Runs for as long as the process does.
    pub async fn run(mut self, mut reload: watch::Receiver<()>) {
        // Whatever was read at the start is read once more: the file may have changed since.
        let mut keys_seen = None;
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut can_reload = true;
        let mut steps = Steps::default();
        let mut clients_trouble = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                asked = reload.changed(), if can_reload => match asked {
                    Ok(()) => {
                        self.reload_configuration();
                        keys_seen = None;
                    }
                    Err(_) => can_reload = false,
                },
            }
            self.watch_clock(&mut steps);
            let changed = self.key_file_changed();
            if changed != keys_seen {
                keys_seen = changed;
                self.reload_keys();
            }
            if !self.takes_clients {
                continue;
            }
            // A store that hangs must not hold up the keys.
            let refreshed = tokio::time::timeout(WATCH_INTERVAL, self.state.refresh_clients())
                .await
                .unwrap_or(Err(StoreError::TimedOut));
            let trouble = refreshed.err();
            if trouble != clients_trouble {
                if let Some(error) = &trouble {
                    warn!(%error, "the stored clients cannot be read: going on with those that are known");
                }
                clients_trouble = trouble;
            }
            if clients_trouble.is_none() {
                self.note_uses().await;
            }
        }
    }

    /// Writes down which keys were used since that was last done. Whether it works is nobody's worry.
    async fn note_uses(&mut self) {
        let now = self.state.clock.uptime();
        if self.noted_at.is_some_and(|at| now.saturating_sub(at) < NOTE_INTERVAL) {
            return;
        }
        let seen = self.state.clients.uses();
        let is_new = |(name, time): &(String, _)| self.noted.get(name) != Some(time);
        let news: Uses = seen.clone().into_iter().filter(is_new).collect();
        if news.is_empty() {
            return;
        }
        self.noted_at = Some(now);
        match tokio::time::timeout(WATCH_INTERVAL, self.state.client_store.note_uses(&news)).await {
            Ok(Ok(())) => self.noted = seen,
            Ok(Err(error)) => debug!(%error, "when API keys were last used could not be noted"),
            Err(_) => debug!("noting when API keys were last used took too long"),
        }
    }

    /// Says once what somebody did to the clock.
    fn watch_clock(&self, known: &mut Steps) {
        let steps = self.state.clock.steps();
        let is_new = |now: Duration, before: Duration| now.as_secs() > 0 && before.as_secs() == 0;
        if is_new(steps.behind, known.behind) {
            warn!(seconds = steps.behind.as_secs(), "the clock was set back: links are judged as if it had not been");
        }
        if is_new(steps.ahead, known.ahead) {
            warn!(
                seconds = steps.ahead.as_secs(),
                "the clock was set ahead: if that is wrong, links end early until it is corrected"
            );
        }
        *known = steps;
    }

    /// What tells one key file from the next: a replaced file is another file.
    fn key_file_changed(&self) -> Option<(SystemTime, u64, u64)> {
        let KeySource::File(path) = &self.key_source else { return None };
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    }

    fn reload_keys(&self) {
        let read: Result<Keyring> = read_keys(&self.key_source).and_then(|keys| Ok(keys.keyring()?));
        match read {
            Ok(keyring) => {
                info!(active = %keyring.active_id(), "took up the keys");
                self.state.signing.keyring.store(Arc::new(keyring));
            }
            Err(error) => error!(%error, "the keys cannot be used: going on with the old ones"),
        }
    }

    fn reload_configuration(&self) {
        match Config::load(self.config_file.as_deref(), std::env::vars_os(), &self.overrides) {
            Ok(config) => {
                self.state.clients.set_configured(config.clients);
                self.state.logins.replace(&config.identity_providers);
                info!("took up clients, identity providers and policies");
            }
            Err(errors) => {
                for error in errors {
                    error!(%error, "the configuration cannot be used: going on with the old one");
                }
            }
        }
    }
}
