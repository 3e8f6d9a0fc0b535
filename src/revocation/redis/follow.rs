//! Keeping the index fresh: connect, make sure the store is whole, load, follow, and start over on any doubt.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tracing::{error, info, warn};

use super::connection::store_error;
use super::keys::StreamId;
use super::memory::Lineage;
use super::restore::{self, Ground, PROBATION};
use super::snapshot::{self, Header, Standing};
use super::stream::{self, Position, Reply};
use super::topology::Connected;
use super::{CHECK_INTERVAL, ELSEWHERE, Inner, STREAM_RETENTION, cache, fleet, records, scripts};
use crate::clock::{Moment, UnixMillis};
use crate::entropy::random;
use crate::revocation::StoreError;

/// How long one read of the stream waits for something new.
const BLOCK: Duration = Duration::from_millis(500);
/// When a blocking read counts as lost.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a read that brought something: bounds what many followers cost the server.
const COALESCE: Duration = Duration::from_millis(5);
/// How often every process tries to beat.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A beat this young is enough: a little less than the interval, or whoever is a moment early would leave a gap.
const BEAT_AGE: Duration = Duration::from_millis(750);
/// How often the index forgets what can match no link any more.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// Waits between attempts: doubled each time, with jitter of at most half; well below the probation of a new store, in which
/// whoever remembers another must have looked.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_millis(700);
/// How often a store on probation is looked at.
const PROBATION_POLL: Duration = Duration::from_millis(50);

/// Follows for as long as the process runs; a process that asks for each judgement only looks after the store.
pub async fn run(inner: &Arc<Inner>) {
    if inner.follows {
        tokio::join!(
            follow(inner),
            beat(inner),
            sweep(inner),
            prune(inner),
            fleet::run(inner),
            save(inner),
            inner.keep_word()
        );
    } else {
        tokio::join!(look_after(inner), beat(inner), sweep(inner));
    }
}

/// Sets the store up the first time ever, and says what is wrong with it.
async fn look_after(inner: &Inner) {
    let mut tick = tokio::time::interval(BEAT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let looked = async {
            // Over the connection that judgements use: it is there before the first of them, and is kept warm.
            let mut header = inner
                .questions
                .run(async |mut connection| snapshot::ask(&mut connection, &inner.keys).await)
                .await
                .and_then(|(meta, links, cut_offs)| Header::new(meta, &links, &cut_offs))?;
            if !header.whole {
                header = make_whole(inner, header, None).await?;
            }
            let lineage = settled(inner, header, inner.memory.recall().as_ref()).await?;
            see_clock(inner, &lineage.epoch).await;
            *inner.asked_at.lock() = Some(inner.clock.now());
            inner.memory.remember(&lineage);
            Ok(())
        };
        note_trouble(inner, looked.await.err());
    }
}

/// Looks at the server's clock: the last entry of the stream may be as old as a beat.
async fn see_clock(inner: &Inner, epoch: &str) {
    if let Ok(clock) = records::clock(&inner.questions).await {
        inner.index.store_time().see(epoch, clock, inner.clock.now(), inner.bounds);
    }
}

