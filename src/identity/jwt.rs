//! A login: a JWT (RFC 7519) in compact form, signed (RFC 7515), read strictly.
//!
//! ```text
//! base64url(header) "." base64url(claims) "." base64url(signature)      no padding, canonical
//! header   alg: one of the provider's; kid: which key; typ: JWT or at+jwt, if any; crit: never
//! claims   iss, aud: ours; exp: required, over at exp; nbf, iat: not in the future, give or take the leeway
//! ```
//!
//! The header only ever chooses among the provider's own keys and algorithms: whatever key it brings along (`jwk`,
//! `jku`, `x5c`, `x5u`) is passed over. [`UntrustedJwt`] is text of the right shape, [`VerifiedJwt`] passed signature
//! and times. Nothing here does I/O, reads a clock, or logs.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use thiserror::Error;

use super::algorithm::Algorithm;
use super::json::{Bounds, JsonFault, Object, parse_object};
use super::jwks::{KeyFault, KeySet};
use super::times::Times;
use crate::clock::UnixMillis;

/// Longest login, in bytes.
pub const MAX_JWT_BYTES: usize = 16 << 10;
const HEADER_BOUNDS: Bounds = Bounds { depth: 4, values: 64 };
/// Claims, and whatever is in them.
const CLAIMS_BOUNDS: Bounds = Bounds { depth: 8, values: 1_000 };
/// Media types of logins; others are another kind of statement that the same provider signs (RFC 8725 §3.11).
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Why a login is not believed. No variant holds any text of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JwtRefusal {
    #[error("the token is longer than {MAX_JWT_BYTES} bytes")]
    TooLong,
    #[error("the token is no API key of ours and no signed JWT: three parts in base64url, with dots between them")]
    Malformed,
    #[error("the token's header {0}")]
    Header(JsonFault),
    #[error("the token's claims are unreadable: the text {0}")]
    Claims(JsonFault),
    #[error("the token is signed with an algorithm that is not allowed here")]
    AlgorithmNotAllowed,
    #[error("the token's header has `crit`, which is not understood here")]
    Critical,
    #[error("the token's `typ` is not that of a login")]
    Type,
    #[error("the token's `iss` is no issuer that is configured here")]
    UnknownIssuer,
    #[error("the token's `aud` does not name this service")]
    WrongAudience,
    #[error("the token has no `kid`, and its issuer has several keys")]
    KeyIdMissing,
    #[error("the token's `kid` is none of its issuer's keys")]
    UnknownKey,
    #[error("the key of the token's `kid` is for another algorithm")]
    KeyMismatch,
    #[error("the token's signature does not hold")]
    BadSignature,
    #[error("the token's `{0}` is no time in seconds")]
    Time(&'static str),
    #[error("the token has no `exp`")]
    NoExpiry,
    #[error("the token expired {0} seconds ago")]
    Expired(u64),
    #[error("the token's `nbf` lies {0} seconds in the future")]
    NotYetValid(u64),
    #[error("the token's `iat` lies {0} seconds in the future")]
    IssuedInTheFuture(u64),
}

impl JwtRefusal {
    /// The label of its counter.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed | Self::Header(_) | Self::Claims(_) => "malformed",
            Self::AlgorithmNotAllowed | Self::Critical | Self::Type | Self::KeyMismatch => "not_allowed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::KeyIdMissing | Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired(_) => "expired",
            Self::Time(_) | Self::NoExpiry | Self::NotYetValid(_) | Self::IssuedInTheFuture(_) => "times",
        }
    }
}

/// A login that nobody has vouched for yet.
#[derive(Debug)]
pub struct UntrustedJwt<'t> {
    /// What the signature covers.
    signed: &'t str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Object,
}

/// A login whose provider vouches for it.
#[derive(Debug)]
pub struct VerifiedJwt<'j> {
    claims: &'j Object,
    times: Times,
}

