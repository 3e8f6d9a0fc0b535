//! Answers that are kept for a while: a key of its own for each, which Redis forgets by itself.

use std::time::Duration;

use async_trait::async_trait;

use super::RedisStore;
use crate::answers::AnswerStore;
use crate::revocation::StoreError;

#[async_trait]
impl AnswerStore for RedisStore {
    async fn claim(&self, name: &str, value: &[u8], hold: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.inner.keys.answer(name);
        self.inner
            .link
            .run(async |mut connection| {
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(value).arg("NX").arg("PX").arg(hold.as_millis() as u64);
                let is_ours: Option<String> = set.query_async(&mut connection).await?;
                if is_ours.is_some() {
                    return Ok(None);
                }
                let known: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(&mut connection).await?;
                // It has ended in between: whoever asks again will get it.
                Ok(Some(known.unwrap_or_default()))
            })
            .await
    }

    async fn keep(&self, name: &str, value: &[u8], hold: Duration) -> Result<(), StoreError> {
        let key = self.inner.keys.answer(name);
        self.inner
            .link
            .run(async |mut connection| {
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(value).arg("PX").arg(hold.as_millis() as u64).exec_async(&mut connection).await
            })
            .await
    }

    async fn release(&self, name: &str) -> Result<(), StoreError> {
        let key = self.inner.keys.answer(name);
        self.inner.link.run(async |mut connection| redis::cmd("DEL").arg(&key).exec_async(&mut connection).await).await
    }
}
