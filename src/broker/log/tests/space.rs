//! Logs that begin later and segments that go: nothing that is alive is lost, and what is dead gives its space back.

use std::fs;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Held, Snapshot, take_in};
use super::*;

/// Chance for a whole history.
struct Dice(TestRunner);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        (0..limit).new_tree(&mut self.0).unwrap().current()
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// A log that the test drives, and what it should hold.
struct Driven {
    folder: Folder,
    log: Log,
    driver: LogDriver,
    held: Snapshot,
}

impl Driven {
    fn new(segment_bytes: u64) -> Self {
        let folder = Folder::with_segments(segment_bytes);
        let (log, driver, _) = drive(&folder);
        Self { folder, log, driver, held: Snapshot::new() }
    }

    fn write(&mut self, ops: Vec<WriteOp>) {
        let (send, receive) = mpsc::channel();
        let told = format!("{ops:?}");
        self.log.submit(ops.clone(), Box::new(move |result| send.send(result).unwrap()));
        assert!(self.driver.write_waiting());
        receive.recv().unwrap().unwrap_or_else(|error| panic!("{error}: {told}"));
        ops.into_iter().for_each(|op| take_in(&mut self.held, op));
    }

    /// The process dies and comes again.
    fn restart(self) -> Self {
        let Self { folder, log, driver, held } = self;
        drop((log, driver));
        let (log, driver, found) = drive(&folder);
        let seen: Snapshot = found
            .iter()
            .map(|group| {
                assert_eq!(group.damage, None);
                (group.group, Held::of(group))
            })
            .collect();
        assert_eq!(seen, held);
        Self { folder, log, driver, held }
    }

    fn rest(&mut self) {
        for _ in 0..10_000 {
            if !self.driver.rest() {
                return;
            }
        }
        panic!("housework without end");
    }