impl<'t> UntrustedJwt<'t> {
    /// # Errors
    /// When the text is no JWT, or one that nobody here could believe.
    pub fn parse(text: &'t str) -> Result<Self, JwtRefusal> {
        if text.len() > MAX_JWT_BYTES {
            return Err(JwtRefusal::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwtRefusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtRefusal::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtRefusal::Malformed);
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        let header = parse_object(&header, HEADER_BOUNDS).map_err(JwtRefusal::Header)?;
        if header.contains_key("crit") {
            return Err(JwtRefusal::Critical);
        }
        let named = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = named.ok_or(JwtRefusal::AlgorithmNotAllowed)?;
        match header.get("typ") {
            None => {}
            Some(Value::String(kind)) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {}
            Some(_) => return Err(JwtRefusal::Type),
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(JwtRefusal::Header(JsonFault::Malformed)),
        };
        let claims = parse_object(&claims, CLAIMS_BOUNDS).map_err(JwtRefusal::Claims)?;
        Ok(Self { signed, signature, algorithm, key_id, claims })
    }

    /// Who it says has issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether it says it is for an audience.
    pub fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(only)) => only == audience,
            Some(Value::Array(list)) => list.iter().any(|one| one == audience),
            _ => false,
        }
    }

    /// Whether it names its key.
    pub const fn names_key(&self) -> bool {
        self.key_id.is_some()
    }

    /// Checks signature and times.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(
        &self,
        keys: &KeySet,
        algorithms: &[Algorithm],
        leeway: Duration,
        now: UnixMillis,
    ) -> Result<VerifiedJwt<'_>, JwtRefusal> {
        if !algorithms.contains(&self.algorithm) {
            return Err(JwtRefusal::AlgorithmNotAllowed);
        }
        let times = Times::parse(&self.claims)?;
        let key = match keys.find(self.key_id.as_deref(), self.algorithm) {
            Ok(key) => key,
            Err(KeyFault::Mismatch) => return Err(JwtRefusal::KeyMismatch),
            Err(KeyFault::IdMissing) => return Err(JwtRefusal::KeyIdMissing),
            // Of a login that is long over the key is gone, too: that it is over says more.
            Err(KeyFault::Unknown) => return times.judge(leeway, now).and(Err(JwtRefusal::UnknownKey)),
        };
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| JwtRefusal::BadSignature)?;
        times.judge(leeway, now)?;
        Ok(VerifiedJwt { claims: &self.claims, times })
    }
}

