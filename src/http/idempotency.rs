//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent twice is answered once.
//!
//! The name of an answer is made of whoever asks and the key. While a request is under way its name is claimed; what it
//! was answered with is kept under it, sealed, and given again. Only answers that did something are kept: a request that
//! failed may be sent again and is then looked at anew.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::credentials::Caller;
use super::json::read_body;
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::entropy::random;
use crate::token::sealed;

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;
/// How long an answer is given again: long enough for whoever lost it, and short, for it takes room in the store.
pub const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// How long a request that is never answered stands in the way: longer than any may take.
const CLAIMED_FOR: Duration = Duration::from_secs(90);
/// What answers are sealed for.
const PURPOSE: &[u8] = b"answer";

/// Gives an answer again, or sees to it that it can be.
pub async fn once(State(state): State<Arc<AppState>>, request: Request<Body>, next: Next) -> Response<Body> {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    answer(&state, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(state: &Arc<AppState>, request: Request<Body>, next: Next) -> Result<Response<Body>, Problem> {
    let (mut parts, body) = request.into_parts();
    let key = key(&parts.headers)?.to_owned();
    let caller = Caller::from_request_parts(&mut parts, state).await?;
    let body = read_body(body, state.limits.body_bytes).await?;
    let (client, subject) = caller.identity();
    let who = if subject.is_some() { "login" } else { "client" };
    let name = digest(&[who, client, subject.unwrap_or_default(), &key].map(str::as_bytes));
    let name = URL_SAFE_NO_PAD.encode(name);
    // The same key for something else is a mistake of the caller's.
    let asked = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let fingerprint = digest(&[asked.as_bytes(), &body]);

    if let Some(known) = state.answers.claim(&name, &fingerprint, CLAIMED_FOR).await? {
        return replay(state, &name, &fingerprint, &known);
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        state.answers.release(&name).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| Problem::new(ProblemKind::Internal))?.to_bytes();
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let kept = Kept {
        status: parts.status.as_u16(),
        content_type: text(CONTENT_TYPE),
        location: text(LOCATION),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let kept = serde_json::to_vec(&kept).map_err(|_| Problem::new(ProblemKind::Internal))?;
    let sealed = sealed::wrap(&state.signing.keyring.load(), &purpose(&name), random(), &kept);
    if let Err(error) = state.answers.keep(&name, &[&fingerprint[..], &sealed].concat(), KEPT_FOR).await {
        // It was done all the same: to say otherwise would have it done twice.
        tracing::warn!(%error, "an answer could not be kept: the same key will be answered anew");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// An answer, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    body: String,
}

/// The answer that was kept; a problem while there is none yet, or when it was to something else.
fn replay(state: &AppState, name: &str, fingerprint: &[u8; 32], known: &[u8]) -> Result<Response<Body>, Problem> {
    let (asked, sealed) = known.split_at_checked(fingerprint.len()).unwrap_or((known, &[]));
    if !asked.is_empty() && asked != fingerprint {
        return Err(Problem::new(ProblemKind::IdempotencyKeyReused)
            .detail("This Idempotency-Key came with another request before: use a new one for each request."));
    }
    if sealed.is_empty() {
        return Err(Problem::new(ProblemKind::RequestInProgress)
            .detail("A request with this Idempotency-Key is under way. Ask again in a moment."));
    }
    let kept = sealed::unwrap(&state.signing.keyring.load(), &purpose(name), sealed);
    let kept: Option<Kept> = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
    let Some(kept) = kept else {
        return Err(Problem::new(ProblemKind::IdempotencyKeyReused).detail(
            "What was answered to this Idempotency-Key can no longer be read: its key is gone. Use a new one.",
        ));
    };
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut put = |name: HeaderName, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    };
    put(CONTENT_TYPE, kept.content_type);
    put(LOCATION, kept.location);
    put(REPLAYED, Some("true".into()));
    Ok(response)
}

/// The one key of a request: 1 to [`MAX_KEY_BYTES`] visible characters.
fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = values.next().and_then(|value| value.to_str().ok());
    let is_plain = |key: &&str| (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    key.filter(is_plain).filter(|_| values.next().is_none()).ok_or_else(|| {
        Problem::new(ProblemKind::InvalidRequest)
            .detail(format!("`Idempotency-Key` must be one value of 1 to {MAX_KEY_BYTES} visible characters."))
    })
}

/// An answer is good for its name only.
fn purpose(name: &str) -> Vec<u8> {
    [PURPOSE, b" ", name.as_bytes()].concat()
}

/// SHA-256 over parts, each with its length in front.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
