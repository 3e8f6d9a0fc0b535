//! The key file: `keys.toml`, mode 0600, changed whole or not at all.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::UnixMillis;
use crate::entropy::random;
use crate::files;
use crate::token::{KeyEntry, KeyId, KeyState, Keyring, KeyringError, Secret};

/// The file inside the data folder.
pub const FILE_NAME: &str = "keys.toml";
/// The variable that can hold the contents of a key file.
pub const VARIABLE: &str = "LINKGATE_KEYS";
/// Secrets that stand in the published test vectors: SHA-256 or SHA-512 of this and the key's number.
const PUBLISHED: &str = "linkgate test vector key ";
const PUBLISHED_IDS: [u32; 4] = [7, 8, 9, u32::MAX];

/// The text of a key file; never printed, wiped when dropped.
#[derive(Clone, Zeroize, zeroize::ZeroizeOnDrop)]
pub struct KeyText(String);

impl KeyText {
    /// What the environment holds.
    pub fn from_environment() -> Option<Self> {
        std::env::var(VARIABLE).ok().map(Self)
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText([redacted])")
    }
}

/// Why keys cannot be read, changed or used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("there is no key file {0}: make the first key with `linkgate keys new`")]
    Missing(PathBuf),
    #[error("the key file {0} cannot be used: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0} is not a key file: {1}")]
    Malformed(String, String),
    #[error("{0}: {1}")]
    Keyring(String, KeyringError),
    #[error("{0}: the secret of key {1} is published in the test vectors: make another with `linkgate keys new`")]
    Published(String, KeyId),
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    #[error("key {0} is the active one: activate another first")]
    StillActive(KeyId),
    #[error("key {0} is retired: a retired key stays retired, make a new one")]
    Retired(KeyId),
}

/// One key with its age.
#[derive(Clone, Debug)]
pub struct StoredKey {
    pub entry: KeyEntry,
    pub created_at: UnixMillis,
}

