//! `linkgate serve`: run, and on an empty data folder make everything that is needed first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use super::output::line;
use super::{Common, Outcome};
use crate::app::{self, App};
use crate::clients::{Administration, ClientStore, Condition, FileClients, OPERATOR, PolicyRecord, Role, Uses};
use crate::clock::{Clock, SystemClock};
use crate::collection::Collection;
use crate::config::{Config, KeySource, Overrides, StoreConfig};
use crate::key_file::{KeyFileError, Keys};
use crate::mint::{DEFAULT_COLLECTION, Dates, MintRequest};
use crate::process;
use crate::revocation::Index;
use crate::telemetry;
use crate::token::{Dotfiles, MediaPath, MintPolicy};

/// Folders and files looked at to find one for the first link.
const SEARCH_BUDGET: usize = 10_000;
/// How deep the search goes.
const SEARCH_DEPTH: usize = 16;

/// Run Linkgate.
///
/// With --media and no configuration it keeps keys and revocations in a data folder of its own, serves on
/// 127.0.0.1:8080, sends the files itself and prints a working link. In production, give it a configuration.
#[derive(Args)]
pub struct Serve {
    /// Folder of the files in collection `image`; makes keys and API clients on an empty data folder.
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
    /// Address of every listener, such as 127.0.0.1:8080 (port 0: any that is free) or unix:/path.sock.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub fn run(self, common: &Common) -> Outcome {
        let overrides = Overrides { media: self.media.clone(), listen: self.listen.clone(), ..common.overrides() };
        if let Some(media) = &self.media {
            std::fs::read_dir(media).with_context(|| format!("the media folder {} cannot be read", media.display()))?;
        }
        let config = common.load(&overrides)?;
        telemetry::init(config.log);
        let runtime = process::runtime()?;
        runtime.block_on(async {
            let has_own_clients = config.store == StoreConfig::Embedded && config.clients.is_empty();
            let data_dir = config.data_dir.clone();
            if self.media.is_some() {
                make_first_key(&config)?;
            }
            let (stop, reload) = process::signals()?;
            let app = App::start(config, common.config.clone(), overrides).await?;
            let mut shown = Map::new();
            // Not before everything else has worked: a key that was made but never shown is of no use.
            let clients = FileClients::new(&data_dir);
            if self.media.is_some() && has_own_clients {
                make_first_clients(&clients, &mut shown).await?;
            }
            app.load_clients().await;
            if self.media.is_some() {
                shown.insert("url".into(), json!(app.state.signing.public_url));
                if let Some(link) = first_link(&app)? {
                    shown.insert("link".into(), json!(link));
                }
                if let Err(error) = show(&shown, common.json) {
                    forget_first_clients(&clients, &shown).await?;
                    return Err(error);
                }
            }
            for address in app.tcp_addresses() {
                tracing::info!(%address, "listening");
            }
            app.run(stop, reload).await
        })?;
        // Blocked file reads must not keep a drained process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }
}

/// Makes a key where there is no key file.
fn make_first_key(config: &Config) -> anyhow::Result<()> {
    app::create_data_dir(&config.data_dir)?;
    if let KeySource::File(path) = &config.key_source {
        match Keys::read(path) {
            Err(KeyFileError::Missing(_)) => {
                let mut keys = Keys::default();
                keys.add(SystemClock::new().now().wall);
                keys.write(path)?;
            }
            other => drop(other?),
        }
    }
    Ok(())
}

/// The clients of a first start.
const FIRST_CLIENTS: [(&str, &[Role]); 2] = [("admin", &[Role::Admin]), ("app", &[Role::Mint, Role::Inspect])];

fn administration(store: &FileClients) -> Administration<'_> {
    Administration {
        store,
        configured: &[],
        is_collection: &|_| true,
        is_provider: &|_| false,
        is_operator: true,
        seen: Uses::new(),
        now: SystemClock::new().now().wall,
    }
}

/// Makes clients where there are none; their API keys are shown this once.
async fn make_first_clients(store: &FileClients, shown: &mut Map<String, Value>) -> anyhow::Result<()> {
    if store.load().await?.is_empty() {
        for (name, roles) in FIRST_CLIENTS {
            let policy = PolicyRecord { allow: vec!["**".into()], ..PolicyRecord::default() };
            let made = administration(store).add(name, roles.to_vec(), policy).await?;
            shown.insert(format!("{name}_key"), json!(made.key.expose()));
        }
    }
    Ok(())
}

/// Takes back clients whose keys could not be shown: the next start makes others.
async fn forget_first_clients(store: &FileClients, shown: &Map<String, Value>) -> anyhow::Result<()> {
    for (name, _) in FIRST_CLIENTS {
        if shown.contains_key(&format!("{name}_key")) {
            administration(store).remove(name, &Condition::Any).await?;
        }
    }
    Ok(())
}

/// A link to the first file there is.
fn first_link(app: &App) -> anyhow::Result<Option<String>> {
    let state = &app.state;
    let Some(collection) = state.signing.collections.get(DEFAULT_COLLECTION) else { return Ok(None) };
    let Some(path) = first_file(collection) else { return Ok(None) };
    let request = MintRequest { path, ..MintRequest::default() };
    let policy = MintPolicy::unbounded();
    // Nothing that was revoked before stands in the way of a fresh example.
    let dates = Dates::at(state.clock.now().wall);
    let link = Index::default().look(|nothing| state.signing.mint(&request, OPERATOR, &policy, nothing, dates))?;
    Ok(Some(link.url))
}

/// The first file in alphabetical order whose name can stand in a link; folders come after files.
fn first_file(collection: &Collection) -> Option<String> {
    let mut budget = SEARCH_BUDGET;
    search(&collection.root, "", collection.dotfiles, SEARCH_DEPTH, &mut budget)
}

fn search(folder: &Path, prefix: &str, dotfiles: Dotfiles, depth: usize, budget: &mut usize) -> Option<String> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).take(*budget).collect();
    *budget -= entries.len();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(kind) if kind.is_dir() => folders.push((entry.path(), path)),
            _ => {}
        }
    }
    files.into_iter().find(|path| MediaPath::parse(path, dotfiles).is_ok()).or_else(|| {
        let depth = depth.checked_sub(1)?;
        folders.into_iter().find_map(|(folder, path)| {
            MediaPath::parse(&path, dotfiles).ok()?;
            search(&folder, &format!("{path}/"), dotfiles, depth, budget)
        })
    })
}

fn show(shown: &Map<String, Value>, json: bool) -> anyhow::Result<()> {
    if json {
        line(&serde_json::to_string(shown)?)?;
        return Ok(());
    }
    let text = |name: &str| shown.get(name).and_then(Value::as_str);
    line(&format!("Linkgate {} serves {}", env!("CARGO_PKG_VERSION"), text("url").unwrap_or_default()))?;
    for (name, label) in [("admin_key", "admin key"), ("app_key", "mint key ")] {
        if let Some(key) = text(name) {
            line(&format!("{label}  {key}  (shown once: keep it)"))?;
        }
    }
    match text("link") {
        Some(link) => line(&format!("link       {link}"))?,
        None => line("The media folder holds no file yet: put one there and run `linkgate mint PATH`.")?,
    }
    Ok(())
}
