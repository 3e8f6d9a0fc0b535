//! What a request asks for: the only reader of the header fields that decide about a download.
//!
//! Edges pass on fields that they do not set, so lines that a client added stand beside those of its edge, under the same
//! name or under another name for the same thing. One rule for all of them: what is in doubt is read as what permits less.
//!
//! | what | fields | in doubt |
//! | --- | --- | --- |
//! | the link's address | `X-Original-URI`, `X-Forwarded-Uri` | there is none |
//! | the client's method | `X-Original-Method`, `X-Forwarded-Method` | a GET, which is a download |
//! | whether a download goes on | `Range`, `If-Range` | it begins |
//! | who sends what describes the file | `X-Linkgate-Delivery` | Linkgate |
//! | the client's address | `listen.client_address_header` | there is none: inside no network |

use std::net::IpAddr;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, Method};

use super::fields::Fields;
use super::listen::Peer;
use crate::edge::{DELIVERY, Delivery};

static URI: [HeaderName; 2] = [HeaderName::from_static("x-original-uri"), HeaderName::from_static("x-forwarded-uri")];
static METHOD: [HeaderName; 2] =
    [HeaderName::from_static("x-original-method"), HeaderName::from_static("x-forwarded-method")];
static SENDER: [HeaderName; 1] = [DELIVERY];

/// Who asks for what.
pub struct Asked<'r, F: ?Sized> {
    pub peer: Peer,
    pub method: &'r Method,
    pub path: &'r str,
    pub fields: &'r F,
    pub sender: Sender,
}

impl<F: ?Sized> Clone for Asked<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Asked<'_, F> {}

/// Who sends the file, and so obeys the request's range and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An edge, which Linkgate cannot watch.
    Edge,
    /// Linkgate, which sends the rest of a file or nothing once the link has ended.
    Linkgate,
}

impl<F: Fields + ?Sized> Asked<'_, F> {
    /// Where the fields go that describe the file.
    pub fn delivery(&self) -> Delivery {
        Delivery::of(self.fields.agreed(&SENDER))
    }

    /// Whether bytes are wanted: a HEAD is no download.
    pub fn begins(&self) -> bool {
        self.method != Method::HEAD
    }

    /// Whether it goes on with a download: it asks for the rest of a file behind its first byte, and gets no more than that.
    ///
    /// A false `If-Range` makes a range void (RFC 9110 §13.1.5), and only who sends the file knows whether it is false.
    pub fn resumes(&self) -> bool {
        let is_obeyed = || self.sender == Sender::Linkgate || self.fields.lines(&IF_RANGE).next().is_none();
        self.begins() && self.fields.only(&RANGE).is_some_and(is_behind_the_first_byte) && is_obeyed()
    }
}

/// The path an edge was asked for, without its query; `None` when the fields name none, or two.
pub fn original_path(headers: &HeaderMap) -> Option<&str> {
    let value = std::str::from_utf8(headers.agreed(&URI)?).ok()?;
    Some(value.split_once('?').map_or(value, |(path, _)| path))
}

/// The method an edge was asked with. One that does not say is taken to want the file.
pub fn original_method(headers: &HeaderMap) -> Method {
    match headers.agreed(&METHOD) {
        Some(b"HEAD") => Method::HEAD,
        _ => Method::GET,
    }
}

/// The client's address as a trusted proxy names it. All lines are one list, which grows to the right: the last item is
/// the proxy's own observation.
pub fn client_address<F: Fields + ?Sized>(fields: &F, name: &HeaderName) -> Option<IpAddr> {
    let line = std::str::from_utf8(fields.lines(name).next_back()?).ok()?;
    line.rsplit(',').next()?.trim().parse().ok()
}

