//! A journal as a crash or a failing disk may leave it: what is recovered can be read, is recovered again, and goes on.
//!
//! An input is a mode, a mark if the mode says so, the length of the first segment, and two segments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use chronik_broker::log::{
    BatchHeader, EntryKind, GroupHeader, GroupKind, GroupLog, HardState, Log, LogDriver, LogEntry, LogStart,
    Memberships, Options, RecoveredGroup, WriteOp, batch, fuzzing,
};
use chronik_core::ids::{Generation, GroupId, LogIndex, ReplicaId, TopicId};
use chronik_sim::batch::{Tag, encode};
use chronik_sim::disk::SimDisk;
use uuid::Uuid;

use super::disk::{DIR, SALT, formatted, owner, read, replace};

/// Checksums and lengths are put right after the mutation.
const SEALED: u8 = 1;
/// So is what each write group says of the one before it.
const CHAINED: u8 = 2;
/// There is a mark.
const MARKED: u8 = 4;
const MARK: usize = 64;

fn segment(number: u32) -> PathBuf {
    Path::new(DIR).join("journal").join(format!("{number:020}.log"))
}

fn mark() -> PathBuf {
    Path::new(DIR).join("synced")
}

fn open(disk: &Arc<SimDisk>) -> Option<(Log, LogDriver, Vec<RecoveredGroup>)> {
    let options = Options { segment_bytes: 4 << 10, ..Options::default() };
    Log::open_driven(disk.clone(), Path::new(DIR), owner(), options).ok()
}

pub(super) fn run(input: &[u8]) {
    let disk = formatted();
    if lay_out(&disk, input).is_none() {
        return;
    }
    let Some((log, driver, found)) = open(&disk) else { return };
    found.iter().for_each(must_be_readable);
    let first: Vec<_> = found.iter().map(Summary::of).collect();
    drop((log, driver, found));

    let (log, driver, found) = open(&disk).expect("what was recovered can be recovered again");
    let second: Vec<_> = found.iter().map(Summary::of).collect();
    assert_eq!(second, first);
    goes_on(&disk, log, driver, &found);
}

/// Puts the input's files on the disk.
pub(super) fn lay_out(disk: &SimDisk, input: &[u8]) -> Option<()> {
    let (mode, mut rest) = input.split_first()?;
    if mode & MARKED != 0 {
        let (bytes, after) = rest.split_at_checked(MARK)?;
        let mut bytes = bytes.to_vec();
        if mode & SEALED != 0 {
            fuzzing::seal_mark(&mut bytes, SALT);
        }
        replace(disk, &mark(), &bytes);
        rest = after;
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (first, second) = rest.split_at(rest.len().min(u32::from_be_bytes(*length) as usize));
    for (number, bytes) in [(1, first), (2, second)] {
        let mut bytes = bytes.to_vec();
        if mode & SEALED != 0 {
            fuzzing::seal_segment(&mut bytes, SALT, mode & CHAINED != 0);
        }
        if number == 1 || !bytes.is_empty() {
            replace(disk, &segment(number), &bytes);
        }
    }
    Some(())
}

/// Of a replica that is said to be whole every entry is there; of any other a reader gets an error, and no more.
fn must_be_readable(found: &RecoveredGroup) {
    let (log, damaged) = (&found.log, found.damage.is_some());
    let entries = read_all(log);
    if damaged {
        return;
    }
    let entries = entries.expect("a whole replica is readable");
    assert_eq!(entries.len() as u64, log.last_index() + 1 - log.first_index());
    let in_order = |pair: &[LogEntry]| pair[0].index + 1 == pair[1].index && pair[0].term <= pair[1].term;
    assert!(entries.windows(2).all(in_order));
    assert!(found.state.commit <= log.last_index());
    let _ = log.records_from(log.start_offset(), log.end_offset(), 1 << 16, true);
    let _ = log.offset_for_time(1_000, log.end_offset());
    let _ = log.offset_of_max_timestamp(log.end_offset());
    let _ = (log.end_of_epoch(2), log.epoch_at(1), log.position_of(1), log.size_bytes());
}

fn read_all(log: &GroupLog) -> Result<Vec<LogEntry>, chronik_broker::log::ReadError> {
    log.entries(log.first_index(), log.last_index() + 1, usize::MAX)
}

/// What a restart must find again.
#[derive(PartialEq, Debug)]
struct Summary {
    group: GroupId,
    header: GroupHeader,
    state: HardState,
    memberships: Memberships,
    /// Of a replica that is whole: where it begins and with what, its last entry and offset.
    held: Option<(LogStart, Bytes, LogIndex, i64)>,
}

impl Summary {
    fn of(found: &RecoveredGroup) -> Self {
        let log = &found.log;
        Self {
            group: found.group,
            header: found.header.clone(),
            state: found.state,
            memberships: found.memberships.clone(),
            held: found
                .damage
                .is_none()
                .then(|| (log.start(), found.snapshot.clone(), log.last_index(), log.end_offset())),
        }
    }
}

/// A replica that is whole takes another entry, and has it after a restart.
fn goes_on(disk: &Arc<SimDisk>, log: Log, mut driver: LogDriver, found: &[RecoveredGroup]) {
    let Some(group) = found.iter().find(|group| group.damage.is_none()) else { return };
    let (index, term) = (group.log.last_index() + 1, group.log.term(group.log.last_index()).unwrap_or(0));
    let entry = empty(index, term, group.log.end_offset());
    let (sender, outcome) = mpsc::channel();
    let op = WriteOp::Append { group: group.group, entries: vec![entry.clone()] };
    log.submit(vec![op], Box::new(move |result| drop(sender.send(result))));
    while driver.write_waiting() {}
    driver.close();
    drop(log);
    if outcome.recv().expect("every submission is answered").is_err() {
        return;
    }
    let (_log, _driver, found) = open(disk).expect("what was written can be recovered");
    let again = found.iter().find(|found| found.group == group.group).expect("the replica is there");
    assert_eq!((&again.damage, again.log.last_index()), (&None, index));
    assert_eq!(read_all(&again.log).expect("a whole replica is readable").last(), Some(&entry));
}

pub(super) fn empty(index: LogIndex, term: u64, base_offset: i64) -> LogEntry {
    LogEntry {
        index,
        term,
        kind: EntryKind::Empty,
        base_offset,
        records: 0,
        max_timestamp: -1,
        producer: None,
        payload: Bytes::new(),
    }
}

fn records(index: LogIndex, term: u64, base_offset: i64) -> LogEntry {
    let tag = Tag { client: 1, op: 2, attempt: 3 };
    // Large enough that no segment is worth emptying.
    let payload = batch::patch(encode(tag, None, 2, 600, 1_000), base_offset, term as i32);
    let header = BatchHeader::parse(&payload).expect("a batch");
    LogEntry {
        kind: EntryKind::Records,
        records: header.records(),
        max_timestamp: header.max_timestamp,
        producer: header.producer(),
        payload,
        ..empty(index, term, base_offset)
    }
}

fn create(group: GroupId) -> WriteOp {
    let header = GroupHeader {
        kind: GroupKind::Partition,
        topic: Some(TopicId(Uuid::from_u128(9))),
        partition: 0,
        replica: ReplicaId(100_000),
        voters: vec![ReplicaId(100_000)],
        learners: Vec::new(),
        generation: Generation::BIRTH,
        founders: Vec::new(),
    };
    WriteOp::CreateGroup { group, header }
}

/// Journals of two groups, one of them cut, of one segment and of two, with and without their mark, in every mode.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    [1, 3, 12].into_iter().flat_map(|rounds| in_every_mode(&written(rounds))).collect()
}