/// Waits while a store that was set up on empty ground is on probation, and answers where it comes from; where it is not
/// the one that is remembered, objects.
///
/// # Errors
/// [`StoreError::Lost`] when it is not to be believed.
async fn settled(inner: &Inner, mut header: Header, remembered: Option<&Lineage>) -> Result<Lineage, StoreError> {
    let start = inner.clock.uptime();
    while header.standing == Standing::OnProbation {
        if let Some(remembered) = remembered
            && header.lineage().is_some_and(|lineage| !lineage.descends_from(remembered))
        {
            inner.object(remembered).await?;
        } else if inner.clock.uptime().saturating_sub(start) > PROBATION * 2 {
            break;
        } else {
            tokio::time::sleep(PROBATION_POLL).await;
            // Without the right to write it is left to others.
            let _ = inner.end_probation().await;
        }
        header = inner.header().await?;
    }
    inner.index.store_time().note_lost_counts(header.counts_lost);
    header.believe(remembered)
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
    let Connected { mut connection, generation } = inner.topology.connect(READ_TIMEOUT).await?;
    inner.footing.settle(&mut connection).await?;
    let known = inner.applied.borrow().clone();
    let header = snapshot::header(&mut connection, &inner.keys).await?;
    let history = match &known {
        Some(position) => Some(history(inner, &mut connection, &header, position).await?),
        None => None,
    };
    let mut position = match (known, history) {
        (Some(position), Some(History::Continuous)) => position,
        _ => join(inner, &mut connection, header, history, generation).await?,
    };
    // Whoever has nothing of its own to go by must not judge while what was lost is still being written back.
    let is_newcomer = history.is_none();
    inner.applied.send_replace(Some(position.clone()));
    // When everything had been read: what comes later was written since. The next read may begin long after, for this
    // process may have stood still in between.
    let mut drained;
    // First to the end of what is there; from then on each read waits for something new.
    loop {
        drained = Some(inner.clock.now());
        if !stream::read(inner, &mut connection, &mut position, None).await?.is_full() {
            break;
        }
    }
    inner.settle_debts(&position).await?;
    inner.settle_own().await?;
    let started = inner.clock.now();
    if beat_once(inner).await.is_ok() {
        inner.index.freshness().set_beat(started);
    }
    note_trouble(inner, None);

    let mut checked: Option<Moment> = None;
    loop {
        if inner.topology.generation() != generation {
            return Err(StoreError::Unreachable(ELSEWHERE.into()));
        }
        let asked = inner.clock.now();
        let wants_header = checked.is_none_or(|at| asked.since(at) >= CHECK_INTERVAL);
        // Whoever has just come waits for nothing: the first answer makes it ready.
        let block = checked.map(|_| BLOCK);
        let (mut brought, header) =
            stream::wait(inner, &mut connection, &mut position, drained, block, wants_header).await?;
        let mut is_drained = !brought.is_full();
        let mut proves = brought.entries > 0 || header.is_some();
        if let Some(header) = header {
            checked = Some(asked);
            if !header.whole || header.epoch.as_ref() != Some(&position.epoch) {
                return Err(StoreError::Lost("the revocation sets are gone or torn".into()));
            }
            if is_drained && header.last != Some(position.last) {
                // What came between the two questions; nothing at all means that the stream leads elsewhere.
                let more = stream::read(inner, &mut connection, &mut position, drained).await?;
                if more.entries == 0 {
                    return Err(StoreError::Lost("the stream no longer leads on from what was read".into()));
                }
                is_drained = !more.is_full();
                brought.entries += more.entries;
                brought.watched.extend(more.watched);
            }
            if header.standing == Standing::Restoring && is_newcomer {
                inner.index.freshness().forget();
                proves = false;
            }
            inner.index.store_time().note_lost_counts(header.counts_lost);
            inner.note_lineage(header.lineage().unwrap_or_default());
        }
        drained = is_drained.then_some(asked);
        if is_drained && proves {
            inner.index.freshness().set_complete(asked);
        }
        if brought.entries > 0 {
            for step in brought.watched {
                inner.fleet.note_applied(step, inner.clock.now());
            }
            tokio::time::sleep(COALESCE).await;
        }
    }
}

/// How the store's history relates to what this process has read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    /// It leads on from there.
    Continuous,
    /// It leads on, as its list of writes proves, but the entries in between are no longer kept: load anew.
    Trimmed,
    /// It is another one, or nothing proves that it is not: what was read may have been lost, so write back what is known.
    Forked,
}

/// What is asked to find that out: a block of the list of writes, the next entry, the oldest one.
type Past = (RedisResult<[Option<Vec<u8>>; 1]>, RedisResult<Reply>, RedisResult<Reply>);

