//! Data on stdout: lines for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// How to print.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints a value as JSON, or as the line that `plain` makes of it.
    pub fn print<T: Serialize>(self, value: &T, plain: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string(value)? } else { plain(value) };
        line(&text)?;
        Ok(())
    }

    /// Prints values as one JSON list, or as aligned columns under a heading.
    pub fn table<T: Serialize>(
        self,
        name: &str,
        values: &[T],
        heading: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        if self.json {
            line(&serde_json::to_string(&serde_json::json!({ name: values }))?)?;
            return Ok(());
        }
        let mut rows = vec![heading.iter().map(ToString::to_string).collect::<Vec<_>>()];
        rows.extend(values.iter().map(row));
        let columns = heading.len();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// One line on stdout; a reader that has gone away is no error.
pub fn line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}
