//! Every setting: its name, its bounds, its default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::addresses::{is_reachable, parse_public_url};
use super::callers;
use super::keeping::{self, Revocation};
use super::providers;
use super::section::{Errors, Section};
use super::serving;
use super::tree::{Place, Table};
use super::{Config, DEFAULT_DATA_DIR, KeySource, Overrides, StoreConfig};
use crate::collection::{Collection, EdgeKind, MAX_RESUME_GRACE, is_internal_prefix};
use crate::key_file;
use crate::mint::DEFAULT_COLLECTION;
use crate::revocation::Bounds;
use crate::revocation::redis::RedisConfig;
use crate::telemetry::{LogConfig, LogFormat};
use crate::token::{Disposition, Dotfiles};

/// Every setting's name, `*` standing for a collection's; the configuration reference is checked against it.
pub const SETTING_NAMES: &[&str] = &[
    "public_url",
    "data_dir",
    "keys.file",
    "listen.download",
    "listen.api",
    "listen.ops",
    "listen.socket_mode",
    "listen.trusted_proxies",
    "listen.client_address_header",
    "api.cors_origins",
    "limits.header_bytes",
    "limits.headers",
    "limits.body_bytes",
    "limits.header_timeout",
    "limits.write_timeout",
    "limits.request_timeout",
    "limits.drain_timeout",
    "limits.idle_exit",
    "limits.connections",
    "store.url",
    "store.key_prefix",
    "store.tls_ca",
    "store.tls_cert",
    "store.tls_key",
    "store.min_replicas",
    "store.replica_timeout",
    "store.init",
    "revocation.mode",
    "revocation.max_staleness",
    "revocation.on_stale",
    "revocation.leeway",
    "revocation.direct_timeout",
    "revocation.cache_dir",
    "downloads.session_window",
    "links.refresh_grace",
    "collections.*.root",
    "collections.*.internal_prefix",
    "collections.*.edge",
    "collections.*.default_ttl",
    "collections.*.max_ttl",
    "collections.*.disposition",
    "collections.*.cache",
    "collections.*.dotfiles",
    "collections.*.resume_grace",
    "clients.name",
    "clients.roles",
    "clients.allow",
    "clients.collections",
    "clients.max_ttl",
    "clients.default_ttl",
    "clients.require",
    "clients.permit",
    "clients.requests_per_second",
    "clients.requests_burst",
    "clients.links_per_second",
    "clients.links_burst",
    "clients.subject_links_per_second",
    "clients.subject_links_burst",
    "clients.key_hashes",
    "identity_providers.name",
    "identity_providers.issuer",
    "identity_providers.audience",
    "identity_providers.algorithms",
    "identity_providers.jwks_url",
    "identity_providers.jwks_file",
    "identity_providers.jwks_refresh",
    "identity_providers.jwks_cooldown",
    "identity_providers.jwks_max_age",
    "identity_providers.leeway",
    "identity_providers.subject_claim",
    "identity_providers.roles",
    "identity_providers.allow",
    "identity_providers.collections",
    "identity_providers.max_ttl",
    "identity_providers.default_ttl",
    "identity_providers.require",
    "identity_providers.permit",
    "identity_providers.requests_per_second",
    "identity_providers.requests_burst",
    "identity_providers.subject_requests_per_second",
    "identity_providers.subject_requests_burst",
    "identity_providers.links_per_second",
    "identity_providers.links_burst",
    "identity_providers.subject_links_per_second",
    "identity_providers.subject_links_burst",
    "log.level",
    "log.format",
];

