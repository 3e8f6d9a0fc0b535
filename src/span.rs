//! Spans of time as people write them: `250ms`, `30s`, `15m`, `1h`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// A hundred years: longer spans are mistakes.
const LONGEST_MILLIS: u64 = 100 * 365 * 86_400_000;

/// Reads one number and one unit; `None` for anything else.
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let millis = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (millis <= LONGEST_MILLIS).then(|| Duration::from_millis(millis))
}

/// Writes a span in the largest unit that divides it.
pub fn format_span(span: Duration) -> String {
    let millis = span.as_millis() as u64;
    let fits = |(_, factor): &&(&str, u64)| millis.is_multiple_of(*factor) && millis >= *factor;
    match UNITS.iter().rev().find(fits) {
        Some((name, factor)) => format!("{}{name}", millis / factor),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for text in ["250ms", "30s", "15m", "1h", "7d"] {
            assert_eq!(parse_span(text).map(format_span).as_deref(), Some(text));
        }
        for bad in ["", "5", "s", "-1s", "1.5h", "1h30m", "1 h", "99999999999d", "1w"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }
}
