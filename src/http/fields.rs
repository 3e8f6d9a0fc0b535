//! The header fields of a request, whoever read them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that can be asked for by name.
pub trait Fields {
    /// The values of every line with this name, in their order.
    fn lines<'f>(&'f self, name: &'f HeaderName) -> impl DoubleEndedIterator<Item = &'f [u8]>;

    /// What all lines of several names for one thing say, where they say the same.
    fn agreed<'f>(&'f self, names: &'f [HeaderName]) -> Option<&'f [u8]> {
        let mut lines = names.iter().flat_map(|name| self.lines(name));
        let value = lines.next()?;
        lines.all(|line| line == value).then_some(value)
    }

    /// The value, where there is exactly one.
    fn only<'f>(&'f self, name: &'f HeaderName) -> Option<&'f [u8]> {
        let mut lines = self.lines(name);
        match (lines.next(), lines.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }
}

impl Fields for HeaderMap {
    fn lines<'f>(&'f self, name: &'f HeaderName) -> impl DoubleEndedIterator<Item = &'f [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// As they were parsed, name by name.
impl Fields for [httparse::Header<'_>] {
    fn lines<'f>(&'f self, name: &'f HeaderName) -> impl DoubleEndedIterator<Item = &'f [u8]> {
        self.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_str())).map(|field| field.value)
    }
}

/// The same fields in a map.
pub fn to_map(fields: &[httparse::Header<'_>]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(field.name), HeaderValue::from_bytes(field.value)) {
            map.append(name, value);
        }
    }
    map
}
