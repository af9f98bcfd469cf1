//! Journals that lost bytes after they were synced: a replica holds all that was certified, or is damaged at a named
//! place; it is never just shorter.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Held, Snapshot, take_in};
use super::*;
use crate::log::codec::{GROUP_HEADER, Predecessor, SEGMENT_HEADER, SegmentHeader, WriteGroupHeader};
use crate::log::mark::{Mark, MarkFile};
use crate::log::scan::{self, Found};

const META: GroupId = GroupId::METADATA;
const OTHER: GroupId = GroupId(8);
const NEW: GroupId = GroupId(99);

/// A journal as its writer left it, and what every replica held after each of its write groups.
struct History {
    folder: Folder,
    /// By sequence number; the first is that of the empty journal.
    snapshots: Vec<Snapshot>,
    salt: u32,
}

fn state(group: GroupId, term: Term, commit: LogIndex) -> WriteOp {
    WriteOp::State { group, state: HardState { term, vote: 3, commit } }
}

fn members(group: GroupId, index: LogIndex) -> WriteOp {
    WriteOp::Membership { group, index, bytes: Bytes::from_static(b"members") }
}

/// Every kind of change, several groups in one write, a truncation, a removal, a payload across pages, later starts.
fn changes() -> Vec<Vec<WriteOp>> {
    vec![
        vec![create(META), append(META, vec![empty(1, 1, 0)])],
        vec![create(G), create(OTHER), state(META, 1, 1)],
        vec![append(G, vec![empty(1, 1, 0), records(2, 1, 0, 3, 10)]), state(G, 1, 0)],
        vec![append(OTHER, vec![empty(1, 1, 0)]), state(OTHER, 1, 0), append(META, vec![empty(2, 1, 0)])],
        vec![append(G, vec![records(3, 1, 3, 1, 6_000)]), state(G, 1, 2)],
        vec![append(G, vec![empty(3, 4, 3), records(4, 4, 3, 5, 5)]), members(G, 1)],
        vec![append(OTHER, vec![records(2, 1, 0, 2, 40)]), state(OTHER, 1, 2), state(G, 4, 4)],
        vec![WriteOp::RemoveGroup { group: OTHER }, append(META, vec![empty(3, 1, 0)])],
        vec![state(META, 1, 3), append(G, vec![records(5, 4, 8, 1, 100)])],
        vec![append(G, vec![records(6, 4, 9, 2, 300)])],
        vec![start(G, 3, 1, 3, false, b"producers"), state(G, 4, 5), append(META, vec![empty(4, 1, 0)])],
        vec![start(META, 4, 1, 0, false, b"the cluster")],
        vec![start(G, 9, 6, 20, true, b"others"), append(G, vec![records(9, 6, 20, 2, 200)])],
    ]
}

impl History {
    fn write(segment_bytes: u64, changes: Vec<Vec<WriteOp>>) -> Self {
        let folder = Folder::with_segments(segment_bytes);
        let (log, _) = folder.open();
        let mut snapshots = vec![Snapshot::new()];
        for ops in changes {
            let mut after = snapshots.last().unwrap().clone();
            submit(&log, ops.clone()).unwrap();
            ops.into_iter().for_each(|op| take_in(&mut after, op));
            for (group, held) in &after {
                assert_eq!(all(&log.group(*group).unwrap()), held.entries, "the model is the log");
            }
            snapshots.push(after);
        }
        drop(log);
        let header = SegmentHeader::decode(&fs::read(folder.segment(1)).unwrap()).unwrap();
        Self { folder, snapshots, salt: header.salt }
    }

    /// A copy of the journal that a test may spoil, with a mark at that write group of the first segment.
    fn copy(&self, marked: Option<(Predecessor, u64)>) -> Folder {
        let copy = Folder { identity: self.folder.identity.clone(), ..Folder::new() };
        for entry in fs::read_dir(self.folder.path().join("journal")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join("journal").join(entry.file_name())).unwrap();
        }
        if let Some((group, end)) = marked {
            let (mut file, _) = MarkFile::open(&RealDisk, copy.path(), self.salt).unwrap();
            file.write(&Mark { group, segment: 1, end });
        }
        copy
    }

    fn copy_as_left(&self) -> Folder {
        let copy = self.copy(None);
        fs::copy(self.folder.path().join("synced"), copy.path().join("synced")).unwrap();
        copy
    }

    fn last(&self) -> &Snapshot {
        self.snapshots.last().unwrap()
    }
}

