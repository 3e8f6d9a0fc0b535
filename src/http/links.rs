//! `POST /v1/links`, `/v1/links/batch`, `/v1/links/inspect`.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::credentials::Caller;
use super::issuing::issue;
use super::json::{Json, parse};
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::rates::{Visit, admit_links, subject};
use super::revocation_bodies::RevocationBody;
use super::state::AppState;
use crate::clients::{Client, Role};
use crate::clock::UnixMillis;
use crate::inspect::{Contents, Inspection};
use crate::mint::{Awaits, Dates, Link, MAX_BATCH, MintError, MintRequest};
use crate::revocation::{Informed, RevocationView};
use crate::token::MintRefusal;

/// Make a link
///
/// Every call makes a new link, unless it is to be `stable`. Whether the file is there is found out by the download. `refresh_after` is when an app
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
    Extension(visit): Extension<Visit>,
    Json(request): Json<MintRequest>,
) -> Result<impl IntoResponse, Problem> {
    let client = caller.require(Role::Mint)?;
    ready(&state).await?;
    let asked_for = subject(client, request.subject.as_deref());
    visit.for_subject(asked_for);
    admit_links(&state, client, std::iter::once(asked_for))?;
    let mint = |revocations: &dyn RevocationView, dates| mint_one(&state, client, &request, revocations, dates);
    let link = issue(&state, mint).await??;
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

impl Batch {
    /// The requests, each for itself.
    pub fn requests(&self) -> Vec<Result<MintRequest, Problem>> {
        self.links.iter().map(|item| parse(item.get().as_bytes())).collect()
    }
}

/// What became of the items, in their order.
#[derive(Serialize, ToSchema)]
pub struct BatchResults {
    /// As many as there were requests, in their order.
    #[schema(min_items = 1, max_items = 1000)]
    pub results: Vec<BatchResult>,
}

/// What became of one: a link, or why there is none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchResult {
    Link(Box<Link>),
    #[schema(value_type = problems::ProblemBody)]
    Problem(Value),
}

impl BatchResult {
    /// A link, or why there is none.
    pub fn of(made: Result<Link, impl Into<Problem>>) -> Self {
        match made {
            Ok(link) => Self::Link(Box::new(link)),
            Err(why) => Self::Problem(why.into().to_json()),
        }
    }
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
    check_size(batch.links.len())?;
    let requests = batch.requests();
    let asked_for = requests.iter().map(|request| subject(client, request.as_ref().ok()?.subject.as_deref()));
    admit_links(&state, client, asked_for)?;
    let mint_all = |revocations: &dyn RevocationView, dates| -> Vec<_> {
        let mint = |request: &Result<MintRequest, Problem>| {
            let request = request.as_ref().map_err(|problem| Unmade::from(problem.clone()))?;
            mint_one(&state, client, request, revocations, dates)
        };
        requests.iter().map(mint).collect()
    };
    let minted = issue(&state, mint_all).await?;
    Ok(axum::Json(BatchResults { results: minted.into_iter().map(BatchResult::of).collect() }))
}

/// Whether a batch is neither empty nor too large.
pub fn check_size(items: usize) -> Result<(), Problem> {
    if (1..=MAX_BATCH).contains(&items) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::InvalidRequest)
        .detail(format!("`links` must hold 1 to {MAX_BATCH} items."))
        .with("field", "links"))
}

/// What is to be inspected.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectRequest {
    /// A link's URL or its token.
    link: String,
}

/// What there is to say about a link, and the revocations that cover it.
#[derive(Serialize, ToSchema)]
pub struct InspectAnswer {
    #[serde(flatten)]
    inspection: Inspection,
    /// The revocations that cover it, with their notes and authors. Not for logins, who see `revoked_by` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    revocations: Vec<RevocationBody>,
}

/// What a caller is answered: what staff wrote about a link is for staff, so a login's answer has no place for it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Inspected {
    ForStaff(Box<InspectAnswer>),
    ForLogin(Box<Inspection>),
}

