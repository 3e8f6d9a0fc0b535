//! `/v1/clients`: who may call, and with which keys. A key is shown once, by the answer that made it.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::header::{ETAG, IF_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::client_bodies::{ClientList, CreateRequest, Created, KeyRequest, ListParameters, NewKey, Patch, PatchBody};
use super::credentials::Caller;
use super::json::Json;
use super::openapi::{problems, tags};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clients::{Administration, ChangeError, Client, ClientView, Condition, OPERATOR, Refusal, Role};
use crate::clock::Rfc3339;
use crate::revocation::{DEFAULT_PAGE, MAX_PAGE};
use crate::telemetry::DEED;

/// Where they stand: below it each by its name.
pub const PATH: &str = "/v1/clients";

/// List clients
///
/// In the order of their names, those of the configuration and those of the store.
#[utoipa::path(
    get, path = "/v1/clients", operation_id = "listClients", tag = tags::CLIENTS, security(("api_key" = ["admin"])), params(ListParameters),
    responses((status = 200, description = "A page of them.", body = ClientList), problems::ListingPages)
)]
pub async fn list(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    parameters: Result<Query<ListParameters>, QueryRejection>,
) -> Result<axum::Json<ClientList>, Problem> {
    caller.require(Role::Admin)?;
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest).detail(detail);
    let Query(parameters) = parameters.map_err(|rejection| invalid(rejection.body_text()))?;
    let limit = parameters.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("`limit` must be from 1 to {MAX_PAGE}.")).with("field", "limit"));
    }
    let mut clients = with(&state, &caller, async |administration| administration.list().await).await?;
    if let Some(cursor) = parameters.cursor {
        clients.retain(|client| client.name > cursor);
    }
    // Two of one name stay together, or the second would be passed over.
    let mut end = limit.min(clients.len());
    while end < clients.len() && end > 0 && clients[end].name == clients[end - 1].name {
        end += 1;
    }
    let has_more = end < clients.len();
    clients.truncate(end);
    let next_cursor = clients.last().filter(|_| has_more).map(|client| client.name.clone());
    Ok(axum::Json(ClientList { clients, next_cursor }))
}

/// Look up a client
///
/// Its roles, its policy, and each key with its id, age and last use.
#[utoipa::path(
    get, path = "/v1/clients/{name}", operation_id = "findClient", tag = tags::CLIENTS, security(("api_key" = ["admin"])), params(("name" = String, Path, description = "The client's name.", example = "backend")),
    responses((status = 200, description = "The client.", body = ClientView, headers(("ETag" = String, description = "Another one whenever roles, policy or keys are others."))), problems::Finding)
)]
pub async fn find(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    caller.require(Role::Admin)?;
    let name = segment(name)?;
    let client = with(&state, &caller, async |administration| administration.find(&name).await).await?;
    Ok(tagged(client))
}

/// Add a client
///
/// Its first key is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/v1/clients", operation_id = "addClient", tag = tags::CLIENTS, security(("api_key" = ["admin"])), request_body = CreateRequest,
    responses(
        (status = 201, description = "The client and its key.", body = Created, headers(("Location" = String, description = "Where it stands."), ("ETag" = String, description = "Another one whenever roles, policy or keys are others.")),
            links(
                ("lookUp" = (operation_id = "findClient", parameters(("name" = "$response.body#/name")))),
                ("change" = (operation_id = "changeClient", parameters(("name" = "$response.body#/name")))),
                ("rotate" = (operation_id = "addClientKey", parameters(("name" = "$response.body#/name")))),
                ("remove" = (operation_id = "removeClient", parameters(("name" = "$response.body#/name")))),
            )),
        problems::AddingClients,
    )
)]
pub async fn create(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    Json(request): Json<CreateRequest>,
) -> Result<impl IntoResponse, Problem> {
    let admin = caller.require(Role::Admin)?;
    let CreateRequest { name, roles, policy } = request;
    let policy = policy.unwrap_or_default();
    let made =
        with(&state, &caller, async |administration| administration.add(&name, roles.clone(), policy.clone()).await);
    let made = made.await?;
    took_up(&state, admin, &name, "added a client").await;
    let headers = [(LOCATION, header(format!("{PATH}/{name}"))), (ETAG, etag(&made.client))];
    let body = Created { client: made.client, key: made.key.expose().to_owned() };
    Ok((StatusCode::CREATED, headers, axum::Json(body)))
}

