//! Mint, download through nginx, revoke: the main job, with the shipped nginx configuration.

use serde_json::{Value, json};

use crate::support::ODD_NAMES;
use crate::support::http::raw;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::nginx::{Nginx, Variant};
use crate::support::redis::Redis;

const BOTH: [Variant; 2] = [Variant::Redirect, Variant::AuthRequest];

struct Site {
    linkgate: Linkgate,
    nginx: Nginx,
    _redis: Redis,
}

/// nginx, Linkgate and Redis, with one file.
fn site(variant: Variant) -> Site {
    let redis = Redis::start();
    let linkgate = Builder::new().edge("nginx").redis(&redis.url()).start();
    linkgate.file("users/42/cat 1.jpg", PICTURE);
    let nginx = Nginx::start(&linkgate, variant);
    Site { linkgate, nginx, _redis: redis }
}

const PICTURE: &[u8] = b"0123456789 these are the bytes of a picture";

#[test]
fn a_link_downloads_the_right_bytes_under_the_right_name_and_type() {
    for variant in BOTH {
        let site = site(variant);
        let answer = site.nginx.get(&site.linkgate.link("users/42/cat 1.jpg"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.body, PICTURE);
        assert_eq!(answer.header("content-type").as_deref(), Some("image/jpeg"));
        assert_eq!(answer.header("content-disposition").as_deref(), Some("attachment; filename=\"cat 1.jpg\""));
        let cache = answer.header("cache-control").unwrap();
        assert!(cache.starts_with("private, max-age=3"), "{cache}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"));
        for (name, _) in &answer.headers {
            assert!(
                !name.to_lowercase().starts_with("x-accel") && !name.to_lowercase().starts_with("x-linkgate"),
                "{name}"
            );
        }
    }
}

#[test]
fn what_the_link_says_about_name_type_and_disposition_counts() {
    for variant in BOTH {
        let site = site(variant);
        let link = site.linkgate.mint(&json!({
            "path": "users/42/cat 1.jpg", "filename": "Кот \"1\".png", "content_type": "image/png", "disposition": "inline",
        }));
        let answer = site.nginx.get(&path_of(&link));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type").as_deref(), Some("image/png"));
        assert_eq!(
            answer.header("content-disposition").as_deref(),
            Some("inline; filename=\"___ _1_.png\"; filename*=UTF-8''%D0%9A%D0%BE%D1%82%20%221%22.png")
        );
    }
}

#[test]
fn file_names_are_whatever_people_call_their_files() {
    for variant in BOTH {
        let site = site(variant);
        for name in ODD_NAMES.iter().copied() {
            site.linkgate.file(name, name.as_bytes());
            let answer = site.nginx.get(&site.linkgate.link(name));
            assert_eq!((answer.status, answer.text()), (200, name.to_owned()), "{name}");
        }
        let longest = format!("{}/{}", "é".repeat(120), "漢".repeat(84));
        site.linkgate.file(&longest, b"long");
        assert_eq!(site.nginx.get(&site.linkgate.link(&longest)).status, 200);
    }
}