/// All keys of a file, checked as a set.
#[derive(Clone, Debug, Default)]
pub struct Keys(pub Vec<StoredKey>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "key")]
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: KeyId,
    state: KeyState,
    created_at: String,
    secret: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// When it is missing, readable by others, malformed, or its keys cannot be used together.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let keys = Self::read_to_change(path)?;
        keys.keyring().map_err(|error| KeyFileError::Keyring(path.display().to_string(), error))?;
        Ok(keys)
    }

    /// Like [`Keys::read`], but a set without an active key will do: it can be mended.
    ///
    /// # Errors
    /// As for [`Keys::read`].
    pub fn read_to_change(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
            _ => KeyFileError::Io(path.to_owned(), error),
        };
        let mut file = files::open_secret(path).map_err(io)?;
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(io)?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads the text of a key file out of the environment.
    ///
    /// # Errors
    /// As for [`Keys::read`].
    pub fn from_text(text: &KeyText) -> Result<Self, KeyFileError> {
        let keys = Self::parse(VARIABLE, &text.0)?;
        keys.keyring().map_err(|error| KeyFileError::Keyring(VARIABLE.to_owned(), error))?;
        Ok(keys)
    }

    fn parse(name: &str, text: &str) -> Result<Self, KeyFileError> {
        // The parser's own message would quote the line, and with it a secret.
        let malformed = |why: &str| KeyFileError::Malformed(name.to_owned(), why.to_owned());
        let document: Document = toml::from_str(text).map_err(|error| malformed(error.message()))?;
        let mut keys = Vec::with_capacity(document.keys.len());
        for entry in &document.keys {
            let secret = URL_SAFE_NO_PAD.decode(&entry.secret).map_err(|_| malformed("a secret is not base64url"))?;
            let created_at = UnixMillis::parse_rfc3339(&entry.created_at)
                .ok_or_else(|| malformed("`created_at` is not an RFC 3339 time"))?;
            let secret = Secret::new(secret);
            if is_published(&secret) {
                return Err(KeyFileError::Published(name.to_owned(), entry.id));
            }
            keys.push(StoredKey { entry: KeyEntry { id: entry.id, state: entry.state, secret }, created_at });
        }
        let keys = Self(keys);
        match keys.keyring() {
            Ok(_) | Err(KeyringError::Empty | KeyringError::NoActiveKey) => Ok(keys),
            Err(error) => Err(KeyFileError::Keyring(name.to_owned(), error)),
        }
    }

    /// Writes the file, mode 0600, or the one behind the link that its path is.
    ///
    /// # Errors
    /// When the folder cannot be written or the link leads nowhere; the old file stays then.
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let keys = self.0.iter().map(|key| Entry {
            id: key.entry.id,
            state: key.entry.state,
            created_at: key.created_at.to_string(),
            secret: URL_SAFE_NO_PAD.encode(key.entry.secret.expose()),
        });
        let document = Document { keys: keys.collect() };
        let text = toml::to_string(&document)
            .map(Zeroizing::new)
            .map_err(|error| KeyFileError::Malformed(path.display().to_string(), error.to_string()))?;
        files::behind_link(path)
            .and_then(|file| files::replace(&file, text.as_bytes()))
            .map_err(|error| KeyFileError::Io(path.to_owned(), error))
    }

    /// The keys, ready for use.
    ///
    /// # Errors
    /// When they cannot be used together.
    pub fn keyring(&self) -> Result<Keyring, KeyringError> {
        let entries: Vec<KeyEntry> = self.0.iter().map(|key| key.entry.clone()).collect();
        Keyring::new(&entries)
    }

    /// Adds a new key: verifying, or active when it is the first.
    pub fn add(&mut self, now: UnixMillis) -> (KeyId, KeyState) {
        let id = KeyId(self.0.iter().map(|key| key.entry.id.0).max().unwrap_or(0).saturating_add(1));
        let state = if self.0.is_empty() { KeyState::Active } else { KeyState::Verifying };
        let secret = Secret::new(random::<32>().to_vec());
        self.0.push(StoredKey { entry: KeyEntry { id, state, secret }, created_at: now });
        (id, state)
    }

    /// Makes a key the one that signs; the one before goes on verifying.
    ///
    /// # Errors
    /// When there is no such key or it is retired.
    pub fn activate(&mut self, id: KeyId) -> Result<(), KeyFileError> {
        if self.find(id)?.entry.state == KeyState::Retired {
            return Err(KeyFileError::Retired(id));
        }
        for key in &mut self.0 {
            match key.entry.state {
                _ if key.entry.id == id => key.entry.state = KeyState::Active,
                KeyState::Active => key.entry.state = KeyState::Verifying,
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a key and every link signed with it.
    ///
    /// # Errors
    /// When there is no such key or it is the active one.
    pub fn retire(&mut self, id: KeyId) -> Result<(), KeyFileError> {
        let key = self.find(id)?;
        if key.entry.state == KeyState::Active {
            return Err(KeyFileError::StillActive(id));
        }
        key.entry.state = KeyState::Retired;
        Ok(())
    }

    fn find(&mut self, id: KeyId) -> Result<&mut StoredKey, KeyFileError> {
        self.0.iter_mut().find(|key| key.entry.id == id).ok_or(KeyFileError::NoSuchKey(id))
    }
}

fn is_published(secret: &Secret) -> bool {
    PUBLISHED_IDS.iter().any(|id| {
        let text = format!("{PUBLISHED}{id}");
        secret.expose() == &Sha256::digest(&text)[..] || secret.expose() == &sha2::Sha512::digest(&text)[..]
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn the_first_key_is_active_and_later_ones_wait() {
        let mut keys = Keys::default();
        assert_eq!(keys.add(NOW), (KeyId(1), KeyState::Active));
        assert_eq!(keys.add(NOW), (KeyId(2), KeyState::Verifying));
        keys.activate(KeyId(2)).unwrap();
        assert_eq!(keys.0[0].entry.state, KeyState::Verifying);
        assert!(matches!(keys.retire(KeyId(2)), Err(KeyFileError::StillActive(_))));
        keys.retire(KeyId(1)).unwrap();
        assert!(matches!(keys.activate(KeyId(1)), Err(KeyFileError::Retired(_))));
        assert!(matches!(keys.activate(KeyId(9)), Err(KeyFileError::NoSuchKey(_))));
        assert!(keys.keyring().is_ok());
    }

    #[test]
    fn a_file_is_written_for_its_owner_only_and_refused_when_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        assert!(matches!(Keys::read(&path), Err(KeyFileError::Missing(_))));
        let mut keys = Keys::default();
        keys.add(NOW);
        keys.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let back = Keys::read(&path).unwrap();
        assert_eq!(back.0[0].entry.secret.expose(), keys.0[0].entry.secret.expose());
        assert_eq!(back.0[0].created_at, NOW);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Keys::read(&path).is_err_and(|error| error.to_string().contains("chmod 600")));
    }

    #[test]
    fn an_error_never_repeats_what_the_file_holds() {
        let text =
            "[[key]]\nid = 1\nstate = \"active\"\ncreated_at = \"2026-01-01T00:00:00Z\"\nsecret = \"TOP-SECRET!\"\n";
        let error = Keys::parse("keys.toml", text).unwrap_err().to_string();
        assert!(!error.contains("TOP-SECRET"), "{error}");
    }

    #[test]
    fn a_published_secret_is_refused() {
        let secret = URL_SAFE_NO_PAD.encode(Sha256::digest("linkgate test vector key 7"));
        let text = format!(
            "[[key]]\nid = 1\nstate = \"active\"\ncreated_at = \"2026-01-01T00:00:00Z\"\nsecret = \"{secret}\"\n"
        );
        assert!(matches!(Keys::parse("keys.toml", &text), Err(KeyFileError::Published(_, KeyId(1)))));
    }
}