/// Whether a `Range` is one range of bytes (RFC 9110 §14.1.2) that does not begin at the first of them. A range of the
/// last bytes (`bytes=-500`) may: of a file no longer than that it is all.
fn is_behind_the_first_byte(range: &[u8]) -> bool {
    const UNIT: &[u8] = b"bytes=";
    let Some((unit, range)) = range.split_at_checked(UNIT.len()) else { return false };
    let Some((first, last)) = std::str::from_utf8(range).ok().and_then(|range| range.split_once('-')) else {
        return false;
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    unit.eq_ignore_ascii_case(UNIT)
        && number(first).is_some_and(|first| first > 0 && (last.is_empty() || number(last) >= Some(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields as lines of text, `name: value`.
    fn fields(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            map.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_method_counts_as_head_only_where_every_line_says_so() {
        let values = ["", "GET", "HEAD", "head", "HEAD, HEAD", "HEAD,GET", "POST"];
        // Each header absent, once with every value, and twice with every pair of values.
        let mut choices: Vec<Vec<&str>> = vec![vec![]];
        choices.extend(values.iter().map(|value| vec![*value]));
        choices.extend(values.iter().flat_map(|one| values.iter().map(move |other| vec![*one, *other])));
        for original in &choices {
            for forwarded in &choices {
                let mut map = HeaderMap::new();
                for value in original {
                    map.append(&METHOD[0], value.parse().unwrap());
                }
                for value in forwarded {
                    map.append(&METHOD[1], value.parse().unwrap());
                }
                let said: Vec<_> = original.iter().chain(forwarded).collect();
                let is_head = !said.is_empty() && said.iter().all(|value| **value == "HEAD");
                assert_eq!(original_method(&map) == Method::HEAD, is_head, "{original:?} {forwarded:?}");
            }
        }
    }

    #[test]
    fn an_address_counts_only_where_every_line_names_it() {
        let path = |lines: &[&str]| original_path(&fields(lines)).map(str::to_owned);
        let found = Some("/a".to_owned());
        assert_eq!(path(&["x-original-uri: /a?b=c"]), found);
        assert_eq!(path(&["x-forwarded-uri: /a"]), found);
        assert_eq!(path(&["x-original-uri: /a", "x-forwarded-uri: /a"]), found);
        assert_eq!(path(&["x-original-uri: /a", "x-original-uri: /a"]), found);
        assert_eq!(path(&[]), None);
        for other in ["/b", "/a?", "/A", "", "/a, /a"] {
            for name in ["x-original-uri", "x-forwarded-uri"] {
                let other = format!("{name}: {other}");
                assert_eq!(path(&["x-original-uri: /a", &other]), None, "{other}");
                assert_eq!(path(&[&other, "x-original-uri: /a"]), None, "{other}");
            }
        }
    }

    #[test]
    fn only_one_range_behind_the_first_byte_goes_on() {
        let resumes = |sender, method: &Method, lines: &[&str]| {
            let fields = &fields(lines);
            Asked { peer: Peer::Unix, method, path: "/", fields, sender }.resumes()
        };
        for sender in [Sender::Edge, Sender::Linkgate] {
            for good in ["bytes=1-", "bytes=7-7", "BYTES=5-18446744073709551615", "bytes=18446744073709551615-"] {
                assert!(resumes(sender, &Method::GET, &[&format!("range: {good}")]), "{good}");
                assert!(!resumes(sender, &Method::HEAD, &[&format!("range: {good}")]), "{good}");
            }
            for bad in [
                "",
                "bytes",
                "bytes=",
                "bytes=-",
                "bytes=-3",
                "bytes=0-",
                "bytes=00-5",
                "bytes=+1-",
                "bytes=1-+5",
                "bytes= 1-",
                "bytes=1 -",
                "bytes=1",
                "bytes=1-x",
                "bytes=5-4",
                "bytes=1-2,4-",
                "bytes=1-2, 0-",
                "bytes=1--",
                "bytes=18446744073709551616-",
                "bytes=1-18446744073709551616",
                "items=1-",
                "bytes =1-",
                "bytes=\u{661}-",
                "\u{e9}\u{e9}\u{e9}=1-",
            ] {
                assert!(!resumes(sender, &Method::GET, &[&format!("range: {bad}")]), "{bad}");
            }
            assert!(!resumes(sender, &Method::GET, &[]));
            assert!(!resumes(sender, &Method::GET, &["range: bytes=4-", "range: bytes=4-"]));
            let conditional = ["range: bytes=4-", "if-range: \"x\""];
            assert_eq!(resumes(sender, &Method::GET, &conditional), sender == Sender::Linkgate);
            assert_eq!(resumes(sender, &Method::GET, &["range: bytes=4-", "if-range: "]), sender == Sender::Linkgate);
        }
    }

    #[test]
    fn the_last_item_of_all_lines_is_the_clients_address() {
        let name = HeaderName::from_static("x-forwarded-for");
        let address = |lines: &[&str]| client_address(&fields(lines), &name).map(|address| address.to_string());
        let found = Some("203.0.113.9".to_owned());
        for good in ["203.0.113.9", "6.6.6.6, 203.0.113.9", "6.6.6.6,203.0.113.9 ", "what,203.0.113.9"] {
            assert_eq!(address(&[&format!("x-forwarded-for: {good}")]), found, "{good}");
            assert_eq!(address(&["x-forwarded-for: 6.6.6.6", &format!("x-forwarded-for: {good}")]), found, "{good}");
        }
        for bad in ["", "203.0.113.9,", "unknown", "203.0.113.009", "203.0.113.9, x", "fe80::1%1"] {
            assert_eq!(address(&["x-forwarded-for: 203.0.113.9", &format!("x-forwarded-for: {bad}")]), None, "{bad}");
        }
        assert_eq!(address(&["x-real-ip: 203.0.113.9"]), None);
    }
}