/// A write group in the first segment.
struct Place {
    header: WriteGroupHeader,
    crc: u32,
    bytes: Range<usize>,
    ops: Vec<usize>,
}

fn places(history: &History) -> (Vec<u8>, Vec<Place>) {
    let bytes = fs::read(history.folder.segment(1)).unwrap();
    let mut places = Vec::new();
    for piece in scan::pieces(&bytes, SEGMENT_HEADER, history.salt, 0) {
        let (header, crc) = piece.header.expect("nothing is damaged yet");
        let body = scan::body(&bytes, &piece, history.salt).unwrap();
        let at = |found: &Found<'_>| match found {
            Found::Op { at, .. } | Found::Lost { at, .. } => *at,
        };
        places.push(Place {
            header,
            crc,
            bytes: piece.at..piece.end,
            ops: body.found.iter().map(at).collect(),
        });
    }
    (bytes, places)
}

/// What recovery made of a folder.
struct Seen {
    held: BTreeMap<GroupId, Result<Held, Damage>>,
    unattributed: Option<Damage>,
}

fn look(folder: &Folder) -> (Log, Seen) {
    let (log, found) = folder.open();
    let held = found.iter().map(|group| {
        let held = match &group.damage {
            Some(damage) => Err(damage.clone()),
            None => Ok(Held::of(group)),
        };
        (group.group, held)
    });
    let seen = Seen { held: held.collect(), unattributed: log.unattributed_damage().cloned() };
    (log, seen)
}

impl Seen {
    /// Every replica holds what it must, or says where it is damaged. Gives how many are damaged or missing.
    fn check(&self, must: &Snapshot, case: &str) -> usize {
        for (group, held) in must {
            match self.held.get(group) {
                Some(Ok(found)) => assert!(
                    found == held,
                    "{case}: group {group} has {} entries of {} and {:?} for {:?}",
                    found.entries.len(),
                    held.entries.len(),
                    found.state,
                    held.state
                ),
                Some(Err(damage)) => check_place(damage, case),
                None => {
                    check_place(self.unattributed.as_ref().unwrap_or_else(|| panic!("{case}: {group}")), case)
                }
            }
        }
        for (group, held) in &self.held {
            assert!(must.contains_key(group) || held.is_err(), "{case}: group {group} came back");
        }
        must.keys().filter(|group| self.held.get(*group).is_none_or(Result::is_err)).count()
    }

    fn damaged(&self) -> Vec<GroupId> {
        self.held.iter().filter(|(_, held)| held.is_err()).map(|(group, _)| *group).collect()
    }
}

fn check_place(damage: &Damage, case: &str) {
    let name = damage.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    assert!(name.ends_with(".log") && !damage.what.is_empty(), "{case}: {damage}");
}

/// A restart sees the same, also once the journal went on.
fn check_lasting(folder: &Folder, must: &Snapshot, damaged: &[GroupId], case: &str) {
    let (log, seen) = look(folder);
    seen.check(must, case);
    assert_eq!(seen.damaged(), damaged, "{case}: a restart sees something else");
    submit(&log, vec![create(NEW), append(NEW, vec![empty(1, 1, 0)])]).unwrap();
    drop(log);
    let (_log, mut seen) = look(folder);
    let new = seen.held.remove(&NEW).map(|held| held.map(|held| held.entries));
    assert_eq!(new, Some(Ok(vec![empty(1, 1, 0)])), "{case}");
    seen.check(must, case);
    assert_eq!(seen.damaged(), damaged, "{case}: so does one after the journal went on");
}

