//! The keys: which one signs, which ones still verify, which ones are refused.

use std::fmt;
use std::str::FromStr;

use aes::Aes256;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors::Ctr128BE};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::id::TokenId;
use super::names::CollectionName;

/// Shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;
/// HMAC-SHA-256-128: the tag is the first half of the MAC (RFC 4868 §2.6).
pub(super) const TAG_BYTES: usize = 16;

const MAC_CONTEXT: &[u8] = b"linkgate/v1\0";
const MAC_INFO: &[u8] = b"linkgate/v1/mac";
const SEAL_INFO: &[u8] = b"linkgate/v1/seal";
const ID_INFO: &[u8] = b"linkgate/v1/id";
const STORE_MAC_INFO: &[u8] = b"linkgate/v1/store/mac";
const STORE_SEAL_INFO: &[u8] = b"linkgate/v1/store/seal";

/// Names a key inside a token: any number but zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Signs new links and verifies. Exactly one key is active.
    Active,
    /// Verifies only: a new key that every verifier must know first, or an old one whose links still live.
    Verifying,
    /// Refused, and every link signed with it.
    Retired,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Verifying => "verifying",
            Self::Retired => "retired",
        })
    }
}

/// Secret bytes: never printed, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over; the caller wipes any copy of its own.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for writing a key file and for deriving keys: nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// One key as it is configured.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    pub id: KeyId,
    pub state: KeyState,
    pub secret: Secret,
}

/// Why a set of keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyringError {
    #[error("there are no keys: make the first with `linkgate keys new`")]
    Empty,
    #[error("no key is active: activate one with `linkgate keys activate ID`")]
    NoActiveKey,
    #[error("keys {0} and {1} are both active: exactly one may be")]
    SeveralActive(KeyId, KeyId),
    #[error("key id 0 is not allowed")]
    ZeroId,
    #[error("key id {0} is used twice")]
    DuplicateId(KeyId),
    #[error("keys {0} and {1} have the same secret")]
    DuplicateSecret(KeyId, KeyId),
    #[error("the secret of key {0} is shorter than {MIN_SECRET_BYTES} bytes")]
    ShortSecret(KeyId),
    #[error("the secret of key {0} is not random: make a key with `linkgate keys new`")]
    DefaultSecret(KeyId),
}

/// The keys that a process signs and verifies with, derived once.
pub struct Keyring {
    keys: Vec<(KeyId, KeyState, Option<Key>)>,
    active: usize,
}

impl Keyring {
    /// Checks a set of keys and derives what each needs.
    ///
    /// # Errors
    /// Any set that could sign or verify with a guessable, ambiguous or missing key is refused.
    pub fn new(entries: &[KeyEntry]) -> Result<Self, KeyringError> {
        if entries.is_empty() {
            return Err(KeyringError::Empty);
        }
        for (index, entry) in entries.iter().enumerate() {
            if entry.id.0 == 0 {
                return Err(KeyringError::ZeroId);
            }
            if entry.secret.0.len() < MIN_SECRET_BYTES {
                return Err(KeyringError::ShortSecret(entry.id));
            }
            if is_guessable(&entry.secret.0) {
                return Err(KeyringError::DefaultSecret(entry.id));
            }
            for earlier in &entries[..index] {
                if earlier.id == entry.id {
                    return Err(KeyringError::DuplicateId(entry.id));
                }
                if earlier.secret.0 == entry.secret.0 {
                    return Err(KeyringError::DuplicateSecret(earlier.id, entry.id));
                }
                if earlier.state == KeyState::Active && entry.state == KeyState::Active {
                    return Err(KeyringError::SeveralActive(earlier.id, entry.id));
                }
            }
        }
        let active =
            entries.iter().position(|entry| entry.state == KeyState::Active).ok_or(KeyringError::NoActiveKey)?;
        let keys = entries
            .iter()
            .map(|entry| {
                let usable = entry.state != KeyState::Retired;
                (entry.id, entry.state, usable.then(|| Key::derive(&entry.secret)))
            })
            .collect();
        Ok(Self { keys, active })
    }

