//! `linkgate check` and `linkgate healthcheck`.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use http::StatusCode;
use serde::Serialize;

use super::{Common, Failure, Outcome};
use crate::app;
use crate::clock::SystemClock;
use crate::collection::EdgeKind;
use crate::config::{Config, StoreConfig};
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
        check_exposure(&config, &mut findings);
        check_media(&config, &mut findings);
        process::runtime()?.block_on(async {
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

/// What is open to more than need it.
fn check_exposure(config: &Config, findings: &mut Findings) {
    for (what, why) in app::exposures(config) {
        findings.add(Grade::Warning, what, why);
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
