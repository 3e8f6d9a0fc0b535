//! Where the header fields of a permitted answer go.

use std::fmt::Display;
use std::io::Write;

use bytes::Bytes;
use http::header::DATE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::UnixMillis;

/// The head of a permitted answer while it is made.
pub trait Head {
    /// Adds a field, whose value `write` appends: visible characters, spaces between them, no line breaks.
    fn put(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>));
}

/// For an answer that a general HTTP server writes.
impl Head for HeaderMap {
    fn put(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        let mut value = Vec::with_capacity(64);
        write(&mut value);
        let value = HeaderValue::from_maybe_shared(Bytes::from(value));
        self.insert(name, value.unwrap_or_else(|_| unreachable!("{UNFIT}")));
    }
}

/// A head as it goes over the wire (RFC 9112 §5), always of a 200: a redirect never stands below another status.
pub struct WrittenHead<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> WrittenHead<'o> {
    /// Begins an answer in place of whatever `out` holds.
    pub fn begin(out: &'o mut Vec<u8>, now: UnixMillis) -> Self {
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let mut head = Self { out };
        head.put(&DATE, |value| push(value, now.to_http()));
        head
    }
}

impl Head for WrittenHead<'_> {
    fn put(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(name.as_str().as_bytes());
        self.out.extend_from_slice(b": ");
        let from = self.out.len();
        write(self.out);
        assert!(self.out[from..].iter().all(|byte| is_field_byte(*byte)), "{UNFIT}");
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Appends what something looks like as text.
pub fn push(value: &mut Vec<u8>, shown: impl Display) {
    let written = write!(value, "{shown}");
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
}

/// RFC 9110 §5.5, without the tab.
const fn is_field_byte(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f
}

const UNFIT: &str = "values are made of checked text and have no control characters";

#[cfg(test)]
mod tests {
    use super::*;

    fn put(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"what was there before".to_vec();
        WrittenHead::begin(&mut out, UnixMillis(784_111_777_500)).put(&http::header::CONTENT_TYPE, write);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_is_written_as_it_is_sent() {
        let text = put(|value| value.extend_from_slice("image/png; n=\u{e9}".as_bytes()));
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: image/png; n=\u{e9}\r\n"
        );
    }

    #[test]
    #[should_panic(expected = "no control characters")]
    fn no_value_can_end_its_line() {
        put(|value| value.extend_from_slice(b"a\r\nx-accel-redirect: /etc/passwd"));
    }
}
