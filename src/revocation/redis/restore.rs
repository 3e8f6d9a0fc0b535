//! Setting a store up, and filling one that has lost its contents with what is still known here.

use std::time::Duration;

use tracing::warn;

use super::keys::LAYOUT;
use super::memory::Lineage;
use super::{Inner, STREAM_RETENTION, records, scripts};
use crate::clients::LINKGATE;
use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::revocation::{Change, Index, PRUNE_GRACE, Revocation, RevocationId, STANDING, StoreError, Target};

/// Entries written back in one script.
pub const BATCH: usize = 100;

/// How long a store that was set up on empty ground is judged by in no process: one that remembers another store, and looks
/// each second, may object or write back what it knows.
pub const PROBATION: Duration = Duration::from_millis(1_600);

/// What a new store is set up on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// There is no trace of another one, and no operator to ask.
    Empty,
    /// An operator says that there was none.
    Known,
    /// Another one was lost: what is still known is about to be written back. Should that never be, the store is missed.
    Lost,
    /// Another one was lost, and an operator accepts that.
    Accepted,
}

impl Inner {
    /// Sets the store up; answers its epoch.
    pub async fn set_up(&self, ground: Ground) -> Result<String, StoreError> {
        // An integer in [2^52, 2^53): exact in the double that Redis keeps scores in.
        let epoch = (1 << 52) | (u64::from_be_bytes(random()) >> 12);
        let (who, probation) = match ground {
            Ground::Empty => ("", PROBATION),
            Ground::Known => ("", Duration::ZERO),
            Ground::Lost | Ground::Accepted => (self.name.as_str(), Duration::ZERO),
        };
        let missed = self.epoch().filter(|_| ground == Ground::Lost).unwrap_or_default();
        let (created, epoch): (u8, String) = self
            .link
            .run(async |mut connection| {
                let mut call = scripts::INIT.key(self.keys.all());
                call.arg(epoch).arg(LAYOUT).arg(who).arg(probation.as_millis() as u64).arg(&missed);
                call.invoke_async(&mut connection).await
            })
            .await?;
        if created == 1 {
            warn!("set up an empty revocation store");
        }
        Ok(epoch)
    }

    /// Writes back every entry that this process knows and the store does not.
    pub async fn restore(&self) -> Result<usize, StoreError> {
        let now = self.clock.now().wall;
        let mut entries = Vec::new();
        self.index.for_each(|change| match change {
            Change::Link { id, until } => entries.push((Target::Link(id), until.0)),
            Change::CutOff { member, score } => {
                entries.extend(Target::from_member(member).map(|target| (target, score)));
            }
            Change::LinkLifted { .. } | Change::CutOffLifted { .. } => {}
        });
        let mut restored = 0;
        // Also when there is nothing: whoever may not write must find that out.
        for batch in std::iter::once(&[][..]).chain(entries.chunks(BATCH)) {
            let revocations: Vec<_> =
                batch.iter().map(|(target, score)| remembered(target, *score, now, self.bounds.max_ttl)).collect();
            restored += self.restore_batch(&revocations).await?;
        }
        Ok(restored)
    }

    /// Makes the sets again from the records, as far as those are left.
    pub async fn restore_records(&self) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        loop {
            let (next, page): (String, Vec<(String, String)>) = self
                .link
                .run(async |mut connection| {
                    let mut scan = redis::cmd("HSCAN");
                    scan.arg(self.keys.records()).arg(&cursor).arg("COUNT").arg(BATCH);
                    scan.query_async(&mut connection).await
                })
                .await?;
            let revocations: Vec<Revocation> =
                page.iter().filter_map(|(_, record)| serde_json::from_str(record).ok()).collect();
            for batch in revocations.chunks(BATCH) {
                self.restore_batch(batch).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Ends the probation of a store that was set up a while ago, unless a process has objected.
    pub async fn end_probation(&self) -> Result<(), StoreError> {
        self.link
            .run(async |mut connection| {
                scripts::SETTLE.key(self.keys.all()).invoke_async::<u8>(&mut connection).await.map(|_| ())
            })
            .await
    }

    /// Says that another store is remembered than the one on probation.
    pub async fn object(&self, remembered: &Lineage) -> Result<(), StoreError> {
        self.link
            .run(async |mut connection| {
                scripts::OBJECT
                    .key(self.keys.all())
                    .arg(&remembered.epoch)
                    .invoke_async::<u8>(&mut connection)
                    .await
                    .map(|_| ())
            })
            .await
    }

    pub async fn restore_batch(&self, batch: &[Revocation]) -> Result<usize, StoreError> {
        let known = self.applied.borrow().as_ref().map(|position| position.epoch.clone());
        let dated = self.index.store_time().told().plus(self.bounds.skew());
        self.link
            .run(async |mut connection| {
                let mut call = scripts::RESTORE.key(self.keys.all());
                call.arg(STREAM_RETENTION.as_millis() as u64).arg(&self.name).arg(known.as_deref().unwrap_or_default());
                call.arg(dated.0);
                for revocation in batch {
                    let json = serde_json::to_string(revocation).unwrap_or_default();
                    call.arg(revocation.target.member()).arg(revocation.score).arg(revocation.id.as_str()).arg(json);
                    call.arg(revocation.created_at.0).arg(records::lapse(revocation.lapses_at));
                }
                call.invoke_async(&mut connection).await
            })
            .await
    }

    /// Says that everything known here has been written back: the store descends from those that were believed here.
    pub async fn finish_restoring(&self) -> Result<(), StoreError> {
        let followed = self.applied.borrow().as_ref().map(|position| position.epoch.clone());
        let remembered = self.memory.recall().map(|lineage| lineage.words());
        self.release(&[followed, remembered].map(Option::unwrap_or_default).join(" ")).await
    }

    /// Ends restoring: the store descends from these epochs.
    pub async fn release(&self, ancestors: &str) -> Result<(), StoreError> {
        self.link
            .run(async |mut connection| {
                scripts::RESTORED
                    .key(self.keys.all())
                    .arg(&self.name)
                    .arg(ancestors)
                    .invoke_async::<u8>(&mut connection)
                    .await
                    .map(|_| ())
            })
            .await
    }
}

/// Adds to a freshly loaded index whatever the old one knew more strictly.
pub fn keep_own(own: &Index, loaded: &Index) {
    own.for_each(|change| {
        let is_known = loaded.look(|view| match change {
            Change::Link { id, .. } => view.has_link(id),
            Change::CutOff { member, score } => view.cut_off(member.as_bytes()) >= Some(score),
            Change::LinkLifted { .. } | Change::CutOffLifted { .. } => true,
        });
        if !is_known {
            loaded.apply(change);
        }
    });
}

/// The record of an entry that only this process remembered: who made it and why is lost.
fn remembered(target: &Target, score: u64, now: UnixMillis, max_ttl: Duration) -> Revocation {
    let end = match target {
        _ if score >= STANDING => None,
        Target::Link(_) => Some(UnixMillis(score)),
        _ => Some(UnixMillis(score).plus(max_ttl)),
    };
    Revocation {
        id: RevocationId::new(random()),
        kind: target.kind(),
        target: target.clone(),
        score,
        issued_before: (score < STANDING && !matches!(target, Target::Link(_))).then_some(UnixMillis(score)),
        created_at: now,
        created_by: LINKGATE.into(),
        expires_at: end,
        lapses_at: end.map(|end| end.plus(PRUNE_GRACE)),
        reason: Some(
            "written back after the store had lost it; who asked for it, why, and until when is not known".into(),
        ),
    }
}
