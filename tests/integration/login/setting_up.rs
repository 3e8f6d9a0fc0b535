use std::collections::BTreeSet;

use super::*;
use crate::support::linkgate::repository_file;

/// What `check` says about a configuration that is wrong.
fn errors(text: &str) -> Vec<String> {
    let linkgate = Builder::new().prepare();
    std::fs::write(linkgate.folder.path().join("linkgate.toml"), text).unwrap();
    let output = linkgate.run(&["check"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_mistake_in_a_provider_is_reported_at_once_with_its_line() {
    let text = r#"
[[identity_providers]]                          # wrong: no issuer, no algorithms, no keys
name = "an app"                                 # wrong
audience = ""                                   # wrong
jwks_refresh = "2d"                             # wrong
jwks_cooldown = "10"                            # wrong
jwks_max_age = "31d"                            # wrong
leeway = "6m"                                   # wrong
subject_claim = "a b"                           # wrong
roles = ["mint", "revoke"]                      # wrong
allow = "users/{sub}/**"                        # wrong
colour = "red"                                  # wrong
[[identity_providers]]
name = "other"
issuer = "https://i/"
audience = "a"
algorithms = ["HS256"]                          # wrong
jwks_url = "http://i/keys"                      # wrong
allow = ["users/{sub}/**"]
"#;
    let wrong = text.lines().enumerate().filter(|(_, line)| line.contains("# wrong")).map(|(at, _)| at + 1);
    let errors = errors(text);
    let line = |error: &String| error.rsplit_once("linkgate.toml:")?.1.split(':').next()?.parse().ok();
    let reported: BTreeSet<usize> = errors.iter().filter_map(line).collect();
    assert_eq!(reported, wrong.collect(), "{errors:#?}");
    for missing in ["issuer", "algorithms"] {
        assert!(errors.iter().any(|error| error.contains(&format!("`identity_providers.{missing}` must be set"))));
    }
    assert!(errors.iter().any(|error| error.contains("either `jwks_url` or `jwks_file`")), "{errors:#?}");
}

#[test]
fn a_mistake_names_what_should_be_there() {
    let good = section("https://i/keys", "");
    let client = "[[clients]]\nname = \"app\"\nroles = [\"inspect\"]\nkey_hashes = [\"sha256:0dcbe9e61cb1c0dd0b0ae2a8e64c3f1c9e1a5a7c4c3cf4e4d2a5c0a9d1f2b3c4\"]\n";
    let twice = format!("{good}{}", good.replace("\"app\"", "\"tv\""));
    let cases = [
        (format!("{good}{client}"), "a client or another provider has this name"),
        (format!("{good}{}", good.replace(AUDIENCE, "x")), "a client or another provider has this name"),
        (twice, "`app` and `tv` have the same issuer and audience"),
        (good.replace("https://i/keys", "http://10.0.0.1/keys"), "must be https://"),
        (good.replace("https://i/keys", "https://user:pw@i/keys"), "must be an https:// URL"),
        (format!("{good}jwks_file = \"x\""), "either `jwks_url` or `jwks_file`"),
        (good.replace("\"RS256\", ", "\"none\", "), "may hold \"RS256\", \"ES256\" and \"EdDSA\""),
        (good.replace("[\"RS256\", \"ES256\", \"EdDSA\"]", "[]"), "may hold \"RS256\", \"ES256\" and \"EdDSA\""),
        (good.replace("\"inspect\"", "\"admin\""), "a login is nobody who revokes"),
        (good.replace("{sub}", "{}"), "holds the name of a claim"),
        (good.replace("{sub}", "{sub"), "holds the name of a claim"),
        (good.replace("{sub}", "{sub}*"), "one login's paths could be another's"),
        (good.replace("[\"users/{sub}/**\"]", "[]"), "`allow` needs at least one pattern"),
        (format!("{good}collections = [\"film\"]"), "there is no collection `film`"),
        (format!("{good}jwks_max_age = \"5m\""), "must be longer than `jwks_refresh`"),
        (client.replace("[\"inspect\"]", "[\"mint\"]\nallow = [\"users/{sub}/**\"]"), "only `[[identity_providers]]`"),
    ];
    for (text, words) in cases {
        let errors = errors(&text);
        assert!(errors.iter().any(|error| error.contains(words)), "{words}: {errors:#?}");
        assert!(!errors.concat().contains("user:pw"), "{errors:#?}");
    }
}

#[test]
fn the_defaults_of_the_reference_are_those_in_force() {
    use linkgate::config::{Config, Overrides};
    let reference = repository_file("docs/configuration.md");
    let (_, part) = reference.split_once("## `[[identity_providers]]`").unwrap();
    let part = part.split("\n## ").next().unwrap();
    let defaults: Vec<String> = part
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_matches('`');
            let default = cells.nth(1)?.strip_prefix('`')?.strip_suffix('`')?;
            Some(format!("{name} = {default}"))
        })
        .collect();
    assert!(defaults.len() >= 6, "{defaults:?}");
    let base = "[[identity_providers]]\nname = \"app\"\nissuer = \"i\"\naudience = \"a\"\nalgorithms = [\"ES256\"]\n\
                jwks_file = \"x\"\nallow = [\"**\"]\n";
    let parse = |text: &str| format!("{:?}", Config::parse("x", text, [], &Overrides::default()).unwrap());
    assert_eq!(parse(base), parse(&format!("{base}{}", defaults.join("\n"))));
    let sample = part.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(parse(sample).contains("https://login.example.com/"), "the sample can be used as it stands");
}

#[test]
fn check_says_how_many_keys_a_provider_has() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = Builder::new().section(&section(&server.url(), "")).prepare();
    let found = linkgate.succeed(&["check", "--json"]);
    assert!(found.contains("identity provider app") && found.contains("1 keys check its logins"), "{found}");
    server.behave(Manner::Says("302 Found"));
    let found = linkgate.succeed(&["check", "--json"]);
    assert!(found.contains("cannot be fetched") && found.contains("redirect") && found.contains("warning"), "{found}");
    let output = linkgate.run(&["clients", "add", "app", "--role", "mint", "--allow", "**"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("identity provider is called app"), "{output:?}");
}

#[test]
fn a_reload_takes_up_providers_and_policies_and_keeps_the_keys() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let linkgate = site(&server, "");
    let login = signer.login(&claims("42"));
    assert_eq!(try_login(&linkgate, &login).status, 201);
    server.behave(Manner::Closes);
    let path = linkgate.folder.path().join("linkgate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let reload = |text: String| {
        std::fs::write(&path, text).unwrap();
        linkgate.process.signal("HUP");
    };
    reload(text.replace("users/{sub}/**", "people/{sub}/**"));
    eventually("the new policy counts", || try_login(&linkgate, &login).status == 403);
    assert_eq!(mint(&linkgate, &login, &json!({ "path": "people/42/a.jpg" })).status, 201);
    reload(text.replace(AUDIENCE, "television"));
    eventually("the new audience counts", || try_login(&linkgate, &login).status == 401);
    reload(text.split("[[identity_providers]]").next().unwrap().to_owned());
    eventually("nobody can log in", || {
        try_login(&linkgate, &login).header("www-authenticate").as_deref() == Some("Bearer realm=\"linkgate\"")
    });
    assert!(linkgate.get("/readyz").json().get("identity_providers").is_none());
    reload(text);
    eventually("the provider is back, its keys are not", || try_login(&linkgate, &login).status == 503);
    server.publish(&[&signer]);
    eventually("its keys are back", || try_login(&linkgate, &login).status == 201);
}

#[test]
fn a_client_of_the_store_with_a_providers_name_is_nobody() {
    let signer = Signer::new("EdDSA", "one");
    let server = KeyServer::publishing(&[&signer]);
    let mut linkgate = Builder::new().prepare();
    let added = linkgate.succeed(&["clients", "add", "app", "--role", "mint", "--allow", "**", "--json"]);
    let key = serde_json::from_str::<Value>(&added).unwrap()["key"].as_str().unwrap().to_owned();
    let path = linkgate.folder.path().join("linkgate.toml");
    let text = std::fs::read_to_string(&path).unwrap() + &section(&server.url(), "");
    std::fs::write(&path, text).unwrap();
    linkgate.launch();
    linkgate.until_ready();
    until_keys(&linkgate);
    assert_eq!(try_login(&linkgate, &key).status, 401);
    assert_eq!(try_login(&linkgate, &signer.login(&claims("42"))).status, 201);
    assert!(linkgate.log().contains("an identity provider has its name"), "{}", linkgate.log());
}
