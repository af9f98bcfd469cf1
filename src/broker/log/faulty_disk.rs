//! Test only: a disk that forgets, when its process is killed, every byte that was not synced. Never in a release.
//!
//! Bytes written to files of the journal stay in this process's memory until `sync` and are then written through. What
//! `faults.json` in the data folder says is looked up at each sync and write:
//! `{"skip_sync": true}` keeps them in memory for ever though it answers that they are synced,
//! `{"fail_sync": true}` fails the sync, `{"no_space": true}` fails writes as a full disk does,
//! `{"sync_ms": 50}` makes each sync slower,
//! `{"write_through": true}`, from the start on, forgets nothing: what a write does to the disk it does at once.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use super::disk::{Disk, DiskFile, RealDisk};

/// What is to go wrong.
#[derive(Clone, Copy, Default, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Faults {
    skip_sync: bool,
    fail_sync: bool,
    no_space: bool,
    sync_ms: u64,
    write_through: bool,
}

/// See the module.
pub struct FaultyDisk {
    control: PathBuf,
}

impl FaultyDisk {
    /// The forgetful disk of a data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { control: data_dir.join("faults.json") }
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { control: self.control.clone(), file, unsynced: Mutex::default() })
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        RealDisk.lock(path)
    }
}

/// A file whose unsynced writes are in memory, by offset; they never overlap, for a later write replaces an earlier one.
struct FaultyFile {
    control: PathBuf,
    file: Arc<dyn DiskFile>,
    unsynced: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl FaultyFile {
    /// No file, or one that is just being written, means no faults.
    fn faults(&self) -> Faults {
        let text = std::fs::read(&self.control).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

impl DiskFile for FaultyFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let unsynced = self.unsynced.lock();
        let end = offset + buf.len() as u64;
        let on_disk = self.file.len()?.saturating_sub(offset).min(buf.len() as u64) as usize;
        self.file.read_exact_at(&mut buf[..on_disk], offset)?;
        let mut known = offset + on_disk as u64;
        for (start, bytes) in unsynced.iter() {
            let stop = start + bytes.len() as u64;
            let (from, to) = ((*start).max(offset), stop.min(end));
            if from < to {
                let source = &bytes[(from - start) as usize..(to - start) as usize];
                buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
                known = if from <= known { known.max(to) } else { known };
            }
        }
        if known < end { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let faults = self.faults();
        if faults.no_space {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if faults.write_through {
            return self.file.write_all_at(bytes, offset);
        }
        self.unsynced.lock().insert(offset, bytes.to_vec());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let faults = self.faults();
        std::thread::sleep(Duration::from_millis(faults.sync_ms));
        if faults.fail_sync {
            return Err(io::Error::other("a sync that was made to fail"));
        }
        if faults.skip_sync {
            return Ok(());
        }
        let mut unsynced = self.unsynced.lock();
        for (offset, bytes) in unsynced.iter() {
            self.file.write_all_at(bytes, *offset)?;
        }
        unsynced.clear();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let unsynced = self.unsynced.lock();
        let ends = unsynced.iter().map(|(start, bytes)| start + bytes.len() as u64);
        Ok(ends.max().unwrap_or(0).max(self.file.len()?))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock();
        unsynced.retain(|start, _| *start < len);
        if let Some((start, bytes)) = unsynced.iter_mut().next_back() {
            bytes.truncate((len - start) as usize);
        }
        // A cut is no write that could be lost: recovery repeats it.
        if len < self.file.len()? { self.file.set_len(len) } else { Ok(()) }
    }
}
