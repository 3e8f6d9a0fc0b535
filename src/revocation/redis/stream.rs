//! The stream of every step, read in order. An entry that does not name the one before it is never applied.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tracing::error;

use super::Inner;
use super::connection::store_error;
use super::keys::StreamId;
use super::own::Own;
use super::snapshot::{self, Header, Meta, Scores};
use crate::clock::{Moment, UnixMillis};
use crate::revocation::{Change, Index, StoreError};

/// Entries taken in one read.
pub const READ_COUNT: usize = 512;

/// Writes that share a block of the store's list of writes; `prelude.lua` has it as well.
const WRITES_PER_BLOCK: u64 = 64;

/// Where a write stands in the store's list of writes, by the count of writes at it: its block, and at which byte.
pub const fn place(count: u64) -> (u64, usize) {
    (count / WRITES_PER_BLOCK, (count % WRITES_PER_BLOCK) as usize * 8)
}

/// Whether a block of the list has the write of an id at a place.
pub fn has_write(block: Option<&[u8]>, at: usize, id: StreamId) -> bool {
    block.and_then(|block| block.get(at..at + 8)) == Some(&id.packed()[..])
}

/// Stream entries as Redis answers them: ids, and fields with their values in turn.
pub type Entries = Vec<(String, Vec<Vec<u8>>)>;

/// How far this process has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub last: StreamId,
    /// The store's count of writes at that entry.
    pub count: u64,
    /// The entry of the last of those writes.
    pub written: StreamId,
}

impl Position {
    /// Whether this lies at a step or behind it. A step of another epoch is never reached.
    pub fn has_reached(&self, step: &Step) -> bool {
        self.epoch == step.epoch && self.last >= step.id
    }

    /// The step that was read last.
    pub fn step(&self) -> Step {
        Step { epoch: self.epoch.clone(), id: self.last }
    }
}

/// One entry of one epoch's stream; as text `<epoch>:<ms>-<sequence>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub epoch: String,
    pub id: StreamId,
}

impl Step {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, id) = text.split_once(':')?;
        Some(Self { epoch: epoch.to_owned(), id: StreamId::parse(id)? })
    }

    /// Whether this is the other one, or a later one of the same epoch.
    pub fn is_at_or_past(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.id >= other.id
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.id)
    }
}

/// What XREAD answers.
pub type Reply = Option<Vec<(String, Entries)>>;

/// What a read has brought.
#[derive(Debug, Default)]
pub struct Brought {
    pub entries: usize,
    /// Steps among them that a caller waits for.
    pub watched: Vec<Step>,
}

impl Brought {
    /// Whether there may be more that was there already.
    pub const fn is_full(&self) -> bool {
        self.entries >= READ_COUNT
    }
}

/// Reads the stream once from a position and applies what it brings.
///
/// `since` is a moment before which everything had been read: a beat among the entries was written later than that, and
/// is dated from there. Without it beats say nothing about now.
///
/// # Errors
/// [`StoreError::Lost`] when an entry does not name the one before as its predecessor.
pub async fn read(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    since: Option<Moment>,
) -> Result<Brought, StoreError> {
    let reply = xread(inner, position, None).query_async(connection).await.map_err(store_error)?;
    take(inner, reply, position, since)
}

/// Like [`read`], but waits for something new for up to `block`; with `wants_header` reads the header after it, in the same round trip.
///
/// # Errors
/// As [`read`], and when the header is of another layout.
pub async fn wait(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    since: Option<Moment>,
    block: Option<Duration>,
    wants_header: bool,
) -> Result<(Brought, Option<Header>), StoreError> {
    let request = xread(inner, position, block);
    if !wants_header {
        let reply = request.query_async(connection).await.map_err(store_error)?;
        return Ok((take(inner, reply, position, since)?, None));
    }
    let mut pipe = redis::pipe();
    pipe.add_command(request);
    snapshot::ask_header(&mut pipe, &inner.keys);
    let (reply, meta, links, cut_offs): (Reply, Meta, Scores, Scores) =
        pipe.query_async(connection).await.map_err(store_error)?;
    let brought = take(inner, reply, position, since)?;
    Ok((brought, Some(Header::new(meta, &links, &cut_offs)?)))
}

/// Reads the stream once into an index that is being loaded; answers how many entries that brought.
///
/// # Errors
/// As [`read`].
pub async fn replay(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    index: &Index,
) -> Result<usize, StoreError> {
    let reply = xread(inner, position, None).query_async(connection).await.map_err(store_error)?;
    Ok(apply(inner, reply, position, index, None, None)?.entries)
}

