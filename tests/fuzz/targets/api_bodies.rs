//! Bodies of the API's requests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::http::fuzz_doors::api_bodies;

fuzz_target!(|bytes: &[u8]| {
    assert!(api_bodies(bytes).iter().all(|status| *status == 400));
});
