//! API keys: `lgk_<client>_<43 characters>`, 256 random bits; only their hash is kept.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::entropy::random;

const PREFIX: &str = "lgk_";
/// 32 bytes in base64url.
const SECRET_CHARS: usize = 43;
const HASH_PREFIX: &str = "sha256:";

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

#[cfg(test)]
mod tests {
    use super::*;

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
