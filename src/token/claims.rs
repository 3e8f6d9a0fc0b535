//! What a token says, and its one encoding.
//!
//! Claims borrow from the token they were read from: nothing is copied.

use std::num::{NonZeroU32, NonZeroU64};

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use super::names::{ClientName, ContentType, Disposition, Dotfiles, FileName, Invalid, MediaPath, Subject};
use super::networks::Networks;
use crate::clock::UnixMillis;

/// Largest download count a link may carry.
pub const MAX_DOWNLOADS: u32 = 1_000_000;
/// Highest rate a link is minted with, in bytes per second; more is no limit to anything.
pub const MAX_RATE_LIMIT: u64 = 1_000_000_000_000;

/// Everything a token says. All times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// Who minted it (claim 1).
    pub client: ClientName<'a>,
    /// Whom it was minted for (claim 2).
    pub subject: Option<Subject<'a>>,
    /// From when on it is refused (claim 4).
    pub expires_at: UnixMillis,
    /// From when on it is accepted (claim 5).
    pub not_before: Option<UnixMillis>,
    /// When it was minted; cut-offs compare with it (claim 6).
    pub issued_at: UnixMillis,
    /// The file (claim -1).
    pub path: MediaPath<'a>,
    /// The name offered for saving (claim -2); the path's last segment when absent.
    pub file_name: Option<FileName<'a>>,
    /// Save or show (claim -3); the collection's default when absent.
    pub disposition: Option<Disposition>,
    /// The media type (claim -4); the edge guesses when absent.
    pub content_type: Option<ContentType<'a>>,
    /// Where it may be used from (claim -5).
    pub networks: Networks<'a>,
    /// How many downloads it is good for (claim -6).
    pub max_downloads: Option<NonZeroU32>,
    /// Bytes per second (claim -7).
    pub rate_limit: Option<NonZeroU64>,
}

/// Why authentic claims are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClaimsError {
    #[error("the claims are not a definite-length CBOR map of integer keys in ascending order")]
    Encoding,
    #[error("the token carries a claim that this version does not know")]
    Unknown,
    #[error("a required claim is missing")]
    Missing,
    #[error("a claim has a value outside its range")]
    Value,
}

impl<'a> Claims<'a> {
    /// Writes the claims in their one encoding: keys in the order of RFC 8949 §4.2.1.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        let mut encoder = Encoder::new(&mut bytes);
        let written = self.write(&mut encoder);
        debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
        bytes
    }

    fn write(&self, e: &mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let optional = [
            self.subject.is_some(),
            self.not_before.is_some(),
            self.file_name.is_some(),
            self.disposition.is_some(),
            self.content_type.is_some(),
            !self.networks.is_empty(),
            self.max_downloads.is_some(),
            self.rate_limit.is_some(),
        ];
        e.map(4 + optional.iter().filter(|present| **present).count() as u64)?;
        e.i8(key::CLIENT)?.str(self.client.as_str())?;
        if let Some(subject) = self.subject {
            e.i8(key::SUBJECT)?.str(subject.as_str())?;
        }
        e.i8(key::EXPIRES_AT)?.u64(self.expires_at.0)?;
        if let Some(not_before) = self.not_before {
            e.i8(key::NOT_BEFORE)?.u64(not_before.0)?;
        }
        e.i8(key::ISSUED_AT)?.u64(self.issued_at.0)?;
        e.i8(key::PATH)?.str(self.path.as_str())?;
        if let Some(name) = self.file_name {
            e.i8(key::FILE_NAME)?.str(name.as_str())?;
        }
        if let Some(disposition) = self.disposition {
            e.i8(key::DISPOSITION)?.u8(match disposition {
                Disposition::Attachment => 0,
                Disposition::Inline => 1,
            })?;
        }
        if let Some(content_type) = self.content_type {
            e.i8(key::CONTENT_TYPE)?.str(content_type.as_str())?;
        }
        if !self.networks.is_empty() {
            e.i8(key::NETWORKS)?.bytes(self.networks.as_bytes())?;
        }
        if let Some(count) = self.max_downloads {
            e.i8(key::MAX_DOWNLOADS)?.u32(count.get())?;
        }
        if let Some(rate) = self.rate_limit {
            e.i8(key::RATE_LIMIT)?.u64(rate.get())?;
        }
        Ok(())
    }

    /// Reads claims; borrows every text from `bytes`.
    ///
    /// # Errors
    /// Anything that [`Claims::encode`] could not have written is refused, an unknown claim above all: a
    /// newer, tighter token must never be read as a looser one.
    pub fn decode(bytes: &'a [u8], dotfiles: Dotfiles) -> Result<Self, ClaimsError> {
        let mut reader = Reader { decoder: Decoder::new(bytes), last: None };
        reader.check_shortest()?;
        let Ok(Some(count)) = reader.decoder.map() else { return Err(ClaimsError::Encoding) };
        let mut raw = Raw::default();
        for _ in 0..count {
            let name = reader.key()?;
            match name {
                key::CLIENT => raw.client = Some(reader.text(ClientName::parse)?),
                key::SUBJECT => raw.subject = Some(reader.text(Subject::parse)?),
                key::EXPIRES_AT => raw.expires_at = Some(reader.time()?),
                key::NOT_BEFORE => raw.not_before = Some(reader.time()?),
                key::ISSUED_AT => raw.issued_at = Some(reader.time()?),
                key::PATH => raw.path = Some(reader.text(|text| MediaPath::parse(text, dotfiles))?),
                key::FILE_NAME => raw.file_name = Some(reader.text(FileName::parse)?),
                key::DISPOSITION => raw.disposition = Some(reader.disposition()?),
                key::CONTENT_TYPE => raw.content_type = Some(reader.text(ContentType::parse)?),
                key::NETWORKS => raw.networks = reader.networks()?,
                key::MAX_DOWNLOADS => raw.max_downloads = Some(reader.max_downloads()?),
                key::RATE_LIMIT => raw.rate_limit = Some(NonZeroU64::new(reader.uint()?).ok_or(ClaimsError::Value)?),
                _ => return Err(ClaimsError::Unknown),
            }
        }
        if reader.decoder.position() != bytes.len() {
            return Err(ClaimsError::Encoding);
        }
        Ok(Self {
            client: raw.client.ok_or(ClaimsError::Missing)?,
            subject: raw.subject,
            expires_at: raw.expires_at.ok_or(ClaimsError::Missing)?,
            not_before: raw.not_before,
            issued_at: raw.issued_at.ok_or(ClaimsError::Missing)?,
            path: raw.path.ok_or(ClaimsError::Missing)?,
            file_name: raw.file_name,
            disposition: raw.disposition,
            content_type: raw.content_type,
            networks: raw.networks,
            max_downloads: raw.max_downloads,
            rate_limit: raw.rate_limit,
        })
    }
}

