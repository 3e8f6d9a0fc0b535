//! Answers as they go over the wire (RFC 9112).

use std::io::{self, Write};

use axum::body::Body;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use http_body_util::BodyExt;

/// Ends a head; of the last answer of a connection it says so.
pub fn end(out: &mut Vec<u8>, is_last: bool) {
    if is_last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole answer in place of whatever `out` holds.
///
/// # Errors
/// When its body cannot be made.
pub async fn write(out: &mut Vec<u8>, response: Response<Body>, method: &Method, is_last: bool) -> io::Result<()> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    out.clear();
    write!(out, "HTTP/1.1 {} {}\r\n", head.status.as_str(), head.status.canonical_reason().unwrap_or_default())?;
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write!(out, "content-length: {}\r\n", body.len())?;
    end(out, is_last);
    if method != Method::HEAD {
        out.extend_from_slice(&body);
    }
    Ok(())
}
