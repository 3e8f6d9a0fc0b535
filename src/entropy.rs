//! Random bytes from the operating system.

use crate::token::TokenId;

/// `N` bytes nobody can guess.
///
/// # Panics
/// When the operating system has no randomness to give: nothing may be signed or named then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system gives no random bytes: {error}");
    }
    bytes
}

/// A new token id.
pub fn token_id() -> TokenId {
    TokenId(random())
}