#[test]
fn ranges_conditions_and_head_are_answered_as_for_any_file() {
    for variant in BOTH {
        let site = site(variant);
        let link = site.linkgate.link("users/42/cat 1.jpg");
        let get = |headers: &[(&str, &str)]| site.nginx.request("GET", &link, headers);
        let whole = get(&[]);
        let (etag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());

        let part = get(&[("Range", "bytes=2-5")]);
        assert_eq!((part.status, part.text()), (206, "2345".to_owned()));
        assert_eq!(part.header("content-range").unwrap(), format!("bytes 2-5/{}", PICTURE.len()));
        assert_eq!(get(&[("Range", "bytes=2-5"), ("If-Range", &etag)]).status, 206);
        assert_eq!(get(&[("Range", "bytes=2-5"), ("If-Range", "\"other\"")]).status, 200);
        assert_eq!(get(&[("Range", "bytes=9999-")]).status, 416);
        assert_eq!(get(&[("Range", "bytes=0-0,2-3")]).status, 200);

        let unchanged = get(&[("If-None-Match", &etag)]);
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        assert_eq!(get(&[("If-Modified-Since", &modified)]).status, 304);

        let head = site.nginx.request("HEAD", &link, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length").unwrap(), PICTURE.len().to_string());
        assert_eq!(head.header("content-disposition"), whole.header("content-disposition"));
    }
}

#[test]
fn the_hidden_folder_is_nowhere_to_be_found() {
    let spellings = [
        "/media/users/42/cat%201.jpg",
        "//media/users/42/cat%201.jpg",
        "/./media/users/42/cat%201.jpg",
        "/x/../media/users/42/cat%201.jpg",
        "/%6dedia/users/42/cat%201.jpg",
        "/media%2Fusers%2F42%2Fcat%201.jpg",
        "/media//users/42/cat%201.jpg",
        "/media/./users/42/cat%201.jpg",
        "/media/x/../users/42/cat%201.jpg",
        "/media/",
        "/media",
        "/media../",
        "/media/users",
        "/media/users/",
        "/MEDIA/users/42/cat%201.jpg",
        "/media/users/42/cat%201.jpg?x=1",
        "http://test/media/users/42/cat%201.jpg",
    ];
    for variant in BOTH {
        let site = site(variant);
        let absent = site.nginx.get("/nothing");
        for spelling in spellings {
            for method in ["GET", "HEAD", "POST", "OPTIONS"] {
                let answer =
                    site.nginx.request(method, spelling, &[("X-Accel-Redirect", "/media/users/42/cat%201.jpg")]);
                assert!(
                    answer.status == 404 || (matches!(method, "POST" | "OPTIONS") && answer.status == 405),
                    "{method} {spelling}: {}",
                    answer.status
                );
                if method == "GET" {
                    assert_eq!(answer.body, absent.body, "{spelling}");
                }
            }
        }
    }
}

#[test]
fn a_missing_file_is_a_clean_404_and_so_are_folders_and_symbolic_links() {
    for variant in BOTH {
        let site = site(variant);
        site.linkgate.file("secret.txt", b"x");
        std::os::unix::fs::symlink("/etc/hostname", site.linkgate.media().join("out.txt")).unwrap();
        std::os::unix::fs::symlink("/etc", site.linkgate.media().join("folder")).unwrap();
        for path in ["gone.jpg", "users", "users/42", "out.txt", "folder/hostname", "secret.txt/x"] {
            let answer = site.nginx.get(&site.linkgate.link(path));
            assert_eq!(answer.status, 404, "{path}");
            for name in ["content-disposition", "cache-control", "location", "etag"] {
                assert_eq!(answer.header(name), None, "{path}: {name}");
            }
            assert!(!answer.text().contains("media"), "{path}");
        }
    }
}

#[test]
fn every_kind_of_revocation_bites_on_the_next_request_and_can_be_lifted() {
    for variant in BOTH {
        let site = site(variant);
        let linkgate = &site.linkgate;
        let link = linkgate.mint(&json!({ "path": "users/42/cat 1.jpg", "subject": "user-42" }));
        let path = path_of(&link);
        let client =
            linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link["url"] })).json()["client"].clone();
        let revocations = [
            json!({ "link": link["url"] }),
            json!({ "link": link["token"] }),
            json!({ "id": link["id"] }),
            json!({ "subject": "user-42" }),
            json!({ "path": "users/42/cat 1.jpg" }),
            json!({ "path_prefix": "users/" }),
            json!({ "path_prefix": "users/42/", "collection": "image" }),
            json!({ "path_prefix": "/" }),
            json!({ "client": client }),
            json!({ "key": 1 }),
            json!({ "everything": true }),
            json!({ "everything": true, "issued_before": null }),
        ];
        for what in revocations {
            assert_eq!(site.nginx.get(&path).status, 200, "before {what}");
            let revocation = linkgate.revoke(&what);
            let refused = site.nginx.get(&path);
            assert_eq!(refused.status, 410, "{what}");
            assert_eq!(refused.header("cache-control").as_deref(), Some("no-store"));
            assert_eq!(refused.header("content-disposition"), None);
            linkgate.reinstate(&revocation);
            assert_eq!(site.nginx.get(&path).status, 200, "after {what}");
        }
        let unrelated =
            [json!({ "subject": "user-4" }), json!({ "path_prefix": "users/4/" }), json!({ "path": "users/42/cat" })];
        for what in unrelated {
            linkgate.revoke(&what);
            assert_eq!(site.nginx.get(&path).status, 200, "{what} has nothing to do with it");
        }
    }
}

