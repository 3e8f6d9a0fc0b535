//! Revocations of our own: whoever answers for one refuses from then on, even if the stream has not brought it yet,
//! and writes it back if the store loses it.

use std::sync::atomic::Ordering;

use super::restore::BATCH;
use super::stream::{self, Position, Step};
use super::{APPLY_TIMEOUT, Inner};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, Replaced, Revocation, StoreError, Target};

/// A revocation that this process answered for and has not read from the stream yet.
#[derive(Clone)]
pub struct Debt {
    pub step: Step,
    /// The store's count of writes at that step.
    pub count: u64,
    pub revocation: Revocation,
}

impl Inner {
    /// Sees to it that a revocation takes effect here before this process answers for it. Mostly the stream brings it in a
    /// moment; of one that was not vouched for it is not known which history has taken it.
    pub async fn answer_for(&self, debt: Debt, is_vouched: bool) {
        if !self.follows || (is_vouched && self.until_applied(&debt.step).await) {
            return;
        }
        let mut unseen = self.unseen.lock();
        if !(is_vouched && self.has_applied(&debt.step)) {
            raise(&self.index, &debt.revocation);
            unseen.push(debt);
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

    fn has_applied(&self, step: &Step) -> bool {
        self.applied.borrow().as_ref().is_some_and(|at| at.has_reached(step))
    }

    /// Applies what the stream brings, entry by entry, and publishes how far that is, also where an entry is refused:
    /// `apply` is given what to call after each. A step that has come is a debt no more, whether it is lifted later or not;
    /// one that is still to come goes on taking effect, although an entry before it lifts what it covers.
    pub fn advance<R>(
        &self,
        position: &mut Position,
        apply: impl FnOnce(&mut Position, &mut dyn FnMut(&Position)) -> R,
    ) -> R {
        let mut unseen = self.unseen.lock();
        let applied = apply(position, &mut |position| {
            unseen.retain(|debt| debt.step.epoch != position.epoch || debt.step.id != position.last);
            for debt in unseen.iter().filter(|debt| !position.has_reached(&debt.step)) {
                raise(&self.index, &debt.revocation);
            }
        });
        self.applied.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(position);
            if is_new {
                *known = Some(position.clone());
            }
            is_new
        });
        applied
    }

    /// Puts a freshly loaded index in place of the old one; what it may lack of our own revocations is added first.
    /// `lost` is what [`Self::find_lost`] found at that position.
    pub fn replace_index(&self, loaded: Index, position: &Position, lost: &[Debt]) -> Replaced {
        let unseen = self.unseen.lock();
        let on_the_way = unseen.iter().filter(|debt| !position.has_reached(&debt.step));
        lost.iter().chain(on_the_way).for_each(|debt| raise(&loaded, &debt.revocation));
        self.index.replace(loaded)
    }

    /// Strikes out the debts that the store has taken, whether lifted since or not; answers those that it should have and
    /// has lost, as in a failover.
    pub async fn find_lost(&self, position: &Position) -> Result<Vec<Debt>, StoreError> {
        let is_due = |debt: &Debt| debt.step.epoch != position.epoch || position.has_reached(&debt.step);
        let due: Vec<Debt> = self.unseen.lock().iter().filter(|debt| is_due(debt)).cloned().collect();
        // What was written to another epoch may have been lost with it.
        let (due, mut lost): (Vec<_>, Vec<_>) = due.into_iter().partition(|debt| debt.step.epoch == position.epoch);
        let taken = self.are_taken(&due).await?;
        for (debt, is_taken) in due.into_iter().zip(taken) {
            if is_taken {
                self.settle(&debt.step);
            } else {
                lost.push(debt);
            }
        }
        Ok(lost)
    }

    /// Writes back what this process answered for and the store has lost. Without the right to write that is refused here
    /// on.
    pub async fn settle_debts(&self, position: &Position) -> Result<(), StoreError> {
        if self.unseen.lock().is_empty() {
            return Ok(());
        }
        for batch in self.find_lost(position).await?.chunks(BATCH) {
            let revocations: Vec<_> = batch.iter().map(|debt| debt.revocation.clone()).collect();
            match self.restore_batch(&revocations, "").await {
                Ok(_) => batch.iter().for_each(|debt| self.settle(&debt.step)),
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

    fn settle(&self, step: &Step) {
        self.unseen.lock().retain(|debt| debt.step != *step);
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

/// Lets a revocation bite; a cut-off that is stricter already stays so.
fn raise(index: &Index, revocation: &Revocation) {
    let member = revocation.target.member();
    index.raise(match revocation.target {
        Target::Link(id) => Change::Link { id, until: UnixMillis(revocation.score) },
        _ => Change::CutOff { member: &member, score: revocation.score },
    });
}
