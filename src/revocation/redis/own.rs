//! Revocations that this process answers for: it refuses from its answer on, even if the stream has not brought them yet,
//! and writes them back if the store loses them.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;

use super::restore::BATCH;
use super::snapshot::{self, Header, Meta, Scores};
use super::stream::{self, Position, Step};
use super::{APPLY_TIMEOUT, CHECK_INTERVAL, Inner, records};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, Replaced, Revocation, RevocationId, StoreError, Target};

/// How many of the last writes are remembered as read. More come only while an answer is held up.
const RECENT: usize = 4_096;

/// A revocation that this process answered for and has not read from the stream.
#[derive(Clone)]
pub struct Debt {
    pub step: Step,
    /// The store's count of writes at that step.
    count: u64,
    revocation: Revocation,
    member: String,
}

impl Debt {
    pub fn new(step: Step, count: u64, revocation: Revocation) -> Self {
        let member = revocation.target.member();
        Self { step, count, revocation, member }
    }

    /// Lets it take effect; a cut-off that is stricter already stays so.
    fn raise(&self, index: &Index) {
        index.raise(match self.revocation.target {
            Target::Link(id) => Change::Link { id, until: UnixMillis(self.revocation.score) },
            _ => Change::CutOff { member: &self.member, score: self.revocation.score },
        });
    }

    fn is_about(&self, change: &Change<'_>) -> bool {
        match (change, &self.revocation.target) {
            (Change::LinkLifted { id }, Target::Link(own)) => id == own,
            (Change::CutOff { member, .. } | Change::CutOffLifted { member }, _) => self.member == *member,
            _ => false,
        }
    }
}

/// What this process answers for.
#[derive(Default)]
pub struct Own {
    /// What the stream has not brought, or what another history brought that is no more.
    unseen: Vec<Debt>,
    /// The last writes that were read one by one.
    recent: VecDeque<Step>,
}

impl Own {
    /// Whether there is anything that the store may lack.
    pub fn has_debts(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// Applies what an entry says. What is still to come goes on taking effect, although this lifts what it covers.
    pub fn apply(&self, index: &Index, change: Change<'_>, at: &Step) {
        let is_owed = |debt: &Debt| !at.is_at_or_past(&debt.step) && debt.is_about(&change);
        match change {
            _ if !self.unseen.iter().any(is_owed) => index.apply(change),
            Change::CutOff { .. } => index.raise(change),
            _ => {}
        }
    }

    /// A write was read: it is in the store, whether it is lifted later or not.
    pub fn note_write(&mut self, step: Step) {
        self.unseen.retain(|debt| debt.step != step);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(step);
    }
}

impl Inner {
    /// Sees to it that a revocation takes effect here before this process answers for it. Mostly the stream brings it in a
    /// moment. A position behind it proves nothing: it may be one at another server, whose ids are higher.
    pub async fn answer_for(&self, debt: Debt) {
        if !self.follows {
            return;
        }
        self.until_applied(&debt.step).await;
        let mut own = self.own.lock();
        let is_known = |known: &Debt| known.revocation.id == debt.revocation.id;
        if !own.recent.contains(&debt.step) && !own.unseen.iter().any(is_known) {
            debt.raise(&self.index);
            own.unseen.push(debt);
        }
    }

    /// Waits until this process has applied a step; whether it has. An answer that comes late is worse than one that
    /// another verifier is a moment ahead of.
    pub async fn until_applied(&self, step: &Step) -> bool {
        let mut applied = self.applied.subscribe();
        if applied.borrow().is_none() {
            return false; // this process does not follow, or not yet
        }
        let reached = applied.wait_for(|at| at.as_ref().is_some_and(|at| at.has_reached(step)));
        tokio::time::timeout(APPLY_TIMEOUT, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Lets `apply` apply what the stream brings, and publishes how far that is, also where an entry is refused.
    pub fn advance<R>(&self, position: &mut Position, apply: impl FnOnce(&mut Position, &mut Own) -> R) -> R {
        let mut own = self.own.lock();
        let applied = apply(position, &mut own);
        self.publish(position);
        applied
    }

    fn publish(&self, position: &Position) {
        self.applied.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(position);
            if is_new {
                *known = Some(position.clone());
            }
            is_new
        });
    }

    /// Puts a freshly loaded index in place of the old one; what it may lack of our own revocations is added first.
    /// `lost` is what [`Self::find_lost`] found at that position.
    pub fn replace_index(&self, loaded: Index, position: &Position, lost: &[Debt]) -> Replaced {
        let mut own = self.own.lock();
        let on_the_way = own.unseen.iter().filter(|debt| !position.has_reached(&debt.step));
        lost.iter().chain(on_the_way).for_each(|debt| debt.raise(&loaded));
        own.recent.clear();
        let replaced = self.index.replace(loaded);
        self.publish(position);
        replaced
    }