#[test]
fn a_refusal_is_a_problem_for_programs_and_a_page_for_people() {
    let site = site(Variant::Redirect);
    let link = site.linkgate.link("users/42/cat 1.jpg");
    site.linkgate.revoke(&json!({ "everything": true }));
    let problem = site.nginx.get(&link);
    assert_eq!(problem.header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(problem.json()["type"], "urn:linkgate:problem:revoked");
    let page = site.nginx.request("GET", &link, &[("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")]);
    assert_eq!(page.status, 410);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("This link has been withdrawn"));
}

#[test]
fn every_broken_link_gets_the_same_403() {
    for variant in BOTH {
        let site = site(variant);
        let link = site.linkgate.link("users/42/cat 1.jpg");
        let token = link.rsplit('/').next().unwrap();
        let flipped = format!("{link}A");
        let cut = &link[..link.len() - 4];
        let broken: Vec<String> = vec![
            flipped,
            cut.to_owned(),
            "/download/image/x".into(),
            "/download/image/".into(),
            format!("/download/other/{token}"),
            format!("/download/image/{token}/"),
            format!("/download/image/%41{}", &token[1..]),
        ];
        let answers: Vec<_> = broken.iter().map(|path| (path, site.nginx.get(path))).collect();
        for (path, answer) in &answers {
            let expected = if answer.status == 404 && matches!(variant, Variant::AuthRequest) { 404 } else { 403 };
            assert_eq!(answer.status, expected, "{path}: {}", answer.text());
            assert_eq!(answer.header("content-disposition"), None);
        }
        let too_long = format!("/download/image/{}", "A".repeat(2049));
        let status = site.nginx.get(&too_long).status;
        assert!(status == 414 || matches!(variant, Variant::AuthRequest), "{status}");
    }
}

#[test]
fn only_get_and_head_download() {
    for variant in BOTH {
        let site = site(variant);
        let link = site.linkgate.link("users/42/cat 1.jpg");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
            let answer = site.nginx.request(method, &link, &[]);
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.header("allow").as_deref(), Some("GET, HEAD"), "{method}");
        }
    }
}

#[test]
fn no_log_holds_a_link() {
    for variant in BOTH {
        let site = site(variant);
        let link = site.linkgate.mint(&json!({ "path": "users/42/cat 1.jpg" }));
        let path = path_of(&link);
        let token = link["token"].as_str().unwrap();
        let spoiled = format!("{path}x");
        for asked in [&path, &spoiled, &format!("/{path}")] {
            site.nginx.request("GET", asked, &[("Referer", &format!("http://x{path}"))]);
        }
        let _ = raw(&site.nginx.place(), format!("GET {path} HTTP/9.9\r\n\r\n").as_bytes());
        site.linkgate.revoke(&json!({ "link": token }));
        assert_eq!(site.nginx.get(&path).status, 410);
        let logs = site.nginx.log() + &site.linkgate.log();
        assert!(!logs.contains(&token[40..]), "{logs}");
        assert!(logs.contains(link["id"].as_str().unwrap()), "the id is there instead: {logs}");
        assert!(!logs.contains("cat 1"), "nor does a log hold a path: {logs}");
    }
}

#[test]
fn a_link_bound_to_networks_works_from_there_only() {
    let site = site(Variant::Redirect);
    let bound = |networks: Value| {
        path_of(&site.linkgate.mint(&json!({ "path": "users/42/cat 1.jpg", "client_networks": networks })))
    };
    let (inside, outside) = (bound(json!(["127.0.0.0/8", "::1/128"])), bound(json!(["203.0.113.0/24"])));
    // The verifier behind a trusted socket believes X-Real-IP, which the edge sets.
    let from = |address: &str, path: &str| {
        crate::support::http::request(&site.linkgate.place(), "GET", path, &[("X-Real-IP", address)], b"").status
    };
    assert_eq!(from("127.0.0.1", &inside), 200);
    assert_eq!(from("203.0.113.9", &inside), 403);
    assert_eq!(from("203.0.113.9", &outside), 200);
    assert_eq!(from("not an address", &outside), 403);
}

#[test]
fn a_verifier_that_is_gone_is_a_503_and_nothing_else() {
    for variant in BOTH {
        let mut site = site(variant);
        let link = site.linkgate.link("users/42/cat 1.jpg");
        site.linkgate.process.kill();
        let answer = site.nginx.get(&link);
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
        site.linkgate.launch();
        site.linkgate.until_ready();
        assert_eq!(site.nginx.get(&link).status, 200);
    }
}

