use super::*;

/// A Linkgate that runs and has a client with options of its own; answers the client's key, too.
fn with_client(options: &[&str]) -> (Linkgate, String) {
    let mut linkgate = Builder::new().prepare();
    let add = ["clients", "add", "limited", "--role", "mint", "--role", "inspect", "--allow", "**", "--json"];
    let added: Value = serde_json::from_str(&linkgate.succeed(&[&add[..], options].concat())).unwrap();
    linkgate.launch();
    linkgate.until_ready();
    (linkgate, added["key"].as_str().unwrap().to_owned())
}

fn mint(linkgate: &Linkgate, key: &str, subject: Option<&str>) -> Response {
    linkgate.api_with(key, "POST", "/v1/links", &json!({ "path": "a.txt", "subject": subject }))
}

fn batch(linkgate: &Linkgate, key: &str, subjects: &[Option<&str>]) -> Response {
    let links: Vec<_> = subjects.iter().map(|subject| json!({ "path": "a.txt", "subject": subject })).collect();
    linkgate.api_with(key, "POST", "/v1/links/batch", &json!({ "links": links }))
}

fn inspect_as(linkgate: &Linkgate, key: &str) -> Response {
    linkgate.api_with(key, "POST", "/v1/links/inspect", &json!({ "link": "x" }))
}

/// The value of a parameter of an item of a structured list of quoted names.
fn parameter(answer: &Response, header: &str, name: &str, parameter: &str) -> Option<u64> {
    let list = answer.header(header)?;
    let item = list.split(", ").find_map(|item| item.strip_prefix(&format!("\"{name}\";")).map(str::to_owned))?;
    item.split(';').find_map(|part| part.strip_prefix(&format!("{parameter}="))?.parse().ok())
}

/// Sees to it that an answer is a 429 by a rule, and that waiting as long as it says is enough.
#[track_caller]
fn slowed_down(answer: &Response, rule: &str) -> u64 {
    let problem = refused(answer, 429, "rate-limited");
    assert_eq!(problem["rule"], rule, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(rule), "{problem}");
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[test]
fn requests_beyond_the_rate_wait_and_every_answer_says_how_many_are_left() {
    let (linkgate, key) = with_client(&["--requests-per-second", "1", "--requests-burst", "3"]);
    for left in [2, 1, 0] {
        let answer = inspect_as(&linkgate, &key);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"requests\";q=3;w=3"));
        // A slow machine may have earned one more meanwhile.
        let shown = parameter(&answer, "ratelimit", "requests", "r").unwrap();
        assert!((left..=left + 1).contains(&shown), "{answer:?}");
    }
    let mut answer = inspect_as(&linkgate, &key);
    while answer.status == 200 {
        answer = inspect_as(&linkgate, &key);
    }
    assert_eq!(slowed_down(&answer, "requests_per_second"), 1);
    assert_eq!(parameter(&answer, "ratelimit", "requests", "r"), Some(0));
    assert_eq!(parameter(&answer, "ratelimit", "requests", "t"), Some(3));
    assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"requests\";q=3;w=3"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(inspect_as(&linkgate, &key).status, 200);
}

#[test]
fn a_refused_request_counts_as_well_and_a_foreign_key_counts_for_nobody() {
    let (linkgate, key) = with_client(&["--requests-per-second", "1", "--requests-burst", "2"]);
    for _ in 0..5 {
        let foreign = format!("lgk_limited_{}", "A".repeat(43));
        let answer = inspect_as(&linkgate, &foreign);
        refused(&answer, 401, "unauthorized");
        assert_eq!(answer.header("ratelimit"), None, "nobody is told about a client's limits without its key");
    }
    let answer = linkgate.api_with(&key, "GET", "/v1/revocations", &Value::Null);
    refused(&answer, 403, "forbidden");
    assert!(answer.header("ratelimit").is_some());
    let answer = linkgate.api_with(&key, "POST", "/v1/links", &json!({ "path": "../a" }));
    refused(&answer, 400, "invalid-request");
    assert_eq!(slowed_down(&inspect_as(&linkgate, &key), "requests_per_second"), 1);
}

#[test]
fn links_are_counted_apart_from_requests_each_item_of_a_batch_as_one() {
    let (linkgate, key) = with_client(&["--links-per-second", "1", "--links-burst", "10"]);
    let answer = batch(&linkgate, &key, &[None; 6]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("ratelimit-policy").as_deref(), Some("\"links\";q=10;w=10"));
    assert!((4..=5).contains(&parameter(&answer, "ratelimit", "links", "r").unwrap()), "{answer:?}");

    let answer = batch(&linkgate, &key, &[None; 9]);
    let seconds = slowed_down(&answer, "links_per_second");
    assert!((3..=5).contains(&seconds), "{seconds}");
    assert!(parameter(&answer, "ratelimit", "links", "r").unwrap() >= 4, "nothing of it was taken");
    assert_eq!(mint(&linkgate, &key, None).status, 201, "a smaller wish is fulfilled at once");
    assert_eq!(inspect_as(&linkgate, &key).status, 200, "whoever may make no link may ask");

    let answer = batch(&linkgate, &key, &[None; 11]);
    let problem = refused(&answer, 403, "outside-policy");
    assert_eq!((&problem["rule"], &problem["field"]), (&json!("links_burst"), &json!("links")));
    assert!(problem["detail"].as_str().unwrap().contains("more than the 10"), "{problem}");
    assert_eq!(answer.header("retry-after"), None, "waiting does not help");
}

