//! Revocations as people see them: written, lifted, looked up, listed.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncTypedCommands;
use serde::Serialize;

use super::connection::Link;
use super::keys::StreamId;
use super::stream::Step;
use super::{COMMAND_TIMEOUT, Inner, STREAM_RETENTION, scripts};
use crate::clock::UnixMillis;
use crate::revocation::list::SCAN_BUDGET;
use crate::revocation::{
    Durability, IssuedBefore, Kind, ListQuery, PRUNE_GRACE, Page, PageCursor, Proposal, Revocation, RevocationId,
    StoreError, Target,
};

/// Records fetched in one round trip while listing.
const LIST_BATCH: isize = 500;

/// Between two looks at what others have written of the store's time.
const TELL_PAUSE: Duration = Duration::from_millis(10);
/// Between two questions for the store's time.
const SHORTEST_TELL_PAUSE: Duration = Duration::from_millis(1);

/// How long what was found out about the server's durability is believed.
const DURABILITY_AGE: Duration = Duration::from_secs(10);

/// What stands in a record besides the numbers that the script decides.
#[derive(Serialize)]
struct Asked<'a> {
    id: &'a RevocationId,
    kind: Kind,
    member: &'a str,
    created_by: &'a str,
    reason: Option<&'a str>,
}

/// A revocation that was written.
pub struct Written {
    pub step: Step,
    /// The store's count of writes at this one.
    pub count: u64,
    /// What came of the proposal.
    pub revocation: Revocation,
    /// How many replicas have it, where that was to be waited for.
    pub reached: Option<u32>,
    /// Whether it is certain that it was written to the Redis that everybody writes to.
    pub is_vouched: bool,
}

/// What the script decides: epoch, stream id, count of writes, the store's time, the score.
type Decided = (String, String, u64, u64, u64);

/// Writes a revocation.
pub async fn insert(inner: &Inner, proposal: Proposal, is_watched: bool) -> Result<Written, StoreError> {
    let Proposal { id, kind, created_by, reason, .. } = &proposal;
    let member = proposal.target.member();
    let asked = Asked { id, kind: *kind, member: &member, created_by, reason: reason.as_deref() };
    let json = serde_json::to_string(&asked).map_err(|error| StoreError::Failed(error.to_string()))?;
    let (now, bounds) = (inner.clock.now().wall, inner.bounds);
    let issued_before = match proposal.issued_before {
        IssuedBefore::Time(time) => Some(time.0),
        IssuedBefore::Now | IssuedBefore::Always => None,
    };
    // WAIT holds up a whole connection: whoever waits has one of its own.
    let own = (inner.min_replicas > 0)
        .then(|| Link::new(Arc::clone(&inner.topology), COMMAND_TIMEOUT + inner.replica_timeout));
    let link = own.as_ref().unwrap_or(&inner.link);
    let ((epoch, entry, count, at, score), reached): (Decided, _) = link
        .run(async |mut connection| {
            let decided = scripts::REVOKE
                .key(inner.keys.all())
                .arg(STREAM_RETENTION.as_millis() as u64)
                .arg(id.as_str())
                .arg(&member)
                .arg(or_nothing(proposal.fixed_score(now, bounds)))
                .arg(or_nothing(issued_before))
                .arg(lapse(proposal.expires_at))
                .arg(or_nothing(proposal.life(bounds).map(|life| life.as_millis() as u64)))
                .arg(PRUNE_GRACE.as_millis() as u64)
                .arg(&json)
                .arg(inner.skew())
                .arg(now.0)
                .arg(if is_watched { "1" } else { "" })
                .invoke_async(&mut connection)
                .await?;
            if inner.min_replicas == 0 {
                return Ok((decided, None));
            }
            let mut wait = redis::cmd("WAIT");
            wait.arg(inner.min_replicas).arg(inner.replica_timeout.as_millis() as u64);
            // It is recorded: whatever happens now says only that no replica has confirmed it.
            Ok((decided, Some(wait.query_async(&mut connection).await.unwrap_or(0))))
        })
        .await?;
    let at = UnixMillis(at);
    let is_vouched = inner.vouch_for(link).await.is_ok();
    if is_vouched {
        inner.note_time(&epoch, at);
    }
    let revocation = proposal.recorded(at, score, bounds);
    Ok(Written { step: step(epoch, &entry)?, count, revocation, reached, is_vouched })
}

