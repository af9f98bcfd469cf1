//! What is written is read, now and after a restart.

use super::*;

fn some_entries() -> Vec<LogEntry> {
    vec![
        empty(1, 1, 0),
        records(2, 1, 0, 3, 10),
        records(3, 1, 3, 1, 2000),
        empty(4, 3, 4),
        records(5, 3, 4, 2, 0),
    ]
}

#[test]
fn entries_are_read_back_and_survive_a_restart() {
    let folder = Folder::new();
    let (log, found) = folder.open();
    assert!(found.is_empty());
    let state = HardState { term: 3, vote: 7, commit: 2 };
    let members = Bytes::from_static(b"members");
    submit(&log, vec![create(G), append(G, some_entries())]).unwrap();
    submit(&log, vec![WriteOp::State { group: G, state }]).unwrap();
    submit(&log, vec![WriteOp::Membership { group: G, index: 1, bytes: members.clone() }]).unwrap();
    let group = log.group(G).unwrap();
    assert_eq!(all(&group), some_entries());
    drop(log);

    let (log, found) = folder.open();
    let [group] = &found[..] else { panic!("one group") };
    assert_eq!((group.state, &group.membership(), &group.damage), (state, &Some((1, members)), &None));
    assert_eq!(WriteOp::CreateGroup { group: G, header: group.header.clone() }, create(G));
    assert_eq!(all(&group.log), some_entries());
    submit(&log, vec![append(G, vec![records(6, 3, 6, 1, 1)])]).unwrap();
    assert_eq!(group.log.last_index(), 6);
}

#[test]
fn a_suffix_is_replaced() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    submit(&log, vec![create(G), append(G, some_entries())]).unwrap();
    submit(&log, vec![append(G, vec![empty(3, 4, 3), records(4, 4, 3, 5, 5)])]).unwrap();
    let expected = [&some_entries()[..2], &[empty(3, 4, 3), records(4, 4, 3, 5, 5)]].concat();
    assert_eq!(all(&log.group(G).unwrap()), expected);
    drop(log);
    let (_log, found) = folder.open();
    assert_eq!(all(&found[0].log), expected);
    assert_eq!(found[0].log.end_offset(), 8);
}

#[test]
fn what_contradicts_the_log_is_refused_whole() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    submit(&log, vec![create(G), append(G, some_entries())]).unwrap();
    let commit = WriteOp::State { group: G, state: HardState { term: 3, vote: 0, commit: 3 } };
    submit(&log, vec![commit]).unwrap();
    let refused = |ops: Vec<WriteOp>, why: &str| {
        let error = submit(&log, ops).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(vec![create(G)], "exists already");
    refused(vec![append(GroupId(8), vec![empty(1, 1, 0)])], "does not exist");
    refused(vec![append(G, vec![empty(7, 3, 6)])], "does not follow");
    refused(vec![append(G, vec![empty(3, 4, 3)])], "at or below the commit 3");
    refused(vec![append(G, vec![empty(6, 2, 6)])], "term 2 after term 3");
    refused(vec![append(G, vec![empty(6, 3, 5)])], "base offset 5, the log ends at 6");
    let state = |term, commit| WriteOp::State { group: G, state: HardState { term, vote: 0, commit } };
    refused(vec![state(3, 6)], "beyond the log's end");
    refused(vec![state(2, 3)], "go back");
    refused(vec![append(G, vec![records(6, 3, 6, 1, 1)]), create(G)], "exists already");
    assert_eq!(all(&log.group(G).unwrap()), some_entries());
    submit(&log, vec![append(G, vec![records(6, 3, 6, 1, 1)])]).unwrap();
}

