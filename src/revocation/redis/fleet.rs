//! The fleet: every verifier says how far it has come, so that a revocation can be waited for.
//!
//! A verifier writes at most once a second, and now and then even when there is nothing to say. A step that somebody
//! waits for is marked in the stream; whoever applies it reports that soon, with the time by the server's clock.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::stream::{Position, Step};
use super::{Inner, scripts};
use crate::clock::{Moment, UnixMillis};
use crate::entropy::random;
use crate::revocation::{Applied, StoreError, Verifier};
use crate::token::TokenId;

/// Two reports of one verifier are at least this far apart.
const REPORT_GAP: Duration = Duration::from_secs(1);
/// How much longer a verifier stays silent when nobody waits.
const REPORT_SILENCE: Duration = Duration::from_secs(2);
/// A verifier that was not heard of for so long counts as gone.
const ALIVE: Duration = Duration::from_secs(10);
/// When the fleet forgets a verifier.
const FORGET: Duration = Duration::from_secs(60);
/// Watched steps that a verifier remembers for its next reports.
const RECENT: usize = 64;
/// How soon a waiting revocation looks at the fleet, and how much longer it waits each time, up to the gap of reports.
const POLL: Duration = Duration::from_millis(10);

/// This process as a member of the fleet.
pub struct Membership {
    id: String,
    started_at: UnixMillis,
    /// Watched steps and when they were applied, by this machine's clocks.
    recent: Mutex<VecDeque<(Step, Moment)>>,
    /// The process is about to end: it does not report any more.
    has_left: AtomicBool,
    /// Something that is waited for has been applied.
    applied: Notify,
    /// How far the server's clock is ahead of ours, in milliseconds.
    server_ahead: Mutex<i64>,
}

/// What a verifier writes about itself.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    version: String,
    started_at: UnixMillis,
    position: String,
    count: u64,
    lag_ms: u64,
    /// Watched steps, and when they were applied by the server's clock.
    #[serde(default)]
    recent: Vec<(String, u64)>,
}

impl Membership {
    pub fn new(started_at: UnixMillis) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(40).collect();
        let id = TokenId(random()).text();
        Self {
            id: format!("{host}-{}", &id.as_str()[..8]),
            started_at,
            recent: Mutex::default(),
            has_left: AtomicBool::new(false),
            applied: Notify::new(),
            server_ahead: Mutex::new(0),
        }
    }

    /// Notes that a step that somebody waits for has been applied.
    pub fn note_applied(&self, step: Step, at: Moment) {
        let mut recent = self.recent.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((step, at));
        self.applied.notify_one();
    }

    fn report(&self, position: &Position, lag: Duration) -> Report {
        let ahead = *self.server_ahead.lock();
        let by_server = |at: Moment| at.wall.0.saturating_add_signed(ahead);
        let recent = self.recent.lock();
        Report {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            position: position.step().to_string(),
            count: position.count,
            lag_ms: lag.as_millis() as u64,
            recent: recent.iter().map(|(step, at)| (step.to_string(), by_server(*at))).collect(),
        }
    }
}

/// Reports for as long as the process runs.
pub async fn run(inner: &Inner) {
    loop {
        if inner.applied.borrow().is_some() && !inner.fleet.has_left.load(Ordering::Relaxed) {
            // Nobody is told: a verifier that cannot report is missing from the list.
            let _ = report(inner).await;
        }
        tokio::time::sleep(REPORT_GAP).await;
        let _ = tokio::time::timeout(REPORT_SILENCE, inner.fleet.applied.notified()).await;
    }
}

async fn report(inner: &Inner) -> Result<(), StoreError> {
    let Some(position) = inner.applied.borrow().clone() else { return Ok(()) };
    let asked = inner.clock.now();
    let lag = inner.index.freshness().age(asked).unwrap_or_default();
    let report = serde_json::to_string(&inner.fleet.report(&position, lag)).unwrap_or_default();
    let server = write(inner, &report).await?;
    let answered = inner.clock.now();
    let middle = asked.wall.0 + answered.wall.0.saturating_sub(asked.wall.0) / 2;
    *inner.fleet.server_ahead.lock() = server as i64 - middle as i64;
    Ok(())
}

