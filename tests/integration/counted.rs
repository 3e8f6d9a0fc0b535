//! Links that count their downloads: never one too many, and real clients do not break.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::fleet::Fleet;
use crate::support::http::Response;
use crate::support::linkgate::{Builder, Linkgate, path_of};
use crate::support::redis::Redis;

crate::support::in_each!([
    of_fifty_clients_at_once_exactly_as_many_as_were_allowed_get_through,
    a_head_request_never_counts,
    a_download_in_pieces_counts_once,
    a_client_that_asks_again_goes_on_with_its_download,
    a_refused_request_does_not_count,
    a_revoked_link_is_revoked_whatever_is_left_of_it,
    what_was_used_stays_used_after_a_restart,
    every_link_has_a_count_of_its_own,
]: embedded = super::Site::embedded(), over_redis = super::Site::over_redis());

struct Site {
    linkgate: Linkgate,
    redis: Option<Redis>,
}

impl Site {
    fn embedded() -> Self {
        Self::new(Builder::new(), None)
    }

    fn over_redis() -> Self {
        let redis = Redis::logged();
        Self::new(Builder::new().redis(&redis.url()), Some(redis))
    }

    fn new(builder: Builder, redis: Option<Redis>) -> Self {
        let linkgate = builder.start();
        linkgate.file("a.txt", b"0123456789");
        Self { linkgate, redis }
    }

    fn mint(&self, downloads: u32) -> Value {
        self.linkgate.mint(&json!({ "path": "a.txt", "max_downloads": downloads }))
    }

    /// Everything is killed and starts again.
    fn restart(&mut self) {
        self.linkgate.process.kill();
        if let Some(redis) = &mut self.redis {
            redis.stop();
            redis.launch();
        }
        self.linkgate.launch();
        self.linkgate.until_ready();
    }

    fn ask(&self, method: &str, link: &Value, client: u8, headers: &[(&str, &str)]) -> Response {
        ask(&self.linkgate, method, link, client, headers)
    }

    fn get(&self, link: &Value, client: u8) -> u16 {
        self.ask("GET", link, client, &[]).status
    }
}

/// A request of one of many clients, as an edge passes it on.
fn ask(linkgate: &Linkgate, method: &str, link: &Value, client: u8, headers: &[(&str, &str)]) -> Response {
    let address = format!("192.0.2.{client}");
    let headers = [&[("X-Real-IP", address.as_str())], headers].concat();
    linkgate.get_as(method, &path_of(link), &headers)
}

/// How many of many clients got which answer, all asking at once, each at one of the verifiers.
fn rush(verifiers: &[&Linkgate], link: &Value, clients: u8) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (1..=clients)
            .map(|client| {
                let verifier = verifiers[usize::from(client) % verifiers.len()];
                scope.spawn(move || ask(verifier, "GET", link, client, &[]).status)
            })
            .collect();
        for answer in asking {
            *answers.entry(answer.join().unwrap()).or_default() += 1;
        }
    });
    answers
}

#[track_caller]
fn is_used_up(answer: &Response) {
    assert_eq!(answer.status, 410, "{}", answer.text());
    assert_eq!(answer.json()["type"], "urn:linkgate:problem:used-up");
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
}

fn of_fifty_clients_at_once_exactly_as_many_as_were_allowed_get_through(site: Site) {
    for _ in 0..3 {
        let link = site.mint(7);
        assert_eq!(rush(&[&site.linkgate], &link, 50), BTreeMap::from([(200, 7), (410, 43)]));
        is_used_up(&site.ask("GET", &link, 99, &[]));
    }
}

fn a_head_request_never_counts(site: Site) {
    let link = site.mint(1);
    for client in 1..=20 {
        assert_eq!(site.ask("HEAD", &link, client, &[]).status, 200);
    }
    assert_eq!(site.get(&link, 1), 200);
    assert_eq!(site.get(&link, 2), 410);
    assert_eq!(site.ask("HEAD", &link, 1, &[]).status, 200, "the client's own download goes on");
    assert_eq!(site.ask("HEAD", &link, 2, &[]).status, 410, "HEAD equals GET");
}

fn a_download_in_pieces_counts_once(site: Site) {
    let link = site.mint(2);
    for range in ["bytes=0-3", "bytes=4-7", "bytes=8-", "bytes=-2"] {
        assert_eq!(site.ask("GET", &link, 1, &[("Range", range)]).status, 206, "{range}");
    }
    let piece = site.ask("GET", &link, 2, &[("Range", "bytes=4-7")]);
    assert_eq!((piece.status, piece.text().as_str()), (206, "4567"), "one was left");
    is_used_up(&site.ask("GET", &link, 3, &[("Range", "bytes=4-7")]));
}

fn a_client_that_asks_again_goes_on_with_its_download(site: Site) {
    let link = site.mint(1);
    for _ in 0..5 {
        assert_eq!(site.get(&link, 1), 200);
    }
    is_used_up(&site.ask("GET", &link, 2, &[]));
    assert_eq!(site.get(&link, 1), 200, "others have no influence on it");
}

fn a_refused_request_does_not_count(site: Site) {
    let wish = json!({ "path": "a.txt", "max_downloads": 1, "client_networks": ["192.0.2.7"] });
    let link = site.linkgate.mint(&wish);
    assert_eq!([1, 2, 3].map(|client| site.get(&link, client)), [403; 3]);
    assert_eq!(site.ask("POST", &link, 7, &[]).status, 405);
    let revocation = site.linkgate.revoke(&json!({ "id": link["id"] }));
    assert_eq!(site.get(&link, 7), 410);
    site.linkgate.reinstate(&revocation);
    assert_eq!(site.get(&link, 7), 200);
}

