//! Path patterns with `{claim}` in them, and what a login makes of them.
//!
//! A template such as `users/{sub}/**` becomes a pattern when the claims of one login are put in. A value takes part
//! literally and within one segment: it can hold no `/` and no `*`, so it never widens a pattern.

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use super::names::Subject;
use super::pattern::{PathPattern, PatternError};
use super::policy::MintPolicy;

/// Longest value of a claim in a path, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 128;
/// Longest name of a claim, in bytes.
pub const MAX_CLAIM_NAME_BYTES: usize = 128;
/// No pattern contains it.
const MARK: &str = "\0";

/// A pattern that may hold the names of claims in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Claim(Arc<str>),
}

/// Why a claim cannot stand in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClaimFault {
    #[error("is missing")]
    Missing,
    #[error("is neither text nor a whole number")]
    Type,
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong,
    #[error("contains a `/`")]
    Slash,
    #[error("contains a backslash")]
    Backslash,
    #[error("contains a `*`")]
    Star,
    #[error("contains a brace")]
    Brace,
    #[error("contains a control character")]
    Control,
    #[error("begins with a dot")]
    LeadingDot,
}

/// A claim that a login's policy needs, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the claim `{claim}` of this login {fault}")]
pub struct UnusableClaim {
    /// Its name, as configured.
    pub claim: Arc<str>,
    pub fault: ClaimFault,
}

impl PathTemplate {
    /// # Errors
    /// Says what is wrong with the template.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, brace) = rest.split_at(at);
            let (name, after) = brace
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'))
                .filter(|(name, _)| is_claim_name(name))
                .ok_or(PatternError::ClaimName)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(Piece::Claim(name.into()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        let template = Self { pieces };
        // With a plain letter in place of every claim it must be a pattern.
        PathPattern::parse(&template.fill(|_| Ok::<_, PatternError>("x".into()))?)?;
        // Next to a `*` or to another claim, one login's value could pass for the beginning of another's.
        let marked = template.fill(|_| Ok::<_, PatternError>(MARK.into()))?;
        let is_ambiguous = |segment: &str| match segment.matches(MARK).count() {
            0 => false,
            1 => segment.contains('*'),
            _ => true,
        };
        if marked.split('/').any(is_ambiguous) { Err(PatternError::ClaimNeighbour) } else { Ok(template) }
    }

    /// The pattern for one login. `claim` answers the value of a claim.
    ///
    /// # Errors
    /// The first claim that cannot stand in a path.
    pub fn bind<'c>(
        &self,
        claim: impl Fn(&str) -> Result<Cow<'c, str>, ClaimFault>,
    ) -> Result<PathPattern, UnusableClaim> {
        let text = self.fill(|name| {
            let value = claim(name).and_then(|value| path_part(&value).map(|()| value));
            value.map_err(|fault| UnusableClaim { claim: Arc::clone(name), fault })
        })?;
        Ok(PathPattern::bound(text))
    }

    fn fill<'v, E>(&self, value: impl Fn(&Arc<str>) -> Result<Cow<'v, str>, E>) -> Result<String, E> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text += literal,
                Piece::Claim(name) => text += &value(name)?,
            }
        }
        Ok(text)
    }
}

/// Whether text can be the name of a claim: 1 to 128 letters, digits, `_`, `-`, `.`, `:` and `/`, so that namespaced
/// names such as `https://example.com/tenant` can be used.
pub fn is_claim_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    (1..=MAX_CLAIM_NAME_BYTES).contains(&text.len()) && text.bytes().all(good)
}

/// A value that means itself and nothing else within one segment.
fn path_part(value: &str) -> Result<(), ClaimFault> {
    if value.is_empty() {
        return Err(ClaimFault::Empty);
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(ClaimFault::TooLong);
    }
    if value.starts_with('.') {
        return Err(ClaimFault::LeadingDot);
    }
    for character in value.chars() {
        match character {
            '/' => return Err(ClaimFault::Slash),
            '\\' => return Err(ClaimFault::Backslash),
            '*' => return Err(ClaimFault::Star),
            '{' | '}' => return Err(ClaimFault::Brace),
            _ if character.is_control() => return Err(ClaimFault::Control),
            _ => {}
        }
    }
    Ok(())
}

/// The policy of a provider's logins, before anybody has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// Paths that logins may mint for.
    pub allow: Vec<PathTemplate>,
    /// Everything else; the same for every login.
    pub bounds: MintPolicy,
    /// The claim that names whom a login's links are for.
    pub subject_claim: Arc<str>,
}

