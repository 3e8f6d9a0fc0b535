//! The index on this machine's disk, so that a process that starts need not wait for Redis.
//!
//! One file, replaced whole every now and then:
//!
//! ```text
//! linkgate-snapshot 2\n
//! one line of JSON: store, epoch, position, count, last write, when it was complete, entries in each set\n
//! links        16 bytes id, 8 bytes needed until
//! cut-offs     8 bytes score, 2 bytes length, member
//! last 32      SHA-256 of all before
//! ```
//!
//! Numbers are little-endian. The position is taken before the entries are, so that following the stream from there
//! repeats some steps and misses none.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keys::StreamId;
use super::stream::Position;
use crate::clock::{BootTime, Moment, UnixMillis};
use crate::files;
use crate::revocation::{Change, Index};
use crate::token::TokenId;

/// The file inside the cache folder.
pub const FILE_NAME: &str = "revocations.snapshot";
/// The shortest time between two snapshots.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Writing snapshots takes at most this share of the time.
pub const SHARE: u32 = 50;
const MAGIC: &[u8] = b"linkgate-snapshot 2\n";
const MAX_HEAD_BYTES: usize = 4096;
/// Longest member: a tag, a collection, a path.
const MAX_MEMBER_BYTES: usize = 2048;

#[derive(Serialize, Deserialize)]
struct Head {
    store: String,
    epoch: String,
    position: String,
    count: u64,
    written: String,
    complete_at: UnixMillis,
    complete_boot: Option<BootTime>,
    links: u64,
    cut_offs: u64,
}

/// Where the snapshot is, and which store it is of.
pub struct Cache {
    path: PathBuf,
    store: String,
}

/// A snapshot that was read.
pub struct Loaded {
    pub index: Index,
    pub position: Position,
    /// How long ago it was complete; `None` when the clocks do not say.
    pub age: Option<Duration>,
}

impl Cache {
    pub fn new(folder: &Path, address: &str, key_prefix: &str) -> Self {
        Self { path: folder.join(FILE_NAME), store: format!("{address} {key_prefix}") }
    }

    /// Writes the index down as it was at a position, where it had been complete `age` before `now`. Writes nothing where
    /// `is_in_store`, asked once the copy is made, says that the store may lack some of it.
    ///
    /// # Errors
    /// When the disk does not take it; the snapshot before stays.
    pub fn save(
        &self,
        index: &Index,
        position: &Position,
        (age, now): (Duration, Moment),
        is_in_store: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            files::create_folder(folder)?;
        }
        let mut boot = BootTime::now();
        if let Some(boot) = &mut boot {
            boot.millis = boot.millis.saturating_sub(age.as_millis() as u64);
        }
        let mut entries = (Vec::new(), Vec::new(), 0, 0);
        index.for_each(|change| match change {
            Change::Link { id, until } => {
                entries.0.extend_from_slice(&id.0);
                entries.0.extend_from_slice(&until.0.to_le_bytes());
                entries.2 += 1;
            }
            Change::CutOff { member, score } => {
                entries.1.extend_from_slice(&score.to_le_bytes());
                entries.1.extend_from_slice(&(member.len() as u16).to_le_bytes());
                entries.1.extend_from_slice(member.as_bytes());
                entries.3 += 1;
            }
            Change::LinkLifted { .. } | Change::CutOffLifted { .. } => {}
        });
        if !is_in_store() {
            return Ok(());
        }
        let (links, cut_offs, link_count, cut_off_count) = entries;
        let head = Head {
            store: self.store.clone(),
            epoch: position.epoch.clone(),
            position: position.last.to_string(),
            count: position.count,
            written: position.written.to_string(),
            complete_at: now.wall.minus(age),
            complete_boot: boot,
            links: link_count,
            cut_offs: cut_off_count,
        };
        files::replace_with(&self.path, |file| {
            let mut out = Summed { inner: BufWriter::new(file), sum: Sha256::new() };
            out.write_all(MAGIC)?;
            out.write_all(&serde_json::to_vec(&head)?)?;
            out.write_all(b"\n")?;
            out.write_all(&links)?;
            out.write_all(&cut_offs)?;
            let Summed { mut inner, sum } = out;
            inner.write_all(&sum.finalize())?;
            inner.flush()
        })
    }

    /// Reads the snapshot; `None` when there is none of this store.
    ///
    /// # Errors
    /// When it is damaged or of another format: it is not to be used.
    pub fn load(&self, now: Moment) -> io::Result<Option<Loaded>> {
        let file = match files::open(&self.path) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        self.read(BufReader::new(file), now)
    }

    fn read(&self, input: impl Read, now: Moment) -> io::Result<Option<Loaded>> {
        let mut input = Summed { inner: input, sum: Sha256::new() };
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it begins like no snapshot"));
        }
        let head: Head = serde_json::from_slice(&read_line(&mut input)?)?;
        if head.store != self.store {
            return Ok(None);
        }
        let index = Index::default();
        for _ in 0..head.links {
            let (mut id, mut until) = ([0; 16], [0; 8]);
            input.read_exact(&mut id)?;
            input.read_exact(&mut until)?;
            index.apply(Change::Link { id: TokenId(id), until: UnixMillis(u64::from_le_bytes(until)) });
        }
        let mut member = [0; MAX_MEMBER_BYTES];
        for _ in 0..head.cut_offs {
            let (mut score, mut length) = ([0; 8], [0; 2]);
            input.read_exact(&mut score)?;
            input.read_exact(&mut length)?;
            let member = member
                .get_mut(..usize::from(u16::from_le_bytes(length)))
                .ok_or_else(|| damaged("a member is too long"))?;
            input.read_exact(member)?;
            let member = std::str::from_utf8(member).map_err(|_| damaged("a member is no text"))?;
            index.apply(Change::CutOff { member, score: u64::from_le_bytes(score) });
        }
        let Summed { mut inner, sum } = input;
        let mut written = [0; 32];
        inner.read_exact(&mut written)?;
        if sum.finalize()[..] != written {
            return Err(damaged("the checksum does not hold"));
        }
        let age = age(&head, now);
        let entry = |id: &str| StreamId::parse(id).ok_or_else(|| damaged("its position is none"));
        let (last, written) = (entry(&head.position)?, entry(&head.written)?);
        Ok(Some(Loaded { index, position: Position { epoch: head.epoch, last, count: head.count, written }, age }))
    }
}

