//! `linkgate check` and `linkgate healthcheck`.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use http::StatusCode;
use serde::Serialize;
use tokio::net::TcpSocket;

use super::{Common, Failure, Outcome};
use crate::app;
use crate::clock::SystemClock;
use crate::collection::EdgeKind;
use crate::config::{Config, StoreConfig};
use crate::files;
use crate::http::listen::Address;
use crate::process;
use crate::revocation::Index;
use crate::revocation::redis::Severity;

/// Check the configuration, the keys, the media and the store; every error at once.
///
/// Exit code 0 when Linkgate could start, 1 when not, 2 when the configuration is wrong.
#[derive(Args)]
pub struct Check {}

/// How one thing looks.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Error,
}

#[derive(Serialize)]
struct Finding {
    grade: Grade,
    subject: String,
    message: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, grade: Grade, subject: &str, message: impl Into<String>) {
        self.0.push(Finding { grade, subject: subject.to_owned(), message: message.into() });
    }
}

impl Check {
    pub fn run(common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let mut findings = Findings::default();
        findings.add(Grade::Ok, "configuration", "every setting is understood");
        check_keys(&config, &mut findings);
        check_cautions(&config, &mut findings);
        check_data_folder(&config, &mut findings);
        check_media(&config, &mut findings);
        process::runtime()?.block_on(async {
            check_listeners(&config, &mut findings).await;
            check_store(&config, &mut findings).await;
            check_providers(&config, &mut findings).await;
        });
        common.output().table("findings", &findings.0, &["", "WHAT", ""], |finding| {
            let grade = match finding.grade {
                Grade::Ok => "ok",
                Grade::Warning => "warning",
                Grade::Error => "ERROR",
            };
            vec![grade.to_owned(), finding.subject.clone(), finding.message.clone()]
        })?;
        if findings.0.iter().any(|finding| finding.grade == Grade::Error) { Err(Failure::Answer(1)) } else { Ok(()) }
    }
}

fn check_keys(config: &Config, findings: &mut Findings) {
    match app::read_keys(&config.key_source).and_then(|keys| Ok(keys.keyring()?)) {
        Ok(keyring) => findings.add(Grade::Ok, "keys", format!("key {} signs", keyring.active_id())),
        Err(error) => findings.add(Grade::Error, "keys", format!("{error:#}")),
    }
}

/// What is allowed, and to be looked at twice.
fn check_cautions(config: &Config, findings: &mut Findings) {
    for caution in app::cautions(config) {
        findings.add(Grade::Warning, &caution.subject, caution.message);
    }
}

/// What would keep `serve` from making the data folder or, with the embedded store, from writing to it.
fn check_data_folder(config: &Config, findings: &mut Findings) {
    let Ok(folder) = std::path::absolute(&config.data_dir) else { return };
    let existing = folder.ancestors().find(|one| one.exists()).unwrap_or(&folder);
    // Beside a Redis little is kept there, and Linkgate does without.
    if (config.store == StoreConfig::Embedded || existing != folder)
        && let Err(error) = files::may_write_in(existing)
    {
        findings.add(Grade::Error, "data folder", format!("{} cannot be used: {error}", folder.display()));
    }
}

fn check_media(config: &Config, findings: &mut Findings) {
    for collection in config.collections.values() {
        let subject = format!("collection {}", collection.name().as_str());
        match collection.edge {
            EdgeKind::Nginx => {
                findings.add(Grade::Ok, &subject, format!("nginx sends its files from {}", collection.internal_prefix));
            }
            EdgeKind::Direct => match std::fs::read_dir(&collection.root) {
                Ok(_) => {
                    findings.add(Grade::Ok, &subject, format!("files are read from {}", collection.root.display()));
                }
                Err(error) => findings.add(
                    Grade::Error,
                    &subject,
                    format!("{} cannot be read: {error}", collection.root.display()),
                ),
            },
        }
    }
    if config.collections.is_empty() {
        findings.add(Grade::Warning, "collections", "there are none: no link can be made");
    }
}

