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

/// A body of the right shape.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<AppState>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &Arc<AppState>) -> Result<Self, Problem> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(
                Problem::new(ProblemKind::UnsupportedMediaType).detail("Send `Content-Type: application/json`.")
            );
        }
        let body = read_body(request.into_body(), state.limits.body_bytes).await?;
        parse(&body).map(Self)
    }
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
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidRequest).detail(detail);
    // A list would pass for the fields in their order.
    if text.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(invalid("expected a JSON object".into()));
    }
    serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))
}
