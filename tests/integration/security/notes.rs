//! What staff wrote down is for staff.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::Response;
use crate::support::identity::{KeyServer, Signer, seconds};
use crate::support::linkgate::{Builder, Linkgate, path_of};

/// Every member that an answer about a link may have for a login, at any depth.
const FOR_LOGINS: &[&str] = &[
    "allow",
    "authentic",
    "check",
    "checks",
    "claim",
    "client",
    "client_networks",
    "collection",
    "content_type",
    "detail",
    "disposition",
    "expires_at",
    "field",
    "filename",
    "id",
    "issued_at",
    "key",
    "kind",
    "max_downloads",
    "not_before",
    "outcome",
    "path",
    "rate_limit",
    "refresh_after",
    "results",
    "revoked_by",
    "role",
    "rule",
    "status",
    "subject",
    "title",
    "token",
    "type",
    "url",
    "valid",
];

struct Site {
    linkgate: Linkgate,
    signer: Signer,
    _provider: KeyServer,
}

impl Site {
    /// Takes logins; each may mint and inspect.
    fn new() -> Self {
        let signer = Signer::new("EdDSA", "one");
        let provider = KeyServer::publishing(&[&signer]);
        let section = format!(
            "[[identity_providers]]\nname = \"phones\"\nissuer = \"https://login.test/\"\naudience = \"photos\"\n\
             algorithms = [\"EdDSA\"]\nroles = [\"mint\", \"inspect\"]\nallow = [\"users/{{sub}}/**\"]\n\
             collections = [\"image\"]\nrequests_per_second = 1000\njwks_url = \"{}\"\n\
             [collections.vault]\nroot = \"/nowhere\"\ninternal_prefix = \"/vault/\"\nedge = \"nginx\"\n",
            provider.url()
        );
        let linkgate = Builder::new().section(&section).start();
        let site = Self { linkgate, signer, _provider: provider };
        eventually("logins are believed", || site.call("42", "GET", "/v1/clients", &Value::Null).status == 403);
        site
    }

    fn call(&self, user: &str, method: &str, path: &str, body: &Value) -> Response {
        let claims = json!({
            "iss": "https://login.test/", "aud": "photos", "sub": user, "iat": seconds(), "exp": seconds() + 600,
        });
        self.linkgate.api_with(&self.signer.login(&claims), method, path, body)
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        self.call("42", "POST", path, body)
    }
}

fn members(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.push(name.clone());
                members(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, found)),
        _ => {}
    }
}

#[test]
fn no_answer_to_a_login_holds_what_staff_wrote_or_whom_else_it_is_about() {
    let site = Site::new();
    let mint = |path: &str| site.post("/v1/links", &json!({ "path": path })).json();
    let own = mint("users/42/cat.jpg");
    let foreign = site.linkgate.mint(&json!({ "path": "users/43/hidden.jpg", "subject": "neighbour" }));
    // Whatever could cover a link of his, each with a note, by an author of its own.
    let author = site.linkgate.new_client("inspector-morse", &["revoke"]);
    eventually("the author is known", || {
        site.linkgate.api_with(&author, "GET", "/v1/revocations", &Value::Null).status == 200
    });
    for what in [
        json!({ "subject": "42" }),
        json!({ "subject": "42", "issued_before": null }),
        json!({ "id": own["id"] }),
        json!({ "path": "users/42/cat.jpg" }),
        json!({ "path_prefix": "users/" }),
        json!({ "client": "phones" }),
        json!({ "key": 1 }),
        json!({ "everything": true }),
    ] {
        let mut what = what;
        what["reason"] = json!("fraud suspected, case 17");
        assert_eq!(site.linkgate.api_with(&author, "POST", "/v1/revocations", &what).status, 201, "{what}");
    }

    let inspected = site.post("/v1/links/inspect", &json!({ "link": own["url"] }));
    assert_eq!((inspected.status, &inspected.json()["check"]), (200, &json!("revoked")), "{}", inspected.text());
    assert!(inspected.json()["revoked_by"].is_string(), "{}", inspected.text());
    let covered = site.post("/v1/links", &json!({ "path": "users/42/cat.jpg" }));
    assert_eq!(covered.status, 409, "{}", covered.text());
    let one = json!({ "path": "users/42/cat.jpg" });
    let answers = [
        inspected,
        covered,
        site.post("/v1/links/inspect", &json!({ "link": foreign["url"] })),
        site.post("/v1/links/inspect", &json!({ "link": "nonsense" })),
        site.post("/v1/links/batch", &json!({ "links": [one, { "path": "users/43/hidden.jpg" }, 7] })),
        site.post("/v1/links/refresh", &json!({ "links": [own["url"], foreign["url"], "nonsense"] })),
        site.post("/v1/revocations", &json!({ "subject": "42" })),
        site.call("42", "GET", "/v1/revocations", &Value::Null),
        site.call("42", "GET", "/v1/verifiers", &Value::Null),
        site.call("42", "GET", "/v1/clients/inspector-morse", &Value::Null),
        site.linkgate.get(&path_of(&own)),
    ];
    for answer in answers {
        let headers: String = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
            .collect();
        let said = format!("{headers}\n{}", answer.text());
        for secret in ["fraud", "case 17", "inspector-morse", "admin-test", "app-test", "rev_", "neighbour", "hidden"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
        let mut names = Vec::new();
        members(&answer.json(), &mut names);
        for name in names {
            assert!(FOR_LOGINS.contains(&name.as_str()), "{name} is told to a login: {said}");
        }
    }
}

#[test]
fn a_client_that_inspects_sees_the_whole_of_what_covers_a_link() {
    let site = Site::new();
    let link = site.post("/v1/links", &json!({ "path": "users/42/cat.jpg" })).json();
    let revocation = site.linkgate.revoke(&json!({ "subject": "42", "reason": "fraud suspected" }));
    let staff = site.linkgate.new_client("support", &["inspect"]);
    eventually("the new client is known", || {
        let found = site.linkgate.api_with(&staff, "POST", "/v1/links/inspect", &json!({ "link": link["url"] }));
        found.status == 200 && {
            let covering = found.json()["revocations"][0].clone();
            ["id", "kind", "target", "reason", "created_by"].iter().all(|name| covering[*name] == revocation[*name])
        }
    });
}

#[test]
fn a_login_does_not_learn_which_other_collections_there_are() {
    let site = Site::new();
    let ask = |collection: &str| {
        let answer = site.post("/v1/links", &json!({ "path": "users/42/cat.jpg", "collection": collection }));
        (answer.status, answer.text())
    };
    assert_eq!(ask("vault").0, 403);
    assert_eq!(ask("vault"), ask("nothing-of-that-name"));
}
