//! Sending the file without an edge: for trying Linkgate out, and for small installations.
//!
//! Ranges, conditional requests and HEAD are `tower-http`'s; this module sees to it that no path leads out of
//! the collection's root, and adds `If-Range` (RFC 9110 §13.1.5).

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use rustix::fs::{CWD, Mode, OFlags, openat};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower::ServiceExt;
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File, Metadata};

use super::EdgeReply;
use super::encode::push_path;
use super::pace::Paced;
use crate::token::MediaPath;

/// The body of a file on its way.
pub type FileBody = UnsyncBoxBody<Bytes, io::Error>;

/// The files below one root.
#[derive(Clone)]
pub struct DirectFiles {
    service: Service,
}

type Service = ServeDir<tower_http::services::fs::DefaultServeDirFallback, Confined>;

impl DirectFiles {
    /// Serves below a folder.
    pub fn new(root: &Path) -> Self {
        let backend = Confined { root: Arc::from(root) };
        let service = ServeDir::with_backend("", backend)
            .append_index_html_on_directories(false)
            .redirect_to_trailing_slash(false)
            .ignore_multi_range_requests(true);
        Self { service }
    }

    /// One of the files, whether it is there or not, to be sent at most at some rate: bytes per second.
    pub fn file(&self, path: MediaPath<'_>, rate_limit: Option<NonZeroU64>, extent: Extent) -> DirectFile {
        let mut text = Vec::from(b"/");
        push_path(&mut text, path.as_str());
        DirectFile { service: self.service.clone(), path: text.into(), rate_limit, extent }
    }
}

/// A file that may be sent.
pub struct DirectFile {
    service: Service,
    /// Percent-encoded, with a slash in front.
    path: Bytes,
    rate_limit: Option<NonZeroU64>,
    extent: Extent,
}

/// How much of a file a link is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, or the part that is asked for.
    Any,
    /// The part that is asked for: the link has ended, and a download is gone on with.
    Rest,
}

/// Why a file is not sent.
#[derive(Debug, Error)]
pub enum Unsent {
    #[error("the file is missing, or is not one")]
    Missing(#[from] io::Error),
    #[error("the link has ended, and the range that was asked for is void")]
    Over,
}

impl DirectFile {
    /// Whether it is sent no faster than its link allows.
    pub const fn is_held_back(&self) -> bool {
        self.rate_limit.is_some()
    }

    /// Sends the file, or a part of it, or word that it has not changed.
    ///
    /// # Errors
    /// There is nothing to say about the file then.
    pub async fn send(
        &self,
        method: &Method,
        request: &HeaderMap,
        reply: EdgeReply<HeaderMap>,
    ) -> Result<Response<FileBody>, Unsent> {
        let uri = Uri::from_maybe_shared(self.path.clone()).map_err(io::Error::other)?;
        let mut headers = request.clone();
        if headers.get(RANGE).is_some_and(|range| !range.as_bytes().starts_with(b"bytes=")) {
            headers.remove(RANGE);
        }
        if let Some(condition) = headers.remove(IF_RANGE)
            && headers.contains_key(RANGE)
            && !self.still_has(&uri, &condition).await?
        {
            headers.remove(RANGE);
        }
        let mut response = self.call(&uri, method.clone(), headers.clone()).await?;
        if asks_for_all(headers.get(RANGE), &response) {
            headers.remove(RANGE);
            response = self.call(&uri, method.clone(), headers).await?;
        }
        match response.status() {
            // Whatever made the range void: an `If-Range` that does not hold, or one day something else.
            StatusCode::OK if self.extent == Extent::Rest => return Err(Unsent::Over),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
                response.headers_mut().extend(reply.into_head());
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => {}
            _ => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
        Ok(match self.rate_limit {
            Some(rate) => response.map(|body| Paced::new(body, rate).boxed_unsync()),
            None => response,
        })
    }

    /// Whether the file's validators are still the ones that a part was fetched under.
    async fn still_has(&self, uri: &Uri, condition: &HeaderValue) -> io::Result<bool> {
        let current = self.call(uri, Method::HEAD, HeaderMap::new()).await?;
        let is_entity_tag = condition.as_bytes().starts_with(b"\"");
        let validator = current.headers().get(if is_entity_tag { ETAG } else { LAST_MODIFIED });
        Ok(validator == Some(condition))
    }

    async fn call(&self, uri: &Uri, method: Method, headers: HeaderMap) -> io::Result<Response<FileBody>> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = uri.clone();
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let response = self.service.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        Ok(response.map(BodyExt::boxed_unsync))
    }
}

/// Whether a range that `ServeDir` misread asks for the whole file: a suffix longer than the file, or any part of
/// an empty one (RFC 9110 §14.1.2).
fn asks_for_all(range: Option<&HeaderValue>, answer: &Response<FileBody>) -> bool {
    let suffix = || {
        let digits = range?.as_bytes().strip_prefix(b"bytes=-")?;
        Some(digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|digit| *digit != b'0'))
    };
    match answer.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => suffix().unwrap_or(false),
        StatusCode::PARTIAL_CONTENT => answer.headers().get(CONTENT_LENGTH).is_some_and(|length| length == "0"),
        _ => false,
    }
}

/// Opens files below a root without following a single symbolic link.
#[derive(Clone)]
struct Confined {
    root: Arc<Path>,
}

impl Confined {
    /// Opens a path relative to the root; `ServeDir` has taken it apart and put it together again.
    fn open_below(&self, path: &Path) -> io::Result<std::fs::File> {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at: OwnedFd = openat(CWD, &*self.root, folder, Mode::empty())?;
        let mut names = path.components().filter(|name| *name != Component::CurDir).peekable();
        while let Some(name) = names.next() {
            let Component::Normal(name) = name else { return Err(io::ErrorKind::NotFound.into()) };
            // NONBLOCK: opening a FIFO must not wait for somebody to write into it.
            let flags =
                if names.peek().is_some() { folder } else { OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC };
            at = openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
        }
        let file = std::fs::File::from(at);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    async fn open_file(self, path: PathBuf) -> io::Result<std::fs::File> {
        tokio::task::spawn_blocking(move || self.open_below(&path))
            .await
            .map_err(io::Error::other)?
            .map_err(|_| io::ErrorKind::NotFound.into())
    }
}

type Opening<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for Confined {
    type File = OpenFile;
    type Metadata = FileMetadata;
    type OpenFuture = Opening<OpenFile>;
    type MetadataFuture = Opening<FileMetadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let file = self.clone().open_file(path);
        Box::pin(async move { Ok(OpenFile(tokio::fs::File::from_std(file.await?))) })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let file = self.clone().open_file(path);
        Box::pin(async move { file.await?.metadata().map(FileMetadata) })
    }
}

/// What `ServeDir` needs to know about a file. A time before 1970 cannot be written as an HTTP date, so that such a
/// file has no validators.
struct FileMetadata(std::fs::Metadata);

impl Metadata for FileMetadata {
    fn is_dir(&self) -> bool {
        self.0.is_dir()
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.0
            .modified()
            .and_then(|time| if time < UNIX_EPOCH { Err(io::ErrorKind::Unsupported.into()) } else { Ok(time) })
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

struct OpenFile(tokio::fs::File);

impl File for OpenFile {
    type Metadata = FileMetadata;
    type MetadataFuture<'a> = Pin<Box<dyn Future<Output = io::Result<FileMetadata>> + Send + 'a>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        Box::pin(async { self.0.metadata().await.map(FileMetadata) })
    }
}

impl AsyncRead for OpenFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(cx)
    }
}