fn a_revoked_link_is_revoked_whatever_is_left_of_it(site: Site) {
    let (fresh, used_up) = (site.mint(5), site.mint(1));
    assert_eq!(site.get(&used_up, 1), 200);
    for link in [&fresh, &used_up] {
        let revocation = site.linkgate.revoke(&json!({ "id": link["id"] }));
        for client in 1..=3 {
            let refused = site.ask("GET", link, client, &[]);
            assert_eq!((refused.status, refused.json()["type"].as_str()), (410, Some("urn:linkgate:problem:revoked")));
        }
        site.linkgate.reinstate(&revocation);
    }
    assert_eq!(rush(&[&site.linkgate], &fresh, 10), BTreeMap::from([(200, 5), (410, 5)]), "nothing was counted");
    is_used_up(&site.ask("GET", &used_up, 2, &[]));
}

fn what_was_used_stays_used_after_a_restart(mut site: Site) {
    let (link, used_up) = (site.mint(3), site.mint(1));
    assert_eq!([1, 2].map(|client| site.get(&link, client)), [200, 200]);
    assert_eq!(site.get(&used_up, 1), 200);
    site.restart();
    is_used_up(&site.ask("GET", &used_up, 2, &[]));
    assert_eq!([1, 2, 3, 4].map(|client| site.get(&link, client)), [200, 200, 200, 410], "one was left");
}

fn every_link_has_a_count_of_its_own(site: Site) {
    let links: Vec<Value> = (0..10).map(|_| site.mint(1)).collect();
    for link in &links {
        assert_eq!((site.get(link, 1), site.get(link, 2)), (200, 410));
    }
    assert_eq!(site.linkgate.status(&site.linkgate.link("a.txt")), 200, "others are not counted");
}

#[test]
fn several_verifiers_count_together() {
    let redis = Redis::start();
    let fleet = Fleet::over(&[redis.url(), redis.url(), redis.url()]);
    let link = fleet.verifiers[0].mint(&json!({ "path": "a.txt", "max_downloads": 7 }));
    let verifiers: Vec<&Linkgate> = fleet.verifiers.iter().collect();
    assert_eq!(rush(&verifiers, &link, 50), BTreeMap::from([(200, 7), (410, 43)]));
}

#[test]
fn without_redis_only_counted_links_wait() {
    let mut site = Site::over_redis();
    let (counted, plain) = (site.mint(3), site.linkgate.link("a.txt"));
    assert_eq!(site.get(&counted, 1), 200);
    site.redis.as_mut().unwrap().stop();
    let waiting = site.ask("GET", &counted, 2, &[]);
    assert_eq!(waiting.status, 503, "{}", waiting.text());
    assert!(waiting.header("retry-after").is_some());
    assert_eq!(site.linkgate.status(&plain), 200);
    site.redis.as_mut().unwrap().launch();
    crate::support::eventually("it is counted again", || site.get(&counted, 2) == 200);
    assert_eq!([3, 4].map(|client| site.get(&counted, client)), [200, 410], "nothing was counted twice");
}

#[test]
fn a_client_behind_an_edge_that_passes_its_fields_on_cannot_pass_a_get_off_as_a_head() {
    let linkgate = Builder::new().start();
    let ask = |link: &str, client: u8, methods: &[(&str, &str)]| {
        let client = format!("203.0.113.{client}");
        let mut headers = vec![("X-Forwarded-Uri", link), ("X-Real-IP", client.as_str())];
        headers.extend(methods);
        linkgate.get_as("GET", "/auth", &headers).status
    };
    const EDGES: (&str, &str) = ("X-Forwarded-Method", "GET");
    for added in [
        &[][..],
        &[("X-Original-Method", "HEAD")],
        &[("X-Original-Method", "head")],
        &[("X-Original-Method", "")],
        &[("X-Original-Method", "HEAD, HEAD")],
        &[("X-Forwarded-Method", "HEAD")],
        &[("X-Original-Method", "HEAD"), ("X-Original-Method", "HEAD")],
        &[("x-original-method", "HEAD"), ("x-forwarded-method", "HEAD")],
    ] {
        for is_first in [true, false] {
            let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 1 })));
            let methods = if is_first { [added, &[EDGES]].concat() } else { [&[EDGES], added].concat() };
            let statuses = [1, 2, 3].map(|client| ask(&link, client, &methods));
            assert_eq!(statuses, [204, 403, 403], "{methods:?}");
        }
    }
    // One alone that is no HEAD, or none at all, is a GET as well.
    for methods in
        [&[][..], &[("X-Original-Method", "head")], &[("X-Original-Method", "HEAD"), ("X-Original-Method", "")]]
    {
        let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 1 })));
        assert_eq!([1, 2, 3].map(|client| ask(&link, client, methods)), [204, 403, 403], "{methods:?}");
    }
    // Where all say so it is a HEAD.
    let link = path_of(&linkgate.mint(&json!({ "path": "a.txt", "max_downloads": 1 })));
    for methods in [
        &[("X-Forwarded-Method", "HEAD")][..],
        &[("X-Original-Method", "HEAD"), ("X-Forwarded-Method", "HEAD")],
        &[("X-Original-Method", "HEAD"), ("X-Original-Method", "HEAD")],
    ] {
        assert_eq!([1, 2, 3].map(|client| ask(&link, client, methods)), [204; 3], "{methods:?}");
    }
    assert_eq!([1, 2].map(|client| ask(&link, client, &[EDGES])), [204, 403]);
}
