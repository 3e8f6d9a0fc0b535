//! The copy of the index on disk, where it begins as it should and its checksum holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::revocation::redis::fuzz_doors::read_copy;

fuzz_target!(|bytes: &[u8]| {
    if let Some(index) = read_copy(bytes) {
        let counts = index.counts();
        // Sixteen bytes and eight are the shortest entries there are.
        assert!(counts.links * 24 + counts.cut_offs * 10 <= bytes.len(), "{counts:?} from {} bytes", bytes.len());
    }
});
