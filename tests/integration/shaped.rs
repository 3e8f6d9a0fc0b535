//! Links that shape their download: how fast, and how long it may be gone on with.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::edges::{Edge, Site, sites};
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

/// Every combination of range, `If-Range` and condition, at every edge.
#[test]
fn after_the_end_no_request_gets_the_first_byte() {
    for Site { name, linkgate, edge } in sites("resume_grace = \"1h\"") {
        let is_nginx = matches!(edge, Edge::Nginx(_));
        linkgate.file("a.bin", b"0123456789");
        let etag = edge.request("GET", &linkgate.link("a.bin"), &[]).header("etag").unwrap();
        let link = path_of(&linkgate.mint(&json!({ "path": "a.bin", "expires_in": 1 })));
        let get = |headers: &[(&str, &str)]| edge.request("GET", &link, headers);
        eventually("the link has expired", || get(&[]).status == 410);
        assert_eq!(
            (get(&[("Range", "bytes=4-")]).status, get(&[("Range", "bytes=4-")]).text()),
            (206, "456789".into())
        );
        let ranges = [
            "bytes=1-",
            "bytes=0-",
            "bytes=-3",
            "bytes=-99",
            "bytes=1-,0-",
            "bytes=0-0,1-",
            "bytes=-1,1-",
            "bytes=1-2,4-5",
            "bytes=1-,",
            "bytes=,1-",
            "bytes=\t1-",
            "bytes=00-",
            "bytes=+1-",
            "bytes=1-0",
            "bytes= 1-",
            "Bytes=1-",
            "bytes=99-",
            "items=1-",
            "bytes=1-99999999999999999999",
            "bytes=99999999999999999999-",
            "",
        ];
        let conditions = [
            None,
            Some(""),
            Some("\"x\""),
            Some("W/\"x\""),
            Some("x"),
            Some("Thu, 01 Jan 1970 00:00:00 GMT"),
            Some("Fri, 01 Jan 2100 00:00:00 GMT"),
            Some(&etag),
        ];
        for range in ranges {
            for condition in conditions {
                for unless in [&[][..], &[("If-None-Match", "\"y\"")], &[("If-Match", "*")]] {
                    let mut headers = vec![("Range", range)];
                    headers.extend(condition.map(|condition| ("If-Range", condition)));
                    headers.extend(unless);
                    // nginx obeys an `If-Range` without a value, and cannot say that it is there.
                    if condition == Some("") && is_nginx {
                        continue;
                    }
                    let answer = get(&headers);
                    assert!(matches!(answer.status, 206 | 410 | 416), "{name} {headers:?}: {}", answer.status);
                    assert!(
                        answer.status != 206 || !answer.body.contains(&b'0'),
                        "{name} {headers:?}: {}",
                        answer.text()
                    );
                    assert!(answer.status != 410 || answer.json()["status"] == 410, "{name} {headers:?}");
                    // Only nginx knows whether its file is the one that the client means.
                    let is_known = condition.is_none() || !is_nginx;
                    assert!(answer.status == 410 || is_known, "{name} {headers:?}: {}", answer.status);
                }
            }
        }
        for headers in [
            &[("Range", "bytes=0-"), ("Range", "bytes=4-")][..],
            &[("Range", "bytes=4-"), ("Range", "bytes=0-")],
            &[("Range", "bytes=4-"), ("If-Range", &etag), ("If-Range", "\"x\"")],
            &[("Range", "bytes=4-"), ("If-Range", "\"x\""), ("If-Range", &etag)],
            &[("Range", "bytes=4-"), ("If-None-Match", &etag)],
            &[("If-None-Match", &etag)],
            &[("If-None-Match", "*")],
            &[("X-Original-Range", "bytes=4-")],
        ] {
            let answer = get(headers);
            assert!(matches!(answer.status, 206 | 304 | 400 | 410), "{name} {headers:?}: {}", answer.status);
            assert!(answer.status != 206 || answer.text() == "456789", "{name} {headers:?}: {}", answer.text());
        }
        let head = edge.request("HEAD", &link, &[("Range", "bytes=4-")]);
        assert_eq!(head.status, 410, "{name}");
    }
}

#[test]
fn a_file_that_is_unchanged_is_gone_on_with_after_the_end_where_linkgate_sends_it() {
    let linkgate = Builder::new().setting("resume_grace = \"1h\"").start();
    linkgate.file("a.bin", b"0123456789");
    let etag = linkgate.get(&linkgate.link("a.bin")).header("etag").unwrap();
    let link = linkgate.mint(&json!({ "path": "a.bin", "expires_in": 1 }));
    let go_on =
        |condition: &str| linkgate.get_as("GET", &path_of(&link), &[("Range", "bytes=4-"), ("If-Range", condition)]);
    eventually("the link has expired", || linkgate.status(&path_of(&link)) == 410);
    assert_eq!((go_on(&etag).status, go_on(&etag).text()), (206, "456789".into()));
    let over = go_on("\"another\"");
    assert_eq!((over.status, over.json()["type"].as_str()), (410, Some("urn:linkgate:problem:expired")));
    assert_eq!(over.header("x-linkgate-token-id").as_deref(), link["id"].as_str());
    assert_eq!(over.header("etag"), None, "nothing is said about the file");
}
