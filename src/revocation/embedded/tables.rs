//! The tables of the embedded store and what is done to them, each in one transaction.

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::storage_error;
use crate::clock::UnixMillis;
use crate::revocation::horizon::{reach, steady};
use crate::revocation::list::SCAN_BUDGET;
use crate::revocation::{
    Bounds, Change, Index, ListQuery, Page, PageCursor, Proposal, Revocation, RevocationId, StoreError, Target,
};

/// Revocation id → the revocation as JSON.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Creation time and id, for lists.
const BY_TIME: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("by_time");
/// Member and id → score, for the strictest of several.
const BY_TARGET: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("by_target");
/// The time to forget and the id.
const BY_LAPSE: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("by_lapse");
/// Numbers by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;
/// The latest time that was told: no revocation is recorded before it.
const TOLD_KEY: &str = "told";
const SEQUENCE_KEY: &str = "sequence";
/// Records lifted in one sweep.
const SWEEP_BATCH: usize = 200;

/// What a transaction meant for the index, to be applied once it is on disk.
pub enum Outcome {
    Nothing,
    Scored { target: Target, score: u64 },
    Lifted { target: Target },
}

impl Outcome {
    pub fn apply(&self, index: &Index) {
        match self {
            Self::Nothing => {}
            Self::Scored { target: Target::Link(id), score } => {
                index.apply(Change::Link { id: *id, until: UnixMillis(*score) });
            }
            Self::Scored { target, score } => {
                index.apply(Change::CutOff { member: &target.member(), score: *score });
            }
            Self::Lifted { target: Target::Link(id) } => index.apply(Change::LinkLifted { id: *id }),
            Self::Lifted { target } => index.apply(Change::CutOffLifted { member: &target.member() }),
        }
    }
}

/// Makes the tables, or checks that the file's format is this one.
pub fn create(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        transaction.open_table(RECORDS).map_err(failed)?;
        transaction.open_table(BY_TIME).map_err(failed)?;
        transaction.open_table(BY_TARGET).map_err(failed)?;
        transaction.open_table(BY_LAPSE).map_err(failed)?;
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let format = meta.get(FORMAT_KEY).map_err(storage_error)?.map(|value| value.value());
        match format {
            Some(FORMAT) => return Ok(()),
            Some(other) => {
                return Err(StoreError::Foreign(format!(
                    "the table file has format {other}, this version knows {FORMAT}"
                )));
            }
            None => meta.insert(FORMAT_KEY, FORMAT).map_err(storage_error)?,
        };
    }
    commit(transaction)
}

/// Fills an index with every entry.
pub fn load(database: &Database, index: &Index) -> Result<(), StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let by_target = transaction.open_table(BY_TARGET).map_err(failed)?;
    let mut current: Option<(Target, u64)> = None;
    for entry in by_target.iter().map_err(storage_error)? {
        let (key, score) = entry.map_err(storage_error)?;
        let member = key.value().0;
        let target = Target::from_member(member)
            .ok_or_else(|| StoreError::Foreign("an unreadable member in the table file".into()))?;
        let score = score.value();
        match &mut current {
            Some((known, strictest)) if *known == target => *strictest = score.max(*strictest),
            _ => {
                if let Some((target, score)) = current.replace((target, score)) {
                    Outcome::Scored { target, score }.apply(index);
                }
            }
        }
    }
    if let Some((target, score)) = current {
        Outcome::Scored { target, score }.apply(index);
    }
    Ok(())
}

/// The position of the last revocation.
pub fn position(database: &Database) -> Result<u64, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let meta = transaction.open_table(META).map_err(failed)?;
    Ok(meta.get(SEQUENCE_KEY).map_err(storage_error)?.map_or(0, |value| value.value()))
}

