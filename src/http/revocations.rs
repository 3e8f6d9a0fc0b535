//! `/v1/revocations`: take links back, see what was taken back, give it back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::credentials::Caller;
use super::json::Json;
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::Role;
use crate::clock::{Rfc3339, UnixMillis};
use crate::entropy::random;
use crate::mint::DEFAULT_COLLECTION;
use crate::revocation::{
    Applied, DEFAULT_PAGE, IssuedBefore, Kind, ListQuery, MAX_PAGE, MAX_REASON_BYTES, Proposal, Recorded, Revocation,
    RevocationId, Shortfall, Target,
};
use crate::span::parse_span;
use crate::token::{Invalid, KeyId};

/// What to take back: exactly one of the first eight fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// One link: its URL or token.
    link: Option<String>,
    /// One link, by its id. Nobody needs to have seen it.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    id: Option<String>,
    /// All links of a subject.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    subject: Option<String>,
    /// All links to a file.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f]+(/[^/\\\u0000-\u001f\u007f-\u009f]+)*$"
    )]
    path: Option<String>,
    /// All links to files below a folder. Ends with `/`; `/` alone is the whole collection.
    #[schema(min_length = 1, max_length = 1025, pattern = "/$")]
    path_prefix: Option<String>,
    /// All links made by a client.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    client: Option<String>,
    /// All links signed with a key, by its number.
    #[schema(value_type = Option<KeyId>)]
    key: Option<Key>,
    /// All links.
    everything: Option<bool>,
    /// Goes with `path` and `path_prefix`; `image` when left out.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    collection: Option<String>,
    /// Only links issued before this time are refused. `null` refuses them whenever issued: a standing block, under
    /// which no new link can be made (409). When left out, it is now for `subject`, `client` and `everything`, and
    /// `null` for all others. Not for `link` and `id`.
    #[serde(default)]
    #[schema(value_type = Option<Rfc3339>)]
    issued_before: IssuedBeforeField,
    /// When the revocation ends by itself, within a second or so. Otherwise it lasts as long as the last link it can
    /// match, and a standing block until it is lifted.
    expires_at: Option<Rfc3339>,
    /// A note for people: at most 500 bytes without control characters.
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    reason: Option<String>,
}

/// A key id, as a number or as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Key {
    Number(u32),
    Text(String),
}

/// `issued_before`, where `null` is not the same as nothing at all.
#[derive(Debug, Default)]
enum IssuedBeforeField {
    #[default]
    Missing,
    Null,
    Time(Rfc3339),
}

impl<'de> Deserialize<'de> for IssuedBeforeField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Time))
    }
}

/// A revocation, as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revocation)]
pub struct RevocationBody {
    /// Names it for looking it up and lifting it.
    #[schema(examples("rev_7NlDwkOlVTr1yXa5dTLJ2Q"))]
    id: String,
    /// The field that named the target.
    kind: Kind,
    /// What is taken back; `*` for everything.
    target: String,
    /// The collection of `path` and `path_prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    collection: Option<String>,
    /// Only links issued before this time are refused; `null` refuses them whenever issued.
    #[schema(required = true)]
    issued_before: Option<Rfc3339>,
    /// When it was recorded.
    created_at: Rfc3339,
    /// The client that asked for it.
    created_by: String,
    /// When it ends by itself; `null` for a standing block, which lasts until it is lifted.
    #[schema(required = true)]
    expires_at: Option<Rfc3339>,
    /// The note that was given.
    #[schema(required = true)]
    reason: Option<String>,
    /// Tells what was recorded later; opaque. Only in the answer to revoking.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    position: Option<String>,
    /// What it survives: `memory` (the end of any Linkgate, not the sudden end of Redis), `disk` (that, too) or
    /// `replicated(2)` (the loss of Redis' machine; so many replicas have it). Only in the answer to revoking.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("disk"))]
    durability: Option<String>,
    /// Who has applied it. Only in the answer to revoking with `wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    applied: Option<Applied>,
}

impl RevocationBody {
    fn new(revocation: Revocation) -> Self {
        Self {
            id: revocation.id.to_string(),
            kind: revocation.kind,
            target: revocation.target.to_string(),
            collection: revocation.target.collection().map(str::to_owned),
            issued_before: revocation.issued_before.map(Rfc3339),
            created_at: Rfc3339(revocation.created_at),
            created_by: revocation.created_by,
            expires_at: revocation.expires_at.map(Rfc3339),
            reason: revocation.reason,
            position: None,
            durability: None,
            applied: None,
        }
    }
}

