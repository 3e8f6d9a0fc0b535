//! Prometheus' text format 0.0.4, for scrapers that stop at what is only in OpenMetrics.
//!
//! A family of counters has the name of its samples there, with `_total`, and one of infos is a gauge; units are not
//! declared, and nothing stands at the end. <https://prometheus.io/docs/instrumenting/exposition_formats/>

/// How it is sent.
pub const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same figures.
pub fn of(open_metrics: &str) -> String {
    let suffixes: Vec<_> = open_metrics.lines().filter_map(|line| suffix(line.strip_prefix("# TYPE ")?)).collect();
    let suffix_of = |family: &str| suffixes.iter().find(|(name, _)| *name == family).map_or("", |(_, suffix)| suffix);
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let described = ["# TYPE ", "# HELP "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        match described.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (family, rest))) => {
                let rest = if start == "# TYPE " && rest == "info" { "gauge" } else { rest };
                text.extend([start, family, suffix_of(family), " ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            None => text.extend([line, "\n"]),
        }
    }
    text
}

/// A family, and what its samples' names have besides.
fn suffix(described: &str) -> Option<(&str, &'static str)> {
    match described.split_once(' ')? {
        (family, "counter") => Some((family, "_total")),
        (family, "info") => Some((family, "_info")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_same_and_families_have_the_names_of_their_samples() {
        let open_metrics = "# HELP a_build Version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
            # HELP a_hits Hits, by what.\n# TYPE a_hits counter\na_hits_total{of=\"a # b\"} 7\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\n# UNIT a_age_seconds seconds\na_age_seconds 0.5\n\
            # TYPE a_time_seconds histogram\na_time_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let text = "# HELP a_build_info Version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
            # HELP a_hits_total Hits, by what.\n# TYPE a_hits_total counter\na_hits_total{of=\"a # b\"} 7\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\na_age_seconds 0.5\n\
            # TYPE a_time_seconds histogram\na_time_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(of(open_metrics), text);
    }
}
