//! What one verdict costs: `cargo bench --bench verdict`.
//!
//! verify + admit with empty lists, a thousand, a million and ten million revoked links, and what refusing garbage costs.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use linkgate::entropy;
use linkgate::revocation::{Index, admit};
use linkgate::token::{Keyring, TokenBuffer, UntrustedToken, verify};

use fixture::{MOMENT, POLICY, PRESENTATION};

#[path = "fixture/mod.rs"]
mod fixture;

/// Enough different tokens that none is in the processor's nearest cache by accident.
const TOKENS: usize = 10_000;

/// An index with that many revoked links, and a cut-off of each kind that covers nobody here.
fn index(links: usize) -> Index {
    let index = fixture::index((0..links).map(|_| entropy::token_id()));
    if links > 0 {
        fixture::add_cut_offs(&index);
    }
    index
}

fn verdict(index: &Index, keyring: &Keyring, text: &str) -> bool {
    let mut buffer = TokenBuffer::default();
    let Ok(token) = UntrustedToken::parse(text, &mut buffer) else { return false };
    index.expect(token.token_id());
    let Ok(verified) = verify(token, fixture::rules(), keyring, PRESENTATION) else { return false };
    index.look(|view| admit(view, POLICY, verified, MOMENT).is_ok())
}

fn verdicts(criterion: &mut Criterion) {
    let keyring = fixture::keyring();
    let tokens = fixture::links(&keyring, TOKENS);
    let mut group = criterion.benchmark_group("verdict");
    for revoked in [0, 1_000, 1_000_000, 10_000_000] {
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