/// Takes every setting out of the tree.
pub fn read(table: Table, overrides: &Overrides, errors: &Errors) -> Config {
    let mut root = Section::root(table, errors);
    let public_url = root.text("public_url");
    let has_public_url = public_url.is_some();
    let public_url = public_url.and_then(|url| url.parse(errors, parse_public_url));
    let data_dir = root.text("data_dir").map_or_else(|| PathBuf::from(DEFAULT_DATA_DIR), |dir| dir.value.into());
    let data_dir = overrides.data_dir.clone().unwrap_or(data_dir);
    let key_source = keys(root.section("keys"), &data_dir, errors);
    let listen = serving::listen(root.section("listen"), overrides, errors);
    let origins = serving::origins(root.section("api"), errors);
    let limits = serving::limits(root.section("limits"));
    let mut redis = keeping::redis(root.section("store"), errors);
    let Revocation { mode, staleness, leeway } =
        keeping::revocation(root.section("revocation"), redis.as_mut(), errors);
    let session_window = keeping::downloads(root.section("downloads"), errors);
    let refresh_grace = keeping::links(root.section("links"), errors);
    let store = redis
        .map_or(StoreConfig::Embedded, |redis| StoreConfig::Redis(Box::new(RedisConfig { session_window, ..redis })));
    let collections = collections(root.section("collections"), overrides, errors);
    let clients = callers::clients(root.list_of_sections("clients"), &collections, errors);
    let identity_providers =
        providers::providers(root.list_of_sections("identity_providers"), &clients, &collections, errors);
    let log = log(root.section("log"), errors);
    let place = root.place().clone();
    root.finish();

    let config = Config {
        public_url,
        data_dir,
        key_source,
        listen,
        limits,
        origins,
        store,
        mode,
        staleness,
        session_window,
        refresh_grace,
        bounds: Bounds { max_ttl: collections.values().map(|one| one.max_ttl).max().unwrap_or_default(), leeway },
        collections,
        clients,
        identity_providers,
        log,
    };
    let has_address = config.listen.download.as_ref().is_some_and(is_reachable);
    if !has_public_url && !has_address && config.listen.api.is_some() {
        errors.add(
            &place,
            "`public_url` must be set when downloads are not served on a host and port that clients reach; \"0.0.0.0\" and \
             \"[::]\" are none",
        );
    }
    for collection in config.collections.values().filter(|one| one.edge == EdgeKind::Direct) {
        let key_file = match &config.key_source {
            KeySource::File(path) if !is_inside(path, &config.data_dir) => Some(path),
            _ => None,
        };
        let kept = [
            ("data folder", Some(&config.data_dir), "--data-dir or `data_dir`"),
            ("key file", key_file, "`keys.file`"),
        ];
        for (what, path, setting) in kept {
            if let Some(path) = path.filter(|path| is_inside(path, &collection.root)) {
                errors.add(
                    &place,
                    &format!(
                        "the {what} {} lies inside the files of collection `{}`: keys must not be downloadable; choose \
                         another with {setting}",
                        path.display(),
                        collection.name().as_str()
                    ),
                );
            }
        }
    }
    config
}

fn keys(mut section: Section<'_>, data_dir: &Path, errors: &Errors) -> KeySource {
    let file = section.text("file");
    section.finish();
    match (file, key_file::KeyText::from_environment()) {
        (None, Some(text)) => KeySource::Text(text),
        (Some(file), Some(text)) => {
            errors
                .add(&file.place, &format!("`keys.file` and {} are both set: give the keys once", key_file::VARIABLE));
            KeySource::Text(text)
        }
        (Some(file), None) => KeySource::File(file.value.into()),
        (None, None) => KeySource::File(data_dir.join(key_file::FILE_NAME)),
    }
}

fn collections(section: Section<'_>, overrides: &Overrides, errors: &Errors) -> BTreeMap<String, Collection> {
    let mut collections = BTreeMap::new();
    let mut locations = Vec::new();
    for (name, section) in section.sections() {
        let media = overrides.media.clone().filter(|_| name == DEFAULT_COLLECTION);
        let place = section.place_of("internal_prefix").clone();
        if let Some(collection) = collection(&name, section, media, errors) {
            locations.push((place, collection.clone()));
            collections.insert(name, collection);
        }
    }
    report_shared_locations(&locations, errors);
    let is_wanted = collections.is_empty() || overrides.media.is_some();
    if is_wanted
        && !collections.contains_key(DEFAULT_COLLECTION)
        && let Ok(mut collection) = Collection::new(DEFAULT_COLLECTION, overrides.media.clone().unwrap_or_default())
    {
        if overrides.media.is_none() {
            collection.edge = EdgeKind::Nginx;
        }
        collections.insert(DEFAULT_COLLECTION.to_owned(), collection);
    }
    collections
}