/// Inspect a link
///
/// Says what a link holds and how a download would be judged now, from one of the link's networks if it is bound to any.
/// The answer is 200 whatever the link is worth; looking takes no download. Of a link whose signature does not hold,
/// nothing is said about what it claims to hold. A login sees its own links only, and of what covers them only
/// the kind (`revoked_by`).
#[utoipa::path(
    post, path = "/v1/links/inspect", operation_id = "inspectLink", tag = tags::LINKS,
    security(("api_key" = ["inspect"])), request_body = InspectRequest,
    responses((status = 200, description = "What there is to say about it.", body = InspectAnswer), problems::Inspecting)
)]
pub async fn inspect(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(request): Json<InspectRequest>,
) -> Result<axum::Json<Inspected>, Problem> {
    let client = caller.require(Role::Inspect)?;
    let now = state.clock.now();
    let inspect = |view: &dyn RevocationView, tally| {
        let informed = Informed { view, tally };
        state.signing.inspect(&request.link, &informed, state.staleness, (now, state.latest_issue(now)))
    };
    let mut inspection = state.consult(|view| inspect(view, None)).await?;
    let is_foreign = |contents: &Contents| !client.may_see(&contents.client, contents.subject.as_deref());
    if inspection.contents.as_ref().is_some_and(is_foreign) {
        return Err(
            Problem::new(ProblemKind::OutsidePolicy).detail("A login may inspect links of its own subject only.")
        );
    }
    if let Some(counted) = inspection.counted_download() {
        let tally = state.store.count(&counted).await.ok();
        inspection = state.consult(|view| inspect(view, tally)).await?;
    }
    if client.is_login() {
        return Ok(axum::Json(Inspected::ForLogin(Box::new(inspection))));
    }
    let revocations = covering(&state, &inspection).await;
    Ok(axum::Json(Inspected::ForStaff(Box::new(InspectAnswer { inspection, revocations }))))
}

/// The revocations that cover a link, as far as the store can be asked.
async fn covering(state: &AppState, inspection: &Inspection) -> Vec<RevocationBody> {
    let Some(contents) = inspection.contents.as_ref().filter(|contents| contents.revoked_by.is_some()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for target in contents.targets() {
        match state.store.strictest(&target).await {
            Ok(Some(revocation)) if revocation.covers(contents.issued_at.0) => {
                found.push(RevocationBody::new(revocation));
            }
            Ok(_) => {}
            // That it is revoked is known; by what is worth nobody's waiting.
            Err(_) => break,
        }
    }
    found
}

/// Without knowing what is revoked, nothing is minted that may be.
pub async fn ready(state: &AppState) -> Result<(), Problem> {
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
    dates: Dates,
) -> Result<Link, Unmade> {
    state.signing.mint(request, &client.name, &client.policy, revocations, dates).map_err(|error| Unmade {
        awaited: error.awaits(UnixMillis(u64::MAX)),
        problem: match error {
            MintError::Refused(refusal @ (MintRefusal::AlreadyOver | MintRefusal::LifetimeTooLong(_)))
                if request.expires_at.is_some() =>
            {
                Problem::from(refusal).with("field", "expires_at")
            }
            other => other.into(),
        },
    })
}

/// Why there is no link, and the issue time that stands in its way where one does.
struct Unmade {
    problem: Problem,
    awaited: Option<UnixMillis>,
}

impl Awaits for Unmade {
    fn awaits(&self, most: UnixMillis) -> Option<UnixMillis> {
        self.awaited.filter(|date| *date <= most)
    }
}

impl From<Problem> for Unmade {
    fn from(problem: Problem) -> Self {
        Self { problem, awaited: None }
    }
}

impl From<Unmade> for Problem {
    fn from(unmade: Unmade) -> Self {
        unmade.problem
    }
}

impl From<MintError> for Problem {
    fn from(error: MintError) -> Self {
        let detail = error.to_string();
        let invalid = |field: &str| Self::new(ProblemKind::InvalidRequest).detail(detail.clone()).with("field", field);
        match error {
            MintError::UnknownCollection => invalid("collection"),
            MintError::TwoExpiries => invalid("expires_at"),
            MintError::Network(_) => invalid("client_networks"),
            MintError::TooLong => Self::new(ProblemKind::InvalidRequest).detail(detail),
            MintError::Covered(kind) | MintError::Ahead { kind, .. } => {
                Self::new(ProblemKind::AlreadyRevoked).detail(detail).with("kind", kind.as_str())
            }
            MintError::Refused(refusal) => refusal.into(),
        }
    }
}
