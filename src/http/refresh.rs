//! `POST /v1/links/refresh`: new links for old ones, so that nothing breaks on screen.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::credentials::Caller;
use super::issuing::issue;
use super::json::Json;
use super::links::{BatchResult, BatchResults, check_size, ready};
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::rates::{admit_links, subject};
use super::state::AppState;
use crate::clients::Role;
use crate::mint::{Owner, RefreshError};
use crate::revocation::RevocationView;

/// The old links, and the life of the new ones.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// The old links: URLs or tokens.
    #[schema(min_items = 1, max_items = 1000)]
    links: Vec<String>,
    /// Life of the new links in seconds, where it is not to be that of the old ones.
    #[schema(minimum = 1)]
    expires_in: Option<u64>,
}

/// Refresh links
///
/// New links for up to 1000 old ones, in their order, each a link or a problem. A new link asks for all that the old one
/// did; the old one may have ended, as long ago as `links.refresh_grace` allows. Only the client that made a link can
/// refresh it, not a later one of its name, and only if its policy still allows it.
#[utoipa::path(
    post, path = "/v1/links/refresh", operation_id = "refreshLinks", tag = tags::LINKS, security(("api_key" = ["mint"])),
    request_body = RefreshRequest,
    responses((status = 200, description = "What became of each.", body = BatchResults), problems::MintingMany)
)]
pub async fn refresh(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(request): Json<RefreshRequest>,
) -> Result<axum::Json<BatchResults>, Problem> {
    let client = caller.require(Role::Mint)?;
    ready(&state).await?;
    check_size(request.links.len())?;
    let now = state.clock.now().wall;
    // Whom the old links are for takes some looking.
    let has_subjects = client.rates.subject_links.is_some();
    let known = |link: &String| has_subjects.then(|| state.signing.subject_of(link, now))?;
    let subjects: Vec<Option<String>> = request.links.iter().map(known).collect();
    admit_links(&state, client, subjects.iter().map(|known| subject(client, known.as_deref())))?;
    let who = Owner { client: &client.name, policy: &client.policy, since: client.created_at };
    let refresh_all = |revocations: &dyn RevocationView, dates| -> Vec<_> {
        let (life, grace) = (request.expires_in, state.refresh_grace);
        let refresh = |link: &String| state.signing.refresh(link, who, life, grace, revocations, dates);
        request.links.iter().map(refresh).collect()
    };
    let refreshed = issue(&state, refresh_all).await?;
    Ok(axum::Json(BatchResults { results: refreshed.into_iter().map(BatchResult::of).collect() }))
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        let kind = match error {
            RefreshError::Invalid(_) => ProblemKind::InvalidLink,
            RefreshError::Foreign | RefreshError::Predecessor => ProblemKind::OutsidePolicy,
            RefreshError::LongExpired(_) => ProblemKind::Expired,
            RefreshError::Revoked(_) => ProblemKind::Revoked,
            RefreshError::Counted => ProblemKind::InvalidRequest,
            RefreshError::Mint(error) => return error.into(),
        };
        Self::new(kind).detail(error.to_string())
    }
}
