//! The refusals of each operation, as sets of [`ProblemKind`]s: the answers, their headers and examples follow from them.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{IntoResponses, ToSchema};

use super::super::problem::{Problem, ProblemKind, TYPE_PREFIX};
use super::reference;
use ProblemKind as P;

/// Why a request was refused (RFC 9457). Members of its own may stand beside these.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "it describes what `Problem::to_json` makes")]
pub struct ProblemBody {
    /// What to test for; stays the same for good.
    #[schema(pattern = "^urn:linkgate:problem:[a-z-]+$", examples("urn:linkgate:problem:invalid-request"))]
    r#type: String,
    /// The type in words.
    title: String,
    /// The status, once more.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What the caller can do about it: for developers.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// The field of the request that is at fault.
    #[schema(nullable = false)]
    field: Option<String>,
    /// The role that is missing: with `forbidden`.
    #[schema(nullable = false)]
    role: Option<String>,
    /// The setting of the policy that stands against it: with `outside-policy` and `rate-limited`.
    #[schema(nullable = false)]
    rule: Option<String>,
    /// The kind of revocation in the way: with `already-revoked`.
    #[schema(nullable = false)]
    kind: Option<String>,
    /// The claim of the login that cannot be used: with `outside-policy`.
    #[schema(nullable = false)]
    claim: Option<String>,
    /// The revocation that was recorded: with `not-yet-safe`.
    #[schema(nullable = false, value_type = Option<Object>)]
    revocation: Option<Value>,
    /// How many replicas have confirmed: with `not-yet-safe`.
    #[schema(nullable = false)]
    replicas: Option<u32>,
    /// How many must confirm: with `not-yet-safe`.
    #[schema(nullable = false)]
    min_replicas: Option<u32>,
}

/// Of every operation that needs an API key.
const KEYED: &[ProblemKind] =
    &[P::Unauthorized, P::Forbidden, P::Timeout, P::RateLimited, P::StoreUnavailable, P::IdentityUnavailable, P::Busy];
/// Of every operation that reads a body.
const BODY: &[ProblemKind] = &[P::InvalidRequest, P::UnsupportedMediaType, P::PayloadTooLarge];

/// Of every operation that takes an `Idempotency-Key`.
const REPEATABLE: &[ProblemKind] = &[P::RequestInProgress, P::IdempotencyKeyReused, P::StoreFull];

/// Sets of problems, each a type that `responses(…)` takes: `Name: shared, shared + Own, Own;`.
macro_rules! sets {
    ($($(#[$about:meta])* $name:ident: $($shared:ident),* $(+ $($own:ident),+)?;)+) => {$(
        $(#[$about])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                answers(&[$($shared,)* &[$($(P::$own),+)?]].concat(), Form::Json)
            }
        }
    )+};
}

sets! {
    /// Of making a link.
    Minting: KEYED, BODY, REPEATABLE + OutsidePolicy, AlreadyRevoked, CannotJudge;
    /// Of making many: what is wrong with one of them stands among the results.
    MintingMany: KEYED, BODY, REPEATABLE + OutsidePolicy, CannotJudge;
    /// Of looking into a link.
    Inspecting: KEYED, BODY, REPEATABLE + OutsidePolicy;
    /// Of revoking.
    Revoking: KEYED, BODY, REPEATABLE + NotYetSafe;
    /// Of lists that take no parameters.
    Listing: KEYED;
    /// Of lists that do.
    ListingPages: KEYED + InvalidRequest;
    /// Of looking up one thing.
    Finding: KEYED + NotFound;
    /// Of lifting one.
    Lifting: KEYED + NotFound, StoreFull;
    /// Of adding a client.
    AddingClients: KEYED, BODY, REPEATABLE + ClientExists;
    /// Of changing one.
    ChangingClients: KEYED, BODY + NotFound, ClientReadOnly, LastAdmin, PreconditionFailed, StoreFull;
    /// Of giving one another key.
    AddingKeys: KEYED, BODY, REPEATABLE + NotFound, ClientReadOnly, PreconditionFailed;
    /// Of removing one, or one of its keys.
    RemovingClients: KEYED + InvalidRequest, NotFound, ClientReadOnly, LastAdmin, PreconditionFailed, StoreFull;
}

/// Of downloads.
pub struct Downloading;

impl IntoResponses for Downloading {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let kinds = [
            P::InvalidLink,
            P::FileNotFound,
            P::MethodNotAllowed,
            P::Expired,
            P::Revoked,
            P::UsedUp,
            P::UriTooLong,
            P::CannotJudge,
        ];
        answers(&kinds, Form::JsonOrPage)
    }
}

/// How a refusal is written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    JsonOrPage,
}

/// One answer for each status among the kinds.
fn answers(kinds: &[ProblemKind], form: Form) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status = BTreeMap::<u16, Vec<ProblemKind>>::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.to_string(), answer(&kinds, form).into())).collect()
}

fn answer(kinds: &[ProblemKind], form: Form) -> Response {
    let meanings: Vec<_> =
        kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), reference::meaning(kind.name()))).collect();
    let types = kinds.iter().map(|kind| format!("{TYPE_PREFIX}{}", kind.name()));
    let named =
        ObjectBuilder::new().property("type", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(types)));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(named);
    let examples = kinds
        .iter()
        .map(|kind| (kind.name(), ExampleBuilder::new().summary(kind.parts().2).value(Some(example(*kind))).build()));
    let json = ContentBuilder::new().schema(Some(Schema::from(schema.build()))).examples_from_iter(examples).build();
    let mut response = ResponseBuilder::new()
        .description(meanings.join("\n\n"))
        .content("application/problem+json", json)
        .header("Cache-Control", header("`no-store`"));
    if form == Form::JsonOrPage {
        let page = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String).build()));
        response = response.content("text/html; charset=utf-8", page.build());
    }
    let more = match kinds[0].status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(("Retry-After", "Seconds to wait.")),
        StatusCode::UNAUTHORIZED => Some(("WWW-Authenticate", "`Bearer realm=\"linkgate\"`")),
        StatusCode::METHOD_NOT_ALLOWED => Some(("Allow", "The methods that are allowed.")),
        StatusCode::GONE => Some(("X-Linkgate-Token-Id", "The link's id, for the edge's log.")),
        _ => None,
    };
    if let Some((name, about)) = more {
        response = response.header(name, header(about));
    }
    response.build()
}

pub(super) fn header(about: &str) -> utoipa::openapi::Header {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    HeaderBuilder::new().schema(Some(text)).description(Some(about)).build()
}

/// A problem as it may well be answered.
fn example(kind: ProblemKind) -> Value {
    let problem = Problem::new(kind);
    let problem = match kind {
        P::InvalidRequest => problem.detail("`path` must not have a `.` or `..` segment").with("field", "path"),
        P::Unauthorized => problem.detail("The API key is not known here."),
        P::Forbidden => problem.detail("The role `admin` is needed.").with("role", "admin"),
        P::OutsidePolicy => problem
            .detail("the client's policy does not cover this path: no pattern in `allow` matches")
            .with("rule", "allow")
            .with("field", "path"),
        P::RateLimited => problem
            .detail(
                "The client's `links_per_second` is used up on this instance, so nothing was done. Ask again in 1 s.",
            )
            .with("rule", "links_per_second"),
        P::AlreadyRevoked => problem
            .detail("a standing revocation of kind `subject` covers such a link; reinstate it first")
            .with("kind", "subject"),
        P::NotYetSafe => problem.with("replicas", 0).with("min_replicas", 1).with("revocation", json!({})),
        _ => problem,
    };
    problem.to_json()
}
