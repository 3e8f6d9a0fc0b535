//! JSON bodies, read strictly: every mistake is named, nothing unknown is passed over.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequest;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};
use super::state::AppState;

/// Plain JSON.
pub const JSON: &str = "application/json";
/// A patch by RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A body of the right shape.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<AppState>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &Arc<AppState>) -> Result<Self, Problem> {
        parse(&read(request, state, &[JSON]).await?).map(Self)
    }
}

/// Reads a body whose content type is one of some.
///
/// # Errors
/// When it is another, or the body too large or cut short.
pub async fn read(request: Request<Body>, state: &AppState, kinds: &[&str]) -> Result<Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        let advice = format!("Send `Content-Type: {}`.", kinds.join("` or `"));
        return Err(Problem::new(ProblemKind::UnsupportedMediaType).detail(advice));
    }
    read_body(request.into_body(), state.limits.body_bytes).await
}

/// Reads a body to its end.
///
/// # Errors
/// When it is larger than the limit, or ends early.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            Problem::new(ProblemKind::PayloadTooLarge).detail(format!("At most {limit} bytes are taken."))
        } else {
            Problem::new(ProblemKind::InvalidRequest).detail("The body could not be read to its end.")
        }
    })?;
    Ok(read.to_bytes())
}

/// Reads JSON text.
///
/// # Errors
/// A problem with the parser's own words, which name the field and the place but repeat no secrets of ours.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    parse_with(text, |text| serde_json::from_slice(text))
}

/// Like [`parse`], by a parser of one's own.
///
/// # Errors
/// The same.
pub fn parse_with<T>(text: &[u8], parser: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>) -> Result<T, Problem> {
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest).detail(detail);
    // A list would pass for the fields in their order.
    if text.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(invalid("expected a JSON object".into()));
    }
    parser(text).map_err(|error| invalid(error.to_string()))
}
