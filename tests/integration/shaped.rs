//! Links that shape their download: how fast, and how long it may be gone on with.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::linkgate::{Builder, path_of};

#[test]
fn a_direct_download_is_no_faster_than_its_link_allows() {
    let linkgate = Builder::new().start();
    linkgate.file("a.bin", &vec![7; 300_000]);
    let link = linkgate.mint(&json!({ "path": "a.bin", "rate_limit": 100_000 }));
    let start = Instant::now();
    let answer = linkgate.get(&path_of(&link));
    let took = start.elapsed();
    assert_eq!((answer.status, answer.body.len()), (200, 300_000));
    assert_eq!(answer.header("content-length").as_deref(), Some("300000"));
    // The first second's worth goes out at once.
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert_eq!(linkgate.get_as("HEAD", &path_of(&link), &[]).status, 200);
    let range = linkgate.get_as("GET", &path_of(&link), &[("Range", "bytes=0-9")]);
    assert_eq!((range.status, range.body.len()), (206, 10));
}

#[test]
fn an_edge_is_told_the_rate() {
    let linkgate = Builder::new().edge("nginx").start();
    let link = linkgate.mint(&json!({ "path": "a.bin", "rate_limit": 262_144 }));
    assert_eq!(linkgate.get(&path_of(&link)).header("x-accel-limit-rate").as_deref(), Some("262144"));
}

#[test]
fn a_rate_is_from_one_byte_to_a_terabyte_a_second() {
    let linkgate = Builder::new().start();
    let try_rate = |rate| {
        let wish = json!({ "path": "a.bin", "rate_limit": rate });
        linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links", &wish).status
    };
    assert_eq!([1, 1_000_000_000_000_u64].map(try_rate), [201, 201]);
    assert_eq!([0, 1_000_000_000_001_u64].map(try_rate), [400, 400]);
}

#[test]
fn a_download_that_was_begun_may_be_gone_on_with_after_the_end_and_never_once_it_is_revoked() {
    let linkgate = Builder::new().setting("resume_grace = \"1h\"").start();
    linkgate.file("a.bin", b"0123456789");
    let link = linkgate.mint(&json!({ "path": "a.bin", "expires_in": 1 }));
    let get = |headers: &[(&str, &str)]| linkgate.get_as("GET", &path_of(&link), headers).status;
    eventually("the link has expired", || get(&[]) == 410);
    assert_eq!(get(&[("Range", "bytes=4-")]), 206);
    assert_eq!(get(&[("Range", "bytes=4-6")]), 206);
    for begin in ["bytes=0-", "bytes=-5", "bytes=4-5,7-8", "items=4-", "bytes=x-", "bytes=00-"] {
        assert_eq!(get(&[("Range", begin)]), 410, "{begin}");
    }
    assert_eq!(get(&[("Range", "bytes=4-"), ("Range", "bytes=0-")]), 410);
    assert_eq!(linkgate.get_as("HEAD", &path_of(&link), &[("Range", "bytes=4-")]).status, 410);
    linkgate.revoke(&json!({ "link": link["url"] }));
    assert_eq!(get(&[("Range", "bytes=4-")]), 410);
}

#[test]
fn without_a_grace_nothing_is_gone_on_with_after_the_end() {
    let linkgate = Builder::new().start();
    linkgate.file("a.bin", b"0123456789");
    let link = linkgate.mint(&json!({ "path": "a.bin", "expires_in": 1 }));
    eventually("the link has expired", || linkgate.status(&path_of(&link)) == 410);
    assert_eq!(linkgate.get_as("GET", &path_of(&link), &[("Range", "bytes=4-")]).status, 410);
}
