//! Names and paths: text that was checked when it was made.
//!
//! Every type here can only be built from text that keeps the rules of its documentation, so code that holds
//! one never checks again.

use thiserror::Error;

/// Longest media path, in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest subject, in bytes of UTF-8.
pub const MAX_SUBJECT_BYTES: usize = 128;
/// Longest client name, in bytes.
pub const MAX_CLIENT_BYTES: usize = 64;
/// Longest collection name, in bytes.
pub const MAX_COLLECTION_BYTES: usize = 64;
/// Longest name offered for saving, in bytes of UTF-8.
pub const MAX_FILE_NAME_BYTES: usize = 255;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 127;
/// Why a piece of text is not what it should be. The variants carry no input: they are safe to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    #[error("must not be empty")]
    Empty,
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("must not start or end with `/`")]
    OuterSlash,
    #[error("must not have an empty segment (`//`)")]
    EmptySegment,
    #[error("must not have a `.` or `..` segment")]
    DotSegment,
    #[error("must not have a segment that starts with `.` (set `dotfiles = true` on the collection to allow it)")]
    HiddenSegment,
    #[error("must not contain a backslash")]
    Backslash,
    #[error("must not contain a control character")]
    Control,
    #[error("must not contain a slash")]
    Slash,
    #[error("must not contain characters that change the direction of text")]
    Direction,
    #[error("may only use {0}")]
    Alphabet(&'static str),
    #[error("must be a media type such as `image/jpeg`")]
    ContentType,
    #[error("must end with `/`")]
    NotAFolder,
}

/// Whether a collection hands out files whose names start with a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dotfiles {
    /// A segment that starts with a dot is refused.
    #[default]
    Hidden,
    /// Only `.` and `..` are refused.
    Allowed,
}

/// A file's path below its collection's root: UTF-8, 1 to 1024 bytes, no surprises in it.
///
/// Refused, never repaired: empty, outer slashes, empty segments, `.` and `..`, dot-led segments (unless the
/// collection allows them), backslashes, control characters. Compared byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MediaPath<'a>(&'a str);

impl<'a> MediaPath<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str, dotfiles: Dotfiles) -> Result<Self, Invalid> {
        bounded(text, MAX_PATH_BYTES)?;
        let bytes = text.as_bytes();
        if bytes.contains(&b'\\') {
            return Err(Invalid::Backslash);
        }
        if has_control(text) {
            return Err(Invalid::Control);
        }
        if bytes.starts_with(b"/") || bytes.ends_with(b"/") {
            return Err(Invalid::OuterSlash);
        }
        for segment in bytes.split(|byte| *byte == b'/') {
            match segment {
                [] => return Err(Invalid::EmptySegment),
                b"." | b".." => return Err(Invalid::DotSegment),
                [b'.', ..] if dotfiles == Dotfiles::Hidden => return Err(Invalid::HiddenSegment),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The path as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The last segment.
    pub fn file_name(self) -> &'a str {
        self.0.rsplit('/').next().unwrap_or(self.0)
    }
}

/// Whoever a link was made for: 1 to 128 bytes without control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject<'a>(&'a str);

impl<'a> Subject<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        bounded(text, MAX_SUBJECT_BYTES)?;
        if has_control(text) {
            return Err(Invalid::Control);
        }
        Ok(Self(text))
    }

    /// The subject as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// The name of an API client: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientName<'a>(&'a str);

impl<'a> ClientName<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        bounded(text, MAX_CLIENT_BYTES)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.bytes().all(good) || !text.as_bytes()[0].is_ascii_alphanumeric() {
            return Err(Invalid::Alphabet("letters, digits, `.`, `_` and `-`, a letter or digit first"));
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// The name of a collection: 1 to 64 of `a-z 0-9 _ -`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CollectionName<'a>(&'a str);

