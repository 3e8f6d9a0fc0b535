//! An identity provider of one's own: keys, logins, and a server that publishes the keys or misbehaves.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkgate::clock::{Clock, SystemClock};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    SystemClock::new().now().wall.0 / 1_000
}

/// A key of a provider.
pub struct Signer {
    pub id: Option<String>,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// A new key for an algorithm.
    pub fn new(algorithm: &str, id: &str) -> Self {
        let random = SystemRandom::new();
        let pair = match algorithm {
            "RS256" => Pair::Rsa(Box::new(RsaKeyPair::from_der(&rsa_key(2_048)).unwrap())),
            "ES256" => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
                Pair::P256(pair.unwrap())
            }
            "EdDSA" => {
                let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
            }
            other => panic!("{other}"),
        };
        Self { id: Some(id.to_owned()), pair }
    }

    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as it is published.
    pub fn jwk(&self) -> Value {
        let mut key = match &self.pair {
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": encode(public.n), "e": encode(public.e) })
            }
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Pair::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) }),
        };
        key["use"] = json!("sig");
        if let Some(id) = &self.id {
            key["kid"] = json!(id);
        }
        key
    }

    /// Signs header and claims as they stand.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                encode(signature)
            }
            Pair::P256(pair) => encode(pair.sign(&random, text.as_bytes()).unwrap()),
            Pair::Ed25519(pair) => encode(pair.sign(text.as_bytes())),
        };
        format!("{text}.{signature}")
    }

    /// A login that names this key.
    pub fn login(&self, claims: &Value) -> String {
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let Some(id) = &self.id {
            header["kid"] = json!(id);
        }
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// A private RSA key in DER.
fn rsa_key(bits: usize) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["genpkey", "-algorithm", "RSA", "-outform", "DER", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")]);
    let made = command.output().unwrap_or_else(|error| panic!("openssl cannot be started ({error}): run tests/run"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// A key set with some keys.
pub fn key_set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }).to_string()
}

/// How the server answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// 200 with this body.
    Answers(String),
    /// This status line and header lines, no body.
    Says(&'static str),
    /// Headers at once, then nothing for longer than anybody waits.
    Hangs,
    /// Closes every connection.
    Closes,
}

/// A server that publishes keys.
pub struct KeyServer {
    address: String,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl KeyServer {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            manner: Arc::new(Mutex::new(manner)),
            asked: Arc::default(),
            is_over: Arc::default(),
        };
        let (manner, asked, is_over) =
            (Arc::clone(&server.manner), Arc::clone(&server.asked), Arc::clone(&server.is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let manner = manner.lock().unwrap().clone();
                asked.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || answer(stream.unwrap(), &manner));
            }
        });
        server
    }

    pub fn publishing(signers: &[&Signer]) -> Self {
        Self::start(Manner::Answers(key_set(signers)))
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys?v=1", self.address)
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn publish(&self, signers: &[&Signer]) {
        self.behave(Manner::Answers(key_set(signers)));
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

fn answer(mut stream: TcpStream, manner: &Manner) {
    if matches!(manner, Manner::Closes) {
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /keys?v=1 HTTP/1.1\r\n"), "{head}");
    let text = match manner {
        Manner::Answers(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        Manner::Says(head) => format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"),
        Manner::Hangs => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into(),
        Manner::Closes => String::new(),
    };
    let _ = stream.write_all(text.as_bytes());
    if matches!(manner, Manner::Hangs) {
        std::thread::sleep(Duration::from_secs(15));
    }
}
