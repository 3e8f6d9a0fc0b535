use super::*;

/// How a file is sent and shown, and how long a download holds its connection.
const SENDING: [(&str, &str); 3] =
    [("content_type", "\"text/html\""), ("disposition", "\"inline\""), ("rate_limit", "64")];
/// Whom a link is for, from when, from where, how often, and what the file is saved as.
const HARMLESS: [(&str, &str); 6] = [
    ("filename", "\"invoice.pdf\""),
    ("subject", "\"42\""),
    ("not_before", "\"2026-01-31T12:00:00Z\""),
    ("client_networks", "[\"203.0.113.0/24\"]"),
    ("max_downloads", "3"),
    ("stable", "true"),
];

fn wish((name, value): (&str, &str)) -> Value {
    let mut wish = json!({ "path": "users/42/pic.jpg" });
    wish[name] = value.parse().unwrap();
    wish
}

#[test]
fn a_login_has_no_say_in_how_its_file_is_sent_unless_the_policy_says_so() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let login = signer.login(&claims("42"));
    let permit = "permit = [\"content_type\", \"disposition\", \"rate_limit\"]";
    let (plain, trusting) = (site(&server, ""), site(&server, permit));
    for field in SENDING {
        let refused = problem(&mint(&plain, &login, &wish(field)), 403, "outside-policy");
        assert_eq!((refused["rule"].as_str(), refused["field"].as_str()), (Some("permit"), Some(field.0)));
        assert_eq!(mint(&trusting, &login, &wish(field)).status, 201, "{}", field.0);
        // An API key is the owner's own.
        assert_eq!(plain.api_with(&plain.mint_key, "POST", "/v1/links", &wish(field)).status, 201, "{}", field.0);
    }
    for field in HARMLESS {
        assert_eq!(mint(&plain, &login, &wish(field)).status, 201, "{}", field.0);
    }
    problem(&mint(&trusting, &login, &wish(("max_downloads", "3"))), 403, "outside-policy");
}

#[test]
fn no_batch_and_no_refresh_gets_a_login_more_than_it_may_choose() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let login = signer.login(&claims("42"));
    let ask = |linkgate: &Linkgate, route: &str, body: &Value| linkgate.api_with(&login, "POST", route, body).json();
    let earlier = site(&server, "permit = [\"content_type\", \"disposition\", \"rate_limit\"]");
    let linkgate = Builder::new().beside_keys_of(&earlier).section(&section(&server.url(), "")).start();
    until_keys(&linkgate);
    for field in SENDING {
        let batch = json!({ "links": [wish(field), { "path": "users/42/pic.jpg" }] });
        let answer = ask(&linkgate, "/v1/links/batch", &batch);
        assert_eq!(answer["results"][0]["rule"], "permit", "{}: {answer}", field.0);
        assert!(answer["results"][1]["url"].is_string(), "{answer}");
        let link = ask(&earlier, "/v1/links", &wish(field));
        let answer = ask(&linkgate, "/v1/links/refresh", &json!({ "links": [link["url"]] }));
        assert_eq!(answer["results"][0]["rule"], "permit", "{}: {answer}", field.0);
    }
}

#[test]
fn what_a_policy_requires_of_a_login_it_permits() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "require = [\"disposition\"]");
    let login = signer.login(&claims("42"));
    assert_eq!(mint(&linkgate, &login, &wish(("disposition", "\"attachment\""))).status, 201);
    problem(&mint(&linkgate, &login, &wish(("rate_limit", "64"))), 403, "outside-policy");
}
