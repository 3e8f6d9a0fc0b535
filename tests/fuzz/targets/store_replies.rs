//! What Redis answers when its sets are loaded, in its own protocol, whoever has written into them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::revocation::Index;
use linkgate::revocation::redis::fuzz_doors::take_reply;

fuzz_target!(|bytes: &[u8]| {
    let index = Index::default();
    take_reply(&index, bytes);
    // Taken twice, it changes nothing more.
    let counts = index.counts();
    take_reply(&index, bytes);
    assert_eq!(index.counts(), counts);
});
