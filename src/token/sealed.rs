//! Bytes that a process leaves in a store for itself or its fellows: encrypted and signed with the same keys as links.
//!
//! ```text
//! bytes 0..4    key id, u32 big-endian
//! bytes 4..20   nonce, 128 random bits, the AES-CTR initial counter block
//! bytes 20..n   the contents, AES-256-CTR encrypted
//! last 16       tag: HMAC-SHA-256-128 over the purpose, its length in front, and bytes 0..n
//! ```

use super::id::TokenId;
use super::keyring::{KeyId, Keyring, TAG_BYTES};

const NONCE_AT: usize = 4;
const CONTENTS_AT: usize = 20;

/// Seals bytes for a purpose with the active key; `nonce` is random.
pub fn wrap(keyring: &Keyring, purpose: &[u8], nonce: [u8; 16], contents: &[u8]) -> Vec<u8> {
    let (id, key) = keyring.active();
    let mut bytes = Vec::with_capacity(CONTENTS_AT + contents.len() + TAG_BYTES);
    bytes.extend(id.0.to_be_bytes());
    bytes.extend(nonce);
    bytes.extend(contents);
    key.store().apply_keystream(TokenId(nonce), &mut bytes[CONTENTS_AT..]);
    let tag = key.store().tag(purpose, &bytes);
    bytes.extend(tag);
    bytes
}

/// Opens what [`wrap`] sealed for the same purpose; `None` for anything else.
pub fn unwrap(keyring: &Keyring, purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (signed, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let id = KeyId(u32::from_be_bytes(*signed.first_chunk()?));
    let nonce = signed.get(NONCE_AT..CONTENTS_AT)?.try_into().ok()?;
    let key = keyring.find(id)?.ok()?;
    if !key.store().is_authentic(purpose, signed, tag) {
        return None;
    }
    let mut contents = signed[CONTENTS_AT..].to_vec();
    key.store().apply_keystream(TokenId(nonce), &mut contents);
    Some(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{KeyEntry, KeyState, Secret};

    #[test]
    fn what_was_sealed_is_opened_for_the_same_purpose_only() {
        let secret = (0..32u8).map(|n| n.wrapping_mul(37)).collect();
        let entry = KeyEntry { id: KeyId(1), state: KeyState::Active, secret: Secret::new(secret) };
        let keyring = Keyring::new(&[entry]).unwrap();
        let sealed = wrap(&keyring, b"answers", [7; 16], b"contents");
        assert_eq!(unwrap(&keyring, b"answers", &sealed), Some(b"contents".to_vec()));
        assert_eq!(unwrap(&keyring, b"others", &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(unwrap(&keyring, b"answers", &altered), None);
        }
        assert_eq!(unwrap(&keyring, b"answers", &sealed[..30]), None);
    }
}
