//! Keeping the index fresh: connect, make sure the store is whole, load, follow, and start over on any doubt.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tracing::{error, info, warn};

use super::connection::store_error;
use super::keys::StreamId;
use super::restore::Restoring;
use super::snapshot::{self, Header};
use super::{Inner, STREAM_RETENTION, records, scripts};
use crate::clock::{Moment, UnixMillis};
use crate::entropy::random;
use crate::revocation::{Change, Index, StoreError};

/// How long one read of the stream waits for something new.
const BLOCK: Duration = Duration::from_secs(1);
/// When a blocking read counts as lost.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Entries taken in one read.
const READ_COUNT: usize = 512;
/// Pause after a read that brought something: bounds what many followers cost the server.
const COALESCE: Duration = Duration::from_millis(5);
/// How often somebody beats.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the index forgets what can match no link any more.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Waits between attempts: doubled each time, with jitter.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Stream entries as Redis answers them: ids, and fields with their values in turn.
type Entries = Vec<(String, Vec<String>)>;

/// How far this process has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub last: StreamId,
}

/// Follows for as long as the process runs.
pub async fn run(inner: &Inner) {
    tokio::join!(follow(inner), beat(inner), sweep(inner), prune(inner));
}

async fn follow(inner: &Inner) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let Err(error) = session(inner).await;
        if inner.trouble.read().is_none() {
            // It had worked: start with short waits again.
            backoff = FIRST_BACKOFF;
        }
        note_trouble(inner, Some(error));
        let jitter = Duration::from_millis(u64::from(random::<1>()[0]) * backoff.as_millis() as u64 / 512);
        tokio::time::sleep(backoff + jitter).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// Says once what is wrong, and once that it is over.
fn note_trouble(inner: &Inner, now: Option<StoreError>) {
    let mut trouble = inner.trouble.write();
    if *trouble == now {
        return;
    }
    match &now {
        Some(error @ (StoreError::Lost(_) | StoreError::Foreign(_) | StoreError::Forbidden(_))) => {
            error!(%error, "revocations cannot be followed");
        }
        Some(error) => warn!(%error, "revocations cannot be followed"),
        None => info!("revocations are being followed"),
    }
    *trouble = now;
}

/// One connection's life.
async fn session(inner: &Inner) -> Result<std::convert::Infallible, StoreError> {
    let mut connection = inner.link.dedicated(READ_TIMEOUT).await?;
    let known = inner.applied.borrow().clone();
    let header = snapshot::header(&mut connection, &inner.keys).await?;
    let history = match &known {
        Some(position) => Some(history(inner, &mut connection, &header, position).await?),
        None => None,
    };
    let mut position = match (known, history) {
        (Some(position), Some(History::Continuous)) => position,
        _ => join(inner, &mut connection, header, history).await?,
    };
    let started = inner.clock.now();
    if beat_once(inner).await.is_ok() {
        inner.index.freshness().set_beat(started);
    }
    inner.applied.send_replace(Some(position.clone()));
    note_trouble(inner, None);
    let mut block = None;
    loop {
        let asked = inner.clock.now();
        let read = read_stream(inner, &mut connection, &mut position, &inner.index, block).await?;
        // First to the end of what is there; from then on each read waits for something new.
        if read < READ_COUNT {
            block = Some(BLOCK);
        }
        if read == 0 {
            let asked = inner.clock.now();
            let header = snapshot::header(&mut connection, &inner.keys).await?;
            if !header.whole || header.epoch.as_ref() != Some(&position.epoch) {
                return Err(StoreError::Lost("the revocation sets are gone or torn".into()));
            }
            if header.last == Some(position.last) {
                inner.index.freshness().set_complete(asked);
            } else if read_stream(inner, &mut connection, &mut position, &inner.index, None).await? == 0 {
                return Err(StoreError::Lost("the stream no longer leads on from what was read".into()));
            }
        } else if read < READ_COUNT {
            inner.index.freshness().set_complete(asked);
        }
        if read > 0 {
            inner.applied.send_replace(Some(position.clone()));
            tokio::time::sleep(COALESCE).await;
        }
    }
}

/// How the store's history relates to what this process has read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    /// It leads on from there.
    Continuous,
    /// It leads on, but the entries in between are no longer kept: load anew.
    Trimmed,
    /// It is another one: what was read may have been lost, so write back what is known.
    Forked,
}

async fn history(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    header: &Header,
    position: &Position,
) -> Result<History, StoreError> {
    let has_gap = inner.has_gap.swap(false, Ordering::Relaxed);
    if !header.whole || header.restoring || has_gap || header.epoch.as_ref() != Some(&position.epoch) {
        return Ok(History::Forked);
    }
    if header.last == Some(position.last) {
        return Ok(History::Continuous);
    }
    let stream = inner.keys.stream();
    let (own, oldest): (Entries, Entries) = redis::pipe()
        .cmd("XRANGE")
        .arg(stream)
        .arg(position.last.to_string())
        .arg(position.last.to_string())
        .cmd("XRANGE")
        .arg(stream)
        .arg("-")
        .arg("+")
        .arg("COUNT")
        .arg(1)
        .query_async(connection)
        .await
        .map_err(store_error)?;
    let oldest = oldest.first().and_then(|(id, _)| StreamId::parse(id));
    let has_gone_on = header.last.is_some_and(|last| last > position.last);
    Ok(match own.is_empty() {
        false => History::Continuous,
        true if has_gone_on && oldest.is_none_or(|oldest| oldest > position.last) => History::Trimmed,
        true => History::Forked,
    })
}

