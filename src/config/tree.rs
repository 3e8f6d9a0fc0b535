//! File and environment as one tree of values, each with the place it was set.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::Errors;
use super::service_links::is_service_link;
use super::settings::SETTING_NAMES;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file: name and line, counted from 1.
    Line(String, usize),
    /// In the environment.
    Variable(String),
    /// Nowhere: it is missing.
    Missing,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Missing => f.write_str("configuration"),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

/// What can be set.
#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// A variable's text, whose type the setting decides.
    Raw(String),
    /// A type that no setting has.
    Other,
}

pub type Table = BTreeMap<String, Node>;

/// What the name of every variable of ours begins with.
pub const PREFIX: &str = "LINKGATE_";
/// Variables that are read elsewhere and are no settings.
const NOT_SETTINGS: [&str; 6] = [
    "LINKGATE_CONFIG",
    "LINKGATE_KEYS",
    "LINKGATE_API_KEY",
    "LINKGATE_SERVER",
    "LINKGATE_PLAIN_HTTP",
    "LINKGATE_ALLOW_CORE_DUMPS",
];

/// Reads the file's text, then lays the environment over it.
pub fn read(name: &str, text: &str, environment: impl IntoIterator<Item = (String, String)>, errors: &Errors) -> Table {
    let lines = Lines { name, text };
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let place = lines.place(error.span().map_or(0, |span| span.start));
        errors.add(&place, error.message());
    }
    let mut table = lines.table(document.get_ref());
    for (variable, value) in environment {
        let is_setting = variable.starts_with(PREFIX)
            && !NOT_SETTINGS.contains(&variable.as_str())
            && (names_a_setting(&variable) || !is_service_link(&variable, &value));
        if is_setting {
            overlay(&mut table, &variable, value, errors);
        }
    }
    table
}

/// Whether there is such a setting: `LINKGATE_STORE__URL` names `store.url`.
fn names_a_setting(variable: &str) -> bool {
    let named = variable[PREFIX.len()..].to_lowercase();
    SETTING_NAMES.iter().any(|setting| {
        let mut parts = named.split("__");
        setting.split('.').all(|name| parts.next().is_some_and(|part| name == "*" || name == part))
            && parts.next().is_none()
    })
}

/// Puts `LINKGATE_STORE__URL=x` where `[store] url = "x"` would be.
fn overlay(table: &mut Table, variable: &str, value: String, errors: &Errors) {
    let place = Place::Variable(variable.to_owned());
    let names = variable[PREFIX.len()..].to_lowercase();
    let mut names: Vec<&str> = names.split("__").collect();
    let Some(last) = names.pop().filter(|last| !last.is_empty()) else { return };
    let mut table = table;
    for name in names {
        let node = table
            .entry(name.to_owned())
            .or_insert_with(|| Node { value: Value::Table(Table::new()), place: place.clone() });
        match &mut node.value {
            Value::Table(inner) => table = inner,
            _ => return errors.add(&place, &format!("`{name}` is not a section")),
        }
    }
    table.insert(last.to_owned(), Node { value: Value::Raw(value), place });
}

struct Lines<'a> {
    name: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place::Line(self.name.to_owned(), 1 + before.filter(|byte| **byte == b'\n').count())
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| {
            let mut node = self.node(value);
            // A section is where its name stands, not where its first value does.
            node.place = self.place(key.span().start);
            (key.get_ref().clone().into_owned(), node)
        });
        entries.collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other,
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            _ => Value::Other,
        };
        Node { value, place }
    }
}