impl LoginPolicy {
    /// The policy of one login. A pattern whose claims cannot be used is left out.
    ///
    /// # Errors
    /// When the login names nobody its links could be for.
    pub fn bind<'c>(
        &self,
        claim: impl Fn(&str) -> Result<Cow<'c, str>, ClaimFault>,
    ) -> Result<MintPolicy, UnusableClaim> {
        let unusable = |fault| UnusableClaim { claim: Arc::clone(&self.subject_claim), fault };
        let subject = claim(&self.subject_claim).map_err(unusable)?;
        Subject::parse(&subject).map_err(|_| {
            unusable(match subject.len() {
                0 => ClaimFault::Empty,
                length if length > MAX_VALUE_BYTES => ClaimFault::TooLong,
                _ => ClaimFault::Control,
            })
        })?;
        let mut policy = MintPolicy { subject: Some(subject.into_owned()), ..self.bounds.clone() };
        for template in &self.allow {
            match template.bind(&claim) {
                Ok(pattern) => policy.allow.push(pattern),
                Err(unusable) => policy.unusable = policy.unusable.or(Some(unusable)),
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(template: &str, value: &str) -> Result<PathPattern, ClaimFault> {
        PathTemplate::parse(template).unwrap().bind(|_| Ok(value.into())).map_err(|unusable| unusable.fault)
    }

    #[test]
    fn a_login_gets_the_paths_of_its_claims_and_no_others() {
        let claims = |name: &str| match name {
            "tenant" => Ok("acme".into()),
            "sub" => Ok("4".into()),
            _ => Err(ClaimFault::Missing),
        };
        let template = PathTemplate::parse("tenants/{tenant}/users/{sub}/*.jpg").unwrap();
        let pattern = template.bind(claims).unwrap();
        assert!(pattern.matches("tenants/acme/users/4/cat.jpg"));
        for other in ["tenants/acme/users/42/cat.jpg", "tenants/acme/users/4/5/cat.jpg", "tenants/x/users/4/cat.jpg"] {
            assert!(!pattern.matches(other), "{other}");
        }
        let missing = PathTemplate::parse("a/{https://example.com/org}/**").unwrap().bind(claims).unwrap_err();
        assert_eq!((&*missing.claim, missing.fault), ("https://example.com/org", ClaimFault::Missing));
    }

    #[test]
    fn a_value_never_means_more_than_itself() {
        let long = "a".repeat(129);
        let cases = [
            ("", ClaimFault::Empty),
            (long.as_str(), ClaimFault::TooLong),
            ("a/b", ClaimFault::Slash),
            ("a\\b", ClaimFault::Backslash),
            ("*", ClaimFault::Star),
            ("a*", ClaimFault::Star),
            ("**", ClaimFault::Star),
            ("{sub}", ClaimFault::Brace),
            ("a\0", ClaimFault::Control),
            ("a\u{85}", ClaimFault::Control),
            (".", ClaimFault::LeadingDot),
            ("..", ClaimFault::LeadingDot),
            (".git", ClaimFault::LeadingDot),
        ];
        for (value, fault) in cases {
            assert_eq!(bound("users/{sub}/**", value), Err(fault), "{value:?}");
        }
        for value in ["42", "auth0|5f7c", "🎉", "a b", "%2f", "a..b", "é", &"a".repeat(128)] {
            let pattern = bound("users/{sub}/**", value).unwrap();
            assert!(pattern.matches(&format!("users/{value}/a")) && !pattern.matches("users/x/a"), "{value}");
        }
    }

    #[test]
    fn a_template_that_could_be_misread_is_refused() {
        for text in ["{}", "users/{sub", "users/sub}", "{a{b}}", "{a b}", "{sü}", "{a}}", "}{", "{*}"] {
            assert_eq!(PathTemplate::parse(text), Err(PatternError::ClaimName), "{text}");
        }
        for text in ["{a}{b}", "{a}*", "*{a}", "x*{a}/**", "{a}-{b}", "x/{a}-*.jpg"] {
            assert_eq!(PathTemplate::parse(text), Err(PatternError::ClaimNeighbour), "{text}");
        }
        assert_eq!(PathTemplate::parse("/{a}"), Err(PatternError::Segment));
        assert_eq!(PathTemplate::parse("a//{a}"), Err(PatternError::Segment));
        assert_eq!(PathTemplate::parse(""), Err(PatternError::Empty));
        assert!(PathTemplate::parse("u-{a}-x/*/{b}.jpg").is_ok() && PathTemplate::parse("public/**").is_ok());
    }

    #[test]
    fn a_login_without_a_usable_subject_is_nobody() {
        let policy = LoginPolicy {
            allow: vec![PathTemplate::parse("public/**").unwrap(), PathTemplate::parse("users/{sub}/**").unwrap()],
            bounds: MintPolicy::default(),
            subject_claim: "sub".into(),
        };
        let fault = |value: &str| policy.bind(|_| Ok(value.into())).unwrap_err().fault;
        assert_eq!((fault(""), fault("a\n")), (ClaimFault::Empty, ClaimFault::Control));
        assert_eq!(policy.bind(|_| Err(ClaimFault::Missing)).unwrap_err().fault, ClaimFault::Missing);
        let bound = policy.bind(|_| Ok("a/b".into())).unwrap();
        assert_eq!((bound.allow.len(), bound.subject.as_deref()), (1, Some("a/b")));
        assert_eq!(bound.unusable.unwrap().fault, ClaimFault::Slash);
    }
}
