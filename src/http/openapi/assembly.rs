//! Puts the document together: what stands at the handlers, what holds for all of them, and the examples.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa_axum::router::OpenApiRouter;

use super::super::{Audience, download, routes};
use super::{problems, reference, shared, tags};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Linkgate",
        description = include_str!("about.md"),
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    servers((url = "/", description = "Where this document came from.")),
    components(schemas(problems::ProblemBody))
)]
struct Frame;

/// Downloads pass by the router.
#[derive(OpenApi)]
#[openapi(paths(download::answer))]
struct Downloads;

/// The whole document.
pub fn assemble() -> Value {
    let mut api = Frame::openapi();
    let tags = tags::ALL.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build());
    api.tags = Some(tags.into());
    api.merge(routes::<OpenApiRouter<_>>(Audience::Api).into_openapi());
    api.merge(Downloads::openapi());
    api.merge(routes::<OpenApiRouter<_>>(Audience::Download).into_openapi());
    api.merge(routes::<OpenApiRouter<_>>(Audience::Ops).into_openapi());
    for item in api.paths.paths.values_mut().filter(|item| item.head.is_none()) {
        item.head = item.get.as_ref().filter(|get| get.tags == Some(vec![tags::DOWNLOADS.into()])).and_then(head_of);
    }
    if let Some(components) = &mut api.components {
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("lgk_<client>_<43 characters>");
        let about =
            "An API key, made with `linkgate clients add`. The roles an operation needs stand with it; `admin` is all.";
        let scheme = SecurityScheme::Http(key.description(Some(about)).build());
        components.security_schemes.insert("api_key".into(), scheme.into());
    }
    let mut document = serde_json::to_value(api).unwrap_or_default();
    let schemas = &mut document["components"]["schemas"];
    name_exactly_one_target(&mut schemas["RevokeRequest"]);
    flatten(schemas, "Inspection", "Contents");
    embed(schemas, "InspectAnswer", "Inspection");
    tidy(&mut document);
    shared::add(&mut document);
    reference::add_examples(&mut document);
    document
}

/// A download may be asked for its head only. `/auth` is for edges, which ask with GET.
fn head_of(get: &utoipa::openapi::path::Operation) -> Option<utoipa::openapi::path::Operation> {
    let mut head = get.clone();
    head.operation_id = Some("downloadHead".into()).filter(|_| get.operation_id.as_deref() == Some("download"));
    head.summary = Some("Download, the head only".into());
    head.description = Some("The same answer without its body. It never counts as a download.".into());
    for response in head.responses.responses.values_mut() {
        if let utoipa::openapi::RefOr::T(response) = response {
            response.content.clear();
        }
    }
    head.operation_id.is_some().then_some(head)
}

/// What a derive cannot say: the members of `inner` stand in `outer`, all of them or none.
fn flatten(schemas: &mut Value, outer: &str, inner: &str) {
    let inner = schemas.as_object_mut().and_then(|schemas| schemas.shift_remove(inner)).unwrap_or_default();
    let mut whole = schemas[outer]["allOf"][1].take();
    whole["description"] = schemas[outer]["description"].take();
    if let (Some(properties), Value::Object(more)) = (whole["properties"].as_object_mut(), inner["properties"].clone())
    {
        properties.extend(more);
    }
    let dependencies = inner["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let dependencies: Map<_, _> = dependencies.map(|name| (name.to_owned(), inner["required"].clone())).collect();
    whole["dependentRequired"] = dependencies.into();
    schemas[outer] = whole;
}

/// The members of `inner` stand in `outer`, those that must be there as well.
fn embed(schemas: &mut Value, outer: &str, inner: &str) {
    let mut whole = schemas.as_object_mut().and_then(|schemas| schemas.shift_remove(inner)).unwrap_or_default();
    let own = schemas[outer]["allOf"][1].take();
    whole["description"] = schemas[outer]["description"].take();
    if let (Some(properties), Value::Object(more)) = (whole["properties"].as_object_mut(), own["properties"].clone()) {
        properties.extend(more);
    }
    if let (Some(required), Some(more)) = (whole["required"].as_array_mut(), own["required"].as_array()) {
        required.extend(more.iter().cloned());
    }
    schemas[outer] = whole;
}

/// Undoes what derives leave behind: doc comments broken into lines, descriptions beside the `$ref` of what may be
/// `null`, and "no security" written as one that asks for nothing.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            if let Some(Value::String(text)) = members.get_mut("description") {
                let paragraphs = text.trim().split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                *text = paragraphs.collect::<Vec<_>>().join("\n\n");
            }
            let choice = members.get_mut("oneOf").and_then(|choices| choices.get_mut(0)).and_then(Value::as_object_mut);
            if let Some(about) = choice.and_then(|choice| choice.shift_remove("description")) {
                members.insert("description".into(), about);
            }
            if members.get("security") == Some(&json!([{}])) {
                members.insert("security".into(), json!([]));
            }
        }
        _ => {}
    }
}

/// What a derive cannot say: one of eight fields, and no other beside it unless it is `null`.
fn name_exactly_one_target(schema: &mut Value) {
    let kinds = crate::revocation::Kind::ALL.map(crate::revocation::Kind::as_str);
    let only = |kind: &str| json!({ "required": [kind], "properties": { kind: { "not": { "type": "null" } } } });
    schema["oneOf"] = kinds.map(only).to_vec().into();
    schema["properties"]["everything"]["enum"] = json!([true, null]);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