/// Adds what is proposed when the clock shows a time; answers its position, and the revocation that came of it.
pub fn insert(
    database: &Database,
    proposal: Proposal,
    clock: UnixMillis,
    bounds: Bounds,
) -> Result<((u64, Revocation), Outcome), StoreError> {
    let member = proposal.target.member();
    let transaction = database.begin_write().map_err(failed)?;
    let (position, score, revocation);
    {
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let at = tell_in(&mut meta, clock, bounds)?;
        let own = proposal.fixed_score(at, bounds).unwrap_or_else(|| reach(at, UnixMillis(0), at, bounds).0);
        revocation = proposal.recorded(at, own, bounds);
        let json = serde_json::to_vec(&revocation).map_err(|error| StoreError::Failed(error.to_string()))?;
        let id = revocation.id.as_str();
        position = meta.get(SEQUENCE_KEY).map_err(storage_error)?.map_or(0, |value| value.value()) + 1;
        meta.insert(SEQUENCE_KEY, position).map_err(storage_error)?;
        let mut records = transaction.open_table(RECORDS).map_err(failed)?;
        records.insert(id, json.as_slice()).map_err(storage_error)?;
        let mut by_time = transaction.open_table(BY_TIME).map_err(failed)?;
        by_time.insert((revocation.created_at.0, id), ()).map_err(storage_error)?;
        if let Some(lapse) = revocation.lapses_at {
            let mut by_lapse = transaction.open_table(BY_LAPSE).map_err(failed)?;
            by_lapse.insert((lapse.0, id), ()).map_err(storage_error)?;
        }
        let mut by_target = transaction.open_table(BY_TARGET).map_err(failed)?;
        by_target.insert((member.as_str(), id), revocation.score).map_err(storage_error)?;
        score = strictest(&by_target, &member)?.map_or(revocation.score, |(score, _)| score);
    }
    commit(transaction)?;
    let outcome = Outcome::Scored { target: revocation.target.clone(), score };
    Ok(((position, revocation), outcome))
}

/// Notes how far the store's time has come when the clock shows a time; answers it.
pub fn tell(database: &Database, clock: UnixMillis, bounds: Bounds) -> Result<(UnixMillis, Outcome), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    let at = tell_in(&mut transaction.open_table(META).map_err(failed)?, clock, bounds)?;
    commit(transaction)?;
    Ok((at, Outcome::Nothing))
}

fn tell_in(
    meta: &mut Table<'_, &'static str, u64>,
    clock: UnixMillis,
    bounds: Bounds,
) -> Result<UnixMillis, StoreError> {
    let told = meta.get(TOLD_KEY).map_err(storage_error)?.map_or(0, |told| told.value());
    let at = steady(clock, UnixMillis(told), bounds);
    meta.insert(TOLD_KEY, at.0).map_err(storage_error)?;
    Ok(at)
}

/// Takes a revocation away; answers it.
pub fn remove(database: &Database, id: &RevocationId) -> Result<(Option<Revocation>, Outcome), StoreError> {
    let Some(revocation) = find(database, id)? else {
        return Ok((None, Outcome::Nothing));
    };
    let id = id.as_str();
    let member = revocation.target.member();
    let transaction = database.begin_write().map_err(failed)?;
    let rest;
    {
        let mut records = transaction.open_table(RECORDS).map_err(failed)?;
        records.remove(id).map_err(storage_error)?;
        let mut by_time = transaction.open_table(BY_TIME).map_err(failed)?;
        by_time.remove((revocation.created_at.0, id)).map_err(storage_error)?;
        if let Some(lapse) = revocation.lapses_at {
            let mut by_lapse = transaction.open_table(BY_LAPSE).map_err(failed)?;
            by_lapse.remove((lapse.0, id)).map_err(storage_error)?;
        }
        let mut by_target = transaction.open_table(BY_TARGET).map_err(failed)?;
        by_target.remove((member.as_str(), id)).map_err(storage_error)?;
        rest = strictest(&by_target, &member)?.map(|(score, _)| score);
    }
    commit(transaction)?;
    let target = revocation.target.clone();
    let outcome = match rest {
        Some(score) => Outcome::Scored { target, score },
        None => Outcome::Lifted { target },
    };
    Ok((Some(revocation), outcome))
}

