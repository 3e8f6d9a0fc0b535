//! What browsers and caches expect of the API: CORS, compression, entity tags.

use axum::body::Body;
use axum::middleware::Next;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::idempotency::IDEMPOTENCY_KEY;
use super::problem::{Problem, ProblemKind};
use super::request_id::REQUEST_ID;
use axum::response::IntoResponse;

/// Answers below this many bytes are not worth compressing.
const MIN_COMPRESSED_BYTES: u64 = 1024;
/// How long a browser may remember what it is allowed.
const PREFLIGHT_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Which pages of other origins may call the API from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    list: Vec<HeaderValue>,
}

impl Origins {
    /// Takes origins as browsers send them, of any scheme, such as `capacitor://localhost`; `*` alone stands for every one.
    ///
    /// # Errors
    /// When one cannot stand in a header.
    pub fn parse(list: &[String]) -> Result<Self, &'static str> {
        if list == ["*"] {
            return Ok(Self { any: true, list: Vec::new() });
        }
        let origin = |text: &String| HeaderValue::from_str(text).map_err(|_| "may hold nothing but visible ASCII");
        Ok(Self { any: false, list: list.iter().map(origin).collect::<Result<_, _>>()? })
    }

    /// Lets those origins in; `None` when there are none.
    pub fn layer(&self) -> Option<CorsLayer> {
        let origins = match (self.any, self.list.is_empty()) {
            (true, _) => AllowOrigin::any(),
            (false, true) => return None,
            (false, false) => AllowOrigin::list(self.list.iter().cloned()),
        };
        let ours = ["ratelimit", "ratelimit-policy", "idempotent-replayed"].map(HeaderName::from_static);
        Some(
            CorsLayer::new()
                .allow_origin(origins)
                .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
                .allow_headers([AUTHORIZATION, CONTENT_TYPE, IDEMPOTENCY_KEY, IF_MATCH, IF_NONE_MATCH, REQUEST_ID])
                .expose_headers([ETAG, LOCATION, REQUEST_ID, RETRY_AFTER].into_iter().chain(ours).collect::<Vec<_>>())
                .max_age(PREFLIGHT_AGE),
        )
    }
}

/// Compresses what is large enough for whoever takes it.
pub fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

/// Gives what is read an entity tag, and says only that it has not changed to whoever has it already (RFC 9110 §13.1.2).
pub async fn tag(request: Request<Body>, next: Next) -> Response<Body> {
    let condition = request.headers().get(IF_NONE_MATCH).cloned();
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let response = next.run(request).await;
    if !is_read || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else { return Problem::new(ProblemKind::Internal).into_response() };
    let body = body.to_bytes();
    let tag = match parts.headers.get(ETAG).and_then(|own| own.to_str().ok()) {
        Some(own) => own.to_owned(),
        None => {
            let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(&body)[..16]);
            // Weak: the same list may travel compressed.
            format!("W/\"{hash}\"")
        }
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(ETAG, tag);
    }
    if condition.is_some_and(|condition| names(&condition, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        forget_contents(&mut parts.headers);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether a condition names an entity tag, weakly compared.
fn names(condition: &HeaderValue, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let condition = condition.to_str().unwrap_or_default();
    condition.trim() == "*" || condition.split(',').any(|one| opaque(one) == opaque(tag))
}

fn forget_contents(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_TYPE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_alone_is_every_origin() {
        let parse = |list: &[&str]| Origins::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parse(&["*"]).map(|origins| origins.any), Ok(true));
        assert_eq!(parse(&["capacitor://localhost"]).map(|origins| (origins.any, origins.list.len())), Ok((false, 1)));
        assert_eq!(parse(&[]), Ok(Origins::default()));
        assert!(parse(&["https://a\n"]).is_err());
    }
}