    fn check_readable(&self) {
        for (group, held) in &self.held {
            let log = self.log.group(*group).unwrap();
            assert_eq!((all(&log), log.start()), (held.entries.clone(), held.start));
            assert_eq!(log.end_offset(), held.end().1);
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        let files = fs::read_dir(self.folder.path().join("journal")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    fn bytes_alive(&self) -> u64 {
        let entries = self.held.values().flat_map(|held| &held.entries);
        entries.map(|entry| 96 + entry.payload.len() as u64).sum()
    }
}

fn drive(folder: &Folder) -> (Log, LogDriver, Vec<RecoveredGroup>) {
    let (disk, identity) = (Arc::new(RealDisk), folder.identity.clone());
    Log::open_driven(disk, folder.path(), identity, folder.options.clone()).unwrap()
}

/// One change that a caller could ask for, of a group that may have to be created first.
fn any_change(dice: &mut Dice, held: &Snapshot) -> Vec<WriteOp> {
    let group = GroupId(1 + dice.below(4));
    let Some(log) = held.get(&group) else { return vec![create(group)] };
    let (term, end) = log.end();
    let commit = WriteOp::State { group, state: HardState { commit: log.last(), ..log.state } };
    match dice.below(12) {
        0 => vec![WriteOp::RemoveGroup { group }],
        1 => vec![
            commit,
            WriteOp::Membership { group, index: log.last(), bytes: Bytes::from_static(b"members") },
        ],
        2 => vec![commit],
        // Another leader replaces what is not committed.
        3 if log.state.commit >= log.start.index && log.state.commit < log.last() => {
            let first = log.state.commit + 1;
            let before = &log.entries[(first - log.start.index) as usize - 1];
            let offset = before.base_offset + Offset::from(before.records);
            vec![append(group, vec![empty(first, term + 1, offset)])]
        }
        4 | 5 => {
            let keep = dice.below(log.entries.len() as u64 + 1) as usize;
            let Some(before) = log.entries.iter().rev().nth(keep) else { return Vec::new() };
            let offset = before.base_offset + Offset::from(before.records);
            vec![start(group, before.index + 1, before.term, offset, false, b"cut"), commit]
        }
        6 if dice.one_in(4) => {
            let (index, offset) = (log.last() + 1 + dice.below(9), end + dice.below(99) as i64);
            vec![
                start(group, index, term + 1, offset, true, b"replaced"),
                append(group, vec![empty(index, term + 1, offset)]),
            ]
        }
        _ => {
            let size = 20 + dice.below(900) as usize;
            vec![append(
                group,
                vec![records(log.last() + 1, term.max(1), end, 1 + dice.below(3) as usize, size)],
            )]
        }
    }
}

#[test]
fn whatever_is_cut_and_moved_what_is_alive_is_found_again() {
    let mut dice = Dice(TestRunner::deterministic());
    for _ in 0..40 {
        let mut driven = Driven::new(2_000 + dice.below(10_000));
        for _ in 0..120 {
            let ops = any_change(&mut dice, &driven.held);
            if !ops.is_empty() {
                driven.write(ops);
            }
            match dice.below(30) {
                0 => driven = driven.restart(),
                1 => drop(driven.driver.rest()),
                2 => driven.rest(),
                _ => {}
            }
            driven.check_readable();
        }
        driven.rest();
        driven.check_readable();
        driven = driven.restart();
        driven.rest();
        driven.restart();
    }
}

/// Six groups write alike, and all but one forget.
fn mixed(segment_bytes: u64) -> Driven {
    let mut driven = Driven::new(segment_bytes);
    for group in 1..=6 {
        driven.write(vec![create(GroupId(group))]);
    }
    for index in 1..=100 {
        let entry = || vec![records(index, 1, index as i64 - 1, 1, 1_000)];
        driven.write((1..=6).map(|group| append(GroupId(group), entry())).collect());
    }
    driven
}

#[test]
fn space_comes_back_when_the_beginnings_of_logs_go() {
    let mut driven = mixed(64 << 10);
    let before = driven.bytes_on_disk();
    for group in 1..=5 {
        driven.write(vec![start(GroupId(group), 96, 1, 95, false, b"")]);
    }
    driven.rest();
    let (after, alive) = (driven.bytes_on_disk(), driven.bytes_alive());
    assert!(after < before / 3 && after <= 2 * alive + (128 << 10), "{before} -> {after}, alive {alive}");
    driven.check_readable();
    driven.restart().check_readable();
}

#[test]
fn space_comes_back_while_there_is_always_something_to_write() {
    let mut driven = mixed(64 << 10);
    let before = driven.bytes_on_disk();
    driven.write((1..=5).map(|group| WriteOp::RemoveGroup { group: GroupId(group) }).collect());
    for index in 101..=2_000 {
        driven.write(vec![append(GroupId(6), vec![records(index, 1, index as i64 - 1, 1, 1_000)])]);
        let cut = |index| start(GroupId(6), index, 1, index as i64 - 1, false, b"");
        driven.write(vec![cut(index - 50)]);
    }
    assert!(driven.bytes_on_disk() < before * 3, "{} grew to {}", before, driven.bytes_on_disk());
    driven.check_readable();
}

#[test]
fn a_journal_at_rest_comes_to_rest_however_small_its_segments() {
    let mut driven = Driven::new(200);
    for group in 1..=20 {
        driven.write(vec![create(GroupId(group)), append(GroupId(group), vec![records(1, 1, 0, 1, 300)])]);
    }
    driven.write((1..=10).map(|group| WriteOp::RemoveGroup { group: GroupId(group) }).collect());
    driven.rest();
    driven.check_readable();
    driven.restart().rest();
}

#[test]
fn a_damaged_entry_that_was_cut_does_no_harm() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    submit(&log, vec![create(G), append(G, vec![records(1, 1, 0, 1, 500), records(2, 1, 1, 1, 500)])])
        .unwrap();
    submit(&log, vec![start(G, 2, 1, 1, false, b"snapshot")]).unwrap();
    drop(log);
    let mut bytes = fs::read(folder.segment(1)).unwrap();
    let value = bytes.windows(100).position(|window| window.iter().all(|byte| *byte == b'v')).unwrap();
    bytes[value] ^= 1;
    fs::write(folder.segment(1), bytes).unwrap();
    let checked = crate::log::check(folder.path()).unwrap();
    assert_eq!((checked.faults.len(), checked.groups[0].damage.clone()), (1, None));
    let (_log, found) = folder.open();
    assert_eq!((found[0].damage.clone(), found[0].log.first_index()), (None, 2));
}

#[test]
fn a_segment_with_a_damaged_live_entry_stays_and_its_replica_says_so() {
    let mut driven = mixed(64 << 10);
    let mut bytes = fs::read(driven.folder.segment(1)).unwrap();
    let value = bytes.windows(100).position(|window| window.iter().all(|byte| *byte == b'v')).unwrap();
    bytes[value] ^= 1; // of group 1
    fs::write(driven.folder.segment(1), bytes).unwrap();
    driven.write((2..=6).map(|group| WriteOp::RemoveGroup { group: GroupId(group) }).collect());
    driven.rest();
    let damage = driven.log.group(GroupId(1)).unwrap().damage().cloned().unwrap();
    assert_eq!(damage.file, driven.folder.segment(1));
    assert!(driven.folder.segment(1).exists());
}

#[test]
fn a_start_that_does_not_fit_is_refused() {
    let mut driven = Driven::new(1 << 20);
    driven.write(vec![create(G), append(G, vec![records(1, 1, 0, 3, 10), records(2, 1, 3, 1, 10)])]);
    driven.write(vec![WriteOp::State { group: G, state: HardState { term: 1, vote: 0, commit: 2 } }]);
    for (index, term, offset, replace) in
        [(2, 2, 3, false), (2, 1, 4, false), (4, 1, 4, false), (2, 1, 3, true)]
    {
        let (send, receive) = mpsc::channel();
        let op = start(G, index, term, offset, replace, b"");
        driven.log.submit(vec![op], Box::new(move |result| send.send(result).unwrap()));
        driven.driver.write_waiting();
        let result = receive.recv().unwrap();
        assert!(matches!(result, Err(WriteError::Refused(_))), "start at {index}: {result:?}");
    }
    driven.write(vec![start(G, 2, 1, 3, false, b"")]);
    let log = driven.log.group(G).unwrap();
    let gone = ReadError::Gone { offset: 2, start: 3 };
    assert_eq!(log.records_from(2, 4, 1_000, true), Err(gone));
    assert_eq!((log.term(1), log.position_of(1), log.term(0)), (Some(1), Some(3), None));
    driven.restart().check_readable();
}
