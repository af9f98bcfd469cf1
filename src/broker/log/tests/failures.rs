//! A disk that fails: who waits is told, and who watches.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

/// What fails while its switch is on.
#[derive(Default)]
struct Switches {
    sync: AtomicBool,
    full: AtomicBool,
}

/// Files that fail.
struct BreakingDisk(Arc<Switches>);

struct BreakingFile(Arc<dyn DiskFile>, Arc<Switches>);

impl Disk for BreakingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(BreakingFile(RealDisk.create(path)?, self.0.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(BreakingFile(RealDisk.open(path)?, self.0.clone())))
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

impl DiskFile for BreakingFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.1.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        if self.1.sync.load(Ordering::Relaxed) { Err(io::Error::other("it broke")) } else { self.0.sync() }
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[derive(Default)]
struct Counts {
    synced: AtomicUsize,
    failed: AtomicUsize,
}

impl LogObserver for Counts {
    fn short_of_room(&self, _: bool) {}

    fn synced(&self, _took: Duration, _bytes: usize, _submissions: usize) {
        self.synced.fetch_add(1, Ordering::Relaxed);
    }
    fn failed(&self, full: bool) {
        assert!(!full, "only the sync broke");
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_failed_sync_stops_the_log_and_what_it_wrote_is_not_found_again() {
    let folder = Folder::new();
    let (broken, counts) = (Arc::new(Switches::default()), Arc::new(Counts::default()));
    let options = Options { observer: Some(counts.clone()), ..Options::default() };
    let disk = Arc::new(BreakingDisk(broken.clone()));
    let (log, _) = Log::open(disk, folder.path(), folder.identity.clone(), options).unwrap();
    submit(&log, vec![create(G), append(G, vec![empty(1, 1, 0)])]).unwrap();
    broken.sync.store(true, Ordering::Relaxed);
    let error = submit(&log, vec![append(G, vec![empty(2, 1, 0)])]).unwrap_err();
    assert!(matches!(&error, WriteError::Stopped(why) if why.contains("it broke")), "{error}");
    broken.sync.store(false, Ordering::Relaxed);
    assert!(matches!(submit(&log, vec![append(G, vec![empty(2, 1, 0)])]), Err(WriteError::Stopped(_))));
    drop(log);
    assert_eq!(counts.synced.load(Ordering::Relaxed), 1);
    assert_eq!(counts.failed.load(Ordering::Relaxed), 2);
    let (_log, found) = folder.open();
    assert_eq!((all(&found[0].log), &found[0].damage), (vec![empty(1, 1, 0)], &None));
}

#[test]
fn a_disk_that_has_room_again_is_found_out_by_a_log_that_never_rests() {
    let folder = Folder::new();
    let disk = Arc::new(Switches::default());
    let options = Options { reserve_bytes: 4_096, ..Options::default() };
    let breaking = Arc::new(BreakingDisk(disk.clone()));
    let (log, _) = Log::open(breaking, folder.path(), folder.identity.clone(), options).unwrap();
    submit(&log, vec![create(G)]).unwrap();
    disk.full.store(true, Ordering::Relaxed);
    let error = submit(&log, vec![append(G, vec![empty(1, 1, 0)])]).unwrap_err();
    assert_eq!((error, log.is_short_of_room()), (WriteError::NoSpace, true));
    disk.full.store(false, Ordering::Relaxed);
    for index in 1..=20 {
        submit(&log, vec![append(G, vec![empty(index, 1, 0)])]).unwrap();
    }
    assert!(!log.is_short_of_room());
}