/// One revocation.
pub fn find(database: &Database, id: &RevocationId) -> Result<Option<Revocation>, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let records = transaction.open_table(RECORDS).map_err(failed)?;
    let record = records.get(id.as_str()).map_err(storage_error)?;
    record.map(|json| parse(json.value())).transpose()
}

/// The revocation of a target with the highest score.
pub fn strictest_of(database: &Database, target: &Target) -> Result<Option<Revocation>, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let by_target = transaction.open_table(BY_TARGET).map_err(failed)?;
    let Some((_, id)) = strictest(&by_target, &target.member())? else { return Ok(None) };
    id.parse().map_or(Ok(None), |id| find(database, &id))
}

/// The ids of revocations whose time to be forgotten has come, oldest first, so many at a time.
pub fn lapsed(database: &Database, now: UnixMillis) -> Result<Vec<RevocationId>, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let by_lapse = transaction.open_table(BY_LAPSE).map_err(failed)?;
    let mut ids = Vec::new();
    for entry in by_lapse.range(..(now.0 + 1, "")).map_err(storage_error)?.take(SWEEP_BATCH) {
        let (key, _) = entry.map_err(storage_error)?;
        if let Ok(id) = key.value().1.parse() {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// A page, newest first.
pub fn list(database: &Database, query: &ListQuery) -> Result<Page, StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let records = transaction.open_table(RECORDS).map_err(failed)?;
    let by_time = transaction.open_table(BY_TIME).map_err(failed)?;
    let end = query.after.as_ref().map_or((u64::MAX, ""), |after| (after.created_at.0, after.id.as_str()));
    let mut page = Page::default();
    for (seen, entry) in by_time.range(..end).map_err(storage_error)?.rev().enumerate() {
        let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(storage_error)?;
        let (created_at, id) = key.value();
        if let Some(json) = records.get(id).map_err(storage_error)? {
            let revocation = parse(json.value())?;
            if query.matches(&revocation) {
                if page.revocations.len() == query.limit {
                    page.next = page.revocations.last().map(cursor_after);
                    break;
                }
                page.revocations.push(revocation);
            }
        }
        if seen + 1 == SCAN_BUDGET {
            page.next = id.parse().ok().map(|id| PageCursor { created_at: UnixMillis(created_at), id });
            break;
        }
    }
    Ok(page)
}

fn cursor_after(revocation: &Revocation) -> PageCursor {
    PageCursor { created_at: revocation.created_at, id: revocation.id.clone() }
}

/// The highest score any revocation of this member has, and whose it is.
fn strictest(
    by_target: &impl ReadableTable<(&'static str, &'static str), u64>,
    member: &str,
) -> Result<Option<(u64, String)>, StoreError> {
    let mut strictest = None;
    for entry in by_target.range((member, "")..).map_err(storage_error)? {
        let (key, score) = entry.map_err(storage_error)?;
        if key.value().0 != member {
            break;
        }
        if strictest.as_ref().is_none_or(|(highest, _)| score.value() > *highest) {
            strictest = Some((score.value(), key.value().1.to_owned()));
        }
    }
    Ok(strictest)
}

fn parse(json: &[u8]) -> Result<Revocation, StoreError> {
    serde_json::from_slice(json).map_err(|_| StoreError::Foreign("an unreadable record in the table file".into()))
}

pub fn commit(transaction: WriteTransaction) -> Result<(), StoreError> {
    transaction.commit().map_err(|error| match error {
        redb::CommitError::Storage(error) => storage_error(error),
        other => StoreError::Failed(other.to_string()),
    })
}

pub fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => storage_error(redb::StorageError::Io(error)),
        other => StoreError::Failed(other.to_string()),
    }
}