/// Leaves the fleet.
pub async fn leave(inner: &Inner) {
    inner.fleet.has_left.store(true, Ordering::Relaxed);
    let _ = write(inner, "").await;
}

/// Writes a report; answers the server's time.
async fn write(inner: &Inner, report: &str) -> Result<u64, StoreError> {
    inner
        .link
        .run(async |mut connection| {
            scripts::REPORT
                .key(inner.keys.fleet())
                .arg(&inner.fleet.id)
                .arg(report)
                .arg(FORGET.as_millis() as u64)
                .invoke_async(&mut connection)
                .await
        })
        .await
}

/// Those that are alive, with what they last said, and the store's count of writes.
async fn read(inner: &Inner) -> Result<(Vec<(String, UnixMillis, Report)>, u64), StoreError> {
    type Reply = (HashMap<String, String>, Option<u64>, (u64, u64));
    let (members, count, (seconds, micros)): Reply = inner
        .link
        .run(async |mut connection| {
            redis::pipe()
                .cmd("HGETALL")
                .arg(inner.keys.fleet())
                .cmd("HGET")
                .arg(inner.keys.meta())
                .arg("n")
                .cmd("TIME")
                .query_async(&mut connection)
                .await
        })
        .await?;
    let now = UnixMillis(seconds * 1000 + micros / 1000);
    let mut alive: Vec<_> = members
        .into_iter()
        .filter_map(|(id, text)| {
            let (seen, report) = text.split_once(' ')?;
            let seen = UnixMillis(seen.parse().ok()?);
            (now.since(seen) <= ALIVE).then_some((id, seen, serde_json::from_str(report).ok()?))
        })
        .collect();
    alive.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    Ok((alive, count.unwrap_or_default()))
}

/// The fleet, for people.
pub async fn verifiers(inner: &Inner) -> Result<Vec<Verifier>, StoreError> {
    let (alive, count) = read(inner).await?;
    let verifiers = alive.into_iter().map(|(id, last_seen, report)| Verifier {
        id,
        version: report.version,
        started_at: report.started_at,
        last_seen,
        position: report.position,
        lag_ms: report.lag_ms,
        behind: count.saturating_sub(report.count),
    });
    Ok(verifiers.collect())
}

/// Who is alive right now: those that a revocation is going to wait for.
pub async fn alive(inner: &Inner) -> Result<Vec<String>, StoreError> {
    Ok(read(inner).await?.0.into_iter().map(|(id, ..)| id).collect())
}

/// Waits until all of them have applied a step, or until time is up.
pub async fn wait(inner: &Inner, members: &[String], step: &Step, patience: Duration) -> Applied {
    let end = inner.clock.uptime() + patience;
    let mut applied: HashMap<String, u64> = HashMap::new();
    let mut pause = POLL;
    loop {
        if let Ok((alive, _)) = read(inner).await {
            for (id, seen, report) in alive {
                let own = report.recent.iter().find(|(recent, _)| Step::parse(recent).as_ref() == Some(step));
                let is_past = Step::parse(&report.position).is_some_and(|last| last.is_at_or_past(step));
                if members.contains(&id) && (own.is_some() || is_past) {
                    let at = own.map_or(seen, |(_, at)| UnixMillis(*at));
                    applied.entry(id).or_insert(at.since(step.id.time()).as_millis() as u64);
                }
            }
        }
        if applied.len() >= members.len() || inner.clock.uptime() >= end {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(REPORT_GAP / 4);
    }
    Applied {
        verifiers: members.len(),
        applied: applied.len(),
        slowest_ms: applied.values().copied().max().unwrap_or_default(),
        missing: members.iter().filter(|id| !applied.contains_key(*id)).cloned().collect(),
    }
}
