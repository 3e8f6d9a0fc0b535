//! What Prometheus is told about logins and identity providers.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::raise;
use crate::identity::KeyStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabel {
    provider: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabel {
    provider: String,
}

/// Logins by outcome, and how it stands with the keys that check them.
pub struct LoginMetrics {
    logins: Family<LoginLabel, Counter>,
    keys: Family<ProviderLabel, Gauge>,
    keys_age: Family<ProviderLabel, Gauge<f64, AtomicU64>>,
    fetches: Family<ProviderLabel, Counter>,
    fetch_failures: Family<ProviderLabel, Counter>,
}

impl LoginMetrics {
    /// Adds the figures to those of the process.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            logins: Family::default(),
            keys: Family::default(),
            keys_age: Family::default(),
            fetches: Family::default(),
            fetch_failures: Family::default(),
        };
        registry.register("logins", "Logins of identity providers, by outcome", figures.logins.clone());
        registry.register(
            "identity_keys",
            "Keys that check an identity provider's logins; 0 when there are none, or none that are fresh enough",
            figures.keys.clone(),
        );
        registry.register(
            "identity_keys_age_seconds",
            "How long ago an identity provider's keys were last fetched; +Inf before the first time",
            figures.keys_age.clone(),
        );
        registry.register(
            "identity_fetches",
            "Times an identity provider's keys were asked for",
            figures.fetches.clone(),
        );
        registry.register(
            "identity_fetch_failures",
            "Times an identity provider's keys could not be had, or not be used",
            figures.fetch_failures.clone(),
        );
        figures
    }

    /// Counts a login; `provider` is a configured name, or empty when none was found.
    pub fn count(&self, provider: &str, outcome: &'static str) {
        self.logins.get_or_create(&LoginLabel { provider: provider.to_owned(), outcome }).inc();
    }

    /// Brings the gauges up to date.
    pub fn show(&self, providers: &[(String, KeyStatus)]) {
        // One that was configured away is not shown any more.
        self.keys.clear();
        self.keys_age.clear();
        for (name, status) in providers {
            let label = ProviderLabel { provider: name.clone() };
            self.keys.get_or_create(&label).set(status.usable as i64);
            let age = status.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.keys_age.get_or_create(&label).set(age);
            raise(&self.fetches.get_or_create(&label), status.fetches);
            raise(&self.fetch_failures.get_or_create(&label), status.failed_fetches);
        }
    }
}
