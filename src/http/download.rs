//! `GET`, `HEAD /download/{collection}/{token}`: judge, and hand over to the edge. Waits on nobody.
//!
//! What edges ask all day comes by the [express lane](super::express), everything else from hyper: both are judged here.

use axum::body::Body;
use http::header::DATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use tracing::info;

use super::arriving::Arriving;
use super::asked::{Asked, Sender};
use super::fields::{Fields, to_map};
use super::listen::Peer;
use super::metrics::Verdict;
use super::openapi::{edges, problems, tags};
use super::problem::{Problem, ProblemKind};
use super::request_id::RequestId;
use super::slots::HeldBack;
use super::state::{AppState, Evidence, Gap};
use crate::clock::{Moment, UnixMillis};
use crate::collection::Collection;
use crate::edge::{DirectFile, EdgeReply, Extent, TOKEN_ID, Unsent, WrittenHead};
use crate::revocation::{Denied, Download, Permit, admit, latest_conceivable_issue, reach, record};
use crate::token::{
    KeyId, Keyring, MAX_TOKEN_CHARS, Malformed, Presentation, Refusal, TokenBuffer, TokenId, UntrustedToken, verify,
};

/// What every download's path starts with.
pub const PREFIX: &str = "/download/";

/// A refusal: what the client is told, what is counted, and what the log may name.
pub struct Rejection {
    pub problem: ProblemKind,
    pub verdict: Verdict,
    pub token: Option<(KeyId, TokenId)>,
}

impl Rejection {
    /// Said once, without the link: a stranger's bad link is nothing to warn about.
    pub fn log(&self, what: &'static str) {
        let verdict = self.verdict.as_str();
        match self.token {
            Some((key, id)) => info!(verdict, %key, token = %id, "{what}"),
            None => info!(verdict, "{what}"),
        }
    }

    const fn new(problem: ProblemKind, verdict: Verdict) -> Self {
        Self { problem, verdict, token: None }
    }
}

/// Download
///
/// What a link leads to, usually through an edge. The address is taken to the letter; a query is passed over. Every
/// request is judged anew, a range or a condition as well. A refusal says nothing about keys, paths or the check that
/// failed: inspecting the link does. It is a problem, or a small page for people when `Accept` prefers `text/html`.
#[utoipa::path(
    get, path = "/download/{collection}/{token}", operation_id = "download", tag = tags::DOWNLOADS, security(()),
    params(edges::Address, edges::Wishes), responses(edges::Permitted, problems::Downloading)
)]
pub async fn answer(state: &AppState, peer: Peer, request: &Request<Arriving>) -> Response<Body> {
    let headers = request.headers();
    let path = request.uri().path();
    let sender = if is_edges(state, path) { Sender::Edge } else { Sender::Linkgate };
    let asked = Asked { peer, method: request.method(), path, fields: headers, sender };
    let delivered = match settle(state, |evidence| decide(state, asked, evidence)).await {
        Ok(Decision::Edge(reply)) => {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = reply.into_head();
            Ok(response)
        }
        Ok(Decision::Direct(file, reply, token)) => match file.send(request.method(), headers, reply).await {
            Ok(sent) => {
                let mut response = sent.map(|body| Body::new(body.map_err(axum::Error::new)));
                if file.is_held_back() {
                    response.extensions_mut().insert(HeldBack);
                }
                Ok(response)
            }
            Err(Unsent::Missing(_)) => Err(Rejection::new(ProblemKind::FileNotFound, Verdict::FileNotFound)),
            Err(Unsent::Over) => {
                Err(Rejection { problem: ProblemKind::Expired, verdict: Verdict::Expired, token: Some(token) })
            }
        },
        Err(rejection) => Err(rejection),
    };
    conclude(state, delivered, headers)
}

/// Answers what an edge asks, as [`answer`] does, but writes a permit where it is sent from.
///
/// `None` when it was written to `out`, but for the empty line at its end; otherwise the refusal.
pub async fn write_answer(
    state: &AppState,
    asked: Asked<'_, [httparse::Header<'_>]>,
    out: &mut Vec<u8>,
) -> Option<Response<Body>> {
    let mut decide = |evidence: &Evidence| {
        with_permit(state, asked, evidence, |permit, collection, now| {
            EdgeReply::nginx(WrittenHead::begin(out, now), permit, collection, asked.delivery(), now);
        })
    };
    match settle(state, &mut decide).await {
        Ok(()) => {
            state.metrics.count_download(Verdict::Permitted);
            None
        }
        Err(rejection) => {
            let mut response = conclude(state, Err(rejection), &to_map(asked.fields));
            let date = state.clock.now().wall.to_http().to_string();
            response.headers_mut().extend(HeaderValue::try_from(date).map(|date| (DATE, date)));
            Some(response)
        }
    }
}

