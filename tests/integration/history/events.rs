//! What was seen from outside, and when. Links, revocations and verifiers are numbered.

use std::time::Duration;

/// Since the beginning of the history.
pub type Time = Duration;

/// What revocations can name about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearings {
    /// The number of the first link with the same id: a stable link may be minted twice.
    pub identity: usize,
    pub subject: u8,
    pub folder: u8,
    pub file: u8,
    pub client: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Link(usize),
    Subject(u8),
    Path { folder: u8, file: u8 },
    Folder(u8),
    Client(u8),
    Everything,
}

impl Target {
    /// Whether it names links with these bearings.
    pub fn names(self, link: &Bearings) -> bool {
        match self {
            Self::Link(named) => named == link.identity,
            Self::Subject(named) => named == link.subject,
            Self::Path { folder, file } => (folder, file) == (link.folder, link.file),
            Self::Folder(named) => named == link.folder,
            Self::Client(named) => named == link.client,
            Self::Everything => true,
        }
    }
}

/// Which links of its target a revocation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Whenever,
    UntilNow,
    /// Issued before this time, in milliseconds since 1970.
    Before(u64),
}

/// How a store lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything: what comes then is told apart from what was.
    Emptied,
    /// It came back as it had been at this time or later.
    Rewound { to: Time },
}

#[derive(Clone, Debug)]
pub enum Event {
    Minted {
        link: usize,
        bearings: Bearings,
        /// The verifier that minted it.
        verifier: usize,
        /// In milliseconds since 1970, as the answer says.
        issued_at: u64,
        /// How often it may be downloaded, where that is counted.
        most: Option<usize>,
        asked: Time,
        answered: Time,
    },
    /// `is_sure`: the answer said that it was recorded.
    Revoked {
        revocation: usize,
        verifier: usize,
        target: Target,
        reach: Reach,
        is_sure: bool,
        asked: Time,
        answered: Time,
    },
    Lifted {
        revocation: usize,
        is_sure: bool,
        asked: Time,
        answered: Time,
    },
    /// One of several clients asked; the status is 0 when there was no answer.
    Downloaded {
        link: usize,
        verifier: usize,
        client: u8,
        status: u16,
        started: Time,
        ended: Time,
    },
    /// A verifier gave a new link in place of one.
    Refreshed {
        link: usize,
        verifier: usize,
        started: Time,
        ended: Time,
    },
    /// Something was wrong at one verifier, or at all of them.
    Fault {
        verifier: Option<usize>,
        from: Time,
        until: Time,
    },
    /// A verifier could hear nothing of what is revoked elsewhere.
    Blind {
        verifier: usize,
        from: Time,
        until: Time,
    },
    /// A verifier's process was ended, at this time or later: it knows by heart what it reads again, and nothing else.
    Ended {
        verifier: usize,
        folder: Folder,
        at: Time,
    },
    /// The store lost something, at some moment of a time.
    Lost {
        loss: Loss,
        from: Time,
        until: Time,
    },
    /// An answer after everything was over.
    Settled {
        link: usize,
        verifier: usize,
        status: u16,
    },
    /// A verifier was still not ready long after everything was over, for this reason.
    Unready {
        verifier: usize,
        reason: String,
    },
}

/// What a process that starts finds in its data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// What the one before has left.
    Kept,
    /// A copy made earlier.
    Old,
    /// Keys, and nothing else.
    Empty,
}

/// What a verifier is, as far as promises depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// It keeps what is revoked in memory.
    pub has_index: bool,
    /// It can write: revoke, and count downloads.
    pub writes: bool,
    /// It keeps a copy of what is revoked on disk.
    pub has_copy: bool,
}
