//! `[[identity_providers]]`: whose logins may call the API in place of an API key.

use std::collections::BTreeMap;
use std::time::Duration;

use super::callers::{policy, report_unknown_collections};
use super::section::{Errors, Section};
use super::tree::Place;
use crate::clients::{Client, Limit, MAX_RATE, RateRules, Role, check_name, quota};
use crate::collection::Collection;
use crate::identity::fetch::Source;
use crate::identity::keys::KeysConfig;
use crate::identity::{Algorithm, ProviderConfig};
use crate::token::{ClientName, Feature, is_claim_name};

/// The identity providers, ready to be asked.
pub fn providers(
    sections: Vec<Section<'_>>,
    clients: &[Client],
    collections: &BTreeMap<String, Collection>,
    errors: &Errors,
) -> Vec<ProviderConfig> {
    let mut providers: Vec<ProviderConfig> = Vec::new();
    for section in sections {
        let place = section.place().clone();
        let Some(provider) = provider(section, collections, errors) else { continue };
        let name = &provider.name;
        if clients.iter().any(|client| client.name == *name) || providers.iter().any(|other| other.name == *name) {
            errors.add(
                &place,
                &format!("identity provider `{name}`: a client or another provider has this name already"),
            );
        }
        let is_same = |other: &&ProviderConfig| other.issuer == provider.issuer && other.audience == provider.audience;
        if let Some(other) = providers.iter().find(is_same) {
            let other = &other.name;
            errors.add(&place, &format!("identity providers `{other}` and `{name}` have the same issuer and audience"));
        }
        providers.push(provider);
    }
    providers
}

