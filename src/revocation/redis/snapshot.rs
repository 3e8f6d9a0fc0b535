//! Loading everything, and stepping from there onto the stream without losing or doubling an entry.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tracing::info;

use super::Inner;
use super::connection::store_error;
use super::keys::{Keys, LAYOUT, SENTINEL, StreamId};
use super::stream::{self, Position};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, Progress, StoreError};
use crate::token::TokenId;

/// Members fetched in one round trip: about a millisecond of the server's time, so that others need not wait.
const PAGE: usize = 1000;
/// How often a long load says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What the meta hash and the sentinels say.
pub struct Header {
    /// `None` when there is no trace of a store.
    pub epoch: Option<String>,
    /// Whether both sets carry the epoch.
    pub whole: bool,
    pub last: Option<StreamId>,
    /// Writes so far.
    pub count: u64,
    /// Another process is writing back what was lost.
    pub restoring: bool,
}

/// The fields of the meta hash that make a header, as HMGET answers them.
pub type Meta = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
pub const META_FIELDS: [&str; 5] = ["e", "v", "l", "n", "z"];
/// What ZMSCORE answers.
pub type Scores = Vec<Option<String>>;

impl Header {
    /// Puts together what was answered; in each list of scores the sentinel's comes first.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for another layout.
    pub fn new(
        (epoch, layout, last, count, restoring): Meta,
        links: &Scores,
        cut_offs: &Scores,
    ) -> Result<Self, StoreError> {
        if epoch.is_some() && layout.as_deref() != Some(LAYOUT) {
            return Err(StoreError::Foreign(format!(
                "the store has layout {}, this version knows {LAYOUT}: refusing to judge by it",
                layout.unwrap_or_else(|| "unknown".into())
            )));
        }
        let sentinel = |scores: &Scores| scores.first().cloned().flatten();
        let (links, cut_offs) = (sentinel(links), sentinel(cut_offs));
        let is_there = epoch.is_some() || links.is_some() || cut_offs.is_some();
        Ok(Self {
            whole: epoch.is_some() && links == epoch && cut_offs == epoch,
            epoch: is_there.then(|| epoch.unwrap_or_default()),
            last: last.as_deref().and_then(StreamId::parse),
            count: count.and_then(|count| count.parse().ok()).unwrap_or_default(),
            restoring: restoring.is_some(),
        })
    }
}

/// Reads the header.
pub async fn header(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<Header, StoreError> {
    let mut pipe = redis::pipe();
    ask_header(&mut pipe, keys);
    let (meta, links, cut_offs): (Meta, Scores, Scores) = pipe.query_async(connection).await.map_err(store_error)?;
    Header::new(meta, &links, &cut_offs)
}

/// Adds the three questions that make a header.
pub fn ask_header(pipe: &mut redis::Pipeline, keys: &Keys) {
    pipe.cmd("HMGET").arg(keys.meta()).arg(&META_FIELDS);
    pipe.cmd("ZMSCORE").arg(keys.links()).arg(SENTINEL);
    pipe.cmd("ZMSCORE").arg(keys.cut_offs()).arg(SENTINEL);
}

/// Loads both sets into a fresh index and replays what was written meanwhile.
///
/// Steps that are replayed over newer entries converge: each carries its outcome. Only at the last entry seen
/// after the load is the copy complete.
pub async fn load(inner: &Inner, connection: &mut MultiplexedConnection) -> Result<(Index, Position), StoreError> {
    let lost = || StoreError::Lost("the sets changed while they were loaded".into());
    let before = header(connection, &inner.keys).await?;
    let epoch = before.epoch.filter(|_| before.whole).ok_or_else(lost)?;
    let mut position = Position { epoch, last: before.last.ok_or_else(lost)?, count: before.count };

    let mut loading = Loading::new(inner, connection).await;
    let links = loading.pages(connection, inner.keys.links(), |index, member, score| {
        if let Some(id) = TokenId::from_text(member) {
            index.apply(Change::Link { id, until: UnixMillis(score) });
        }
    });
    if links.await? != position.epoch {
        return Err(lost());
    }
    let cut_offs = loading.pages(connection, inner.keys.cut_offs(), |index, member, score| {
        if let Ok(member) = std::str::from_utf8(member) {
            index.apply(Change::CutOff { member, score });
        }
    });
    if cut_offs.await? != position.epoch {
        return Err(lost());
    }
    let index = loading.finish();

    let after = header(connection, &inner.keys).await?;
    if !after.whole || after.epoch.as_deref() != Some(&position.epoch) {
        return Err(lost());
    }
    let goal = after.last.ok_or_else(lost)?;
    while position.last < goal {
        if stream::read(inner, connection, &mut position, &index, false).await? == 0 {
            return Err(lost());
        }
    }
    Ok((index, position))
}

/// A load under way, which tells the process how far it has come.
struct Loading<'i> {
    inner: &'i Inner,
    index: Index,
    progress: Progress,
    said_at: Duration,
}

