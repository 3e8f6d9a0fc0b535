//! Refusals: every problem that Linkgate answers, in one table (RFC 9457).

use axum::body::Body;
use axum::response::IntoResponse;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{accept, page};
use crate::revocation::{Denied, StoreError};
use crate::token::{MintRefusal, Refusal};

/// What every problem's `type` starts with.
pub const TYPE_PREFIX: &str = "urn:linkgate:problem:";
/// Seconds after which a request that could not be judged is worth repeating.
const RETRY_SECONDS: &str = "5";
const CHALLENGE: &str = "Bearer realm=\"linkgate\"";
/// Tells nginx's caches to leave a denial alone.
const X_ACCEL_EXPIRES: HeaderName = HeaderName::from_static("x-accel-expires");

/// The stable names of problems; each stands in `docs/http-api.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    InvalidLink,
    Expired,
    Revoked,
    UsedUp,
    FileNotFound,
    CannotJudge,
    NotFound,
    MethodNotAllowed,
    UriTooLong,
    Unauthorized,
    Forbidden,
    OutsidePolicy,
    RateLimited,
    InvalidRequest,
    UnsupportedMediaType,
    PayloadTooLarge,
    AlreadyRevoked,
    ClientExists,
    ClientReadOnly,
    LastAdmin,
    PreconditionFailed,
    RequestInProgress,
    IdempotencyKeyReused,
    NotYetSafe,
    Busy,
    IdentityUnavailable,
    StoreUnavailable,
    StoreFull,
    Timeout,
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 30] = [
        Self::InvalidLink,
        Self::Expired,
        Self::Revoked,
        Self::UsedUp,
        Self::FileNotFound,
        Self::CannotJudge,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UriTooLong,
        Self::Unauthorized,
        Self::Forbidden,
        Self::OutsidePolicy,
        Self::RateLimited,
        Self::InvalidRequest,
        Self::UnsupportedMediaType,
        Self::PayloadTooLarge,
        Self::AlreadyRevoked,
        Self::ClientExists,
        Self::ClientReadOnly,
        Self::LastAdmin,
        Self::PreconditionFailed,
        Self::RequestInProgress,
        Self::IdempotencyKeyReused,
        Self::NotYetSafe,
        Self::Busy,
        Self::IdentityUnavailable,
        Self::StoreUnavailable,
        Self::StoreFull,
        Self::Timeout,
        Self::Internal,
    ];

    /// Status, name and title.
    pub const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidLink => (StatusCode::FORBIDDEN, "invalid-link", "This link is not valid"),
            Self::Expired => (StatusCode::GONE, "expired", "This link has expired"),
            Self::Revoked => (StatusCode::GONE, "revoked", "This link has been withdrawn"),
            Self::UsedUp => (StatusCode::GONE, "used-up", "This link's downloads are used up"),
            Self::FileNotFound => (StatusCode::NOT_FOUND, "file-not-found", "The file is not there"),
            Self::CannotJudge => {
                (StatusCode::SERVICE_UNAVAILABLE, "cannot-judge", "This link cannot be checked right now")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not allowed here")
            }
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The address is too long"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid API key or login is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The client's roles do not allow this"),
            Self::OutsidePolicy => (StatusCode::FORBIDDEN, "outside-policy", "The client's policy does not allow this"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too much in too short a time"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid-request", "The request is not valid"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large"),
            Self::AlreadyRevoked => (StatusCode::CONFLICT, "already-revoked", "A standing revocation covers this link"),
            Self::ClientExists => (StatusCode::CONFLICT, "client-exists", "There is a client of that name already"),
            Self::ClientReadOnly => {
                (StatusCode::CONFLICT, "client-read-only", "This client is kept in the configuration")
            }
            Self::LastAdmin => (StatusCode::CONFLICT, "last-admin", "Nobody would be left to change clients"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed since it was read")
            }
            Self::RequestInProgress => (StatusCode::CONFLICT, "request-in-progress", "The same request is under way"),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
            ),
            Self::NotYetSafe => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-yet-safe", "The revocation is recorded, but not yet safe")
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many large requests are under way"),
            Self::IdentityUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "identity-unavailable", "This login cannot be checked right now")
            }
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "The revocation store cannot be used")
            }
            Self::StoreFull => (StatusCode::INSUFFICIENT_STORAGE, "store-full", "The revocation store is full"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong"),
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The last part of its type.
    pub const fn name(self) -> &'static str {
        self.parts().1
    }
}

/// One refusal on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    more: Box<More>,
}

/// What only some problems have: apart, so that a [`Problem`] is small to return.
#[derive(Clone, Debug, Default)]
struct More {
    detail: Option<String>,
    extensions: Map<String, Value>,
    allow: Option<HeaderValue>,
    /// In seconds.
    retry_after: Option<u64>,
    /// What `WWW-Authenticate` says besides the realm.
    challenge: Option<HeaderValue>,
}

impl Problem {
    /// A problem about which its title says everything.
    pub fn new(kind: ProblemKind) -> Self {
        Self { kind, more: Box::default() }
    }

