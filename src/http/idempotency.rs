//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent twice is answered once.
//!
//! An answer has a place, made of who asks and the key. While a request is under way its place is claimed; what it was
//! answered with is kept there, sealed, and given again. Only answers that did something are kept: a request that failed
//! may be sent again and is then looked at anew. So is one whose answer had to make [room](crate::answers) for newer ones,
//! or says what is no longer true: to a caller with other rights, of a revocation that is gone, of an API key that opens nothing.
//!
//! A request that has a claim is carried out to its end, although its caller may have left: who asks again gets its answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, response};
use http_body_util::BodyExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::{Instrument, debug, warn};

use super::apart::Large;
use super::credentials::Caller;
use super::json::read_body;
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use super::{clients, revocations};
use crate::answers::{AnswerStore, Party, Place};
use crate::clients::{PolicyRecord, RateRules};
use crate::entropy::random;
use crate::revocation::StoreError;
use crate::token::sealed;

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;
/// How long an answer is given again: long enough for a caller who lost it, and short, for it takes room in the store.
pub const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// How long a request stands in the way of its like once the process that carries it out is gone.
const CLAIMED_FOR: Duration = Duration::from_secs(30);
/// How often a process says that it is still at it.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// Requests with a key that are carried out at once, callers who have left included; the others wait.
const MAX_UNDER_WAY: u32 = 256;
/// What answers are sealed for.
const PURPOSE: &[u8] = b"answer";

/// Requests with a key, each carried out to its end whether or not its caller still waits.
pub struct UnderWay(Arc<Semaphore>);

impl Default for UnderWay {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNDER_WAY as usize)))
    }
}

impl UnderWay {
    /// Runs work of its own.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
        let internal = || Problem::new(ProblemKind::Internal);
        let place = Arc::clone(&self.0).acquire_owned().await.map_err(|_| internal())?;
        let work = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        work.await.map_err(|_| internal())
    }

    /// Waits until none is left.
    pub async fn end(&self) {
        let _all = self.0.acquire_many(MAX_UNDER_WAY).await;
    }
}

