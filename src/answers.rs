//! Answers that are kept so that they can be given again: what an `Idempotency-Key` promises.

use std::time::Duration;

use async_trait::async_trait;

use crate::revocation::StoreError;

/// Where they are kept, for every process that shares the store. What is kept is sealed: a store holds no links.
#[async_trait]
pub trait AnswerStore: Send + Sync {
    /// Puts a value under a name that is free, for some time; `Some` is the value of a name that is not.
    async fn claim(&self, name: &str, value: &[u8], hold: Duration) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts a value under a name, for some time.
    async fn keep(&self, name: &str, value: &[u8], hold: Duration) -> Result<(), StoreError>;

    /// Frees a name.
    async fn release(&self, name: &str) -> Result<(), StoreError>;
}