/// Applies what came to the index that is judged by.
fn take(inner: &Inner, reply: Reply, position: &mut Position, since: Option<Moment>) -> Result<Brought, StoreError> {
    inner.advance(position, |position, own| apply(inner, reply, position, &inner.index, since, Some(own)))
}

fn xread(inner: &Inner, position: &Position, block: Option<Duration>) -> redis::Cmd {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(READ_COUNT);
    if let Some(block) = block {
        command.arg("BLOCK").arg(block.as_millis() as u64);
    }
    command.arg("STREAMS").arg(inner.keys.stream()).arg(position.last.to_string());
    command
}

/// Applies entries in their order.
fn apply(
    inner: &Inner,
    reply: Reply,
    position: &mut Position,
    index: &Index,
    since: Option<Moment>,
    mut own: Option<&mut Own>,
) -> Result<Brought, StoreError> {
    let entries = reply.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
    let mut brought = Brought { entries: entries.len(), watched: Vec::new() };
    let mut vouched_for = None;
    for (id, words) in &entries {
        // What is not text is not ours.
        let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let entry = Entry::parse(&words);
        if entry.epoch != Some(&position.epoch) || entry.previous != Some(position.last) {
            inner.has_gap.store(true, Ordering::Relaxed);
            return Err(StoreError::Lost("the stream has a gap or another history".into()));
        }
        let id = StreamId::parse(id).ok_or_else(|| StoreError::Foreign("a stream id".into()))?;
        let step = Step { epoch: position.epoch.clone(), id };
        for change in &entry.changes {
            match &own {
                Some(own) => own.apply(index, *change, &step),
                None => index.apply(*change),
            }
        }
        vouched_for = entry.beat.or(vouched_for);
        if let (Some(since), Some(vouched)) = (since, entry.beat) {
            index.freshness().set_beat(inner.footing.date(since, id.time(), vouched));
        }
        if entry.is_watched {
            brought.watched.push(step.clone());
        }
        if entry.has_garbage {
            inner.garbage.fetch_add(1, Ordering::Relaxed);
            error!(entry = %id, "the stream holds something that is not ours; it was skipped");
        }
        position.last = id;
        if entry.beat.is_none() {
            position.count = entry.count.unwrap_or(position.count);
            position.written = id;
            if let Some(own) = &mut own {
                own.note_write(step);
            }
        }
    }
    if brought.entries > 0 {
        inner.note_last(&position.epoch, position.last, vouched_for);
    }
    Ok(brought)
}

/// Applies what one entry says, wherever it stands in the stream.
#[cfg(fuzzing)]
pub fn apply_entry(index: &Index, words: &[Vec<u8>]) {
    let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
    Entry::parse(&words).changes.iter().for_each(|change| index.apply(*change));
}

/// One stream entry, taken apart.
#[derive(Default)]
struct Entry<'a> {
    previous: Option<StreamId>,
    epoch: Option<&'a str>,
    count: Option<u64>,
    changes: Vec<Change<'a>>,
    /// The store's time until which it is vouched for.
    beat: Option<UnixMillis>,
    is_watched: bool,
    has_garbage: bool,
}

impl<'a> Entry<'a> {
    fn parse(words: &'a [Cow<'a, str>]) -> Self {
        let mut entry = Self::default();
        for pair in words.chunks(2) {
            let [field, value] = pair else {
                entry.has_garbage = true;
                continue;
            };
            match &**field {
                "p" => entry.previous = StreamId::parse(value),
                "e" => entry.epoch = Some(value),
                "n" => entry.count = value.parse().ok(),
                "b" => entry.beat = value.parse().ok().map(UnixMillis),
                "w" => entry.is_watched = true,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(text: &[&'a str]) -> Vec<Cow<'a, str>> {
        text.iter().map(|word| Cow::Borrowed(*word)).collect()
    }

    #[test]
    fn an_entry_is_taken_apart_and_what_is_not_ours_is_told_from_it() {
        let text = words(&["p", "5-1", "n", "7", "e", "9", "c", "12 s:a b", "w", "1"]);
        let entry = Entry::parse(&text);
        assert_eq!(entry.previous, StreamId::parse("5-1"));
        assert_eq!((entry.count, entry.is_watched, entry.beat, entry.has_garbage), (Some(7), true, None, false));
        assert_eq!(entry.changes, [Change::CutOff { member: "s:a b", score: 12 }]);
        for garbage in [&["t", "12 short"][..], &["c", "x s:a"], &["q", "1 s:a"], &["p", "5-1", "c"]] {
            assert!(Entry::parse(&words(garbage)).has_garbage, "{garbage:?}");
        }
    }
}