impl<'a> CollectionName<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        bounded(text, MAX_COLLECTION_BYTES)?;
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if !text.bytes().all(good) {
            return Err(Invalid::Alphabet("lower-case letters, digits, `_` and `-`"));
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// The name a browser is offered for saving: 1 to 255 bytes, no path, no control or direction-changing characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'a>(&'a str);

impl<'a> FileName<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        bounded(text, MAX_FILE_NAME_BYTES)?;
        if text == "." || text == ".." {
            return Err(Invalid::DotSegment);
        }
        for character in text.chars() {
            match character {
                '/' => return Err(Invalid::Slash),
                '\\' => return Err(Invalid::Backslash),
                _ if character.is_control() => return Err(Invalid::Control),
                _ if changes_direction(character) => return Err(Invalid::Direction),
                _ => {}
            }
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Whether there is a control character (Unicode category Cc). What is ASCII, as nearly everything is, is told by its
/// bytes.
fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().fold(false, |found, byte| found | byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    }
}

/// Bidirectional overrides and isolates (Unicode UAX #9), with which `gpj.exe` can be shown as `exe.jpg`.
pub const fn changes_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A media type: `type/subtype` and optional parameters, visible ASCII, at most 127 bytes (RFC 9110 §8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType<'a>(&'a str);

impl<'a> ContentType<'a> {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        bounded(text, MAX_CONTENT_TYPE_BYTES)?;
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subtype) = kind.trim_end_matches(' ').split_once('/').ok_or(Invalid::ContentType)?;
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
        };
        let parameter = |byte: u8| byte == b' ' || byte.is_ascii_alphanumeric() || b"!#$&^_.+-=\"; ".contains(&byte);
        if !token(kind) || !token(subtype) || !parameters.bytes().all(parameter) {
            return Err(Invalid::ContentType);
        }
        Ok(Self(text))
    }

    /// The media type as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// Whether a browser saves the file or shows it (RFC 6266).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    /// Saved.
    #[default]
    Attachment,
    /// Shown.
    Inline,
}

fn bounded(text: &str, max: usize) -> Result<(), Invalid> {
    match text.len() {
        0 => Err(Invalid::Empty),
        length if length > max => Err(Invalid::TooLong(max)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_path_is_refused_by_every_rule() {
        let refused = |text: &str| MediaPath::parse(text, Dotfiles::Hidden).unwrap_err();
        assert_eq!(refused(""), Invalid::Empty);
        assert_eq!(refused(&"a".repeat(1025)), Invalid::TooLong(1024));
        assert_eq!(refused("/a"), Invalid::OuterSlash);
        assert_eq!(refused("a/"), Invalid::OuterSlash);
        assert_eq!(refused("a//b"), Invalid::EmptySegment);
        assert_eq!(refused("a/../b"), Invalid::DotSegment);
        assert_eq!(refused("a/./b"), Invalid::DotSegment);
        assert_eq!(refused("a/.git/b"), Invalid::HiddenSegment);
        assert_eq!(refused("a\\b"), Invalid::Backslash);
        assert_eq!(refused("a\r\nb"), Invalid::Control);
        assert_eq!(refused("a\0b"), Invalid::Control);
        assert_eq!(refused("a\u{85}b"), Invalid::Control);
        assert_eq!(refused("\u{7f}"), Invalid::Control);
    }

    #[test]
    fn a_media_path_may_be_whatever_people_call_their_files() {
        for path in
            ["a", "users/42/cat 1.jpg", "50%.txt", "q?x#y+z;'\".txt", "é/漢字/🎉", "a..b", "…", &"é".repeat(512)]
        {
            assert!(MediaPath::parse(path, Dotfiles::Hidden).is_ok(), "{path}");
        }
        assert!(MediaPath::parse(".well-known/x", Dotfiles::Allowed).is_ok());
        assert_eq!(MediaPath::parse("..", Dotfiles::Allowed), Err(Invalid::DotSegment));
    }

    #[test]
    fn a_name_to_save_as_cannot_name_a_folder_or_turn_text_around() {
        assert_eq!(FileName::parse("../x"), Err(Invalid::Slash));
        assert_eq!(FileName::parse("a\r\nb"), Err(Invalid::Control));
        assert_eq!(FileName::parse("photo\u{202e}gpj.exe"), Err(Invalid::Direction));
        assert!(FileName::parse("صورة.jpg").is_ok());
    }

    #[test]
    fn a_content_type_is_a_media_type() {
        assert!(ContentType::parse("text/plain ; charset=utf-8").is_ok());
        assert_eq!(ContentType::parse("text/plain\n; charset=utf-8"), Err(Invalid::ContentType));
        assert!(ContentType::parse("image/svg+xml").is_ok());
        assert!(ContentType::parse("text/plain; charset=utf-8").is_ok());
        for bad in ["", "image", "image/", "image/jpeg\r\nX: 1", "a/b/c", "é/x"] {
            assert!(ContentType::parse(bad).is_err(), "{bad:?}");
        }
    }
}
