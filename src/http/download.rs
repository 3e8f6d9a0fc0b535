//! `GET`, `HEAD /download/{collection}/{token}`: judge, and hand over to the edge. Waits on nobody.

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tracing::info;

use super::listen::Peer;
use super::metrics::Verdict;
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::clock::Moment;
use crate::collection::Collection;
use crate::edge::{Delivery, EdgeReply, TOKEN_ID};
use crate::revocation::{Permit, admit};
use crate::token::{KeyId, MAX_TOKEN_CHARS, Malformed, Presentation, TokenId, UntrustedToken, verify};

/// What every download's path starts with.
pub const PREFIX: &str = "/download/";

/// A refusal: what the client is told, what is counted, and what the log may name.
pub struct Rejection {
    pub problem: ProblemKind,
    pub verdict: Verdict,
    pub token: Option<(KeyId, TokenId)>,
}

impl Rejection {
    const fn new(problem: ProblemKind, verdict: Verdict) -> Self {
        Self { problem, verdict, token: None }
    }
}

/// Answers a download.
pub async fn answer(state: &AppState, peer: Peer, request: &Request<Incoming>) -> Response<Body> {
    let started = state.clock.now();
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let problem = Problem::new(ProblemKind::MethodNotAllowed).allow("GET, HEAD");
        state.metrics.count_download(Verdict::BadRequest, std::time::Duration::ZERO);
        return problem.into_response_for(request.headers());
    }
    let mut room = None;
    let judged = judge(state, peer, request.uri().path(), request.headers(), started, &mut room);
    let took = state.clock.now().uptime.saturating_sub(started.uptime);
    match judged {
        Ok((permit, collection)) => {
            state.metrics.count_download(Verdict::Permitted, took);
            deliver(state, &permit, collection, request, started).await
        }
        Err(rejection) => {
            state.metrics.count_download(rejection.verdict, took);
            reject(&rejection, request.headers())
        }
    }
}

async fn deliver(
    state: &AppState,
    permit: &Permit<'_>,
    collection: &Collection,
    request: &Request<Incoming>,
    now: Moment,
) -> Response<Body> {
    let Some(files) = state.direct.get(collection.name().as_str()) else {
        let delivery = Delivery::of(request.headers());
        let reply = EdgeReply::nginx(permit, collection, delivery, now.wall);
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = reply.into_headers();
        return response;
    };
    let reply = EdgeReply::direct(permit, collection, now.wall);
    let path = permit.token().claims().path;
    match files.send(path, request.method(), request.headers(), reply).await {
        Ok(response) => response.map(|body| Body::new(body.map_err(axum::Error::new))),
        Err(_) => {
            let rejection = Rejection::new(ProblemKind::FileNotFound, Verdict::FileNotFound);
            state.metrics.count_download(Verdict::FileNotFound, std::time::Duration::ZERO);
            reject(&rejection, request.headers())
        }
    }
}

/// Judges the link a path names. `room` is where the token lives while the permit borrows from it.
pub fn judge<'t>(
    state: &'t AppState,
    peer: Peer,
    path: &str,
    headers: &HeaderMap,
    now: Moment,
    room: &'t mut Option<(UntrustedToken, std::sync::Arc<crate::token::Keyring>)>,
) -> Result<(Permit<'t>, &'t Collection), Rejection> {
    let invalid = || Rejection::new(ProblemKind::InvalidLink, Verdict::Malformed);
    let (collection, token) = split(path).ok_or_else(invalid)?;
    let collection = state.signing.collections.get(collection).ok_or_else(invalid)?;
    let token = UntrustedToken::parse(token).map_err(|error| match error {
        Malformed::TooLong => Rejection::new(ProblemKind::UriTooLong, Verdict::Malformed),
        _ => invalid(),
    })?;
    let named = (token.key_id(), token.token_id());
    let (token, keyring) = room.insert((token, state.signing.keyring.load_full()));
    let presentation = Presentation { now: now.wall, client_address: state.listen.client_address(peer, headers) };
    let verified = verify(token, collection.rules(), keyring, presentation).map_err(|refusal| Rejection {
        problem: Problem::from(refusal).kind(),
        verdict: refusal.into(),
        token: Some(named),
    })?;
    let permit = admit(&*state.index, state.staleness, verified, now).map_err(|denied| Rejection {
        problem: Problem::from(denied).kind(),
        verdict: denied.into(),
        token: Some(named),
    })?;
    Ok((permit, collection))
}

/// Collection and token of a download's path.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(PREFIX)?.split_once('/')
}

/// The refusal, said once in the log: a stranger's bad link is nothing to warn about.
fn reject(rejection: &Rejection, headers: &HeaderMap) -> Response<Body> {
    let verdict = rejection.verdict.as_str();
    match rejection.token {
        Some((key, id)) => info!(verdict, %key, token = %id, "download refused"),
        None => info!(verdict, "download refused"),
    }
    let mut response = Problem::new(rejection.problem).into_response_for(headers);
    let is_authentic = matches!(rejection.problem, ProblemKind::Expired | ProblemKind::Revoked);
    if let (true, Some((_, id))) = (is_authentic, rejection.token)
        && let Ok(id) = http::HeaderValue::from_str(id.text().as_str())
    {
        response.headers_mut().insert(TOKEN_ID, id);
    }
    response
}

const _: () = assert!(MAX_TOKEN_CHARS == 2048, "docs/http-api.md names this figure");