/// Reads what stands between the first line of a snapshot and its checksum.
#[cfg(fuzzing)]
pub fn read_copy(contents: &[u8]) -> Option<Index> {
    let mut copy = [MAGIC, contents].concat();
    copy.extend(Sha256::digest(&copy));
    let now = Moment { wall: UnixMillis(1_800_000_000_000), uptime: Duration::ZERO };
    let cache = Cache::new(Path::new(""), "host:1/0", "linkgate");
    cache.read(copy.as_slice(), now).ok().flatten().map(|loaded| loaded.index)
}

/// The larger of what both clocks say. A wall clock that stands before the time of the snapshot says nothing.
fn age(head: &Head, now: Moment) -> Option<Duration> {
    let by_wall = (now.wall >= head.complete_at).then(|| now.wall.since(head.complete_at));
    let by_boot = head.complete_boot.as_ref().and_then(|boot| BootTime::now()?.since(boot));
    match (by_wall, by_boot) {
        (Some(wall), boot) => Some(wall.max(boot.unwrap_or_default())),
        (None, _) => None,
    }
}

fn read_line(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_HEAD_BYTES {
        input.read_exact(&mut byte)?;
        if byte == *b"\n" {
            return Ok(line);
        }
        line.push(byte[0]);
    }
    Err(damaged("its head is too long"))
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Sums up whatever passes.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.sum.update(&bytes[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { wall: UnixMillis(1_800_000_000_000), uptime: Duration::from_secs(9) };

    fn saved() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "host:1/0", "linkgate");
        let index = Index::default();
        index.apply(Change::Link { id: TokenId([7; 16]), until: UnixMillis(5_000) });
        index.apply(Change::CutOff { member: "s:ü", score: 12 });
        let entry = |id| StreamId::parse(id).unwrap();
        let (last, written) = (entry("5-1"), entry("4-2"));
        let position = Position { epoch: "4503599627370497".into(), last, count: 3, written };
        cache.save(&index, &position, (Duration::from_secs(2), NOW), || true).unwrap();
        (folder, cache)
    }

    fn later(seconds: u64) -> Moment {
        Moment { wall: NOW.wall.plus(Duration::from_secs(seconds)), uptime: Duration::ZERO }
    }

    #[test]
    fn what_was_saved_is_read_back_with_its_age() {
        let (_folder, cache) = saved();
        let loaded = cache.load(later(10)).unwrap().unwrap();
        assert!(loaded.index.look(|view| view.has_link(TokenId([7; 16]))));
        assert_eq!(loaded.index.look(|view| view.cut_off("s:ü".as_bytes())), Some(12));
        assert_eq!((loaded.position.count, loaded.position.last.to_string().as_str()), (3, "5-1"));
        assert_eq!(loaded.age, Some(Duration::from_secs(12)));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_snapshot_young() {
        let (_folder, cache) = saved();
        let earlier = Moment { wall: NOW.wall.minus(Duration::from_secs(60)), uptime: Duration::ZERO };
        assert_eq!(cache.load(earlier).unwrap().unwrap().age, None);
    }

    #[test]
    fn another_stores_snapshot_is_none_of_ours() {
        let (folder, _cache) = saved();
        assert!(Cache::new(folder.path(), "host:1/0", "other").load(NOW).unwrap().is_none());
        assert!(Cache::new(Path::new("/nonexistent"), "host:1/0", "linkgate").load(NOW).unwrap().is_none());
    }

    #[test]
    fn a_snapshot_with_any_byte_changed_or_missing_is_refused() {
        let (folder, cache) = saved();
        let path = folder.path().join(FILE_NAME);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(!matches!(cache.load(NOW), Ok(Some(_))), "byte {at} changed");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(!matches!(cache.load(NOW), Ok(Some(_))), "cut at {at}");
        }
    }
}
