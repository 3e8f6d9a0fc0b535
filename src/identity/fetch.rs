//! Where a provider's key set comes from: a file, or a URL that is asked in one short request.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use thiserror::Error;

use super::jwks::{KeySet, KeySetError};
use crate::http_client::{self, ClientError, is_private};

/// How long a provider may take to answer, from the first packet to the last byte.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest key set that is read, in bytes.
pub const MAX_SET_BYTES: usize = 256 << 10;

/// Where a key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file on this machine.
    File(PathBuf),
    /// `https://…`, or `http://` on this very machine.
    Url(Uri),
}

/// Why there is no new key set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {} seconds", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the answer is a redirect ({0}), which is not followed")]
    Redirect(u16),
    #[error("the answer's status is {0}")]
    Status(u16),
    #[error("the key set is larger than {MAX_SET_BYTES} bytes")]
    TooLarge,
    #[error("the file cannot be read: {0}")]
    File(String),
    #[error(transparent)]
    Set(#[from] KeySetError),
}

/// What tells one file from the next: a replaced file is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark(SystemTime, u64, u64);

impl Source {
    /// # Errors
    /// Says what a URL of a key set looks like.
    pub fn parse_url(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "must be an https:// URL, such as \"https://login.example.com/keys\"";
        let uri: Uri = text.parse().map_err(|_| WRONG)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(WRONG)?;
        match uri.scheme_str() {
            _ if authority.host().is_empty() || text.contains('#') => Err(WRONG),
            Some("http" | "https") if is_private(&uri) => Ok(Self::Url(uri)),
            Some("http") => Err("must be https://: with http:// anybody on the way could put keys of their own there"),
            _ => Err(WRONG),
        }
    }

    /// Fetches the key set.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(&self) -> Result<KeySet, FetchError> {
        let text = match self {
            Self::File(path) => read_file(path.clone()).await?,
            Self::Url(url) => {
                tokio::time::timeout(FETCH_TIMEOUT, ask(url)).await.map_err(|_| FetchError::TimedOut)??
            }
        };
        Ok(KeySet::parse(&text)?)
    }

    /// What the file looks like now; `None` for a URL, or when there is no file.
    pub fn mark(&self) -> Option<FileMark> {
        let Self::File(path) = self else { return None };
        let metadata = std::fs::metadata(path).ok()?;
        Some(FileMark(metadata.modified().ok()?, metadata.len(), metadata.ino()))
    }
}

async fn ask(url: &Uri) -> Result<Bytes, FetchError> {
    let unreachable = |error: ClientError| match error {
        ClientError::TooLarge(_) => FetchError::TooLarge,
        other => FetchError::Unreachable(other.to_string()),
    };
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("linkgate/", env!("CARGO_PKG_VERSION")))
        .body(Full::default())
        .map_err(|error| FetchError::Unreachable(error.to_string()))?;
    let response = http_client::send(url, request).await.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    http_client::read(response.into_body(), MAX_SET_BYTES).await.map_err(unreachable)
}

async fn read_file(path: PathBuf) -> Result<Bytes, FetchError> {
    let read = move || {
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut text = Vec::new();
        File::open(&path)?.take(MAX_SET_BYTES as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let failed = |error: &dyn std::fmt::Display| FetchError::File(error.to_string());
    let text = tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))?;
    let text = text.map_err(|error| failed(&error))?;
    if text.len() > MAX_SET_BYTES { Err(FetchError::TooLarge) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_encrypted_or_from_this_machine() {
        for good in [
            "https://login.example.com/.well-known/jwks.json?v=1",
            "https://[2001:db8::1]:8443/keys",
            "http://127.0.0.1:9000/keys",
            "http://localhost/keys",
            "http://[::1]:9000/keys",
        ] {
            assert!(Source::parse_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://login.example.com/keys",
            "http://10.0.0.1/keys",
            "http://localhost.example.com/keys",
            "https://user:password@login.example.com/keys",
            "https:///keys",
            "ftp://login.example.com/keys",
            "file:///etc/keys",
            "/keys",
            "https://login.example.com/keys#one",
            "",
        ] {
            assert!(Source::parse_url(bad).is_err(), "{bad}");
        }
    }
}
