//! A follower whose log ends before its leader's begins.

use raft::eraftpb::Snapshot;

use super::*;
use crate::log::LogStart;
use crate::quorum::snapshot::Base;

const START: LogStart = LogStart { index: 8, term: 3, offset: 40 };

fn base(voters: &[u64]) -> Base {
    let members = raft::eraftpb::ConfState::from((voters.to_vec(), Vec::new()));
    Base { start: START, members, data: Bytes::from_static(b"the state") }
}

fn sent(snapshot: Snapshot) -> RaftMessage {
    let mut message = Message { from: 2, to: 1, term: 3, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(snapshot);
    RaftMessage(message)
}

#[test]
fn a_snapshot_replaces_the_log_and_is_answered_once_it_is_on_disk() {
    let (mut group, log, _dir) = replica(HardState { term: 1, vote: 0, commit: 1 });
    group.step(sent(base(&[1, 2]).for_follower(1).unwrap())).unwrap();
    let drained = group.drain(true).unwrap().unwrap();
    let installed = drained.installed.unwrap();
    assert_eq!((installed.start, &installed.data[..]), (START, &b"the state"[..]));
    assert!(drained.must_sync && drained.send.is_empty() && !drained.after_sync.is_empty());
    assert_eq!((group.end_index(), group.synced_index(), group.end_offset()), (7, 0, 40));
    let ops = vec![
        WriteOp::Membership { group: GROUP, index: 7, bytes: installed.members },
        WriteOp::Start { group: GROUP, start: START, replace: true, snapshot: installed.data },
        WriteOp::State { group: GROUP, state: drained.hard_state.unwrap() },
    ];
    let (send, done) = mpsc::channel();
    log.submit(ops, Box::new(move |result| send.send(result).unwrap()));
    done.recv().unwrap().unwrap();
    assert!(group.synced(drained.ticket));
    assert_eq!((group.synced_index(), group.applied(), group.commit()), (7, 7, 7));
    assert_eq!(group.configuration().voters, [ReplicaId(1), ReplicaId(2)]);
}

#[test]
fn no_election_begins_while_a_snapshot_is_written() {
    let (mut group, _log, _dir) = replica(HardState { term: 1, vote: 0, commit: 1 });
    group.step(sent(base(&[1, 2]).for_follower(1).unwrap())).unwrap();
    let drained = group.drain(true).unwrap().unwrap();
    // For longer than any election timeout, and when told to.
    (0..100).for_each(|_| group.tick());
    group.campaign().unwrap();
    assert!(!group.seeks_office(), "what the snapshot stands for is not applied yet");
    assert!(group.synced(drained.ticket));
    group.campaign().unwrap();
    assert!(group.seeks_office());
}

#[test]
fn what_a_follower_would_ignore_is_not_sent() {
    assert!(base(&[1, 2]).for_follower(3).is_none());
    assert!(Base::default().for_follower(1).is_none(), "nothing was cut");
}

#[test]
fn an_unknown_or_cut_snapshot_is_a_fault() {
    for data in [&b""[..], &[9, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 0]] {
        let mut snapshot = base(&[1, 2]).for_follower(1).unwrap();
        snapshot.data = Bytes::copy_from_slice(data);
        let (mut group, _log, _dir) = replica(HardState { term: 1, vote: 0, commit: 1 });
        group.step(sent(snapshot)).unwrap();
        assert!(matches!(group.drain(true), Err(GroupFault::BadEntry { index: 7, .. })));
    }
}
