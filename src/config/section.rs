//! Taking typed values out of a section; whatever is left over was misspelt.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;

use super::ConfigError;
use super::tree::{Node, Place, Table, Value};
use crate::span::parse_span;

/// Every error met so far.
#[derive(Default)]
pub struct Errors(RefCell<Vec<ConfigError>>);

impl Errors {
    pub fn add(&self, place: &Place, message: &str) {
        self.0.borrow_mut().push(ConfigError { place: place.to_string(), message: message.to_owned() });
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn into_list(self) -> Vec<ConfigError> {
        self.0.into_inner()
    }
}

/// A value with its setting's full name and place, for errors found later.
pub struct Found<T> {
    pub value: T,
    pub name: String,
    pub place: Place,
}

impl<T> Found<T> {
    /// Turns the value into another, or reports what is wrong with it.
    pub fn parse<U, E: Display>(self, errors: &Errors, parse: impl FnOnce(T) -> Result<U, E>) -> Option<U> {
        match parse(self.value) {
            Ok(value) => Some(value),
            Err(error) => {
                errors.add(&self.place, &format!("`{}` {error}", self.name));
                None
            }
        }
    }
}

/// One table of the configuration.
pub struct Section<'e> {
    name: String,
    place: Place,
    table: Table,
    errors: &'e Errors,
}

impl<'e> Section<'e> {
    /// The top of the tree.
    pub const fn root(table: Table, errors: &'e Errors) -> Self {
        Self { name: String::new(), place: Place::Missing, table, errors }
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Where a setting stands; the section's own place when it is not set.
    pub fn place_of(&self, key: &str) -> &Place {
        self.table.get(key).map_or(&self.place, |node| &node.place)
    }

    /// Whether something is set that nobody has taken yet.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table inside this one; empty when it is not there.
    pub fn section(&mut self, key: &str) -> Section<'e> {
        let name = self.full_name(key);
        let (table, place) = match self.table.remove(key) {
            None => (Table::new(), Place::Missing),
            Some(Node { value: Value::Table(table), place }) => (table, place),
            Some(node) => {
                self.errors.add(&node.place, &format!("`{name}` must be a section: `[{name}]`"));
                (Table::new(), node.place)
            }
        };
        Section { name, place, table, errors: self.errors }
    }

    /// Every table inside this one, with its name.
    pub fn sections(mut self) -> Vec<(String, Section<'e>)> {
        let names: Vec<_> = self.table.keys().cloned().collect();
        names.into_iter().map(|key| (key.clone(), self.section(&key))).collect()
    }

    /// The tables of a `[[key]]` list.
    pub fn list_of_sections(&mut self, key: &str) -> Vec<Section<'e>> {
        let name = self.full_name(key);
        let wrong =
            |place: &Place| self.errors.add(place, &format!("`{name}` must be a list of sections: `[[{name}]]`"));
        let items = match self.table.remove(key) {
            None => return Vec::new(),
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                wrong(&node.place);
                return Vec::new();
            }
        };
        let tables = items.into_iter().filter_map(|node| match node.value {
            Value::Table(table) => Some(Section { name: name.clone(), place: node.place, table, errors: self.errors }),
            _ => {
                wrong(&node.place);
                None
            }
        });
        tables.collect()
    }

    pub fn text(&mut self, key: &str) -> Option<Found<String>> {
        self.take(key, "text in quotes", |value| match value {
            Value::Text(text) | Value::Raw(text) => Some(text),
            _ => None,
        })
    }

    pub fn span(&mut self, key: &str) -> Option<Found<Duration>> {
        self.take(key, "a span of time such as \"30s\", \"15m\", \"1h\" or \"7d\"", |value| match value {
            Value::Text(text) | Value::Raw(text) => parse_span(&text),
            _ => None,
        })
    }

    pub fn boolean(&mut self, key: &str) -> Option<Found<bool>> {
        self.take(key, "true or false", |value| match value {
            Value::Boolean(value) => Some(value),
            Value::Raw(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &str, least: u64, most: u64) -> Option<Found<u64>> {
        self.take(key, &format!("a whole number from {least} to {most}"), |value| {
            match value {
                Value::Integer(number) => u64::try_from(number).ok(),
                Value::Raw(text) => text.parse().ok(),
                _ => None,
            }
            .filter(|number| (least..=most).contains(number))
        })
    }

    /// A list of texts; a variable separates them by commas.
    pub fn texts(&mut self, key: &str) -> Option<Found<Vec<String>>> {
        self.take(key, "a list of texts such as [\"a\", \"b\"]", |value| match value {
            Value::List(items) => items
                .into_iter()
                .map(|item| match item.value {
                    Value::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            Value::Raw(text) => {
                Some(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
            }
            _ => None,
        })
    }

    /// Reports every value that nobody took.
    pub fn finish(self) {
        for (key, node) in &self.table {
            let name = self.full_name(key);
            self.errors.add(&node.place, &format!("`{name}` is not a setting"));
        }
    }

    fn take<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(Value) -> Option<T>) -> Option<Found<T>> {
        let name = self.full_name(key);
        let Node { value, place } = self.table.remove(key)?;
        match read(value) {
            Some(value) => Some(Found { value, name, place }),
            None => {
                self.errors.add(&place, &format!("`{name}` must be {expected}"));
                None
            }
        }
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
