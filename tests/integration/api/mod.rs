//! The API: what it takes, what it refuses, and how it says so.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use linkgate::clock::{Clock, SystemClock, UnixMillis};
use serde_json::{Value, json};

use crate::support::http::{Place, Response, request};
use crate::support::linkgate::{Builder, Linkgate, path_of};

/// A Linkgate with one small file, `a.txt`.
fn site() -> Linkgate {
    let linkgate = Builder::new().start();
    linkgate.file("a.txt", b"x");
    linkgate
}

/// Sends a body of JSON as it is, as the client that mints.
fn send(linkgate: &Linkgate, path: &str, body: &[u8]) -> Response {
    send_as(linkgate, &linkgate.mint_key, "application/json", path, body)
}

fn send_as(linkgate: &Linkgate, key: &str, content_type: &str, path: &str, body: &[u8]) -> Response {
    let authorization = format!("Bearer {key}");
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
    request(&linkgate.place(), "POST", path, &headers, body)
}

fn try_mint(linkgate: &Linkgate, wish: &Value) -> Response {
    linkgate.api_with(&linkgate.mint_key, "POST", "/v1/links", wish)
}

fn inspect(linkgate: &Linkgate, link: &Value) -> Value {
    let answer = linkgate.api("POST", "/v1/links/inspect", &json!({ "link": link }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sees to it that an answer is a refusal in the promised form; answers the problem.
#[track_caller]
fn refused(answer: &Response, status: u16, name: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(answer.header("x-accel-expires").as_deref(), Some("0"));
    for header in ["x-accel-redirect", "x-sendfile", "x-reproxy-url", "location"] {
        assert_eq!(answer.header(header), None, "{header}");
    }
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:linkgate:problem:{name}"), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["title"].is_string(), "{problem}");
    problem
}

/// Like [`refused`] for a mint request whose field is named.
#[track_caller]
fn refused_field(linkgate: &Linkgate, wish: &Value, field: &str) {
    let problem = refused(&try_mint(linkgate, wish), 400, "invalid-request");
    assert_eq!(problem["field"], field, "{wish}: {problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
}

fn now() -> UnixMillis {
    SystemClock::new().now().wall
}

fn from_now(seconds: u64) -> String {
    now().plus(Duration::from_secs(seconds)).to_string()
}

fn time(value: &Value) -> UnixMillis {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z'), "{text} is in UTC");
    UnixMillis::parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is a time"))
}

/// The names of an object's members, in order.
fn members(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

mod access;
mod batches;
mod figures;
mod inspecting;
mod listeners;
mod minting;
mod reference;
mod refreshing;
mod refusing;
mod revoking;
mod stable;
mod web;
mod wire;
