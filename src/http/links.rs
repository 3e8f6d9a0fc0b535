//! `POST /v1/links`, `/v1/links/batch`, `/v1/links/inspect`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::credentials::Caller;
use super::json::{Json, parse};
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::{Client, Role};
use crate::clock::UnixMillis;
use crate::inspect::Inspection;
use crate::mint::{Link, MAX_BATCH, MintError, MintRequest};
use crate::revocation::{Informed, RevocationView};
use crate::token::MintRefusal;

/// Make a link
///
/// Every call makes a new link. Whether the file is there is found out by the download. `refresh_after` is when an app
/// should ask for a new link, so that a picture never breaks on screen.
#[utoipa::path(
    post, path = "/v1/links", operation_id = "mintLink", tag = tags::LINKS, security(("api_key" = ["mint"])),
    request_body = MintRequest,
    responses(
        (status = 201, description = "The link.", body = Link,
            links(
                ("download" = (
                    operation_id = "download",
                    parameters(("collection" = "$response.body#/collection"), ("token" = "$response.body#/token"))
                )),
                ("inspect" = (operation_id = "inspectLink", request_body = json!({ "link": "$response.body#/url" }))),
                ("revoke" = (operation_id = "revoke", request_body = json!({ "id": "$response.body#/id" }))),
            )),
        problems::Minting,
    )
)]
pub async fn mint(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(request): Json<MintRequest>,
) -> Result<impl IntoResponse, Problem> {
    let client = caller.require(Role::Mint)?;
    ready(&state).await?;
    let now = state.clock.now().wall;
    let minted = state.consult(|revocations| mint_one(&state, client, &request, revocations, now)).await?;
    let link = minted?;
    Ok((StatusCode::CREATED, axum::Json(link)))
}

/// Many requests at once. They are read one by one, so that a bad one does not spoil the rest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// What is asked for, each item as for a single link.
    #[schema(value_type = Vec<MintRequest>, min_items = 1, max_items = 1000)]
    links: Vec<Box<RawValue>>,
}

/// What became of the items, in their order.
#[derive(Serialize, ToSchema)]
pub struct BatchResults {
    /// As many as there were requests, in their order.
    #[schema(min_items = 1, max_items = 1000)]
    results: Vec<BatchResult>,
}

/// What became of one: a link, or why there is none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchResult {
    Link(Box<Link>),
    #[schema(value_type = problems::ProblemBody)]
    Problem(Value),
}

/// Make many links
///
/// Up to 1000 in one go. The results stand in the order of the requests, each a link or a problem: one that is refused
/// spoils no other.
#[utoipa::path(
    post, path = "/v1/links/batch", operation_id = "mintLinks", tag = tags::LINKS, security(("api_key" = ["mint"])),
    request_body = Batch,
    responses((status = 200, description = "What became of each.", body = BatchResults), problems::MintingMany)
)]
pub async fn batch(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(batch): Json<Batch>,
) -> Result<axum::Json<BatchResults>, Problem> {
    let client = caller.require(Role::Mint)?;
    ready(&state).await?;
    if batch.links.is_empty() || batch.links.len() > MAX_BATCH {
        return Err(Problem::new(ProblemKind::InvalidRequest)
            .detail(format!("`links` must hold 1 to {MAX_BATCH} requests."))
            .with("field", "links"));
    }
    let now = state.clock.now().wall;
    let mint = |item: &RawValue, revocations: &dyn RevocationView| {
        let request: MintRequest = parse(item.get().as_bytes())?;
        mint_one(&state, client, &request, revocations, now)
    };
    let mint_all = |revocations: &dyn RevocationView| {
        let results = batch.links.iter().map(|item| match mint(item, revocations) {
            Ok(link) => BatchResult::Link(Box::new(link)),
            Err(problem) => BatchResult::Problem(problem.to_json()),
        });
        results.collect()
    };
    Ok(axum::Json(BatchResults { results: state.consult(mint_all).await? }))
}

/// What is to be inspected.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectRequest {
    /// A link's URL or its token.
    link: String,
}

/// Inspect a link
///
/// Says what a link holds and how a download would be judged now, from one of the link's networks if it is bound to any.
/// The answer is 200 whatever the link is worth; looking takes no download. Of a link whose signature does not hold,
/// nothing is said about what it claims to hold.
#[utoipa::path(
    post, path = "/v1/links/inspect", operation_id = "inspectLink", tag = tags::LINKS,
    security(("api_key" = ["inspect"])), request_body = InspectRequest,
    responses((status = 200, description = "What there is to say about it.", body = Inspection), problems::Inspecting)
)]
pub async fn inspect(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(request): Json<InspectRequest>,
) -> Result<axum::Json<Inspection>, Problem> {
    caller.require(Role::Inspect)?;
    let now = state.clock.now();
    let inspect = |view: &dyn RevocationView, tally| {
        let informed = Informed { view, tally };
        state.signing.inspect(&request.link, &informed, state.staleness, now)
    };
    let inspection = state.consult(|view| inspect(view, None)).await?;
    let Some(counted) = inspection.counted_download() else { return Ok(axum::Json(inspection)) };
    let tally = state.store.count(&counted).await.ok();
    Ok(axum::Json(state.consult(|view| inspect(view, tally)).await?))
}

/// Without knowing what is revoked, nothing is minted that may be.
async fn ready(state: &AppState) -> Result<(), Problem> {
    // Why is for operators: /readyz says it.
    state.judges().await.map_err(|_| {
        Problem::new(ProblemKind::CannotJudge).detail("What is revoked is not known right now. Ask again later.")
    })
}

fn mint_one(
    state: &AppState,
    client: &Client,
    request: &MintRequest,
    revocations: &dyn RevocationView,
    now: UnixMillis,
) -> Result<Link, Problem> {
    state.signing.mint(request, &client.name, &client.policy, revocations, now).map_err(|error| match error {
        MintError::Refused(refusal @ (MintRefusal::AlreadyOver | MintRefusal::LifetimeTooLong(_)))
            if request.expires_at.is_some() =>
        {
            Problem::from(refusal).with("field", "expires_at")
        }
        other => other.into(),
    })
}

impl From<MintError> for Problem {
    fn from(error: MintError) -> Self {
        let detail = error.to_string();
        let invalid = |field: &str| Self::new(ProblemKind::InvalidRequest).detail(detail.clone()).with("field", field);
        match error {
            MintError::NotSupportedYet(field) => {
                Self::new(ProblemKind::NotSupportedYet).detail(detail).with("field", field)
            }
            MintError::UnknownCollection => invalid("collection"),
            MintError::TwoExpiries => invalid("expires_at"),
            MintError::Network(_) => invalid("client_networks"),
            MintError::TooLong => Self::new(ProblemKind::InvalidRequest).detail(detail),
            MintError::Covered(kind) => {
                Self::new(ProblemKind::AlreadyRevoked).detail(detail).with("kind", kind.as_str())
            }
            MintError::Refused(refusal) => refusal.into(),
        }
    }
}
