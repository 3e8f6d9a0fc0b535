//! Configuration: one TOML file, every setting overridable by a `LINKGATE_…` variable, every error in one run.
//!
//! [`tree`] reads file and environment into one tree in which each value knows where it was set;
//! [`section`] takes values out of it by type; [`settings`] turns them into the parts' own types.

mod addresses;
mod callers;
mod cautions;
mod keeping;
mod origins;
mod providers;
mod section;
mod service_links;
mod serving;
mod settings;
mod store_url;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clients::Client;
use crate::collection::Collection;
use crate::http::listen::{Address, ListenConfig};
use crate::http::server::Limits;
use crate::http::web::Origins;
use crate::identity::ProviderConfig;
use crate::revocation::redis::RedisConfig;
use crate::revocation::{Bounds, Mode, StalenessPolicy};
use crate::telemetry::LogConfig;

use self::service_links::is_service_link;

pub use self::cautions::Caution;
pub use self::settings::SETTING_NAMES;

/// Where the file is looked for when nothing is said.
pub const DEFAULT_FILE: &str = "linkgate.toml";
/// The data folder when nothing is said.
pub const DEFAULT_DATA_DIR: &str = "linkgate-data";
/// The address of every listener when nothing is said.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";
/// How long a command waits for Redis to answer a question.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
/// Largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Debug)]
pub struct Config {
    /// What links start with, without a slash at the end; `None` derives it from the download listener.
    pub public_url: Option<String>,
    pub data_dir: PathBuf,
    /// Where the keys are.
    pub key_source: KeySource,
    pub listen: ListenConfig,
    pub limits: Limits,
    pub store: StoreConfig,
    pub mode: Mode,
    pub staleness: StalenessPolicy,
    /// What the same client asks of a counted link within this time belongs to one download.
    pub session_window: Duration,
    /// How long after its end a link may still be refreshed.
    pub refresh_grace: Duration,
    pub bounds: Bounds,
    /// Pages of which origins may call the API from a browser.
    pub origins: Origins,
    pub collections: BTreeMap<String, Collection>,
    pub clients: Vec<Client>,
    pub identity_providers: Vec<ProviderConfig>,
    pub log: LogConfig,
}

/// Where the keys are read from: exactly one place.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A key file.
    File(PathBuf),
    /// The contents of a key file, from the environment.
    Text(crate::key_file::KeyText),
}

/// Where revocations are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In the data folder.
    Embedded,
    /// In Redis.
    Redis(Box<RedisConfig>),
}

/// The URL may hold a password.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            Self::Redis(redis) => write!(f, "Redis {{ url: [redacted], key_prefix: {:?} }}", redis.key_prefix),
        }
    }
}

/// What the command line says about the configuration; it overrides file and environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--media`: the root of the collection `image`, served directly unless configured otherwise.
    pub media: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`: one address for every listener.
    pub listen: Option<String>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub place: String,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Config {
    /// Reads a file (or [`DEFAULT_FILE`] if it is there), the environment and the command line.
    ///
    /// # Errors
    /// Every error at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &Overrides,
    ) -> Result<Self, Vec<ConfigError>> {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
        let text = file.map(read_file).transpose().map_err(|error| vec![error])?;
        let name = file.map(|file| file.display().to_string()).unwrap_or_default();
        let (mut variables, mut errors) = (Vec::new(), Vec::new());
        for (variable, value) in environment {
            // Whatever is no text is no variable of ours.
            let Ok(variable) = variable.into_string() else { continue };
            match value.into_string() {
                Ok(value) => variables.push((variable, value)),
                Err(_) if !variable.starts_with(tree::PREFIX) || is_service_link(&variable, "") => {}
                Err(_) => errors.push(ConfigError { place: variable, message: "is not UTF-8".into() }),
            }
        }
        match Self::parse(&name, text.as_deref().unwrap_or_default(), variables, overrides) {
            Ok(config) if errors.is_empty() => Ok(config),
            parsed => {
                errors.extend(parsed.err().into_iter().flatten());
                Err(errors)
            }
        }
    }

    /// Like [`Config::load`], with the file's text at hand.
    ///
    /// # Errors
    /// Every error at once.
    pub fn parse(
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, Vec<ConfigError>> {
        let errors = section::Errors::default();
        let tree = tree::read(name, text, environment, &errors);
        let config = settings::read(tree, overrides, &errors);
        match errors.into_list() {
            list if list.is_empty() => Ok(config),
            list => Err(list),
        }
    }

    /// The same for a command that asks a few questions and ends: a Redis is asked about each of them, however much it
    /// holds, instead of being followed.
    #[must_use]
    pub fn for_one_command(mut self) -> Self {
        if let StoreConfig::Redis(redis) = &mut self.store {
            redis.follows = false;
            redis.direct_timeout = COMMAND_PATIENCE;
            self.mode = Mode::Direct;
        }
        self
    }

    /// What links start with: as configured, or the address of the download listener; `None` where that is none that
    /// clients could go to, or not known yet.
    pub fn public_url(&self, download: Option<std::net::SocketAddr>) -> Option<String> {
        self.public_url.clone().or_else(|| match (&self.listen.download, download) {
            (Some(Address::Tcp(_)), Some(bound)) => addresses::url_of_bound(bound),
            (Some(Address::Tcp(address)), None) => addresses::url_of(address),
            _ => None,
        })
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let fail = |message: String| ConfigError { place: path.display().to_string(), message };
    let metadata = std::fs::metadata(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(fail(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))
}