/// What would keep `serve` from listening where it is told to. An address that is listened on already is no such thing: most
/// often it is Linkgate's own.
async fn check_listeners(config: &Config, findings: &mut Findings) {
    let listen = &config.listen;
    let settings = [("listen.download", &listen.download), ("listen.api", &listen.api), ("listen.ops", &listen.ops)];
    let mut seen: Vec<(&str, &Address, Option<SocketAddr>)> = Vec::new();
    for (setting, address) in settings.into_iter().filter_map(|(setting, address)| Some((setting, address.as_ref()?))) {
        // They share one listener.
        if seen.iter().any(|(_, other, _)| *other == address) {
            continue;
        }
        let tried = match address {
            Address::Tcp(text) => try_to_bind(text).await.map(Some),
            Address::Unix(path) => try_to_make_socket(path).map(|()| None),
        };
        let resolved = tried.unwrap_or_else(|error| {
            findings.add(Grade::Error, setting, format!("cannot listen on {address}: {error}"));
            None
        });
        let is_taken =
            |other: Option<SocketAddr>| resolved.zip(other).is_some_and(|(one, other)| is_taken_by(one, other));
        if let Some((other, text, _)) = seen.iter().find(|(_, _, other)| is_taken(*other)) {
            let message = format!("{address} is what `{other}` listens on as {text}: write both alike to share it");
            findings.add(Grade::Error, setting, message);
        }
        seen.push((setting, address, resolved));
    }
}

/// Binds an address for a moment, without listening on it: a Linkgate that starts meanwhile is not disturbed.
async fn try_to_bind(address: &str) -> io::Result<SocketAddr> {
    let resolved = tokio::net::lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = if resolved.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    match socket.bind(resolved) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(resolved),
    }
}

/// Whether one address cannot be listened on because of another.
fn is_taken_by(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same = one.ip().to_canonical() == other.ip().to_canonical();
    // A wildcard of IPv6 is one of IPv4 as well.
    let has = |all: SocketAddr, one: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (is_same || has(one, other) || has(other, one))
}

/// Looks whether a socket is there or could be made, and makes none.
fn try_to_make_socket(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(io::Error::other("there is a file of that name that is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => files::may_write_in(path.parent().unwrap_or(path)),
        Err(error) => Err(error),
    }
}

async fn check_store(config: &Config, findings: &mut Findings) {
    if config.store == StoreConfig::Embedded {
        findings.add(Grade::Ok, "store", format!("embedded, in {}", config.data_dir.display()));
        return;
    }
    let examined = match app::open_redis(config, Arc::new(Index::default()), Arc::new(SystemClock::new())) {
        Ok(store) => store.examine().await.context("Redis"),
        Err(error) => Err(error),
    };
    match examined {
        Ok(list) => {
            for finding in list {
                let grade = match finding.severity {
                    Severity::Fine => Grade::Ok,
                    Severity::Warning => Grade::Warning,
                    Severity::Wrong => Grade::Error,
                };
                findings.add(grade, "store", finding.message);
            }
        }
        Err(error) => findings.add(Grade::Error, "store", format!("{error:#}")),
    }
}

/// A provider that cannot be reached keeps nothing from starting: only its logins wait.
async fn check_providers(config: &Config, findings: &mut Findings) {
    for provider in &config.identity_providers {
        let subject = format!("identity provider {}", provider.name);
        match provider.keys.source.fetch().await {
            Ok(keys) => {
                findings.add(Grade::Ok, &subject, format!("{} keys check its logins", keys.len()));
                for unusable in &keys.passed_over {
                    findings.add(Grade::Warning, &subject, format!("a key is passed over: {unusable}"));
                }
            }
            Err(error) => findings.add(Grade::Warning, &subject, format!("its keys cannot be fetched: {error}")),
        }
    }
}

/// Ask a running Linkgate whether it is ready; for container health checks.
///
/// Asks /readyz on the ops listener of the configuration. Exit code 0 when it is ready, 1 when not.
#[derive(Args)]
pub struct Healthcheck {}

impl Healthcheck {
    pub fn run(common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        let address = config.listen.ops.context("`listen.ops` is off: there is nobody to ask")?;
        let (status, answer) = process::runtime()?
            .block_on(super::api::ask(&address, "/readyz"))
            .with_context(|| format!("no answer from {address}"))?;
        common.output().print(&answer, |answer| {
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            match text("reason") {
                reason if reason.is_empty() => text("status"),
                reason => format!("{}: {reason}", text("status")),
            }
        })?;
        if status == StatusCode::OK { Ok(()) } else { Err(Failure::Answer(1)) }
    }
}
