//! `GET /v1/verifiers`: the fleet, and how far each of it has come.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::credentials::Caller;
use super::openapi::{problems, tags};
use super::problem::Problem;
use super::state::AppState;
use crate::clients::Role;
use crate::clock::Rfc3339;
use crate::revocation::Verifier;

/// One verifier, as it is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = Verifier)]
struct VerifierBody {
    /// Its name, made anew at each start.
    #[schema(examples("edge-7-Vk3mQx1a"))]
    id: String,
    /// The version of Linkgate it runs.
    #[schema(examples("0.1.0"))]
    version: String,
    /// When it was started.
    started_at: Rfc3339,
    /// When it last reported, by the store's clock.
    last_seen: Rfc3339,
    /// Up to which write it had applied everything then; opaque.
    position: String,
    /// How old its revocations were when it last reported.
    lag_ms: u64,
    /// Writes that it had not applied then.
    behind: u64,
}

/// The fleet.
#[derive(Serialize, ToSchema)]
pub struct VerifierList {
    /// Every verifier that was heard of within the last ten seconds.
    verifiers: Vec<VerifierBody>,
}

/// List the fleet
///
/// Every verifier that was heard of within the last ten seconds, and how far it has come. Verifiers that ask Redis each
/// time (`mode = "direct"`) have nothing to apply and are not listed.
#[utoipa::path(
    get, path = "/v1/verifiers", operation_id = "listVerifiers", tag = tags::FLEET, security(("api_key" = ["admin"])),
    responses((status = 200, description = "The fleet.", body = VerifierList), problems::Listing)
)]
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
