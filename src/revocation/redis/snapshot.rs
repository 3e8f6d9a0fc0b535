//! Loading everything, and stepping from there onto the stream without losing or doubling an entry.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tracing::info;

use super::Inner;
use super::connection::store_error;
use super::keys::{Keys, LAYOUT, SENTINEL, StreamId};
use super::memory::Lineage;
use super::stream::{self, Position};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, Progress, StoreError};
use crate::token::TokenId;

/// Members fetched in one round trip: about a millisecond of the server's time, so that others need not wait.
const PAGE: usize = 1000;
/// Most members of a window; one that is full may have more, and is asked for again in pieces.
const WINDOW_MEMBERS: usize = 2 * PAGE;
/// The first window, and the widest that may hold anything, in milliseconds: links are kept so much longer at most.
const FIRST_WINDOW: u64 = 1_000;
const WIDEST_WINDOW: u64 = 3_600_000;
/// How often a long load says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What the meta hash and the sentinels say.
pub struct Header {
    /// `None` when there is no trace of a store.
    pub epoch: Option<String>,
    /// Whether both sets carry the epoch.
    pub whole: bool,
    /// The epochs before it, the newest first.
    pub ancestors: String,
    pub last: Option<StreamId>,
    /// Writes so far, and the entry of the last of them.
    pub count: u64,
    pub written: Option<StreamId>,
    /// The store's time until which it is vouched for.
    pub vouched: UnixMillis,
    /// Links dated until then may have used downloads that are not known any more.
    pub counts_lost: UnixMillis,
    pub standing: Standing,
}

/// Whether a store that is whole can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Settled,
    /// It was set up on empty ground a moment ago: a process that remembers another store may still object.
    OnProbation,
    /// A process that cannot write it back remembers another store.
    Contested,
    /// A process is writing back what was lost.
    Restoring,
}

/// The fields of the meta hash that make a header, as HMGET answers them.
pub type Meta = [Option<String>; META_FIELDS.len()];
pub const META_FIELDS: [&str; 11] = ["e", "v", "a", "l", "n", "w", "b", "k", "z", "y", "o"];
/// What ZMSCORE answers.
pub type Scores = Vec<Option<String>>;

impl Header {
    /// Puts together what was answered; in each list of scores the sentinel's comes first.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for another layout.
    pub fn new(meta: Meta, links: &Scores, cut_offs: &Scores) -> Result<Self, StoreError> {
        let [epoch, layout, ancestors, last, count, written, vouched, counts_lost, restoring, probation, missed] = meta;
        if epoch.is_some() && layout.as_deref() != Some(LAYOUT) {
            return Err(StoreError::Foreign(format!(
                "the store has layout {}, this version knows {LAYOUT}: refusing to judge by it",
                layout.unwrap_or_else(|| "unknown".into())
            )));
        }
        let sentinel = |scores: &Scores| scores.first().cloned().flatten();
        let (links, cut_offs) = (sentinel(links), sentinel(cut_offs));
        let entry = |id: Option<String>| id.as_deref().and_then(StreamId::parse);
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or_default();
        let is_there = epoch.is_some() || links.is_some() || cut_offs.is_some();
        Ok(Self {
            whole: epoch.is_some() && links == epoch && cut_offs == epoch,
            epoch: is_there.then(|| epoch.unwrap_or_default()),
            ancestors: ancestors.unwrap_or_default(),
            last: entry(last),
            count: number(count),
            written: entry(written),
            vouched: UnixMillis(number(vouched)),
            counts_lost: UnixMillis(number(counts_lost)),
            standing: match (restoring, missed, probation) {
                (Some(_), ..) => Standing::Restoring,
                (None, Some(_), _) => Standing::Contested,
                (None, None, Some(_)) => Standing::OnProbation,
                (None, None, None) => Standing::Settled,
            },
        })
    }

    /// Where it comes from; `None` when there is no trace of a store.
    pub fn lineage(&self) -> Option<Lineage> {
        Some(Lineage { epoch: self.epoch.clone()?, ancestors: self.ancestors.clone() })
    }

    /// Whether what it holds may be judged by, for a process that remembers a store.
    ///
    /// # Errors
    /// [`StoreError::Lost`] with the reason why not.
    pub fn believe(&self, remembered: Option<&Lineage>) -> Result<Lineage, StoreError> {
        let lost = |why: &str| Err(StoreError::Lost(why.into()));
        let Some(lineage) = self.lineage().filter(|_| self.whole) else { return lost(TORN) };
        if remembered.is_some_and(|remembered| !lineage.descends_from(remembered)) {
            return lost(FOREIGN);
        }
        match self.standing {
            Standing::Settled => Ok(lineage),
            Standing::OnProbation => lost("it was set up a moment ago; a linkgate that remembers another may object"),
            Standing::Contested => lost(CONTESTED),
            Standing::Restoring => lost("a linkgate is writing back what the store has lost"),
        }
    }
}