    /// Ids and states, in the order of the configuration.
    pub fn states(&self) -> impl Iterator<Item = (KeyId, KeyState)> + '_ {
        self.keys.iter().map(|(id, state, _)| (*id, *state))
    }

    /// The id of the key that signs.
    pub fn active_id(&self) -> KeyId {
        self.keys[self.active].0
    }

    pub(super) fn active(&self) -> (KeyId, &Key) {
        match &self.keys[self.active] {
            (id, _, Some(key)) => (*id, key),
            _ => unreachable!("Keyring::new leaves an active key in place"),
        }
    }

    /// The key a token names: `None` when nobody knows it, `Some(Err)` when it is retired.
    pub(super) fn find(&self, id: KeyId) -> Option<Result<&Key, KeyState>> {
        let (_, state, key) = self.keys.iter().find(|(known, _, _)| *known == id)?;
        Some(key.as_ref().ok_or(*state))
    }
}

/// Secrets that people put in place of a secret: few distinct bytes, counted up, or published with the test vectors.
fn is_guessable(secret: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in secret {
        seen[usize::from(*byte)] = true;
    }
    let distinct = seen.iter().filter(|seen| **seen).count();
    let counted = secret.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
    distinct < MIN_DISTINCT_BYTES || counted
}

/// 32 random bytes have fewer than 14 distinct values less than once in 2^60 draws.
const MIN_DISTINCT_BYTES: usize = 14;

/// What is derived from one secret: HKDF-SHA256 (RFC 5869) without salt, one key per purpose.
pub(super) struct Key {
    mac: Hmac<Sha256>,
    seal: Aes256,
    id: Hmac<Sha256>,
    store: StoreKey,
}

/// What is derived for bytes that are left in a store: nothing of it is good for a token.
pub(super) struct StoreKey {
    mac: Hmac<Sha256>,
    seal: Aes256,
}

impl Key {
    fn derive(secret: &Secret) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, &secret.0);
        let expand = |info: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let expanded = hkdf.expand(info, key.as_mut());
            debug_assert!(expanded.is_ok(), "32 bytes are within HKDF's reach");
            key
        };
        let hmac = |info: &[u8]| match <Hmac<Sha256> as KeyInit>::new_from_slice(expand(info).as_ref()) {
            Ok(hmac) => hmac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        let aes = |info: &[u8]| Aes256::new(&(*expand(info)).into());
        let store = StoreKey { mac: hmac(STORE_MAC_INFO), seal: aes(STORE_SEAL_INFO) };
        Self { mac: hmac(MAC_INFO), seal: aes(SEAL_INFO), id: hmac(ID_INFO), store }
    }

    /// The part that bytes in a store are sealed with.
    pub(super) const fn store(&self) -> &StoreKey {
        &self.store
    }

    fn mac(&self, collection: CollectionName<'_>, signed: &[u8]) -> Hmac<Sha256> {
        framed(&self.mac, collection, signed)
    }

    /// The id that equal claims of one collection always get.
    pub(super) fn stable_id(&self, collection: CollectionName<'_>, claims: &[u8]) -> TokenId {
        TokenId(truncated(framed(&self.id, collection, claims)))
    }

    pub(super) fn tag(&self, collection: CollectionName<'_>, signed: &[u8]) -> [u8; TAG_BYTES] {
        truncated(self.mac(collection, signed))
    }

    /// Whether the tag is this key's, in constant time.
    pub(super) fn is_authentic(&self, collection: CollectionName<'_>, signed: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.mac(collection, signed).verify_truncated_left(tag).is_ok()
    }

    /// Seals or unseals claims in place; the token id is the initial counter block.
    pub(super) fn apply_keystream(&self, id: TokenId, claims: &mut [u8]) {
        apply_keystream(&self.seal, id, claims);
    }
}

