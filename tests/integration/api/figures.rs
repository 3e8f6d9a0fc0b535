use super::*;

/// The value of a figure, its labels included in the name.
fn figure(linkgate: &Linkgate, name: &str) -> f64 {
    let text = linkgate.get("/metrics").text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn whoever_runs_it_is_told_how_it_is() {
    let linkgate = site();
    for (path, word) in [("/livez", "alive"), ("/readyz", "ready")] {
        let answer = linkgate.get(path);
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": word })));
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    }
    let metrics = linkgate.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let text = metrics.text();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "# TYPE linkgate_download_requests counter",
        "linkgate_download_requests_total{verdict=\"permitted\"} 0",
        "# TYPE linkgate_verify_duration_seconds histogram",
        "linkgate_verify_duration_seconds_bucket{le=\"+Inf\"} 0",
        "# TYPE linkgate_revocations gauge",
        "linkgate_revocations{set=\"links\"} 0",
        "linkgate_revocations{set=\"cut_offs\"} 0",
        "# TYPE linkgate_revocation_staleness_seconds gauge",
        "linkgate_revocation_staleness_seconds 0.0",
        "linkgate_guarded_redirects_total 0",
        "# TYPE linkgate_build info",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
    assert!(text.contains(&format!("linkgate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn every_verdict_is_counted() {
    let linkgate = site();
    let verdict = |name: &str| figure(&linkgate, &format!("linkgate_download_requests_total{{verdict=\"{name}\"}}"));
    let link = linkgate.mint(&json!({ "path": "a.txt", "subject": "user-42" }));
    let path = path_of(&link);
    for _ in 0..3 {
        linkgate.get(&path);
    }
    request(&linkgate.place(), "HEAD", &path, &[], b"");
    request(&linkgate.place(), "GET", "/auth", &[("X-Original-URI", &path)], b"");
    assert_eq!(verdict("permitted"), 5.0);
    linkgate.get("/download/image/x");
    linkgate.get("/download/nowhere/x");
    assert_eq!(verdict("malformed"), 2.0);
    linkgate.get(&path[.."/download/image/".len() + 80]);
    assert_eq!(verdict("bad_signature"), 1.0);
    linkgate.get(&path.replace("/AQAAAA", "/AQAAAB"));
    assert_eq!(verdict("unknown_key"), 1.0);
    linkgate.get(&path_of(&linkgate.mint(&json!({ "path": "a.txt", "client_networks": ["10.0.0.0/8"] }))));
    assert_eq!(verdict("refused"), 1.0);
    request(&linkgate.place(), "POST", &path, &[], b"");
    assert_eq!(verdict("bad_request"), 1.0);
    linkgate.get(&linkgate.link("gone.txt"));
    assert_eq!(verdict("file_not_found"), 1.0);
    assert_eq!((verdict("revoked"), verdict("expired"), verdict("stale")), (0.0, 0.0, 0.0));

    assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 0.0);
    let revocation = linkgate.revoke(&json!({ "subject": "user-42" }));
    linkgate.revoke(&json!({ "id": link["id"] }));
    linkgate.get(&path);
    assert_eq!(verdict("revoked"), 1.0);
    assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 1.0);
    assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"links\"}"), 1.0);
    linkgate.reinstate(&revocation);
    assert_eq!(figure(&linkgate, "linkgate_revocations{set=\"cut_offs\"}"), 0.0);

    assert!(figure(&linkgate, "linkgate_verify_duration_seconds_count") >= 12.0);
    assert!(figure(&linkgate, "linkgate_verify_duration_seconds_sum") > 0.0);
    let buckets = figure(&linkgate, "linkgate_verify_duration_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(buckets, figure(&linkgate, "linkgate_verify_duration_seconds_count"));
}

#[test]
fn api_requests_are_counted_by_route_and_never_by_what_strangers_send() {
    let linkgate = site();
    linkgate.link("a.txt");
    linkgate.api("GET", "/v1/revocations/rev_AAAAAAAAAAAAAAAAAAAAAA", &Value::Null);
    for odd in ["NONSENSE", "PURGE"] {
        request(&linkgate.place(), odd, "/v1/links", &[], b"");
        request(&linkgate.place(), odd, "/v1/elsewhere", &[], b"");
    }
    let name = |operation: &str, status: u16| {
        format!("linkgate_api_requests_total{{operation=\"{operation}\",status=\"{status}\"}}")
    };
    assert_eq!(figure(&linkgate, &name("POST /v1/links", 201)), 1.0);
    assert_eq!(figure(&linkgate, &name("GET /v1/revocations/{id}", 404)), 1.0);
    let text = linkgate.get("/metrics").text();
    assert!(!text.contains("NONSENSE") && !text.contains("elsewhere") && !text.contains("rev_AAAA"), "{text}");
}

#[test]
fn every_download_is_counted_once() {
    let linkgate = site();
    let total = || {
        let text = linkgate.get("/metrics").text();
        let lines = text.lines().filter(|line| line.starts_with("linkgate_download_requests_total"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    linkgate.get(&linkgate.link("a.txt"));
    linkgate.get(&linkgate.link("gone.txt"));
    request(&linkgate.place(), "POST", "/download/image/x", &[], b"");
    assert_eq!(total(), 3);
}

#[test]
fn a_scraper_that_knows_the_text_format_only_gets_every_figure() {
    let linkgate = Builder::new().start();
    let open_metrics = linkgate.get("/metrics");
    assert!(open_metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open_metrics.text().ends_with("# EOF\n"));
    let plain = linkgate.get_as("GET", "/metrics", &[("Accept", "text/plain;version=0.0.4")]);
    assert_eq!(plain.header("content-type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (text, mut kind, mut samples) = (plain.text(), ("", ""), 0);
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            kind = described.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind.1), "{line}");
        } else if !line.starts_with("# HELP ") {
            let name = &line[..line.find(['{', ' ']).unwrap()];
            let part = name.strip_prefix(kind.0).unwrap_or_else(|| panic!("{name} below {}", kind.0));
            let parts: &[&str] = if kind.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(parts.contains(&part), "{line}");
            samples += 1;
        }
    }
    assert_eq!(samples, open_metrics.text().lines().filter(|line| !line.starts_with('#')).count());
}
