//! From a [`Permit`] to the answer that an edge understands. The only author of redirect headers.
//!
//! | edge | what it gets |
//! | --- | --- |
//! | nginx | 200, empty, `X-Accel-Redirect: <internal prefix><path, percent-encoded per segment>` |
//! | auth  | 204, empty, `X-Linkgate-Path: <path as it is>`; never a redirect header |
//! | direct | the file itself |
//!
//! Which headers survive an internal redirect, and what becomes of them when the file is missing, is nginx's
//! doing; see `docs/nginx.md`.

mod direct;
mod disposition;
mod encode;
mod pace;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

pub use self::direct::{DirectFile, DirectFiles, FileBody};
use self::disposition::content_disposition;
use self::encode::push_path;
use crate::clock::UnixMillis;
use crate::collection::Collection;
use crate::revocation::Permit;

/// The header nginx follows to an internal location.
pub const X_ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");
/// Names the token in the edge's log.
pub const TOKEN_ID: HeaderName = HeaderName::from_static("x-linkgate-token-id");
/// How an edge asks for headers that it will put on the file itself: `deferred`.
pub const DELIVERY: HeaderName = HeaderName::from_static("x-linkgate-delivery");
/// What no answer may carry unless it is a permit.
const REDIRECT_HEADERS: [HeaderName; 3] =
    [X_ACCEL_REDIRECT, HeaderName::from_static("x-sendfile"), HeaderName::from_static("x-reproxy-url")];

const DEFERRED_DISPOSITION: HeaderName = HeaderName::from_static("x-linkgate-disposition");
const DEFERRED_CACHE_CONTROL: HeaderName = HeaderName::from_static("x-linkgate-cache-control");
const DEFERRED_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-linkgate-content-type");
const FILE_PATH: HeaderName = HeaderName::from_static("x-linkgate-path");
const X_ACCEL_LIMIT_RATE: HeaderName = HeaderName::from_static("x-accel-limit-rate");

/// Whether the edge takes headers as they are or puts them on the file itself.
///
/// nginx glues the verifier's `Content-Disposition` and `Cache-Control` onto its own 404 when the file is
/// missing. An edge that sends `X-Linkgate-Delivery: deferred` gets them under names that it copies only onto
/// good answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Plain,
    Deferred,
}

impl Delivery {
    /// What a request asks for.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(DELIVERY) {
            Some(value) if value == "deferred" => Self::Deferred,
            _ => Self::Plain,
        }
    }
}

/// The headers of a permitted answer: only a [`Permit`] makes one.
#[derive(Debug)]
pub struct EdgeReply {
    headers: HeaderMap,
}

impl EdgeReply {
    /// The answer for nginx: go and send that file.
    pub fn nginx(permit: &Permit<'_>, collection: &Collection, delivery: Delivery, now: UnixMillis) -> Self {
        let mut headers = HeaderMap::with_capacity(10);
        let path = permit.token().claims().path.as_str();
        let mut location = BytesMut::with_capacity(collection.internal_prefix.len() + path.len() + path.len() / 2);
        location.extend_from_slice(collection.internal_prefix.as_bytes());
        push_path(&mut location, path);
        headers.insert(X_ACCEL_REDIRECT, ascii(location.freeze()));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        describe(&mut headers, permit, collection, delivery, now);
        if let Some(rate) = permit.token().claims().rate_limit {
            headers.insert(X_ACCEL_LIMIT_RATE, HeaderValue::from(rate.get()));
        }
        Self { headers }
    }

    /// The answer for an edge that only asks whether to allow, and opens the file itself.
    ///
    /// `None` when the path begins or ends with a space: edges trim header values, and the file would be another.
    pub fn allow(permit: &Permit<'_>, collection: &Collection, now: UnixMillis) -> Option<Self> {
        let mut headers = HeaderMap::with_capacity(10);
        let path = permit.token().claims().path.as_str();
        if path.starts_with(' ') || path.ends_with(' ') {
            return None;
        }
        headers.insert(FILE_PATH, HeaderValue::from_bytes(path.as_bytes()).ok()?);
        describe(&mut headers, permit, collection, Delivery::Deferred, now);
        if let Some(content_type) = headers.remove(CONTENT_TYPE) {
            headers.insert(DEFERRED_CONTENT_TYPE, content_type);
        }
        if let Some(rate) = permit.token().claims().rate_limit {
            headers.insert(X_ACCEL_LIMIT_RATE, HeaderValue::from(rate.get()));
        }
        Some(Self { headers })
    }

    /// The headers that go onto a file that Linkgate sends itself.
    pub fn direct(permit: &Permit<'_>, collection: &Collection, now: UnixMillis) -> Self {
        let mut headers = HeaderMap::with_capacity(10);
        describe(&mut headers, permit, collection, Delivery::Plain, now);
        Self { headers }
    }

    /// The finished headers.
    pub fn into_headers(self) -> HeaderMap {
        self.headers
    }
}

/// Whether an answer carries a header that some edge would follow.
pub fn has_redirect(headers: &HeaderMap) -> bool {
    REDIRECT_HEADERS.iter().any(|name| headers.contains_key(name))
}

/// What every edge says about the file.
fn describe(
    headers: &mut HeaderMap,
    permit: &Permit<'_>,
    collection: &Collection,
    delivery: Delivery,
    now: UnixMillis,
) {
    let token = permit.token();
    let claims = token.claims();
    let (disposition_name, cache_name) = match delivery {
        Delivery::Plain => (CONTENT_DISPOSITION, CACHE_CONTROL),
        Delivery::Deferred => (DEFERRED_DISPOSITION, DEFERRED_CACHE_CONTROL),
    };
    let disposition = claims.disposition.unwrap_or(collection.disposition);
    let name = claims.file_name.map_or_else(|| claims.path.file_name(), |name| name.as_str());
    headers.insert(disposition_name, ascii(content_disposition(disposition, name)));
    if let Some(content_type) = claims.content_type {
        headers.insert(CONTENT_TYPE, ascii(Bytes::copy_from_slice(content_type.as_str().as_bytes())));
    }
    headers.insert(cache_name, cache_control(claims.expires_at.since(now).min(collection.cache)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(TOKEN_ID, ascii(Bytes::copy_from_slice(token.id().text().as_str().as_bytes())));
}

/// Private to the client, and no longer than the link lives.
fn cache_control(life: Duration) -> HeaderValue {
    use std::io::Write;
    let mut text = Vec::with_capacity(32);
    let written = write!(text, "private, max-age={}", life.as_secs());
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
    ascii(text.into())
}

/// Bytes that were made of visible ASCII here.
fn ascii(bytes: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| unreachable!("encoders write visible ASCII only"))
}
