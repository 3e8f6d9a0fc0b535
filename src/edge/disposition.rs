//! `Content-Disposition` for any file name (RFC 6266, RFC 8187).

use super::encode::{is_unreserved, push_byte};
use crate::token::{Disposition, MAX_FILE_NAME_BYTES, changes_direction};

/// Longest ending that is kept when a name is cut.
const MAX_EXTENSION_BYTES: usize = 16;

/// Appends the header's value: a fallback in ASCII that every client understands, and the name itself in UTF-8 when the
/// fallback is not it. Characters that turn text around become `_`, so that a name shows what it is.
pub fn push_content_disposition(out: &mut Vec<u8>, disposition: Disposition, name: &str) {
    out.extend_from_slice(match disposition {
        Disposition::Attachment => b"attachment; filename=\"",
        Disposition::Inline => b"inline; filename=\"".as_slice(),
    });
    let mut is_exact = true;
    for character in shortened(name) {
        let plain = is_plain(character);
        is_exact &= plain;
        out.push(if plain { character as u8 } else { b'_' });
    }
    out.extend_from_slice(b"\"");
    if !is_exact {
        out.extend_from_slice(b"; filename*=UTF-8''");
        for character in shortened(name) {
            let character = if changes_direction(character) || character.is_control() { '_' } else { character };
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                push_byte(out, byte);
            }
        }
    }
}

/// What may stand between the quotes without being misread by anybody: no quotes, backslashes, percent signs.
const fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') && !matches!(character, '"' | '\\' | '%')
}

/// The characters of a name, cut to [`MAX_FILE_NAME_BYTES`] before its ending.
fn shortened(name: &str) -> impl Iterator<Item = char> + '_ {
    let (head, tail) = if name.len() <= MAX_FILE_NAME_BYTES {
        (name, "")
    } else {
        let dot = name.rfind('.').filter(|dot| name.len() - dot <= MAX_EXTENSION_BYTES).unwrap_or(name.len());
        let room = MAX_FILE_NAME_BYTES - (name.len() - dot);
        (&name[..name.floor_char_boundary(room)], &name[dot..])
    };
    head.chars().chain(tail.chars())
}

const _: () =
    assert!(is_unreserved(b'~') && !is_unreserved(b'\''), "RFC 8187 attr-char holds all unreserved characters");

#[cfg(test)]
mod tests {
    use super::*;

    fn value(disposition: Disposition, name: &str) -> String {
        let mut out = Vec::new();
        push_content_disposition(&mut out, disposition, name);
        String::from_utf8(out).unwrap()
    }

    fn attachment(name: &str) -> String {
        value(Disposition::Attachment, name)
    }

    #[test]
    fn a_plain_name_needs_no_second_form() {
        assert_eq!(attachment("cat 1.jpg"), "attachment; filename=\"cat 1.jpg\"");
        assert_eq!(value(Disposition::Inline, "a.png"), "inline; filename=\"a.png\"");
    }

    #[test]
    fn any_other_name_is_given_in_both_forms() {
        assert_eq!(attachment("é\"%.jpg"), "attachment; filename=\"___.jpg\"; filename*=UTF-8''%C3%A9%22%25.jpg");
        assert_eq!(
            attachment("漢🎉.png"),
            "attachment; filename=\"__.png\"; filename*=UTF-8''%E6%BC%A2%F0%9F%8E%89.png"
        );
    }

    #[test]
    fn a_name_cannot_turn_text_around() {
        assert!(attachment("photo\u{202e}gpj.exe").ends_with("UTF-8''photo_gpj.exe"));
    }

    #[test]
    fn a_long_name_is_cut_before_its_ending() {
        let long = format!("{}.jpeg", "é".repeat(400));
        let value = attachment(&long);
        assert!(value.ends_with("%C3%A9.jpeg") && value.len() < 1200, "{}", value.len());
    }
}