    /// One revocation that another process may have answered for, as a debt of this one. It stands at the last write of all:
    /// who has read that has read this.
    ///
    /// # Errors
    /// When the store, or who vouches for it, does not answer, and where it is not to be believed.
    pub async fn find_written(&self, id: &RevocationId) -> Result<Option<Debt>, StoreError> {
        let (record, meta, links, cut_offs, still): (Option<String>, Meta, Scores, Scores, bool) = self
            .link
            .run(async |mut connection| {
                let mut ask = redis::pipe();
                // Before the header: what is written meanwhile lies behind it. And after: it was there all the while.
                ask.cmd("HGET").arg(self.keys.records()).arg(id.as_str());
                snapshot::ask_header(&mut ask, &self.keys);
                ask.cmd("HEXISTS").arg(self.keys.records()).arg(id.as_str());
                ask.query_async(&mut connection).await
            })
            .await?;
        let header = Header::new(meta, &links, &cut_offs)?;
        let epoch = header.believe(self.memory.recall().as_ref())?.epoch;
        self.vouch_for(&self.link).await?;
        let (Some(record), Some(id)) = (record.filter(|_| still), header.written) else { return Ok(None) };
        Ok(Some(Debt::new(Step { epoch, id }, header.count, records::parse(&record)?)))
    }

    /// Looks again and again for what this process answered for and the store has lost.
    pub async fn keep_word(&self) {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let position = self.applied.borrow().clone().filter(|_| self.trouble.read().is_none());
            if let Some(position) = position {
                // Where it does not work, it will the next time, or when the store is followed again.
                let _ = self.settle_debts(&position).await;
            }
        }
    }

    /// Strikes out the debts that the store has taken, whether lifted since or not; answers those that it should have and
    /// has lost, as in a failover.
    pub async fn find_lost(&self, position: &Position) -> Result<Vec<Debt>, StoreError> {
        let is_due = |debt: &Debt| debt.step.epoch != position.epoch || position.has_reached(&debt.step);
        let due: Vec<Debt> = self.own.lock().unseen.iter().filter(|debt| is_due(debt)).cloned().collect();
        // What was written to another epoch may have been lost with it.
        let (due, mut lost): (Vec<_>, Vec<_>) = due.into_iter().partition(|debt| debt.step.epoch == position.epoch);
        let taken = self.are_taken(&due).await?;
        let (taken, missing): (Vec<_>, Vec<_>) = due.into_iter().zip(taken).partition(|(_, is_taken)| *is_taken);
        self.strike_out(taken.iter().map(|(debt, _)| debt));
        lost.extend(missing.into_iter().map(|(debt, _)| debt));
        Ok(lost)
    }

    /// Writes back what this process answered for and the store has lost. Without the right to write, that goes on being
    /// refused here.
    pub async fn settle_debts(&self, position: &Position) -> Result<(), StoreError> {
        if !self.own.lock().has_debts() {
            return Ok(());
        }
        for batch in self.find_lost(position).await?.chunks(BATCH) {
            let revocations: Vec<_> = batch.iter().map(|debt| debt.revocation.clone()).collect();
            match self.restore_batch(&revocations, "").await {
                Ok(_) => self.strike_out(batch.iter()),
                Err(error) if error.is_refusal() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes back what this process knows and was not allowed to write back before, if it is now.
    pub async fn settle_own(&self) -> Result<(), StoreError> {
        if self.keeps_own.load(Ordering::Relaxed) && self.restore().await.is_ok() {
            self.keeps_own.store(false, Ordering::Relaxed);
            self.finish_restoring().await?;
        }
        Ok(())
    }

    fn strike_out<'d>(&self, debts: impl Iterator<Item = &'d Debt>) {
        let settled: HashSet<&str> = debts.map(|debt| debt.revocation.id.as_str()).collect();
        self.own.lock().unseen.retain(|debt| !settled.contains(debt.revocation.id.as_str()));
    }

    /// Whether the store's list of writes has each of these. Of one that is no longer listed this is not known: it counts as
    /// lost.
    async fn are_taken(&self, debts: &[Debt]) -> Result<Vec<bool>, StoreError> {
        if debts.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<_> = debts.iter().map(|debt| stream::place(debt.count)).collect();
        let blocks: Vec<u64> = places.iter().map(|(block, _)| *block).collect();
        let writes: Vec<Option<Vec<u8>>> = self
            .link
            .run(async |mut connection| {
                redis::cmd("HMGET").arg(self.keys.history()).arg(&blocks).query_async(&mut connection).await
            })
            .await?;
        let listed = debts.iter().zip(places).zip(&writes);
        Ok(listed.map(|((debt, (_, at)), writes)| stream::has_write(writes.as_deref(), at, debt.step.id)).collect())
    }
}
