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

    /// The stream has brought the entry at this position: it is in the store, whatever becomes of it there.
    pub fn settle_seen(&self, position: &Position) {
        self.unseen.lock().retain(|debt| debt.step.epoch != position.epoch || debt.step.id != position.last);
    }

    /// Puts a freshly loaded index in place of the old one; what it may lack of our own revocations is added first.
    pub fn replace_index(&self, loaded: Index, position: &Position) -> Replaced {
        let unseen = self.unseen.lock();
        for debt in unseen.iter().filter(|debt| !position.has_reached(&debt.step)) {
            raise(&loaded, &debt.revocation);
        }
        self.index.replace(loaded)
    }

    /// Writes back what this process answered for and the store has lost meanwhile, as in a failover; and what it was not
    /// allowed to write back before, if it is now. What the store had and was lifted since stays lifted.
    pub async fn settle_debts(&self, position: &Position) -> Result<(), StoreError> {
        let is_over = |debt: &Debt| debt.step.epoch != position.epoch || position.has_reached(&debt.step);
        let over: Vec<Debt> = self.unseen.lock().iter().filter(|debt| is_over(debt)).cloned().collect();
        let mut lost = Vec::new();
        for debt in &over {
            // What was written to another epoch may have been lost with it.
            if debt.step.epoch != position.epoch || !self.was_taken(debt).await? {
                lost.push(debt.revocation.clone());
            }
        }
        for batch in lost.chunks(BATCH) {
            self.restore_batch(batch, "").await?;
        }
        self.unseen.lock().retain(|debt| !over.iter().any(|over| over.step == debt.step));
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
