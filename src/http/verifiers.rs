//! `GET /v1/verifiers`: the fleet, and how far each of it has come.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::credentials::Caller;
use super::problem::Problem;
use super::state::AppState;
use crate::clients::Role;
use crate::clock::Rfc3339;
use crate::revocation::Verifier;

/// One verifier, as it is answered.
#[derive(Serialize)]
struct VerifierBody {
    id: String,
    version: String,
    started_at: Rfc3339,
    last_seen: Rfc3339,
    position: String,
    /// How old its revocations were when it last reported.
    lag_ms: u64,
    /// Writes that it had not applied then.
    behind: u64,
}

/// The fleet.
#[derive(Serialize)]
pub struct VerifierList {
    verifiers: Vec<VerifierBody>,
}

/// Lists those that have been heard of lately: 200.
pub async fn list(State(state): State<Arc<AppState>>, caller: Caller) -> Result<axum::Json<VerifierList>, Problem> {
    caller.require(Role::Admin)?;
    let body = |verifier: Verifier| VerifierBody {
        id: verifier.id,
        version: verifier.version,
        started_at: Rfc3339(verifier.started_at),
        last_seen: Rfc3339(verifier.last_seen),
        position: verifier.position,
        lag_ms: verifier.lag_ms,
        behind: verifier.behind,
    };
    let verifiers = state.store.verifiers().await?;
    Ok(axum::Json(VerifierList { verifiers: verifiers.into_iter().map(body).collect() }))
}
