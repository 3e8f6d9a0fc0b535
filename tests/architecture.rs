//! The direction of dependencies, read off the source: what each part may name.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder or file below `src/`, and the parts of the crate it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("clock.rs", &[]),
    ("files.rs", &["entropy"]),
    ("span.rs", &[]),
    ("bounded.rs", &[]),
    ("telemetry/", &[]),
    ("process.rs", &[]),
    ("token/", &["clock"]),
    ("entropy.rs", &["token"]),
    ("collection.rs", &["token"]),
    ("key_file.rs", &["clock", "entropy", "files", "token"]),
    ("revocation/judge.rs", &["clock", "token", "revocation"]),
    ("revocation/index.rs", &["clock", "token", "revocation"]),
    ("revocation/links.rs", &["clock", "entropy", "token", "revocation"]),
    ("revocation/link_filter.rs", &[]),
    ("revocation/link_table.rs", &["token"]),
    ("revocation/cut_offs.rs", &["token", "revocation"]),
    ("revocation/target.rs", &["token"]),
    ("revocation/freshness.rs", &["clock"]),
    ("revocation/horizon.rs", &["clock", "revocation"]),
    ("revocation/list.rs", &["clock", "token", "revocation"]),
    ("revocation/mod.rs", &["clock", "token"]),
    ("revocation/questions.rs", &["clock", "token", "revocation"]),
    ("revocation/store.rs", &["clock", "entropy", "token", "revocation"]),
    ("revocation/embedded/", &["answers", "clock", "files", "revocation"]),
    ("revocation/redis/", &["answers", "clients", "clock", "entropy", "files", "revocation", "token"]),
    ("answers.rs", &["revocation"]),
    ("clients/", &["bounded", "clock", "entropy", "files", "revocation", "token"]),
    ("http_client.rs", &[]),
    ("identity/", &["clients", "clock", "http_client", "token"]),
    ("identity/json.rs", &[]),
    ("identity/algorithm.rs", &[]),
    ("identity/jwks.rs", &[]),
    ("identity/jwt.rs", &["clock"]),
    ("identity/times.rs", &["clock"]),
    ("edge/", &["clock", "collection", "revocation", "token"]),
    ("mint/", &["bounded", "clock", "collection", "entropy", "revocation", "token"]),
    ("inspect.rs", &["clock", "collection", "mint", "revocation", "token"]),
    (
        "http/",
        &[
            "answers",
            "bounded",
            "clients",
            "clock",
            "collection",
            "edge",
            "entropy",
            "identity",
            "inspect",
            "mint",
            "revocation",
            "span",
            "telemetry",
            "token",
            "http",
        ],
    ),
    (
        "config/",
        &["clients", "collection", "http", "identity", "key_file", "mint", "revocation", "span", "telemetry", "token"],
    ),
    ("keeper.rs", &["app", "clients", "clock", "config", "http", "identity", "revocation", "token"]),
    (
        "app.rs",
        &[
            "answers",
            "clients",
            "clock",
            "collection",
            "config",
            "edge",
            "files",
            "http",
            "http_client",
            "identity",
            "keeper",
            "key_file",
            "mint",
            "process",
            "revocation",
            "telemetry",
            "token",
        ],
    ),
    (
        "cli/",
        &[
            "app",
            "clients",
            "clock",
            "collection",
            "config",
            "files",
            "http",
            "http_client",
            "key_file",
            "mint",
            "process",
            "revocation",
            "span",
            "telemetry",
            "token",
        ],
    ),
];

/// Words that only one part may use, and that part.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("redis::", &["revocation/redis/"]),
    ("redb::", &["revocation/embedded/"]),
    ("x-accel-redirect", &["edge/"]),
    ("SystemTime::now", &["clock.rs"]),
    ("Instant::now", &["clock.rs"]),
    ("getrandom::", &["entropy.rs"]),
    ("ring::signature", &["identity/algorithm.rs"]),
    ("hyper::client", &["http_client.rs"]),
    ("clap::", &["cli/"]),
    ("utoipa", &["clients/", "http/", "mint/", "inspect.rs"]),
    // Routes are made with `routes!` alone: it takes documented handlers only.
    (".route(", &[]),
    ("route_service(", &[]),
];

