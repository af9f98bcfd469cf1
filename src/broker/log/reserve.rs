//! A file that only takes room: given up when the disk is full, so that what makes room can still be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::Disk;
use super::writer::Writer;

const NAME: &str = "reserve";
const CHUNK: usize = 1 << 20;

/// The file, or its absence.
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// It was given up: shared with whoever should write only what must be written.
    spent: Arc<AtomicBool>,
}

impl Reserve {
    /// Takes the room, if there is so much; none if `bytes` is 0.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, bytes: u64) -> Self {
        let reserve = Self { path: dir.join(NAME), bytes, spent: Arc::new(AtomicBool::new(false)) };
        let there = disk.open(&reserve.path).and_then(|file| file.len()).unwrap_or(0);
        if there != bytes {
            reserve.fill(disk);
        }
        reserve
    }

    pub(super) fn spent(&self) -> Arc<AtomicBool> {
        self.spent.clone()
    }

    fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    fn fill(&self, disk: &dyn Disk) {
        let filled = self.remove(disk).and_then(|()| if self.bytes > 0 { self.create(disk) } else { Ok(()) });
        if filled.is_err() {
            let _ = self.remove(disk);
        }
        self.spent.store(filled.is_err(), Ordering::Release);
    }

    fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.create(&self.path)?;
        let mut at = 0;
        while at < self.bytes {
            let length = (self.bytes - at).min(CHUNK as u64);
            file.write_all_at(&vec![0; length as usize], at)?;
            at += length;
        }
        file.sync()
    }

    fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// The disk is full: whether there was a reserve to give up.
    pub(super) fn spend_reserve(&mut self) -> bool {
        if self.reserve.bytes == 0 || self.reserve.is_spent() || self.reserve.remove(&*self.disk).is_err() {
            return false;
        }
        tracing::warn!(bytes = self.reserve.bytes, "give up the reserve: there is no other room");
        self.reserve.spent.store(true, Ordering::Release);
        true
    }

    /// Takes the room again, if there is so much.
    pub(super) fn restore_reserve(&mut self) {
        if self.reserve.is_spent() {
            self.reserve.fill(&*self.disk);
        }
    }

    pub(super) fn lacks_reserve(&self) -> bool {
        self.reserve.is_spent() && !self.is_stopped()
    }
}
