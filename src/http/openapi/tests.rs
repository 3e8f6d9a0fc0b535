use std::collections::BTreeSet;

use super::*;
use crate::http::ProblemKind;
use crate::mint::MAX_BATCH;
use crate::revocation::{DEFAULT_PAGE, MAX_PAGE, MAX_REASON_BYTES};
use crate::token::{
    MAX_DOWNLOADS, MAX_FILE_NAME_BYTES, MAX_NETWORKS, MAX_PATH_BYTES, MAX_RATE_LIMIT, MAX_SUBJECT_BYTES,
    MAX_TOKEN_CHARS,
};

/// Every operation, with what to call it when something is wrong with it.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((format!("{method} {path}"), operation));
        }
    }
    found
}

#[test]
fn every_operation_is_described_and_says_who_may_call_it() {
    let document = assemble();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        for member in ["operationId", "summary", "description"] {
            assert!(operation[member].as_str().is_some_and(|text| text.len() > 4), "{name} has no {member}");
        }
        assert!(ids.insert(operation["operationId"].to_string()), "{name}: its operationId is taken");
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        assert!(
            tags::ALL.iter().any(|(known, _)| *known == tag),
            "{name} has the tag {tag:?}, which is not among `tags`"
        );
        let security = operation["security"].as_array().unwrap_or_else(|| panic!("{name} says nothing about security"));
        let is_open = !name.contains(" /v1/");
        assert_eq!(security.is_empty(), is_open, "{name}");
        for status in ["401", "403"].into_iter().filter(|_| !is_open) {
            assert!(!operation["responses"][status].is_null(), "{name} leaves out {status}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{name}: {parameter}");
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            assert!(answer["description"].as_str().is_some_and(|text| text.len() > 4), "{name}: {status}");
        }
    }
}

#[test]
fn every_body_has_an_example_from_the_reference() {
    let document = assemble();
    for (name, operation) in operations(&document) {
        let request = &operation["requestBody"]["content"]["application/json"];
        assert!(request.is_null() || request["example"].is_object(), "{name}: no example of a request");
        for status in ["200", "201"].into_iter().filter(|_| operation["operationId"] != "describe") {
            let answer = &operation["responses"][status]["content"]["application/json"];
            assert!(answer.is_null() || answer["example"].is_object(), "{name}: no example of its answer");
        }
    }
}

#[test]
fn every_member_is_described_and_requests_allow_no_others() {
    let document = assemble();
    let bodies: Vec<_> = operations(&document)
        .iter()
        .filter_map(|(_, operation)| operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str())
        .collect();
    assert!(bodies.len() >= 4);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name} is not described");
        for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema["description"].is_string(), "{name}.{member} is not described");
        }
        if bodies.contains(&format!("#/components/schemas/{name}").as_str()) {
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}

#[test]
fn every_problem_is_some_operations_answer_with_its_meaning() {
    let text = assemble().to_string();
    for kind in ProblemKind::ALL {
        assert!(!reference::meaning(kind.name()).is_empty(), "{} is not explained in docs/http-api.md", kind.name());
        // A bug is nobody's promise.
        let is_named = text.contains(&format!("\"urn:linkgate:problem:{}\"", kind.name()));
        assert_eq!(is_named, kind != ProblemKind::Internal, "{} is missing in the sets of problems", kind.name());
    }
}

#[test]
fn limits_are_those_of_the_code() {
    let document = assemble();
    let schemas = &document["components"]["schemas"];
    let mint = &schemas["MintRequest"]["properties"];
    for (member, max) in [("path", MAX_PATH_BYTES), ("subject", MAX_SUBJECT_BYTES), ("filename", MAX_FILE_NAME_BYTES)] {
        assert_eq!(mint[member]["maxLength"], max, "{member}");
    }
    assert_eq!(mint["max_downloads"]["maximum"], MAX_DOWNLOADS);
    assert_eq!(mint["rate_limit"]["maximum"], MAX_RATE_LIMIT);
    assert_eq!(mint["client_networks"]["maxItems"], MAX_NETWORKS);
    let revoke = &schemas["RevokeRequest"]["properties"];
    assert_eq!(revoke["reason"]["maxLength"], MAX_REASON_BYTES);
    assert_eq!(schemas["Batch"]["properties"]["links"]["maxItems"], MAX_BATCH);
    assert_eq!(schemas["Link"]["properties"]["token"]["maxLength"], MAX_TOKEN_CHARS);
    let limit = &document["paths"]["/v1/revocations"]["get"]["parameters"][2]["schema"];
    assert_eq!((&limit["maximum"], &limit["default"]), (&json!(MAX_PAGE), &json!(DEFAULT_PAGE)));
}

#[test]
fn references_lead_somewhere_and_everything_described_is_used() {
    let document = assemble();
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for name in schemas.keys() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is used by nobody");
    }
}

#[test]
fn the_page_shows_every_operation_and_runs_nothing() {
    let document = assemble();
    let page = super::super::page::render(&document);
    for (name, operation) in operations(&document) {
        assert!(page.contains(&format!("<article id={}>", operation["operationId"])), "{name}");
    }
    for foreign in ["<script", "<link", "<img", "src=", "url(", "@import", " style="] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
