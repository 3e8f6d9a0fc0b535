//! Path patterns of a client's policy: `*` within one segment, `**` for any number of segments.

use std::fmt;

use thiserror::Error;

use super::names::MAX_PATH_BYTES;

/// A pattern such as `users/42/**` or `public/*.jpg`.
///
/// `*` matches any run of characters inside one segment, `**` as a whole segment matches any number of
/// segments, also none at the start or in the middle; at the end it matches at least one. Everything else
/// matches itself, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(String);

/// Why text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("a path pattern must not be empty")]
    Empty,
    #[error("a path pattern must not be longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    #[error("a path pattern must not start or end with `/`, nor contain `//`, `.`, `..` or a backslash as a segment")]
    Segment,
    #[error("`**` must be a whole segment")]
    DoubleStar,
    #[error("`{{claim}}` in a path pattern stands for a login's claim: only `[[identity_providers]]` have logins")]
    Claim,
    #[error(
        "`{{…}}` in a path pattern holds the name of a claim: 1 to 128 letters, digits, `_`, `-`, `.`, `:` and `/`"
    )]
    ClaimName,
    #[error(
        "a segment with a `{{claim}}` holds one claim and plain text: with a `*` or a second claim, one login's paths could be \
             another's"
    )]
    ClaimNeighbour,
}

impl PathPattern {
    /// `**`: every path.
    pub fn anything() -> Self {
        Self("**".to_owned())
    }

    /// # Errors
    /// Says what is wrong with the pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(PatternError::TooLong);
        }
        if text.contains(['{', '}']) {
            return Err(PatternError::Claim);
        }
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") || segment.contains('\\') || segment.contains(char::is_control) {
                return Err(PatternError::Segment);
            }
            if segment.contains("**") && segment != "**" {
                return Err(PatternError::DoubleStar);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// A pattern whose text was put together from checked parts.
    pub(super) const fn bound(text: String) -> Self {
        Self(text)
    }

    /// Whether a media path falls under the pattern. Takes time in the product of both lengths at worst.
    pub fn matches(&self, path: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        // reachable[i]: the pattern so far can have consumed the first i segments of the path.
        let mut reachable = vec![false; path.len() + 1];
        reachable[0] = true;
        for (index, segment) in pattern.iter().enumerate() {
            let mut next = vec![false; path.len() + 1];
            if *segment == "**" {
                let least = usize::from(index + 1 == pattern.len());
                let mut open = false;
                for end in 0..=path.len() {
                    open |= end >= least && reachable[end - least];
                    next[end] = open;
                }
            } else {
                for end in 1..=path.len() {
                    next[end] = reachable[end - 1] && matches_segment(segment, path[end - 1]);
                }
            }
            reachable = next;
        }
        reachable[path.len()]
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Greedy wildcard match with one step back: `*` takes as little as it can.
fn matches_segment(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let cases = [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("users/42/**", "users/42/cat.jpg", true),
            ("users/42/**", "users/42/deep/cat.jpg", true),
            ("users/42/**", "users/42", false),
            ("users/42/**", "users/421/cat.jpg", false),
            ("users/*/avatar.png", "users/7/avatar.png", true),
            ("users/*/avatar.png", "users/7/8/avatar.png", false),
            ("*.jpg", "cat.jpg", true),
            ("*.jpg", "a/cat.jpg", false),
            ("**/*.jpg", "cat.jpg", true),
            ("**/*.jpg", "a/b/cat.jpg", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a*a", "a", false),
        ];
        for (pattern, path, expected) in cases {
            let parsed = PathPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_match_a_media_path_is_refused() {
        assert_eq!(PathPattern::parse(""), Err(PatternError::Empty));
        assert_eq!(PathPattern::parse("/a/**"), Err(PatternError::Segment));
        assert_eq!(PathPattern::parse("a/../b"), Err(PatternError::Segment));
        assert_eq!(PathPattern::parse("a**"), Err(PatternError::DoubleStar));
        assert_eq!(PathPattern::parse("users/{sub}/**"), Err(PatternError::Claim));
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let pattern = PathPattern::parse(&["**"; 200].join("/")).unwrap();
        assert!(pattern.matches(&["a"; 500].join("/")));
        assert!(!PathPattern::parse(&format!("{}/b", ["**"; 200].join("/"))).unwrap().matches(&["a"; 500].join("/")));
    }
}
