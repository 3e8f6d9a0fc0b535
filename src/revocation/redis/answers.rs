//! Answers that are kept for a while, within budgets that one script keeps.

use std::time::Duration;

use async_trait::async_trait;

use super::{RedisStore, scripts};
use crate::answers::{AnswerStore, ENTRY_BYTES, Place};
use crate::revocation::StoreError;

impl RedisStore {
    /// Puts a value in a place, or frees it: the value that was there, and whether the new one is there now. With `only_over`
    /// only where that is the value, or there is none.
    async fn put_answer(
        &self,
        place: &Place,
        value: &[u8],
        hold: Duration,
        only_over: Option<&[u8]>,
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
                    .arg(if only_over.is_some() { "1" } else { "" })
                    .arg(only_over.unwrap_or_default())
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
        let (known, is_put) = self.put_answer(place, value, hold, Some(over)).await?;
        // Where the first reply was lost, what is there may be this very claim.
        Ok((!is_put && known != value).then_some(known))
    }

    async fn keep(&self, place: &Place, value: &[u8], hold: Duration) -> Result<bool, StoreError> {
        Ok(self.put_answer(place, value, hold, None).await?.1)
    }

    async fn release(&self, place: &Place) -> Result<(), StoreError> {
        self.put_answer(place, &[], Duration::ZERO, None).await.map(|_| ())
    }
}
