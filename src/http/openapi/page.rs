//! The document as a page: no scripts, nothing from elsewhere, one file.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::tags;

/// The page's style: the only thing it may use.
const STYLE: &str = include_str!("page.css");

/// What the page may load: this very style, and nothing else.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The page.
pub fn render(document: &Value) -> String {
    let page = Page { document };
    let info = &document["info"];
    let groups = || tags::ALL.into_iter().map(|(tag, about)| (tag, about, page.operations(tag)));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&info["title"])) " HTTP API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav aria-label="Operations" {
                    p { strong { a href="#top" { (text(&info["title"])) } } }
                    @for (tag, _, operations) in groups() {
                        a href={ "#" (tag) } { (tag) }
                        ul { @for operation in &operations {
                            li { a href={ "#" (operation.id()) } { (text(&operation.body["summary"])) } }
                        } }
                    }
                }
                main id="top" {
                    h1 { (text(&info["title"])) " HTTP API " small { (text(&info["version"])) } }
                    (prose(text(&info["description"]), ""))
                    p { "For programs: " a href="openapi.json" { "openapi.json" } ". License: " (text(&info["license"]["name"])) "." }
                    @for (tag, about, operations) in groups() {
                        section {
                            h2 id=(tag) { (tag) }
                            (prose(about, ""))
                            @for operation in &operations { (page.operation(operation)) }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

struct Page<'d> {
    document: &'d Value,
}

struct Operation<'d> {
    method: &'d str,
    path: &'d str,
    body: &'d Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        text(&self.body["operationId"])
    }

    /// The operation as a command to try.
    fn curl(&self) -> String {
        let parameters = self.body["parameters"].as_array().into_iter().flatten();
        let path = parameters.fold(self.path.to_owned(), |path, parameter| match parameter["example"].as_str() {
            Some(example) => path.replace(&format!("{{{}}}", text(&parameter["name"])), example),
            None => path,
        });
        let mut lines = vec![match self.method {
            "get" | "post" => format!("curl \"$LINKGATE{path}\""),
            "head" => format!("curl --head \"$LINKGATE{path}\""),
            other => format!("curl -X {} \"$LINKGATE{path}\"", other.to_uppercase()),
        }];
        if self.roles().is_some() {
            lines.push("-H \"Authorization: Bearer $KEY\"".into());
        }
        let example = &self.body["requestBody"]["content"]["application/json"]["example"];
        if !example.is_null() {
            lines.push("-H 'Content-Type: application/json'".into());
            lines.push(format!("-d '{}'", example.to_string().replace('\'', "'\\''")));
        }
        lines.join(" \\\n  ")
    }

    /// The roles that an API key needs; `None` where no key is.
    fn roles(&self) -> Option<Vec<&str>> {
        let roles = self.body["security"].get(0)?.as_object()?.values().next()?.as_array()?;
        Some(roles.iter().map(text).collect())
    }
}