/// The inputs that a disk's journal makes.
pub(super) fn in_every_mode(disk: &SimDisk) -> Vec<Vec<u8>> {
    let first = read(disk, &segment(1));
    // The first segment may be gone already: the last two are there.
    let second = if disk.files(".log").len() == 1 { Vec::new() } else { read(disk, &segment(2)) };
    let input = |mode: u8| {
        let marked = if mode & MARKED == 0 { Vec::new() } else { read(disk, &mark()) };
        let length = (first.len() as u32).to_be_bytes();
        [&[mode], &marked[..], &length[..], &first[..], &second[..]].concat()
    };
    [0, SEALED, SEALED | CHAINED, MARKED, MARKED | SEALED | CHAINED].map(input).into()
}

fn written(rounds: u64) -> Arc<SimDisk> {
    written_by(|submit| {
        submit(vec![create(GroupId(16)), create(GroupId(17))]);
        for round in 0..rounds {
            let (index, offset) = (2 * round + 1, 2 * round as i64);
            let entries = vec![records(index, 3, offset), empty(index + 1, 3, offset + 2)];
            let state = HardState { term: 3, vote: 1, commit: index };
            submit(vec![WriteOp::Append { group: GroupId(16), entries }]);
            submit(vec![
                WriteOp::State { group: GroupId(16), state },
                WriteOp::State { group: GroupId(17), state: HardState { commit: 0, ..state } },
                WriteOp::Membership { group: GroupId(16), index: 1, bytes: Bytes::from_static(b"members") },
            ]);
        }
        if rounds == 1 {
            let (start, snapshot) =
                (LogStart { index: 2, term: 3, offset: 2 }, Bytes::from_static(b"what came before"));
            submit(vec![WriteOp::Start { group: GroupId(16), start, replace: false, snapshot }]);
        }
    })
}

/// A disk with a journal of what `write` submits.
pub(super) fn written_by(write: impl FnOnce(&mut dyn FnMut(Vec<WriteOp>))) -> Arc<SimDisk> {
    let disk = formatted();
    let (log, mut driver, _) = open(&disk).expect("a formatted folder can be opened");
    write(&mut |ops| {
        log.submit(ops, Box::new(|result| result.expect("it fits")));
        while driver.write_waiting() {}
    });
    driver.rest();
    driver.close();
    disk
}
