//! Revocations of our own: whoever answers for one refuses from then on, even if the stream has not brought it yet,
//! and writes it back if the store loses it.

use std::sync::atomic::Ordering;

use redis::AsyncCommands;

use super::Inner;
use super::restore::BATCH;
use super::stream::{self, Position, Step};
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
    /// Lets a revocation of our own bite although the stream has not brought it yet: whoever answered must refuse.
    pub fn apply_own(&self, debt: Debt) {
        let mut unseen = self.unseen.lock();
        raise(&self.index, &debt.revocation);
        unseen.push(debt);
    }

    /// The stream has brought a step: it is in the store, whether it is lifted later or not.
    pub fn settle(&self, step: &Step) {
        self.unseen.lock().retain(|debt| debt.step != *step);
    }

    /// Puts a freshly loaded index in place of the old one; what it may lack of our own revocations is added first.
    /// `lost` is what [`Self::lost_debts`] found at that position.
    pub fn replace_index(&self, loaded: Index, position: &Position, lost: &[Debt]) -> Replaced {
        let unseen = self.unseen.lock();
        let on_the_way = unseen.iter().filter(|debt| !position.has_reached(&debt.step));
        lost.iter().chain(on_the_way).for_each(|debt| raise(&loaded, &debt.revocation));
        self.index.replace(loaded)
    }

    /// What this process answered for and the store has lost meanwhile, as in a failover. What the store has taken is
    /// settled, whether it was lifted since or not.
    pub async fn lost_debts(&self, position: &Position) -> Result<Vec<Debt>, StoreError> {
        let is_due = |debt: &Debt| debt.step.epoch != position.epoch || position.has_reached(&debt.step);
        let due: Vec<Debt> = self.unseen.lock().iter().filter(|debt| is_due(debt)).cloned().collect();
        let mut lost = Vec::new();
        for debt in due {
            // What was written to another epoch may have been lost with it.
            if debt.step.epoch == position.epoch && self.was_taken(&debt).await? {
                self.settle(&debt.step);
            } else {
                lost.push(debt);
            }
        }
        Ok(lost)
    }

    /// Writes back what this process answered for and the store has lost; and what it was not allowed to write back before,
    /// if it is now.
    pub async fn settle_debts(&self, position: &Position) -> Result<(), StoreError> {
        let lost = self.lost_debts(position).await?;
        for batch in lost.chunks(BATCH) {
            let revocations: Vec<_> = batch.iter().map(|debt| debt.revocation.clone()).collect();
            match self.restore_batch(&revocations, "").await {
                // They go on being refused here.
                Err(StoreError::Forbidden(_) | StoreError::ReadOnly) => return Ok(()),
                answer => drop(answer?),
            }
            for debt in batch {
                self.settle(&debt.step);
            }
        }
        if self.keeps_own.load(Ordering::Relaxed) && self.restore().await.is_ok() {
            self.keeps_own.store(false, Ordering::Relaxed);
            self.finish_restoring().await?;
        }
        Ok(())
    }

    /// Whether the store's list of writes has a step of ours. Of one that is no longer listed this is not known: it counts
    /// as lost.
    async fn was_taken(&self, debt: &Debt) -> Result<bool, StoreError> {
        let (block, at) = stream::place(debt.count);
        let writes: Option<Vec<u8>> =
            self.link.run(async |mut connection| connection.hget(self.keys.history(), block).await).await?;
        Ok(stream::has_write(writes.as_deref(), at, debt.step.id))
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
