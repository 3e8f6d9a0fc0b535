//! Tokens as strangers send them, and claims as nobody but the holder of the key could sign them.
//!
//! The first byte chooses: text as it comes, or claims that are sealed and signed with the right key, so that what is
//! behind the signature is met as well.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use linkgate::clock::UnixMillis;
use linkgate::token::{
    Claims, CollectionName, CollectionRules, Dotfiles, KeyEntry, KeyId, KeyState, Keyring, Presentation, Secret,
    TokenBuffer, TokenId, UntrustedToken, fuzz_doors, seal, verify,
};

const ID: TokenId = TokenId([7; 16]);

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let secret = Secret::new((0..32_u8).map(|n| n.wrapping_mul(37)).collect());
    Keyring::new(&[KeyEntry { id: KeyId(1), state: KeyState::Active, secret }]).expect("a good key")
});

fn rules() -> CollectionRules<'static> {
    CollectionRules {
        name: CollectionName::parse("image").expect("a good name"),
        max_ttl: Duration::from_secs(7 * 86_400),
        dotfiles: Dotfiles::Hidden,
        resume_grace: Duration::ZERO,
    }
}

fn judge(text: &str) {
    let mut buffer = TokenBuffer::default();
    let Ok(token) = UntrustedToken::parse(text, &mut buffer) else { return };
    let id = token.token_id();
    let now = UnixMillis(1_800_000_000_000);
    let client_address = Some([192, 0, 2, 1].into());
    let presentation = Presentation { now, latest_issue: now, client_address, resumes: true };
    let Ok(verified) = verify(token, rules(), &KEYRING, presentation) else { return };
    let claims = verified.claims();
    check_path(claims.path.as_str());
    // There is one way to write what was believed, and one token for it.
    assert_eq!(seal(&KEYRING, rules().name, id, claims).as_deref(), Ok(text));
}

fn check_path(path: &str) {
    assert!(!path.is_empty() && path.len() <= 1024 && !path.contains(['\\', '\0', '\n', '\r']), "{path:?}");
    assert!(path.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.')), "{path:?}");
}

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [0, claims @ ..] => {
            if let Ok(read) = Claims::decode(claims, Dotfiles::Hidden) {
                assert_eq!(read.encode(), claims, "one encoding");
            }
            if let Ok(text) = fuzz_doors::seal_bytes(&KEYRING, rules().name, ID, claims) {
                judge(&text);
            }
        }
        [_, text @ ..] => {
            if let Ok(text) = std::str::from_utf8(text) {
                judge(text);
            }
        }
        [] => {}
    }
});