async fn history(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    header: &Header,
    position: &Position,
) -> Result<History, StoreError> {
    let has_gap = inner.has_gap.load(Ordering::Relaxed);
    let is_other = header.epoch.as_ref() != Some(&position.epoch) || header.count < position.count;
    if !header.whole || header.standing == Standing::Restoring || is_other {
        return Ok(History::Forked);
    }
    if header.last == Some(position.last) && !has_gap {
        return Ok(History::Continuous);
    }
    let (block, at) = stream::place(position.count);
    let mut ask = redis::pipe();
    // Without the right to read the list of writes nothing proves that the history is the same.
    ask.ignore_errors().cmd("HMGET").arg(inner.keys.history()).arg(block);
    for from in [position.last.before().to_string(), "0-0".to_owned()] {
        ask.cmd("XREAD").arg("COUNT").arg(1).arg("STREAMS").arg(inner.keys.stream()).arg(from);
    }
    let (writes, next, oldest): Past = ask.query_async(connection).await.map_err(store_error)?;
    let (next, oldest) = (next.map_err(store_error)?, oldest.map_err(store_error)?);
    let id = |reply: Reply| StreamId::parse(&reply?.first()?.1.first()?.0);
    let has_gone_on = header.last.is_some_and(|last| last > position.last);
    let is_same = matches!(writes, Ok([writes]) if stream::has_write(writes.as_deref(), at, position.written));
    Ok(match (id(next), id(oldest)) {
        // Something that is not ours came after what we have read.
        (Some(next), _) if next == position.last && has_gap => History::Forked,
        (Some(next), _) if next == position.last => History::Continuous,
        (_, oldest) if is_same && has_gone_on && oldest.is_none_or(|oldest| oldest > position.last) => History::Trimmed,
        _ => History::Forked,
    })
}

