//! Lists in what others send: each stops being read where it grows too long, so that its length decides nothing.
//!
//! A list of a body is read by one of these (`#[serde(deserialize_with = "…")]`); `tests/architecture.rs` finds those
//! that are not.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What the refusal of a list begins with: the bounds follow.
pub const REFUSAL: &str = "must hold ";

/// Reads a list of `LEAST` to `MOST` items.
///
/// # Errors
/// [`REFUSAL`] and the bounds, without a look at what stands behind the last item that may be there.
pub fn list<'de, const LEAST: usize, const MOST: usize, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    List::<T, LEAST, MOST>::deserialize(deserializer).map(|list| list.0)
}

/// Reads a list of `LEAST` to `MOST` items, or `null`. The field needs `#[serde(default)]` to be left out.
///
/// # Errors
/// As of [`list`].
pub fn optional_list<'de, const LEAST: usize, const MOST: usize, D, T>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<List<T, LEAST, MOST>>::deserialize(deserializer)?.map(|list| list.0))
}

struct List<T, const LEAST: usize, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const LEAST: usize, const MOST: usize> Deserialize<'de> for List<T, LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

struct Reader<T, const LEAST: usize, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LEAST: usize, const MOST: usize> Visitor<'de> for Reader<T, LEAST, MOST> {
    type Value = List<T, LEAST, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let refusal = || match LEAST {
            0 => A::Error::custom(format_args!("{REFUSAL}at most {MOST} items")),
            _ => A::Error::custom(format_args!("{REFUSAL}{LEAST} to {MOST} items")),
        };
        let mut list = Vec::new();
        while list.len() < MOST {
            match items.next_element()? {
                Some(item) => list.push(item),
                None if list.len() < LEAST => return Err(refusal()),
                None => return Ok(List(list)),
            }
        }
        match items.next_element_seed(Unread)? {
            Some(()) => Err(refusal()),
            None => Ok(List(list)),
        }
    }
}

/// That there is one more, whatever it is.
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
        #[serde(deserialize_with = "list::<1, 3, _, _>")]
        some: Vec<u8>,
        #[serde(default, deserialize_with = "optional_list::<0, 2, _, _>")]
        few: Option<Vec<u8>>,
    }

    fn read(text: &str) -> Result<Body, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_within_its_bounds_is_read_whole() {
        for (text, some) in [(r#"{"some":[1]}"#, &[1][..]), (r#"{"some":[1,2,3]}"#, &[1, 2, 3])] {
            let body = read(text).unwrap();
            assert_eq!((&body.some[..], body.few), (some, None));
        }
        assert_eq!(read(r#"{"some":[1],"few":null}"#).unwrap().few, None);
        assert_eq!(read(r#"{"some":[1],"few":[]}"#).unwrap().few, Some(vec![]));
        assert_eq!(read(r#"{"some":[1],"few":[1,2]}"#).unwrap().few, Some(vec![1, 2]));
    }

    #[test]
    fn a_list_beyond_its_bounds_says_which() {
        for (text, refusal) in [
            (r#"{"some":[]}"#, "must hold 1 to 3 items"),
            (r#"{"some":[1,2,3,4]}"#, "must hold 1 to 3 items"),
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
