//! What Prometheus is told.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::login_metrics::LoginMetrics;
use crate::clock::Steps;
use crate::identity::KeyStatus;
use crate::revocation::{Denied, IndexCounts, Status};
use crate::telemetry;
use crate::token::Refusal;

/// How a download was judged: the label of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Permitted,
    Expired,
    Revoked,
    UsedUp,
    Malformed,
    UnknownKey,
    BadSignature,
    Refused,
    Stale,
    CannotCount,
    FileNotFound,
    BadRequest,
}

impl Verdict {
    const ALL: [Self; 12] = [
        Self::Permitted,
        Self::Expired,
        Self::Revoked,
        Self::UsedUp,
        Self::Malformed,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Refused,
        Self::Stale,
        Self::CannotCount,
        Self::FileNotFound,
        Self::BadRequest,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::CannotCount => "cannot_count",
            Self::FileNotFound => "file_not_found",
            Self::BadRequest => "bad_request",
        }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Expired => Self::Expired,
            Refusal::UnknownKey | Refusal::RetiredKey => Self::UnknownKey,
            Refusal::BadSignature => Self::BadSignature,
            _ => Self::Refused,
        }
    }
}

impl From<Denied> for Verdict {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Revoked(_) => Self::Revoked,
            Denied::UsedUp => Self::UsedUp,
            Denied::NotLoaded | Denied::Stale => Self::Stale,
            Denied::CannotCount => Self::CannotCount,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SetLabel {
    set: &'static str,
}

/// What gauges show at the moment they are asked.
pub struct Gauges {
    pub counts: IndexCounts,
    pub staleness: Option<Duration>,
    pub clock: Steps,
    pub store: Status,
    pub providers: Vec<(String, KeyStatus)>,
}

/// Seconds: a judgement takes about a microsecond.
const LATENCY_BUCKETS: [f64; 10] = [500e-9, 1e-6, 2e-6, 5e-6, 10e-6, 25e-6, 100e-6, 1e-3, 10e-3, 100e-3];

/// Every figure of one process.
pub struct Metrics {
    registry: Registry,
    downloads: [Counter; Verdict::ALL.len()],
    verify_seconds: Histogram,
    api_requests: Family<OperationLabel, Counter>,
    guarded: Counter,
    log_lines_left_out: Counter,
    log_lines_dropped: Counter,
    pub logins: LoginMetrics,
    revocations: Family<SetLabel, Gauge>,
    staleness: Gauge<f64, AtomicU64>,
    clock_behind: Gauge<f64, AtomicU64>,
    clock_ahead: Gauge<f64, AtomicU64>,
    following: Gauge,
    load_progress: Gauge<f64, AtomicU64>,
    load_seconds: Gauge<f64, AtomicU64>,
    stream_garbage: Counter,
    snapshot_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("linkgate");
        let downloads = Family::<VerdictLabel, Counter>::default();
        registry.register("download_requests", "Downloads asked for, by verdict", downloads.clone());
        let verify_seconds = Histogram::new(LATENCY_BUCKETS);
        registry.register("verify_duration_seconds", "Time to judge a link", verify_seconds.clone());
        let api_requests = Family::<OperationLabel, Counter>::default();
        registry.register("api_requests", "API requests, by operation and status", api_requests.clone());
        let guarded = Counter::default();
        registry.register(
            "guarded_redirects",
            "Answers other than 200 that carried a redirect header and were turned into a 500; anything but 0 is a bug",
            guarded.clone(),
        );
        let log_lines_left_out = Counter::default();
        registry.register(
            "log_lines_left_out",
            "Log lines of which there were too many of one kind in a second",
            log_lines_left_out.clone(),
        );
        let log_lines_dropped = Counter::default();
        registry.register("log_lines_dropped", "Log lines that stderr did not take", log_lines_dropped.clone());
        let revocations = Family::<SetLabel, Gauge>::default();
        registry.register("revocations", "Entries the verifier judges by", revocations.clone());
        let staleness = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "revocation_staleness_seconds",
            "How long revocations may have been missing; +Inf before they are loaded",
            staleness.clone(),
        );
        let clock_behind = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "clock_behind_seconds",
            "How far the wall clock was stepped back; links are judged as if it had not been",
            clock_behind.clone(),
        );
        let clock_ahead = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "clock_ahead_seconds",
            "How far the wall clock was stepped ahead lately; if by mistake, links end early until it is corrected",
            clock_ahead.clone(),
        );
        let following = Gauge::default();
        registry.register("store_following", "1 while revocations are followed without trouble", following.clone());
        let load_progress = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "revocation_load_progress_ratio",
            "How much of a load under way is done; 1 when none is",
            load_progress.clone(),
        );
        let load_seconds = Gauge::<f64, AtomicU64>::default();
        registry.register("revocation_load_seconds", "How long the last load of everything took", load_seconds.clone());
        let stream_garbage = Counter::default();
        registry.register(
            "stream_garbage",
            "Stream entries that were skipped because they are not Linkgate's",
            stream_garbage.clone(),
        );
        let snapshot_failures = Counter::default();
        registry.register(
            "snapshot_failures",
            "Snapshots of the index that could not be written to disk",
            snapshot_failures.clone(),
        );
        registry.register("build", "The running version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        Self {
            downloads: Verdict::ALL
                .map(|verdict| downloads.get_or_create(&VerdictLabel { verdict: verdict.as_str() }).clone()),
            verify_seconds,
            api_requests,
            guarded,
            log_lines_left_out,
            log_lines_dropped,
            logins: LoginMetrics::register(&mut registry),
            revocations,
            staleness,
            clock_behind,
            clock_ahead,
            following,
            load_progress,
            load_seconds,
            stream_garbage,
            snapshot_failures,
            registry,
        }
    }
}

impl Metrics {
    /// Counts a download; once for each.
    pub fn count_download(&self, verdict: Verdict) {
        self.downloads[verdict as usize].inc();
    }

    /// Notes the time that judging a link took.
    pub fn observe_judgement(&self, took: Duration) {
        self.verify_seconds.observe(took.as_secs_f64());
    }

    /// Counts an API request.
    pub fn count_api(&self, operation: String, status: u16) {
        self.api_requests.get_or_create(&OperationLabel { operation, status }).inc();
    }

    /// Counts an answer that the last layer had to stop.
    pub fn count_guarded(&self) {
        self.guarded.inc();
    }

    /// The exposition, with the gauges as they are now.
    pub fn render(&self, now: &Gauges) -> String {
        let Gauges { counts, staleness, clock, store, providers } = now;
        self.logins.show(providers);
        let set = |name, count: usize| {
            self.revocations.get_or_create(&SetLabel { set: name }).set(count as i64);
        };
        set("links", counts.links);
        set("cut_offs", counts.cut_offs);
        self.staleness.set(staleness.map_or(f64::INFINITY, |age| age.as_secs_f64()));
        self.clock_behind.set(clock.behind.as_secs_f64());
        self.clock_ahead.set(clock.ahead.as_secs_f64());
        self.following.set(i64::from(store.trouble.is_none()));
        let ratio = store.loading.map_or(1.0, |progress| progress.loaded as f64 / progress.of.max(1) as f64);
        self.load_progress.set(ratio);
        self.load_seconds.set(store.last_load.map_or(0.0, |(took, _)| took.as_secs_f64()));
        raise(&self.log_lines_left_out, telemetry::lines_left_out());
        raise(&self.log_lines_dropped, telemetry::lines_dropped());
        raise(&self.stream_garbage, store.garbage);
        raise(&self.snapshot_failures, store.snapshot_failures);
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

/// Brings a counter up to what somebody else has counted.
pub fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
