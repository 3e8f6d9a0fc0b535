//! API keys: `lgk_<client>_<43 characters>`, 256 random bits; only their hash is kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::UnixMillis;
use crate::entropy::random;

const PREFIX: &str = "lgk_";
/// 32 bytes in base64url.
const SECRET_CHARS: usize = 43;
const HASH_PREFIX: &str = "sha256:";
/// Bytes of a hash that name its key: too few to find the key by, enough to tell a client's keys apart.
const ID_BYTES: usize = 6;
/// How far apart two uses of a key must be to be told apart, in ms: writing down each would make threads wait.
const USE_GRAIN: u64 = 1000;

/// A key that was just made: shown once, then only its hash remains.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Makes a key for a client.
    pub fn new(client: &str) -> Self {
        let secret = Zeroizing::new(random::<32>());
        Self(Zeroizing::new(format!("{PREFIX}{client}_{}", URL_SAFE_NO_PAD.encode(secret.as_ref()))))
    }

    /// The whole key, to be shown to whoever asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

/// Whether a credential is meant to be an API key.
pub fn is_api_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The client's name inside a key, when the key has the right shape.
pub fn client_name(key: &str) -> Option<&str> {
    let rest = key.strip_prefix(PREFIX)?;
    let at = rest.len().checked_sub(SECRET_CHARS)?;
    rest.get(..at)?.strip_suffix('_')
}

/// SHA-256 of a whole key; written `sha256:<hex>`. The key is 256 random bits, so no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a presented key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// What people and programs call the key by: the first twelve hexadecimal digits of the hash. The key itself is 256
    /// random bits, so that this helps nobody to guess it.
    pub fn id(&self) -> String {
        use fmt::Write;
        self.0.iter().take(ID_BYTES).fold(String::new(), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HASH_PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.strip_prefix(HASH_PREFIX).ok_or(())?;
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(());
        }
        let mut hash = [0; 32];
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| ())?;
        }
        Ok(Self(hash))
    }
}

/// One key of a client, by which it is recognised.
#[derive(Clone, Debug)]
pub struct ClientKey {
    pub hash: KeyHash,
    /// Not known of the keys in the configuration.
    pub created_at: Option<UnixMillis>,
    last_used: Arc<AtomicU64>,
}

impl ClientKey {
    /// A key that has not been used yet.
    pub fn new(hash: KeyHash, created_at: Option<UnixMillis>) -> Self {
        Self { hash, created_at, last_used: Arc::default() }
    }

    /// Notes that it was used, give or take a second.
    pub fn note_use(&self, now: UnixMillis) {
        if now.0 >= self.last_used.load(Ordering::Relaxed).saturating_add(USE_GRAIN) {
            self.last_used.store(now.0, Ordering::Relaxed);
        }
    }

    /// When this process last saw it used.
    pub fn last_used(&self) -> Option<UnixMillis> {
        Some(self.last_used.load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(UnixMillis)
    }

    /// Goes on with what was noted of the same key before.
    pub fn take_over(&mut self, earlier: &Self) {
        self.last_used = Arc::clone(&earlier.last_used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_remembered_by_everybody_who_holds_the_key_and_time_does_not_run_back() {
        let key = ClientKey::new(KeyHash::of("lgk_x"), None);
        assert_eq!(key.last_used(), None);
        let mut again = ClientKey::new(key.hash, None);
        again.take_over(&key);
        key.note_use(UnixMillis(5_000));
        assert_eq!(again.last_used(), Some(UnixMillis(5_000)));
        for (now, known) in [(5_999, 5_000), (6_000, 6_000), (1_000, 6_000)] {
            again.note_use(UnixMillis(now));
            assert_eq!(key.last_used(), Some(UnixMillis(known)));
        }
    }

    #[test]
    fn an_id_is_the_beginning_of_the_hash() {
        let hash = KeyHash::of("lgk_x");
        assert_eq!(hash.id().len(), 12);
        assert!(hash.to_string().starts_with(&format!("sha256:{}", hash.id())));
    }

    #[test]
    fn a_key_has_the_shape_that_is_promised_and_never_shows_itself() {
        let key = ApiKey::new("my_app");
        assert_eq!(key.expose().len(), "lgk_my_app_".len() + 43);
        assert_eq!(client_name(key.expose()), Some("my_app"));
        assert_eq!(format!("{key:?}"), "ApiKey([redacted])");
    }

    #[test]
    fn a_hash_is_written_and_read_back() {
        let hash = KeyHash::of("lgk_x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("sha256:12".parse::<KeyHash>(), Err(()));
        assert_eq!(format!("sha256:{}", "g".repeat(64)).parse::<KeyHash>(), Err(()));
    }
}
