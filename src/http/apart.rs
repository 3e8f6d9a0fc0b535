//! Large requests: what they bring and take is bounded, and the work on them is done apart from the threads that judge
//! downloads.
//!
//! A request that is not known to be small is large: a body above [`SMALL_BODY`], and every operation that is not among the
//! [`SMALL`] ones. A large request
//!
//! 1. takes [room] for its body as that comes: that of all of them together is bounded, and so are the part of one caller
//!    and the part of all logins, of whom there may be any number;
//! 2. waits, once its body is there, until there is room for its answer, which is bounded in the same way;
//! 3. is parsed, answered, tagged, sealed and compressed on threads of its own kind, of which there are few. It takes
//!    turns: one for each time it can go on. Many requests of one caller queue for the caller's own turns first, so the one
//!    of another caller never waits for more than one of theirs at a time;
//! 4. gives back the room of its answer when the last part of that is sent, or when another needs it and the answer is
//!    hardly read.
//!
//! [room]: super::room

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, State};
use axum::middleware::Next;
use bytes::BytesMut;
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tracing::Instrument;

use super::credentials::Caller;
use super::json::{cut_short, too_large};
use super::problem::{Problem, ProblemKind};
use super::room::{AnswerRoom, BodyRoom, Pace, Pool, wanted};
use super::sending::sending;
use super::state::AppState;

/// Largest body that is parsed where downloads are judged, in bytes.
pub const SMALL_BODY: usize = 16 << 10;
/// What an answer is taken for until its size is known, in bytes: a batch of the longest links there are.
const LARGEST_ANSWER: usize = 8 << 20;
/// For how many of the largest bodies and answers there is room at once, for how many of logins, and for how many of one
/// caller.
const ROOM: usize = 8;
const ROOM_OF_LOGINS: usize = 4;
const ROOM_OF_CALLER: usize = 2;
/// How long a request waits for room, however often it has to, and as long for its answer's and for its first turn, before it
/// is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// Callers are told apart by their hashes; two may be taken for one.
const CALLERS: usize = 256;

/// Operations whose work is small, as long as their body is. Revoking is one: it waits for no large request.
const SMALL: &[(Method, &str)] = &[
    (Method::POST, "/v1/links"),
    (Method::POST, "/v1/links/inspect"),
    (Method::POST, "/v1/revocations"),
    (Method::GET, "/v1/revocations/{id}"),
    (Method::DELETE, "/v1/revocations/{id}"),
];
/// Operations that anybody may ask for: all such callers are one.
const OPEN: &[&str] = &["/openapi.json", "/docs"];

/// Room and turns of large requests.
pub struct Apart {
    all: Share,
    logins: Share,
    callers: Vec<Share>,
    hasher: RandomState,
}

/// What there is at once: for all, for all logins, or for one caller.
struct Share {
    turns: Arc<Semaphore>,
    bodies: Pool,
    answers: Pool,
}

impl Share {
    /// For so many of the largest bodies and answers.
    fn new(turns: usize, room: usize, body_bytes: usize) -> Self {
        let (bodies, answers) = (Pool::new(room * body_bytes), Pool::new(room * LARGEST_ANSWER));
        Self { turns: Arc::new(Semaphore::new(turns)), bodies, answers }
    }
}

/// Whose parts a request takes.
#[derive(Clone, Copy)]
pub struct Whose {
    caller: usize,
    is_login: bool,
}

/// Room that a request has; it is given back when this is dropped.
struct Room {
    body: Mutex<BodyRoom>,
    answer: Mutex<AnswerRoom>,
}

impl Room {
    /// The body is done with, and its answer has so many bytes.
    fn answered(&self, bytes: usize) {
        drop(std::mem::take(&mut *self.body.lock()));
        self.answer.lock().shrink(bytes);
    }
}

/// Goes with a large request to where the work on it is done.
#[derive(Clone)]
pub struct Large {
    pub whose: Whose,
    /// Taken for as long as anything of the request is there.
    room: Arc<Room>,
}

impl Apart {
    /// For bodies up to so many bytes, on so many threads, of which one caller has half at most.
    pub fn new(body_bytes: usize, threads: usize) -> Self {
        let share = |turns, room| Share::new(turns, room, body_bytes);
        Self {
            all: share(threads, ROOM),
            logins: share(threads, ROOM_OF_LOGINS),
            callers: (0..CALLERS).map(|_| share(threads.div_ceil(2), ROOM_OF_CALLER)).collect(),
            hasher: RandomState::new(),
        }
    }

    fn whose(&self, caller: Option<&Caller>) -> Whose {
        let hash = self.hasher.hash_one(caller.map(Caller::identity));
        Whose { caller: (hash % CALLERS as u64) as usize, is_login: caller.is_some_and(|caller| caller.0.is_login()) }
    }

    /// The shares that a request takes a part of. The narrowest comes first, so that the requests of one caller hold up no other
    /// caller's, and those of all logins no client's.
    fn shares(&self, whose: Whose) -> impl Iterator<Item = &Share> {
        let logins = whose.is_login.then_some(&self.logins);
        self.callers.get(whose.caller).into_iter().chain(logins).chain([&self.all])
    }

