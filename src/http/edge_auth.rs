//! `GET /auth`: the same judgement for edges that only ask whether to allow (auth_request, forward auth).
//!
//! Such an edge names the original address in a header, may have decided already which file it stands for, and
//! understands three statuses. So an address that could be read in two ways is refused, no answer carries a
//! redirect header, and everything but 204 is a 401 or a 403 with its reason in `X-Linkgate-Reason`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::asked::{self, Asked, Sender};
use super::download::{self, Rejection, Undecided};
use super::listen::Peer;
use super::metrics::Verdict;
use super::openapi::{edges, tags};
use super::problem::ProblemKind;
use super::state::{AppState, Evidence};
use crate::edge::EdgeReply;

const REASON: HeaderName = HeaderName::from_static("x-linkgate-reason");

/// May this address be downloaded?
///
/// For edges that only ask whether to allow (nginx's `auth_request`, forward auth of Traefik or Caddy) and open the file
/// themselves. The address that the client asked for stands in `X-Original-URI` or `X-Forwarded-Uri`: all lines name the same.
/// An address that could be read in two ways (percent-encoding, `//`, dots) is refused. No answer is a redirect.
#[utoipa::path(
    get, path = "/auth", operation_id = "authorizeDownload", tag = tags::DOWNLOADS, security(()),
    params(edges::AuthHeaders), responses(edges::Judged)
)]
pub async fn judge(
    State(state): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response<Body> {
    let Some(path) = asked::original_path(&headers) else {
        return refuse(StatusCode::UNAUTHORIZED, "missing");
    };
    let method = asked::original_method(&headers);
    let asked = Asked { peer, method: &method, path, fields: &headers, sender: Sender::Edge };
    let allowed = download::settle(&state, |evidence| decide(&state, asked, evidence)).await;
    match allowed {
        Ok(reply) => {
            state.metrics.count_download(Verdict::Permitted);
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = reply.into_head();
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(rejection) => {
            state.metrics.count_download(rejection.verdict);
            let reason = reason(rejection.problem);
            rejection.log("edge told to refuse");
            refuse(StatusCode::FORBIDDEN, reason)
        }
    }
}

fn decide(
    state: &AppState,
    asked: Asked<'_, HeaderMap>,
    evidence: &Evidence,
) -> Result<EdgeReply<HeaderMap>, Undecided> {
    let asked = Asked { path: canonical(asked.path)?, ..asked };
    let allowed = download::with_permit(state, asked, evidence, |permit, collection, now| {
        EdgeReply::allow(HeaderMap::with_capacity(10), permit, collection, now)
    })?;
    allowed.ok_or(Undecided::Refused(Rejection {
        problem: ProblemKind::InvalidLink,
        verdict: Verdict::Refused,
        token: None,
    }))
}

/// Only the one spelling of an address: anything an edge might normalise is refused.
pub fn canonical(path: &str) -> Result<&str, Rejection> {
    if path.bytes().all(download::is_plain) && !path.contains("//") {
        Ok(path)
    } else {
        Err(Rejection { problem: ProblemKind::InvalidLink, verdict: Verdict::Malformed, token: None })
    }
}

const fn reason(problem: ProblemKind) -> &'static str {
    match problem {
        ProblemKind::Expired => "expired",
        ProblemKind::Revoked => "revoked",
        ProblemKind::UsedUp => "used",
        ProblemKind::CannotJudge => "stale",
        _ => "invalid",
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(reason));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Linkgate"));
    }
    response
}
