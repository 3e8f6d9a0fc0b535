//! What `docs/http-api.md` holds for the document as well: its examples, which tests send as they stand, and its words
//! on each problem.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// The reference.
const TEXT: &str = include_str!("../../../docs/http-api.md");

/// Operations, and the names of the examples of their request and their answer. A name may go on with a JSON pointer.
const EXAMPLES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("mintLink", Some("mint request"), Some("link")),
    ("mintLinks", Some("batch request"), Some("batch answer")),
    ("refreshLinks", Some("refresh request"), Some("batch answer")),
    ("inspectLink", Some("inspect request"), Some("inspection")),
    ("revoke", Some("revocation request"), Some("revocation")),
    ("listRevocations", None, Some("revocation list")),
    ("findRevocation", None, Some("revocation list#/revocations/0")),
    ("listVerifiers", None, Some("fleet")),
];

/// What a problem of a name means, and what to do.
pub fn meaning(problem: &str) -> &'static str {
    static MEANINGS: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| {
        let rows = TEXT.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
        rows.filter_map(|(name, rest)| Some((name, rest.split_once(" | ")?.1))).collect()
    });
    MEANINGS.get(problem).copied().unwrap_or_default()
}

/// Puts the examples beside the schemas they are examples of.
pub fn add_examples(document: &mut Value) {
    for operation in operations(document) {
        let Some((_, request, answer)) = EXAMPLES.iter().find(|(id, ..)| operation["operationId"] == *id) else {
            continue;
        };
        if let Some(example) = request.and_then(example) {
            operation["requestBody"]["content"]["application/json"]["example"] = example;
        }
        let good = ["200", "201"].into_iter().find(|status| !operation["responses"][status].is_null());
        if let (Some(example), Some(status)) = (answer.and_then(example), good) {
            operation["responses"][status]["content"]["application/json"]["example"] = example;
        }
    }
}

/// Every operation of a document.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = document["paths"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut);
    let operations = items.filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut);
    operations.filter(|operation| operation.is_object())
}

/// The example with a name, which stands in a comment before it.
fn example(name: &str) -> Option<Value> {
    let (name, pointer) = name.split_once('#').unwrap_or((name, ""));
    let (_, rest) = TEXT.split_once(&format!("<!-- example: {name} -->"))?;
    let (text, _) = rest.split_once("```json\n")?.1.split_once("```")?;
    serde_json::from_str::<Value>(text).ok()?.pointer(pointer).cloned()
}
