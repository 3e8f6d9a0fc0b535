//! Revocations of our own: whoever answers for one refuses from then on, even if the stream has not brought it yet,
//! and writes it back if the store loses it.

use std::sync::atomic::Ordering;

use super::Inner;
use super::restore::BATCH;
use super::stream::{Position, Step};
use crate::clock::UnixMillis;
use crate::revocation::{Change, Index, Replaced, Revocation, StoreError, Target};

impl Inner {
    /// Lets a revocation of our own bite although the stream has not brought it yet: whoever answered must refuse.
    pub fn apply_own(&self, step: Step, revocation: &Revocation) {
        let mut unseen = self.unseen.lock();
        raise(&self.index, revocation);
        unseen.push((step, revocation.clone()));
    }

    /// Puts a freshly loaded index in place of the old one; what it may lack of our own revocations is added first.
    pub fn replace_index(&self, loaded: Index, position: &Position) -> Replaced {
        let unseen = self.unseen.lock();
        for (_, revocation) in unseen.iter().filter(|(step, _)| !position.has_reached(step)) {
            raise(&loaded, revocation);
        }
        self.index.replace(loaded)
    }

    /// Writes back what this process answered for and the store may have lost meanwhile, as in a failover; and what it
    /// was not allowed to write back before, if it is now.
    pub async fn settle_debts(&self, position: &Position) -> Result<(), StoreError> {
        // What was written to another epoch may have been lost with it.
        let is_due = |step: &Step| step.epoch != position.epoch || position.has_reached(step);
        let unseen = self.unseen.lock().clone();
        let due: Vec<_> =
            unseen.into_iter().filter(|(step, _)| is_due(step)).map(|(_, revocation)| revocation).collect();
        for batch in due.chunks(BATCH) {
            self.restore_batch(batch, "").await?;
            self.unseen.lock().retain(|(_, own)| !batch.iter().any(|settled| settled.id == own.id));
        }
        if self.keeps_own.load(Ordering::Relaxed) && self.restore().await.is_ok() {
            self.keeps_own.store(false, Ordering::Relaxed);
            self.finish_restoring().await?;
        }
        Ok(())
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
