//! Logins that were checked a moment ago.
//!
//! A phone sends the same login with every request, and checking a signature costs more than making a link. So the
//! outcome is remembered under the SHA-256 of the whole text: only the very same text, signature included, is
//! recognised, and only logins whose signature held are remembered. What is remembered counts only for the provider as
//! it is configured now, the keys it was checked with, and within its own times.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::jwks::KeySet;
use super::provider::Provider;
use super::times::Times;
use crate::clients::Client;

/// Logins in each of two generations: when the younger is full it becomes the older, and the older is forgotten.
const GENERATION: usize = 4_096;

/// What a login's text hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginHash([u8; 32]);

impl LoginHash {
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// A login that was believed, and on what grounds.
#[derive(Clone)]
pub struct Believed {
    pub provider: Arc<Provider>,
    pub keys: Arc<KeySet>,
    pub times: Times,
    pub client: Arc<Client>,
}

/// The logins of the last while.
#[derive(Default)]
pub struct Remembered(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<LoginHash, Believed>,
    older: HashMap<LoginHash, Believed>,
}

impl Remembered {
    /// A login that was believed before; whether its grounds still hold is for the caller to see.
    pub fn recall(&self, hash: &LoginHash) -> Option<Believed> {
        let mut logins = self.0.lock();
        if let Some(believed) = logins.younger.get(hash) {
            return Some(believed.clone());
        }
        let believed = logins.older.remove(hash)?;
        logins.keep(*hash, believed.clone());
        Some(believed)
    }

    /// Keeps a login.
    pub fn keep(&self, hash: LoginHash, believed: Believed) {
        self.0.lock().keep(hash, believed);
    }

    /// Forgets every login.
    pub fn clear(&self) {
        *self.0.lock() = Generations::default();
    }
}

impl Generations {
    fn keep(&mut self, hash: LoginHash, believed: Believed) {
        if self.younger.len() >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(hash, believed);
    }
}
