//! Which requests are plain enough for the express lane.

use std::mem::MaybeUninit;

use http::Method;
use httparse::{Header, Status};

use super::super::download::is_plain;

/// Header lines that there is room for.
const MAX_FIELDS: usize = 32;

/// What says that there is more to a request than its head, or to a connection than this request.
const FRAMING: [&str; 6] = ["connection", "content-length", "transfer-encoding", "expect", "upgrade", "te"];

/// Where the fields of a head are put.
pub struct Room<'b>([MaybeUninit<Header<'b>>; MAX_FIELDS]);

impl Default for Room<'_> {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

/// A plain request's head.
pub struct PlainHead<'b, 'r> {
    /// GET or HEAD.
    pub method: Method,
    /// Without the query.
    pub path: &'b str,
    pub fields: &'r [Header<'b>],
}

/// Reads one head, all of it and nothing behind it; `None` for whatever is not plain.
pub fn parse<'b, 'r>(bytes: &'b [u8], room: &'r mut Room<'b>, max_fields: usize) -> Option<PlainHead<'b, 'r>> {
    let mut request = httparse::Request::new(&mut []);
    if request.parse_with_uninit_headers(bytes, &mut room.0) != Ok(Status::Complete(bytes.len())) {
        return None;
    }
    let method = match request.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let is_one_one = request.version == Some(1);
    let fields: &'r [Header<'b>] = request.headers;
    let is_framed = fields.iter().any(|field| FRAMING.iter().any(|name| name.eq_ignore_ascii_case(field.name)));
    let path = plain_path(request.path?)?;
    (is_one_one && !is_framed && fields.len() <= max_fields).then_some(PlainHead { method, path, fields })
}

/// The path of a target in origin form whose characters mean the same to everybody; a query is passed over.
fn plain_path(target: &str) -> Option<&str> {
    let is_plain_in_query = |byte: u8| is_plain(byte) || b"=&%+.~,:".contains(&byte);
    let end = target.bytes().position(|byte| !is_plain(byte)).unwrap_or(target.len());
    let (path, rest) = target.split_at(end);
    let is_query = |rest: &str| rest.strip_prefix('?').is_some_and(|query| query.bytes().all(is_plain_in_query));
    (path.starts_with('/') && (rest.is_empty() || is_query(rest))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(head: &str) -> Option<String> {
        parse(head.as_bytes(), &mut Room::default(), 4).map(|head| head.path.to_owned())
    }

    #[test]
    fn a_question_of_an_edge_is_plain() {
        let plain = "GET /download/image/AbC_-9 HTTP/1.1\r\nHost: a\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
        assert_eq!(path_of(plain).as_deref(), Some("/download/image/AbC_-9"));
        assert_eq!(path_of(&plain.replace("GET", "HEAD")).as_deref(), Some("/download/image/AbC_-9"));
        assert_eq!(path_of(&plain.replace("-9 ", "-9?a=b%20c ")).as_deref(), Some("/download/image/AbC_-9"));
    }

    #[test]
    fn whatever_else_comes_is_somebody_elses_business() {
        let plain = "GET /download/image/AbC_-9 HTTP/1.1\r\nHost: a\r\n\r\n";
        for (from, to) in [
            ("GET", "POST"),
            ("GET", "get"),
            ("1.1", "1.0"),
            ("/download", "http://a/download"),
            ("-9", "-9%41"),
            ("-9", "-9#f"),
            ("-9", "-9?a\"b"),
            ("-9", "\u{e9}"),
            ("Host: a", "Connection: close"),
            ("Host: a", "content-LENGTH: 0"),
            ("Host: a", "Transfer-Encoding: chunked"),
            ("Host: a", "Expect: 100-continue"),
            ("Host: a", "Upgrade: h2c"),
            ("Host: a", "Host : a"),
            ("Host: a", "Host: a\r\n folded"),
            ("Host: a", "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5"),
            ("\r\n\r\n", "\r\n"),
            ("\r\n\r\n", "\r\n\r\nG"),
            ("\r\n\r\n", "\r\n\r\n\r\n"),
        ] {
            assert_eq!(path_of(&plain.replacen(from, to, 1)), None, "{to:?} for {from:?}");
        }
    }
}