#[test]
fn the_verifiers_own_answer_is_what_the_contract_says() {
    let site = site(Variant::Redirect);
    let answer = site.linkgate.get(&site.linkgate.link("users/42/cat 1.jpg"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-accel-redirect").as_deref(), Some("/media/users/42/cat%201.jpg"));
    assert_eq!(answer.header("content-length").as_deref(), Some("0"));
    assert_eq!(answer.header("content-disposition").as_deref(), Some("attachment; filename=\"cat 1.jpg\""));
    assert!(answer.header("cache-control").unwrap().starts_with("private, max-age="));
    let allowed = [
        "x-accel-redirect",
        "content-length",
        "content-disposition",
        "cache-control",
        "content-security-policy",
        "x-content-type-options",
        "referrer-policy",
        "x-linkgate-token-id",
        "date",
        "connection",
    ];
    for (name, _) in &answer.headers {
        assert!(allowed.contains(&name.to_lowercase().as_str()), "{name}");
    }
    let longest = format!("{}/{}", vec!["漢".repeat(80); 4].join("/"), "é".repeat(20));
    let head: usize =
        site.linkgate.get(&site.linkgate.link(&longest)).headers.iter().map(|(n, v)| n.len() + v.len() + 4).sum();
    assert!(head < 6000, "the head of a permit has {head} bytes");
}

#[test]
fn an_edge_that_only_asks_is_told_yes_or_no_and_never_where() {
    let site = site(Variant::AuthRequest);
    let link = site.linkgate.link("users/42/cat 1.jpg");
    let ask =
        |headers: &[(&str, &str)]| crate::support::http::request(&site.linkgate.place(), "GET", "/auth", headers, b"");
    let yes = ask(&[("X-Original-URI", &link)]);
    assert_eq!(yes.status, 204);
    assert_eq!(yes.header("x-accel-redirect"), None);
    assert_eq!(yes.header("x-linkgate-path").as_deref(), Some("users/42/cat 1.jpg"));
    assert_eq!(ask(&[("X-Forwarded-Uri", &link)]).status, 204);
    assert_eq!(ask(&[]).status, 401);
    assert_eq!(ask(&[("X-Original-URI", &link), ("X-Forwarded-Uri", "/download/image/x")]).status, 401);
    for odd in [
        format!("/{link}"),
        link.replace("/image/", "/x/../image/"),
        link.replace("image", "%69mage"),
        format!("{link}%20"),
    ] {
        let no = ask(&[("X-Original-URI", &odd)]);
        assert_eq!((no.status, no.header("x-linkgate-reason").as_deref()), (403, Some("invalid")), "{odd}");
    }
    site.linkgate.revoke(&json!({ "everything": true }));
    let no = ask(&[("X-Original-URI", &link)]);
    assert_eq!((no.status, no.header("x-linkgate-reason").as_deref()), (403, Some("revoked")));
}

#[test]
fn a_counted_link_is_one_download_for_each_client_however_often_it_asks() {
    for variant in [Variant::Redirect, Variant::AuthRequest] {
        let linkgate = Builder::new().edge("nginx").start();
        linkgate.file("film.mp4", &[7; 100_000]);
        let nginx = Nginx::start(&linkgate, variant);
        let path = path_of(&linkgate.mint(&json!({ "path": "film.mp4", "max_downloads": 2 })));
        let ask = |client, method, range| {
            let headers: &[(&str, &str)] = &[("X-Test-Client", client), ("Range", range)];
            let headers = if range.is_empty() { &headers[..1] } else { headers };
            nginx.request(method, &path, headers).status
        };
        assert_eq!(ask("203.0.113.1", "HEAD", ""), 200, "looking takes nothing");
        assert_eq!(ask("203.0.113.1", "GET", ""), 200);
        assert_eq!(ask("203.0.113.1", "GET", "bytes=500-"), 206, "a player goes on");
        assert_eq!(ask("203.0.113.1", "GET", "bytes=99999-"), 206);
        assert_eq!(ask("203.0.113.3", "HEAD", ""), 200);
        assert_eq!(ask("203.0.113.2", "GET", "bytes=0-9"), 206);
        assert_eq!(ask("203.0.113.3", "GET", ""), 410, "both are taken");
        assert_eq!(ask("203.0.113.3", "HEAD", ""), 410);
        assert_eq!(ask("203.0.113.1", "GET", ""), 200, "whoever has begun may go on");
    }
}