/// Gives an answer again, or sees to it that it can be.
pub async fn once(State(state): State<Arc<AppState>>, request: Request<Body>, next: Next) -> Response<Body> {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    answer(state, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(state: Arc<AppState>, request: Request<Body>, next: Next) -> Result<Response<Body>, Problem> {
    let (mut parts, body) = request.into_parts();
    let key = key(&parts.headers)?.to_owned();
    let caller = Caller::from_request_parts(&mut parts, &state).await?;
    let body = read_body(body, state.limits.body_bytes).await?;
    let asked = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let request = Keyed { place: place(&caller, &key), about: About::new(asked, &body, &caller) };
    let large = parts.extensions.get::<Large>().cloned();
    let plain = Request::from_parts(parts, Body::from(body));
    let work = request.carry_out(Arc::clone(&state), next.run(plain)).in_current_span();
    let task = Arc::clone(&state);
    let work = async move {
        match large {
            Some(large) => task.apart.work(&large, work).await?,
            None => work.await,
        }
    };
    state.under_way.run(work).await?
}

/// A request that is carried out once.
struct Keyed {
    place: Place,
    about: About,
}

impl Keyed {
    async fn carry_out(
        self,
        state: Arc<AppState>,
        work: impl Future<Output = Response<Body>>,
    ) -> Result<Response<Body>, Problem> {
        let claim = self.about.claim();
        let mut outdated = None;
        loop {
            match state.answers.claim(&self.place, &claim, outdated.as_deref(), CLAIMED_FOR).await {
                Ok(None) => break,
                Ok(Some(known)) => match self.answered(&state, &known).await? {
                    Some(answered) => return Ok(answered),
                    None => outdated = Some(known),
                },
                // What is asked for may be a revocation: that goes before what is nice to have.
                Err(error @ StoreError::Full) => {
                    warn!(%error, "no answers are kept: the same key will be answered anew");
                    return Ok(work.await);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let response = while_claimed(&*state.answers, &self.place, &claim, work).await;
        if !response.status().is_success() {
            state.answers.release(&self.place, &claim).await?;
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| Problem::new(ProblemKind::Internal))?.to_bytes();
        let kept = sealed::wrap(&state.signing.keyring.load(), &self.purpose(), random(), &Kept::write(&head, &body));
        let kept = [self.about.bytes().as_slice(), &kept].concat();
        // It was done all the same: to say otherwise would have it done twice.
        match state.answers.keep(&self.place, &kept, &claim, KEPT_FOR).await {
            Ok(true) => {}
            Ok(false) => {
                debug!("an answer is larger than all that may be kept for its caller: its key will be answered anew");
                let _ = state.answers.release(&self.place, &claim).await;
            }
            Err(error) => {
                warn!(%error, "an answer could not be kept: the same key will be answered anew");
                let _ = state.answers.release(&self.place, &claim).await;
            }
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }

    /// What was answered before; `None` when that was to a caller with other rights, who may not have it any more, and when
    /// it is no longer true.
    ///
    /// # Errors
    /// While there is no answer yet, when it was to something else, and when the store does not say whether it still is.
    async fn answered(&self, state: &AppState, known: &[u8]) -> Result<Option<Response<Body>>, Problem> {
        let reused = |why| Problem::new(ProblemKind::IdempotencyKeyReused).detail(why);
        let Some((about, sealed)) = About::read(known) else {
            return Err(reused("What was answered to this Idempotency-Key can't be read. Use a new one."));
        };
        let is_claim = sealed.len() == CLAIM_BYTES;
        if about.rights != self.about.rights && !is_claim {
            return Ok(None);
        }
        // The same key for something else is a mistake of the caller's.
        if about.asked != self.about.asked {
            return Err(reused(
                "This Idempotency-Key came with another request before: use a new one for each request.",
            ));
        }
        if is_claim {
            return Err(Problem::new(ProblemKind::RequestInProgress)
                .detail("A request with this Idempotency-Key is under way. Ask again in a moment."));
        }
        let opened = sealed::unwrap(&state.signing.keyring.load(), &self.purpose(), sealed);
        let Some(kept) = opened.as_deref().and_then(Kept::read) else {
            return Err(reused(
                "What was answered to this Idempotency-Key can no longer be read: its key is gone. Use a new one.",
            ));
        };
        Ok(if kept.is_true(state).await? { kept.into_response() } else { None })
    }

    /// An answer is good for its place only.
    fn purpose(&self) -> Vec<u8> {
        [PURPOSE, b" ", self.place.caller.as_bytes(), b" ", self.place.name.as_bytes()].concat()
    }
}

/// Does the work, and says now and then that it is being done.
async fn while_claimed<T>(answers: &dyn AnswerStore, place: &Place, claim: &[u8], work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        match tokio::time::timeout(RENEWED_EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => {
                if let Err(error) = answers.keep(place, claim, claim, CLAIMED_FOR).await {
                    debug!(%error, "a request that takes long could not say that it is under way");
                }
            }
        }
    }
}

/// Where answers to a caller's key are kept.
fn place(caller: &Caller, key: &str) -> Place {
    let (client, subject) = caller.identity();
    let name = |parts: &[&str]| {
        let digest = digest(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        URL_SAFE_NO_PAD.encode(&digest[..NAME_BYTES])
    };
    let (party, whose) = match subject {
        Some(subject) => (Party::Logins, [client, subject]),
        None => (Party::Clients, [client, ""]),
    };
    Place { party, caller: name(&whose), name: name(&[key]) }
}

/// Bytes of a hash that names a caller or a key.
const NAME_BYTES: usize = 16;
/// Bytes that tell one claim from another; no sealed answer is as short.
const CLAIM_BYTES: usize = 8;

/// What an answer is about: it is given again to the same request of a caller with the same rights.
#[derive(Clone, Copy, PartialEq, Eq)]
struct About {
    /// Hash of the address and the body.
    asked: [u8; 32],
    /// Hash of what the caller may do, and of which client of its name it is.
    rights: [u8; 32],
}

impl About {
    fn new(asked: &str, body: &[u8], caller: &Caller) -> Self {
        let client = &*caller.0;
        let policy = PolicyRecord::new(&client.policy, &RateRules::default());
        let rights = serde_json::to_vec(&(client.generation(), &client.roles, &policy)).unwrap_or_default();
        Self { asked: digest(&[asked.as_bytes(), body]), rights: digest(&[&rights]) }
    }

    fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.asked);
        bytes[32..].copy_from_slice(&self.rights);
        bytes
    }

    /// What stands in the place of an answer until there is one.
    fn claim(&self) -> Vec<u8> {
        [self.bytes().as_slice(), &random::<CLAIM_BYTES>()].concat()
    }

    /// Reads what [`Self::bytes`] wrote, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (asked, rest) = bytes.split_first_chunk()?;
        let (rights, rest) = rest.split_first_chunk()?;
        Some((Self { asked: *asked, rights: *rights }, rest))
    }
}

/// An answer as it is kept: status, content type and location, each on a line, then the body.
struct Kept<'k> {
    status: &'k [u8],
    content_type: &'k [u8],
    location: &'k [u8],
    body: &'k [u8],
}

impl<'k> Kept<'k> {
    fn write(head: &response::Parts, body: &[u8]) -> Vec<u8> {
        let line = |name: HeaderName| head.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        let status = head.status.as_str().as_bytes();
        [status, b"\n", line(CONTENT_TYPE), b"\n", line(LOCATION), b"\n", body].concat()
    }

    fn read(bytes: &'k [u8]) -> Option<Self> {
        let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
        let mut line = || lines.next();
        Some(Self { status: line()?, content_type: line()?, location: line()?, body: line()? })
    }

    /// Whether what was made is still there: a revocation, which takes effect here from now on, or an API key.
    async fn is_true(&self, state: &AppState) -> Result<bool, StoreError> {
        let location = str::from_utf8(self.location).unwrap_or_default();
        if let Some(id) = location.strip_prefix(revocations::PATH).and_then(|rest| rest.strip_prefix('/')) {
            return match id.parse() {
                Ok(id) => state.store.uphold(&id).await,
                Err(_) => Ok(false),
            };
        }
        if location.starts_with(clients::PATH) {
            let Ok(made) = serde_json::from_slice::<MadeKey>(self.body) else { return Ok(false) };
            state.refresh_clients().await?;
            return Ok(state.clients.has(&made.key));
        }
        Ok(true)
    }

    fn into_response(self) -> Option<Response<Body>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in [(CONTENT_TYPE, self.content_type), (LOCATION, self.location)] {
            if !value.is_empty() {
                response = response.header(name, value);
            }
        }
        response.header(REPLAYED, "true").body(Body::from(self.body.to_vec())).ok()
    }
}

/// The API key in an answer that has made one.
#[derive(Deserialize)]
struct MadeKey {
    key: String,
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

/// SHA-256 over parts, each with its length in front.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// Notes for how long a claim was renewed, each time.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Duration>>);

    #[async_trait]
    impl AnswerStore for Notes {
        async fn claim(
            &self,
            _: &Place,
            _: &[u8],
            _: Option<&[u8]>,
            _: Duration,
        ) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }

        async fn keep(&self, _: &Place, _: &[u8], _: &[u8], hold: Duration) -> Result<bool, StoreError> {
            self.0.lock().unwrap().push(hold);
            Ok(true)
        }

        async fn release(&self, _: &Place, _: &[u8]) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_outlives_work_however_long_that_takes() {
        let answers = Notes::default();
        let place = Place { party: Party::Clients, caller: "a".into(), name: "b".into() };
        while_claimed(&answers, &place, b"claim", tokio::time::sleep(RENEWED_EVERY * 100)).await;
        let renewed = answers.0.into_inner().unwrap();
        assert!(renewed.len() >= 99, "{}", renewed.len());
        assert!(renewed.iter().all(|hold| *hold > 2 * RENEWED_EVERY), "one may fail");
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for (kind, location, body) in [("application/json", "", "{}"), ("", "/v1/x", "a\nb\n\nc"), ("a/b", "", "")] {
            let mut response = Response::builder().status(201);
            for (name, value) in [(CONTENT_TYPE, kind), (LOCATION, location)] {
                if !value.is_empty() {
                    response = response.header(name, value);
                }
            }
            let (head, ()) = response.body(()).unwrap().into_parts();
            let written = Kept::write(&head, body.as_bytes());
            let read = Kept::read(&written).and_then(Kept::into_response).unwrap();
            assert_eq!(read.status(), 201);
            assert_eq!(read.headers().get(CONTENT_TYPE), head.headers.get(CONTENT_TYPE));
            assert_eq!(read.headers().get(LOCATION), head.headers.get(LOCATION));
        }
        for bad in [&b""[..], b"201", b"201\n\n", b"abc\n\n\n", b"99\n\n\nx"] {
            assert!(Kept::read(bad).and_then(Kept::into_response).is_none(), "{bad:?}");
        }
    }
}
