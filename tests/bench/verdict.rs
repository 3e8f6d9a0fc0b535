//! What one verdict costs: `cargo bench --bench verdict`.
//!
//! verify + admit with empty lists, a thousand and a million revoked links, and what refusing garbage costs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use linkgate::clock::{Moment, UnixMillis};
use linkgate::entropy;
use linkgate::revocation::{Change, Index, OnStale, StalenessPolicy, admit};
use linkgate::token::{
    Claims, ClientName, CollectionName, CollectionRules, Dotfiles, KeyEntry, KeyId, KeyState, Keyring, MediaPath,
    Networks, Presentation, Secret, Subject, TokenBuffer, UntrustedToken, seal, verify,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// Enough different tokens that none is in the processor's nearest cache by accident.
const TOKENS: usize = 10_000;

fn keyring() -> Keyring {
    let entry =
        KeyEntry { id: KeyId(1), state: KeyState::Active, secret: Secret::new(entropy::random::<32>().to_vec()) };
    match Keyring::new(&[entry]) {
        Ok(keyring) => keyring,
        Err(error) => panic!("{error}"),
    }
}

fn collection() -> CollectionName<'static> {
    CollectionName::parse("image").unwrap_or_else(|error| panic!("{error}"))
}

fn tokens(keyring: &Keyring) -> Vec<String> {
    let mint = |n: usize| {
        let path = format!("users/{n}/holiday/IMG_{n:04}.jpg");
        let claims = Claims {
            client: ClientName::parse("backend")?,
            subject: Some(Subject::parse("user-4711")?),
            expires_at: NOW.plus(Duration::from_secs(3_600)),
            not_before: None,
            issued_at: NOW,
            path: MediaPath::parse(&path, Dotfiles::Hidden)?,
            file_name: None,
            disposition: None,
            content_type: None,
            networks: Networks::default(),
            max_downloads: None,
            rate_limit: None,
        };
        Ok::<_, linkgate::token::Invalid>(seal(keyring, collection(), entropy::token_id(), &claims))
    };
    (0..TOKENS).filter_map(|n| mint(n).ok()?.ok()).collect()
}

/// An index with that many revoked links, and a cut-off of each kind that covers nobody here.
fn index(links: usize) -> Index {
    let index = Index::default();
    for _ in 0..links {
        index.apply(Change::Link { id: entropy::token_id(), until: NOW.plus(Duration::from_secs(3_600)) });
    }
    if links > 0 {
        for member in ["s:other", "a:other", "k:2", "i:image/other.jpg", "p:image/other/", "*"] {
            index.apply(Change::CutOff { member, score: 1 });
        }
    }
    let now = Moment { wall: NOW, uptime: Duration::ZERO };
    index.freshness().set_complete(now);
    index.freshness().set_beat(now);
    index
}

fn verdict(index: &Index, keyring: &Keyring, text: &str) -> bool {
    let rules = CollectionRules {
        name: collection(),
        max_ttl: Duration::from_secs(7_200),
        dotfiles: Dotfiles::Hidden,
        resume_grace: Duration::ZERO,
    };
    let policy = StalenessPolicy { max_staleness: Duration::from_secs(30), on_stale: OnStale::Deny };
    let presentation = Presentation { now: NOW, client_address: None, resumes: false };
    let mut buffer = TokenBuffer::default();
    let Ok(token) = UntrustedToken::parse(text, &mut buffer) else { return false };
    let Ok(verified) = verify(token, rules, keyring, presentation) else { return false };
    let now = Moment { wall: NOW, uptime: Duration::ZERO };
    index.look(|view| admit(view, policy, verified, now).is_ok())
}

fn verdicts(criterion: &mut Criterion) {
    let keyring = keyring();
    let tokens = tokens(&keyring);
    let mut group = criterion.benchmark_group("verdict");
    for revoked in [0, 1_000, 1_000_000] {
        let index = index(revoked);
        let mut next = tokens.iter().cycle();
        group.bench_function(BenchmarkId::new("permitted", revoked), |bencher| {
            bencher.iter(|| next.next().is_some_and(|token| verdict(&index, &keyring, black_box(token))));
        });
    }
    let index = index(1_000_000);
    let forged: Vec<String> = tokens.iter().map(|token| format!("{}AAAA", &token[..token.len() - 4])).collect();
    let mut next = forged.iter().cycle();
    group.bench_function("forged", |bencher| {
        bencher.iter(|| next.next().is_some_and(|token| verdict(&index, &keyring, black_box(token))));
    });
    group.bench_function("garbage", |bencher| {
        bencher.iter(|| verdict(&index, &keyring, black_box("this-is-no-token-at-all")));
    });
    group.finish();
}

criterion_group!(benches, verdicts);
criterion_main!(benches);
