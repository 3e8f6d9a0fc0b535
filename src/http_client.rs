//! A small HTTP/1.1 client: one request over a connection of its own, straight to the host.
//!
//! It follows no redirect, knows no proxy, keeps no connection and no cookie. How long a request may take is for the
//! caller to say; how much of an answer is read, too. TLS trusts the authorities that the system trusts.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the URL names no host")]
    NoHost,
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, std::io::Error),
    #[error("TLS with {0}: {1}")]
    Tls(String, std::io::Error),
    #[error("the exchange broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off")]
    Cut,
}

/// Whether no one on the way can read what is sent to a URL: it is encrypted, or stays on this machine.
pub fn is_private(to: &Uri) -> bool {
    to.scheme_str() == Some("https") || to.host().is_some_and(is_here)
}

/// Whether a host, as it stands in URLs, is this very machine.
pub fn is_here(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Sends a request to the host of a URL, encrypted when its scheme is `https`. The request names its own target and
/// headers, `Host` included.
///
/// # Errors
/// When the host cannot be reached or does not answer in HTTP.
pub async fn send(to: &Uri, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
    let authority = to.authority().ok_or(ClientError::NoHost)?.as_str();
    let name = to.host().ok_or(ClientError::NoHost)?.trim_matches(['[', ']']);
    let is_tls = to.scheme_str() == Some("https");
    let port = to.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((name, port))
        .await
        .map_err(|error| ClientError::Unreachable(authority.to_owned(), error))?;
    if is_tls {
        let failed = |error| ClientError::Tls(authority.to_owned(), error);
        exchange(encrypt(stream, name.to_owned()).await.map_err(failed)?, request).await
    } else {
        exchange(stream, request).await
    }
}

/// Sends a request to whoever listens on a Unix socket.
///
/// # Errors
/// When nobody does, or not in HTTP.
pub async fn send_to_socket(path: &Path, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
    let stream =
        UnixStream::connect(path).await.map_err(|error| ClientError::Unreachable(path.display().to_string(), error))?;
    exchange(stream, request).await
}

/// Reads a body to its end.
///
/// # Errors
/// When it is larger than `limit` bytes, or breaks off.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, ClientError>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { ClientError::TooLarge(limit) } else { ClientError::Cut }
    })?;
    Ok(read.to_bytes())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ClientError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

async fn encrypt(
    stream: TcpStream,
    name: String,
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
    // The system's authorities are files: reading them must not hold up other tasks.
    let certificates = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates.map_err(std::io::Error::other)?.certs);
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
