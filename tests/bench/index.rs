//! What the index costs at size: `cargo bench --bench index`, or `-- SECTION` for one of the sections below.
//!
//! Bytes per link in fresh processes, the time of a judgement alone and next to a busy writer, and pruning. Tails are
//! given beside those of the same loop without a writer: what both show is the machine's own noise.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and says what it saw")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use linkgate::entropy;
use linkgate::revocation::{Change, Index, PRUNE_GRACE, admit};
use linkgate::token::{TokenBuffer, TokenId, UntrustedToken, VerifiedToken, verify};

use fixture::{HOUR, MOMENT, NOW, POLICY, PRESENTATION};

#[path = "fixture/mod.rs"]
mod fixture;

/// Enough different tokens that what one needs is not in the processor's caches by accident.
const TOKENS: usize = 20_000;
/// How many links are revoked.
const SIZES: [usize; 4] = [0, 1_000, 1_000_000, 10_000_000];
/// Judgements that are timed together where the middle is of interest.
const BATCH: usize = 50;
const WRITES_PER_SECOND: u64 = 5_000;
const RUN: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            memory();
            judgements(&SIZES);
            writers();
            pruning();
        }
        ["memory"] => memory(),
        ["admit"] => judgements(&SIZES),
        ["admit", links] => judgements(&[links.parse().unwrap_or_default()]),
        ["writer"] => writers(),
        ["prune"] => pruning(),
        ["fill", links] => fill(links.parse().unwrap_or_default()),
        _ => println!("sections: memory, admit, writer, prune"),
    }
}

