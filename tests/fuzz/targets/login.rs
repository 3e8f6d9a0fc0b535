//! Logins (JWTs) and the keys of their providers (JWK sets).
//!
//! A first byte of zero stands for a login that its provider has signed: a line of header, then claims. So what is
//! behind the signature is met as well. Everything else is text as it comes.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use linkgate::clock::UnixMillis;
use linkgate::identity::Algorithm;
use linkgate::identity::jwks::KeySet;
use linkgate::identity::jwt::UntrustedJwt;
use linkgate::token::{Dotfiles, MediaPath, PathTemplate};
use ring::signature::{Ed25519KeyPair, KeyPair};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const LEEWAY: Duration = Duration::from_secs(30);

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a good seed"));

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let x = URL_SAFE_NO_PAD.encode(PAIR.public_key());
    let keys = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    KeySet::parse(keys.as_bytes()).expect("a good key set")
});

static OWN_FOLDER: LazyLock<PathTemplate> =
    LazyLock::new(|| PathTemplate::parse("users/{sub}/**").expect("a good template"));

fn signed(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(PAIR.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A login that is believed opens its own folder and nobody else's.
fn judge(text: &str) {
    let Ok(login) = UntrustedJwt::parse(text) else { return };
    assert_eq!(text.split('.').count(), 3);
    let _ = (login.issuer(), login.is_for("app"), login.names_key());
    let Ok(verified) = login.verify(&KEYS, &[Algorithm::EdDsa], LEEWAY, NOW) else { return };
    let exp = verified.claim("exp").and_then(serde_json::Value::as_f64).expect("it ends at some time");
    assert!(exp * 1_000.0 > NOW.0 as f64, "it ended at {exp}");
    let text_of = |name: &str| verified.claim(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let (subject, path) = (text_of("sub"), text_of("path"));
    let Ok(pattern) = OWN_FOLDER.bind(|_| Ok(subject.into())) else { return };
    assert!(!subject.is_empty() && !subject.contains(['/', '*', '\\']) && subject != "." && subject != "..");
    if MediaPath::parse(path, Dotfiles::Allowed).is_ok() && pattern.matches(path) {
        assert!(path.starts_with(&format!("users/{subject}/")), "{subject:?} opens {path:?}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let [0, login @ ..] = bytes {
        let mut parts = login.splitn(2, |byte| *byte == b'\n');
        let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        judge(&signed(header, claims));
        return;
    }
    let _ = KeySet::parse(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        judge(text);
    }
});