#[test]
fn each_subject_has_a_rate_of_its_own() {
    let (linkgate, key) = with_client(&["--subject-links-per-second", "1", "--subject-links-burst", "2"]);
    let policy = "\"subject-links\";q=2;w=2";
    for _ in 0..2 {
        let answer = mint(&linkgate, &key, Some("u"));
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("ratelimit-policy").as_deref(), Some(policy));
        assert!(parameter(&answer, "ratelimit", "subject-links", "r").is_some());
    }
    slowed_down(&mint(&linkgate, &key, Some("u")), "subject_links_per_second");
    assert_eq!(mint(&linkgate, &key, Some("v")).status, 201);
    let anonymous = mint(&linkgate, &key, None);
    assert_eq!((anonymous.status, anonymous.header("ratelimit")), (201, None));

    let answer = batch(&linkgate, &key, &[Some("w"), Some("u"), Some("w")]);
    slowed_down(&answer, "subject_links_per_second");
    assert_eq!(batch(&linkgate, &key, &[Some("w"), Some("w"), None]).status, 200, "nothing was counted for w");
    let answer = batch(&linkgate, &key, &[Some("x"), Some("x"), Some("x")]);
    assert_eq!(refused(&answer, 403, "outside-policy")["rule"], "subject_links_burst");
}

#[test]
fn subjects_without_end_cost_no_memory_and_no_error() {
    let (linkgate, key) = with_client(&["--subject-links-per-second", "1", "--subject-links-burst", "1000"]);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", linkgate.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let fill = |from: u32| {
        for round in from..from + 20 {
            let names: Vec<_> = (0..1_000).map(|number| format!("{round}-{number}-{}", "x".repeat(100))).collect();
            let names: Vec<_> = names.iter().map(|name| Some(name.as_str())).collect();
            assert_eq!(batch(&linkgate, &key, &names).status, 200);
        }
    };
    fill(0);
    let before = resident();
    fill(1_000);
    assert!(resident() < before + 16_000, "{before} kB, then {} kB", resident());
}

#[test]
fn whoever_has_no_limits_hears_of_none() {
    let (linkgate, _) = with_client(&[]);
    let answer = linkgate.api("POST", "/v1/links", &json!({ "path": "a.txt" }));
    assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), (None, None));
}

#[test]
fn a_rate_that_changes_counts_at_once_on_a_running_server() {
    let (linkgate, key) = with_client(&["--links-per-second", "1"]);
    assert_eq!(mint(&linkgate, &key, None).status, 201);
    slowed_down(&mint(&linkgate, &key, None), "links_per_second");
    let patch = json!({ "policy": { "links_per_second": 1000 } });
    assert_eq!(linkgate.api("PATCH", "/v1/clients/limited", &patch).status, 200);
    assert_eq!(mint(&linkgate, &key, None).status, 201);
    let lifted = json!({ "policy": { "links_per_second": null } });
    assert_eq!(linkgate.api("PATCH", "/v1/clients/limited", &lifted).status, 200);
    assert_eq!(mint(&linkgate, &key, None).header("ratelimit"), None);
}

#[test]
fn a_refreshed_link_is_one_of_its_client_and_of_its_subject() {
    let rates = ["--links-per-second", "1", "--links-burst", "6"];
    let subjects = ["--subject-links-per-second", "1", "--subject-links-burst", "2"];
    let (linkgate, key) = with_client(&[rates, subjects].concat());
    let link = mint(&linkgate, &key, Some("u")).json()["url"].clone();
    let refresh = |links: &[&Value]| linkgate.api_with(&key, "POST", "/v1/links/refresh", &json!({ "links": links }));
    assert_eq!(refresh(&[&link]).status, 200);
    slowed_down(&refresh(&[&link, &link]), "subject_links_per_second");
    assert_eq!(refused(&refresh(&[&link; 3]), 403, "outside-policy")["rule"], "subject_links_burst");
    assert_eq!(refused(&refresh(&[&json!("x"); 7]), 403, "outside-policy")["rule"], "links_burst");
    slowed_down(&refresh(&[&json!("x"); 6]), "links_per_second");
}

#[test]
fn a_request_that_is_sent_again_with_its_key_counts_as_a_request_and_makes_no_link() {
    let (linkgate, key) = with_client(&[
        "--requests-per-second",
        "1",
        "--requests-burst",
        "3",
        "--links-per-second",
        "1",
        "--links-burst",
        "1",
    ]);
    let authorization = format!("Bearer {key}");
    let headers =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", "once")];
    let mint = || request(&linkgate.place(), "POST", "/v1/links", &headers, b"{\"path\":\"a.txt\"}");
    let first = mint();
    assert_eq!(first.status, 201);
    assert_eq!(parameter(&first, "ratelimit", "requests", "r"), Some(2), "it was counted once: {first:?}");
    let again = mint();
    assert_eq!((again.status, again.json()), (201, first.json()));
    assert!(again.header("ratelimit").is_some());
    let mut answer = mint();
    while answer.status == 201 {
        answer = mint();
    }
    slowed_down(&answer, "requests_per_second");
}
