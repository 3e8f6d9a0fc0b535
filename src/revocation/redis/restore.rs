//! Setting a store up, and filling one that has lost its contents with what is still known here.

use std::time::Duration;

use tracing::warn;

use super::keys::LAYOUT;
use super::{Inner, STREAM_RETENTION, records, scripts};
use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::revocation::{Change, PRUNE_GRACE, Revocation, RevocationId, STANDING, StoreError, Target};

/// Entries written back in one script.
const RESTORE_BATCH: usize = 100;

/// Whether a new store starts empty or is filled with what is still known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Restoring {
    No,
    Yes,
}

impl Inner {
    /// Sets the store up; answers its epoch.
    pub async fn set_up(&self, restoring: Restoring) -> Result<String, StoreError> {
        // An integer in [2^52, 2^53): exact in the double that Redis keeps scores in.
        let epoch = (1 << 52) | (u64::from_be_bytes(random()) >> 12);
        let (created, epoch): (u8, String) = self
            .link
            .run(async |mut connection| {
                scripts::INIT
                    .key(self.keys.all())
                    .arg(epoch)
                    .arg(LAYOUT)
                    .arg(if restoring == Restoring::Yes { "1" } else { "" })
                    .invoke_async(&mut connection)
                    .await
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
        for batch in entries.chunks(RESTORE_BATCH) {
            restored += self.restore_batch(batch, now).await?;
        }
        Ok(restored)
    }

    async fn restore_batch(&self, batch: &[(Target, u64)], now: UnixMillis) -> Result<usize, StoreError> {
        self.link
            .run(async |mut connection| {
                let mut call = scripts::RESTORE.key(self.keys.all());
                call.arg(STREAM_RETENTION.as_millis() as u64);
                for (target, score) in batch {
                    let revocation = remembered(target, *score, now, self.max_ttl);
                    let json = serde_json::to_string(&revocation).unwrap_or_default();
                    call.arg(target.member()).arg(*score).arg(revocation.id.as_str()).arg(json).arg(now.0);
                    call.arg(records::lapse(revocation.lapses_at));
                }
                call.invoke_async(&mut connection).await
            })
            .await
    }

    /// Lets everybody judge by the store again.
    pub async fn finish_restoring(&self) -> Result<(), StoreError> {
        self.link
            .run(async |mut connection| {
                scripts::RESTORED.key(self.keys.all()).invoke_async::<u8>(&mut connection).await.map(|_| ())
            })
            .await
    }
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
        created_by: "linkgate".into(),
        expires_at: end,
        lapses_at: end.map(|end| end.plus(PRUNE_GRACE)),
        reason: Some(
            "written back after the store had lost it; who asked for it, why, and until when is not known".into(),
        ),
    }
}
