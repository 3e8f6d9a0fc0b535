//! What `/v1/revocations` takes and answers: bodies and queries.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::problem::{Problem, ProblemKind};
use crate::clock::Rfc3339;
use crate::revocation::{Applied, Kind, Recorded, Revocation};
use crate::token::KeyId;

/// What to take back: exactly one of the first eight fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// One link: its URL or token.
    pub link: Option<String>,
    /// One link, by its id. Nobody needs to have seen it.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    pub id: Option<String>,
    /// All links of a subject.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    pub subject: Option<String>,
    /// All links to a file.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^/\\\u0000-\u001f\u007f-\u009f]+(/[^/\\\u0000-\u001f\u007f-\u009f]+)*$"
    )]
    pub path: Option<String>,
    /// All links to files below a folder. Ends with `/`; `/` alone is the whole collection.
    #[schema(min_length = 1, max_length = 1025, pattern = "/$")]
    pub path_prefix: Option<String>,
    /// All links made by a client.
    #[schema(max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub client: Option<String>,
    /// All links signed with a key, by its number.
    #[schema(value_type = Option<KeyId>)]
    pub key: Option<Key>,
    /// All links.
    pub everything: Option<bool>,
    /// Goes with `path` and `path_prefix`; `image` when left out.
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9_-]+$")]
    pub collection: Option<String>,
    /// Only links issued before this time are refused. `null` refuses them whenever issued: a standing block, under
    /// which no new link can be made (409). When left out, it is now for `subject`, `client` and `everything`, and
    /// `null` for all others. Not for `link` and `id`.
    #[serde(default)]
    #[schema(value_type = Option<Rfc3339>)]
    pub issued_before: IssuedBeforeField,
    /// When the revocation ends by itself, within a second or so. Otherwise it lasts as long as the last link it can
    /// match, and a standing block until it is lifted.
    pub expires_at: Option<Rfc3339>,
    /// A note for people: at most 500 bytes without control characters.
    #[schema(max_length = 500, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub reason: Option<String>,
}

/// A key id, as a number or as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Key {
    Number(u32),
    Text(String),
}

/// `issued_before`, where `null` is not the same as nothing at all.
#[derive(Debug, Default)]
pub enum IssuedBeforeField {
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
    pub id: String,
    /// The field that named the target.
    pub kind: Kind,
    /// What is taken back; `*` for everything.
    pub target: String,
    /// The collection of `path` and `path_prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub collection: Option<String>,
    /// Only links issued before this time are refused; `null` refuses them whenever issued.
    #[schema(required = true)]
    pub issued_before: Option<Rfc3339>,
    /// When it was recorded.
    pub created_at: Rfc3339,
    /// The client that asked for it.
    pub created_by: String,
    /// When it ends by itself; `null` for a standing block, which lasts until it is lifted.
    #[schema(required = true)]
    pub expires_at: Option<Rfc3339>,
    /// The note that was given.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Tells what was recorded later; opaque. Only in the answer to revoking.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub position: Option<String>,
    /// What it survives: `memory` (the end of any Linkgate, not the sudden end of Redis), `disk` (that, too) or
    /// `replicated(2)` (the loss of Redis' machine; so many replicas have it). Only in the answer to revoking.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("disk"))]
    pub durability: Option<String>,
    /// Who has applied it. Only in the answer to revoking with `wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub applied: Option<Applied>,
}

impl RevocationBody {
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

impl RevokeRequest {
    /// Which of the eight fields is there.
    pub fn kind(&self) -> Result<Kind, Problem> {
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

/// What may stand behind the question mark when revoking.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CreateQuery {
    /// Answer once every verifier that is alive has applied it, or this span of time is over: up to `20s`. How that went
    /// stands in the answer as `applied`.
    #[param(nullable = false, pattern = "^[0-9]+(ms|s)$", example = "5s")]
    pub wait: Option<String>,
}

/// Which revocations to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListParameters {
    /// Only those whose target was named by this field.
    #[param(value_type = Option<Kind>, nullable = false)]
    pub kind: Option<String>,
    /// Text that target, reason, creator or id must contain; case does not matter.
    #[param(nullable = false, example = "user-42")]
    pub q: Option<String>,
    /// Most entries on the page.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    pub cursor: Option<String>,
}

/// A page of revocations.
#[derive(Serialize, ToSchema)]
pub struct RevocationList {
    /// Newest first. A page may be short, even empty, and still have a `next_cursor`.
    pub revocations: Vec<RevocationBody>,
    /// The `cursor` of the next page; without one there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}
