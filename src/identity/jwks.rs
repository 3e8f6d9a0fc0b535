//! A provider's key set (RFC 7517): which of its keys can check a login.
//!
//! A key that says it is for something else is passed over, so that a provider may publish keys for encryption or of
//! newer kinds beside those we use. A set without any usable key is no key set.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use thiserror::Error;

use super::algorithm::{Algorithm, MAX_RSA_BITS, MIN_RSA_BITS, PublicKey};
use super::json::{Bounds, JsonFault, Object, parse_object};

/// Most keys in a set.
pub const MAX_KEYS: usize = 100;
const BOUNDS: Bounds = Bounds { depth: 6, values: 10_000 };
/// The first byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 4;
const P256_BYTES: usize = 32;
const ED25519_BYTES: usize = 32;

/// The usable keys of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Why others are not among them.
    pub passed_over: Vec<Unusable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    public: PublicKey,
}

/// Why text is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeySetError {
    #[error("the key set {0}")]
    Json(JsonFault),
    #[error("the key set has no list `keys`")]
    NoList,
    #[error("the key set holds more than {MAX_KEYS} keys")]
    TooMany,
    #[error("the key set is empty")]
    Empty,
    #[error("no key of the set can be used: {0}")]
    NoneUsable(Unusable),
}

/// Why a key is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    #[error("it is not for signatures")]
    Purpose,
    #[error("its type or algorithm is none of RS256, ES256 and EdDSA")]
    Algorithm,
    #[error("it is malformed")]
    Malformed,
    #[error("its RSA modulus is shorter than {MIN_RSA_BITS} bits")]
    TooShort,
    #[error("its RSA modulus is longer than {MAX_RSA_BITS} bits")]
    TooLong,
    #[error("its id belongs to another key already")]
    Twice,
}

/// Why no key fits a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// No key has that id.
    Unknown,
    /// A key has that id, and is for another algorithm.
    Mismatch,
    /// The login names no key, and there are several.
    IdMissing,
}

impl KeySet {
    /// # Errors
    /// Says what is wrong with the set.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let mut set = parse_object(text, BOUNDS).map_err(KeySetError::Json)?;
        let Some(Value::Array(list)) = set.remove("keys") else { return Err(KeySetError::NoList) };
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys: Vec<Key> = Vec::new();
        let mut passed_over = Vec::new();
        for item in list {
            let key = match item {
                Value::Object(object) => Key::parse(&object),
                _ => Err(Unusable::Malformed),
            };
            match key {
                Ok(key) if key.id.is_some() && keys.iter().any(|other| other.id == key.id) => {
                    passed_over.push(Unusable::Twice);
                }
                Ok(key) => keys.push(key),
                Err(unusable) => passed_over.push(unusable),
            }
        }
        match (keys.is_empty(), passed_over.first()) {
            (false, _) => Ok(Self { keys, passed_over }),
            (true, Some(unusable)) => Err(KeySetError::NoneUsable(*unusable)),
            (true, None) => Err(KeySetError::Empty),
        }
    }

    /// How many keys can be used.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can: never.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a login was signed with, if it says the truth.
    ///
    /// # Errors
    /// When there is none, or no telling which.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&PublicKey, KeyFault> {
        let key = match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)).ok_or(KeyFault::Unknown)?,
            (None, [only]) => only,
            (None, _) => return Err(KeyFault::IdMissing),
        };
        if key.public.algorithm() == algorithm { Ok(&key.public) } else { Err(KeyFault::Mismatch) }
    }
}