fn collection(name: &str, mut section: Section<'_>, media: Option<PathBuf>, errors: &Errors) -> Option<Collection> {
    let place = section.place().clone();
    let root = section.text("root").map(|root| PathBuf::from(root.value));
    let edge = section.text("edge").and_then(|found| {
        found.parse(errors, |value| match value.as_str() {
            "nginx" => Ok(EdgeKind::Nginx),
            "direct" => Ok(EdgeKind::Direct),
            "caddy" | "x-sendfile" => Err("does not support this edge yet; use \"nginx\" or \"direct\""),
            _ => Err("must be \"nginx\" or \"direct\""),
        })
    });
    let internal_prefix = section.text("internal_prefix").and_then(|found| {
        found.parse(errors, |text| {
            if is_internal_prefix(&text) {
                Ok(text)
            } else {
                Err("must look like \"/media/\": one segment of a-z, 0-9, _ and -, not \"/download/\"")
            }
        })
    });
    let max_ttl = section.span("max_ttl").map(|found| found.value);
    let default_ttl = section.span("default_ttl");
    let disposition = section.text("disposition").and_then(|found| {
        found.parse(errors, |value| match value.as_str() {
            "attachment" => Ok(Disposition::Attachment),
            "inline" => Ok(Disposition::Inline),
            _ => Err("must be \"attachment\" or \"inline\""),
        })
    });
    let cache = section.span("cache").map(|found| found.value);
    let resume_grace = section.span("resume_grace").and_then(|found| {
        found.parse(errors, |span| if span <= MAX_RESUME_GRACE { Ok(span) } else { Err("must be at most \"23h\"") })
    });
    let dotfiles = section.boolean("dotfiles").is_some_and(|found| found.value);
    section.finish();

    let mut collection = match Collection::new(name, PathBuf::new()) {
        Ok(collection) => collection,
        Err(error) => {
            errors.add(&place, &format!("the collection name `{name}` {error}"));
            return None;
        }
    };
    let root = media.or(root);
    let default_edge = if root.is_some() { EdgeKind::Direct } else { EdgeKind::Nginx };
    collection.edge = edge.unwrap_or(default_edge);
    collection.root = match root {
        Some(root) => root,
        None if collection.edge == EdgeKind::Nginx => PathBuf::new(),
        None => {
            errors.add(&place, &format!("`collections.{name}.root` must be set: where the files are"));
            return None;
        }
    };
    if let Some(prefix) = internal_prefix {
        collection.internal_prefix = prefix;
    }
    collection.max_ttl = max_ttl.unwrap_or(collection.max_ttl);
    collection.cache = cache.unwrap_or(collection.cache);
    collection.disposition = disposition.unwrap_or(collection.disposition);
    collection.resume_grace = resume_grace.unwrap_or(collection.resume_grace);
    collection.dotfiles = if dotfiles { Dotfiles::Allowed } else { Dotfiles::Hidden };
    if collection.max_ttl < Duration::from_secs(1) {
        errors.add(&place, &format!("`collections.{name}.max_ttl` must be at least \"1s\""));
    }
    collection.default_ttl = match default_ttl {
        None => collection.default_ttl.min(collection.max_ttl),
        Some(found) if found.value > collection.max_ttl || found.value < Duration::from_secs(1) => {
            errors.add(&found.place, &format!("`{}` must be from \"1s\" to `max_ttl`", found.name));
            collection.max_ttl
        }
        Some(found) => found.value,
    };
    Some(collection)
}

/// One internal location of nginx is one folder: of two collections that share it, links of one would lead to files of the
/// other, past the callers' policies. Two of one root may share it.
fn report_shared_locations(locations: &[(Place, Collection)], errors: &Errors) {
    let of_nginx: Vec<_> = locations.iter().filter(|(_, one)| one.edge == EdgeKind::Nginx).collect();
    for (at, (place, one)) in of_nginx.iter().enumerate() {
        let is_same = |(_, other): &&&(Place, Collection)| {
            other.internal_prefix == one.internal_prefix && !is_one_folder(&other.root, &one.root)
        };
        if let Some((other_place, other)) = of_nginx[..at].iter().find(is_same) {
            errors.add(
                place,
                &format!(
                    "collections `{}` ({other_place}) and `{}` are both behind `internal_prefix` \"{}\": nginx has one folder \
                     there; give each its own, or both the same `root`",
                    other.name().as_str(),
                    one.name().as_str(),
                    one.internal_prefix,
                ),
            );
        }
    }
}

/// Whether two roots are known to be the same folder, which need not be there yet.
fn is_one_folder(one: &Path, other: &Path) -> bool {
    resolved(one).is_some_and(|folder| resolved(other) == Some(folder))
}

fn log(mut section: Section<'_>, errors: &Errors) -> LogConfig {
    let level = section.text("level").and_then(|found| {
        found.parse(errors, |text| {
            text.parse().map_err(|_| "must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\"")
        })
    });
    let format = section.text("format").and_then(|found| {
        found.parse(errors, |text| match text.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be \"text\" or \"json\""),
        })
    });
    section.finish();
    LogConfig { level: level.unwrap_or(tracing::Level::INFO), format: format.unwrap_or(LogFormat::Text) }
}

/// Whether a folder is another or lies in it.
pub fn is_inside(inner: &Path, outer: &Path) -> bool {
    resolved(inner).zip(resolved(outer)).is_some_and(|(inner, outer)| inner.starts_with(outer))
}

/// A path without links, as far as it exists; below that its names as they stand.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut existing = std::path::absolute(path).ok()?;
    let mut rest = Vec::new();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return Some(rest.iter().rev().fold(real, |path, name| path.join(name)));
        }
        rest.push(existing.file_name()?.to_owned());
        existing.pop();
    }
}
