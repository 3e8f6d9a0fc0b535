//! Media paths, patterns for them, and the names beside them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linkgate::token::{ContentType, Dotfiles, FileName, MediaPath, PathPattern, Subject};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for dotfiles in [Dotfiles::Hidden, Dotfiles::Allowed] {
        if let Ok(path) = MediaPath::parse(text, dotfiles) {
            assert_eq!(path.as_str(), text);
            assert!(text.len() <= 1024 && !text.contains('\\') && !text.chars().any(char::is_control), "{text:?}");
            assert!(text.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{text:?}");
            assert!(
                dotfiles == Dotfiles::Allowed || !text.split('/').any(|segment| segment.starts_with('.')),
                "{text:?}"
            );
            // Joined to a root it stays below it, for every reader of paths.
            let joined = std::path::Path::new("/root").join(text);
            assert!(
                joined.components().all(|part| part != std::path::Component::ParentDir) && joined.starts_with("/root")
            );
        }
    }
    if let Ok(name) = FileName::parse(text) {
        assert!(!name.as_str().contains(['/', '\\', '\n', '\r', '\u{202e}']), "{text:?}");
    }
    if let Ok(subject) = Subject::parse(text) {
        assert!(!subject.as_str().chars().any(char::is_control), "{text:?}");
    }
    if let Ok(kind) = ContentType::parse(text) {
        assert!(kind.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    }
    // One text as pattern and path.
    let (pattern, path) = text.split_once('\n').unwrap_or((text, text));
    if let (Ok(pattern), Ok(path)) = (PathPattern::parse(pattern), MediaPath::parse(path, Dotfiles::Allowed)) {
        let _ = pattern.matches(path.as_str());
    }
});
