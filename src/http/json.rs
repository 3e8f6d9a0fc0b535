//! JSON bodies, read strictly: every mistake is named, nothing unknown is passed over.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequest;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use crate::bounded;

/// Plain JSON.
pub const JSON: &str = "application/json";
/// A patch by RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// Longest text in a body that is not plain, its quotes aside: longer than any field may be.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Most bytes of a parser's words that are repeated.
const MAX_DETAIL_BYTES: usize = 1 << 10;

/// A body of the right shape.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<AppState>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &Arc<AppState>) -> Result<Self, Problem> {
        parse(&read(request, state, &[JSON]).await?).map(Self)
    }
}

/// Reads a body whose content type is one of some.
///
/// # Errors
/// When it is another, or the body too large or cut short.
pub async fn read(request: Request<Body>, state: &AppState, kinds: &[&str]) -> Result<Bytes, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        let advice = format!("Send `Content-Type: {}`.", kinds.join("` or `"));
        return Err(Problem::new(ProblemKind::UnsupportedMediaType).detail(advice));
    }
    read_body(request.into_body(), state.limits.body_bytes).await
}

/// Reads a body to its end.
///
/// # Errors
/// When it is larger than the limit, or ends early.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() { too_large(limit) } else { cut_short() }
    })?;
    Ok(read.to_bytes())
}

/// A body has more bytes than the limit.
pub fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::PayloadTooLarge).detail(format!("At most {limit} bytes are taken."))
}

/// A body ends early.
pub fn cut_short() -> Problem {
    Problem::new(ProblemKind::InvalidRequest).detail("The body could not be read to its end.")
}

/// Reads JSON text.
///
/// # Errors
/// A problem with the parser's own words, which name the field and the place but repeat no secrets of ours.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    check(text)?;
    serde_json::from_slice(text).map_err(|error| {
        // The place stands behind it.
        let words = Beginning::of(&error);
        let Some((rule, _)) = words.split_once(" at line ").filter(|_| words.starts_with(bounded::REFUSAL)) else {
            return invalid(words);
        };
        // Which list it is takes a second look, as far as the first one.
        let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(text));
        let field = again.err().map(|error| error.path().to_string()).unwrap_or_default();
        invalid(format!("`{field}` {rule}.")).with("field", field)
    })
}

/// Like [`parse`], by a parser of one's own.
///
/// # Errors
/// The same.
pub fn parse_with<T>(text: &[u8], parser: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>) -> Result<T, Problem> {
    check(text)?;
    parser(text).map_err(invalid)
}

/// What no parser needs to see.
fn check(text: &[u8]) -> Result<(), Problem> {
    // A list would pass for the fields in their order.
    if text.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        return Err(invalid("expected a JSON object"));
    }
    // A parser's words repeat what they are about, and write out what cannot be printed: DEL takes six bytes.
    if text.len() > MAX_TEXT_BYTES && has_odd_text(text, MAX_TEXT_BYTES) {
        let words = format!("a text of more than {MAX_TEXT_BYTES} bytes that is not printable ASCII is taken nowhere");
        return Err(invalid(words));
    }
    Ok(())
}

/// Whether a text in JSON is longer than so many bytes and holds others than those of printable ASCII.
fn has_odd_text(json: &[u8], most: usize) -> bool {
    let mut length = None;
    let (mut is_escaped, mut is_odd) = (false, false);
    for byte in json {
        length = match (length, byte) {
            (None, b'"') => Some(0),
            (None, _) => None,
            (Some(_), b'"') if !is_escaped => None,
            (Some(length), _) => Some(length + 1),
        };
        is_escaped = length.is_some() && *byte == b'\\' && !is_escaped;
        is_odd = length.is_some() && (is_odd || !matches!(byte, b' '..=b'~'));
        if is_odd && length > Some(most) {
            return true;
        }
    }
    false
}

fn invalid(words: impl Display) -> Problem {
    Problem::new(ProblemKind::InvalidRequest).detail(Beginning::of(words))
}

/// The first [`MAX_DETAIL_BYTES`] of what is written.
struct Beginning(String);

impl Beginning {
    fn of(words: impl Display) -> String {
        let mut beginning = Self(String::new());
        // It fails where the rest is left out.
        let _ = write!(beginning, "{words}");
        beginning.0
    }
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(MAX_DETAIL_BYTES.saturating_sub(self.0.len()));
        self.0.push_str(&text[..end]);
        if end == text.len() {
            return Ok(());
        }
        self.0.push_str(" …");
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_texts_are_measured_as_they_stand() {
        for (json, longest) in [
            (r#"{"a":"bcé"}"#, 4),
            (r#"["é\"b\"","c"]"#, 7),
            (r#"["a\\","bcdefgé"]"#, 8),
            (r#"["é","plain and long"]"#, 2),
            (r#""endléss"#, 8),
        ] {
            assert!(!has_odd_text(json.as_bytes(), longest), "{json}");
            assert!(has_odd_text(json.as_bytes(), longest - 1), "{json}");
        }
        assert!(!has_odd_text("[\"plain and long\",1234567890]é".as_bytes(), 2));
    }

    #[test]
    fn a_refusal_repeats_little_of_what_it_refuses() {
        let text = format!(r#"{{"expires_at":"{}"}}"#, "\u{7f}".repeat(60_000));
        let refusal = parse::<super::super::revocation_bodies::RevokeRequest>(text.as_bytes());
        let problem = refusal.unwrap_err().to_json();
        assert!(problem["detail"].as_str().unwrap().len() < MAX_DETAIL_BYTES + 8, "{problem}");
    }
}