impl<'i> Loading<'i> {
    async fn new(inner: &'i Inner, connection: &mut MultiplexedConnection) -> Self {
        let mut sizes = redis::pipe();
        sizes.cmd("ZCARD").arg(inner.keys.links()).cmd("ZCARD").arg(inner.keys.cut_offs());
        // Good to know, and not worth a right of its own.
        let (links, cut_offs): (u64, u64) = sizes.query_async(connection).await.unwrap_or_default();
        let index = Index::default();
        index.reserve_links(links as usize);
        let progress = Progress { loaded: 0, of: links + cut_offs };
        *inner.loading.lock() = Some(progress);
        Self { inner, index, progress, said_at: inner.clock.uptime() }
    }

    /// Hands every member of a sorted set to `visit`; answers the score of the sentinel, empty when it is missing.
    ///
    /// Pages go by score and each starts inclusively where the one before ended, so that nothing slips through when
    /// others write; a member that moves behind the cursor meanwhile is in the stream. Where more members share a
    /// score than a page holds, ZSCAN does the rest: slower, but it needs no order.
    async fn pages(
        &mut self,
        connection: &mut MultiplexedConnection,
        key: &str,
        visit: fn(&Index, &[u8], u64),
    ) -> Result<String, StoreError> {
        let mut epoch = String::new();
        let mut request = page_from(key, b"-inf");
        let mut from = Vec::new();
        let mut page = request.query_async::<Value>(connection).await.map_err(store_error)?;
        loop {
            let members = Members(&page);
            let last = members.last_score().unwrap_or_default().to_vec();
            if members.len() < PAGE {
                self.take(&page, visit, &mut epoch);
                return Ok(epoch);
            }
            if last == from {
                break;
            }
            from.clone_from(&last);
            request = page_from(key, &last);
            // The server works on the next page while this one is taken in.
            let (next, ()) = tokio::join!(request.query_async::<Value>(connection), async {
                tokio::task::yield_now().await;
                self.take(&page, visit, &mut epoch);
            });
            page = next.map_err(store_error)?;
        }
        let mut cursor = "0".to_owned();
        loop {
            let (next, page): (String, Value) = redis::cmd("ZSCAN")
                .arg(key)
                .arg(&cursor)
                .arg("COUNT")
                .arg(PAGE)
                .query_async(connection)
                .await
                .map_err(store_error)?;
            self.take(&page, visit, &mut epoch);
            if next == "0" {
                return Ok(epoch);
            }
            cursor = next;
        }
    }

    fn take(&mut self, page: &Value, visit: fn(&Index, &[u8], u64), epoch: &mut String) {
        let members = Members(page);
        for (member, score) in members.iter() {
            if member == SENTINEL.as_bytes() {
                *epoch = String::from_utf8_lossy(score).into_owned();
            } else if let Some(score) = read_score(score) {
                visit(&self.index, member, score);
            }
        }
        self.progress.loaded += members.len() as u64;
        self.progress.of = self.progress.of.max(self.progress.loaded);
        *self.inner.loading.lock() = Some(self.progress);
        let now = self.inner.clock.uptime();
        if now.saturating_sub(self.said_at) >= PROGRESS_INTERVAL {
            self.said_at = now;
            info!(loaded = self.progress.loaded, of = self.progress.of, "loading the revocations");
        }
    }

    fn finish(mut self) -> Index {
        std::mem::take(&mut self.index)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        *self.inner.loading.lock() = None;
    }
}

fn page_from(key: &str, score: &[u8]) -> redis::Cmd {
    let mut command = redis::cmd("ZRANGE");
    command.arg(key).arg(score).arg("+inf").arg("BYSCORE").arg("LIMIT").arg(0).arg(PAGE).arg("WITHSCORES");
    command
}

/// Members and their scores in turn, as Redis answers them.
struct Members<'v>(&'v Value);

impl<'v> Members<'v> {
    fn items(&self) -> &'v [Value] {
        match self.0 {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    fn len(&self) -> usize {
        self.items().len() / 2
    }

    fn iter(&self) -> impl Iterator<Item = (&'v [u8], &'v [u8])> {
        self.items().chunks_exact(2).filter_map(|pair| match pair {
            [Value::BulkString(member), Value::BulkString(score)] => Some((member.as_slice(), score.as_slice())),
            _ => None,
        })
    }

    fn last_score(&self) -> Option<&'v [u8]> {
        match self.items().last() {
            Some(Value::BulkString(score)) => Some(score),
            _ => None,
        }
    }
}

/// A score in whole milliseconds; Redis writes large ones with an exponent.
fn read_score(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| text.parse::<f64>().ok().map(|score| score as u64))
}