/// What the pure core must do without.
const IMPURE: &[&str] = &[
    "tokio",
    "async ",
    "tracing",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::thread",
    "std::time::Instant",
    "getrandom",
];
const PURE: &[&str] = &[
    "token/",
    "clients/changes.rs",
    "clients/rates.rs",
    "clients/limiter.rs",
    "revocation/judge.rs",
    "revocation/target.rs",
    "identity/algorithm.rs",
    "identity/json.rs",
    "identity/jwks.rs",
    "identity/jwt.rs",
    "identity/times.rs",
];

fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            (
                path.strip_prefix(&root).unwrap().display().to_string(),
                without_tests(&fs::read_to_string(&path).unwrap()),
            )
        })
        .collect()
}

/// The product's code: tests at a file's foot and comments do not count.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn parts_use_only_what_lies_below_them() {
    for (file, text) in sources() {
        if ["lib.rs", "main.rs"].contains(&file.as_str()) {
            continue;
        }
        let (_, allowed) = MAY_USE
            .iter()
            .filter(|(part, _)| file.starts_with(part))
            .max_by_key(|(part, _)| part.len())
            .unwrap_or_else(|| panic!("src/{file} belongs to no part: name it in tests/architecture.rs"));
        let own = file.split(['/', '.']).next().unwrap();
        for used in text.split("crate::").skip(1) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            assert!(used == own || allowed.contains(&used), "src/{file} must not use crate::{used}");
        }
    }
}

#[test]
fn some_things_are_done_in_one_place_only() {
    for (file, text) in sources() {
        for (word, places) in ONLY_IN {
            // `crate::…::redis::` names the part, not the crate it hides.
            let text = text
                .replace("revocation::redis::", "")
                .replace("revocation::{redis::", "")
                .replace("crate::revocation::redis", "");
            let is_allowed = places.iter().any(|place| file.starts_with(place));
            assert!(is_allowed || !text.contains(word), "src/{file} must leave `{word}` to {places:?}");
        }
    }
}

#[test]
fn the_core_is_pure() {
    for (file, text) in sources() {
        if PURE.iter().any(|part| file.starts_with(part)) {
            for word in IMPURE {
                assert!(!text.contains(word), "src/{file} must do without `{word}`");
            }
        }
    }
}

#[test]
fn a_file_can_be_read_in_one_go() {
    for (file, _) in sources() {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&file)).unwrap();
        let lines = text.lines().count();
        assert!(lines <= 520, "src/{file} has {lines} lines: is it still one idea?");
    }
}

/// Who acts without a client's name has one of the reserved ones: `src/clients/names.rs` is their only list.
#[test]
fn no_author_is_named_in_the_code_but_by_the_list_of_reserved_names() {
    for (file, text) in sources().into_iter().filter(|(file, _)| file != "clients/names.rs") {
        for literal in ["created_by: \"", "by = \"", "\"operator\"", "name: \""] {
            assert!(
                !text.contains(literal),
                "src/{file} must take the name behind `{literal}` from src/clients/names.rs"
            );
        }
    }
}

/// A list of a body without a bound is built before anybody counts it: `src/bounded.rs` reads it no further than it may be.
#[test]
fn no_list_of_a_body_is_read_without_a_bound() {
    let is_of_bodies = |file: &str| {
        ["http/", "mint/", "clients/changes.rs", "clients/record.rs"].iter().any(|part| file.starts_with(part))
    };
    let mut seen = 0;
    for (file, text) in sources().into_iter().filter(|(file, _)| is_of_bodies(file)) {
        for item in
            text.split("#[derive(").skip(1).filter(|item| item.split(")]").next().unwrap().contains("Deserialize"))
        {
            let body = item.split("\n}").next().unwrap();
            // What is kept in a store was bounded when it was written.
            if body.contains("struct ClientRecord") {
                continue;
            }
            let lines: Vec<_> = body.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let is_list =
                    ["Vec<", "VecDeque<", "Set<", "Map<"].iter().any(|list| line.contains(list)) && line.contains(": ");
                if !is_list || line.trim_start().starts_with('#') {
                    continue;
                }
                let attributes: Vec<_> = lines[..at]
                    .iter()
                    .rev()
                    .take_while(|line| !line.ends_with(',') || line.starts_with("        "))
                    .collect();
                let is_bounded = attributes.iter().any(|line| line.contains("list::<"));
                assert!(is_bounded, "src/{file}: `{}` has no bound while it is read: see src/bounded.rs", line.trim());
                seen += 1;
            }
        }
    }
    assert!(seen >= 9, "{seen} lists were found");
}