/// Gets from nothing, or from a copy that no longer fits, to a complete index and a place in the stream.
async fn join(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    mut header: Header,
    history: Option<History>,
) -> Result<Position, StoreError> {
    if !header.whole {
        let restoring = match history {
            Some(_) => Restoring::Yes,
            None if header.epoch.is_none() && inner.memory.recall().is_none() => Restoring::No,
            None => {
                return Err(StoreError::Lost(
                    "it had been set up before and is empty or torn now, and no running linkgate remembers what was \
                     revoked; restore its data, or accept the loss with `linkgate store init --accept-loss`"
                        .into(),
                ));
            }
        };
        inner.set_up(restoring).await?;
        header = snapshot::header(connection, &inner.keys).await?;
    }
    if history == Some(History::Forked) {
        warn!("the store's history is not the one that was followed: writing back what it has lost");
        let count = inner.restore().await?;
        info!(count, "wrote back revocations that the store had lost");
        inner.finish_restoring().await?;
        header.restoring = false;
    }
    if header.restoring {
        return Err(StoreError::Lost("another linkgate is writing back what the store has lost".into()));
    }
    let (loaded, position) = snapshot::load(inner, connection).await?;
    let index = Arc::clone(&inner.index);
    blocking(move || index.replace(loaded)).await?;
    inner.memory.remember(&position.epoch);
    let counts = inner.index.counts();
    info!(links = counts.links, cut_offs = counts.cut_offs, "loaded the revocations");
    Ok(position)
}

/// Reads the stream once from a position and applies what it brings; answers how many entries there were.
///
/// # Errors
/// [`StoreError::Lost`] when an entry does not name the one before as its predecessor.
pub async fn read_stream(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    index: &Index,
    block: Option<Duration>,
) -> Result<usize, StoreError> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(READ_COUNT);
    if let Some(block) = block {
        command.arg("BLOCK").arg(block.as_millis() as u64);
    }
    command.arg("STREAMS").arg(inner.keys.stream()).arg(position.last.to_string());
    let reply: Option<Vec<(String, Entries)>> = command.query_async(connection).await.map_err(store_error)?;
    let entries = reply.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
    for (id, words) in &entries {
        let entry = Entry::parse(words);
        if entry.epoch != Some(&position.epoch) || entry.previous != Some(position.last) {
            inner.has_gap.store(true, Ordering::Relaxed);
            return Err(StoreError::Lost("the stream has a gap or another history".into()));
        }
        let id = StreamId::parse(id).ok_or_else(|| StoreError::Foreign("a stream id".into()))?;
        for change in &entry.changes {
            index.apply(*change);
        }
        // A beat that was there before we waited says nothing about now.
        if entry.beats && block.is_some() {
            index.freshness().set_beat(inner.clock.now());
        }
        if entry.has_garbage {
            error!(entry = %id, "the stream holds something that is not ours; it was skipped");
        }
        position.last = id;
    }
    Ok(entries.len())
}

/// One stream entry, taken apart.
#[derive(Default)]
struct Entry<'a> {
    previous: Option<StreamId>,
    epoch: Option<&'a String>,
    changes: Vec<Change<'a>>,
    beats: bool,
    has_garbage: bool,
}

impl<'a> Entry<'a> {
    fn parse(words: &'a [String]) -> Self {
        let mut entry = Self::default();
        for pair in words.chunks(2) {
            let [field, value] = pair else {
                entry.has_garbage = true;
                continue;
            };
            match field.as_str() {
                "p" => entry.previous = StreamId::parse(value),
                "e" => entry.epoch = Some(value),
                "n" => {}
                "b" => entry.beats = true,
                operation => match change(operation, value) {
                    Some(change) => entry.changes.push(change),
                    None => entry.has_garbage = true,
                },
            }
        }
        entry
    }
}

fn change<'a>(operation: &str, value: &'a str) -> Option<Change<'a>> {
    let (score, member) = value.split_once(' ')?;
    let score = score.parse().ok()?;
    match operation {
        "t" => Some(Change::Link { id: member.parse().ok()?, until: UnixMillis(score) }),
        "T" => Some(Change::LinkLifted { id: member.parse().ok()? }),
        "c" => Some(Change::CutOff { member, score }),
        "C" => Some(Change::CutOffLifted { member }),
        _ => None,
    }
}

async fn beat(inner: &Inner) {
    let mut tick = tokio::time::interval(BEAT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // Nobody is told: a store that cannot be written shows in the age of the last beat.
        let _ = beat_once(inner).await;
    }
}

async fn beat_once(inner: &Inner) -> Result<(), StoreError> {
    inner
        .link
        .run(async |mut connection| {
            scripts::BEAT
                .key(inner.keys.all())
                .arg(STREAM_RETENTION.as_millis() as u64)
                .arg(BEAT_INTERVAL.as_millis() as u64)
                .invoke_async::<u8>(&mut connection)
                .await
                .map(|_| ())
        })
        .await
}

async fn sweep(inner: &Inner) {
    let mut tick = tokio::time::interval(BEAT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        while matches!(records::lift(inner, &[]).await, Ok((_, lifted)) if !lifted.is_empty()) {}
    }
}

async fn prune(inner: &Inner) {
    let mut tick = tokio::time::interval(PRUNE_INTERVAL);
    loop {
        tick.tick().await;
        let Moment { wall, .. } = inner.clock.now();
        let (index, max_ttl) = (Arc::clone(&inner.index), inner.max_ttl);
        if let Err(error) = blocking(move || index.prune(wall, max_ttl)).await {
            error!(%error, "the index could not be pruned");
        }
    }
}

/// Runs long work on a thread where nobody waits for a verdict.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Failed(error.to_string()))
}
