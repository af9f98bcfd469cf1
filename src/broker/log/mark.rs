//! The mark: how far the journal was synced, in a file of its own beside the journal.
//!
//! After a crash the last write group may be torn, and the journal alone cannot tell a torn one from one that was synced
//! and lost again, nor that there were more behind it. The mark can: it is written after each sync and names the group
//! that was synced. It is not synced itself, but for starts and clean stops: after a crash of the machine it may be
//! older than the truth. It is never newer, so what it names must be there.
//!
//! | `synced`, 64 bytes, little-endian | at | size |
//! |---|---|---|
//! | magic `CHRNKMRK` | 0 | 8 |
//! | format version (1) | 8 | 2 |
//! | salt of the journal it speaks of | 12 | 4 |
//! | the write group: its sequence number | 16 | 8 |
//! | its operations | 24 | 4 |
//! | CRC in its header | 28 | 4 |
//! | the segment it lies in | 32 | 4 |
//! | where it ends there | 40 | 8 |
//! | CRC-32C of bytes 0..60 | 60 | 4 |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::{LAST, Predecessor};
use super::disk::{Disk, DiskFile};
use super::journal::LogError;

const NAME: &str = "synced";
const MAGIC: &[u8; 8] = b"CHRNKMRK";
const FORMAT: u16 = 1;
const SIZE: usize = 64;

/// A place in the journal up to which everything was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// The last write group, as its successor would name it.
    pub(super) group: Predecessor,
    pub(super) segment: u32,
    /// Where the group ends in its segment.
    pub(super) end: u64,
}

/// The file that holds the mark.
pub(super) struct MarkFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    salt: u32,
    /// The last write failed: that was said once.
    failing: bool,
}

impl MarkFile {
    /// Opens the mark of a data folder's journal, or makes an empty one for a journal that never had any.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, salt: u32) -> Result<(Self, Option<Mark>), LogError> {
        let path = dir.join(NAME);
        let failed = |action, path: &Path, source| LogError::Io { action, path: path.to_owned(), source };
        let (file, bytes) = match disk.open(&path) {
            Ok(file) => {
                let mut bytes = [0; SIZE];
                let read = file.read_exact_at(&mut bytes, 0);
                (file, read.is_ok().then_some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&path).map_err(|error| failed("create", &path, error))?;
                disk.sync_dir(dir).map_err(|error| failed("sync", dir, error))?;
                (file, None)
            }
            Err(error) => return Err(failed("open", &path, error)),
        };
        let mark = match bytes {
            Some(bytes) => decode(&bytes, salt, &path)?,
            None => None,
        };
        Ok((Self { path, file, salt, failing: false }, mark))
    }

    /// Notes how far the journal is synced. A mark that cannot be written stays older than the truth, which is allowed.
    pub(super) fn write(&mut self, mark: &Mark) {
        let written = self.file.write_all_at(&encode(mark, self.salt), 0);
        if let Err(error) = &written
            && !self.failing
        {
            tracing::warn!(file = %self.path.display(), %error, "write how far the journal is synced");
        }
        self.failing = written.is_err();
    }

    /// Makes the mark itself durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

pub(super) fn encode(mark: &Mark, salt: u32) -> [u8; SIZE] {
    let mut b = [0; SIZE];
    b[..8].copy_from_slice(MAGIC);
    b[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    b[12..16].copy_from_slice(&salt.to_le_bytes());
    b[16..24].copy_from_slice(&mark.group.sequence.to_le_bytes());
    b[24..28].copy_from_slice(&mark.group.ops.to_le_bytes());
    b[28..32].copy_from_slice(&mark.group.crc.to_le_bytes());
    b[32..36].copy_from_slice(&mark.segment.to_le_bytes());
    b[40..48].copy_from_slice(&mark.end.to_le_bytes());
    let crc = crc32c::crc32c(&b[..60]);
    b[60..].copy_from_slice(&crc.to_le_bytes());
    b
}

/// A mark that cannot be read tells nothing, as one that was never written.
fn decode(b: &[u8; SIZE], salt: u32, path: &Path) -> Result<Option<Mark>, LogError> {
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| b[at + i]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| b[at + i]));
    let found = u16::from_le_bytes([b[8], b[9]]);
    let ours = &b[..8] == MAGIC && u32_at(12) == salt && u64_at(16) <= LAST;
    if !ours || crc32c::crc32c(&b[..60]) != u32_at(60) {
        tracing::warn!(file = %path.display(), "nothing is known of how far the journal was synced");
        return Ok(None);
    }
    if found != FORMAT {
        return Err(LogError::UnknownFormat { file: path.to_owned(), what: "format", found, known: FORMAT });
    }
    let group = Predecessor { sequence: u64_at(16), ops: u32_at(24), crc: u32_at(28) };
    Ok(Some(Mark { group, segment: u32_at(32), end: u64_at(40) }))
}

/// What can be decoded says the same again.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzzing(bytes: &[u8], salt: u32) {
    let Some(bytes) = bytes.first_chunk() else { return };
    if let Ok(Some(mark)) = decode(bytes, salt, Path::new(NAME)) {
        assert!(
            matches!(decode(&encode(&mark, salt), salt, Path::new(NAME)), Ok(Some(again)) if again == mark)
        );
    }
}
