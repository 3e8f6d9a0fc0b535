//! What holds for many operations, and stands at none of their handlers: `Idempotency-Key`, entity tags, logins.

use serde_json::{Value, json};

use super::super::idempotency::MAX_KEY_BYTES;
use super::tags;

/// Adds it all to a document.
pub fn add(document: &mut Value) {
    let schemes = &mut document["components"]["securitySchemes"];
    schemes["login"] = json!({
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The JWT of a user who is logged in at a configured identity provider.",
    });
    let items = document["paths"].as_object_mut().into_iter().flatten();
    for (_, item) in items.filter(|(path, _)| path.starts_with("/v1/")) {
        let item = item.as_object_mut().into_iter().flatten();
        for (method, operation) in item.filter(|(_, operation)| operation.is_object()) {
            let group = operation["tags"][0].as_str().unwrap_or_default().to_owned();
            match method.as_str() {
                "post" if [tags::LINKS, tags::REVOCATIONS, tags::CLIENTS].contains(&group.as_str()) => {
                    take_key(operation);
                }
                "get" => answer_unchanged(operation),
                _ => {}
            }
            if group == tags::LINKS {
                take_login(operation);
            }
        }
    }
}

fn take_parameter(operation: &mut Value, parameter: Value) {
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

fn take_key(operation: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "Names what is to be done, so that sending it twice does it once: the first answer that did \
                        something is given again for an hour.",
        "schema": { "type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES, "pattern": "^[!-~]+$" },
    });
    take_parameter(operation, key);
}

fn answer_unchanged(operation: &mut Value) {
    let condition = json!({
        "name": "If-None-Match", "in": "header", "required": false,
        "description": "The `ETag` of an answer that is there already.",
        "schema": { "type": "string" },
    });
    take_parameter(operation, condition);
    operation["responses"]["304"] = json!({ "description": "Nothing has changed since that answer." });
}

fn take_login(operation: &mut Value) {
    if let Some(ways) = operation["security"].as_array_mut() {
        ways.push(json!({ "login": [] }));
    }
}
