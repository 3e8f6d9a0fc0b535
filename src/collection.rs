//! A collection: a family of files with one root, one way to the phone and one set of defaults.

use std::path::PathBuf;
use std::time::Duration;

use crate::token::{CollectionName, CollectionRules, Disposition, Dotfiles, Invalid};

/// How the bytes of a collection's files reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// `X-Accel-Redirect` to an internal location of nginx.
    Nginx,
    /// Linkgate sends the file itself.
    Direct,
}

/// One collection, as configured.
#[derive(Clone, Debug)]
pub struct Collection {
    name: String,
    /// Where its files are.
    pub root: PathBuf,
    /// The internal location that stands for the root: `/name/`.
    pub internal_prefix: String,
    pub edge: EdgeKind,
    pub default_ttl: Duration,
    pub max_ttl: Duration,
    pub disposition: Disposition,
    /// Upper bound of what browsers are told to keep a download for.
    pub cache: Duration,
    pub dotfiles: Dotfiles,
    /// How long after its link's end a download may be gone on with: at most [`MAX_RESUME_GRACE`].
    pub resume_grace: Duration,
}

/// Longest resume grace: revocations are remembered for longer than that beyond the end of the links they cover.
pub const MAX_RESUME_GRACE: Duration = Duration::from_secs(23 * 60 * 60);

impl Collection {
    /// A collection with every default, its files sent by Linkgate itself.
    ///
    /// # Errors
    /// When the name breaks its rules.
    pub fn new(name: &str, root: PathBuf) -> Result<Self, Invalid> {
        Ok(Self {
            name: CollectionName::parse(name)?.as_str().to_owned(),
            root,
            internal_prefix: DEFAULT_INTERNAL_PREFIX.to_owned(),
            edge: EdgeKind::Direct,
            default_ttl: Duration::from_secs(60 * 60),
            max_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            disposition: Disposition::Attachment,
            cache: Duration::from_secs(60 * 60),
            dotfiles: Dotfiles::Hidden,
            resume_grace: Duration::ZERO,
        })
    }

    /// Its name.
    pub fn name(&self) -> CollectionName<'_> {
        match CollectionName::parse(&self.name) {
            Ok(name) => name,
            Err(_) => unreachable!("checked in Collection::new"),
        }
    }

    /// What it demands of its tokens.
    pub fn rules(&self) -> CollectionRules<'_> {
        CollectionRules {
            name: self.name(),
            max_ttl: self.max_ttl,
            dotfiles: self.dotfiles,
            resume_grace: self.resume_grace,
        }
    }
}

/// The internal location of the shipped nginx configuration.
pub const DEFAULT_INTERNAL_PREFIX: &str = "/media/";

/// The location that links lead to, which no internal one can be.
const PUBLIC_PREFIX: &str = "/download/";

/// Whether text can be an internal location: `/`, then `a-z 0-9 _ -`, then `/`, so that none lies in another. Anything else
/// means different things on different edges, and `/download/` is where links lead.
pub fn is_internal_prefix(text: &str) -> bool {
    let name = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).unwrap_or_default();
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !name.is_empty() && name.bytes().all(good) && text != PUBLIC_PREFIX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_prefix_is_one_plain_segment() {
        assert!(is_internal_prefix("/media/") && is_internal_prefix("/a-b_2/"));
        for bad in [
            "",
            "/",
            "//",
            "media/",
            "/media",
            "/Media/",
            "/a/b/",
            "/a b/",
            "/a%2f/",
            "/../",
            "/media/docs/",
            "/download/",
        ] {
            assert!(!is_internal_prefix(bad), "{bad}");
        }
    }
}
