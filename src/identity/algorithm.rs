//! The signature algorithms that logins may use, and what checks them.
//!
//! The signatures are *ring*'s, which is in the tree anyway as the cryptography of TLS. The crate `jsonwebtoken` was
//! weighed: its choice of back ends is a second TLS library or an older generation of the hashes that tokens are made
//! with, and it reads claims with a parser to which the last of two equal names counts. What is left of a JWT besides
//! the signature is little, and must be read strictly.

use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

/// RSA keys below this many bits are not believed (RFC 7518 §3.3).
pub const MIN_RSA_BITS: usize = 2048;
/// RSA keys above this many bits would cost too much to check.
pub const MAX_RSA_BITS: usize = 8192;

/// An algorithm that a provider may be configured to use. None of them is symmetric: no secret is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its registered name (RFC 7518, RFC 8037).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with a name; Ed25519 also goes by the newer one of RFC 9864.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
        named.or((text == "Ed25519").then_some(Self::EdDsa))
    }
}

/// A public key, which fits exactly one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    Rsa {
        /// Modulus and exponent, big-endian, without leading zeros.
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl PublicKey {
    /// The one algorithm it is for.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let holds = match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Self::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(point) => UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature),
        };
        holds.map_err(|_| BadSignature)
    }
}