fn provider(
    mut section: Section<'_>,
    collections: &BTreeMap<String, Collection>,
    errors: &Errors,
) -> Option<ProviderConfig> {
    let place = section.place().clone();
    for key in ["name", "issuer", "audience", "algorithms"].into_iter().filter(|key| !section.has(key)) {
        errors.add(&place, &format!("`identity_providers.{key}` must be set"));
    }
    let name =
        section.text("name").and_then(|name| name.parse(errors, |name| ClientName::parse(&name).map(|_| name.clone())));
    let issuer = section.text("issuer").and_then(|issuer| issuer.parse(errors, not_empty));
    let audience = section.text("audience").and_then(|audience| audience.parse(errors, not_empty));
    let algorithms = section.texts("algorithms").and_then(|list| {
        list.parse(errors, |list| {
            let parsed: Option<Vec<_>> = list.iter().map(|name| Algorithm::parse(name)).collect();
            parsed
                .filter(|list| !list.is_empty())
                .ok_or("may hold \"RS256\", \"ES256\" and \"EdDSA\", at least one of them")
        })
    });
    let source = source(&mut section, &place, errors);
    let leeway = span(&mut section, "leeway", ("0s", Duration::ZERO), ("5m", Duration::from_secs(300)), errors);
    let (second, day) = (("1s", Duration::from_secs(1)), ("1d", Duration::from_secs(86_400)));
    let refresh = span(&mut section, "jwks_refresh", second, day, errors).unwrap_or(DEFAULT_REFRESH);
    let cooldown = span(&mut section, "jwks_cooldown", second, ("1h", Duration::from_secs(3_600)), errors);
    let max_age = span(&mut section, "jwks_max_age", second, ("30d", day.1 * 30), errors).unwrap_or(DEFAULT_MAX_AGE);
    if max_age <= refresh {
        errors.add(&place, "`identity_providers.jwks_max_age` must be longer than `jwks_refresh`");
    }
    let subject_claim = section.text("subject_claim").and_then(|claim| {
        claim.parse(errors, |claim| {
            if is_claim_name(&claim) { Ok(claim) } else { Err("must be the name of a claim, such as \"sub\"") }
        })
    });
    let subject_claim = subject_claim.unwrap_or_else(|| "sub".to_owned());
    let roles = section.texts("roles").map_or(Some(vec![Role::Mint]), |list| {
        list.parse(errors, |list| {
            let allowed = |name: &String| Role::parse(name).filter(|role| matches!(role, Role::Mint | Role::Inspect));
            let parsed: Option<Vec<_>> = list.iter().map(allowed).collect();
            parsed
                .filter(|list| !list.is_empty())
                .ok_or("may hold \"mint\" and \"inspect\": a login is nobody who revokes")
        })
    });
    let mut rate = |key| section.number(key, 1, MAX_RATE.into()).map(|found| found.value);
    let subject_requests = (rate("subject_requests_per_second"), rate("subject_requests_burst"));
    let mut record = policy(&mut section, errors);
    section.finish();
    if record.permit.is_none() {
        // What a login asks for comes from a person whom the owner of the host need not trust.
        let chosen = |feature: &Feature| !TRUSTED_FEATURES.contains(feature) || record.require.contains(feature);
        record.permit = Some(Feature::ALL.into_iter().filter(chosen).collect());
    }

    let name = name?;
    let whose = format!("identity provider `{name}`");
    if let Err(error) = check_name(&name) {
        errors.add(&place, &format!("{whose}: {error}"));
    }
    report_unknown_collections(&record, collections, &place, &whose, errors);
    if record.allow.is_empty() && roles.as_ref().is_some_and(|roles| roles.contains(&Role::Mint)) {
        errors.add(&place, &format!("{whose}: `allow` needs at least one pattern, such as \"users/{{sub}}/**\""));
    }
    let policy = match record.build_for_logins(&subject_claim) {
        Ok(policy) => Some(policy),
        Err(error) => {
            errors.add(&place, &format!("{whose}: {error}"));
            None
        }
    };
    let own = quota(Limit::SubjectRequests, subject_requests.0, subject_requests.1);
    let rates = match record.rates().and_then(|rates| Ok(RateRules { subject_requests: own?, ..rates })) {
        Ok(rates) => Some(rates.with_parts()),
        Err(error) => {
            errors.add(&place, &format!("{whose}: {error}"));
            None
        }
    };
    Some(ProviderConfig {
        name,
        issuer: issuer?,
        audience: audience?,
        algorithms: algorithms?,
        keys: KeysConfig { source: source?, refresh, cooldown: cooldown.unwrap_or(DEFAULT_COOLDOWN), max_age },
        leeway: leeway.unwrap_or(DEFAULT_LEEWAY),
        roles: roles?,
        policy: policy?,
        rates: rates?,
    })
}

fn source(section: &mut Section<'_>, place: &Place, errors: &Errors) -> Option<Source> {
    match (section.text("jwks_url"), section.text("jwks_file")) {
        (Some(url), None) => url.parse(errors, |url| Source::parse_url(&url)),
        (None, Some(file)) => Some(Source::File(file.value.into())),
        _ => {
            errors.add(place, "an identity provider needs either `jwks_url` or `jwks_file`: where its keys are");
            None
        }
    }
}

fn span(
    section: &mut Section<'_>,
    key: &str,
    (least_text, least): (&str, Duration),
    (most_text, most): (&str, Duration),
    errors: &Errors,
) -> Option<Duration> {
    section.span(key)?.parse(errors, |span| {
        if (least..=most).contains(&span) {
            Ok(span)
        } else {
            Err(format!("must be from \"{least_text}\" to \"{most_text}\""))
        }
    })
}

fn not_empty(text: String) -> Result<String, &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(text) }
}

/// What logins may choose only where `permit` or `require` names it: how a browser takes the file, and how long a download
/// holds its connection.
const TRUSTED_FEATURES: [Feature; 3] = [Feature::ContentType, Feature::Disposition, Feature::RateLimit];

const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const DEFAULT_REFRESH: Duration = Duration::from_secs(600);
const DEFAULT_COOLDOWN: Duration = Duration::from_secs(30);
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(86_400);