/// Cuts the only segment to `length` after write group `marked` was noted as synced.
fn cut(history: &History, places: &[Place], length: usize, marked: u64) {
    let case = format!("cut at byte {length}, marked {marked}");
    let group = places.iter().find(|place| !place.header.seal && place.header.sequence == marked);
    let named = group.map(|place| {
        let (sequence, ops) = (place.header.sequence, place.header.ops);
        (Predecessor { sequence, ops, crc: place.crc }, place.bytes.end as u64)
    });
    let folder = history.copy(named);
    fs::OpenOptions::new().write(true).open(folder.segment(1)).unwrap().set_len(length as u64).unwrap();

    let sequence = |place: &Place| place.header.sequence;
    let whole = places.iter().filter(|place| place.bytes.end <= length).map(sequence).max().unwrap_or(0);
    // The bytes behind a group certify it.
    let behind = places.iter().filter(|place| place.bytes.start + GROUP_HEADER <= length);
    let behind = behind.map(|place| sequence(place) - u64::from(!place.header.seal)).max().unwrap_or(0);
    let certified = behind.max(marked);

    let (log, seen) = look(&folder);
    let must = &history.snapshots[whole.max(certified) as usize];
    let lost = seen.check(must, &case);
    if whole >= certified {
        assert!(lost == 0 && seen.unattributed.is_none(), "{case}: nothing certified is missing");
    }
    let damaged = seen.damaged();
    drop(log);
    check_lasting(&folder, must, &damaged, &case);
}

#[test]
fn a_journal_cut_at_any_operation_is_whole_or_says_what_it_lost() {
    let history = History::write(1 << 20, changes());
    let (bytes, places) = places(&history);
    let groups = history.snapshots.len() as u64 - 1;
    let boundaries = places.iter().flat_map(|place| {
        let within = [place.bytes.start, place.bytes.start + GROUP_HEADER, place.bytes.end - 7];
        within.into_iter().chain(place.ops.iter().copied())
    });
    for length in boundaries.chain([bytes.len()]).filter(|length| *length >= SEGMENT_HEADER) {
        for marked in [0, groups] {
            cut(&history, &places, length, marked);
        }
    }
}

#[test]
fn a_journal_cut_at_any_byte_is_whole_or_says_what_it_lost() {
    let history = History::write(1 << 20, changes());
    let (bytes, places) = places(&history);
    let groups = history.snapshots.len() as u64 - 1;
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let length = (SEGMENT_HEADER..=bytes.len()).new_tree(&mut runner).unwrap().current();
        let marked = (0..=groups).new_tree(&mut runner).unwrap().current();
        cut(&history, &places, length, marked);
    }
}

/// The end of the last synced group is gone, and with it only what repeats its headers.
#[test]
fn a_synced_group_without_its_directory_is_whole() {
    let history = History::write(1 << 20, changes());
    let (_, places) = places(&history);
    let last = places.iter().rev().find(|place| !place.header.seal).unwrap();
    let folder = history.copy_as_left();
    let file = fs::OpenOptions::new().write(true).open(folder.segment(1)).unwrap();
    file.set_len(last.bytes.end as u64 - 7).unwrap();
    let (_log, seen) = look(&folder);
    assert_eq!(seen.check(history.last(), "the directory is cut"), 0);
}

#[test]
fn a_journal_that_ends_before_the_mark_names_both_places() {
    let history = History::write(1 << 20, changes());
    let (_, places) = places(&history);
    let folder = history.copy_as_left();
    let file = fs::OpenOptions::new().write(true).open(folder.segment(1)).unwrap();
    file.set_len(places[4].bytes.end as u64).unwrap();
    let (_log, seen) = look(&folder);
    let damage = seen.held[&META].clone().unwrap_err();
    assert_eq!((damage.file.clone(), damage.offset), (folder.segment(1), places[4].bytes.end as u64));
    assert!(damage.what.contains("up to number 5 here, and 13 were synced"), "{damage}");
    assert_eq!(seen.damaged(), [META, G, OTHER]);
}

/// Writes enough for several segments.
fn long_history() -> History {
    let mut all = vec![vec![create(META), create(G), append(META, vec![empty(1, 1, 0)])]];
    for index in 1..=40 {
        let mut ops =
            vec![append(G, vec![records(index, 1, index as i64 - 1, 1, 400)]), state(G, 1, index - 1)];
        if index % 10 == 0 {
            ops.push(state(META, index, 1));
        }
        all.push(ops);
    }
    History::write(4_000, all)
}