/// Bytes per link at sizes just before and after the tables grow, each in a process of its own.
fn memory() {
    println!("\nresident memory\n{:>12} {:>10} {:>12} {:>12}", "links", "MB", "bytes each", "after churn");
    for links in [0, 1_000, 100_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 12_000_000] {
        let child =
            env::current_exe().map(|own| process::Command::new(own).args(["fill", &links.to_string()]).output());
        if let Ok(Ok(output)) = child {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

fn fill(links: usize) {
    black_box(entropy::token_id());
    let before = resident();
    let index = index(links);
    let filled = resident() - before;
    // As many come as go: one in ten of all.
    for id in random_ids(1).take(links / 10) {
        index.apply(Change::LinkLifted { id });
    }
    for id in random_ids(8).take(links / 10) {
        index.apply(Change::Link { id, until: NOW });
    }
    let churned = resident() - before;
    let each = |bytes: usize| bytes as f64 / links.max(1) as f64;
    println!("{links:>12} {:>10.1} {:>12.1} {:>12.1}", filled as f64 / 1e6, each(filled), each(churned));
    black_box(&index);
}

fn judgements(sizes: &[usize]) {
    println!("\none judgement, nanoseconds (median of batches of {BATCH}; tails of single ones, clock included)");
    println!("{:>12} {:>8} {:>8} {:>8} {:>8}", "links", "median", "p50", "p99", "p99.9");
    with_tokens(|tokens| {
        for &links in sizes {
            let index = judged_index(links);
            let mut batches = Vec::new();
            for _ in 0..20 {
                for batch in tokens.chunks_exact(BATCH) {
                    for token in batch {
                        warm(&index, token);
                    }
                    let start = Instant::now();
                    for token in batch {
                        judge(&index, token);
                    }
                    batches.push(start.elapsed() / BATCH as u32);
                }
            }
            let singles = singles(&index, tokens, Duration::from_secs(1));
            println!(
                "{links:>12} {:>8} {:>8} {:>8} {:>8}",
                quantile(&mut batches, 0.5),
                quantile(&mut singles.clone(), 0.5),
                quantile(&mut singles.clone(), 0.99),
                quantile(&mut singles.clone(), 0.999),
            );
        }
    });
}

fn writers() {
    println!("\none judgement next to {WRITES_PER_SECOND} changes a second, nanoseconds");
    println!("{:>12} {:>8} {:>8} {:>8} {:>8} {:>10}", "links", "writer", "p50", "p99", "p99.9", "max");
    with_tokens(|tokens| {
        for links in [1_000_000, 10_000_000] {
            let index = judged_index(links);
            // In turn, so that a noisy spell of the machine meets both.
            for (is_written, run) in [(false, RUN / 2), (true, RUN), (false, RUN / 2)] {
                let stop = AtomicBool::new(!is_written);
                let mut times = Vec::new();
                let mut worst_write = Duration::ZERO;
                thread::scope(|scope| {
                    let writer = scope.spawn(|| write(&index, &stop));
                    times = singles(&index, tokens, run);
                    stop.store(true, Ordering::Relaxed);
                    worst_write = writer.join().unwrap_or_default();
                });
                println!(
                    "{links:>12} {:>8} {:>8} {:>8} {:>8} {:>10}{}",
                    if is_written { "yes" } else { "no" },
                    quantile(&mut times, 0.5),
                    quantile(&mut times, 0.99),
                    quantile(&mut times, 0.999),
                    quantile(&mut times, 1.0),
                    if is_written { format!("   slowest change {worst_write:?}") } else { String::new() },
                );
            }
        }
    });
}

/// Applies changes of all kinds at a steady rate until told to stop; answers how long the slowest took.
fn write(index: &Index, stop: &AtomicBool) -> Duration {
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut added = random_ids(3);
    let mut lifted = random_ids(1);
    let mut done = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_millis() as u64 * WRITES_PER_SECOND / 1000;
        while done < due {
            let member = format!("p:image/users/{}/", done / 10 % 200_000);
            let change = match done % 10 {
                0..=4 => Change::Link { id: added.next().unwrap_or(TokenId([0; 16])), until: NOW.plus(HOUR) },
                5..=7 => Change::LinkLifted { id: lifted.next().unwrap_or(TokenId([0; 16])) },
                8 => Change::CutOff { member: &member, score: 1 },
                _ if done % 100 == 99 => Change::CutOffLifted { member: &member },
                _ => Change::CutOff { member: &member, score: 2 },
            };
            let before = Instant::now();
            index.apply(change);
            slowest = slowest.max(before.elapsed());
            done += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    slowest
}

fn pruning() {
    println!("\npruning a million links, half of them lapsed");
    let index = index(0);
    for (number, id) in random_ids(5).take(1_000_000).enumerate() {
        let until = if number % 2 == 0 { NOW.minus(PRUNE_GRACE * 2) } else { NOW.plus(HOUR) };
        index.apply(Change::Link { id, until });
    }
    for pass in ["with something to forget", "with nothing to forget"] {
        let start = Instant::now();
        index.prune(NOW, HOUR);
        println!("{:>12.1?} {pass}, {} left", start.elapsed(), index.counts().links);
    }
}

fn singles(index: &Index, tokens: &[VerifiedToken<'_>], run: Duration) -> Vec<Duration> {
    let mut times = Vec::with_capacity(run.as_millis() as usize * 5_000);
    let start = Instant::now();
    for token in tokens.iter().cycle() {
        warm(index, token);
        let before = Instant::now();
        judge(index, token);
        let after = Instant::now();
        times.push(after - before);
        if after - start > run || times.len() == times.capacity() {
            break;
        }
    }
    times
}

/// Brings a token into the processor's caches, where one that was just verified is, and says that it will be judged, as
/// is done before its signature is checked.
fn warm(index: &Index, token: &VerifiedToken<'_>) {
    index.expect(token.id());
    let claims = token.claims();
    let read = |text: &str| text.bytes().map(u64::from).sum::<u64>();
    let subject = claims.subject.map_or(0, |subject| read(subject.as_str()));
    black_box(read(claims.client.as_str()) + subject + read(claims.path.as_str()) + read(token.collection().as_str()));
}

fn judge(index: &Index, token: &VerifiedToken<'_>) {
    assert!(index.look(|view| admit(view, POLICY, *black_box(token), MOMENT)).is_ok());
}

fn quantile(times: &mut [Duration], share: f64) -> u128 {
    let at = ((times.len() - 1) as f64 * share) as usize;
    times.select_nth_unstable(at).1.as_nanos()
}

/// An index with that many revoked links.
fn index(links: usize) -> Index {
    fixture::index(random_ids(1).take(links))
}

/// The same with a cut-off of each kind that covers nobody here.
fn judged_index(links: usize) -> Index {
    let index = index(links);
    fixture::add_cut_offs(&index);
    index
}

/// Ids without a pattern, the same for the same seed (`SplitMix64`).
fn random_ids(seed: u64) -> impl Iterator<Item = TokenId> {
    let mut state = seed << 32;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    std::iter::from_fn(move || Some(TokenId((u128::from(next()) << 64 | u128::from(next())).to_ne_bytes())))
}

fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 4096
}

fn with_tokens(work: impl FnOnce(&[VerifiedToken<'_>])) {
    let keyring = fixture::keyring();
    let links = fixture::links(&keyring, TOKENS);
    let mut buffers: Vec<TokenBuffer> = (0..TOKENS).map(|_| TokenBuffer::default()).collect();
    let verified: Vec<VerifiedToken<'_>> = links
        .iter()
        .zip(&mut buffers)
        .filter_map(|(link, buffer)| {
            verify(UntrustedToken::parse(link, buffer).ok()?, fixture::rules(), &keyring, PRESENTATION).ok()
        })
        .collect();
    assert_eq!(verified.len(), TOKENS);
    work(&verified);
}
