//! A policy in options: only what is given.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::super::links::span;
use crate::token::Feature;

/// What a client may ask for.
#[derive(Args)]
pub struct PolicyOptions {
    /// Paths it may mint links for: `*` is one segment, `**` any number; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Collections it may mint links for, all of them by default; may be given several times.
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Longest life of its links.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    max_ttl: Option<Duration>,
    /// Life of its links when it asks for none.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    default_ttl: Option<Duration>,
    /// What every link must have, named as in a mint request; may be given several times.
    #[arg(long, value_enum, value_name = "FEATURE")]
    require: Vec<Feature>,
    /// What a link may have, everything by default; may be given several times.
    #[arg(long, value_enum, value_name = "FEATURE")]
    permit: Vec<Feature>,
    /// Requests a second that each instance takes from it.
    #[arg(long, value_name = "NUMBER")]
    requests_per_second: Option<u64>,
    /// How many of them at once; one second's worth by default.
    #[arg(long, value_name = "NUMBER")]
    requests_burst: Option<u64>,
    /// Links a second that each instance makes for it; each item of a batch is one.
    #[arg(long, value_name = "NUMBER")]
    links_per_second: Option<u64>,
    /// How many of them at once, so also the largest batch; one second's worth by default.
    #[arg(long, value_name = "NUMBER")]
    links_burst: Option<u64>,
    /// Links a second for each of its subjects by itself.
    #[arg(long, value_name = "NUMBER")]
    subject_links_per_second: Option<u64>,
    /// How many of them at once; one second's worth by default.
    #[arg(long, value_name = "NUMBER")]
    subject_links_burst: Option<u64>,
}

impl PolicyOptions {
    /// What was given, as the API takes it.
    pub fn into_patch(self) -> Map<String, Value> {
        let list = |list: Vec<String>| (!list.is_empty()).then(|| json!(list));
        let features = |list: Vec<Feature>| (!list.is_empty()).then(|| json!(list));
        let seconds = |span: Option<Duration>| span.map(|span| json!(span.as_secs()));
        let number = |number: Option<u64>| number.map(|number| json!(number));
        let values = [
            (PolicyPart::Allow, list(self.allow)),
            (PolicyPart::Collections, list(self.collections)),
            (PolicyPart::MaxTtl, seconds(self.max_ttl)),
            (PolicyPart::DefaultTtl, seconds(self.default_ttl)),
            (PolicyPart::Require, features(self.require)),
            (PolicyPart::Permit, features(self.permit)),
            (PolicyPart::RequestsPerSecond, number(self.requests_per_second)),
            (PolicyPart::RequestsBurst, number(self.requests_burst)),
            (PolicyPart::LinksPerSecond, number(self.links_per_second)),
            (PolicyPart::LinksBurst, number(self.links_burst)),
            (PolicyPart::SubjectLinksPerSecond, number(self.subject_links_per_second)),
            (PolicyPart::SubjectLinksBurst, number(self.subject_links_burst)),
        ];
        values.into_iter().filter_map(|(part, value)| Some((part.as_str().to_owned(), value?))).collect()
    }
}

/// One part of a policy, named as in JSON.
#[derive(Clone, Copy)]
pub enum PolicyPart {
    Allow,
    Collections,
    MaxTtl,
    DefaultTtl,
    Require,
    Permit,
    RequestsPerSecond,
    RequestsBurst,
    LinksPerSecond,
    LinksBurst,
    SubjectLinksPerSecond,
    SubjectLinksBurst,
}

impl PolicyPart {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Collections => "collections",
            Self::MaxTtl => "max_ttl",
            Self::DefaultTtl => "default_ttl",
            Self::Require => "require",
            Self::Permit => "permit",
            Self::RequestsPerSecond => "requests_per_second",
            Self::RequestsBurst => "requests_burst",
            Self::LinksPerSecond => "links_per_second",
            Self::LinksBurst => "links_burst",
            Self::SubjectLinksPerSecond => "subject_links_per_second",
            Self::SubjectLinksBurst => "subject_links_burst",
        }
    }
}

impl ValueEnum for PolicyPart {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Allow,
            Self::Collections,
            Self::MaxTtl,
            Self::DefaultTtl,
            Self::Require,
            Self::Permit,
            Self::RequestsPerSecond,
            Self::RequestsBurst,
            Self::LinksPerSecond,
            Self::LinksBurst,
            Self::SubjectLinksPerSecond,
            Self::SubjectLinksBurst,
        ]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}

impl ValueEnum for Feature {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}