impl<'j> VerifiedJwt<'j> {
    /// What the provider says under a name.
    pub fn claim(&self, name: &str) -> Option<&'j Value> {
        self.claims.get(name)
    }

    /// When it counts.
    pub const fn times(&self) -> Times {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use ring::hmac;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const LEEWAY: Duration = Duration::from_secs(30);
    const SECONDS: u64 = NOW.0 / 1_000;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn keys() -> KeySet {
        let x = URL_SAFE_NO_PAD.encode(pair().public_key());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x });
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn signed(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(pair().sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn login(claims: &Value) -> String {
        signed(r#"{"alg":"EdDSA","kid":"k","typ":"JWT"}"#, &claims.to_string())
    }

    fn judge(token: &str) -> Result<(), JwtRefusal> {
        UntrustedJwt::parse(token)?.verify(&keys(), &[Algorithm::EdDsa], LEEWAY, NOW).map(|_| ())
    }

    #[test]
    fn the_published_examples_hold_and_altered_ones_do_not() {
        // RFC 7515, appendix A.2 and A.3; both ended at 1300819380.
        let before = UnixMillis(1_300_819_379_999);
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/jws.json")).unwrap();
        for vector in vectors.as_array().unwrap() {
            let keys = KeySet::parse(json!({ "keys": [vector["key"]] }).to_string().as_bytes()).unwrap();
            let token = vector["token"].as_str().unwrap();
            let jwt = UntrustedJwt::parse(token).unwrap();
            let verified = jwt.verify(&keys, &Algorithm::ALL, LEEWAY, before).unwrap();
            assert_eq!(verified.claim("http://example.com/is_root"), Some(&json!(true)));
            let at_the_end = before.plus(Duration::from_millis(1));
            let over = jwt.verify(&keys, &Algorithm::ALL, LEEWAY, at_the_end).unwrap_err();
            assert_eq!((over, jwt.issuer()), (JwtRefusal::Expired(0), Some("joe")));
            let at = token.rfind('.').unwrap() + 10;
            let other = if &token[at..=at] == "A" { "B" } else { "A" };
            let altered = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            let altered = UntrustedJwt::parse(&altered).unwrap();
            let refused = altered.verify(&keys, &Algorithm::ALL, LEEWAY, before).unwrap_err();
            assert_eq!(refused, JwtRefusal::BadSignature);
            let pinned = jwt.verify(&keys, &[Algorithm::EdDsa], LEEWAY, before).unwrap_err();
            assert_eq!(pinned, JwtRefusal::AlgorithmNotAllowed);
        }
    }

    #[test]
    fn times_are_judged_to_the_millisecond() {
        let times = |claims: Value| judge(&login(&claims));
        assert_eq!(times(json!({ "exp": SECONDS + 1 })), Ok(()));
        assert_eq!(times(json!({ "exp": SECONDS as f64 + 0.25 })), Ok(()));
        assert_eq!(times(json!({ "exp": SECONDS })), Err(JwtRefusal::Expired(0)));
        assert_eq!(times(json!({ "exp": SECONDS - 35 })), Err(JwtRefusal::Expired(35)));
        let end = SECONDS + 600;
        for (name, refusal) in [("nbf", JwtRefusal::NotYetValid(31)), ("iat", JwtRefusal::IssuedInTheFuture(31))] {
            assert_eq!(times(json!({ "exp": end, name: SECONDS + 30 })), Ok(()), "{name}");
            assert_eq!(times(json!({ "exp": end, name: SECONDS + 31 })), Err(refusal), "{name}");
        }
        assert_eq!(times(json!({})), Err(JwtRefusal::NoExpiry));
        for bad in
            [json!("1900000000"), json!(-1), json!(null), json!(1e300), json!(u64::MAX), json!([end]), json!(true)]
        {
            assert_eq!(times(json!({ "exp": bad })), Err(JwtRefusal::Time("exp")), "{bad}");
            assert_eq!(times(json!({ "exp": end, "nbf": bad })), Err(JwtRefusal::Time("nbf")), "{bad}");
        }
    }

    #[test]
    fn nobody_vouches_for_what_is_not_signed_with_a_key_of_the_provider() {
        let claims = json!({ "exp": SECONDS + 60 }).to_string();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for alg in ["none", "None", "NONE", "HS256", "HS512", "RS512", "PS256", "eddsa", ""] {
            let header = format!("{{\"alg\":\"{alg}\",\"kid\":\"k\"}}");
            assert_eq!(judge(&signed(&header, &claims)), Err(JwtRefusal::AlgorithmNotAllowed), "{alg}");
            let unsigned = format!("{}.{}.", encode(&header), encode(&claims));
            assert_eq!(judge(&unsigned), Err(JwtRefusal::AlgorithmNotAllowed), "{alg}");
        }
        let public = hmac::Key::new(hmac::HMAC_SHA256, pair().public_key().as_ref());
        let text = format!("{}.{}", encode(r#"{"alg":"EdDSA","kid":"k"}"#), encode(&claims));
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&public, text.as_bytes()));
        assert_eq!(judge(&format!("{text}.{tag}")), Err(JwtRefusal::BadSignature));
        assert_eq!(judge(&format!("{text}.")), Err(JwtRefusal::BadSignature));
        let other = signed(r#"{"alg":"RS256","kid":"k"}"#, &claims);
        let jwt = UntrustedJwt::parse(&other).unwrap();
        assert_eq!(jwt.verify(&keys(), &Algorithm::ALL, LEEWAY, NOW).unwrap_err(), JwtRefusal::KeyMismatch);
        assert_eq!(judge(&signed(r#"{"alg":"EdDSA","kid":"K"}"#, &claims)), Err(JwtRefusal::UnknownKey));
        assert_eq!(judge(&signed(r#"{"alg":"Ed25519"}"#, &claims)), Ok(()), "an only key need not be named");
        let old = json!({ "exp": SECONDS - 9 }).to_string();
        assert_eq!(judge(&signed(r#"{"alg":"EdDSA","kid":"K"}"#, &old)), Err(JwtRefusal::Expired(9)));
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        let claims = json!({ "exp": SECONDS + 60 }).to_string();
        let header = |text: &str| judge(&signed(text, &claims));
        assert_eq!(header(r#"{"alg":"EdDSA","crit":["exp"],"kid":"k"}"#), Err(JwtRefusal::Critical));
        assert_eq!(header(r#"{"alg":"EdDSA","alg":"EdDSA"}"#), Err(JwtRefusal::Header(JsonFault::Twice)));
        assert_eq!(header(r#"{"alg":"none","alg":"EdDSA"}"#), Err(JwtRefusal::Header(JsonFault::Twice)));
        assert_eq!(header(r#"{"alg":"EdDSA","kid":["k"]}"#), Err(JwtRefusal::Header(JsonFault::Malformed)));
        assert_eq!(header(r#"{"alg":["EdDSA"]}"#), Err(JwtRefusal::AlgorithmNotAllowed));
        assert_eq!(header(r#"{"alg":"EdDSA","typ":"logout+jwt"}"#), Err(JwtRefusal::Type));
        assert_eq!(header(r#"{"alg":"EdDSA","typ":"at+JWT"}"#), Ok(()));
        let body = |text: &str| judge(&signed(r#"{"alg":"EdDSA"}"#, text));
        assert_eq!(body(r#"{"exp":1,"exp":9999999999}"#), Err(JwtRefusal::Claims(JsonFault::Twice)));
        assert_eq!(body(&format!("{{\"a\":{}", "[".repeat(4_000))), Err(JwtRefusal::Claims(JsonFault::TooDeep)));
        assert_eq!(body(&format!("{{\"a\":[{}0]}}", "0,".repeat(1_000))), Err(JwtRefusal::Claims(JsonFault::TooMany)));
        assert_eq!(body("[]"), Err(JwtRefusal::Claims(JsonFault::Malformed)));
    }

    #[test]
    fn text_of_another_shape_is_no_login() {
        let good = login(&json!({ "exp": SECONDS + 60 }));
        assert_eq!(judge(&good), Ok(()));
        let malformed = [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d.e",
            "lgk_app_x",
            &good[..good.len() - 1],
            &format!("{good}="),
            &format!("{good}."),
            &format!("{good}.a"),
            &format!(" {good}"),
            &good.replacen('.', "..", 1),
            &good.replace('e', "+"),
        ];
        for text in malformed {
            let refused = judge(text).unwrap_err();
            assert_eq!(refused.name(), "malformed", "{text}: {refused}");
        }
        assert_eq!(judge(&"a".repeat(MAX_JWT_BYTES + 1)), Err(JwtRefusal::TooLong));
    }

    #[test]
    fn no_character_of_a_login_can_be_changed() {
        let good = login(&json!({ "exp": SECONDS + 60, "sub": "42" }));
        for at in 0..good.len() {
            for other in ["A", "B", "w", "_", "="] {
                let altered = format!("{}{other}{}", &good[..at], &good[at + 1..]);
                assert_eq!(judge(&altered).is_ok(), altered == good, "{altered}");
            }
        }
    }

    #[test]
    fn an_audience_is_one_text_or_one_of_a_list() {
        let is_for = |aud: Value| UntrustedJwt::parse(&login(&json!({ "aud": aud }))).unwrap().is_for("us");
        assert!(is_for(json!("us")) && is_for(json!(["them", "us"])));
        for aud in [json!("us "), json!("US"), json!(["them"]), json!([["us"]]), json!({ "us": 1 }), json!(null)] {
            assert!(!is_for(aud.clone()), "{aud}");
        }
    }
}
