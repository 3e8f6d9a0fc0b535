//! Configuration files, and variables beside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::config::{Config, Overrides};
use linkgate::span::parse_span;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_span(text);
    // Lines before the first empty one are variables.
    let (variables, file) = text.split_once("\n\n").unwrap_or(("", text));
    let variables: Vec<_> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match Config::parse("linkgate.toml", file, variables, &Overrides::default()) {
        Ok(config) => assert!(config.limits.connections > 0 && !config.collections.is_empty()),
        Err(errors) => assert!(!errors.is_empty() && errors.iter().all(|error| !error.message.is_empty())),
    }
});