impl From<Recorded> for RevocationBody {
    fn from(recorded: Recorded) -> Self {
        Self {
            position: Some(recorded.position),
            durability: Some(recorded.durability.to_string()),
            applied: recorded.applied,
            ..Self::new(recorded.revocation)
        }
    }
}

/// Longest `wait`: well below the time an API request may take.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// What may stand behind the question mark when revoking.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    /// Answer once every verifier that is alive has applied it, or this span of time is over: up to `20s`. How that went
    /// stands in the answer as `applied`.
    #[param(nullable = false, pattern = "^[0-9]+(ms|s)$", example = "5s")]
    wait: Option<String>,
}

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
    let now = state.clock.now().wall;
    let proposal = propose(&state, request, &client.name, now)?;
    let covers_now = proposal.issued_before == IssuedBefore::Now;
    let mut revocation = proposal.into_revocation(RevocationId::new(random()), now, state.signing.bounds);
    if covers_now {
        // A link minted just after an earlier cut-off counts as issued just past it: reach beyond that one, too.
        let near = now.plus(state.signing.bounds.leeway * 2).0;
        let member = revocation.target.member();
        let earlier = state.consult(|view| view.cut_off(member.as_bytes())).await?;
        if let Some(earlier) = earlier.filter(|earlier| *earlier <= near) {
            revocation.score = revocation.score.max(earlier + 1);
        }
    }
    let recorded = state.store.revoke(revocation, wait).await?;
    let revocation = &recorded.revocation;
    tracing::info!(id = %revocation.id, kind = %revocation.kind, by = revocation.created_by, "revoked");
    let location = format!("/v1/revocations/{}", revocation.id);
    if let Some(Shortfall { wanted, reached }) = recorded.shortfall {
        let detail = format!(
            "It is recorded and takes effect, but {reached} of the {wanted} replicas that must confirm it have done so: \
             a failover right now could lose it. Ask again once they are back; revoking twice does no harm."
        );
        let body = serde_json::to_value(RevocationBody::from(recorded)).unwrap_or_default();
        return Err(Problem::new(ProblemKind::NotYetSafe)
            .detail(detail)
            .with("replicas", reached)
            .with("min_replicas", wanted)
            .with("revocation", body));
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
        kind,
        target,
        issued_before,
        expires_at: request.expires_at.map(|end| end.0),
        reason: request.reason,
        created_by: created_by.to_owned(),
        link_expiry,
    })
}

impl RevokeRequest {
    /// Which of the eight fields is there.
    fn kind(&self) -> Result<Kind, Problem> {
        let fields = [
            (Kind::Link, self.link.is_some()),
            (Kind::Id, self.id.is_some()),
            (Kind::Subject, self.subject.is_some()),
            (Kind::Path, self.path.is_some()),
            (Kind::PathPrefix, self.path_prefix.is_some()),
            (Kind::Client, self.client.is_some()),
            (Kind::Key, self.key.is_some()),
            (Kind::Everything, self.everything == Some(true)),
        ];
        let mut named = fields.into_iter().filter(|(_, is_there)| *is_there);
        match (named.next(), named.next(), self.everything) {
            (Some((kind, _)), None, None | Some(true)) => Ok(kind),
            _ => Err(Problem::new(ProblemKind::InvalidRequest).detail(
                "Give exactly one of `link`, `id`, `subject`, `path`, `path_prefix`, `client`, `key`, or `everything`: true.",
            )),
        }
    }
}

/// Which revocations to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    /// Only those whose target was named by this field.
    #[param(value_type = Option<Kind>, nullable = false)]
    kind: Option<String>,
    /// Text that target, reason, creator or id must contain; case does not matter.
    #[param(nullable = false, example = "user-42")]
    q: Option<String>,
    /// Most entries on the page.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// A page of revocations.
#[derive(Serialize, ToSchema)]
pub struct RevocationList {
    /// Newest first. A page may be short, even empty, and still have a `next_cursor`.
    revocations: Vec<RevocationBody>,
    /// The `cursor` of the next page; without one there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
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
    let revocation = state.store.reinstate(&parse_id(id)?).await?.ok_or_else(unknown)?;
    tracing::info!(id = %revocation.id, kind = %revocation.kind, by = client.name, "reinstated");
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