impl<'d> Page<'d> {
    fn operations(&self, tag: &str) -> Vec<Operation<'d>> {
        let items = members(&self.document["paths"]);
        let all =
            items.flat_map(|(path, item)| members(item).map(move |(method, body)| Operation { method, path, body }));
        let mut grouped: Vec<_> = all.filter(|operation| operation.body["tags"][0] == tag).collect();
        // What makes something comes before what looks at it.
        grouped.sort_by_key(|operation| operation.method != "post");
        grouped
    }

    fn operation(&self, operation: &Operation<'_>) -> Markup {
        let Operation { method, path, body } = operation;
        let parameters = body["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        html! {
            article id=(operation.id()) {
                h3 { (text(&body["summary"])) }
                p.call { span.{ "verb " (method) } { (method.to_uppercase()) } (path) }
                @if let Some(roles) = operation.roles() {
                    p.needs { "Needs an API key with the role " @for role in roles { code { (role) } } "." }
                }
                (prose(text(&body["description"]), ""))
                pre { code { (operation.curl()) } }
                @if !parameters.is_empty() {
                    h4 { "Parameters" }
                    table { @for parameter in parameters {
                        (self.row(text(&parameter["name"]), &parameter["schema"], parameter["required"] == true,
                            text(&parameter["description"]), text(&parameter["in"])))
                    } }
                }
                @for (_, content) in members(&body["requestBody"]["content"]) {
                    h4 { "Body" }
                    (self.schema(&content["schema"]))
                }
                h4 { "Answers" }
                table { @for (status, answer) in members(&body["responses"]) {
                    tr {
                        th { span.{ "s" (&status[..1]) } { (status) } }
                        td { (prose(text(&answer["description"]), "")) (self.answer(answer)) }
                    }
                } }
            }
        }
    }

    /// What stands in an answer: of a good one in view, of a refusal folded away.
    fn answer(&self, answer: &Value) -> Markup {
        let is_good = answer["content"]["application/problem+json"].is_null();
        let headers = html! {
            @if !answer["headers"].is_null() {
                table { @for (name, header) in members(&answer["headers"]) {
                    tr { th { (name) } td { (prose(text(&header["description"]), "")) } }
                } }
            }
        };
        html! {
            @for (_, content) in members(&answer["content"]) {
                @if is_good && self.resolve(&content["schema"])["properties"].is_object() {
                    details { summary { "Members" } (self.schema(&content["schema"])) }
                }
                @if !content["example"].is_null() {
                    details open { summary { "Example" } (json(&content["example"])) }
                }
            }
            @if is_good && !answer["headers"].is_null() { details { summary { "Headers" } (headers) } }
            @if !is_good {
                details {
                    summary { "Headers and example" }
                    (headers)
                    @for (_, example) in members(&answer["content"]["application/problem+json"]["examples"]) {
                        (json(&example["value"]))
                    }
                }
            }
        }
    }

    /// The members of an object, each in a row; objects within it folded.
    fn schema(&self, schema: &Value) -> Markup {
        let schema = self.resolve(schema);
        let is_required =
            |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        html! {
            (prose(text(&schema["description"]), ""))
            table { @for (name, member) in members(&schema["properties"]) {
                (self.row(name, member, is_required(name), text(&member["description"]), ""))
            } }
        }
    }

    fn row(&self, name: &str, schema: &Value, is_required: bool, about: &str, place: &str) -> Markup {
        let inner = self.inner(schema);
        let about = if about.is_empty() { text(&inner["description"]) } else { about };
        let mut limits = limits(schema);
        if !std::ptr::eq(schema, inner) {
            limits.extend(self::limits(inner));
        }
        html! {
            tr {
                th {
                    code { (name) }
                    small { (self.kind(schema).trim_end_matches(if is_required { "" } else { " or null" })) }
                    @if !place.is_empty() { small { "in " (place) } }
                    @if is_required { small { "required" } }
                }
                td {
                    (prose(about, ""))
                    @if !limits.is_empty() { (prose(&limits.join(", "), "limits")) }
                    @for choice in inner["oneOf"].as_array().into_iter().flatten().chain([inner]) {
                        @let choice = self.resolve(choice);
                        @if choice["properties"].is_object() { details { summary { "Members" } (self.schema(choice)) } }
                    }
                }
            }
        }
    }

    /// What a member holds in the end: behind references, lists, and the choice to leave it out.
    fn inner<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let schema = self.resolve(schema);
        match schema["oneOf"].as_array().map(Vec::as_slice) {
            Some([one, null] | [null, one]) if null["type"] == "null" => self.inner(one),
            _ if schema["type"] == "array" => self.inner(&schema["items"]),
            _ => schema,
        }
    }

    /// The type in a word or three.
    fn kind(&self, schema: &Value) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.resolve(schema);
            let is_object = target["properties"].is_object() || target["oneOf"].is_array();
            return if is_object { reference.rsplit('/').next().unwrap_or_default().into() } else { self.kind(target) };
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            return choices.iter().map(|choice| self.kind(choice)).collect::<Vec<_>>().join(" or ");
        }
        let types = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |types| types.iter().collect());
        let name = |kind: &&Value| match (text(kind), text(&schema["format"])) {
            ("array", _) => format!("list of {}", self.kind(&schema["items"])),
            ("string", "date-time") => "time".into(),
            (kind, _) => kind.to_owned(),
        };
        types.iter().map(name).collect::<Vec<_>>().join(" or ")
    }

    fn resolve<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/"));
        name.map_or(schema, |name| &self.document["components"]["schemas"][name])
    }
}

/// The limits of a schema, in words.
fn limits(schema: &Value) -> Vec<String> {
    let range = |low: &str, high: &str, unit: &str| match (&schema[low], &schema[high]) {
        (Value::Null, Value::Null) => None,
        (low, Value::Null) => Some(format!("at least {low}{unit}")),
        (Value::Null, high) => Some(format!("at most {high}{unit}")),
        (low, high) => Some(format!("{low} to {high}{unit}")),
    };
    let values = schema["enum"].as_array();
    [
        range("minLength", "maxLength", " characters"),
        range("minimum", "maximum", ""),
        range("minItems", "maxItems", " items"),
        values
            .map(|values| format!("one of `{}`", values.iter().map(Value::to_string).collect::<Vec<_>>().join("`, `"))),
        (!schema["default"].is_null()).then(|| format!("`{}` when left out", schema["default"])),
        schema["pattern"].as_str().map(|pattern| format!("matches `{pattern}`")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Paragraphs, with code between backticks.
fn prose(text: &str, class: &str) -> Markup {
    html! {
        @for paragraph in text.trim().split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            p class=[Some(class).filter(|class| !class.is_empty())] { @for (at, part) in paragraph.split('`').enumerate() {
                @if at % 2 == 1 { code { (part) } } @else { (part) }
            } }
        }
    }
}

fn json(value: &Value) -> Markup {
    html! { pre { code { (format!("{value:#}")) } } }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The members of an object, in their order; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}
