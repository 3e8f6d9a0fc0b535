//! A client that shows every byte: one request, one connection, no opinions.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::uninterrupted;

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

trait Stream: Read + Write + Send {
    /// Another handle on the same connection.
    fn another(&self) -> Box<dyn Stream>;
}

impl Stream for UnixStream {
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

impl Stream for TcpStream {
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

fn connect(place: &Place) -> std::io::Result<Box<dyn Stream>> {
    let timeout = Some(Duration::from_secs(20));
    Ok(match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(timeout)?;
            Box::new(stream)
        }
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(timeout)?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// A connection that is kept: one request after another, or several at once.
pub struct Connection {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Connection {
    pub fn open(place: &Place) -> Self {
        let stream = connect(place).unwrap_or_else(|error| panic!("{place:?}: {error}"));
        Self { stream, unread: Vec::new() }
    }

    /// The same connection, for another thread to send on.
    pub fn another(&self) -> Self {
        Self { stream: self.stream.another(), unread: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads the answer to the next request, which must have a length; `None` when the server has closed instead.
    pub fn answer(&mut self, method: &str) -> Option<Response> {
        loop {
            if let Some(response) = parse(&self.unread, method) {
                let head = self.unread.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
                let body = if method == "HEAD" { 0 } else { response.body.len() };
                self.unread.drain(..head + body);
                return Some(response);
            }
            let mut part = [0; 4096];
            match uninterrupted(|| self.stream.read(&mut part)) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend(&part[..read]),
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }
}

/// Sends bytes as they are and reads until the server closes.
pub fn raw(place: &Place, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(place)?;
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
