//! The check of a folder that no broker runs on: it changes nothing and names what is damaged.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::log::check::{CheckError, check};

const OTHER: GroupId = GroupId(8);

fn written() -> Folder {
    let folder = Folder::new();
    let (log, _) = folder.open();
    submit(&log, vec![create(G), create(OTHER)]).unwrap();
    submit(&log, vec![append(G, vec![records(1, 1, 0, 3, 100)])]).unwrap();
    submit(&log, vec![append(OTHER, vec![records(1, 1, 0, 2, 100)])]).unwrap();
    drop(log);
    folder
}

/// Every file below a folder with its bytes.
fn bytes_of(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(bytes_of(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Breaks the first byte of the value of a record in the `nth` batch.
fn break_batch(folder: &Folder, nth: usize) -> usize {
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    let values: Vec<usize> = (1..bytes.len() - 100)
        .filter(|at| bytes[at - 1] != b'v' && bytes[*at..at + 100].iter().all(|byte| *byte == b'v'))
        .collect();
    bytes[values[nth]] ^= 1;
    fs::write(folder.segment(1), bytes).unwrap();
    values[nth]
}

#[test]
fn a_sound_folder_is_found_sound() {
    let folder = written();
    let checked = check(folder.path()).unwrap();
    assert_eq!((checked.faults, checked.more_faults, checked.torn), (Vec::new(), 0, None));
    assert_eq!(checked.groups.iter().map(|group| group.group).collect::<Vec<_>>(), [G, OTHER]);
    assert_eq!(checked.groups[0].log.end_offset(), 3);
}

#[test]
fn every_fault_is_named_and_nothing_is_changed() {
    let folder = written();
    let places = [break_batch(&folder, 0), break_batch(&folder, 3)];
    let before = bytes_of(folder.path());
    let checked = check(folder.path()).unwrap();
    assert_eq!(bytes_of(folder.path()), before);
    assert_eq!(checked.faults.len(), 2, "{:?}", checked.faults);
    for (fault, place) in checked.faults.iter().zip(places) {
        let place = place as u64;
        assert_eq!(fault.file, folder.segment(1));
        assert!((place.saturating_sub(300)..place).contains(&fault.offset), "{fault} is not near {place}");
    }
    assert!(checked.groups.iter().all(|group| group.damage.is_some()));
}

#[test]
fn a_torn_end_is_no_fault_and_stays() {
    let folder = written();
    let end = fs::metadata(folder.segment(1)).unwrap().len();
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    bytes.extend([7; 50]);
    fs::write(folder.segment(1), &bytes).unwrap();
    let checked = check(folder.path()).unwrap();
    assert_eq!(checked.faults, Vec::new());
    let torn = checked.torn.unwrap();
    assert_eq!((torn.offset, torn.bytes), (end, 50));
    assert_eq!(fs::read(folder.segment(1)).unwrap(), bytes);
}

#[test]
fn a_folder_in_use_or_without_a_format_is_refused() {
    let folder = written();
    let _held = DataFolder::open(&RealDisk, folder.path()).unwrap();
    assert!(matches!(check(folder.path()), Err(CheckError::Identity(IdentityError::InUse { .. }))));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(check(empty.path()), Err(CheckError::Identity(IdentityError::NotFormatted { .. }))));
}