/// The claims' integer keys: CWT's registered ones (RFC 8392 §4) and, below zero, our own.
mod key {
    pub const CLIENT: i8 = 1;
    pub const SUBJECT: i8 = 2;
    pub const EXPIRES_AT: i8 = 4;
    pub const NOT_BEFORE: i8 = 5;
    pub const ISSUED_AT: i8 = 6;
    pub const PATH: i8 = -1;
    pub const FILE_NAME: i8 = -2;
    pub const DISPOSITION: i8 = -3;
    pub const CONTENT_TYPE: i8 = -4;
    pub const NETWORKS: i8 = -5;
    pub const MAX_DOWNLOADS: i8 = -6;
    pub const RATE_LIMIT: i8 = -7;
}

#[derive(Default)]
struct Raw<'a> {
    client: Option<ClientName<'a>>,
    subject: Option<Subject<'a>>,
    expires_at: Option<UnixMillis>,
    not_before: Option<UnixMillis>,
    issued_at: Option<UnixMillis>,
    path: Option<MediaPath<'a>>,
    file_name: Option<FileName<'a>>,
    disposition: Option<Disposition>,
    content_type: Option<ContentType<'a>>,
    networks: Networks<'a>,
    max_downloads: Option<NonZeroU32>,
    rate_limit: Option<NonZeroU64>,
}

struct Reader<'a> {
    decoder: Decoder<'a>,
    last: Option<u8>,
}

impl<'a> Reader<'a> {
    /// The next key. One byte of CBOR each (keys are -24..24), strictly ascending by that byte.
    fn key(&mut self) -> Result<i8, ClaimsError> {
        let encoded = *self.decoder.input().get(self.decoder.position()).ok_or(ClaimsError::Encoding)?;
        if self.last.is_some_and(|last| encoded <= last) {
            return Err(ClaimsError::Encoding);
        }
        self.last = Some(encoded);
        match encoded {
            0x00..=0x17 | 0x20..=0x37 => self.decoder.i8().map_err(|_| ClaimsError::Encoding),
            _ => Err(ClaimsError::Unknown),
        }
    }

