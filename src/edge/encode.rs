//! Percent-encoding a media path for an internal redirect (RFC 3986 §2).

/// Appends a path; every byte that is not unreserved is encoded, `/` separates segments.
///
/// nginx decodes the value once (`ngx_http_parse_unsafe_uri`): what it then opens is the path, byte for byte.
pub fn push_path(out: &mut Vec<u8>, path: &str) {
    for byte in path.bytes() {
        if byte == b'/' {
            out.push(byte);
        } else {
            push_byte(out, byte);
        }
    }
}

/// Appends one byte, encoded unless it is unreserved.
pub fn push_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if is_unreserved(byte) {
        out.push(byte);
    } else {
        out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// RFC 3986 §2.3.
pub const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(path: &str) -> String {
        let mut out = Vec::new();
        push_path(&mut out, path);
        String::from_utf8(out).unwrap()
    }

    fn decode(text: &str) -> Vec<u8> {
        let mut bytes = text.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                decoded.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            } else {
                decoded.push(byte);
            }
        }
        decoded
    }

    #[test]
    fn everything_that_means_something_to_an_edge_is_encoded() {
        assert_eq!(encode("users/42/cat 1.jpg"), "users/42/cat%201.jpg");
        assert_eq!(encode("50%.txt"), "50%25.txt");
        assert_eq!(encode("q?x#y+z;'\".é"), "q%3Fx%23y%2Bz%3B%27%22.%C3%A9");
    }

    proptest! {
        #[test]
        fn decoding_once_gives_the_path_back(path in "\\PC{1,200}") {
            prop_assert_eq!(decode(&encode(&path)), path.as_bytes());
        }
    }
}
