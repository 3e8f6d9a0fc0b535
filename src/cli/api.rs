//! The HTTP API, wherever it is: a server, the operator's socket, or in this very process.
//!
//! A command that works with revocations speaks the same API in all three cases, so it behaves the same.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Server;
use crate::app::{self, OPERATOR_SOCKET, Parts};
use crate::config::{Config, StoreConfig};
use crate::http::listen::Peer;
use crate::http::{Audience, Routes};
use crate::http_client::{self, is_private};

const API_KEY: &str = "LINKGATE_API_KEY";
/// How long a server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a store in Redis may take to be set up.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A way to the API.
pub enum Api {
    Remote(Remote),
    Socket(std::path::PathBuf),
    Local(Box<Routes>),
}

/// A distant server, and the key that may be sent to it.
pub struct Remote {
    base: Uri,
    key: String,
}

impl Remote {
    /// Checks a URL before a key is read for it.
    ///
    /// # Errors
    /// When it is none, or the key could be read on the way and that is not what was asked for.
    fn new(url: &str, is_plain_allowed: bool) -> Result<Self> {
        const EXPECTED: &str = "--server must be a URL such as https://links.example.com or http://127.0.0.1:8081";
        let base: Uri = url.parse().context(EXPECTED)?;
        let authority = base.authority().context(EXPECTED)?;
        if authority.host().is_empty() || !matches!(base.scheme_str(), None | Some("http" | "https")) {
            bail!(EXPECTED);
        }
        if authority.as_str().contains('@') {
            bail!("--server takes no user or password: set {API_KEY} to an API key");
        }
        if !is_private(&base) && !is_plain_allowed {
            bail!(
                "the API key would go to {authority} in clear text: use https://, or say --plain-http \
                 (LINKGATE_PLAIN_HTTP=true) where the network encrypts by itself"
            );
        }
        let key = std::env::var(API_KEY).map_err(|_| anyhow!("set {API_KEY} to an API key for {base}"))?;
        Ok(Self { base, key })
    }
}

impl Api {
    /// The server that was named, else the one that runs on this data folder, else this process.
    pub async fn connect(server: &Server, config: &Config) -> Result<Self> {
        if let Some(url) = &server.server {
            return Ok(Self::Remote(Remote::new(url, server.plain_http)?));
        }
        let socket = config.data_dir.join(OPERATOR_SOCKET);
        if config.store == StoreConfig::Embedded && UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self::Socket(socket));
        }
        let state = Parts::open(config)?.into_state(config, config.public_url(None).unwrap_or_default())?;
        if config.store != StoreConfig::Embedded {
            let store = Arc::clone(&state.store);
            tokio::spawn(async move { store.follow().await });
            let loaded = tokio::time::timeout(LOAD_TIMEOUT, async {
                while state.readiness().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            if loaded.await.is_err()
                && let Err(reason) = state.readiness().await
            {
                bail!("{reason}");
            }
        }
        Ok(Self::Local(Box::new(Routes::new(&state, &[Audience::Api], Some(app::operator())))))
    }

    /// Makes a call that is expected to succeed.
    ///
    /// # Errors
    /// The problem that the API answers, in words.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, answer) = self.request(method, path, body).await?;
        if status.is_success() {
            return Ok(answer);
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        match (text("title"), text("detail")) {
            ("", _) => bail!("the server answered {status}"),
            (title, "") => bail!("{title}"),
            (title, detail) => bail!("{title}: {detail}"),
        }
    }

    /// Makes a call; answers whatever comes.
    pub async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value)> {
        let request = Request::builder().method(method).header(CONTENT_TYPE, "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = async {
            match self {
                Self::Local(routes) => {
                    let request = request.uri(path).body(Body::from(body))?;
                    read(routes.call(Peer::Unix, request).await).await
                }
                Self::Socket(socket) => {
                    let request = request.uri(path).header(HOST, "localhost").body(Full::from(body))?;
                    read(http_client::send_to_socket(socket, request).await?).await
                }
                Self::Remote(Remote { base, key }) => {
                    let host = base.authority().context("--server names no host")?.as_str();
                    let prefix = base.path().trim_end_matches('/');
                    let request = request
                        .uri(format!("{prefix}{path}"))
                        .header(HOST, host)
                        .header(AUTHORIZATION, format!("Bearer {key}"))
                        .body(Full::from(body))?;
                    read(http_client::send(base, request).await?).await
                }
            }
        };
        tokio::time::timeout(TIMEOUT, answer).await.context("the server took too long")?
    }
}

/// Asks one question over a fresh connection to a listener of our own.
///
/// # Errors
/// When nobody listens there.
pub async fn ask(address: &crate::http::listen::Address, path: &str) -> Result<(StatusCode, Value)> {
    use crate::http::listen::Address;
    let request = Request::get(path).header(HOST, "localhost").body(Full::<Bytes>::default())?;
    let answer = async {
        match address {
            Address::Tcp(address) => {
                read(http_client::send(&format!("http://{address}/").parse()?, request).await?).await
            }
            Address::Unix(path) => read(http_client::send_to_socket(path, request).await?).await,
        }
    };
    tokio::time::timeout(LOAD_TIMEOUT, answer).await.context("no answer in time")?
}

async fn read<B>(response: http::Response<B>) -> Result<(StatusCode, Value)>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = response.status();
    let body = http_client::read(response.into_body(), MAX_ANSWER_BYTES).await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}
