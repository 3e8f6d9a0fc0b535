//! Files of people whom the owner of the host need not trust: what a browser may do with them, and what those who ask
//! for them may say about themselves.

use serde_json::json;

use crate::support::eventually;
use crate::support::http::Response;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::nginx::{Nginx, Variant};

const POLICY: &str = "content-security-policy";

/// What stands before the files.
enum Front {
    Direct,
    Nginx(Nginx),
}

impl Front {
    fn request(&self, linkgate: &Linkgate, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        match self {
            Self::Direct => linkgate.get_as(method, path, headers),
            Self::Nginx(nginx) => nginx.request(method, path, headers),
        }
    }
}

/// A Linkgate with further settings, its files sent by itself and by both shipped configurations of nginx in turn.
fn fronts(setting: &str) -> Vec<(Linkgate, Front)> {
    let direct = (Builder::new().setting(setting).start(), Front::Direct);
    let behind = [Variant::Redirect, Variant::AuthRequest].map(|variant| {
        let linkgate = Builder::new().edge("nginx").setting(setting).start();
        let nginx = Nginx::start(&linkgate, variant);
        (linkgate, Front::Nginx(nginx))
    });
    std::iter::once(direct).chain(behind).collect()
}

#[test]
fn whatever_a_browser_would_run_is_sent_in_a_sandbox_by_every_edge() {
    for (linkgate, front) in fronts("disposition = \"inline\"") {
        let send = |path: &str, content_type: Option<&str>| {
            linkgate.file(path, b"<script>document.title = 'run'</script>");
            let mut wish = json!({ "path": path });
            if let Some(content_type) = content_type {
                wish["content_type"] = json!(content_type);
            }
            let path = path_of(&linkgate.mint(&wish));
            let whole = front.request(&linkgate, "GET", &path, &[]);
            let part = front.request(&linkgate, "GET", &path, &[("Range", "bytes=2-5")]);
            assert_eq!((whole.status, part.status), (200, 206));
            let policies = [whole, part].map(|answer| answer.header(POLICY));
            assert_eq!(policies[0], policies[1]);
            policies[0].clone().unwrap_or_default()
        };
        for (path, content_type) in [
            ("a.html", None),
            ("a.HTM", None),
            ("a.svg", None),
            ("a.xml", None),
            ("a.xhtml", None),
            ("a", None),
            ("a.unknown", None),
            ("a.jpg", Some("text/html")),
            ("a.png", Some("image/svg+xml; charset=utf-8")),
            ("a.pdf", Some("application/xml")),
        ] {
            let policy = send(path, content_type);
            assert!(
                policy.contains("sandbox") && policy.contains("default-src 'none'"),
                "{path} {content_type:?}: {policy}"
            );
            assert!(!policy.contains("allow-scripts"), "{policy}");
        }
        for (path, content_type) in [
            ("b.jpg", None),
            ("b.mp4", None),
            ("b.pdf", None),
            ("b", Some("video/webm")),
            ("b.html", Some("application/pdf")),
        ] {
            assert_eq!(send(path, content_type), "", "{path} {content_type:?}: its viewer would be locked out");
        }
    }
}

#[test]
fn a_file_that_is_missing_has_no_policy_of_a_file() {
    for (linkgate, front) in fronts("") {
        let answer = front.request(&linkgate, "GET", &linkgate.link("none.html"), &[]);
        let policy = answer.header(POLICY).unwrap_or_default();
        assert!(answer.status == 404 && !policy.contains("sandbox"), "{answer:?}");
    }
}

#[test]
fn the_rest_of_a_file_is_all_that_an_ended_link_is_good_for() {
    for (linkgate, front) in fronts("resume_grace = \"1h\"") {
        linkgate.file("a.bin", b"0123456789");
        let path = path_of(&linkgate.mint(&json!({ "path": "a.bin", "expires_in": 1 })));
        let get = |headers: &[(&str, &str)]| front.request(&linkgate, "GET", &path, headers);
        let tag = get(&[]).header("etag").unwrap();
        eventually("the link has ended", || get(&[]).status == 410);
        let rest = get(&[("Range", "bytes=4-")]);
        assert_eq!((rest.status, rest.text()), (206, "456789".to_owned()));
        for void in ["\"another\"", "Thu, 01 Jan 1970 00:00:00 GMT", "W/\"weak\"", "x"] {
            assert_eq!(get(&[("Range", "bytes=4-"), ("If-Range", void)]).status, 410, "{void}");
        }
        let held = get(&[("Range", "bytes=4-"), ("If-Range", &tag)]).status;
        match front {
            Front::Direct => {
                assert_eq!(held, 206, "Linkgate knows that it holds");
                assert_eq!(get(&[("Range", "bytes=4-"), ("If-Range", "")]).status, 410);
            }
            Front::Nginx(_) => assert_eq!(held, 410, "only nginx knows whether it holds"),
        }
        assert_eq!(get(&[("Range", "bytes=-3")]).status, 410, "the last bytes may be all of them");
    }
}

#[test]
fn a_client_that_adds_a_method_of_its_own_is_counted_all_the_same() {
    let linkgate = Builder::new().start();
    linkgate.file("a.bin", b"x");
    let ask = |path: &str, client: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("X-Forwarded-Uri", path), ("X-Real-IP", client)];
        headers.extend_from_slice(more);
        linkgate.get_as("GET", "/auth", &headers).status
    };
    for methods in [
        &[("X-Forwarded-Method", "GET"), ("X-Original-Method", "HEAD")][..],
        &[("X-Original-Method", "HEAD"), ("X-Forwarded-Method", "GET")],
        &[("X-Forwarded-Method", "HEAD"), ("X-Forwarded-Method", "GET")],
        &[("X-Forwarded-Method", "GET"), ("X-Forwarded-Method", "HEAD")],
        &[("X-Original-Method", "HEAD"), ("X-Original-Method", "")],
        &[("X-Original-Method", "head")],
        &[],
    ] {
        let path = path_of(&linkgate.mint(&json!({ "path": "a.bin", "max_downloads": 1 })));
        let asked = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map(|client| ask(&path, client, methods));
        assert_eq!(asked, [204, 403, 403], "{methods:?}");
    }
    let path = path_of(&linkgate.mint(&json!({ "path": "a.bin", "max_downloads": 1 })));
    for methods in
        [&[("X-Original-Method", "HEAD")][..], &[("X-Original-Method", "HEAD"), ("X-Forwarded-Method", "HEAD")]]
    {
        assert_eq!(ask(&path, "203.0.113.9", methods), 204, "looking takes nothing");
    }
    assert_eq!(ask(&path, "203.0.113.1", &[]), 204);
}
