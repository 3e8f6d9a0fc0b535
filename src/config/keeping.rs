//! `[store]`, `[revocation]`, `[downloads]`: where revocations are kept, and how they are judged by.

use std::path::PathBuf;
use std::time::Duration;

use super::section::{Errors, Section};
use super::store_url::check_parameters;
use crate::revocation::redis::{RedisConfig, TlsFiles, check_url, is_encrypted};
use crate::revocation::{Mode, OnStale, StalenessPolicy};
use crate::token::NOT_BEFORE_LEEWAY;

/// The Redis that is named; `None` for the embedded store.
pub fn redis(mut section: Section<'_>, errors: &Errors) -> Option<RedisConfig> {
    let default = RedisConfig::default();
    let place = section.place().clone();
    let url = section
        .text("url")
        .filter(|url| url.value != "embedded")
        .and_then(|url| url.parse(errors, |url| check_parameters(&url).and_then(|()| check_url(&url)).map(|()| url)));
    let key_prefix = section.text("key_prefix").and_then(|prefix| {
        prefix.parse(errors, |prefix| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
            if (1..=64).contains(&prefix.len()) && prefix.bytes().all(good) {
                Ok(prefix)
            } else {
                Err("must be 1 to 64 letters, digits, `.`, `_`, `:` or `-`")
            }
        })
    });
    let mut path = |key| section.text(key).map(|found| PathBuf::from(found.value));
    let (authorities, certificate, key) = (path("tls_ca"), path("tls_cert"), path("tls_key"));
    if certificate.is_some() != key.is_some() {
        errors.add(&place, "`store.tls_cert` and `store.tls_key` go together");
    }
    let tls = TlsFiles { authorities, identity: certificate.zip(key) };
    let min_replicas = section.number("min_replicas", 0, 100).map_or(default.min_replicas, |found| found.value as u32);
    let replica_timeout = section.span("replica_timeout").and_then(|found| {
        found.parse(errors, |span| {
            let bounds = Duration::from_millis(10)..=Duration::from_secs(10);
            if bounds.contains(&span) { Ok(span) } else { Err("must be from \"10ms\" to \"10s\"") }
        })
    });
    let init = section.text("init").and_then(|found| {
        found.parse(errors, |init| match init.as_str() {
            "auto" => Ok(true),
            "manual" => Ok(false),
            _ => Err("must be \"auto\" or \"manual\""),
        })
    });
    section.finish();
    let is_redis = url.is_some();
    if !is_redis && (!tls.is_empty() || min_replicas > 0) {
        errors.add(&place, "`store.tls_…` and `store.min_replicas` go with a Redis: set `store.url`");
    }
    if url.as_deref().is_some_and(|url| !tls.is_empty() && !is_encrypted(url)) {
        errors.add(&place, "`store.tls_…` go with an encrypted `store.url` such as rediss://host:6379");
    }
    Some(RedisConfig {
        url: url?,
        key_prefix: key_prefix.unwrap_or(default.key_prefix),
        tls,
        min_replicas,
        replica_timeout: replica_timeout.unwrap_or(default.replica_timeout),
        sets_up: init.unwrap_or(default.sets_up),
        ..RedisConfig::default()
    })
}

/// What `[revocation]` says about every store.
pub struct Revocation {
    pub mode: Mode,
    pub staleness: StalenessPolicy,
    pub leeway: Duration,
}

pub fn revocation(mut section: Section<'_>, redis: Option<&mut RedisConfig>, errors: &Errors) -> Revocation {
    let place = section.place().clone();
    let mode = section.text("mode").and_then(|found| {
        found.parse(errors, |mode| match mode.as_str() {
            "replica" => Ok(Mode::Replica),
            "direct" => Ok(Mode::Direct),
            _ => Err("must be \"replica\" or \"direct\""),
        })
    });
    let mode = mode.unwrap_or_default();
    let on_stale = section.text("on_stale").and_then(|found| {
        found.parse(errors, |value| match value.as_str() {
            "deny" => Ok(OnStale::Deny),
            "direct" => Ok(OnStale::Direct),
            "serve" => Ok(OnStale::Serve),
            _ => Err("must be \"deny\", \"direct\" or \"serve\""),
        })
    });
    let max_staleness = section.span("max_staleness").and_then(|found| {
        found.parse(
            errors,
            |span| if span >= Duration::from_secs(3) { Ok(span) } else { Err("must be at least \"3s\"") },
        )
    });
    let leeway = section.span("leeway").and_then(|found| {
        found
            .parse(errors, |span| if span <= NOT_BEFORE_LEEWAY / 3 { Ok(span) } else { Err("must be at most \"10s\"") })
    });
    let direct_timeout = section.span("direct_timeout").and_then(|found| {
        found.parse(errors, |span| {
            let bounds = Duration::from_millis(5)..=Duration::from_secs(10);
            if bounds.contains(&span) { Ok(span) } else { Err("must be from \"5ms\" to \"10s\"") }
        })
    });
    let cache_dir = section.text("cache_dir").map(|found| PathBuf::from(found.value));
    section.finish();
    let leeway = leeway.unwrap_or(Duration::from_secs(2));
    match redis {
        Some(redis) => {
            redis.follows = mode == Mode::Replica;
            redis.direct_timeout = direct_timeout.unwrap_or(redis.direct_timeout);
            redis.cache_dir = cache_dir;
            if redis.follows && std::env::var_os(FREEZES).is_some() {
                errors.add(
                    &place,
                    &format!(
                        "{FREEZES} is set: this platform freezes processes between requests, so none can follow the \
                         store; set `revocation.mode` to \"direct\""
                    ),
                );
            }
        }
        None if mode == Mode::Direct || on_stale == Some(OnStale::Direct) => {
            errors.add(&place, "\"direct\" asks a Redis about each link: set `store.url`");
        }
        None => {}
    }
    let staleness = StalenessPolicy {
        max_staleness: max_staleness.unwrap_or(Duration::from_secs(30)),
        on_stale: on_stale.unwrap_or_default(),
    };
    Revocation { mode, staleness, leeway }
}

/// The variable by which AWS Lambda can be told.
const FREEZES: &str = "AWS_LAMBDA_RUNTIME_API";

/// How long after its end a link may be refreshed.
pub fn links(mut section: Section<'_>, errors: &Errors) -> Duration {
    let grace = section.span("refresh_grace").and_then(|found| {
        found.parse(errors, |span| if span <= MAX_REFRESH_GRACE { Ok(span) } else { Err("must be at most \"23h\"") })
    });
    section.finish();
    grace.unwrap_or(DEFAULT_REFRESH_GRACE)
}

const DEFAULT_REFRESH_GRACE: Duration = Duration::from_secs(12 * 60 * 60);
/// Revocations are remembered for longer than that beyond the end of the links they cover.
const MAX_REFRESH_GRACE: Duration = Duration::from_secs(23 * 60 * 60);

pub fn downloads(mut section: Section<'_>, errors: &Errors) -> Duration {
    let window = section.span("session_window").and_then(|found| {
        found.parse(errors, |span| {
            let bounds = Duration::from_secs(1)..=Duration::from_secs(86_400);
            if bounds.contains(&span) { Ok(span) } else { Err("must be from \"1s\" to \"1d\"") }
        })
    });
    section.finish();
    window.unwrap_or(RedisConfig::default().session_window)
}
