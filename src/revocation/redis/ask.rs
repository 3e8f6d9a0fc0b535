//! Asking Redis about one judgement, for verifiers that keep no index, and counting downloads.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, Value};

use super::footing::{Role, read_role, role_command};
use super::keys::SENTINEL;
use super::snapshot::{Header, META_FIELDS, Meta, Scores};
use super::{Inner, follow, scripts};
use crate::clock::{Moment, UnixMillis};
use crate::revocation::{Answers, Download, PRUNE_GRACE, Questions, StoreError, Tally};

/// A server that does not say whether it is a master is written to where its last beat is older than this.
const MAX_BEAT_AGE: Duration = Duration::from_secs(2);
/// A connection that was idle for so long may have died unseen, as when a process was frozen: it is made anew.
const MAX_IDLE: Duration = Duration::from_secs(10);

/// Answers everything one judgement asks, in one round trip, within the configured time.
///
/// # Errors
/// When Redis does not answer in time, and whenever the sets are not whole or not of the store that is remembered.
pub async fn ask(inner: &Arc<Inner>, questions: &Questions) -> Result<Answers, StoreError> {
    let now = inner.clock.now();
    let idle = inner.asked_at.lock().replace(now).map(|asked: Moment| now.since(asked));
    if idle.is_some_and(|idle| idle > MAX_IDLE) {
        inner.questions.forget();
    }
    match tokio::time::timeout(inner.direct_timeout, look_up(inner, questions)).await {
        Ok(answers) => answers,
        Err(_) => {
            // Whatever is still on its way on this connection is nobody's any more.
            inner.questions.forget();
            // A new connection may take longer than an answer: it is made for whoever asks next.
            let inner = Arc::clone(inner);
            tokio::spawn(async move { inner.questions.warm().await });
            Err(StoreError::TimedOut)
        }
    }
}

/// What the server says it is, and what it holds.
type Reply = (RedisResult<Value>, RedisResult<Meta>, RedisResult<Scores>, RedisResult<Scores>);

async fn look_up(inner: &Inner, questions: &Questions) -> Result<Answers, StoreError> {
    let links: Vec<String> = questions.links.iter().map(ToString::to_string).collect();
    let asked = inner.clock.now();
    // Before the answer: what was asked for while the Sentinels name another master must not pass for that one's.
    let vouched_at = if inner.topology.is_watched() {
        inner.questions.warm().await?;
        inner.topology.vouched_at()
    } else {
        None
    };
    let (role, meta, link_scores, cut_offs) = inner
        .questions
        .run(async |mut connection| {
            let (role, meta, links, cut_offs): Reply = redis::pipe()
                .add_command(role_command())
                .cmd("HMGET")
                .arg(inner.keys.meta())
                .arg(&META_FIELDS)
                .cmd("ZMSCORE")
                .arg(inner.keys.links())
                .arg(SENTINEL)
                .arg(&links)
                .cmd("ZMSCORE")
                .arg(inner.keys.cut_offs())
                .arg(SENTINEL)
                .arg(&questions.members)
                .ignore_errors()
                .query_async(&mut connection)
                .await?;
            // A server, or a user, that has no such command only leaves it open what it is.
            Ok((role.map_or(Role::Unknown, |answer| read_role(&answer)), meta?, links?, cut_offs?))
        })
        .await?;
    let header = Header::new(meta, &link_scores, &cut_offs)?;
    let remembered = inner.memory.recall();
    let lineage = header.believe(remembered.as_ref())?;
    if remembered.is_none() {
        inner.memory.note(lineage);
    }
    if let (Some(epoch), Some(last)) = (&header.epoch, header.last) {
        inner.note_last(epoch, last, Some(header.vouched));
    }
    inner.index.store_time().note_lost_counts(header.counts_lost);
    let age = age(inner, role, header.vouched, asked, vouched_at).await;
    let scored = |score: &Option<String>| score.as_ref()?.parse::<f64>().ok().map(|score| score as u64);
    let revoked = questions.links.iter().zip(&link_scores[1..]).filter(|(_, score)| score.is_some());
    let cut = questions.members.iter().zip(&cut_offs[1..]);
    Ok(Answers {
        age,
        links: revoked.map(|(id, _)| *id).collect(),
        cut_offs: cut.filter_map(|(member, score)| Some((member.clone(), scored(score)?))).collect(),
    })
}

/// How long revocations may have been missing from what a server with this role answered to what was `asked` then.
/// `vouched_at` is when the Sentinels last named its master, or an earlier one, where there are any.
async fn age(inner: &Inner, role: Role, vouched: UnixMillis, asked: Moment, vouched_at: Option<Moment>) -> Duration {
    if inner.topology.is_watched() {
        return vouched_at.map_or(Duration::MAX, |at| asked.since(at));
    }
    inner.footing.set_role(role);
    match role {
        Role::Master => Duration::ZERO,
        Role::Replica => inner.footing.age(asked.wall, vouched),
        Role::Unknown => {
            let age = inner.footing.age(asked.wall, vouched);
            let is_written_to = age > MAX_BEAT_AGE && follow::beat_once(inner).await.is_ok();
            if is_written_to { Duration::ZERO } else { age }
        }
    }
}

/// Counts a download.
///
/// # Errors
/// When Redis cannot be asked, or has lost the count.
pub async fn count(inner: &Inner, download: &Download) -> Result<Tally, StoreError> {
    let epoch = inner.epoch().ok_or_else(|| StoreError::Lost("the store has not been looked at yet".into()))?;
    let forget_at = download.expires_at.plus(PRUNE_GRACE);
    let counted: i8 = inner
        .link
        .run(async |mut connection| {
            scripts::COUNT
                .key(inner.keys.all())
                .key(inner.keys.downloads(download.link))
                .arg(download.most)
                .arg(download.client.as_deref().unwrap_or_default())
                .arg(inner.session_window.as_millis() as u64)
                .arg(download.issued_at.0)
                .arg(forget_at.0)
                .arg(if download.begins { "1" } else { "" })
                .arg(&epoch)
                .invoke_async(&mut connection)
                .await
        })
        .await?;
    match counted {
        1 => Ok(Tally::Within),
        0 => Ok(Tally::UsedUp),
        _ => Err(StoreError::Lost("how often the link was used before the store lost its contents".into())),
    }
}
