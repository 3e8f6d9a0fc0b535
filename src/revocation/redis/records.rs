//! Revocations as people see them: written, lifted, looked up, listed.

use redis::AsyncTypedCommands;

use super::connection::store_error;
use super::{Inner, STREAM_RETENTION, scripts};
use crate::clock::UnixMillis;
use crate::revocation::list::SCAN_BUDGET;
use crate::revocation::{ListQuery, Page, PageCursor, Revocation, RevocationId, StoreError};

/// Records fetched in one round trip while listing.
const LIST_BATCH: isize = 500;

/// What an operator should know about a Redis.
#[derive(Debug, Default)]
pub struct Inspection {
    pub version: String,
    pub eviction_policy: String,
    pub append_only: String,
    pub role: String,
    /// Whether the revocation sets are there.
    pub set_up: bool,
}

/// Writes a revocation; answers the stream id.
pub async fn insert(inner: &Inner, revocation: &Revocation) -> Result<String, StoreError> {
    let json = serde_json::to_string(revocation).map_err(|error| StoreError::Failed(error.to_string()))?;
    inner
        .link
        .run(async |mut connection| {
            scripts::REVOKE
                .key(inner.keys.all())
                .arg(STREAM_RETENTION.as_millis() as u64)
                .arg(revocation.target.member())
                .arg(revocation.score)
                .arg(revocation.id.as_str())
                .arg(json)
                .arg(revocation.created_at.0)
                .arg(lapse(revocation.lapses_at))
                .invoke_async(&mut connection)
                .await
        })
        .await
}

/// How a script is told when to forget: a number, or nothing for never.
pub fn lapse(at: Option<UnixMillis>) -> String {
    at.map(|at| at.0.to_string()).unwrap_or_default()
}

/// Lifts revocations by id, or whatever has lapsed when there are no ids; answers the position and what was lifted.
pub async fn lift(inner: &Inner, ids: &[&str]) -> Result<(String, Vec<Revocation>), StoreError> {
    let (position, records): (String, Vec<String>) = inner
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
    Ok((position, lifted))
}

/// One revocation.
pub async fn find(inner: &Inner, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
    let record =
        inner.link.run(async |mut connection| connection.hget(inner.keys.records(), id.as_str()).await).await?;
    record.map(|record| parse(&record)).transpose()
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

fn parse(record: &str) -> Result<Revocation, StoreError> {
    serde_json::from_str(record).map_err(|_| StoreError::Foreign("an unreadable record".into()))
}

/// Asks what `linkgate check` wants to know. What the rights do not allow stays empty.
pub async fn inspect(inner: &Inner) -> Result<Inspection, StoreError> {
    let mut connection = inner.link.dedicated(super::COMMAND_TIMEOUT).await?;
    redis::cmd("PING").exec_async(&mut connection).await.map_err(store_error)?;
    let info: String = redis::cmd("INFO").query_async(&mut connection).await.unwrap_or_default();
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim().to_owned()
    };
    let set_up: Option<String> =
        redis::cmd("HGET").arg(inner.keys.meta()).arg("e").query_async(&mut connection).await.map_err(store_error)?;
    Ok(Inspection {
        version: field("redis_version"),
        eviction_policy: field("maxmemory_policy"),
        append_only: field("aof_enabled"),
        role: field("role"),
        set_up: set_up.is_some(),
    })
}
