//! What a client says about itself: its address, its method, the link it means. Only its edge's word counts.

use serde_json::json;

use crate::support::edges::{Edge, Site, sites};
use crate::support::linkgate::{Builder, Linkgate, path_of};

/// Somewhere in the network that a link is bound to.
const INSIDE: &str = "203.0.113.9";

#[test]
fn nothing_that_a_client_adds_gets_it_more_from_a_shipped_edge() {
    for Site { name, linkgate, edge } in sites("") {
        for file in ["a.txt", "b.txt"] {
            linkgate.file(file, file.as_bytes());
        }
        let (mine, others) = (linkgate.link("a.txt"), linkgate.link("b.txt"));
        let mint = |more: serde_json::Value| {
            let mut wish = more;
            wish["path"] = "a.txt".into();
            path_of(&linkgate.mint(&wish))
        };
        let bound = mint(json!({ "client_networks": ["203.0.113.0/24"] }));
        let forwarded = format!("for={INSIDE}");
        let all = [
            ("X-Real-IP", INSIDE),
            ("X-Forwarded-For", INSIDE),
            ("Forwarded", &forwarded),
            ("X_Real_IP", INSIDE),
            ("X-Original-Method", "HEAD"),
            ("X-Forwarded-Method", "HEAD"),
            ("X-HTTP-Method-Override", "HEAD"),
            ("X-Original-URI", &others),
            ("X-Forwarded-Uri", &others),
            ("X-Linkgate-Path", "b.txt"),
            ("X-Linkgate-Delivery", "plain"),
            ("X-Linkgate-Content-Type", "text/html"),
            ("X-Accel-Redirect", "/media/b.txt"),
            ("X-Accel-Limit-Rate", "1"),
        ];
        let plain = edge.request("GET", &mine, &[]);
        for added in all.chunks(1).chain([&all[..]]) {
            assert_eq!(edge.request("GET", &bound, added).status, 403, "{name} {added:?}");
            assert_eq!(edge.request("GET", &format!("{mine}x"), added).status, 403, "{name} {added:?}");
            let answer = edge.request("GET", &mine, added);
            assert_eq!((answer.status, answer.text().as_str()), (200, "a.txt"), "{name} {added:?}");
            for field in ["content-type", "content-disposition", "content-security-policy"] {
                assert_eq!(answer.header(field), plain.header(field), "{name} {added:?}");
            }
            // The same client gets what it has begun again: only nginx tells one client of this test from another.
            if let Edge::Nginx(_) = &edge {
                let counted = mint(json!({ "max_downloads": 1 }));
                let from =
                    |client| edge.request("GET", &counted, &[&[("X-Test-Client", client)], added].concat()).status;
                assert_eq!(["198.51.100.1", "198.51.100.2"].map(from), [200, 410], "{name} {added:?}");
            }
        }
    }
}

#[test]
fn an_address_in_doubt_is_inside_no_network() {
    let single = Builder::new().start();
    let list = Builder::new().environment("LINKGATE_LISTEN__CLIENT_ADDRESS_HEADER", "x-forwarded-for").start();
    let ask = |linkgate: &Linkgate, name: &str, lines: &[&str]| {
        let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "client_networks": ["203.0.113.0/24"] })));
        linkgate.file("a.txt", b"x");
        let headers: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        linkgate.get_as("GET", &link, &headers).status
    };
    const OUTSIDE: &str = "198.51.100.1";
    for (lines, of_single, of_list) in [
        (&[INSIDE][..], 200, 200),
        (&[OUTSIDE], 403, 403),
        (&[INSIDE, INSIDE], 200, 200),
        // The last line is the edge's own where lines are a list; elsewhere either may be the client's.
        (&[OUTSIDE, INSIDE], 403, 200),
        (&["", INSIDE], 403, 200),
        (&[INSIDE, OUTSIDE], 403, 403),
        (&[INSIDE, ""], 403, 403),
        (&["198.51.100.1, 203.0.113.9"], 200, 200),
        (&["203.0.113.9, 198.51.100.1"], 403, 403),
        (&["203.0.113.9,"], 403, 403),
        (&["203.0.113.9:80"], 403, 403),
        (&["for=203.0.113.9"], 403, 403),
        (&["203.0.113.009"], 403, 403),
        (&["0xcb.0.113.9"], 403, 403),
        (&["::ffff:203.0.113.9"], 200, 200),
        (&["unknown"], 403, 403),
        (&[], 403, 403),
    ] {
        assert_eq!(ask(&single, "X-Real-IP", lines), of_single, "{lines:?}");
        assert_eq!(ask(&list, "X-Forwarded-For", lines), of_list, "{lines:?}");
        assert_eq!(ask(&list, "X-Real-IP", lines), 403, "a header that the edge does not set: {lines:?}");
    }
}
