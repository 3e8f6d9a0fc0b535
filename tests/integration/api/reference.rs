use linkgate::config::SETTING_NAMES;
use linkgate::http::ProblemKind;

use super::*;
use crate::support::linkgate::repository_file;

#[test]
fn every_problem_stands_in_the_reference_with_its_status() {
    let text = repository_file("docs/http-api.md");
    for kind in ProblemKind::ALL {
        let row = format!("| `{}` | {} |", kind.name(), kind.status().as_u16());
        assert_eq!(text.lines().filter(|line| line.starts_with(&row)).count(), 1, "{row}");
    }
}

#[test]
fn every_limit_stands_in_the_reference() {
    let text = repository_file("docs/http-api.md");
    for name in SETTING_NAMES.iter().filter(|name| name.starts_with("limits.")) {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

/// The JSON of the reference's example with a name, which stands in a comment before it.
fn example(name: &str) -> Value {
    let text = repository_file("docs/http-api.md");
    let marker = format!("<!-- example: {name} -->");
    let (_, rest) = text.split_once(&marker).unwrap_or_else(|| panic!("{marker} in docs/http-api.md"));
    let (_, rest) = rest.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The examples of the reference, sent as they are, are answered as it says.
#[test]
fn the_examples_of_the_reference_are_real() {
    let linkgate = Builder::new().start();
    let call = |path: &str, request: &str, status: u16, answer: &str| {
        let given = linkgate.api("POST", path, &example(request));
        assert_eq!(given.status, status, "{request}: {}", given.text());
        let (given, written) = (given.json(), example(answer));
        assert_eq!(members(&given), members(&written), "{answer}: {given}");
        given
    };
    let link = call("/v1/links", "mint request", 201, "link");
    let batch = call("/v1/links/batch", "batch request", 200, "batch answer");
    for (given, written) in
        batch["results"].as_array().unwrap().iter().zip(example("batch answer")["results"].as_array().unwrap())
    {
        assert_eq!(members(given), members(written), "{given}");
    }
    let revocation = call("/v1/revocations", "revocation request", 201, "revocation");
    let problem = call("/v1/links", "refused request", 400, "problem");
    assert_eq!(problem, example("problem"));
    let listed = linkgate.api("GET", "/v1/revocations?limit=1", &Value::Null).json();
    assert_eq!(members(&listed["revocations"][0]), members(&example("revocation list")["revocations"][0]));
    linkgate.reinstate(&revocation);
    linkgate.revoke(&json!({ "id": link["id"] }));
    let found = inspect(&linkgate, &link["url"]);
    assert_eq!(members(&found), members(&example("inspection")), "{found}");
    assert_eq!(found["detail"], example("inspection")["detail"]);
    let client = call("/v1/clients", "client request", 201, "client");
    assert_eq!(client["policy"], example("client")["policy"]);
    assert_eq!(members(&client["keys"][0]), members(&example("client")["keys"][0]));
    let made = linkgate.api("POST", "/v1/clients/backend/keys", &example("key request")).json();
    assert_eq!(members(&made), members(&example("key")));
    let patched = linkgate.api("PATCH", "/v1/clients/backend", &example("client patch"));
    assert_eq!(patched.json()["policy"]["links_per_second"], 100, "{}", patched.text());
    let listed = example("client list")["clients"][0].clone();
    assert_eq!((members(&patched.json()), &patched.json()["policy"]), (members(&listed), &listed["policy"]));
}