const TORN: &str = "the revocation sets are missing or torn";
/// What this process says of a store that is not the one it remembers.
const FOREIGN: &str = "another store was there before, and this one does not descend from it; restore its data, start a linkgate \
                           that remembers what was revoked, or accept the loss with `linkgate store init --accept-loss`";
const CONTESTED: &str = "a linkgate remembers that another store was there before; restore its data, start a linkgate that \
                         remembers what was revoked, or accept the loss with `linkgate store init --accept-loss`";

/// Reads the header.
pub async fn header(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<Header, StoreError> {
    let (meta, links, cut_offs) = ask(connection, keys).await.map_err(store_error)?;
    Header::new(meta, &links, &cut_offs)
}

/// Asks what makes a header.
pub async fn ask(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> Result<(Meta, Scores, Scores), redis::RedisError> {
    let mut pipe = redis::pipe();
    ask_header(&mut pipe, keys);
    pipe.query_async(connection).await
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
    let mut position = Position {
        epoch,
        last: before.last.ok_or_else(lost)?,
        count: before.count,
        written: before.written.ok_or_else(lost)?,
    };

    let mut loading = Loading::new(inner, connection).await;
    loading.links(connection).await?;
    if loading.cut_offs(connection).await? != position.epoch {
        return Err(lost());
    }
    let index = loading.finish();

    let after = header(connection, &inner.keys).await?;
    if !after.whole || after.epoch.as_deref() != Some(&position.epoch) {
        return Err(lost());
    }
    let goal = after.last.ok_or_else(lost)?;
    while position.last < goal {
        if stream::replay(inner, connection, &mut position, &index).await? == 0 {
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

    /// Loads the links, window by window of their ends.
    ///
    /// Redis spends most of a page's time on writing out scores. So none are asked for: a link is kept until the end
    /// of its window, which is a little longer than it need be. A window that holds too many is asked for again in
    /// smaller pieces; where a single millisecond holds too many, ZSCAN does it all. Nothing slips through when others
    /// write: a member that moves to a window behind us is in the stream.
    async fn links(&mut self, connection: &mut MultiplexedConnection) -> Result<(), StoreError> {
        let key = self.inner.keys.links();
        let mut ends = redis::pipe();
        for (from, to) in [(0, 0), (-2, -1)] {
            ends.cmd("ZRANGE").arg(key).arg(from).arg(to).arg("WITHSCORES");
        }
        let (first, last): (Value, Value) = ends.query_async(connection).await.map_err(store_error)?;
        let mut from = Scored(&first).iter().next().and_then(|(_, score)| read_score(score)).unwrap_or_default();
        // The sentinel's score is beyond every other.
        let last = Scored(&last).iter().next().and_then(|(_, score)| read_score(score)).unwrap_or_default();
        let mut width = FIRST_WINDOW;
        let mut window = members_between(key, from, Some(width)).query_async::<Value>(connection).await;
        loop {
            let members = window.map_err(store_error)?;
            let is_last = from > last;
            let count = items(&members).len();
            let is_too_wide = count == WINDOW_MEMBERS || (count > 0 && width > WIDEST_WINDOW && !is_last);
            if is_too_wide && (width == 1 || is_last) {
                return self.scan(connection, key, keep_link).await.map(|_| ());
            }
            let end = from.saturating_add(width);
            if is_too_wide {
                width = if count == WINDOW_MEMBERS { (width / 4).max(1) } else { WIDEST_WINDOW };
            } else {
                from = end;
                let factor = (PAGE / count.max(1)).clamp(1, 8) as u64;
                width = if count > PAGE {
                    width.saturating_mul(PAGE as u64) / count as u64
                } else {
                    width.saturating_mul(factor)
                }
                .max(1);
            }
            let is_next_last = from > last;
            let request = members_between(key, from, (!is_next_last).then_some(width));
            if is_too_wide {
                window = request.query_async::<Value>(connection).await;
                continue;
            }
            // The server works on the next window while this one is taken in.
            let taking = async {
                tokio::task::yield_now().await;
                for member in items(&members) {
                    if let Value::BulkString(member) = member {
                        keep_link(&self.index, member, end);
                    }
                }
                self.note(count);
            };
            if is_last {
                taking.await;
                return Ok(());
            }
            (window, ()) = tokio::join!(request.query_async::<Value>(connection), taking);
        }
    }

    /// Loads the cut-offs; answers the score of the sentinel among them, empty when it is missing.
    ///
    /// Pages go by score and each starts inclusively where the one before ended. Where more members share a score than
    /// a page holds, as standing blocks do, ZSCAN does it all: slower, but it needs no order.
    async fn cut_offs(&mut self, connection: &mut MultiplexedConnection) -> Result<String, StoreError> {
        let key = self.inner.keys.cut_offs();
        let mut epoch = String::new();
        let mut from = b"-inf".to_vec();
        loop {
            let mut request = redis::cmd("ZRANGE");
            request.arg(key).arg(&from).arg("+inf").arg("BYSCORE").arg("LIMIT").arg(0).arg(PAGE).arg("WITHSCORES");
            let page: Value = request.query_async(connection).await.map_err(store_error)?;
            let last = Scored(&page).last_score().unwrap_or_default();
            if last == from {
                return self.scan(connection, key, keep_cut_off).await;
            }
            self.take(&page, keep_cut_off, &mut epoch);
            if items(&page).len() < 2 * PAGE {
                return Ok(epoch);
            }
            from = last.to_vec();
        }
    }

    /// Takes every member of a set, in no order; answers the sentinel's score.
    async fn scan(
        &mut self,
        connection: &mut MultiplexedConnection,
        key: &str,
        keep: Keep,
    ) -> Result<String, StoreError> {
        let mut epoch = String::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut request = redis::cmd("ZSCAN");
            request.arg(key).arg(&cursor).arg("COUNT").arg(PAGE);
            let (next, page): (String, Value) = request.query_async(connection).await.map_err(store_error)?;
            self.take(&page, keep, &mut epoch);
            if next == "0" {
                return Ok(epoch);
            }
            cursor = next;
        }
    }

    fn take(&mut self, page: &Value, keep: Keep, epoch: &mut String) {
        take(&self.index, page, keep, epoch);
        self.note(items(page).len() / 2);
    }

    /// So many more are loaded.
    fn note(&mut self, count: usize) {
        self.progress.loaded += count as u64;
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

/// What becomes of a member and its score.
type Keep = fn(&Index, &[u8], u64);

/// Takes a page of members with their scores; the sentinel's score is the epoch.
fn take(index: &Index, page: &Value, keep: Keep, epoch: &mut String) {
    for (member, score) in Scored(page).iter() {
        if member == SENTINEL.as_bytes() {
            *epoch = String::from_utf8_lossy(score).into_owned();
        } else if let Some(score) = read_score(score) {
            keep(index, member, score);
        }
    }
}

/// Takes a reply in Redis's protocol as a page of each set, and as a header.
#[cfg(fuzzing)]
pub fn take_reply(index: &Index, reply: &[u8]) {
    let Ok(page) = redis::parse_redis_value(reply) else { return };
    for keep in [keep_link, keep_cut_off] {
        take(index, &page, keep, &mut String::new());
    }
    if let Ok((meta, links, cut_offs)) = redis::from_redis_value(page) {
        let _ = Header::new(meta, &links, &cut_offs);
    }
}

fn keep_link(index: &Index, member: &[u8], until: u64) {
    if let Some(id) = TokenId::from_text(member) {
        index.apply(Change::Link { id, until: UnixMillis(until) });
    }
}

fn keep_cut_off(index: &Index, member: &[u8], score: u64) {
    if let Ok(member) = std::str::from_utf8(member) {
        index.apply(Change::CutOff { member, score });
    }
}

/// Members whose score lies in a window; without a width, all from there on.
fn members_between(key: &str, from: u64, width: Option<u64>) -> redis::Cmd {
    let to = width.map_or("+inf".to_owned(), |width| format!("({}", from.saturating_add(width)));
    let mut command = redis::cmd("ZRANGE");
    command.arg(key).arg(from).arg(to).arg("BYSCORE").arg("LIMIT").arg(0).arg(WINDOW_MEMBERS);
    command
}

fn items(reply: &Value) -> &[Value] {
    match reply {
        Value::Array(items) => items,
        _ => &[],
    }
}

/// Members and their scores in turn, as Redis answers them.
struct Scored<'v>(&'v Value);

impl<'v> Scored<'v> {
    fn iter(&self) -> impl Iterator<Item = (&'v [u8], &'v [u8])> {
        items(self.0).chunks_exact(2).filter_map(|pair| match pair {
            [Value::BulkString(member), Value::BulkString(score)] => Some((member.as_slice(), score.as_slice())),
            _ => None,
        })
    }

    fn last_score(&self) -> Option<&'v [u8]> {
        match items(self.0).last() {
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
