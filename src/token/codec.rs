//! From text to bytes and back: size caps, canonical base64url, the frame around the claims.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::claims::Claims;
use super::id::TokenId;
use super::keyring::{KeyId, Keyring, TAG_BYTES};
use super::names::CollectionName;
use super::verify::VerifiedToken;

/// Longest token, in characters.
pub const MAX_TOKEN_CHARS: usize = 2048;

/// The only version there is.
pub(super) const VERSION: u8 = 1;

const KEY_ID_AT: usize = 1;
const TOKEN_ID_AT: usize = 5;
const CLAIMS_AT: usize = 21;
const MAX_TOKEN_BYTES: usize = MAX_TOKEN_CHARS / 4 * 3;
const MIN_TOKEN_BYTES: usize = CLAIMS_AT + 1 + TAG_BYTES;

/// Why text cannot be a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("the token is longer than {MAX_TOKEN_CHARS} characters")]
    TooLong,
    #[error("the token is not canonical base64url")]
    NotBase64Url,
    #[error("the token is cut short")]
    TooShort,
    #[error("the token has a version that is not known here")]
    UnknownVersion,
}

impl Malformed {
    /// The word for it in the specification and in inspections.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::NotBase64Url => "not-base64url",
            Self::TooShort => "too-short",
            Self::UnknownVersion => "unknown-version",
        }
    }
}

/// Room for the longest token, so that none is ever copied or allocated.
pub struct TokenBuffer([u8; MAX_TOKEN_BYTES]);

impl Default for TokenBuffer {
    fn default() -> Self {
        Self([0; MAX_TOKEN_BYTES])
    }
}

/// Bytes that have the shape of a token. Who made them is not known yet.
pub struct UntrustedToken<'b> {
    bytes: &'b mut [u8],
}

impl<'b> UntrustedToken<'b> {
    /// Decodes the text form.
    ///
    /// # Errors
    /// [`Malformed`] for everything that cannot be a token; the text is not looked at beyond its shape.
    pub fn parse(text: &str, buffer: &'b mut TokenBuffer) -> Result<Self, Malformed> {
        if text.len() > MAX_TOKEN_CHARS {
            return Err(Malformed::TooLong);
        }
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer.0).map_err(|_| Malformed::NotBase64Url)?;
        if len < MIN_TOKEN_BYTES {
            return Err(Malformed::TooShort);
        }
        if buffer.0[0] != VERSION {
            return Err(Malformed::UnknownVersion);
        }
        Ok(Self { bytes: &mut buffer.0[..len] })
    }

    /// The key it claims to be signed with: not authenticated.
    pub fn key_id(&self) -> KeyId {
        let mut id = [0; 4];
        id.copy_from_slice(&self.bytes[KEY_ID_AT..TOKEN_ID_AT]);
        KeyId(u32::from_be_bytes(id))
    }

    /// The id it claims to have: not authenticated.
    pub fn token_id(&self) -> TokenId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[TOKEN_ID_AT..CLAIMS_AT]);
        TokenId(id)
    }

    /// What the tag covers, and the tag.
    pub(super) fn signed_and_tag(&self) -> (&[u8], &[u8; TAG_BYTES]) {
        self.bytes.split_last_chunk().unwrap_or((&[], &[0; TAG_BYTES]))
    }

    /// The sealed claims, to be unsealed in place.
    pub(super) fn into_claims(self) -> &'b mut [u8] {
        let end = self.bytes.len() - TAG_BYTES;
        &mut self.bytes[CLAIMS_AT..end]
    }
}

/// The id of a stable link: equal claims give the equal id, and so the equal token, wherever the key is.
pub fn stable_id(keyring: &Keyring, collection: CollectionName<'_>, claims: &Claims<'_>) -> TokenId {
    keyring.active().1.stable_id(collection, &claims.encode())
}

/// Whether a link is a stable one: its id follows from its claims.
pub fn is_stable(keyring: &Keyring, token: &VerifiedToken<'_>) -> bool {
    let key = keyring.find(token.key_id()).and_then(Result::ok);
    key.is_some_and(|key| key.stable_id(token.collection(), &token.claims().encode()) == token.id())
}

/// Seals and signs claims with the keyring's active key: the text form of a new token.
///
/// # Errors
/// [`Malformed::TooLong`] when the text would be longer than [`MAX_TOKEN_CHARS`].
pub fn seal(
    keyring: &Keyring,
    collection: CollectionName<'_>,
    id: TokenId,
    claims: &Claims<'_>,
) -> Result<String, Malformed> {
    seal_bytes(keyring, collection, id, &claims.encode())
}

/// Like [`seal`], whatever the bytes are.
///
/// # Errors
/// The same.
pub fn seal_bytes(
    keyring: &Keyring,
    collection: CollectionName<'_>,
    id: TokenId,
    claims: &[u8],
) -> Result<String, Malformed> {
    let (key_id, key) = keyring.active();
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bytes.extend(key_id.0.to_be_bytes());
    bytes.extend(id.0);
    bytes.extend(claims);
    key.apply_keystream(id, &mut bytes[CLAIMS_AT..]);
    let tag = key.tag(collection, &bytes);
    bytes.extend(tag);
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(Malformed::TooLong);
    }
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
