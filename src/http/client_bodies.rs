//! Clients in JSON: what is asked for, and what is answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequest;
use http::Request;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::json;
use super::problem::Problem;
use super::state::AppState;
use crate::bounded;
use crate::clients::{ClientPatch, ClientView, MAX_NAMED, PatchShape, PolicyRecord, Role};
use crate::clock::Rfc3339;

/// Which clients to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100, nullable = false)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    pub cursor: Option<String>,
}

/// A page of clients.
#[derive(Serialize, ToSchema)]
pub struct ClientList {
    /// In the order of their names.
    pub clients: Vec<ClientView>,
    /// Where the next page begins; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// A new client.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientRequest)]
pub struct CreateRequest {
    /// What it is called; stands in every link it makes and in each of its keys.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    /// What it may do.
    #[serde(deserialize_with = "bounded::list::<MAX_NAMED, _, _>")]
    #[schema(min_items = 1, max_items = 64)]
    pub roles: Vec<Role>,
    /// What it may ask for.
    pub policy: Option<PolicyRecord>,
}

/// A client that was just made, with its key.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedClient)]
pub struct Created {
    #[serde(flatten)]
    pub client: ClientView,
    /// The API key: shown this once.
    #[schema(pattern = "^lgk_")]
    pub key: String,
}

/// Whether the new key comes beside the others or in their place.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Revokes every other key in the same step.
    #[schema(default = false)]
    pub drop_old: Option<bool>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
pub struct NewKey {
    /// Whose it is.
    pub client: String,
    /// What it is called.
    pub id: String,
    /// When it was made.
    pub created_at: Rfc3339,
    /// The API key: shown this once.
    #[schema(pattern = "^lgk_")]
    pub key: String,
}

/// What changes (RFC 7396): what is there replaces what was there, `null` gives back the default, what is left out stays.
#[derive(ToSchema)]
#[schema(as = ClientPatch)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it describes what `ClientPatch` reads")]
pub struct PatchBody {
    /// What it may do from now on.
    #[schema(min_items = 1, max_items = 64, nullable = false)]
    roles: Option<Vec<Role>>,
    /// Changes of the policy, field by field; a list is replaced whole.
    policy: Option<PolicyRecord>,
}

/// A body of a patch: `application/merge-patch+json`, or plain JSON.
pub struct Patch(pub ClientPatch);

impl FromRequest<Arc<AppState>> for Patch {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &Arc<AppState>) -> Result<Self, Problem> {
        let text = json::read(request, state, &[json::MERGE_PATCH, json::JSON]).await?;
        // Its own words would not say which list is too long.
        let shape = json::parse::<PatchShape>(&text)?;
        json::parse_with(&text, |text| ClientPatch::of(shape, text)).map(Self)
    }
}
