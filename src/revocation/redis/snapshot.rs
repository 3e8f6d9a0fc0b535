//! Loading everything, and stepping from there onto the stream without losing or doubling an entry.

use redis::aio::MultiplexedConnection;

use super::Inner;
use super::connection::store_error;
use super::follow::{Position, read_stream};
use super::keys::{Keys, LAYOUT, SENTINEL, StreamId};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, StoreError};

/// Members fetched in one round trip: about a millisecond of the server's time.
const PAGE: usize = 1000;

/// What the meta hash and the sentinels say.
pub struct Header {
    /// `None` when there is no trace of a store.
    pub epoch: Option<String>,
    /// Whether both sets carry the epoch.
    pub whole: bool,
    pub last: Option<StreamId>,
    /// Another process is writing back what was lost.
    pub restoring: bool,
}

/// Reads the header.
pub async fn header(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<Header, StoreError> {
    type Meta = (Option<String>, Option<String>, Option<String>, Option<String>);
    let ((epoch, last, layout, restoring), links, cut_offs): (Meta, Option<String>, Option<String>) = redis::pipe()
        .cmd("HMGET")
        .arg(keys.meta())
        .arg(&["e", "l", "v", "z"])
        .cmd("ZSCORE")
        .arg(keys.links())
        .arg(SENTINEL)
        .cmd("ZSCORE")
        .arg(keys.cut_offs())
        .arg(SENTINEL)
        .query_async(connection)
        .await
        .map_err(store_error)?;
    if epoch.is_some() && layout.as_deref() != Some(LAYOUT) {
        return Err(StoreError::Foreign(format!(
            "the store has layout {}, this version knows {LAYOUT}: refusing to judge by it",
            layout.unwrap_or_else(|| "unknown".into())
        )));
    }
    let whole = epoch.is_some() && links == epoch && cut_offs == epoch;
    let is_there = epoch.is_some() || links.is_some() || cut_offs.is_some();
    Ok(Header {
        epoch: if is_there { Some(epoch.unwrap_or_default()) } else { None },
        whole,
        last: last.as_deref().and_then(StreamId::parse),
        restoring: restoring.is_some(),
    })
}

/// Loads both sets into a fresh index and replays what was written meanwhile.
///
/// Steps that are replayed over newer entries converge: each carries its outcome. Only at the last entry seen
/// after the load is the copy complete.
pub async fn load(inner: &Inner, connection: &mut MultiplexedConnection) -> Result<(Index, Position), StoreError> {
    let lost = || StoreError::Lost("the sets changed while they were loaded".into());
    let before = header(connection, &inner.keys).await?;
    let epoch = before.epoch.filter(|_| before.whole).ok_or_else(lost)?;
    let mut position = Position { epoch, last: before.last.ok_or_else(lost)? };

    let index = Index::default();
    let links = scan(connection, inner.keys.links(), |member, score| {
        if let Ok(id) = member.parse() {
            index.apply(Change::Link { id, until: UnixMillis(score) });
        }
    });
    if links.await? != position.epoch {
        return Err(lost());
    }
    let cut_offs = scan(connection, inner.keys.cut_offs(), |member, score| {
        index.apply(Change::CutOff { member, score });
    });
    if cut_offs.await? != position.epoch {
        return Err(lost());
    }

    let after = header(connection, &inner.keys).await?;
    if !after.whole || after.epoch.as_deref() != Some(&position.epoch) {
        return Err(lost());
    }
    let goal = after.last.ok_or_else(lost)?;
    while position.last < goal {
        if read_stream(inner, connection, &mut position, &index, None).await? == 0 {
            return Err(lost());
        }
    }
    Ok((index, position))
}

/// Hands every member of a sorted set to `visit`; answers the score of the sentinel, empty when it is missing.
///
/// ZSCAN gives every member that is there from beginning to end at least once, whatever is written meanwhile.
async fn scan(
    connection: &mut MultiplexedConnection,
    key: &str,
    mut visit: impl FnMut(&str, u64),
) -> Result<String, StoreError> {
    let mut epoch = String::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, members): (String, Vec<(String, String)>) = redis::cmd("ZSCAN")
            .arg(key)
            .arg(&cursor)
            .arg("COUNT")
            .arg(PAGE)
            .query_async(connection)
            .await
            .map_err(store_error)?;
        for (member, score) in members {
            if member == SENTINEL {
                epoch = score;
            } else if let Ok(score) = score.parse::<f64>() {
                visit(&member, score as u64);
            }
        }
        if next == "0" {
            return Ok(epoch);
        }
        cursor = next;
    }
}
