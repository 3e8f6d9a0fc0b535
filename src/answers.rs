//! Answers that are kept so that they can be given again: what an `Idempotency-Key` promises.
//!
//! Keeping them takes room where revocations are kept, and every caller may ask for it. So each caller has a budget, and
//! all of them together; beyond it the oldest answers give way. Logins, whose number has no limit, have a budget apart
//! from clients: they cannot take what belongs to those.

use std::time::Duration;

use async_trait::async_trait;

use crate::revocation::StoreError;

/// What an entry takes besides its value, in bytes, so that small ones are limited in number as well.
pub const ENTRY_BYTES: u64 = 320;

/// Callers that share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    Clients,
    Logins,
}

/// Bytes that answers may take, [`ENTRY_BYTES`] for each included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Those of one caller.
    pub each: u64,
    /// Those of all callers of a party.
    pub all: u64,
}

impl Party {
    /// Every party.
    pub const ALL: [Self; 2] = [Self::Clients, Self::Logins];

    /// Its name in stores.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Clients => "c",
            Self::Logins => "l",
        }
    }

    /// What its answers may take.
    pub const fn budget(self) -> Budget {
        match self {
            Self::Clients => Budget { each: 16 << 20, all: 64 << 20 },
            Self::Logins => Budget { each: 1 << 20, all: 16 << 20 },
        }
    }
}

/// Where an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub party: Party,
    /// Tells callers of a party apart; visible ASCII without `:`.
    pub caller: String,
    /// Tells answers to a caller apart.
    pub name: String,
}

/// Where they are kept, for every process that shares the store. What is kept is sealed: a store holds no links.
///
/// A value that does not fit into the [budget](Party::budget) of its caller is not kept; older ones give way to one that
/// does, first the caller's own, then those of the caller who has most.
#[async_trait]
pub trait AnswerStore: Send + Sync {
    /// Puts a value in a place that is free or holds `over`, for some time; `Some` is the value in a place that is not. What
    /// is put over another value goes before limits of the store's memory: the other one is gone then.
    async fn claim(
        &self,
        place: &Place,
        value: &[u8],
        over: Option<&[u8]>,
        hold: Duration,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts a value in a place that is free or holds `over`, for some time; whether it is there now.
    async fn keep(&self, place: &Place, value: &[u8], over: &[u8], hold: Duration) -> Result<bool, StoreError>;

    /// Frees a place that holds `over`.
    async fn release(&self, place: &Place, over: &[u8]) -> Result<(), StoreError>;
}
