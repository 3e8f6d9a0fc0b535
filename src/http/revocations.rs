//! `/v1/revocations`: take links back, see what was taken back, give it back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::LOCATION;

use super::credentials::Caller;
use super::json::Json;
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::revocation_bodies::{
    CreateQuery, IssuedBeforeField, Key, ListParameters, RevocationBody, RevocationList, RevokeRequest,
};
use super::state::AppState;
use crate::clients::Role;
use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::mint::DEFAULT_COLLECTION;
use crate::revocation::{
    DEFAULT_PAGE, IssuedBefore, Kind, ListQuery, MAX_PAGE, MAX_REASON_BYTES, Proposal, RevocationId, Shortfall, Target,
    lift,
};
use crate::span::parse_span;
use crate::telemetry::DEED;
use crate::token::{Invalid, KeyId};

/// Where they stand: below it each by its id.
pub const PATH: &str = "/v1/revocations";
/// Longest `wait`: well below the time an API request may take.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Revoke
///
/// Answers once the revocation is stored and this process refuses by it; other verifiers follow within milliseconds.
/// A link minted after the answer works at once, unless the revocation is a standing block. Revoking twice makes two
/// entries and is no error: ask again whenever an answer was lost.
#[utoipa::path(
    post, path = "/v1/revocations", operation_id = "revoke", tag = tags::REVOCATIONS,
    security(("api_key" = ["revoke"])), params(CreateQuery), request_body = RevokeRequest,
    responses(
        (status = 201, description = "It is revoked.", body = RevocationBody,
            headers(("Location" = String, description = "Where the revocation stands: `/v1/revocations/{id}`.")),
            links(
                ("lookUp" = (operation_id = "findRevocation", parameters(("id" = "$response.body#/id")))),
                ("lift" = (operation_id = "reinstate", parameters(("id" = "$response.body#/id")))),
            )),
        problems::Revoking,
    )
)]
pub async fn create(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    query: Result<Query<CreateQuery>, QueryRejection>,
    Json(request): Json<RevokeRequest>,
) -> Result<impl IntoResponse, Problem> {
    let client = caller.require(Role::Revoke)?;
    let Query(query) = query.map_err(bad_query)?;
    let wait = query.wait.as_deref().map(parse_wait).transpose()?;
    let proposal = propose(&state, request, &client.name, state.clock.now().wall)?;
    let recorded = state.store.revoke(proposal, wait).await?;
    let revocation = &recorded.revocation;
    tracing::info!(target: DEED, id = %revocation.id, kind = %revocation.kind, by = revocation.created_by, "revoked");
    let location = format!("{PATH}/{}", revocation.id);
    if let Some(shortfall) = recorded.shortfall {
        let problem = Problem::new(ProblemKind::NotYetSafe);
        let problem = match shortfall {
            Shortfall::Replicas { wanted, reached } => problem
                .detail(format!(
                    "It is recorded and takes effect, but {reached} of the {wanted} replicas that must confirm it have \
                     done so: a failover right now could lose it. Ask again once they are back; revoking twice does no \
                     harm."
                ))
                .with("replicas", reached)
                .with("min_replicas", wanted),
            Shortfall::Quorum => problem.detail(
                "It is recorded and takes effect here, but no majority of the Sentinels names the Redis that took it: \
                 others may be following another one. Ask again once they do; revoking twice does no harm.",
            ),
        };
        let body = serde_json::to_value(RevocationBody::from(recorded)).unwrap_or_default();
        return Err(problem.with("revocation", body));
    }
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(RevocationBody::from(recorded))))
}

/// How long the answer may wait for the other verifiers.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    parse_span(text).filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
        Problem::new(ProblemKind::InvalidRequest)
            .detail(format!("`wait` must be a span of time up to {} s, such as `5s` or `500ms`.", MAX_WAIT.as_secs()))
            .with("field", "wait")
    })
}

