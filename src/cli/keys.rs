//! `linkgate keys`: make, list, activate, retire.

use clap::Subcommand;
use serde::Serialize;

use super::{Common, Outcome};
use crate::app;
use crate::clock::{Clock, Rfc3339, SystemClock};
use crate::config::{Config, KeySource};
use crate::key_file::{KeyFileError, Keys as KeySet, StoredKey};
use crate::token::{KeyId, KeyState};

/// A running Linkgate takes up a changed key file within a second; bring the file to every machine before you
/// activate a new key.
#[derive(Subcommand)]
pub enum Keys {
    /// Make a key: verifying, or active when it is the first.
    New,
    /// List the keys; their secrets are never shown.
    List,
    /// Let a key sign; the one before goes on verifying.
    Activate {
        /// The key's id.
        id: KeyId,
    },
    /// Refuse a key and every link signed with it, for good.
    Retire {
        /// The key's id.
        id: KeyId,
    },
}

#[derive(Serialize)]
struct Row {
    id: KeyId,
    state: KeyState,
    created_at: Rfc3339,
}

impl From<&StoredKey> for Row {
    fn from(key: &StoredKey) -> Self {
        Self { id: key.entry.id, state: key.entry.state, created_at: Rfc3339(key.created_at) }
    }
}

impl Keys {
    pub fn run(self, common: &Common) -> Outcome {
        let config = common.load_quietly()?;
        match self {
            Self::List => list(common, &config),
            Self::New => change(common, &config, |keys| Ok(keys.add(SystemClock::new().now().wall).0)),
            Self::Activate { id } => change(common, &config, |keys| keys.activate(id).map(|()| id)),
            Self::Retire { id } => change(common, &config, |keys| keys.retire(id).map(|()| id)),
        }
    }
}

fn list(common: &Common, config: &Config) -> Outcome {
    let keys = match &config.key_source {
        KeySource::File(path) => KeySet::read_to_change(path)?,
        source @ KeySource::Text(_) => app::read_keys(source)?,
    };
    let rows: Vec<Row> = keys.0.iter().map(Row::from).collect();
    common.output().table("keys", &rows, &["ID", "STATE", "CREATED"], |row| {
        vec![row.id.to_string(), row.state.to_string(), row.created_at.0.to_string()]
    })?;
    Ok(())
}

/// Changes the key file; prints the key that the change was about.
fn change(common: &Common, config: &Config, work: impl FnOnce(&mut KeySet) -> Result<KeyId, KeyFileError>) -> Outcome {
    let KeySource::File(path) = &config.key_source else {
        return Err(anyhow::anyhow!("the keys come from the environment: change them where that is set").into());
    };
    if let Some(folder) = path.parent() {
        app::create_data_dir(folder)?;
    }
    let mut keys = match KeySet::read_to_change(path) {
        // Only making a key works without a file; every other change then finds no key of that id.
        Err(KeyFileError::Missing(_)) => KeySet::default(),
        keys => keys?,
    };
    let id = work(&mut keys)?;
    keys.write(path)?;
    let row = keys.0.iter().find(|key| key.entry.id == id).map(Row::from);
    common
        .output()
        .print(&row, |row| row.as_ref().map(|row| format!("key {} is {}", row.id, row.state)).unwrap_or_default())?;
    Ok(())
}
