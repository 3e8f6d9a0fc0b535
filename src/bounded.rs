//! Lists in what others send: each stops being read where it grows too long, so that its length decides nothing.
//!
//! A list of a body is read by one of these (`#[serde(deserialize_with = "…")]`); `tests/architecture.rs` finds those
//! that are not.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What the refusal of a list begins with: the bound follows.
pub const REFUSAL: &str = "must hold at most ";

/// Reads a list of at most `MOST` items.
///
/// # Errors
/// [`REFUSAL`] and the bound, without a look at what stands behind the last item that may be there.
pub fn list<'de, const MOST: usize, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    List::<T, MOST>::deserialize(deserializer).map(|list| list.0)
}

/// Reads a list of at most `MOST` items, or `null`. The field needs `#[serde(default)]` to be left out.
///
/// # Errors
/// As of [`list`].
pub fn optional_list<'de, const MOST: usize, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<List<T, MOST>>::deserialize(deserializer)?.map(|list| list.0))
}

struct List<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

struct Reader<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Reader<T, MOST> {
    type Value = List<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < MOST {
            match items.next_element()? {
                Some(item) => list.push(item),
                None => return Ok(List(list)),
            }
        }
        match items.next_element_seed(Unread)? {
            Some(()) => Err(A::Error::custom(format_args!("{REFUSAL}{MOST} items"))),
            None => Ok(List(list)),
        }
    }
}

/// That there is one more item, of any kind.
struct Unread;

impl<'de> DeserializeSeed<'de> for Unread {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(deserialize_with = "list::<3, _, _>")]
        some: Vec<u8>,
        #[serde(default, deserialize_with = "optional_list::<2, _, _>")]
        few: Option<Vec<u8>>,
    }

    fn read(text: &str) -> Result<Body, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_within_its_bound_is_read_whole() {
        for (text, some) in [(r#"{"some":[]}"#, &[][..]), (r#"{"some":[1,2,3]}"#, &[1, 2, 3])] {
            let body = read(text).unwrap();
            assert_eq!((&body.some[..], body.few), (some, None));
        }
        assert_eq!(read(r#"{"some":[1],"few":null}"#).unwrap().few, None);
        assert_eq!(read(r#"{"some":[1],"few":[]}"#).unwrap().few, Some(vec![]));
        assert_eq!(read(r#"{"some":[1],"few":[1,2]}"#).unwrap().few, Some(vec![1, 2]));
    }

    #[test]
    fn a_list_beyond_its_bound_says_which() {
        for (text, refusal) in [
            (r#"{"some":[1,2,3,4]}"#, "must hold at most 3 items"),
            (r#"{"some":[1],"few":[1,2,3]}"#, "must hold at most 2 items"),
        ] {
            assert!(read(text).unwrap_err().starts_with(refusal), "{text}");
        }
        assert!(read(r#"{"some":"1"}"#).unwrap_err().contains("expected a sequence"));
    }

    #[test]
    fn what_stands_behind_the_last_item_is_not_read() {
        for behind in ["4,5]}", "4", "[[[[[[", "no JSON at all", "\"endless"] {
            let refusal = read(&format!(r#"{{"some":[1,2,3,{behind}"#)).unwrap_err();
            assert!(refusal.starts_with(REFUSAL), "{refusal}");
        }
    }
}