fn propose(state: &AppState, request: RevokeRequest, created_by: &str, now: UnixMillis) -> Result<Proposal, Problem> {
    let invalid = |field: &str, detail: &str| {
        Problem::new(ProblemKind::InvalidRequest).detail(format!("`{field}` {detail}")).with("field", field.to_owned())
    };
    let leeway = state.signing.bounds.leeway;
    let kind = request.kind()?;
    if request.collection.is_some() && !matches!(kind, Kind::Path | Kind::PathPrefix) {
        return Err(invalid("collection", "goes with `path` and `path_prefix` only"));
    }
    let collection = request.collection.as_deref().unwrap_or(DEFAULT_COLLECTION);
    if matches!(kind, Kind::Path | Kind::PathPrefix) && !state.signing.collections.contains_key(collection) {
        return Err(invalid("collection", "names no collection that is configured here"));
    }
    let wrong = |error: Invalid| invalid(kind.as_str(), &error.to_string());
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut link_expiry = None;
    let target = match kind {
        Kind::Link => {
            let identified = state.signing.identify(&text(&request.link), now).ok_or_else(|| {
                invalid("link", "is no link of ours, or its signature does not hold; an id can be revoked without one")
            })?;
            link_expiry = Some(identified.expires_at);
            Target::Link(identified.id)
        }
        Kind::Id => Target::Link(text(&request.id).parse().map_err(wrong)?),
        Kind::Subject => Target::subject(&text(&request.subject)).map_err(wrong)?,
        Kind::Path => Target::path(collection, &text(&request.path)).map_err(wrong)?,
        Kind::PathPrefix => Target::folder(collection, &text(&request.path_prefix)).map_err(wrong)?,
        Kind::Client => Target::client(&text(&request.client)).map_err(wrong)?,
        Kind::Key => match &request.key {
            Some(Key::Number(id)) => Target::Key(KeyId(*id)),
            Some(Key::Text(id)) => {
                Target::Key(id.parse().map_err(|_| invalid("key", "must be a key id: a whole number"))?)
            }
            None => return Err(invalid("key", "must be a key id")),
        },
        Kind::Everything => Target::Everything,
    };
    let is_one_link = matches!(target, Target::Link(_));
    let issued_before = match (request.issued_before, kind) {
        (IssuedBeforeField::Time(_), _) if is_one_link => {
            return Err(invalid("issued_before", "does not go with `link` or `id`: a single link is revoked as it is"));
        }
        (IssuedBeforeField::Time(time), _) if time.0 > now.plus(leeway) => {
            let most = format!("must not lie further ahead than clocks may be wrong ({} ms)", leeway.as_millis());
            return Err(invalid("issued_before", &most));
        }
        (IssuedBeforeField::Time(time), _) => IssuedBefore::Time(time.0),
        (IssuedBeforeField::Missing, Kind::Subject | Kind::Client | Kind::Everything) => IssuedBefore::Now,
        (IssuedBeforeField::Null | IssuedBeforeField::Missing, _) => IssuedBefore::Always,
    };
    if request.expires_at.is_some_and(|end| end.0 <= now) {
        return Err(invalid("expires_at", "must lie in the future"));
    }
    if let Some(reason) = &request.reason
        && (reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control))
    {
        return Err(invalid("reason", &format!("must be at most {MAX_REASON_BYTES} bytes without control characters")));
    }
    Ok(Proposal {
        id: RevocationId::new(random()),
        kind,
        target,
        issued_before,
        expires_at: request.expires_at.map(|end| end.0),
        reason: request.reason,
        created_by: created_by.to_owned(),
        link_expiry,
    })
}

/// List revocations
///
/// Newest first, in pages. Entries that ended stay listed for a day.
#[utoipa::path(
    get, path = "/v1/revocations", operation_id = "listRevocations", tag = tags::REVOCATIONS,
    security(("api_key" = ["revoke"])), params(ListParameters),
    responses((status = 200, description = "A page of them.", body = RevocationList), problems::ListingPages)
)]
pub async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    parameters: Result<Query<ListParameters>, QueryRejection>,
) -> Result<axum::Json<RevocationList>, Problem> {
    caller.require(Role::Revoke)?;
    let Query(parameters) = parameters.map_err(bad_query)?;
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest).detail(detail);
    let kind = match parameters.kind.as_deref() {
        None => None,
        Some(text) => Some(Kind::parse(text).ok_or_else(|| {
            let names = Kind::ALL.map(Kind::as_str).join(", ");
            invalid(format!("`kind` must be one of {names}."))
        })?),
    };
    let limit = parameters.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("`limit` must be from 1 to {MAX_PAGE}.")));
    }
    let after = parameters
        .cursor
        .as_deref()
        .map(|cursor| cursor.parse().map_err(|error: Invalid| invalid(format!("`cursor` {error}."))))
        .transpose()?;
    let page = state.store.list(&ListQuery { kind, text: parameters.q, limit, after }).await?;
    Ok(axum::Json(RevocationList {
        revocations: page.revocations.into_iter().map(RevocationBody::new).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Look up a revocation
///
/// Answers one revocation by its id, as long as it lasts and for a day after.
#[utoipa::path(
    get, path = "/v1/revocations/{id}", operation_id = "findRevocation", tag = tags::REVOCATIONS,
    security(("api_key" = ["revoke"])),
    params(("id" = String, Path, description = "The revocation's id.", example = "rev_7NlDwkOlVTr1yXa5dTLJ2Q")),
    responses((status = 200, description = "The revocation.", body = RevocationBody), problems::Finding)
)]
pub async fn find(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<axum::Json<RevocationBody>, Problem> {
    caller.require(Role::Revoke)?;
    let revocation = state.store.find(&parse_id(id)?).await?.ok_or_else(unknown)?;
    Ok(axum::Json(RevocationBody::new(revocation)))
}

/// Lift a revocation
///
/// Its links work again, unless another revocation covers them or they are over.
#[utoipa::path(
    delete, path = "/v1/revocations/{id}", operation_id = "reinstate", tag = tags::REVOCATIONS,
    security(("api_key" = ["revoke"])),
    params(("id" = String, Path, description = "The revocation's id.", example = "rev_7NlDwkOlVTr1yXa5dTLJ2Q")),
    responses((status = 204, description = "It is lifted."), problems::Lifting)
)]
pub async fn reinstate(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let client = caller.require(Role::Revoke)?;
    let revocation = lift(&*state.store, &parse_id(id)?).await?.ok_or_else(unknown)?;
    tracing::info!(target: DEED, id = %revocation.id, kind = %revocation.kind, by = client.name, "reinstated");
    Ok(StatusCode::NO_CONTENT)
}

fn parse_id(id: Result<Path<String>, PathRejection>) -> Result<RevocationId, Problem> {
    id.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound).detail("There is no revocation of that id.")
}

fn bad_query(rejection: QueryRejection) -> Problem {
    Problem::new(ProblemKind::InvalidRequest).detail(rejection.body_text())
}
