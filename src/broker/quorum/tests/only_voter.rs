//! A replica that a person makes its group's only voter.

use chronik_core::replication::configuration::Configuration;

use super::*;

const EPOCH: u64 = 1 << 24;

/// Writes what the group gives out until it has nothing more, as the engine does; gives the writes and how many messages
/// it would have sent.
fn write_all(group: &mut Group, log: &Log) -> (Vec<Vec<WriteOp>>, usize) {
    let (mut writes, mut messages) = (Vec::new(), 0);
    loop {
        let (mut ops, mut tickets) = (Vec::new(), Vec::new());
        while let Some(drained) = group.drain(true).unwrap() {
            messages += drained.send.len() + drained.after_sync.len();
            for (index, bytes) in drained.memberships {
                ops.push(WriteOp::Membership { group: GROUP, index, bytes });
            }
            if !drained.entries.is_empty() {
                ops.push(WriteOp::Append { group: GROUP, entries: drained.entries });
            }
            if let Some(state) = drained.hard_state {
                ops.push(WriteOp::State { group: GROUP, state });
            }
            tickets.push(drained.ticket);
        }
        if tickets.is_empty() {
            return (writes, messages);
        }
        let (send, done) = mpsc::channel();
        log.submit(ops.clone(), Box::new(move |result| send.send(result).unwrap()));
        done.recv().unwrap().unwrap();
        tickets.into_iter().for_each(|ticket| assert!(group.synced(ticket)));
        writes.push(ops);
    }
}

fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().map(|id| ReplicaId(*id)).collect()
}

fn members(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
    Configuration { voters: ids(voters), outgoing: ids(outgoing), learners: ids(learners) }
}

#[test]
fn all_it_has_is_committed_and_it_leads_alone_from_the_epoch_on() {
    let (mut group, log, _dir) = replica(HardState { term: 3, vote: 2, commit: 1 });
    group.make_only_voter(EPOCH, vec![Bytes::from_static(b"who and when")]).unwrap();
    let (writes, messages) = write_all(&mut group, &log);
    assert_eq!(messages, 0, "nobody spoke, so nobody is answered");
    let WriteOp::Append { entries, .. } = &writes[0][0] else { panic!("{:?}", writes[0]) };
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.index, entry.term, entry.kind)).collect();
    let (membership, command) = (EntryKind::Membership, EntryKind::Command);
    assert_eq!(kinds, [(3, EPOCH, membership), (4, EPOCH, membership), (5, EPOCH, command)]);
    let state = HardState { term: EPOCH, vote: 0, commit: 5 };
    assert_eq!(writes[0][1..], [WriteOp::State { group: GROUP, state }], "all of it is one write");
    assert_eq!(group.configuration(), members(&[1], &[], &[]));
    assert_eq!(group.role(), GroupRole { term: EPOCH, leads: false, leader: None });
    group.campaign().unwrap();
    write_all(&mut group, &log);
    assert_eq!(group.role(), GroupRole { term: EPOCH + 1, leads: true, leader: Some(ReplicaId(1)) });
    assert_eq!(group.commit(), 6);
}

#[test]
fn an_epoch_that_was_used_is_refused() {
    let (mut group, _log, _dir) = replica(HardState { term: 3, vote: 0, commit: 0 });
    let refused = group.make_only_voter(3, Vec::new()).unwrap_err();
    assert_eq!(refused.to_string(), "epoch 3 is not above term 3");
}

#[test]
fn a_change_of_members_at_the_end_of_the_log_is_taken_in() {
    let (mut group, log, _dir) = replica(HardState { term: 3, vote: 0, commit: 2 });
    // Leader 2 had begun to make 2, 4 and 5 the voters, with 6 as a learner; nobody knows how far it came.
    let learner = MembershipChange::AddLearner(ReplicaId(6));
    for (index, change) in [(2, learner), (3, MembershipChange::EnterJoint(ids(&[2, 4, 5])))] {
        let mut word = append(3, index).0;
        word.log_term = if index == 2 { 1 } else { 3 };
        let entry = &mut word.mut_entries()[0];
        entry.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
        entry.data = protobuf::Message::write_to_bytes(&group.conf_change(change)).unwrap().into();
        group.step(RaftMessage(word)).unwrap();
        write_all(&mut group, &log);
    }
    assert_eq!(group.configuration(), members(&[1, 2, 3], &[], &[]));
    assert_eq!(group.configuration_at_end().unwrap(), members(&[2, 4, 5], &[1, 2, 3], &[6]));
    group.make_only_voter(EPOCH, Vec::new()).unwrap();
    write_all(&mut group, &log);
    assert_eq!(group.configuration(), members(&[1], &[], &[]));
    assert_eq!(group.end_index(), 7, "the joint configuration was left first");
}

#[test]
fn whoever_reads_the_log_comes_to_the_same_members() {
    let (mut group, log, dir) = replica(HardState { term: 3, vote: 0, commit: 2 });
    group.make_only_voter(EPOCH, Vec::new()).unwrap();
    write_all(&mut group, &log);
    drop((group, log));
    let identity = DataFolder::open(&RealDisk, dir.path()).unwrap().identity;
    let (_log, recovered) = Log::open(Arc::new(RealDisk), dir.path(), identity, Options::default()).unwrap();
    let found = &recovered[0];
    let config = GroupConfig {
        group: GROUP,
        replica: ReplicaId(9),
        election_ticks: 10,
        heartbeat_ticks: 1,
        voters: ids(&[1, 2, 3]),
        learners: Vec::new(),
        membership: None,
        membership_at_start: None,
        snapshot: Bytes::new(),
        applied: 0,
        held: Arc::default(),
    };
    let mut reader = Group::open(&config, found.log.clone(), found.state).unwrap();
    while reader.drain(true).unwrap().is_some() {}
    assert_eq!(reader.configuration(), members(&[1], &[], &[]));
}

/// As after a write that a full disk refused. Raft itself would panic at the election.
#[test]
fn it_stands_for_election_only_once_all_it_has_is_synced() {
    let (mut group, log, _dir) = replica(HardState { term: 3, vote: 0, commit: 2 });
    group.make_only_voter(EPOCH, Vec::new()).unwrap();
    write_all(&mut group, &log);
    let mut word = append(EPOCH, group.end_index()).0;
    word.log_term = EPOCH;
    group.step(RaftMessage(word)).unwrap();
    group.forget_leader();
    let mut told = Message { from: 2, to: 1, term: EPOCH, ..Message::default() };
    told.set_msg_type(MessageType::MsgTimeoutNow);
    group.campaign().unwrap();
    group.step(RaftMessage(told)).unwrap();
    (0..100).for_each(|_| group.tick());
    assert_eq!(group.role(), GroupRole { term: EPOCH, leads: false, leader: None });
    write_all(&mut group, &log);
    group.campaign().unwrap();
    assert!(group.role().leads);
}
