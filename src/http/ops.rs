//! `GET /livez`, `/readyz`, `/metrics`: for whoever runs the process.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::metrics::Gauges;
use super::openapi::tags;
use super::state::AppState;
use super::{accept, text_format};
use crate::revocation::Mode;

/// How it is.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `alive`, `ready` or `not ready`.
    #[schema(examples("ready"))]
    status: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The identity providers, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    identity_providers: Option<Vec<ProviderHealth>>,
}

impl Health {
    const fn new(status: &'static str) -> Self {
        Self { status, reason: None, identity_providers: None }
    }
}

/// How an identity provider is.
#[derive(Serialize, ToSchema)]
pub struct ProviderHealth {
    /// Its name in the configuration.
    name: String,
    /// `ready`, or `unavailable` while none of its keys is known.
    status: &'static str,
    /// Keys that are known.
    keys: usize,
    /// Why its keys could not be fetched.
    trouble: Option<String>,
}

/// Alive?
///
/// 200 as long as the process runs: restart it when this fails.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = tags::HEALTH, security(()),
    responses((status = 200, description = "The process runs.", body = Health, example = json!({ "status": "alive" })))
)]
pub async fn livez() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(Health::new("alive")))
}

/// Ready?
///
/// 503 as long as it is not known what is revoked, with the reason: revocations are not loaded, and how far loading has
/// come, or they are too old. Send no downloads there meanwhile. Of identity providers it tells, and does not depend on
/// them: links are judged without them.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = tags::HEALTH, security(()),
    responses(
        (status = 200, description = "It can judge links.", body = Health, example = json!({ "status": "ready" })),
        (status = 503, description = "It cannot, and says why.", body = Health,
            example = json!({ "status": "not ready", "reason": "the revocations are 31 seconds old: connection refused" })),
    )
)]
pub async fn readyz(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let (status, mut body) = match state.readiness().await {
        Ok(()) => (StatusCode::OK, Health::new("ready")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, Health { reason: Some(reason), ..Health::new("not ready") }),
    };
    if state.logins.has_providers() {
        let shown = state.logins.status().into_iter().map(|(name, keys)| ProviderHealth {
            name,
            status: if keys.usable > 0 { "ready" } else { "unavailable" },
            keys: keys.usable,
            trouble: keys.trouble.map(|trouble| trouble.to_string()),
        });
        body.identity_providers = Some(shown.collect());
    }
    (status, [(CACHE_CONTROL, "no-store")], Json(body))
}

/// How OpenMetrics is sent.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures for Prometheus
///
/// Downloads by verdict, API requests by route and status, revocations and their age, the clock, the store.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = tags::HEALTH, security(()),
    responses((
        status = 200, description = "OpenMetrics text, or Prometheus' text format 0.0.4 where the client would rather have that.", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        example = json!("# HELP linkgate_download_requests Downloads asked for, by verdict.\n\
            # TYPE linkgate_download_requests counter\n\
            linkgate_download_requests_total{verdict=\"permitted\"} 4711\n"),
    ))
)]
pub async fn metrics(State(state): State<Arc<AppState>>, request: HeaderMap) -> impl IntoResponse {
    let staleness = match state.mode {
        Mode::Replica => state.staleness_now(),
        // Each judgement asks anew.
        Mode::Direct => Some(Duration::ZERO),
    };
    let text = state.metrics.render(&Gauges {
        counts: state.index.counts(),
        staleness,
        clock: state.clock.steps(),
        store: state.store.status(),
        providers: state.logins.status(),
    });
    let (kind, text) = if accept::prefers_text_format(&request) {
        (text_format::KIND, text_format::of(&text))
    } else {
        (OPEN_METRICS, text)
    };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (VARY, "accept")], text)
}
