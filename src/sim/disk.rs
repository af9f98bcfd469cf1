//! A disk in memory that forgets what was not synced when its machine loses power, and fails as it is told to.
//!
//! Files hold what a reader sees now and, for each unsynced write, what was there before. A power loss undoes those writes
//! and does some of them again: none, all, the first ones, or single sectors of them, so that a write may be torn.
//! Creations, renames and removals are kept up to some point unless their folder was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronik_broker::log::{Disk, DiskFile};
use parking_lot::Mutex;

use crate::random::Random;

/// A power loss keeps or loses at least so much at once.
const SECTOR: usize = 512;

/// What is to go wrong.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskFaults {
    /// The next sync fails.
    pub fail_sync: bool,
    /// The next read of a journal file fails.
    pub fail_read: bool,
    /// Writes find no space.
    pub full: bool,
    /// Power goes before the next sync is done: it fails, and so does everything after it.
    pub power_lost: bool,
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    unsynced: Vec<Undo>,
}

/// How to take an unsynced change back.
enum Undo {
    Write { offset: usize, length: usize, before: Vec<u8>, length_before: usize },
    Cut { before: Vec<u8>, to: usize },
    Extend { length_before: usize, to: usize },
}

/// A change that was taken back, to be made again or not.
enum Redo {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

enum NameChange {
    Created(PathBuf),
    Removed(PathBuf, Arc<Mutex<Node>>),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Arc<Mutex<Node>>> },
}

#[derive(Default)]
struct Names {
    files: BTreeMap<PathBuf, Arc<Mutex<Node>>>,
    folders: BTreeSet<PathBuf>,
    unsynced: Vec<NameChange>,
}

/// One machine's disk.
#[derive(Default)]
pub struct SimDisk {
    names: Mutex<Names>,
    faults: Arc<Mutex<DiskFaults>>,
}

impl SimDisk {
    /// Changes what is to go wrong.
    pub fn faults(&self, change: impl FnOnce(&mut DiskFaults)) {
        change(&mut self.faults.lock());
    }

    /// Whether everything that was written to the last of the files with this ending is on disk.
    pub fn is_synced(&self, ending: &str) -> bool {
        self.matching(ending).last().is_none_or(|(_, node)| node.lock().unsynced.is_empty())
    }

    /// Power is lost: unsynced changes survive as chance has it.
    pub fn lose_power(&self, random: &mut Random) {
        let mut names = self.names.lock();
        let kept = random.below(names.unsynced.len() as u64 + 1) as usize;
        while names.unsynced.len() > kept {
            let change = names.unsynced.pop().expect("there are more than are kept");
            names.take_back(change);
        }
        names.unsynced.clear();
        for node in names.files.values() {
            node.lock().lose_power(random);
        }
        *self.faults.lock() = DiskFaults::default();
    }

    /// Whether writes find no space.
    pub fn is_full(&self) -> bool {
        self.faults.lock().full
    }

    /// Every file whose name ends so, with its length.
    pub fn files(&self, ending: &str) -> Vec<(PathBuf, usize)> {
        self.matching(ending).into_iter().map(|(path, node)| (path, node.lock().bytes.len())).collect()
    }

    /// Removes a file behind the broker's back.
    pub fn lose_file(&self, path: &Path) {
        self.names.lock().files.remove(path);
    }

    /// The system writes out by itself what was not synced.
    pub fn write_back(&self) {
        let mut names = self.names.lock();
        names.unsynced.clear();
        names.files.values().for_each(|node| node.lock().unsynced.clear());
    }

    /// Cuts a file behind the broker's back.
    pub fn cut(&self, path: &Path, length: usize) {
        if let Some(node) = self.names.lock().files.get(path) {
            let mut node = node.lock();
            node.bytes.truncate(length);
            node.unsynced.clear();
        }
    }

