//! One replica on a real log, spoken to by a leader that is only its messages.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, Generation, GroupId, ReplicaId};
use raft::eraftpb::{Message, MessageType};

use super::*;
use crate::log::{
    Birth, DataFolder, EntryKind, GroupHeader, GroupKind, HardState, Log, LogEntry, Options, RealDisk,
    WriteOp,
};

mod only_voter;
mod snapshots;

const GROUP: GroupId = GroupId(16);

fn heartbeat(term: u64, commit: u64) -> RaftMessage {
    let mut message = Message { from: 2, to: 1, term, commit, ..Message::default() };
    message.set_msg_type(MessageType::MsgHeartbeat);
    RaftMessage(message)
}

fn empty(index: u64) -> LogEntry {
    LogEntry {
        index,
        term: 1,
        kind: EntryKind::Empty,
        base_offset: 0,
        records: 0,
        max_timestamp: -1,
        producer: None,
        payload: Bytes::new(),
    }
}

/// A replica whose log holds two entries, with its log and folder.
fn replica(state: HardState) -> (Group, Log, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = "test".parse().unwrap();
    let birth = Birth::Join(Vec::new());
    let identity = DataFolder::format(&RealDisk, dir.path(), cluster, BrokerId(1), birth).unwrap();
    let (log, _) = Log::open(Arc::new(RealDisk), dir.path(), identity, Options::default()).unwrap();
    let header = GroupHeader {
        kind: GroupKind::Partition,
        topic: None,
        partition: 0,
        replica: ReplicaId(1),
        voters: (1..=3).map(ReplicaId).collect(),
        learners: Vec::new(),
        generation: Generation::BIRTH,
        founders: Vec::new(),
    };
    let ops = vec![
        WriteOp::CreateGroup { group: GROUP, header: header.clone() },
        WriteOp::Append { group: GROUP, entries: vec![empty(1), empty(2)] },
    ];
    let (send, done) = mpsc::channel();
    log.submit(ops, Box::new(move |result| send.send(result).unwrap()));
    done.recv().unwrap().unwrap();
    let config = GroupConfig {
        group: GROUP,
        replica: header.replica,
        election_ticks: 10,
        heartbeat_ticks: 1,
        voters: header.voters,
        learners: Vec::new(),
        membership: None,
        membership_at_start: None,
        snapshot: Bytes::new(),
        applied: 0,
        held: Arc::default(),
    };
    let group = Group::open(&config, log.group(GROUP).unwrap(), state).unwrap();
    (group, log, dir)
}

/// Raft itself would panic. The replica has forgotten what it promised, so it must leave; and it says where.
#[test]
fn a_heartbeat_beyond_the_log_shows_that_entries_were_lost() {
    let (mut group, _log, _dir) = replica(HardState { term: 3, vote: 0, commit: 0 });

    group.step(heartbeat(2, 7)).expect("a leader of the past says nothing of this log");
    group.step(heartbeat(3, 2)).expect("all of that is here");
    assert!(matches!(group.step(heartbeat(3, 3)), Err(GroupFault::LostEntries)));
    let damage = group.damage().expect("it is known from now on");
    assert!(damage.file.ends_with("journal/00000000000000000001.log") && damage.offset > 128, "{damage}");
    assert!(damage.what.contains("ends at entry 2, 3 were synced"), "{damage}");
}

fn append(term: u64, index: u64) -> RaftMessage {
    let mut message = Message { from: 2, to: 1, term, index, log_term: 1, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    message.mut_entries().push(raft::eraftpb::Entry { index: index + 1, term, ..Default::default() });
    RaftMessage(message)
}

/// Heartbeat answers among these.
fn heard(messages: &[Outgoing]) -> usize {
    messages.iter().filter(|outgoing| outgoing.message.is_heartbeat_answer()).count()
}

/// A disk that is slow for longer than an election would cost the leader its office.
#[test]
fn heartbeats_are_answered_while_entries_wait_for_the_disk() {
    let (mut group, _log, _dir) = replica(HardState { term: 3, vote: 0, commit: 0 });
    group.step(append(3, 2)).unwrap();
    group.step(heartbeat(3, 2)).unwrap();
    let drained = group.drain(true).unwrap().unwrap();
    assert!(drained.must_sync);
    assert_eq!((heard(&drained.send), heard(&drained.after_sync)), (1, 0));
    let append_answers = drained.after_sync.iter().filter(|outgoing| outgoing.message.is_append_answer());
    assert_eq!(append_answers.count(), 1, "what says that entries are safe waits until they are");

    group.step(heartbeat(3, 2)).unwrap();
    let drained = group.drain(false).unwrap().unwrap();
    assert_eq!((heard(&drained.send), heard(&drained.after_sync)), (0, 1), "unless it is told to wait");
}

#[test]
fn a_term_is_told_to_nobody_before_it_is_on_disk() {
    let (mut group, _log, _dir) = replica(HardState { term: 3, vote: 0, commit: 0 });
    group.step(heartbeat(4, 2)).unwrap();
    let new_term = group.drain(true).unwrap().unwrap();
    assert!(new_term.must_sync);
    assert_eq!((heard(&new_term.send), heard(&new_term.after_sync)), (0, 1));
    group.step(heartbeat(4, 2)).unwrap();
    let waiting = group.drain(true).unwrap().unwrap();
    assert_eq!((heard(&waiting.send), heard(&waiting.after_sync)), (0, 1));
    assert!(group.synced(new_term.ticket));
    group.step(heartbeat(4, 2)).unwrap();
    let synced = group.drain(true).unwrap().unwrap();
    assert_eq!((heard(&synced.send), heard(&synced.after_sync)), (1, 0));
}

/// A restarted replica that lost entries rejects what follows them, while the leader remembers the old position.
#[test]
fn a_rejected_append_proves_nothing() {
    let answer = |reject| {
        let mut message = Message { from: 2, to: 1, term: 3, index: 6, reject, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppendResponse);
        RaftMessage(message)
    };
    assert!(answer(false).is_append_answer());
    assert!(!answer(true).is_append_answer());
}
