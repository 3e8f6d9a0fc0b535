//! What the stream in Redis may hold when somebody else writes to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::revocation::Index;
use linkgate::revocation::redis::fuzz_doors::apply_entry;

fuzz_target!(|bytes: &[u8]| {
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let index = Index::default();
    apply_entry(&index, &words);
    // Taken twice, it changes nothing more.
    let counts = index.counts();
    apply_entry(&index, &words);
    assert_eq!(index.counts(), counts);
});