    /// Turns bits of a byte behind the broker's back.
    pub fn corrupt(&self, path: &Path, at: usize, bits: u8) {
        if let Some(node) = self.names.lock().files.get(path) {
            node.lock().bytes[at] ^= bits;
        }
    }

    fn matching(&self, ending: &str) -> Vec<(PathBuf, Arc<Mutex<Node>>)> {
        let names = self.names.lock();
        let matches = names.files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
        matches.map(|(path, node)| (path.clone(), node.clone())).collect()
    }

    fn handle(&self, path: &Path, node: Arc<Mutex<Node>>) -> Arc<dyn DiskFile> {
        let journal = path.extension().is_some_and(|extension| extension == "log");
        Arc::new(SimFile { node, faults: self.faults.clone(), journal })
    }
}

impl Names {
    fn take_back(&mut self, change: NameChange) {
        match change {
            NameChange::Created(path) => drop(self.files.remove(&path)),
            NameChange::Removed(path, node) => drop(self.files.insert(path, node)),
            NameChange::Renamed { from, to, replaced } => {
                if let Some(node) = self.files.remove(&to) {
                    self.files.insert(from, node);
                }
                if let Some(node) = replaced {
                    self.files.insert(to, node);
                }
            }
        }
    }
}

impl NameChange {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Created(path) | Self::Removed(path, _) | Self::Renamed { to: path, .. } => path.parent(),
        }
    }
}

impl Node {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let length_before = self.bytes.len();
        let end = offset + bytes.len();
        let before = self.bytes[offset.min(length_before)..end.min(length_before)].to_vec();
        if end > length_before {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.unsynced.push(Undo::Write { offset, length: bytes.len(), before, length_before });
    }

    fn set_length(&mut self, to: usize) {
        let length_before = self.bytes.len();
        if to < length_before {
            let before = self.bytes.split_off(to);
            self.unsynced.push(Undo::Cut { before, to });
        } else if to > length_before {
            self.bytes.resize(to, 0);
            self.unsynced.push(Undo::Extend { length_before, to });
        }
    }