/// What the server's clock shows. A user may have no right to ask.
pub async fn clock(link: &Link) -> Result<UnixMillis, StoreError> {
    let asked = link.run(async |mut connection| redis::cmd("TIME").query_async(&mut connection).await);
    let (seconds, micros): (u64, u64) = asked.await?;
    Ok(UnixMillis(seconds * 1000 + micros / 1000))
}

fn step(epoch: String, id: &str) -> Result<Step, StoreError> {
    let id = StreamId::parse(id).ok_or_else(|| StoreError::Foreign("a stream id".into()))?;
    Ok(Step { epoch, id })
}

/// Waits until the store's time has come so far, and lets the store note that. A process that may not write waits for what
/// others write.
pub async fn reach(inner: &Inner, time: UnixMillis) -> Result<(), StoreError> {
    let _one_for_all = inner.telling.lock().await;
    let told = || inner.index.store_time().told();
    while told() < time {
        let pause = match tell(inner).await {
            Ok(at) => time.since(at),
            Err(error) if error.is_refusal() => TELL_PAUSE,
            Err(error) => return Err(error),
        };
        if told() < time {
            tokio::time::sleep(pause.max(SHORTEST_TELL_PAUSE)).await;
        }
    }
    Ok(())
}

async fn tell(inner: &Inner) -> Result<UnixMillis, StoreError> {
    let (epoch, at): (String, u64) = inner
        .link
        .run(async |mut connection| {
            let mut call = scripts::TELL.key(inner.keys.all());
            call.arg(inner.skew()).invoke_async(&mut connection).await
        })
        .await?;
    // By the time of a Redis that is master no more, links would be dated further ahead than the next one's reaches.
    inner.vouch_for(&inner.link).await?;
    inner.note_time(&epoch, UnixMillis(at));
    Ok(UnixMillis(at))
}

/// How safe the server makes what it has answered: on disk only where every write is synced before the answer. When in
/// doubt, in memory.
pub async fn durability(inner: &Inner) -> Durability {
    let now = inner.clock.now();
    if let Some((known, at)) = *inner.durability.lock()
        && now.since(at) < DURABILITY_AGE
    {
        return known;
    }
    let asked: Result<(String, Vec<String>), StoreError> = inner
        .link
        .run(async |mut connection| {
            let mut pipe = redis::pipe();
            pipe.cmd("INFO").arg("persistence").cmd("CONFIG").arg("GET").arg("*append*fsync*");
            pipe.query_async(&mut connection).await
        })
        .await;
    let is_synced = asked.is_ok_and(|(info, settings)| {
        let set = |name: &str, value: &str| settings.chunks(2).any(|pair| pair == [name, value]);
        info.contains("aof_enabled:1")
            && info.contains("aof_last_write_status:ok")
            && set("appendfsync", "always")
            // Otherwise nothing is synced while the log is being rewritten.
            && set("no-appendfsync-on-rewrite", "no")
    });
    let found = if is_synced { Durability::Disk } else { Durability::Memory };
    *inner.durability.lock() = Some((found, now));
    found
}

/// How a script is told when to forget: a number, or nothing for never.
pub fn lapse(at: Option<UnixMillis>) -> String {
    or_nothing(at.map(|at| at.0))
}