    /// Whether the number at the head of what is read next, a value or a length, is written as short as possible.
    fn check_shortest(&self) -> Result<(), ClaimsError> {
        let head = self.decoder.input().get(self.decoder.position()..).unwrap_or_default();
        let is_shortest = match *head {
            // What is no number has no shortest form; its type is wrong.
            [first, ..] if first >> 5 == 7 => true,
            [first, byte, ..] if first & 0x1f == 24 => byte > 23,
            [first, high, _, ..] if first & 0x1f == 25 => high > 0,
            [first, a, b, _, _, ..] if first & 0x1f == 26 => a | b > 0,
            [first, a, b, c, d, _, _, _, _, ..] if first & 0x1f == 27 => a | b | c | d > 0,
            _ => true,
        };
        if is_shortest { Ok(()) } else { Err(ClaimsError::Encoding) }
    }

    fn text<T>(&mut self, parse: impl FnOnce(&'a str) -> Result<T, Invalid>) -> Result<T, ClaimsError> {
        self.check_shortest()?;
        let text = self.decoder.str().map_err(|_| ClaimsError::Value)?;
        parse(text).map_err(|_| ClaimsError::Value)
    }

    fn uint(&mut self) -> Result<u64, ClaimsError> {
        self.check_shortest()?;
        self.decoder.u64().map_err(|_| ClaimsError::Value)
    }

    fn time(&mut self) -> Result<UnixMillis, ClaimsError> {
        let time = UnixMillis(self.uint()?);
        if time > UnixMillis::MAX {
            return Err(ClaimsError::Value);
        }
        Ok(time)
    }

    fn disposition(&mut self) -> Result<Disposition, ClaimsError> {
        match self.uint()? {
            0 => Ok(Disposition::Attachment),
            1 => Ok(Disposition::Inline),
            _ => Err(ClaimsError::Value),
        }
    }

    fn networks(&mut self) -> Result<Networks<'a>, ClaimsError> {
        self.check_shortest()?;
        let bytes = self.decoder.bytes().map_err(|_| ClaimsError::Value)?;
        Networks::parse(bytes).ok_or(ClaimsError::Value)
    }

    fn max_downloads(&mut self) -> Result<NonZeroU32, ClaimsError> {
        let count = u32::try_from(self.uint()?).map_err(|_| ClaimsError::Value)?;
        if count > MAX_DOWNLOADS {
            return Err(ClaimsError::Value);
        }
        NonZeroU32::new(count).ok_or(ClaimsError::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::names::ClientName;

    #[test]
    fn claims_refuse_what_they_would_not_have_written() {
        let claims = Claims {
            client: ClientName::parse("backend").unwrap(),
            subject: None,
            expires_at: UnixMillis(2_000),
            not_before: None,
            issued_at: UnixMillis(1_000),
            path: MediaPath::parse("a.jpg", Dotfiles::Hidden).unwrap(),
            file_name: None,
            disposition: None,
            content_type: None,
            networks: Networks::default(),
            max_downloads: None,
            rate_limit: None,
        };
        let bytes = claims.encode();
        assert_eq!(Claims::decode(&bytes, Dotfiles::Hidden), Ok(claims));

        let mut trailing = bytes.clone();
        trailing.push(0);
        assert_eq!(Claims::decode(&trailing, Dotfiles::Hidden), Err(ClaimsError::Encoding));
        let mut unknown = bytes.clone();
        unknown[0] += 1;
        unknown.extend([0x37, 0x00]);
        assert_eq!(Claims::decode(&unknown, Dotfiles::Hidden), Err(ClaimsError::Unknown));
        // The number of claims, the client's length and a time, each in more room than it needs.
        let longer: [(&[u8], &[u8]); 3] =
            [(&[0xa4], &[0xb8, 4]), (&[1, 0x67], &[1, 0x78, 7]), (&[0x19, 0x07, 0xd0], &[0x1a, 0, 0, 0x07, 0xd0])];
        for (short, long) in longer {
            let at = bytes.windows(short.len()).position(|window| window == short).unwrap();
            let bytes = [&bytes[..at], long, &bytes[at + short.len()..]].concat();
            assert_eq!(Claims::decode(&bytes, Dotfiles::Hidden), Err(ClaimsError::Encoding), "{long:?}");
        }
        assert_eq!(Claims::decode(&[0xa0], Dotfiles::Hidden), Err(ClaimsError::Missing));
        assert_eq!(Claims::decode(&[0xbf, 0xff], Dotfiles::Hidden), Err(ClaimsError::Encoding));
        assert_eq!(Claims::decode(&[], Dotfiles::Hidden), Err(ClaimsError::Encoding));
    }
}