    /// Adds what the caller can do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.more.detail = Some(detail.into());
        self
    }

    /// Adds a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Names the methods that would be allowed.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.more.allow = Some(HeaderValue::from_static(methods));
        self
    }

    /// Says after how many seconds it is worth asking again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.more.retry_after = Some(seconds);
        self
    }

    /// Says in `WWW-Authenticate` what is wrong with a token (RFC 6750 §3).
    #[must_use]
    pub fn invalid_token(mut self, why: &str) -> Self {
        // A quoted string has neither quotes nor backslashes there.
        let why: String =
            why.chars().filter(|letter| matches!(letter, ' '..='~') && !"\"\\".contains(*letter)).collect();
        let challenge = format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{why}\"");
        self.more.challenge = HeaderValue::from_str(&challenge).ok();
        self
    }

    /// Which problem it is.
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The problem as an object, as it also stands among a batch's results.
    pub fn to_json(&self) -> Value {
        let (status, name, title) = self.kind.parts();
        let mut object = Map::new();
        object.insert("type".into(), json!(format!("{TYPE_PREFIX}{name}")));
        object.insert("title".into(), json!(title));
        object.insert("status".into(), json!(status.as_u16()));
        if let Some(detail) = &self.more.detail {
            object.insert("detail".into(), json!(detail));
        }
        object.extend(self.more.extensions.clone());
        Value::Object(object)
    }

    /// The answer, as JSON or as a page, whichever the client would rather have.
    pub fn into_response_for(self, request: &HeaderMap) -> Response<Body> {
        let (status, _, title) = self.kind.parts();
        let mut response = if accept::prefers_page(request) {
            let mut response = Response::new(Body::from(page::refusal(status, title)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            response.headers_mut().insert("content-security-policy", HeaderValue::from_static(page::POLICY));
            response
        } else {
            let mut response = Response::new(Body::from(self.to_json().to_string()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            response
        };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_ACCEL_EXPIRES, HeaderValue::from_static("0"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                let challenge = self.more.challenge.unwrap_or(HeaderValue::from_static(CHALLENGE));
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        if let Some(seconds) = self.more.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.more.allow {
            headers.insert(ALLOW, allow);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        self.into_response_for(&HeaderMap::new())
    }
}

/// What a download is told: nothing about keys, paths or which check failed.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(match refusal {
            Refusal::Expired => ProblemKind::Expired,
            _ => ProblemKind::InvalidLink,
        })
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(match denied {
            Denied::Revoked(_) => ProblemKind::Revoked,
            Denied::UsedUp => ProblemKind::UsedUp,
            Denied::NotLoaded | Denied::Stale | Denied::CannotCount => ProblemKind::CannotJudge,
        })
    }
}

impl From<MintRefusal> for Problem {
    fn from(refusal: MintRefusal) -> Self {
        let kind = if refusal.is_policy() { ProblemKind::OutsidePolicy } else { ProblemKind::InvalidRequest };
        let field = match refusal {
            MintRefusal::Path(_) | MintRefusal::PathNotAllowed | MintRefusal::ClaimUnusable(_) => Some("path"),
            MintRefusal::Subject(_) | MintRefusal::SubjectNotAllowed => Some("subject"),
            MintRefusal::FileName(_) => Some("filename"),
            MintRefusal::ContentType(_) => Some("content_type"),
            MintRefusal::TooManyNetworks => Some("client_networks"),
            MintRefusal::MaxDownloads => Some("max_downloads"),
            MintRefusal::RateLimit => Some("rate_limit"),
            MintRefusal::AlreadyOver | MintRefusal::LifetimeTooLong(_) => Some("expires_in"),
            MintRefusal::NotBeforeAfterEnd => Some("not_before"),
            MintRefusal::CollectionNotAllowed => Some("collection"),
            MintRefusal::FeatureRequired(feature) | MintRefusal::FeatureNotPermitted(feature) => Some(feature.as_str()),
        };
        let mut problem = Self::new(kind).detail(refusal.to_string());
        if let Some(rule) = refusal.rule() {
            problem = problem.with("rule", rule);
        }
        if let MintRefusal::ClaimUnusable(unusable) = &refusal {
            problem = problem.with("claim", unusable.claim.as_ref());
        }
        match field {
            Some(field) => problem.with("field", field),
            None => problem,
        }
    }
}

/// The store's own words go to the log, not to the caller.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the revocation store did not do what it was asked");
        match error {
            StoreError::Full => {
                Self::new(ProblemKind::StoreFull).detail("Nothing was recorded. Free some room and ask again.")
            }
            StoreError::ReadOnly => {
                Self::new(ProblemKind::StoreUnavailable).detail("The store is read-only. Nothing was recorded.")
            }
            StoreError::TimedOut => Self::new(ProblemKind::StoreUnavailable)
                .detail("The store did not answer in time; it may or may not have recorded the change. Ask again."),
            _ => Self::new(ProblemKind::StoreUnavailable).detail("Nothing was recorded. Ask again later."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::Kind;
    use crate::token::ClaimsError;

    #[test]
    fn names_are_unique_and_ready_for_a_uri() {
        let mut names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn a_refused_download_says_nothing_about_the_failing_check() {
        let refusals = [
            Refusal::UnknownKey,
            Refusal::RetiredKey,
            Refusal::BadSignature,
            Refusal::Claims(ClaimsError::Unknown),
            Refusal::LifetimeTooLong,
            Refusal::IssuedInTheFuture,
            Refusal::NotYetValid,
            Refusal::OutsideNetworks,
        ];
        let answers: Vec<_> = refusals.map(|refusal| Problem::from(refusal).to_json().to_string()).into();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(Problem::from(Refusal::Expired).kind().status(), StatusCode::GONE);
        assert_eq!(Problem::from(Denied::Revoked(Kind::Client)).kind().status(), StatusCode::GONE);
        assert_eq!(Problem::from(Denied::Stale).kind().status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn no_refusal_may_be_cached_and_a_busy_one_says_when_to_come_back() {
        for kind in ProblemKind::ALL {
            let response = Problem::new(kind).into_response();
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()["x-accel-expires"], "0");
            assert_eq!(
                response.headers().contains_key(RETRY_AFTER),
                response.status() == StatusCode::SERVICE_UNAVAILABLE
            );
        }
    }
}