fn or_nothing(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Lifts revocations by id, or whatever has lapsed when there are no ids; answers the step and what was lifted.
pub async fn lift(inner: &Inner, ids: &[&str]) -> Result<(Step, Vec<Revocation>), StoreError> {
    let (epoch, id, records): (String, String, Vec<String>) = inner
        .link
        .run(async |mut connection| {
            let mut call = scripts::LIFT.key(inner.keys.all());
            call.arg(STREAM_RETENTION.as_millis() as u64).arg(inner.clock.now().wall.0);
            for id in ids {
                call.arg(*id);
            }
            call.invoke_async(&mut connection).await
        })
        .await?;
    let lifted = records.iter().map(|record| parse(record)).collect::<Result<_, _>>()?;
    Ok((step(epoch, &id)?, lifted))
}

/// One revocation.
pub async fn find(inner: &Inner, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
    let record =
        inner.link.run(async |mut connection| connection.hget(inner.keys.records(), id.as_str()).await).await?;
    record.map(|record| parse(&record)).transpose()
}

/// The revocation of a target with the highest score: the last of its entries in the index by target.
pub async fn strictest(inner: &Inner, target: &Target) -> Result<Option<Revocation>, StoreError> {
    let member = target.member();
    let last: Vec<Vec<u8>> = inner
        .link
        .run(async |mut connection| {
            redis::cmd("ZREVRANGEBYLEX")
                .arg(inner.keys.by_target())
                .arg(format!("({member}\u{1}"))
                .arg(format!("[{member}\0"))
                .arg("LIMIT")
                .arg(0)
                .arg(1)
                .query_async(&mut connection)
                .await
        })
        .await?;
    // Member, a zero byte, sixteen digits of the score, the id.
    let id = last.first().and_then(|entry| entry.get(member.len() + 17..)).and_then(|id| std::str::from_utf8(id).ok());
    match id.and_then(|id| id.parse().ok()) {
        Some(id) => find(inner, &id).await,
        None => Ok(None),
    }
}

/// A page, newest first: by creation time, ties by id, as the sorted set has them.
pub async fn list(inner: &Inner, query: &ListQuery) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (mut scanned, mut looked_at) = (0, 0);
    let from = query.after.as_ref().map_or_else(|| "+inf".to_owned(), |after| after.created_at.0.to_string());
    loop {
        let batch = fetch(inner, &from, scanned as isize).await?;
        for (id, created_at, record) in &batch {
            scanned += 1;
            let is_behind = query
                .after
                .as_ref()
                .is_some_and(|after| (created_at.0, id.as_str()) >= (after.created_at.0, after.id.as_str()));
            looked_at += usize::from(!is_behind);
            let Some(record) = record.as_ref().filter(|_| !is_behind) else { continue };
            let revocation = parse(record)?;
            if query.matches(&revocation) {
                if page.revocations.len() == query.limit {
                    page.next = page
                        .revocations
                        .last()
                        .map(|last| PageCursor { created_at: last.created_at, id: last.id.clone() });
                    return Ok(page);
                }
                page.revocations.push(revocation);
            }
        }
        let Some((id, created_at, _)) = batch.last() else { return Ok(page) };
        if looked_at >= SCAN_BUDGET {
            page.next = id.parse().ok().map(|id| PageCursor { created_at: *created_at, id });
            return Ok(page);
        }
    }
}

type Row = (String, UnixMillis, Option<String>);

async fn fetch(inner: &Inner, from: &str, offset: isize) -> Result<Vec<Row>, StoreError> {
    inner
        .link
        .run(async |mut connection| {
            let ids: Vec<(String, f64)> = redis::cmd("ZREVRANGEBYSCORE")
                .arg(inner.keys.by_time())
                .arg(from)
                .arg("-inf")
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(offset)
                .arg(LIST_BATCH)
                .query_async(&mut connection)
                .await?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let names: Vec<&str> = ids.iter().map(|(id, _)| id.as_str()).collect();
            let records: Vec<Option<String>> =
                redis::cmd("HMGET").arg(inner.keys.records()).arg(&names).query_async(&mut connection).await?;
            let rows = ids.into_iter().zip(records);
            Ok(rows.map(|((id, created_at), record)| (id, UnixMillis(created_at as u64), record)).collect())
        })
        .await
}

/// Reads a record.
pub fn parse(record: &str) -> Result<Revocation, StoreError> {
    serde_json::from_str(record).map_err(|_| StoreError::Foreign("an unreadable record".into()))
}
