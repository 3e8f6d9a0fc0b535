//! Which form of an answer a client would rather have, by the weights it gives them (RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// Whether a client would rather have HTML than JSON.
pub fn prefers_page(request: &HeaderMap) -> bool {
    let html = weight(request, &["text/html", "application/xhtml+xml"]).unwrap_or_default();
    html > 0.0 && html >= weight(request, &["application/problem+json", "application/json"]).unwrap_or_default()
}

/// Whether a client would rather have figures in Prometheus' text format than as OpenMetrics. One that has no wish gets
/// OpenMetrics; one that names neither gets the text format, which everything can read.
pub fn prefers_text_format(request: &HeaderMap) -> bool {
    if !request.contains_key(ACCEPT) {
        return false;
    }
    let text = weight(request, &["text/plain"]).unwrap_or_default();
    match weight(request, &["application/openmetrics-text"]) {
        Some(named) => named <= 0.0 || named < text,
        // What is named counts more than what is only not refused.
        None => text > 0.0 || weight(request, &["application/*", "*/*"]).unwrap_or_default() <= 0.0,
    }
}

/// The highest weight that any of these kinds is named with, from 0 (refused) to 1; `None` when none is named.
fn weight(request: &HeaderMap, kinds: &[&str]) -> Option<f32> {
    let lines = request.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let weights = lines.flat_map(|line| line.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
        kinds.iter().any(|kind| name.eq_ignore_ascii_case(kind)).then_some(weight)
    });
    weights.reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepting(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn browsers_get_a_page_and_programs_do_not() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for lines in [&[browser][..], &["TEXT/HTML"], &["image/avif", "text/html"], &["text/html;level=1;Q=0.4"]] {
            assert!(prefers_page(&accepting(lines)), "{lines:?}");
        }
        for lines in [
            &["*/*"][..],
            &["application/json"],
            &["image/avif,image/webp,*/*"],
            &["text/html;q=0"],
            &["text/html;q=0.5, application/json"],
            &["text/html;q=0.5", "application/json"],
            &[""],
            &[],
        ] {
            assert!(!prefers_page(&accepting(lines)), "{lines:?}");
        }
    }

    #[test]
    fn figures_come_in_the_form_that_a_scraper_asks_for() {
        for lines in [
            &[][..],
            &["*/*"],
            &["application/openmetrics-text; version=1.0.0, text/plain;version=0.0.4;q=0.5, */*;q=0.1"],
            &["application/openmetrics-text"],
        ] {
            assert!(!prefers_text_format(&accepting(lines)), "{lines:?}");
        }
        for lines in [
            &["text/plain;version=0.0.4"][..],
            &["text/plain; version=0.0.4; q=1, */*; q=0.1"],
            &["text/plain;version=0.0.4, */*"],
            &["application/openmetrics-text;q=0, */*"],
            &["application/vnd.google.protobuf;q=0.7, text/plain;version=0.0.4;q=0.3"],
            &["application/json"],
        ] {
            assert!(prefers_text_format(&accepting(lines)), "{lines:?}");
        }
    }
}
