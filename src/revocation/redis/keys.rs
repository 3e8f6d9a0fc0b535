//! Names in Redis: the keys, all in one hash slot, and stream ids.

use std::fmt;

use crate::answers::Party;
use crate::clock::UnixMillis;
use crate::token::TokenId;

/// Version of the layout; a store of another version is not judged by.
pub const LAYOUT: &str = "2";
/// The member of both sets that carries the epoch.
pub const SENTINEL: &str = "!";

/// The keys of one store. `{rv}` is the hash tag that keeps them in one slot of a cluster.
pub struct Keys {
    all: [String; 9],
    clients: String,
    uses: String,
    fleet: String,
    downloads: String,
    answers: String,
}

impl Keys {
    /// The keys below a prefix.
    pub fn new(prefix: &str) -> Self {
        let name = |name| format!("{prefix}:{{rv}}:{name}");
        Self {
            clients: name("clients"),
            uses: name("used"),
            fleet: name("f"),
            downloads: name("d"),
            answers: name("w"),
            all: ["t", "c", "m", "s", "r", "i", "o", "x", "g"].map(name),
        }
    }

    /// All of them, in the order the scripts expect.
    pub const fn all(&self) -> &[String; 9] {
        &self.all
    }

    /// Sorted set: token id → until when the entry is needed, in ms.
    pub fn links(&self) -> &str {
        &self.all[0]
    }

    /// Sorted set: member → cut-off, in ms.
    pub fn cut_offs(&self) -> &str {
        &self.all[1]
    }

    /// Hash: e epoch, a the epochs it descends from, n count of writes, w stream id of the last of them, l last stream
    /// id, v layout, b until when it is vouched for, k until when links are dated whose counts are lost, u the latest time
    /// that was told, i which server wrote last, h how far "until now" reaches at least, y on probation
    /// until then, o an epoch that is missed, z being restored, and for each who restores, until when.
    pub fn meta(&self) -> &str {
        &self.all[2]
    }

    /// Stream of every step.
    pub fn stream(&self) -> &str {
        &self.all[3]
    }

    /// Hash: revocation id → record.
    pub fn records(&self) -> &str {
        &self.all[4]
    }

    /// Hash: client name → record; `!` sentinel, `#` revision.
    pub fn clients(&self) -> &str {
        &self.clients
    }

    /// Hash: client and key id → when the key was last used, in ms.
    pub fn uses(&self) -> &str {
        &self.uses
    }

    /// Hash: verifier → when it was last seen, and its report.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Hash of one link that counts its downloads.
    pub fn downloads(&self, link: TokenId) -> String {
        format!("{}:{link}", self.downloads)
    }

    /// Of the answers that are kept for a while, sealed: those of a caller (hash: name → when it ends, and the answer),
    /// their order, the callers of its party by bytes, and when the last answer of each ends.
    pub fn answers(&self, party: Party, caller: &str) -> [String; 4] {
        let party = format!("{}:{}", self.answers, party.letter());
        [format!("{party}:{caller}"), format!("{party}:{caller}:o"), format!("{party}:b"), format!("{party}:x")]
    }

    /// Hash: number of a block of writes → the stream ids of those writes, eight bytes each.
    pub fn history(&self) -> &str {
        &self.all[8]
    }

    /// Sorted set: member, score and revocation id, in this order.
    pub fn by_target(&self) -> &str {
        &self.all[6]
    }

    /// Sorted set: revocation id by creation time.
    pub fn by_time(&self) -> &str {
        &self.all[5]
    }
}

/// The id of a stream entry, ordered as Redis orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    millis: u64,
    sequence: u64,
}

impl StreamId {
    /// Reads `<ms>-<sequence>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (millis, sequence) = text.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, sequence: sequence.parse().ok()? })
    }
}

impl StreamId {
    /// The greatest id below this one: reading on from it brings this one first.
    pub const fn before(self) -> Self {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Self { millis: self.millis, sequence },
            None => Self { millis: self.millis.saturating_sub(1), sequence: u64::MAX },
        }
    }

    /// As it stands among the writes of its [block](Keys::history): six bytes of milliseconds, two of the sequence.
    pub const fn packed(self) -> [u8; 8] {
        (self.millis << 16 | self.sequence & 0xffff).to_be_bytes()
    }

    /// When the server took the entry, by its own clock.
    pub const fn time(self) -> UnixMillis {
        UnixMillis(self.millis)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}
