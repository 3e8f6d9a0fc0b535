//! The token core against its specification: vectors made by another implementation, and properties.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use linkgate::clock::{Moment, UnixMillis};
use linkgate::revocation::{Index, OnStale, StalenessPolicy, admit};
use linkgate::token::{
    Claims, ClientName, CollectionName, CollectionRules, Disposition, Dotfiles, FileName, KeyEntry, KeyId, KeyState,
    Keyring, MediaPath, Networks, Presentation, Secret, Subject, TokenBuffer, TokenId, UntrustedToken, is_stable, seal,
    stable_id, verify,
};
use proptest::prelude::*;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The vectors' keys; `active` overrides which one signs.
fn keyring(file: &Value, active: Option<u64>) -> Keyring {
    let entries: Vec<KeyEntry> = file["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let id = key["id"].as_u64().unwrap();
            let state = match (active, key["state"].as_str().unwrap()) {
                (Some(active), _) if active == id => KeyState::Active,
                (Some(_), "active") | (_, "verifying") => KeyState::Verifying,
                (_, "active") => KeyState::Active,
                _ => KeyState::Retired,
            };
            let secret = Secret::new(hex(key["secret_hex"].as_str().unwrap()));
            KeyEntry { id: KeyId(id as u32), state, secret }
        })
        .collect();
    Keyring::new(&entries).unwrap()
}

fn rules(vector: &Value) -> CollectionRules<'_> {
    CollectionRules {
        name: CollectionName::parse(vector["collection"].as_str().unwrap()).unwrap(),
        max_ttl: Duration::from_millis(vector["max_ttl_ms"].as_u64().unwrap()),
        dotfiles: if vector["dotfiles"] == true { Dotfiles::Allowed } else { Dotfiles::Hidden },
        resume_grace: Duration::from_millis(vector["resume_grace_ms"].as_u64().unwrap_or_default()),
    }
}

/// How far a clock may be from the true time, where a vector says nothing.
const USUAL_LEEWAY_MS: u64 = 15_000;

fn presentation(vector: &Value) -> Presentation {
    let now = UnixMillis(vector["now_ms"].as_u64().unwrap());
    let leeway = Duration::from_millis(vector["leeway_ms"].as_u64().unwrap_or(USUAL_LEEWAY_MS));
    Presentation {
        now,
        latest_issue: now.plus(leeway * 2),
        client_address: vector["client_address"].as_str().map(|address| address.parse().unwrap()),
        resumes: vector["resumes"] == true,
    }
}

#[test]
fn every_good_vector_verifies_and_says_what_it_should() {
    let file = vectors("good");
    let all = file["vectors"].as_array().unwrap();
    assert!(all.len() >= 12);
    for vector in all {
        let name = vector["name"].as_str().unwrap();
        let text = vector["token"].as_str().unwrap();
        let mut buffer = TokenBuffer::default();
        let token = UntrustedToken::parse(text, &mut buffer).unwrap_or_else(|error| panic!("{name}: {error}"));
        let verified = verify(token, rules(vector), &keyring(&file, None), presentation(vector))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(verified.id().to_string(), vector["token_id"], "{name}");
        assert_eq!(u64::from(verified.key_id().0), vector["key_id"].as_u64().unwrap(), "{name}");

        let claims = verified.claims();
        let expected = &vector["claims"];
        let optional = |field: &str| expected[field].as_u64();
        assert_eq!(claims.client.as_str(), expected["client"], "{name}");
        assert_eq!(claims.subject.map(Subject::as_str), expected["subject"].as_str(), "{name}");
        assert_eq!(Some(claims.expires_at.0), optional("expires_at"), "{name}");
        assert_eq!(Some(claims.issued_at.0), optional("issued_at"), "{name}");
        assert_eq!(claims.not_before.map(|time| time.0), optional("not_before"), "{name}");
        assert_eq!(claims.path.as_str(), expected["path"], "{name}");
        assert_eq!(claims.file_name.map(FileName::as_str), expected["file_name"].as_str(), "{name}");
        let disposition = claims.disposition.map(|disposition| match disposition {
            Disposition::Attachment => "attachment",
            Disposition::Inline => "inline",
        });
        assert_eq!(disposition, expected["disposition"].as_str(), "{name}");
        assert_eq!(
            claims.content_type.map(linkgate::token::ContentType::as_str),
            expected["content_type"].as_str(),
            "{name}"
        );
        let networks: Vec<_> = claims.networks.iter().map(|network| network.to_string()).collect();
        let expected_networks: Vec<_> = expected["networks"].as_array().into_iter().flatten().collect();
        assert_eq!(networks.iter().collect::<Vec<_>>(), expected_networks, "{name}");
        assert_eq!(claims.max_downloads.map(|count| u64::from(count.get())), optional("max_downloads"), "{name}");
        assert_eq!(claims.rate_limit.map(std::num::NonZero::get), optional("rate_limit"), "{name}");

        assert_eq!(claims.encode(), hex(vector["plain_claims_hex"].as_str().unwrap()), "{name}");
        let signing = keyring(&file, vector["key_id"].as_u64());
        let again = seal(&signing, verified.collection(), verified.id(), claims).unwrap();
        if vector["stable"] == true {
            assert_eq!(stable_id(&signing, verified.collection(), claims), verified.id(), "{name}");
        }
        assert_eq!(is_stable(&signing, &verified), vector["stable"] == true, "{name}");
        assert_eq!(again, text, "{name}: the same claims under the same id give the same token");
    }
}

