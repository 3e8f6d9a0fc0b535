//! The token: one URL path segment that says which file, for whom and until when, and that nobody can read or forge.
//!
//! ```text
//! byte 0        version = 0x01
//! bytes 1..5    key id, u32 big-endian
//! bytes 5..21   token id, 128 bits, also the AES-CTR initial counter block
//! bytes 21..n   claims: a CBOR map, sealed with AES-256-CTR
//! last 16       tag: HMAC-SHA-256-128 over "linkgate/v1" 0x00 len(collection) collection bytes[0..n]
//! text form     base64url without padding, canonical
//! ```
//!
//! The full specification is `docs/token.md`. The chain of types is the chain of checks: [`UntrustedToken`] is
//! bytes of the right shape, [`VerifiedToken`] passed signature and times, and only a verified token can be
//! admitted by [`crate::revocation`]. Nothing here does I/O, reads a clock, logs, or allocates while verifying.

mod claims;
mod codec;
mod features;
mod id;
mod keyring;
mod names;
mod networks;
mod pattern;
mod policy;
pub mod sealed;
mod template;
mod verify;

pub use claims::{Claims, ClaimsError, MAX_DOWNLOADS, MAX_RATE_LIMIT};
pub use codec::{MAX_TOKEN_CHARS, Malformed, TokenBuffer, UntrustedToken, is_stable, seal, stable_id};
pub use features::{Feature, FeatureFault, FeatureRules, Features};
pub use id::{TokenId, TokenIdText};
pub use keyring::{KeyEntry, KeyId, KeyState, Keyring, KeyringError, MIN_SECRET_BYTES, Secret};
pub use names::{
    ClientName, CollectionName, ContentType, Disposition, Dotfiles, FileName, Invalid, MAX_COLLECTION_BYTES,
    MAX_FILE_NAME_BYTES, MAX_PATH_BYTES, MAX_SUBJECT_BYTES, MediaPath, Subject, changes_direction,
};
pub use networks::{MAX_NETWORKS, Networks, are_nearly_all, parse_network};
pub use pattern::{PathPattern, PatternError};
pub use policy::{Expiry, MintPolicy, MintRefusal, MintWish};
pub use template::{ClaimFault, LoginPolicy, PathTemplate, UnusableClaim, is_claim_name};
pub use verify::{CollectionRules, NOT_BEFORE_LEEWAY, Presentation, Refusal, VerifiedToken, verify};
pub(crate) use verify::{Examined, examine, outcomes};

/// What `tests/fuzz` needs besides.
#[cfg(fuzzing)]
pub mod fuzz_doors {
    pub use super::codec::seal_bytes;
}
