//! Where a batch is written: the layouts that are compared, through the broker's own door to the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{Disk, DiskFile, RealDisk};

/// One way to lay out the log of many partitions.
pub struct Layout {
    pub name: &'static str,
    /// A file for all partitions, or one for each.
    shared: bool,
    /// Threads that write and sync; each takes whatever waits for one file.
    pub writers: usize,
    /// Whether each batch is written to its partition's file too, after the sync: for readers, and so that the
    /// journal can be cut off behind it.
    pub copied: bool,
}

pub const LAYOUTS: [Layout; 5] = [
    Layout { name: "one journal", shared: true, writers: 1, copied: false },
    Layout { name: "file per partition, 1 thread", shared: false, writers: 1, copied: false },
    Layout { name: "file per partition, 8 threads", shared: false, writers: 8, copied: false },
    Layout { name: "file per partition, 64 threads", shared: false, writers: 64, copied: false },
    Layout { name: "journal, then files", shared: true, writers: 1, copied: true },
];

impl Layout {
    /// The file that a partition's batches are synced in.
    pub fn file_of(&self, partition: usize) -> usize {
        if self.shared { 0 } else { partition }
    }

    /// Files that are synced before a batch counts.
    pub fn synced_files(&self, partitions: usize) -> usize {
        if self.shared { 1 } else { partitions }
    }
}

/// A file that is appended to.
pub struct Tail {
    file: Arc<dyn DiskFile>,
    end: u64,
}

impl Tail {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Empty files, durable by name.
pub fn create(folder: &Path, name: &str, count: usize) -> io::Result<Vec<Tail>> {
    let create =
        |number| Ok(Tail { file: RealDisk.create(&folder.join(format!("{name}-{number}.log")))?, end: 0 });
    let files = (0..count).map(create).collect::<io::Result<_>>()?;
    RealDisk.sync_dir(folder)?;
    Ok(files)
}
