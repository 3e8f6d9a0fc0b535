//! Logins: a phone mints with the JWT of an identity provider.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::{Response, request};
use crate::support::identity::{KeyServer, Manner, Signer, encode, key_set, seconds};
use crate::support::linkgate::{Builder, Linkgate, path_of};

const ISSUER: &str = "https://login.example.com/";
const AUDIENCE: &str = "photos";

/// What a login of a user holds, good for ten minutes.
fn claims(user: &str) -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": seconds(), "exp": seconds() + 600 })
}

/// The same with one claim changed.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("42");
    claims[name] = value;
    claims
}

/// A provider section; `more` are further lines.
fn section(url: &str, more: &str) -> String {
    format!(
        "[[identity_providers]]\nname = \"app\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         algorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\nallow = [\"users/{{sub}}/**\"]\n\
         roles = [\"mint\", \"inspect\"]\njwks_url = \"{url}\"\n{more}\n"
    )
}

/// A Linkgate that takes logins of that server's keys, once it has them.
fn site(server: &KeyServer, more: &str) -> Linkgate {
    let linkgate = Builder::new().section(&section(&server.url(), more)).start();
    until_keys(&linkgate);
    linkgate
}

fn until_keys(linkgate: &Linkgate) {
    eventually("the keys are there", || provider(linkgate)["status"] == "ready");
}

/// What readiness says about the provider.
fn provider(linkgate: &Linkgate) -> Value {
    linkgate.get("/readyz").json()["identity_providers"][0].clone()
}

fn mint(linkgate: &Linkgate, login: &str, wish: &Value) -> Response {
    linkgate.api_with(login, "POST", "/v1/links", wish)
}

/// Mints something that user 42 may have.
fn try_login(linkgate: &Linkgate, login: &str) -> Response {
    mint(linkgate, login, &json!({ "path": "users/42/cat.jpg" }))
}

#[track_caller]
fn problem(answer: &Response, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:linkgate:problem:{name}"), "{problem}");
    problem
}

/// Sees to it that a login is refused for a reason, in the words of RFC 6750, and never repeated.
#[track_caller]
fn refused(linkgate: &Linkgate, login: &str, why: &str) {
    let answer = try_login(linkgate, login);
    let problem = problem(&answer, 401, "unauthorized");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(why), "{detail}");
    let challenge = answer.header("www-authenticate").unwrap();
    let expected = "Bearer realm=\"linkgate\", error=\"invalid_token\", error_description=\"";
    assert!(challenge.starts_with(expected) && challenge.contains(why), "{challenge}");
    if login.len() > 20 {
        assert!(!answer.text().contains(&login[..20]) && !linkgate.log().contains(&login[..20]));
    }
}

mod choices;
mod claims;
mod keys;
mod limits;
mod refusals;
mod setting_up;