fn segments(folder: &Folder) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder.path().join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_missing_segment_is_told_whichever_it_is() {
    let history = long_history();
    let count = segments(&history.folder).len();
    assert!(count > 4, "{count} segments");
    for gone in 0..count {
        let folder = history.copy_as_left();
        fs::remove_file(&segments(&folder)[gone]).unwrap();
        let (log, seen) = look(&folder);
        let case = format!("segment {} of {count} is gone", gone + 1);
        assert!(seen.check(history.last(), &case) > 0, "{case}: nobody lost anything");
        drop(log);
        check_lasting(&folder, history.last(), &seen.damaged(), &case);
    }
}

#[test]
fn any_segment_cut_anywhere_is_told() {
    let history = long_history();
    let count = segments(&history.folder).len();
    let mut runner = TestRunner::deterministic();
    for _ in 0..60 {
        let folder = history.copy_as_left();
        let cut = (0..count).new_tree(&mut runner).unwrap().current();
        let path = &segments(&folder)[cut];
        let length = fs::metadata(path).unwrap().len();
        let length = (0..length).new_tree(&mut runner).unwrap().current();
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
        let case = format!("segment {} of {count} cut at byte {length}", cut + 1);
        let (log, seen) = look(&folder);
        seen.check(history.last(), &case);
        drop(log);
        check_lasting(&folder, history.last(), &seen.damaged(), &case);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_told_or_does_no_harm() {
    let history = History::write(1 << 20, changes());
    let length = fs::metadata(history.folder.segment(1)).unwrap().len() as usize;
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let folder = history.copy_as_left();
        let at = (SEGMENT_HEADER..length).new_tree(&mut runner).unwrap().current();
        let mut bytes = fs::read(folder.segment(1)).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(folder.segment(1), bytes).unwrap();
        let case = format!("byte {at} flipped");
        let (log, seen) = look(&folder);
        seen.check(history.last(), &case);
        drop(log);
        check_lasting(&folder, history.last(), &seen.damaged(), &case);
    }
}

/// A segment is created when all before it is synced, so the end of the one before was not torn.
#[test]
fn damage_before_a_segment_whose_creation_was_torn_is_told() {
    let history = History::write(1 << 20, changes());
    let (bytes, places) = places(&history);
    let last = places.iter().rev().find(|place| !place.header.seal).unwrap();
    let header = SegmentHeader { identity: history.folder.identity.clone(), salt: history.salt, number: 2 };
    for (created, marked) in [(0, false), (32, false), (SEGMENT_HEADER, false), (0, true), (32, true)] {
        let folder = if marked { history.copy_as_left() } else { history.copy(None) };
        let mut first = bytes[..last.bytes.end].to_vec();
        first[last.bytes.start + 20] ^= 1;
        fs::write(folder.segment(1), first).unwrap();
        fs::write(folder.segment(2), &header.encode()[..created]).unwrap();
        let case = format!("{created} bytes of the second segment, mark {marked}");
        let (log, seen) = look(&folder);
        assert!(seen.check(history.last(), &case) > 0, "{case}: nobody lost anything");
        drop(log);
        check_lasting(&folder, history.last(), &seen.damaged(), &case);
    }
}

/// Behind a damaged header the first write may be damaged, too, and not torn: nothing tells which, so nothing is cut off.
#[test]
fn a_first_write_that_is_not_whole_behind_an_unreadable_header_is_refused_each_time() {
    let history = History::write(1 << 20, changes());
    let (bytes, places) = places(&history);
    let first = &places[0];
    for until in [first.bytes.start + 70, first.bytes.end - 1] {
        let folder = history.copy(None);
        let mut segment = bytes[..until].to_vec();
        segment[3] ^= 1;
        fs::write(folder.segment(1), &segment).unwrap();
        for _ in 0..2 {
            let refused = folder.try_open().err().expect("nobody can tell what was there").to_string();
            assert!(refused.ends_with("no segment has a readable header"), "{refused}");
        }
        assert_eq!(fs::read(folder.segment(1)).unwrap(), segment, "it is as it was");
    }
}
