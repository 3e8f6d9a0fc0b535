//! What an edge says it was asked for, in `X-Original-URI` or `X-Forwarded-Uri`.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use linkgate::http::fuzz_doors::original_path;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate().take(3) {
        let name = if at % 2 == 0 { "x-original-uri" } else { "x-forwarded-uri" };
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    if let Some(path) = original_path(&headers) {
        let mut lines = headers.values();
        let first = lines.next();
        assert!(lines.all(|line| Some(line) == first), "two that differ leave it in doubt");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
        assert!(path.bytes().all(is_plain) && !path.contains("//"), "{path:?}");
    }
});
