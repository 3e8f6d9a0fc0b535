//! Answers that are kept for a while, within budgets that one script keeps.

use std::time::Duration;

use async_trait::async_trait;

use super::{RedisStore, scripts};
use crate::answers::{AnswerStore, ENTRY_BYTES, Place};
use crate::revocation::StoreError;

impl RedisStore {
    /// Puts a value in a place that is free or holds `over`, or frees it: the value that was there, and whether the new one is
    /// there now.
    async fn put_answer(
        &self,
        place: &Place,
        value: &[u8],
        hold: Duration,
        over: &[u8],
    ) -> Result<(Vec<u8>, bool), StoreError> {
        let keys = self.inner.keys.answers(place.party, &place.caller);
        let budget = place.party.budget();
        self.inner
            .link
            .run(async |mut connection| {
                scripts::ANSWER
                    .key(&keys)
                    .arg(&place.caller)
                    .arg(&place.name)
                    .arg(value)
                    .arg(hold.as_millis() as u64)
                    .arg(over)
                    .arg(budget.each)
                    .arg(budget.all)
                    .arg(ENTRY_BYTES)
                    .invoke_async(&mut connection)
                    .await
            })
            .await
    }
}

#[async_trait]
impl AnswerStore for RedisStore {
    async fn claim(
        &self,
        place: &Place,
        value: &[u8],
        over: Option<&[u8]>,
        hold: Duration,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let over = over.unwrap_or_default();
        let (known, is_put) = self.put_answer(place, value, hold, over).await?;
        // Where the first reply was lost, what is there may be this very claim.
        Ok((!is_put && known != value).then_some(known))
    }

    async fn keep(&self, place: &Place, value: &[u8], over: &[u8], hold: Duration) -> Result<bool, StoreError> {
        Ok(self.put_answer(place, value, hold, over).await?.1)
    }

    async fn release(&self, place: &Place, over: &[u8]) -> Result<(), StoreError> {
        self.put_answer(place, &[], Duration::ZERO, over).await.map(|_| ())
    }
}
