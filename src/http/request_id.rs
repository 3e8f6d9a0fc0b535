//! `X-Request-Id`: the caller's name for a request, or one of ours; in the answer and in every log line about it.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

use crate::entropy;

/// The header, in requests and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over, in bytes.
pub const MAX_BYTES: usize = 128;

/// Names one request.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The one that a request brings, unless it could be mistaken for something else in a log; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(byte);
        let mut values = headers.get_all(REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(id), None) if (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(is_plain) => {
                Self(id.clone())
            }
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let text = entropy::token_id().text();
        Self(HeaderValue::from_str(text.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    /// What log lines about the request stand in.
    pub fn span(&self) -> Span {
        // However few lines are written, those that are name their request.
        tracing::error_span!("request", id = %self)
    }

    /// Names the request in its answer.
    pub fn put(self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.0);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_over_when_it_is_plain_and_made_otherwise() {
        let of = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            RequestId::of(&headers).to_string()
        };
        assert_eq!(of("4bf92f3577b34da6a3ce929d0e0e4736"), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in ["", "a b", "a\"b", "<x>", &"a".repeat(129)] {
            assert_eq!(of(bad).len(), 22, "{bad}");
        }
        assert_eq!(RequestId::of(&HeaderMap::new()).to_string().len(), 22);
    }
}
