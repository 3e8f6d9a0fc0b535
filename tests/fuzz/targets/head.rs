//! Request heads: what the express lane takes, a general reader takes as well, to the same end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::http::fuzz_doors::plain_head;

fuzz_target!(|bytes: &[u8]| {
    let Some((method, path, fields)) = plain_head(bytes) else { return };
    assert!(bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\n\n") || bytes.ends_with(b"\n\r\n"));
    let text = String::from_utf8_lossy(bytes);
    // What a reader that knows nothing but lines finds.
    let mut lines = text.trim_start_matches(['\r', '\n']).lines();
    let first: Vec<_> = lines.next().expect("a first line").split(' ').collect();
    assert_eq!(
        (first[0], first[1].split('?').next(), first.last()),
        (method.as_str(), Some(path.as_str()), Some(&"HTTP/1.1"))
    );
    let names: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names.len(), fields, "{text:?}");
    for name in ["content-length", "transfer-encoding", "connection", "expect", "upgrade", "te"] {
        assert!(!names.iter().any(|known| known == name), "{name}");
    }
});
