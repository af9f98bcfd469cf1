//! What lies on the disk beside the journal's segments: headers of every kind, and whose the folder is.

use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{Birth, DataFolder, Disk, Identity, InitialVoter, fuzzing};
use chronik_core::ids::{BrokerId, DiskId};
use chronik_sim::disk::SimDisk;
use uuid::Uuid;

pub(super) const DIR: &str = "/data";
pub(super) const SALT: u32 = 7;

pub(super) fn owner() -> Identity {
    let disk = DiskId(Uuid::from_u128(1));
    Identity { cluster: "fuzzed".parse().expect("a cluster id"), broker: BrokerId(1), disk }
}

/// A formatted folder on a disk in memory.
pub(super) fn formatted() -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::default());
    let voters = vec![InitialVoter { broker: BrokerId(1), address: "127.0.0.1:9093".to_owned() }];
    DataFolder::format_as(&*disk, Path::new(DIR), owner(), Birth::InitialVoters(voters), SALT)
        .expect("an empty disk can be formatted");
    disk
}

/// Puts these bytes in the place of a file.
pub(super) fn replace(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    // It need not be there.
    let _ = disk.remove(path);
    let file = disk.create(path).expect("the name is free");
    file.write_all_at(bytes, 0).expect("this disk is not full");
}

pub(super) fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path).expect("the file is there");
    let mut bytes = vec![0; file.len().expect("it has a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("it can be read");
    bytes
}

pub(super) fn headers(input: &[u8]) {
    fuzzing::headers(input);
}

/// The heads of a real journal, its mark, and nothing.
pub(super) fn header_seeds() -> Vec<Vec<u8>> {
    let mut seeds = fuzzing::samples();
    seeds.push(Vec::new());
    seeds
}

/// Opens a folder whose `meta.json` is the input. One that is taken counts its start, and is taken again.
pub(super) fn identity(input: &[u8]) {
    let (disk, dir) = (formatted(), Path::new(DIR));
    replace(&disk, &dir.join("meta.json"), input);
    let Ok(first) = DataFolder::open(&*disk, dir) else { return };
    let (identity, start) = (first.identity.clone(), first.incarnation.start);
    drop(first);
    let second = DataFolder::open(&*disk, dir).expect("what was opened can be opened again");
    assert_eq!((second.identity.clone(), second.incarnation.start), (identity, start + 1));
}

pub(super) fn identity_seeds() -> Vec<Vec<u8>> {
    vec![read(&formatted(), &Path::new(DIR).join("meta.json"))]
}