/// Change a client
///
/// By RFC 7396: what is in the patch replaces what was there, `null` gives back the default, what is left out stays. What
/// comes out must make sense as a whole.
#[utoipa::path(
    patch, path = "/v1/clients/{name}", operation_id = "changeClient", tag = tags::CLIENTS, security(("api_key" = ["admin"])),
    params(("name" = String, Path, description = "The client's name.", example = "backend"), ("If-Match" = Option<String>, Header, description = "The `ETag` of what was seen: refused when that has changed. `*` is any.")),
    request_body(content((PatchBody = "application/json"), (PatchBody = "application/merge-patch+json"))),
    responses((status = 200, description = "The client as it is now.", body = ClientView, headers(("ETag" = String, description = "Another one whenever roles, policy or keys are others."))), problems::ChangingClients)
)]
pub async fn patch(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    Patch(patch): Patch,
) -> Result<impl IntoResponse, Problem> {
    let admin = caller.require(Role::Admin)?;
    let (name, condition) = (segment(name)?, condition(&headers)?);
    let client =
        with(&state, &caller, async |administration| administration.patch(&name, &patch, &condition).await).await?;
    took_up(&state, admin, &name, "changed a client").await;
    Ok(tagged(client))
}

/// Give a client another key
///
/// Beside those it has, so that every machine can change over before the old ones are revoked; or in their place.
#[utoipa::path(
    post, path = "/v1/clients/{name}/keys", operation_id = "addClientKey", tag = tags::CLIENTS, security(("api_key" = ["admin"])),
    params(("name" = String, Path, description = "The client's name.", example = "backend"), ("If-Match" = Option<String>, Header, description = "The `ETag` of what was seen: refused when that has changed. `*` is any.")), request_body = KeyRequest,
    responses(
        (status = 201, description = "The key.", body = NewKey, headers(("Location" = String, description = "Where it stands."), ("ETag" = String, description = "Another one whenever roles, policy or keys are others.")),
            links(("revoke" = (
                operation_id = "revokeClientKey",
                parameters(("name" = "$response.body#/client"), ("id" = "$response.body#/id"))
            )))),
        problems::AddingKeys,
    )
)]
pub async fn add_key(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    Json(request): Json<KeyRequest>,
) -> Result<impl IntoResponse, Problem> {
    let admin = caller.require(Role::Admin)?;
    let (name, condition) = (segment(name)?, condition(&headers)?);
    let drops_old = request.drop_old.unwrap_or_default();
    let made = with(&state, &caller, async |administration| administration.add_key(&name, drops_old, &condition).await);
    let made = made.await?;
    took_up(&state, admin, &name, "gave a client a key").await;
    let created_at = made.client.keys.iter().find(|key| key.id == made.id).and_then(|key| key.created_at);
    let body = NewKey {
        client: name.clone(),
        created_at: created_at.unwrap_or(Rfc3339(state.clock.now().wall)),
        key: made.key.expose().to_owned(),
        id: made.id,
    };
    let location = header(format!("{PATH}/{name}/keys/{}", body.id));
    Ok((StatusCode::CREATED, [(LOCATION, location), (ETAG, etag(&made.client))], axum::Json(body)))
}

