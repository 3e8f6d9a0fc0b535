//! `[[clients]]`: who may call the API, and what they may ask for.

use std::collections::BTreeMap;

use super::section::{Errors, Section};
use super::tree::Place;
use crate::clients::{Client, ClientRecord, KeyRecord, MAX_RATE, PolicyRecord, RecordError, Role};
use crate::collection::Collection;
use crate::token::Feature;

/// The clients, ready to be recognised.
pub fn clients(sections: Vec<Section<'_>>, collections: &BTreeMap<String, Collection>, errors: &Errors) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for mut section in sections {
        let place = section.place().clone();
        let name = section.text("name").map(|found| found.value);
        let errors_before = errors.len();
        let roles = section.texts("roles").and_then(|list| {
            list.parse(errors, |list| {
                let parse = |text: &String| Role::parse(text).ok_or("may hold mint, inspect, revoke and admin");
                list.iter().map(parse).collect::<Result<Vec<_>, _>>()
            })
        });
        let has_wrong_roles = errors.len() > errors_before;
        let hashes = section.texts("key_hashes").map(|found| found.value).unwrap_or_default();
        let record = ClientRecord {
            roles: roles.unwrap_or_default(),
            policy: policy(&mut section, errors),
            keys: hashes.into_iter().map(|hash| KeyRecord { hash, created_at: None }).collect(),
            created_at: None,
        };
        section.finish();
        let Some(name) = name else {
            errors.add(&place, "`clients.name` must be set");
            continue;
        };
        report_unknown_collections(&record.policy, collections, &place, &format!("client `{name}`"), errors);
        if clients.iter().any(|other| other.name == name) {
            errors.add(&place, &format!("there are two clients `{name}`"));
        }
        match record.build(&name) {
            Ok(client) if client.keys.is_empty() => {
                errors.add(&place, &format!("client `{name}`: {}", RecordError::NoKey));
            }
            Ok(client) => clients.push(client),
            // That was said already.
            Err(RecordError::NoRole) if has_wrong_roles => {}
            Err(error) => errors.add(&place, &format!("client `{name}`: {error}")),
        }
    }
    clients
}

/// What a caller may ask for; clients and identity providers say it alike.
pub fn policy(section: &mut Section<'_>, errors: &Errors) -> PolicyRecord {
    let mut features = |key| {
        section.texts(key).and_then(|list| {
            list.parse(errors, |list| {
                let parse = |text: &String| Feature::parse(text).ok_or_else(feature_names);
                list.iter().map(parse).collect::<Result<Vec<_>, _>>()
            })
        })
    };
    let (require, permit) = (features("require"), features("permit"));
    let mut number = |key| section.number(key, 1, MAX_RATE.into()).map(|found| found.value);
    PolicyRecord {
        require: require.unwrap_or_default(),
        permit,
        requests_per_second: number("requests_per_second"),
        requests_burst: number("requests_burst"),
        links_per_second: number("links_per_second"),
        links_burst: number("links_burst"),
        subject_links_per_second: number("subject_links_per_second"),
        subject_links_burst: number("subject_links_burst"),
        allow: section.texts("allow").map(|found| found.value).unwrap_or_default(),
        collections: section.texts("collections").map(|found| found.value),
        max_ttl: section.span("max_ttl").map(|found| found.value.as_secs()),
        default_ttl: section.span("default_ttl").map(|found| found.value.as_secs()),
    }
}

fn feature_names() -> String {
    format!("may hold {}", Feature::ALL.map(Feature::as_str).join(", "))
}

pub fn report_unknown_collections(
    policy: &PolicyRecord,
    collections: &BTreeMap<String, Collection>,
    place: &Place,
    whose: &str,
    errors: &Errors,
) {
    for collection in policy.collections.iter().flatten() {
        if !collections.contains_key(collection) {
            errors.add(place, &format!("{whose}: there is no collection `{collection}`"));
        }
    }
}