/// Gets from nothing, or from a copy that no longer fits, to a complete index and a place in the stream.
async fn join(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    mut header: Header,
    history: Option<History>,
    generation: u64,
) -> Result<Position, StoreError> {
    if !header.whole {
        header = make_whole(inner, header, history).await?;
    }
    let known = inner.applied.borrow().clone();
    let goal = header.epoch.clone().zip(known);
    if history == Some(History::Forked) && *inner.restored.lock() != goal {
        warn!("the store's history is not the one that was followed: writing back what it has lost");
        match inner.restore().await {
            Ok(count) => {
                info!(count, "wrote back revocations that the store had lost");
                inner.finish_restoring().await?;
                *inner.restored.lock() = goal;
            }
            Err(error) if error.is_refusal() => {
                warn!(%error, "what the store has lost cannot be written back from here yet; it goes on being refused here");
                inner.keeps_own.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
        header = snapshot::header(connection, &inner.keys).await?;
    }
    // What this process keeps to itself it need not find in the store.
    let keeps_own = inner.keeps_own.load(Ordering::Relaxed);
    let remembered = inner.memory.recall().filter(|_| !keeps_own);
    let lineage = settled(inner, header, remembered.as_ref()).await?;
    let started = inner.clock.now();
    let (loaded, position) = snapshot::load(inner, connection).await?;
    if position.epoch != lineage.epoch {
        return Err(StoreError::Lost("the store was set up anew while it was loaded".into()));
    }
    if keeps_own {
        restore::keep_own(&inner.index, &loaded);
    }
    inner.note_last(&position.epoch, position.last, None);
    let counts = loaded.counts();
    let took = inner.clock.now().since(started);
    *inner.restored.lock() = None;
    *inner.last_load.lock() = Some((took, counts.links + counts.cut_offs));
    inner.has_gap.store(false, Ordering::Relaxed);
    let lost = inner.find_lost(&position).await?;
    // What was found out may be true of another server than the one that was loaded.
    if inner.topology.generation() != generation {
        return Err(StoreError::Unreachable(ELSEWHERE.into()));
    }
    let replaced = inner.replace_index(loaded, &position, &lost);
    tokio::task::spawn_blocking(|| replaced.free());
    inner.note_lineage(lineage);
    info!(links = counts.links, cut_offs = counts.cut_offs, ?took, "loaded the revocations");
    Ok(position)
}

/// Sets up a store that is empty or torn, where that is safe, and fills it with what is left of it.
async fn make_whole(inner: &Inner, header: Header, history: Option<History>) -> Result<Header, StoreError> {
    match history {
        Some(_) => {
            inner.set_up(Ground::Lost).await?;
            inner.restore_records().await?;
        }
        None if header.epoch.is_none() && inner.memory.recall().is_none() => {
            if !inner.sets_up {
                return Err(StoreError::Lost(
                    "it is empty, and `store.init` is \"manual\": `linkgate store init` sets it up".into(),
                ));
            }
            inner.set_up(Ground::Empty).await?;
        }
        None => {
            return Err(StoreError::Lost(
                "it had been set up before and is empty or torn now, and no running linkgate remembers what was \
                 revoked; restore its data, or accept the loss with `linkgate store init --accept-loss`"
                    .into(),
            ));
        }
    }
    inner.header().await
}

async fn beat(inner: &Inner) {
    let mut tick = tokio::time::interval(BEAT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        note_beat(inner, beat_once(inner).await.err());
    }
}

/// Says once why this process does not beat, and once that it does again. That it has no right to write is no news: others
/// beat.
fn note_beat(inner: &Inner, now: Option<StoreError>) {
    let now = now.filter(|error| !error.is_refusal());
    let mut known = inner.silence.write();
    if *known == now {
        return;
    }
    // Where the store cannot be followed either, that has been said.
    let is_followed = inner.trouble.read().is_none();
    match &now {
        Some(error) if is_followed => {
            warn!(%error, "this process cannot vouch for the store: unless another does, links wait");
        }
        None if is_followed => info!("this process vouches for the store"),
        _ => {}
    }
    *known = now;
}

/// Beats: says that this is the Redis everybody writes to, where that is certain.
///
/// # Errors
/// When the Sentinels do not say so, and when it does not take the beat.
pub async fn beat_once(inner: &Inner) -> Result<(), StoreError> {
    let proven = if inner.topology.is_watched() { Some(vouch(inner).await?) } else { None };
    inner
        .link
        .run(async |mut connection| {
            scripts::BEAT
                .key(inner.keys.all())
                .arg(STREAM_RETENTION.as_millis() as u64)
                .arg(BEAT_AGE.as_millis() as u64)
                .arg(proven.map(|time| time.0.to_string()).unwrap_or_default())
                .arg(inner.skew())
                .invoke_async::<u8>(&mut connection)
                .await
                .map(|_| ())
        })
        .await
}

/// Asks the Sentinels whether ours is the master; answers a time by its clock that had come when they were asked.
async fn vouch(inner: &Inner) -> Result<UnixMillis, StoreError> {
    let time = records::clock(&inner.link).await?;
    inner.vouch_for(&inner.link).await?;
    Ok(time)
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
    let start = inner.clock.now();
    loop {
        tick.tick().await;
        let (index, max_ttl) = (Arc::clone(&inner.index), inner.bounds.max_ttl);
        let now = inner.clock.now().unhurried(start);
        let _ = blocking(move || index.prune(now, max_ttl)).await;
    }
}

/// Keeps the snapshot on disk young, within its share of the time.
async fn save(inner: &Arc<Inner>) {
    let mut pause = cache::INTERVAL;
    while inner.cache.is_some() {
        tokio::time::sleep(pause).await;
        let saving = Arc::clone(inner);
        let took = blocking(move || saving.save_to_cache()).await.ok().flatten().unwrap_or_default();
        pause = cache::INTERVAL.max(took * cache::SHARE);
    }
}

/// Runs long work on a thread where nobody waits for a verdict.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Failed(error.to_string()))
}