/// Revoke a key
///
/// This instance refuses it from now on, the others within a second or so. It may be the client's last.
#[utoipa::path(
    delete, path = "/v1/clients/{name}/keys/{id}", operation_id = "revokeClientKey", tag = tags::CLIENTS, security(("api_key" = ["admin"])),
    params(("name" = String, Path, description = "The client's name.", example = "backend"), ("id" = String, Path, description = "The key's id.", example = "5f8a01c3d2e4"), ("If-Match" = Option<String>, Header, description = "The `ETag` of what was seen: refused when that has changed. `*` is any.")),
    responses((status = 204, description = "It is refused."), problems::RemovingClients)
)]
pub async fn drop_key(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    names: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let admin = caller.require(Role::Admin)?;
    let Path((name, id)) = names.map_err(|_| nobody())?;
    let condition = condition(&headers)?;
    with(&state, &caller, async |administration| administration.drop_key(&name, &id, &condition).await).await?;
    took_up(&state, admin, &name, "revoked a key of a client").await;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a client
///
/// Its keys are refused; its links live on, see `client` of a revocation.
#[utoipa::path(
    delete, path = "/v1/clients/{name}", operation_id = "removeClient", tag = tags::CLIENTS, security(("api_key" = ["admin"])),
    params(("name" = String, Path, description = "The client's name.", example = "backend"), ("If-Match" = Option<String>, Header, description = "The `ETag` of what was seen: refused when that has changed. `*` is any.")),
    responses((status = 204, description = "It is gone."), problems::RemovingClients)
)]
pub async fn remove(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let admin = caller.require(Role::Admin)?;
    let (name, condition) = (segment(name)?, condition(&headers)?);
    with(&state, &caller, async |administration| administration.remove(&name, &condition).await).await?;
    took_up(&state, admin, &name, "removed a client").await;
    Ok(StatusCode::NO_CONTENT)
}

async fn with<T>(
    state: &AppState,
    caller: &Caller,
    work: impl AsyncFnOnce(&Administration<'_>) -> Result<T, ChangeError>,
) -> Result<T, Problem> {
    let configured = state.clients.configured();
    let administration = Administration {
        store: &*state.client_store,
        configured: &configured,
        is_collection: &|name| state.signing.collections.contains_key(name),
        is_provider: &|name| state.logins.has_name(name),
        is_operator: caller.0.keys.is_empty() && caller.0.policy.subject.is_none() && caller.0.name == OPERATOR,
        seen: state.clients.uses(),
        now: state.clock.now().wall,
    };
    Ok(work(&administration).await?)
}

/// What was answered counts here from now on; other instances look every second.
async fn took_up(state: &AppState, admin: &Client, client: &str, what: &str) {
    tracing::info!(target: DEED, client, by = admin.name, "{what}");
    if let Err(error) = state.refresh_clients().await {
        tracing::warn!(%error, "a change of clients takes effect once the store can be read again");
    }
}

fn tagged(client: ClientView) -> impl IntoResponse {
    ([(ETAG, etag(&client))], axum::Json(client))
}

fn etag(client: &ClientView) -> HeaderValue {
    header(format!("\"{}\"", client.tag))
}

/// Names of clients and ids of keys are plain ASCII.
fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// RFC 9110, section 13.1.1. A weak tag never matches.
fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Condition::Any);
        }
        for tag in text.split(',').map(str::trim) {
            let (is_weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |tag| (true, tag));
            let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(|| {
                Problem::new(ProblemKind::InvalidRequest)
                    .detail("`If-Match` must be `*` or a list of entity tags, each in quotes.")
                    .with("field", "If-Match")
            })?;
            if !is_weak {
                tags.push(opaque.to_owned());
            }
        }
    }
    Ok(if headers.contains_key(IF_MATCH) { Condition::Tagged(tags) } else { Condition::Any })
}

fn segment(name: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|_| nobody())
}

fn nobody() -> Problem {
    Problem::new(ProblemKind::NotFound).detail("There is no client of that name.")
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let refusal = match error {
            ChangeError::Store(error) => return error.into(),
            ChangeError::Refused(refusal) => refusal,
        };
        let kind = match refusal {
            Refusal::Exists(_) | Refusal::ProvidersName(_) => ProblemKind::ClientExists,
            Refusal::Unknown(_) => return nobody(),
            Refusal::UnknownKey(_) => ProblemKind::NotFound,
            Refusal::ReadOnly(_) => ProblemKind::ClientReadOnly,
            Refusal::LastAdmin(_) => ProblemKind::LastAdmin,
            Refusal::Changed(_) => ProblemKind::PreconditionFailed,
            Refusal::TooManyKeys(_) | Refusal::NoSuchCollection(_) | Refusal::Patch(_) | Refusal::Record(_) => {
                ProblemKind::InvalidRequest
            }
        };
        let field = match &refusal {
            Refusal::NoSuchCollection(_) => Some("policy.collections".to_owned()),
            Refusal::Record(error) => error.field(),
            _ => None,
        };
        let problem = Self::new(kind).detail(refusal.to_string());
        match field {
            Some(field) => problem.with("field", field),
            None => problem,
        }
    }
}