    fn take_back(&mut self, undo: Undo) -> Redo {
        match undo {
            Undo::Write { offset, length, before, length_before } => {
                let bytes = self.bytes[offset..offset + length].to_vec();
                self.bytes[offset.min(length_before)..][..before.len()].copy_from_slice(&before);
                self.bytes.truncate(length_before);
                Redo::Write { offset, bytes }
            }
            Undo::Cut { before, to } => {
                self.bytes.extend_from_slice(&before);
                Redo::Length(to)
            }
            Undo::Extend { length_before, to } => {
                self.bytes.truncate(length_before);
                Redo::Length(to)
            }
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut changes: Vec<Redo> = unsynced.into_iter().rev().map(|undo| self.take_back(undo)).collect();
        changes.reverse();
        match random.below(4) {
            0 => {}
            1 => changes.into_iter().for_each(|change| self.make_again(change)),
            2 => {
                let kept = random.below(changes.len() as u64 + 1) as usize;
                changes.into_iter().take(kept).for_each(|change| self.make_again(change));
            }
            _ => changes.into_iter().for_each(|change| self.make_sectors_again(change, random)),
        }
        self.unsynced.clear();
    }

    fn make_again(&mut self, change: Redo) {
        match change {
            Redo::Write { offset, bytes } => self.write(&bytes, offset),
            Redo::Length(to) => self.set_length(to),
        }
    }

    /// Some sectors reach the disk and others do not, wherever they lie; so may the file's new length.
    fn make_sectors_again(&mut self, change: Redo, random: &mut Random) {
        let Redo::Write { offset, bytes } = change else {
            if random.one_in(2) {
                self.make_again(change);
            }
            return;
        };
        let end = offset + bytes.len();
        if end > self.bytes.len() && random.one_in(2) {
            self.bytes.resize(end, 0);
        }
        let mut at = offset;
        while at < end {
            let stop = ((at / SECTOR + 1) * SECTOR).min(end);
            if random.one_in(2) {
                let length = self.bytes.len().max(stop);
                self.bytes.resize(length, 0);
                self.bytes[at..stop].copy_from_slice(&bytes[at - offset..stop - offset]);
            }
            at = stop;
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.names.lock().folders.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        if names.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.faults.lock().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = Arc::new(Mutex::new(Node::default()));
        names.files.insert(path.to_owned(), node.clone());
        names.unsynced.push(NameChange::Created(path.to_owned()));
        Ok(self.handle(path, node))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.names.lock().files.get(path).cloned().ok_or_else(missing)?;
        Ok(self.handle(path, node))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        if !names.folders.contains(dir) {
            return Err(missing());
        }
        let within = names.files.keys().chain(&names.folders).filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let node = names.files.remove(path).ok_or_else(missing)?;
        names.unsynced.push(NameChange::Removed(path.to_owned(), node));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let node = names.files.remove(from).ok_or_else(missing)?;
        let replaced = names.files.insert(to.to_owned(), node);
        names.unsynced.push(NameChange::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.faults.lock().power_lost {
            return Err(io::Error::other("power is lost"));
        }
        self.names.lock().unsynced.retain(|change| change.folder() != Some(dir));
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        // One process at a time runs on a machine; the file itself means nothing.
        Ok(Box::new(()))
    }
}

struct SimFile {
    node: Arc<Mutex<Node>>,
    faults: Arc<Mutex<DiskFaults>>,
    journal: bool,
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.journal && std::mem::take(&mut self.faults.lock().fail_read) {
            return Err(io::Error::other("a read that was made to fail"));
        }
        let node = self.node.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = node.bytes.get(start..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.faults.lock().full {
            // Some of it may have fitted.
            self.node.lock().write(&bytes[..bytes.len() / 2], offset as usize);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.node.lock().write(bytes, offset as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut faults = self.faults.lock();
        if faults.power_lost {
            return Err(io::Error::other("power is lost"));
        }
        if self.journal && std::mem::take(&mut faults.fail_sync) {
            return Err(io::Error::other("a sync that was made to fail"));
        }
        self.node.lock().unsynced.clear();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.lock().bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.faults.lock().power_lost {
            return Err(io::Error::other("power is lost"));
        }
        self.node.lock().set_length(len as usize);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_as_chance_has_it() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let (disk, path) = (SimDisk::default(), Path::new("/data/1.log"));
            disk.create_dir_all(Path::new("/data")).unwrap();
            let file = disk.create(path).unwrap();
            file.write_all_at(&[1; 1_000], 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("/data")).unwrap();
            file.write_all_at(&[2; 2_000], 500).unwrap();
            assert!(!disk.is_synced(".log"));
            disk.lose_power(&mut Random::new(seed));
            let file = disk.open(path).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes[..500].iter().all(|byte| *byte == 1));
            match bytes.len() {
                1_000 if bytes == [1; 1_000] => lost += 1,
                2_500 if bytes[500..].iter().all(|byte| *byte == 2) => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
    }

    #[test]
    fn a_name_is_durable_once_its_folder_is() {
        let (disk, dir) = (SimDisk::default(), Path::new("/data"));
        disk.create_dir_all(dir).unwrap();
        disk.create(Path::new("/data/old")).unwrap().sync().unwrap();
        disk.sync_dir(dir).unwrap();
        disk.rename(Path::new("/data/old"), Path::new("/data/new")).unwrap();
        let mut outcomes = BTreeSet::new();
        for seed in 0..20 {
            let mut random = Random::new(seed);
            disk.lose_power(&mut random);
            outcomes.insert(disk.list(dir).unwrap());
            let _ = disk.rename(Path::new("/data/new"), Path::new("/data/old"));
            disk.sync_dir(dir).unwrap();
            disk.rename(Path::new("/data/old"), Path::new("/data/new")).unwrap();
        }
        assert_eq!(outcomes.len(), 2);
    }
}