    /// Waits for room for an answer.
    async fn answer_room(&self, whose: Whose) -> Result<AnswerRoom, Problem> {
        let pools: Vec<_> = self.shares(whose).map(|share| &share.answers).collect();
        tokio::time::timeout(PATIENCE, AnswerRoom::take(&pools, LARGEST_ANSWER)).await.map_err(|_| busy())
    }

    /// The room for answers that a caller has in common with others: in its own, no answer gives way to another.
    pub fn answers_in_common(&self, whose: Whose) -> Vec<&Pool> {
        self.shares(whose).skip(1).map(|share| &share.answers).collect()
    }

    async fn turn(&self, whose: Whose) -> Option<Vec<OwnedSemaphorePermit>> {
        let mut taken = Vec::new();
        for share in self.shares(whose) {
            taken.push(Arc::clone(&share.turns).acquire_owned().await.ok()?);
        }
        Some(taken)
    }

    /// Does the work on a request on a thread of its own, whenever it can go on. While it waits it holds no thread.
    ///
    /// # Errors
    /// When there was no turn in time: nothing has been done.
    pub async fn work<T: Send + 'static>(
        &self,
        large: &Large,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let mut work: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(work);
        let alarm = Arc::new(Alarm(Notify::new()));
        // Who is refused here has done nothing yet.
        let mut turn = tokio::time::timeout(PATIENCE, self.turn(large.whose)).await.ok().flatten().ok_or_else(busy)?;
        loop {
            let waker = Waker::from(Arc::clone(&alarm));
            let step = spawn_blocking(move || {
                let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
                drop(turn);
                (work, polled)
            });
            match step.await {
                Ok((_, Poll::Ready(done))) => return Ok(done),
                Ok((left, Poll::Pending)) => work = left,
                Err(_) => return Err(Problem::new(ProblemKind::Internal)),
            }
            alarm.0.notified().await;
            turn = self.turn(large.whose).await.ok_or_else(busy)?;
        }
    }
}

/// Tells that work can go on.
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Answers a large request apart from everything that must not wait for it.
pub async fn large(
    State(state): State<Arc<AppState>>,
    path: MatchedPath,
    request: Request<Body>,
    next: Next,
) -> Result<Response<Body>, Problem> {
    let is_small = SMALL.iter().any(|(method, known)| method == request.method() && *known == path.as_str());
    let most = request.body().size_hint().upper();
    if is_small && most.is_some_and(|most| most <= SMALL_BODY as u64) {
        return Ok(next.run(request).await);
    }
    let (mut parts, mut body) = request.into_parts();
    let is_open = OPEN.contains(&path.as_str());
    let caller = if is_open { None } else { Some(Caller::from_request_parts(&mut parts, &state).await?) };
    let whose = state.apart.whose(caller.as_ref());
    let limit = state.limits.body_bytes;
    if most.is_some_and(|most| most > limit as u64) {
        return Err(too_large(limit));
    }
    let most = most.map_or(limit, |most| most as usize);
    let pools: Vec<_> = state.apart.shares(whose).map(|share| &share.bodies).collect();
    let now = || state.clock.uptime();
    let (mut read, mut room, mut patience) = (BytesMut::new(), BodyRoom::default(), PATIENCE);
    let mut pace = Pace::new(most, state.limits.request_timeout, now());
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = wanted(&pools), if room.is_held() => {
                if pace.is_slow(now()) {
                    return Err(too_slow());
                }
                continue;
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| cut_short())?.into_data() else { continue };
        let length = read.len() + data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        pace.came(data.len(), now());
        if !is_small || length > SMALL_BODY {
            let begun = now();
            tokio::time::timeout(patience, room.grow(&pools, length)).await.map_err(|_| busy())?;
            let waited = now().saturating_sub(begun);
            patience = patience.saturating_sub(waited);
            pace.pause(waited);
        }
        read.extend_from_slice(&data);
    }
    let mut request = Request::from_parts(parts, Body::from(read.freeze()));
    // A small one after all, though it did not say so.
    if is_small && !room.is_held() {
        return Ok(next.run(request).await);
    }
    let answer = if is_small { AnswerRoom::default() } else { state.apart.answer_room(whose).await? };
    let room = Arc::new(Room { body: Mutex::new(room), answer: Mutex::new(answer) });
    let large = Large { whose, room };
    request.extensions_mut().insert(large.clone());
    let answer = async {
        let (parts, body) = next.run(request).await.into_parts();
        (parts, body.collect().await)
    };
    let (parts, answer) = state.apart.work(&large, answer.in_current_span()).await?;
    let answer = answer.map_err(|_| Problem::new(ProblemKind::Internal))?.to_bytes();
    large.room.answered(answer.len());
    Ok(Response::from_parts(parts, sending(&state, answer, large)))
}

fn busy() -> Problem {
    Problem::new(ProblemKind::Busy)
        .detail("Other large requests, or others of this caller, are under way, so nothing was done. Ask again later.")
}

fn too_slow() -> Problem {
    Problem::new(ProblemKind::Busy)
        .detail("The body came too slowly while others waited for its room, so nothing was done. Ask again later.")
}