/// Whether an edge sends the file that a path names: only then may [`write_answer`] be asked.
pub fn is_edges(state: &AppState, path: &str) -> bool {
    split(path).is_some_and(|(collection, _)| !state.direct.contains_key(collection))
}

/// Counts what became of a download, and answers what was refused.
fn conclude(state: &AppState, delivered: Result<Response<Body>, Rejection>, headers: &HeaderMap) -> Response<Body> {
    let verdict = delivered.as_ref().map_or_else(|rejection| rejection.verdict, |_| Verdict::Permitted);
    state.metrics.count_download(verdict);
    delivered.unwrap_or_else(|rejection| reject(&rejection, headers))
}

/// Why a judgement has not ended in a permit.
pub enum Undecided {
    /// It has ended: no.
    Refused(Rejection),
    /// The store must be asked first.
    Missing(Gap),
}

impl From<Rejection> for Undecided {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// Judges, asks the store where that is needed, and judges again. Most links need nothing of it; those that count
/// their downloads do, and all where no index is kept.
///
/// # Errors
/// The refusal.
pub async fn settle<T>(
    state: &AppState,
    mut decide: impl FnMut(&Evidence) -> Result<T, Undecided>,
) -> Result<T, Rejection> {
    let mut evidence = Evidence::default();
    loop {
        match decide(&evidence) {
            Ok(decision) => return Ok(decision),
            Err(Undecided::Refused(rejection)) => return Err(rejection),
            Err(Undecided::Missing(gap)) => evidence.fill(gap, &*state.store).await,
        }
    }
}

/// What a permitted download is answered with.
enum Decision {
    /// An edge sends the file.
    Edge(EdgeReply<HeaderMap>),
    /// We do.
    Direct(DirectFile, EdgeReply<HeaderMap>, (KeyId, TokenId)),
}

/// Judges, and finds out who sends the file.
fn decide(state: &AppState, asked: Asked<'_, HeaderMap>, evidence: &Evidence) -> Result<Decision, Undecided> {
    with_permit(state, asked, evidence, |permit, collection, now| {
        let head = HeaderMap::with_capacity(10);
        match state.direct.get(collection.name().as_str()) {
            None => Decision::Edge(EdgeReply::nginx(head, permit, collection, asked.delivery(), now)),
            Some(files) => {
                let token = permit.token();
                let claims = token.claims();
                let extent = if now < claims.expires_at { Extent::Any } else { Extent::Rest };
                let file = files.file(claims.path, claims.rate_limit, extent);
                Decision::Direct(file, EdgeReply::direct(head, permit, collection, now), (token.key_id(), token.id()))
            }
        }
    })
}

/// Judges, and lets `reply` answer a permit. Not async, so that no answer carries the token's room along.
pub fn with_permit<T, F: Fields + ?Sized>(
    state: &AppState,
    asked: Asked<'_, F>,
    evidence: &Evidence,
    reply: impl FnOnce(&Permit<'_>, &Collection, UnixMillis) -> T,
) -> Result<T, Undecided> {
    if asked.method != Method::GET && asked.method != Method::HEAD {
        return Err(Rejection::new(ProblemKind::MethodNotAllowed, Verdict::BadRequest).into());
    }
    let now = state.clock.now();
    let keyring = state.signing.keyring.load();
    let mut buffer = TokenBuffer::default();
    let judged = judge(state, &keyring, asked, evidence, now, &mut buffer);
    state.metrics.observe_judgement(state.clock.uptime().saturating_sub(now.uptime));
    let (permit, collection) = judged?;
    Ok(reply(&permit, collection, now.wall))
}

/// Judges the link a path names; the permit borrows from the keyring's and the buffer's owner.
fn judge<'t, F: Fields + ?Sized>(
    state: &'t AppState,
    keyring: &Keyring,
    asked: Asked<'_, F>,
    evidence: &Evidence,
    now: Moment,
    buffer: &'t mut TokenBuffer,
) -> Result<(Permit<'t>, &'t Collection), Undecided> {
    let Asked { peer, path, fields, .. } = asked;
    let invalid = || Rejection::new(ProblemKind::InvalidLink, Verdict::Malformed);
    let (collection, text) = split(path).ok_or_else(invalid)?;
    let collection = state.signing.collections.get(collection).ok_or_else(invalid)?;
    let token = UntrustedToken::parse(text, buffer).map_err(|error| match error {
        Malformed::TooLong => Rejection::new(ProblemKind::UriTooLong, Verdict::Malformed),
        _ => invalid(),
    })?;
    let named = (token.key_id(), token.token_id());
    // By the time the signature has been checked it is here.
    state.index.expect(named.1);
    let client_address = state.listen.client_address(peer, fields);
    let presentation =
        Presentation { now: now.wall, latest_issue: state.latest_issue(now), client_address, resumes: asked.resumes() };
    let verified = verify(token, collection.rules(), keyring, presentation).map_err(|refusal| {
        let reject = |problem, verdict| Undecided::Refused(Rejection { problem, verdict, token: Some(named) });
        let is_right =
            |latest_issue| is_right(text, collection, keyring, Presentation { latest_issue, ..presentation });
        match refusal {
            Refusal::IssuedInTheFuture => match anticipation(state, evidence, now, is_right) {
                Anticipation::Impossible => reject(Problem::from(refusal).kind(), refusal.into()),
                Anticipation::Possible => reject(ProblemKind::CannotJudge, Verdict::Stale),
                Anticipation::Unknown => Undecided::Missing(Gap::Clock),
            },
            refusal => reject(Problem::from(refusal).kind(), refusal.into()),
        }
    })?;
    let admitted =
        state.look(evidence, |view| admit(view, state.staleness, verified, now)).map_err(Undecided::Missing)?;
    let claims = verified.claims();
    match (admitted, claims.max_downloads) {
        (Ok(permit), _) => Ok((permit, collection)),
        (Err(Denied::CannotCount), Some(most)) if !evidence.was_counted() => {
            Err(Undecided::Missing(Gap::Tally(Download {
                link: verified.id(),
                most: most.get(),
                issued_at: claims.issued_at,
                expires_at: claims.expires_at.plus(collection.resume_grace),
                client: client_address.map(|address| address.to_string()),
                begins: asked.begins(),
            })))
        }
        (Err(Denied::Stale | Denied::NotLoaded), _) if state.asks_when_stale() && !evidence.has_answers() => {
            Err(Undecided::Missing(Gap::Answers(record(|view| admit(view, state.staleness, verified, now)))))
        }
        (Err(denied), _) => Err(Undecided::Refused(Rejection {
            problem: Problem::from(denied).kind(),
            verdict: denied.into(),
            token: Some(named),
        })),
    }
}

/// Whether a link that is dated ahead of all that was heard of the store's time may count as made by now.
enum Anticipation {
    Impossible,
    /// It may: the store's time was heard late, or its clock was set since.
    Possible,
    /// The store's clock says.
    Unknown,
}

fn anticipation(
    state: &AppState,
    evidence: &Evidence,
    now: Moment,
    is_right: impl Fn(UnixMillis) -> bool,
) -> Anticipation {
    let bounds = state.signing.bounds;
    // The time of a store in this process is not heard late.
    if state.index.freshness().is_always() || !is_right(latest_conceivable_issue(now.wall, bounds)) {
        return Anticipation::Impossible;
    }
    match evidence.clock() {
        None => Anticipation::Unknown,
        Some(Ok(clock)) if !is_right(reach(*clock, bounds)) => Anticipation::Impossible,
        Some(_) => Anticipation::Possible,
    }
}

/// Whether a token is right in these circumstances, revocations aside.
fn is_right(token: &str, collection: &Collection, keyring: &Keyring, presentation: Presentation) -> bool {
    let mut buffer = TokenBuffer::default();
    UntrustedToken::parse(token, &mut buffer)
        .is_ok_and(|token| verify(token, collection.rules(), keyring, presentation).is_ok())
}

/// Collection and token of a download's path.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(PREFIX)?.split_once('/')
}

/// Whether a byte of a path means the same to everybody: such paths are what links are made of.
pub const fn is_plain(byte: u8) -> bool {
    PLAIN[byte as usize]
}

/// A table, for paths hold a token.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'/' | b'_' | b'-');
        byte += 1;
    }
    plain
};

/// The refusal's answer.
fn reject(rejection: &Rejection, headers: &HeaderMap) -> Response<Body> {
    let request = RequestId::of(headers);
    request.span().in_scope(|| rejection.log("download refused"));
    let mut problem = Problem::new(rejection.problem);
    if rejection.problem == ProblemKind::MethodNotAllowed {
        problem = problem.allow("GET, HEAD");
    }
    let mut response = problem.into_response_for(headers);
    let is_authentic = matches!(rejection.problem, ProblemKind::Expired | ProblemKind::Revoked | ProblemKind::UsedUp);
    if let (true, Some((_, id))) = (is_authentic, rejection.token)
        && let Ok(id) = HeaderValue::from_str(id.text().as_str())
    {
        response.headers_mut().insert(TOKEN_ID, id);
    }
    request.put(response.headers_mut());
    response
}

const _: () = assert!(MAX_TOKEN_CHARS == 2048, "docs/http-api.md names this figure");
