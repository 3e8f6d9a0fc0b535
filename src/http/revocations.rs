//! `/v1/revocations`: take links back, see what was taken back, give it back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Deserializer, Serialize};

use super::credentials::Caller;
use super::json::Json;
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::Role;
use crate::clock::{Rfc3339, UnixMillis};
use crate::entropy::random;
use crate::mint::DEFAULT_COLLECTION;
use crate::revocation::{
    Applied, DEFAULT_PAGE, IssuedBefore, Kind, ListQuery, MAX_PAGE, MAX_REASON_BYTES, Proposal, Recorded, Revocation,
    RevocationId, Shortfall, Target, lift,
};
use crate::span::parse_span;
use crate::token::{Invalid, KeyId};

/// A revocation, as it stands in JSON: exactly one of the first eight fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    link: Option<String>,
    id: Option<String>,
    subject: Option<String>,
    path: Option<String>,
    path_prefix: Option<String>,
    client: Option<String>,
    key: Option<Key>,
    everything: Option<bool>,
    collection: Option<String>,
    #[serde(default)]
    issued_before: IssuedBeforeField,
    expires_at: Option<Rfc3339>,
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
#[derive(Debug, Serialize)]
pub struct RevocationBody {
    id: String,
    kind: Kind,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<String>,
    issued_before: Option<Rfc3339>,
    created_at: Rfc3339,
    created_by: String,
    expires_at: Option<Rfc3339>,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Applied>,
}

impl RevocationBody {
    /// A revocation as people see it.
    pub fn new(revocation: Revocation) -> Self {
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    wait: Option<String>,
}

/// Revokes: 201, once the store has it and this process judges by it.
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    kind: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of revocations.
#[derive(Serialize)]
pub struct RevocationList {
    revocations: Vec<RevocationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Lists, newest first: 200.
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

/// One revocation: 200, or 404.
pub async fn find(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<axum::Json<RevocationBody>, Problem> {
    caller.require(Role::Revoke)?;
    let revocation = state.store.find(&parse_id(id)?).await?.ok_or_else(unknown)?;
    Ok(axum::Json(RevocationBody::new(revocation)))
}

/// Lifts one: 204, or 404.
pub async fn reinstate(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let client = caller.require(Role::Revoke)?;
    let (id, now, bounds) = (parse_id(id)?, state.clock.now().wall, state.signing.bounds);
    let revocation = lift(&*state.store, &id, now, bounds).await?.ok_or_else(unknown)?;
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
