//! The token id: what logs, audits and revocations name.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::names::Invalid;

/// 128 bits that name a token in logs and revocations; written as 22 base64url characters. Useless for downloading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub [u8; 16]);

impl TokenId {
    /// How many characters the text form has.
    pub const TEXT_LEN: usize = 22;

    /// Reads the text form; `None` for anything else.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut id = [0; 16];
        (URL_SAFE_NO_PAD.decode_slice(text, &mut id) == Ok(16)).then_some(Self(id))
    }

    /// The text form without allocating.
    pub fn text(&self) -> TokenIdText {
        let mut text = [0; Self::TEXT_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        debug_assert_eq!(written, Ok(Self::TEXT_LEN));
        TokenIdText(text)
    }
}

/// The 22 characters of a [`TokenId`].
#[derive(Clone, Copy)]
pub struct TokenIdText([u8; TokenId::TEXT_LEN]);

impl TokenIdText {
    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::from_text(text.as_bytes()).ok_or(Invalid::Alphabet("22 base64url characters"))
    }
}