#[test]
fn every_other_vector_is_refused_for_the_stated_reason() {
    let file = vectors("refused");
    let all = file["vectors"].as_array().unwrap();
    assert!(all.len() >= 30);
    let keyring = keyring(&file, None);
    for vector in all {
        let name = vector["name"].as_str().unwrap();
        let refusal = match UntrustedToken::parse(vector["token"].as_str().unwrap(), &mut TokenBuffer::default()) {
            Err(malformed) => malformed.name(),
            Ok(token) => match verify(token, rules(vector), &keyring, presentation(vector)) {
                Err(refusal) => refusal.name(),
                Ok(_) => panic!("{name} was accepted: {}", vector["why"]),
            },
        };
        assert_eq!(refusal, vector["expect"], "{name}: {}", vector["why"]);
    }
}

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn own_keyring() -> Keyring {
    let secret = (0..32u8).map(|n| n.wrapping_mul(73).wrapping_add(11)).collect();
    Keyring::new(&[KeyEntry { id: KeyId(1), state: KeyState::Active, secret: Secret::new(secret) }]).unwrap()
}

fn own_rules() -> CollectionRules<'static> {
    CollectionRules {
        name: CollectionName::parse("image").unwrap(),
        max_ttl: Duration::from_secs(3_600),
        dotfiles: Dotfiles::Hidden,
        resume_grace: Duration::ZERO,
    }
}

fn here() -> Presentation {
    at(NOW)
}

fn at(now: UnixMillis) -> Presentation {
    Presentation::of_an_onlooker(now, now)
}

fn claims(path: &str) -> Claims<'_> {
    Claims {
        client: ClientName::parse("backend").unwrap(),
        subject: None,
        expires_at: NOW.plus(Duration::from_secs(60)),
        not_before: None,
        issued_at: NOW,
        path: MediaPath::parse(path, Dotfiles::Hidden).unwrap(),
        file_name: None,
        disposition: None,
        content_type: None,
        networks: Networks::default(),
        max_downloads: None,
        rate_limit: None,
    }
}

fn own_token(id: [u8; 16]) -> String {
    seal(&own_keyring(), own_rules().name, TokenId(id), &claims("users/42/cat 1.jpg")).unwrap()
}

fn is_accepted(text: &str) -> bool {
    UntrustedToken::parse(text, &mut TokenBuffer::default())
        .is_ok_and(|token| verify(token, own_rules(), &own_keyring(), here()).is_ok())
}

#[test]
fn every_single_bit_flip_is_refused() {
    let text = own_token([0x5a; 16]);
    assert!(is_accepted(&text));
    let mut flips = 0;
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1 << bit;
            // A byte that is no text any more cannot even be a URL.
            if let Ok(flipped) = String::from_utf8(flipped) {
                assert!(!is_accepted(&flipped), "bit {bit} of character {at}");
                flips += 1;
            }
        }
    }
    assert!(flips >= text.len() * 7);
}