impl Key {
    fn parse(object: &Object) -> Result<Self, Unusable> {
        let text = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Unusable::Malformed),
        };
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(Unusable::Purpose);
        }
        match object.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
            Some(_) => return Err(Unusable::Purpose),
        }
        let bytes = |name: &str| {
            let value = text(name)?.ok_or(Unusable::Malformed)?;
            URL_SAFE_NO_PAD.decode(value).map_err(|_| Unusable::Malformed)
        };
        let sized = |name: &str, size: usize| {
            let value = bytes(name)?;
            if value.len() == size { Ok(value) } else { Err(Unusable::Malformed) }
        };
        let public = match (text("kty")?.ok_or(Unusable::Malformed)?, text("crv")?) {
            ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?)?,
            ("EC", Some("P-256")) => {
                PublicKey::P256([&[UNCOMPRESSED], &*sized("x", P256_BYTES)?, &*sized("y", P256_BYTES)?].concat())
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(sized("x", ED25519_BYTES)?),
            _ => return Err(Unusable::Algorithm),
        };
        if text("alg")?.is_some_and(|name| Algorithm::parse(name) != Some(public.algorithm())) {
            return Err(Unusable::Algorithm);
        }
        Ok(Self { id: text("kid")?.map(str::to_owned), public })
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, Unusable> {
    // Some providers write a leading zero, as DER does.
    let significant = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    };
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    match bits {
        ..MIN_RSA_BITS => Err(Unusable::TooShort),
        MIN_RSA_BITS..=MAX_RSA_BITS if !exponent.is_empty() => Ok(PublicKey::Rsa { modulus, exponent }),
        MIN_RSA_BITS..=MAX_RSA_BITS => Err(Unusable::Malformed),
        _ => Err(Unusable::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn rsa_key(bits: usize) -> Value {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] = 0xff >> (modulus.len() * 8 - bits);
        json!({ "kty": "RSA", "kid": "r", "use": "sig", "n": encode(&modulus), "e": "AQAB" })
    }

    fn ed_key(id: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(&[7; 32]) })
    }

    fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn unusable(key: Value) -> Unusable {
        let set = set(&[key, ed_key("good")]).unwrap();
        assert_eq!((set.len(), set.passed_over.len()), (1, 1));
        set.passed_over[0]
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn a_key_serves_the_one_algorithm_of_its_type() {
        let set = set(&[rsa_key(2048), ed_key("e")]).unwrap();
        assert!(set.find(Some("r"), Algorithm::Rs256).is_ok());
        assert_eq!(set.find(Some("r"), Algorithm::EdDsa), Err(KeyFault::Mismatch));
        assert_eq!(set.find(Some("e"), Algorithm::Es256), Err(KeyFault::Mismatch));
        assert_eq!(set.find(Some("E"), Algorithm::EdDsa), Err(KeyFault::Unknown));
        assert_eq!(set.find(None, Algorithm::EdDsa), Err(KeyFault::IdMissing));
    }

    #[test]
    fn an_only_key_need_not_be_named() {
        let set = set(&[ed_key("e")]).unwrap();
        assert!(set.find(None, Algorithm::EdDsa).is_ok());
        assert_eq!(set.find(None, Algorithm::Rs256), Err(KeyFault::Mismatch));
        assert_eq!(set.find(Some(""), Algorithm::EdDsa), Err(KeyFault::Unknown));
    }

    #[test]
    fn keys_for_other_purposes_are_passed_over() {
        assert_eq!(unusable(with(rsa_key(2048), "use", json!("enc"))), Unusable::Purpose);
        assert_eq!(unusable(with(rsa_key(2048), "key_ops", json!(["sign"]))), Unusable::Purpose);
        assert_eq!(unusable(with(rsa_key(2048), "key_ops", json!("verify"))), Unusable::Purpose);
        assert_eq!(unusable(with(rsa_key(2048), "alg", json!("RS512"))), Unusable::Algorithm);
        assert_eq!(unusable(with(rsa_key(2048), "alg", json!("HS256"))), Unusable::Algorithm);
        assert_eq!(unusable(with(ed_key("e"), "crv", json!("X25519"))), Unusable::Algorithm);
        assert_eq!(unusable(json!({ "kty": "oct", "k": "c2VjcmV0" })), Unusable::Algorithm);
        assert_eq!(unusable(json!({ "kty": "EC", "crv": "P-384", "x": "", "y": "" })), Unusable::Algorithm);
    }

    #[test]
    fn malformed_short_and_double_keys_are_passed_over() {
        assert_eq!(unusable(rsa_key(2047)), Unusable::TooShort);
        assert_eq!(unusable(rsa_key(1024)), Unusable::TooShort);
        assert_eq!(unusable(rsa_key(8193)), Unusable::TooLong);
        assert_eq!(unusable(with(rsa_key(2048), "e", json!(""))), Unusable::Malformed);
        assert_eq!(unusable(with(rsa_key(2048), "n", json!("+/=="))), Unusable::Malformed);
        assert_eq!(unusable(with(rsa_key(2048), "n", json!(5))), Unusable::Malformed);
        assert_eq!(unusable(with(rsa_key(2048), "kid", json!(5))), Unusable::Malformed);
        assert_eq!(unusable(with(ed_key("e"), "x", json!(encode(&[7; 31])))), Unusable::Malformed);
        assert_eq!(unusable(json!("a key")), Unusable::Malformed);
        assert_eq!(unusable(json!({})), Unusable::Malformed);
        let long = with(rsa_key(2048), "n", json!(encode(&[&[0][..], &[0xff; 256]].concat())));
        assert_eq!(set(&[long]).unwrap().len(), 1, "a leading zero is no bit");
        let doubled = set(&[ed_key("a"), ed_key("a")]).unwrap();
        assert_eq!((doubled.len(), doubled.passed_over), (1, vec![Unusable::Twice]));
    }

    #[test]
    fn a_set_without_a_usable_key_is_none() {
        assert_eq!(set(&[]), Err(KeySetError::Empty));
        assert_eq!(set(&[rsa_key(1024)]), Err(KeySetError::NoneUsable(Unusable::TooShort)));
        assert_eq!(set(&vec![ed_key("a"); 101]), Err(KeySetError::TooMany));
        assert_eq!(KeySet::parse(b"{}"), Err(KeySetError::NoList));
        assert_eq!(KeySet::parse(b"{\"keys\":{}}"), Err(KeySetError::NoList));
        assert_eq!(KeySet::parse(b"<html>"), Err(KeySetError::Json(JsonFault::Malformed)));
        assert_eq!(KeySet::parse(b"{\"keys\":[],\"keys\":[]}"), Err(KeySetError::Json(JsonFault::Twice)));
    }
}
