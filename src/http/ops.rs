//! `GET /livez`, `/readyz`, `/metrics`: for whoever runs the process.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

use super::metrics::Gauges;
use super::state::AppState;
use crate::revocation::Mode;

/// The process runs.
pub async fn livez() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "status": "alive" })))
}

/// The process can judge; if not, why. Of identity providers it tells, and does not depend on them: links are judged
/// without them.
pub async fn readyz(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let (status, mut body) = match state.readiness().await {
        Ok(()) => (StatusCode::OK, json!({ "status": "ready" })),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not ready", "reason": reason })),
    };
    if state.logins.has_providers() {
        let shown = state.logins.status().into_iter().map(|(name, keys)| {
            let status = if keys.usable > 0 { "ready" } else { "unavailable" };
            let trouble = keys.trouble.map(|trouble| trouble.to_string());
            json!({ "name": name, "status": status, "keys": keys.usable, "trouble": trouble })
        });
        body["identity_providers"] = shown.collect();
    }
    (status, [(CACHE_CONTROL, "no-store")], Json(body))
}

/// The figures, in OpenMetrics text.
pub async fn metrics(State(state): State<Arc<AppState>>) -> impl IntoResponse {
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
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"), (CACHE_CONTROL, "no-store")], text)
}
