use super::*;

/// Wishes that say how a browser takes the file, or how long a download holds its connection.
const TRUSTED: [(&str, &str); 3] =
    [("content_type", "\"text/html\""), ("disposition", "\"inline\""), ("rate_limit", "64")];

fn wish(name: &str, value: &str) -> Value {
    let mut wish = json!({ "path": "users/42/pic.jpg" });
    wish[name] = value.parse().unwrap();
    wish
}

#[test]
fn a_login_chooses_neither_type_nor_disposition_nor_rate_unless_the_policy_says_so() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let (plain, trusting) =
        (site(&server, ""), site(&server, "permit = [\"content_type\", \"disposition\", \"rate_limit\"]"));
    let login = signer.login(&claims("42"));
    for (name, value) in TRUSTED {
        let refused = problem(&mint(&plain, &login, &wish(name, value)), 403, "outside-policy");
        assert_eq!(refused["rule"], "permit", "{name}");
        assert_eq!(mint(&trusting, &login, &wish(name, value)).status, 201, "{name}");
        // An API key is the owner's own.
        assert_eq!(plain.api_with(&plain.mint_key, "POST", "/v1/links", &wish(name, value)).status, 201, "{name}");
    }
    for (name, value) in [("filename", "\"a.html\""), ("max_downloads", "3"), ("stable", "true")] {
        assert_eq!(mint(&plain, &login, &wish(name, value)).status, 201, "{name}");
    }
}

#[test]
fn what_a_policy_requires_of_a_login_it_permits() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "require = [\"disposition\"]");
    let login = signer.login(&claims("42"));
    assert_eq!(mint(&linkgate, &login, &wish("disposition", "\"attachment\"")).status, 201);
    assert_eq!(mint(&linkgate, &login, &wish("rate_limit", "64")).status, 403);
}