#[test]
fn kafkas_questions_are_answered() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    submit(&log, vec![create(G), append(G, some_entries())]).unwrap();
    let log = log.group(G).unwrap();
    let batch = |entry: usize| some_entries()[entry].payload.clone();
    // From the batch that holds the offset; none beyond `below`; at least one if asked.
    assert_eq!(log.records_from(1, 6, usize::MAX, true).unwrap(), [batch(1), batch(2), batch(4)].concat());
    assert_eq!(log.records_from(3, 4, usize::MAX, true).unwrap(), batch(2));
    assert_eq!(log.records_from(3, 6, 10, true).unwrap(), batch(2));
    assert_eq!(log.records_from(3, 6, 10, false).unwrap(), Bytes::new());
    assert_eq!(log.records_from(6, 6, usize::MAX, true).unwrap(), Bytes::new());
    assert_eq!(log.records_from(0, 2, usize::MAX, true).unwrap(), Bytes::new());
    // Batches' timestamps are 2000.., 3000, 5000...
    assert_eq!(log.offset_for_time(0, 6).unwrap(), Some((0, 2000)));
    assert_eq!(log.offset_for_time(2002, 6).unwrap(), Some((2, 2002)));
    assert_eq!(log.offset_for_time(2003, 6).unwrap(), Some((3, 3000)));
    assert_eq!(log.offset_for_time(5001, 6).unwrap(), Some((5, 5001)));
    assert_eq!(log.offset_for_time(5001, 4).unwrap(), None);
    assert_eq!(log.offset_for_time(5002, 6).unwrap(), None);
    assert_eq!(log.offset_of_max_timestamp(6).unwrap(), Some((5, 5001)));
    assert_eq!(log.offset_of_max_timestamp(4).unwrap(), Some((3, 3000)));
    assert_eq!(log.offset_of_max_timestamp(0).unwrap(), None);
    assert_eq!(log.end_of_epoch(0), None);
    assert_eq!(log.end_of_epoch(2), Some((1, 4)));
    assert_eq!(log.end_of_epoch(9), Some((3, 6)));
    assert_eq!((log.position_of(0), log.position_of(3), log.position_of(6)), (Some(0), Some(4), None));
    assert_eq!((log.term(0), log.term(4), log.term(6)), (Some(0), Some(3), None));
    let entries = |low, high, max| log.entries(low, high, max).map(|entries| entries.len());
    assert_eq!((entries(2, 6, 1), entries(2, 2, 1), entries(1, 6, usize::MAX)), (Ok(1), Ok(0), Ok(5)));
    assert!(matches!(entries(2, 7, 1), Err(ReadError::Missing { index: 6, first: 1, last: 5 })));
}

#[test]
fn groups_are_removed_and_come_anew() {
    let folder = Folder::with_segments(4_000);
    let (log, _) = folder.open();
    let other = GroupId(8);
    submit(&log, vec![create(G), create(other), append(G, some_entries())]).unwrap();
    submit(&log, vec![WriteOp::RemoveGroup { group: G }]).unwrap();
    assert!(log.group(G).is_none());
    submit(&log, vec![create(G), append(G, vec![empty(1, 9, 0)])]).unwrap();
    let mut last = 0;
    while log.group(other).unwrap().last_index() < 30 {
        last += 1;
        submit(&log, vec![append(other, vec![records(last, 1, last as i64 - 1, 1, 500)])]).unwrap();
    }
    drop(log);
    let (_log, found) = folder.open();
    assert!(found.iter().all(|group| group.damage.is_none()));
    assert_eq!(all(&found[0].log), [empty(1, 9, 0)]);
    assert_eq!(found[1].log.last_index(), 30);
    assert!(folder.segment(4).exists());
}

#[test]
fn submissions_are_answered_in_order_and_merged() {
    let folder = Folder::new();
    let (log, _) = folder.open();
    let (send, receive) = mpsc::channel();
    submit(&log, vec![create(G)]).unwrap();
    for index in 1..=500u64 {
        let send = send.clone();
        let entry = records(index, 1, index as i64 - 1, 1, 100);
        log.submit(vec![append(G, vec![entry])], Box::new(move |result| send.send((index, result)).unwrap()));
    }
    let answers: Vec<_> = receive.iter().take(500).collect();
    assert_eq!(answers, (1..=500).map(|index| (index, Ok(()))).collect::<Vec<_>>());
    assert_eq!(log.group(G).unwrap().end_offset(), 500);
}

#[test]
fn a_folder_of_another_broker_or_cluster_is_refused_by_name() {
    let folder = Folder::new();
    let formatted = |dir: &Path, cluster: &str, broker| {
        DataFolder::is_formatted_for(&RealDisk, dir, &cluster.parse().unwrap(), BrokerId(broker))
    };
    assert!(formatted(folder.path(), "test", 1).unwrap());
    assert!(!formatted(&folder.path().join("none"), "test", 2).unwrap());
    let swapped = formatted(folder.path(), "test", 2).unwrap_err().to_string();
    assert!(swapped.contains("is broker 1's, not broker 2's"), "{swapped}");
    let foreign = formatted(folder.path(), "other", 1).unwrap_err().to_string();
    assert!(foreign.contains("is of cluster test, not of cluster other"), "{foreign}");
    assert_eq!(
        DataFolder::open(&RealDisk, folder.path()).unwrap().incarnation.start,
        1,
        "it was not started"
    );
}
