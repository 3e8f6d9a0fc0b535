//! The API described for programs (`GET /openapi.json`, OpenAPI 3.1) and for people (`GET /docs`); both made of the code.
//!
//! A route is made with `routes!` in [`super`], which takes handlers that carry `#[utoipa::path(…)]` and no others. To add
//! one:
//!
//! 1. Write the handler's doc comment for the caller: the first line is the title, the rest the description.
//! 2. Put `#[utoipa::path(…)]` on it: method, `path`, `operation_id`, a `tag` of [`tags`], `security(("api_key" = ["role"]))`
//!    or `security(())`, `params`, `request_body`, the good answers, and a set of refusals of [`problems`].
//! 3. Derive `ToSchema` for bodies and `IntoParams` for queries, with a doc comment and the limits at each field. An
//!    optional field that is left out of an answer, and a parameter, is `nullable = false`.
//! 4. Add it to [`super::routes()`], and its examples to [`mod@reference`]: they are those of `docs/http-api.md`.
//! 5. Renew the committed document: `cargo run -- openapi > docs/openapi.json`.
//!
//! The tests of this module name what is missing, `tests/integration/described.rs` compares the document with a server.

mod assembly;
pub mod edges;
mod page;
pub mod problems;
mod reference;
mod schemas;
mod shared;

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use serde_json::Value;

/// The groups of operations, in the order of the page.
pub mod tags {
    pub const LINKS: &str = "Links";
    pub const REVOCATIONS: &str = "Revocations";
    pub const CLIENTS: &str = "Clients";
    pub const FLEET: &str = "Fleet";
    pub const DOWNLOADS: &str = "Downloads";
    pub const HEALTH: &str = "Health";
    pub const REFERENCE: &str = "Reference";

    /// Each with what it is about.
    pub const ALL: [(&str, &str); 7] = [
        (LINKS, "Make links and look into them."),
        (REVOCATIONS, "Take links back, see what was taken back, give it back."),
        (CLIENTS, "Who may call: clients, their policies and keys."),
        (FLEET, "The verifiers, and how far each of them has come."),
        (DOWNLOADS, "What links lead to, and what edges ask. On the `download` listener; a link is all it takes."),
        (HEALTH, "For whoever runs it: probes and figures. On the `ops` listener."),
        (REFERENCE, "This description."),
    ];
}

/// The document, made when it is first asked for.
static DOCUMENT: LazyLock<Value> = LazyLock::new(assembly::assemble);

/// The document as text, ready to be committed or printed.
pub fn text() -> String {
    format!("{:#}\n", *DOCUMENT)
}

/// This description as OpenAPI 3.1
///
/// For generating clients and for tools. The command `linkgate openapi` prints the same.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describe", tag = tags::REFERENCE, security(()),
    responses((status = 200, description = "The document.", body = Object))
)]
pub async fn document() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(CONTENT_TYPE, "application/json"), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-cache")], &**TEXT)
}

/// This description as a page
///
/// Needs neither scripts nor anything from elsewhere.
#[utoipa::path(
    get, path = "/docs", operation_id = "describeToPeople", tag = tags::REFERENCE, security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html; charset=utf-8"))
)]
pub async fn page() -> impl IntoResponse {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&DOCUMENT));
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &**page::POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, &**PAGE)
}
