//! The stream of every step, read in order. An entry that does not name the one before it is never applied.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tracing::error;

use super::Inner;
use super::connection::store_error;
use super::keys::StreamId;
use super::snapshot::{self, Header, Meta, Scores};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, StoreError};

/// Entries taken in one read.
pub const READ_COUNT: usize = 512;

/// Stream entries as Redis answers them: ids, and fields with their values in turn.
pub type Entries = Vec<(String, Vec<String>)>;

/// How far this process has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub last: StreamId,
    /// The store's count of writes at that entry.
    pub count: u64,
}

/// What XREAD answers.
pub type Reply = Option<Vec<(String, Entries)>>;

/// Reads the stream once from a position and applies what it brings; answers how many entries there were. They are
/// `news` when they came while somebody was waiting for them.
///
/// # Errors
/// [`StoreError::Lost`] when an entry does not name the one before as its predecessor.
pub async fn read(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    index: &Index,
    news: bool,
) -> Result<usize, StoreError> {
    let reply = xread(inner, position, None).query_async(connection).await.map_err(store_error)?;
    apply(inner, reply, position, index, news)
}

/// Waits for something new and applies it; then, in the same round trip, reads the header.
///
/// # Errors
/// As [`read`], and when the header is of another layout.
pub async fn wait(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    index: &Index,
    block: Duration,
) -> Result<(usize, Header), StoreError> {
    let mut pipe = redis::pipe();
    pipe.add_command(xread(inner, position, Some(block)));
    snapshot::ask_header(&mut pipe, &inner.keys);
    let (reply, meta, links, cut_offs): (Reply, Meta, Scores, Scores) =
        pipe.query_async(connection).await.map_err(store_error)?;
    let count = apply(inner, reply, position, index, true)?;
    Ok((count, Header::new(meta, &links, &cut_offs)?))
}

/// Like [`wait`], without asking for the header.
///
/// # Errors
/// As [`read`].
pub async fn wait_only(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    position: &mut Position,
    index: &Index,
    block: Duration,
) -> Result<usize, StoreError> {
    let reply = xread(inner, position, Some(block)).query_async(connection).await.map_err(store_error)?;
    apply(inner, reply, position, index, true)
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

/// Applies entries in their order. A beat that is no news says nothing about now.
fn apply(inner: &Inner, reply: Reply, position: &mut Position, index: &Index, news: bool) -> Result<usize, StoreError> {
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
        if entry.beats && news {
            index.freshness().set_beat(inner.clock.now());
        }
        if entry.is_watched {
            inner.fleet.note_applied(id, inner.clock.now());
        }
        if entry.has_garbage {
            inner.garbage.fetch_add(1, Ordering::Relaxed);
            error!(entry = %id, "the stream holds something that is not ours; it was skipped");
        }
        position.last = id;
        position.count = entry.count.unwrap_or(position.count);
    }
    Ok(entries.len())
}

/// One stream entry, taken apart.
#[derive(Default)]
struct Entry<'a> {
    previous: Option<StreamId>,
    epoch: Option<&'a String>,
    count: Option<u64>,
    changes: Vec<Change<'a>>,
    beats: bool,
    is_watched: bool,
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
                "n" => entry.count = value.parse().ok(),
                "b" => entry.beats = true,
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

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_entry_is_taken_apart_and_what_is_not_ours_is_told_from_it() {
        let text = words(&["p", "5-1", "n", "7", "e", "9", "c", "12 s:a b", "w", "1"]);
        let entry = Entry::parse(&text);
        assert_eq!(entry.previous, StreamId::parse("5-1"));
        assert_eq!((entry.count, entry.is_watched, entry.beats, entry.has_garbage), (Some(7), true, false, false));
        assert_eq!(entry.changes, [Change::CutOff { member: "s:a b", score: 12 }]);
        for garbage in [&["t", "12 short"][..], &["c", "x s:a"], &["q", "1 s:a"], &["p", "5-1", "c"]] {
            assert!(Entry::parse(&words(garbage)).has_garbage, "{garbage:?}");
        }
    }
}
