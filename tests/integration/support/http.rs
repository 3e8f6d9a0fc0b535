//! A client that shows every byte: one request, one connection, no opinions.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Place {
    Unix(PathBuf),
    Tcp(String),
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The one value of a header; fails when there are two.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Sends bytes as they are and reads until the server closes.
pub fn raw(place: &Place, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let timeout = Some(Duration::from_secs(20));
    let mut stream: Box<dyn Stream> = match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            Box::new(stream)
        }
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(timeout)?;
            Box::new(stream)
        }
    };
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// Makes a request; fails when there is no answer.
pub fn request(place: &Place, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    try_request(place, method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Makes a request.
pub fn try_request(
    place: &Place,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || matches!(method, "POST" | "PATCH") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    parse(&raw(place, &[head.as_bytes(), body].concat())?, method)
        .ok_or_else(|| std::io::Error::other("the answer is cut short"))
}

/// Takes an answer apart.
pub fn parse(answer: &[u8], method: &str) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut lines = answer[..end].split(|byte| *byte == b'\n');
    let status = std::str::from_utf8(lines.next()?).ok()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, Vec<u8>)> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        })
        .collect();
    let find = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let rest = &answer[end + 4..];
    let body = if find("transfer-encoding").is_some_and(|value| value == b"chunked") {
        dechunk(rest)?
    } else {
        match find("content-length").and_then(|length| std::str::from_utf8(length).ok()?.parse::<usize>().ok()) {
            Some(length) if method != "HEAD" && status != 304 => rest.get(..length)?.to_vec(),
            _ => rest.to_vec(),
        }
    };
    Some(Response { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend(rest.get(end + 2..end + 2 + length)?);
        rest = rest.get(end + 4 + length..)?;
    }
}
