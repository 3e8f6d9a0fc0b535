//! What a revocation covers, and how that is written as a member of a set.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::token::{ClientName, CollectionName, Dotfiles, Invalid, KeyId, MediaPath, Subject, TokenId};

/// How a caller named what to revoke: the field of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Link,
    Id,
    Subject,
    Path,
    PathPrefix,
    Client,
    Key,
    Everything,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 8] =
        [Self::Link, Self::Id, Self::Subject, Self::Path, Self::PathPrefix, Self::Client, Self::Key, Self::Everything];

    /// The request field that names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Id => "id",
            Self::Subject => "subject",
            Self::Path => "path",
            Self::PathPrefix => "path_prefix",
            Self::Client => "client",
            Self::Key => "key",
            Self::Everything => "everything",
        }
    }

    /// The kind that a request field names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a revocation covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One link.
    Link(TokenId),
    /// Every link of a subject.
    Subject(String),
    /// Every link to one file.
    Path { collection: String, path: String },
    /// Every link to files below a folder; the folder ends with `/`, and `/` alone is the whole collection.
    Folder { collection: String, folder: String },
    /// Every link minted by a client.
    Client(String),
    /// Every link signed with a key.
    Key(KeyId),
    /// Every link.
    Everything,
    /// Nothing: the trace of a revocation that was lifted, so that a stable link that was revoked comes back as another.
    Lifted(Box<Target>),
}

impl Target {
    /// # Errors
    /// When the subject breaks its rules.
    pub fn subject(text: &str) -> Result<Self, Invalid> {
        Subject::parse(text).map(|subject| Self::Subject(subject.as_str().to_owned()))
    }

    /// # Errors
    /// When the name breaks its rules.
    pub fn client(text: &str) -> Result<Self, Invalid> {
        ClientName::parse(text).map(|client| Self::Client(client.as_str().to_owned()))
    }

    /// # Errors
    /// When collection or path break their rules. Dot-led segments are let through: revoking them does no harm.
    pub fn path(collection: &str, path: &str) -> Result<Self, Invalid> {
        let collection = CollectionName::parse(collection)?.as_str().to_owned();
        let path = MediaPath::parse(path, Dotfiles::Allowed)?.as_str().to_owned();
        Ok(Self::Path { collection, path })
    }

    /// # Errors
    /// When the folder does not end with `/`, or collection or path break their rules.
    pub fn folder(collection: &str, folder: &str) -> Result<Self, Invalid> {
        let collection = CollectionName::parse(collection)?.as_str().to_owned();
        let path = folder.strip_suffix('/').ok_or(Invalid::NotAFolder)?;
        if !path.is_empty() {
            MediaPath::parse(path, Dotfiles::Allowed)?;
        }
        Ok(Self::Folder { collection, folder: folder.to_owned() })
    }

    /// The member that stands for it: the bare id in the set of links, a tagged name in the set of cut-offs.
    pub fn member(&self) -> String {
        match self {
            Self::Link(id) => id.to_string(),
            Self::Subject(subject) => format!("s:{subject}"),
            Self::Path { collection, path } => format!("i:{collection}/{path}"),
            Self::Folder { collection, folder } if folder == "/" => format!("p:{collection}/"),
            Self::Folder { collection, folder } => format!("p:{collection}/{folder}"),
            Self::Client(client) => format!("a:{client}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Everything => "*".to_owned(),
            Self::Lifted(target) => format!("l:{}", target.member()),
        }
    }

    /// Reads what [`Target::member`] wrote; `None` for anything else.
    pub fn from_member(member: &str) -> Option<Self> {
        if member == "*" {
            return Some(Self::Everything);
        }
        let Some((tag, rest)) = member.split_once(':') else {
            return member.parse().ok().map(Self::Link);
        };
        match tag {
            "l" => Self::from_member(rest)
                .filter(|target| !matches!(target, Self::Lifted(_)))
                .map(|target| Self::Lifted(Box::new(target))),
            "s" => Self::subject(rest).ok(),
            "a" => Self::client(rest).ok(),
            "k" => rest.parse().ok().map(Self::Key),
            "i" => {
                let (collection, path) = rest.split_once('/')?;
                Self::path(collection, path).ok()
            }
            "p" => {
                let (collection, folder) = rest.split_once('/')?;
                let folder = if folder.is_empty() { "/" } else { folder };
                Self::folder(collection, folder).ok()
            }
            _ => None,
        }
    }

    /// The kind of request that names such a target.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Link(_) => Kind::Id,
            Self::Subject(_) => Kind::Subject,
            Self::Path { .. } => Kind::Path,
            Self::Folder { .. } => Kind::PathPrefix,
            Self::Client(_) => Kind::Client,
            Self::Key(_) => Kind::Key,
            Self::Everything => Kind::Everything,
            Self::Lifted(target) => target.kind(),
        }
    }

    /// The collection, for the kinds that have one.
    pub fn collection(&self) -> Option<&str> {
        match self {
            Self::Path { collection, .. } | Self::Folder { collection, .. } => Some(collection),
            _ => None,
        }
    }
}

/// As a person would name it: without the tag of the set.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(id) => id.fmt(f),
            Self::Subject(name) | Self::Client(name) => f.write_str(name),
            Self::Path { path, .. } => f.write_str(path),
            Self::Folder { folder, .. } => f.write_str(folder),
            Self::Key(key) => key.fmt(f),
            Self::Everything => f.write_str("*"),
            Self::Lifted(target) => target.fmt(f),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.member())
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let member = String::deserialize(deserializer)?;
        Self::from_member(&member).ok_or_else(|| serde::de::Error::custom("not a member of a revocation set"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_back_as_they_were_written() {
        let targets = [
            Target::Link(TokenId([5; 16])),
            Target::subject("user:42/x y").unwrap(),
            Target::path("image", "users/42/a:b.jpg").unwrap(),
            Target::folder("image", "users/42/").unwrap(),
            Target::folder("image", "/").unwrap(),
            Target::client("backend").unwrap(),
            Target::Key(KeyId(7)),
            Target::Everything,
            Target::Lifted(Box::new(Target::subject("user:42/x y").unwrap())),
            Target::Lifted(Box::new(Target::Link(TokenId([5; 16])))),
        ];
        for target in targets {
            assert_eq!(Target::from_member(&target.member()), Some(target));
        }
        assert_eq!(Target::from_member("!"), None);
        assert_eq!(Target::from_member("z:what"), None);
    }

    #[test]
    fn a_folder_ends_with_a_slash_and_stays_inside() {
        assert_eq!(Target::folder("image", "users"), Err(Invalid::NotAFolder));
        assert_eq!(Target::folder("image", "users/../"), Err(Invalid::DotSegment));
        assert_eq!(Target::folder("image", "//"), Err(Invalid::OuterSlash));
        assert_eq!(Target::folder("image", ""), Err(Invalid::NotAFolder));
    }
}