impl StoreKey {
    fn mac(&self, purpose: &[u8], signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose);
        mac.update(signed);
        mac
    }

    pub(super) fn tag(&self, purpose: &[u8], signed: &[u8]) -> [u8; TAG_BYTES] {
        truncated(self.mac(purpose, signed))
    }

    /// Whether the tag is this key's, in constant time.
    pub(super) fn is_authentic(&self, purpose: &[u8], signed: &[u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.mac(purpose, signed).verify_truncated_left(tag).is_ok()
    }

    /// Seals or unseals contents in place; the nonce is the initial counter block.
    pub(super) fn apply_keystream(&self, nonce: TokenId, contents: &mut [u8]) {
        apply_keystream(&self.seal, nonce, contents);
    }
}

fn apply_keystream(seal: &Aes256, counter: TokenId, bytes: &mut [u8]) {
    let core = CtrCore::<_, Ctr128BE>::inner_iv_init(seal, &counter.0.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(bytes);
}

/// The first half of a MAC.
fn truncated(mac: Hmac<Sha256>) -> [u8; 16] {
    let full = mac.finalize().into_bytes();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

/// A MAC over bytes that belong to a collection.
fn framed(keyed: &Hmac<Sha256>, collection: CollectionName<'_>, bytes: &[u8]) -> Hmac<Sha256> {
    let name = collection.as_str().as_bytes();
    let mut mac = keyed.clone();
    mac.update(MAC_CONTEXT);
    mac.update(&[name.len() as u8]);
    mac.update(name);
    mac.update(bytes);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, state: KeyState, seed: u8) -> KeyEntry {
        let secret = (0..32u8).map(|n| n.wrapping_mul(37).wrapping_add(seed)).collect();
        KeyEntry { id: KeyId(id), state, secret: Secret::new(secret) }
    }

    #[test]
    fn a_keyring_needs_exactly_one_active_key() {
        use KeyState::{Active, Retired, Verifying};
        let refused = |entries: &[KeyEntry]| Keyring::new(entries).err().unwrap();
        assert_eq!(refused(&[]), KeyringError::Empty);
        assert_eq!(refused(&[entry(1, Verifying, 1), entry(2, Retired, 2)]), KeyringError::NoActiveKey);
        assert_eq!(
            refused(&[entry(1, Active, 1), entry(2, Active, 2)]),
            KeyringError::SeveralActive(KeyId(1), KeyId(2))
        );
        assert!(Keyring::new(&[entry(1, Active, 1), entry(2, Verifying, 2)]).is_ok());
    }

    #[test]
    fn a_keyring_refuses_short_default_and_duplicate_keys() {
        use KeyState::{Active, Verifying};
        let with = |secret: Vec<u8>| {
            Keyring::new(&[KeyEntry { id: KeyId(1), state: Active, secret: Secret::new(secret) }]).err()
        };
        assert_eq!(with(b"too short, by far".to_vec()), Some(KeyringError::ShortSecret(KeyId(1))));
        assert_eq!(with(vec![0; 32]), Some(KeyringError::DefaultSecret(KeyId(1))));
        assert_eq!(with((0..32).collect()), Some(KeyringError::DefaultSecret(KeyId(1))));
        assert_eq!(with(b"changemechangemechangemechangeme".to_vec()), Some(KeyringError::DefaultSecret(KeyId(1))));
        let duplicate_id = [entry(1, Active, 1), entry(1, Verifying, 2)];
        assert_eq!(Keyring::new(&duplicate_id).err(), Some(KeyringError::DuplicateId(KeyId(1))));
        let duplicate_secret = [entry(1, Active, 1), entry(2, Verifying, 1)];
        assert_eq!(Keyring::new(&duplicate_secret).err(), Some(KeyringError::DuplicateSecret(KeyId(1), KeyId(2))));
        assert_eq!(Keyring::new(&[entry(0, Active, 1)]).err(), Some(KeyringError::ZeroId));
    }

    #[test]
    fn a_secret_never_shows_its_bytes() {
        let secret = Secret::new(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345".to_vec());
        let entry = KeyEntry { id: KeyId(1), state: KeyState::Active, secret };
        let printed = format!("{entry:?} {entry:#?}");
        assert!(!printed.contains("ABCDEF") && !printed.contains("65, 66"), "{printed}");
    }
}
