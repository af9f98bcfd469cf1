//! Segment files: their names, their creation, and the table of open ones that readers share with the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronik_core::ids::GroupId;
use parking_lot::{Mutex, RwLock};

use super::codec::{GROUP_HEADER, SEGMENT_HEADER, SegmentHeader, WriteGroupHeader};
use super::disk::{Disk, DiskFile};
use super::identity::Identity;

/// The journal's folder within the data folder.
pub(super) const FOLDER: &str = "journal";

/// An open segment. It stays readable for whoever holds it after the file was removed.
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Where the checkpoint at its head ends, as far as it can be read.
    pub(super) fn head(&self) -> u64 {
        let mut bytes = [0; GROUP_HEADER];
        let read = self.file.read_exact_at(&mut bytes, SEGMENT_HEADER as u64);
        let header = read.ok().and_then(|()| WriteGroupHeader::decode(&bytes, None).ok());
        let checkpoint = header.filter(|header| header.checkpoint);
        let length = checkpoint.map_or(0, |header| GROUP_HEADER as u64 + u64::from(header.length));
        SEGMENT_HEADER as u64 + length
    }
}

/// The open segments by number, and the groups of which somebody found damage in them.
#[derive(Default)]
pub(super) struct SegmentTable {
    open: RwLock<BTreeMap<u32, Arc<Segment>>>,
    damaged: Mutex<BTreeSet<GroupId>>,
}

impl SegmentTable {
    pub(super) fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.open.read().get(&number).cloned()
    }

    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.open.write().insert(segment.number, segment);
    }

    pub(super) fn remove(&self, number: u32) -> Option<Arc<Segment>> {
        self.open.write().remove(&number)
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.open.read().values().cloned().collect()
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        self.open.read().keys().copied().collect()
    }

    pub(super) fn note_damaged(&self, group: GroupId) {
        self.damaged.lock().insert(group);
    }

    pub(super) fn take_damaged(&self) -> BTreeSet<GroupId> {
        std::mem::take(&mut self.damaged.lock())
    }
}

pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

pub(super) fn path(data_dir: &Path, number: u32) -> PathBuf {
    folder(data_dir).join(format!("{number:020}.log"))
}

/// The number in a segment file's name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Creates a segment holding `bytes`, which begin with its header, durably, name and all.
/// After an error nothing is left of it, as far as the disk allows.
pub(super) fn create(disk: &dyn Disk, data_dir: &Path, number: u32, bytes: &[u8]) -> io::Result<Segment> {
    let path = path(data_dir, number);
    let file = disk.create(&path)?;
    let fill = || {
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        disk.sync_dir(&folder(data_dir))
    };
    match fill() {
        Ok(()) => Ok(Segment { number, path, file }),
        Err(error) => {
            let _ = disk.remove(&path);
            Err(error)
        }
    }
}

/// A formatted folder's first segment. Its presence is what tells an emptied disk from a new one.
pub(super) fn create_first(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
    salt: u32,
) -> io::Result<()> {
    disk.create_dir_all(&folder(data_dir))?;
    disk.sync_dir(data_dir)?;
    let header = SegmentHeader { identity: identity.clone(), salt, number: 1 };
    create(disk, data_dir, 1, &header.encode()).map(drop)
}

/// Removes the journal of a format that died half way: one segment without a single write group.
/// False, and nothing removed, if there is anything else.
pub(super) fn remove_unused(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    let names = disk.list(&folder(data_dir))?;
    for name in &names {
        if number_of(name) != Some(1) || disk.open(&path(data_dir, 1))?.len()? > SEGMENT_HEADER as u64 {
            return Ok(false);
        }
    }
    if !names.is_empty() {
        disk.remove(&path(data_dir, 1))?;
    }
    Ok(true)
}