#[test]
fn a_link_ends_at_its_expiry_to_the_millisecond() {
    let keyring = own_keyring();
    let end = claims("a").expires_at;
    let accepted_at = |now: u64| {
        let mut buffer = TokenBuffer::default();
        let token = UntrustedToken::parse(&own_token([1; 16]), &mut buffer).unwrap();
        verify(token, own_rules(), &keyring, at(UnixMillis(now))).is_ok()
    };
    assert!(accepted_at(end.0 - 1));
    assert!(!accepted_at(end.0));
    assert!(!accepted_at(end.0 + 1));
}

#[test]
fn a_permit_needs_a_view_that_was_complete_once_and_is_fresh() {
    let keyring = own_keyring();
    let text = own_token([2; 16]);
    let policy = |on_stale| StalenessPolicy { max_staleness: Duration::from_secs(30), on_stale };
    let at = |seconds: u64| Moment { wall: NOW, uptime: Duration::from_secs(seconds) };
    let index = Index::default();
    let admitted = |index: &Index, on_stale, seconds| {
        let mut buffer = TokenBuffer::default();
        let token = UntrustedToken::parse(&text, &mut buffer).unwrap();
        let verified = verify(token, own_rules(), &keyring, here()).unwrap();
        index.look(|view| admit(view, policy(on_stale), verified, at(seconds)).is_ok())
    };
    assert!(!admitted(&index, OnStale::Serve, 0), "never loaded: not even when told to serve what is stale");
    index.freshness().set_complete(at(0));
    index.freshness().set_beat(at(0));
    assert!(admitted(&index, OnStale::Deny, 30));
    assert!(!admitted(&index, OnStale::Deny, 31));
    assert!(admitted(&index, OnStale::Serve, 31));
}

prop_compose! {
    fn any_networks()(list in prop::collection::vec((any::<IpAddr>(), any::<u8>()), 0..16)) -> Vec<IpNet> {
        list.into_iter()
            .map(|(address, bits)| (address.to_canonical(), bits))
            .map(|(address, bits)| IpNet::new(address, bits % if address.is_ipv4() { 33 } else { 129 }).unwrap().trunc())
            .collect()
    }
}

proptest! {
    #[test]
    fn claims_survive_the_way_into_a_token_and_back(
        path in "[^/\\\\\\p{Cc}.][^/\\\\\\p{Cc}]{0,60}(/[^/\\\\\\p{Cc}.][^/\\\\\\p{Cc}]{0,30}){0,4}",
        subject in proptest::option::of("\\PC{1,40}"),
        client in "[A-Za-z0-9][A-Za-z0-9._-]{0,30}",
        life in 1u64..3_600_000,
        rate in proptest::option::of(1u64..u64::MAX),
        networks in any_networks(),
        id in any::<[u8; 16]>(),
    ) {
        let encoded = Networks::encode(&networks);
        let wanted = Claims {
            client: ClientName::parse(&client).unwrap(),
            subject: subject.as_deref().map(|text| Subject::parse(text).unwrap()),
            expires_at: NOW.plus(Duration::from_millis(life)),
            networks: Networks::parse(&encoded).unwrap_or_default(),
            rate_limit: rate.and_then(std::num::NonZero::new),
            ..claims(&path)
        };
        let keyring = own_keyring();
        let text = seal(&keyring, own_rules().name, TokenId(id), &wanted).unwrap();
        let mut buffer = TokenBuffer::default();
        let token = UntrustedToken::parse(&text, &mut buffer).unwrap();
        let client_address = networks.first().map(IpNet::addr);
        let verified = verify(token, own_rules(), &keyring, Presentation { client_address, ..here() }).unwrap();
        prop_assert_eq!(verified.claims(), &wanted);
        prop_assert_eq!(verified.id(), TokenId(id));
    }

    #[test]
    fn no_text_makes_the_verifier_panic_or_accept(text in "\\PC{0,300}") {
        prop_assert!(!is_accepted(&text));
    }

    #[test]
    fn no_bytes_make_the_verifier_panic_or_accept(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        use base64::Engine;
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([&[1, 0, 0, 0, 1], &bytes[..]].concat());
        prop_assert!(!is_accepted(&text));
    }

    #[test]
    fn no_claims_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Claims::decode(&bytes, Dotfiles::Hidden);
        let _ = Claims::decode(&[&[0xa4][..], &bytes].concat(), Dotfiles::Allowed);
    }
}
