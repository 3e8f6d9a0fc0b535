//! JSON from strangers: one object, bounded in depth and size, no member twice.
//!
//! RFC 8259 leaves open which of two equal names counts, and parsers differ. Whoever signs and whoever checks must not
//! read different things out of the same bytes, so such an object is refused.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// An object's members.
pub type Object = Map<String, Value>;

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Objects and lists inside each other, the outermost included.
    pub depth: usize,
    /// Values, objects and lists included.
    pub values: usize,
}

/// Why text is no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JsonFault {
    #[error("is not a JSON object")]
    Malformed,
    #[error("has a member twice")]
    Twice,
    #[error("is nested too deeply")]
    TooDeep,
    #[error("holds too many values")]
    TooMany,
}

/// Reads an object.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_object(text: &[u8], bounds: Bounds) -> Result<Object, JsonFault> {
    let reading = Reading { left: Cell::new(bounds.values), fault: Cell::new(JsonFault::Malformed) };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed { reading: &reading, depth: bounds.depth }.deserialize(&mut deserializer);
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(JsonFault::Malformed),
        Err(_) => Err(reading.fault.get()),
    }
}

struct Reading {
    /// Values that may still come.
    left: Cell<usize>,
    /// What to say when it ends early.
    fault: Cell<JsonFault>,
}

impl Reading {
    fn stop<E: Error>(&self, fault: JsonFault) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }
}

#[derive(Clone, Copy)]
struct Seed<'r> {
    reading: &'r Reading,
    depth: usize,
}

impl Seed<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.reading.stop(JsonFault::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.reading.left.get().checked_sub(1) {
            Some(left) => self.reading.left.set(left),
            None => return Err(self.reading.stop(JsonFault::TooMany)),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.reading.stop(JsonFault::Twice));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { depth: 3, values: 8 };

    #[test]
    fn an_object_is_read_as_it_stands() {
        let text = br#" {"a":"x\u00e9","b":[1,-2,1.5,true,null],"c":{}} "#;
        let expected: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(Value::Object(parse_object(text, Bounds { values: 9, ..SMALL }).unwrap()), expected);
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            assert_eq!(parse_object(text.as_bytes(), SMALL), Err(JsonFault::Twice), "{text}");
        }
        for text in ["", "{", "[]", "1", "\"{}\"", "{}{}", "{} x", "{'a':1}", "{\"a\":01}", "{\"a\":NaN}", "\u{feff}{}"]
        {
            assert_eq!(parse_object(text.as_bytes(), SMALL), Err(JsonFault::Malformed), "{text}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}", SMALL), Err(JsonFault::Malformed));
        assert_eq!(parse_object(b"{\"a\":\"\\ud800\"}", SMALL), Err(JsonFault::Malformed));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        assert!(parse_object(br#"{"a":[[1]]}"#, SMALL).is_ok());
        assert_eq!(parse_object(br#"{"a":[[[1]]]}"#, SMALL), Err(JsonFault::TooDeep));
        assert!(parse_object(b"[[[[", SMALL).is_err());
        let bomb = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(parse_object(bomb.as_bytes(), SMALL), Err(JsonFault::TooDeep));
        assert!(parse_object(br#"{"a":[1,2,3,4,5,6]}"#, SMALL).is_ok());
        assert_eq!(parse_object(br#"{"a":[1,2,3,4,5,6,7]}"#, SMALL), Err(JsonFault::TooMany));
    }
}
