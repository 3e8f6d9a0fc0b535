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
mod head;
mod pace;
mod sandbox;

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName};

pub use self::direct::{DirectFile, DirectFiles, Extent, FileBody, Unsent};
use self::disposition::push_content_disposition;
use self::encode::push_path;
use self::head::push;
pub use self::head::{Head, WrittenHead};
use crate::clock::UnixMillis;
use crate::collection::Collection;
use crate::revocation::Permit;
use crate::token::ContentType;

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
const DEFERRED_POLICY: HeaderName = HeaderName::from_static("x-linkgate-content-security-policy");
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
    /// What a request asks for, by the value of its [`DELIVERY`].
    pub fn of(value: Option<&[u8]>) -> Self {
        match value {
            Some(b"deferred") => Self::Deferred,
            _ => Self::Plain,
        }
    }

    const fn names(self) -> Names {
        match self {
            Self::Plain => Names {
                disposition: CONTENT_DISPOSITION,
                cache_control: CACHE_CONTROL,
                content_type: CONTENT_TYPE,
                policy: CONTENT_SECURITY_POLICY,
            },
            Self::Deferred => Names {
                disposition: DEFERRED_DISPOSITION,
                cache_control: DEFERRED_CACHE_CONTROL,
                content_type: CONTENT_TYPE,
                policy: DEFERRED_POLICY,
            },
        }
    }
}

/// What the fields are called that describe the file.
struct Names {
    disposition: HeaderName,
    cache_control: HeaderName,
    content_type: HeaderName,
    policy: HeaderName,
}

/// The head of a permitted answer: only a [`Permit`] makes one.
#[derive(Debug)]
pub struct EdgeReply<H> {
    head: H,
}

impl<H: Head> EdgeReply<H> {
    /// The answer for nginx: go and send that file.
    pub fn nginx(
        mut head: H,
        permit: &Permit<'_>,
        collection: &Collection,
        delivery: Delivery,
        now: UnixMillis,
    ) -> Self {
        let claims = permit.token().claims();
        head.put(&X_ACCEL_REDIRECT, |value| {
            value.extend_from_slice(collection.internal_prefix.as_bytes());
            push_path(value, claims.path.as_str());
        });
        head.put(&CONTENT_LENGTH, |value| value.push(b'0'));
        describe(&mut head, permit, collection, &delivery.names(), now);
        limit_rate(&mut head, permit);
        Self { head }
    }

    /// The answer for an edge that only asks whether to allow, and opens the file itself.
    ///
    /// `None` when the path begins or ends with a space: edges trim header values, and the file would be another.
    pub fn allow(mut head: H, permit: &Permit<'_>, collection: &Collection, now: UnixMillis) -> Option<Self> {
        let path = permit.token().claims().path.as_str();
        if path.starts_with(' ') || path.ends_with(' ') {
            return None;
        }
        head.put(&FILE_PATH, |value| value.extend_from_slice(path.as_bytes()));
        let names = Names { content_type: DEFERRED_CONTENT_TYPE, ..Delivery::Deferred.names() };
        describe(&mut head, permit, collection, &names, now);
        limit_rate(&mut head, permit);
        Some(Self { head })
    }

    /// What goes onto a file that Linkgate sends itself.
    pub fn direct(mut head: H, permit: &Permit<'_>, collection: &Collection, now: UnixMillis) -> Self {
        describe(&mut head, permit, collection, &Delivery::Plain.names(), now);
        Self { head }
    }

    /// The finished head.
    pub fn into_head(self) -> H {
        self.head
    }
}

/// Whether an answer carries a header that some edge would follow.
pub fn has_redirect(headers: &HeaderMap) -> bool {
    REDIRECT_HEADERS.iter().any(|name| headers.contains_key(name))
}

/// What every edge says about the file.
fn describe(head: &mut impl Head, permit: &Permit<'_>, collection: &Collection, names: &Names, now: UnixMillis) {
    let token = permit.token();
    let claims = token.claims();
    let disposition = claims.disposition.unwrap_or(collection.disposition);
    let name = claims.file_name.map_or_else(|| claims.path.file_name(), |name| name.as_str());
    head.put(&names.disposition, |value| push_content_disposition(value, disposition, name));
    if let Some(content_type) = claims.content_type {
        head.put(&names.content_type, |value| value.extend_from_slice(content_type.as_str().as_bytes()));
    }
    // By the path's ending, not by the name offered for saving: that is what the edge derives the type from.
    if sandbox::is_needed(claims.content_type.map(ContentType::as_str), claims.path.file_name()) {
        head.put(&names.policy, |value| value.extend_from_slice(sandbox::POLICY.as_bytes()));
    }
    let life = claims.expires_at.since(now).min(collection.cache);
    head.put(&names.cache_control, |value| push_cache_control(value, life));
    head.put(&X_CONTENT_TYPE_OPTIONS, |value| value.extend_from_slice(b"nosniff"));
    head.put(&REFERRER_POLICY, |value| value.extend_from_slice(b"no-referrer"));
    head.put(&TOKEN_ID, |value| value.extend_from_slice(token.id().text().as_str().as_bytes()));
}

/// How fast the edge may send, where the link says so.
fn limit_rate(head: &mut impl Head, permit: &Permit<'_>) {
    if let Some(rate) = permit.token().claims().rate_limit {
        head.put(&X_ACCEL_LIMIT_RATE, |value| push(value, rate.get()));
    }
}

/// Private to the client, and no longer than the link lives.
fn push_cache_control(value: &mut Vec<u8>, life: Duration) {
    value.extend_from_slice(b"private, max-age=");
    push(value, life.as_secs());
}
