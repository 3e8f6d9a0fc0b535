//! Logins (JWTs) and the keys of their providers (JWK sets).

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::identity::jwks::KeySet;
use linkgate::identity::jwt::UntrustedJwt;

fuzz_target!(|bytes: &[u8]| {
    let _ = KeySet::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(login) = UntrustedJwt::parse(text) {
        assert_eq!(text.split('.').count(), 3);
        let _ = (login.issuer(), login.is_for("app"), login.names_key());
    }
});
