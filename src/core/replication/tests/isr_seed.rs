//! The 19 cases of the first ISR manager, by its numbers, said in this tracker's terms.

use std::collections::BTreeMap;

use crate::ids::GroupId;

use super::super::gate::{Acks, Refusal, Standing, Verdict, admit};
use super::super::isr::{IsrChange, IsrConfig, IsrTracker, LeaveReason};
use super::*;

fn config(max_lag_entries: u64) -> IsrConfig {
    IsrConfig { max_lag_entries, ..IsrConfig::default() }
}

/// Follower 2 has everything; follower 3 has synced 1,000 records of the 1,000 + `lag` the leader has had for a second.
fn lagging(lag: i64, max_lag_entries: u64) -> IsrTracker {
    let mut tracker = in_sync(config(max_lag_entries), at(1, 1_000));
    tracker.leader_appended(at(2, 1_000 + lag), 0);
    tracker.follower_synced(TWO, at(2, 1_000 + lag), 1);
    tracker
}

#[test]
fn case_01_the_configuration_is_kept() {
    let custom = IsrConfig { max_lag_ms: 1, max_lag_entries: 2, check_interval_ms: 3, min_isr: 4 };
    assert_eq!(*leading(custom, entry(0)).config(), custom);
    let default = IsrConfig::default();
    assert_eq!((default.max_lag_ms, default.max_lag_entries), (10_000, 10_000));
    assert_eq!((default.check_interval_ms, default.min_isr), (1_000, 2));
}

#[test]
fn case_02_initialize_with_three_replicas() {
    let tracker = leading(IsrConfig::default(), entry(0));
    assert_eq!(*tracker.isr(), set(&[1, 2, 3]));
    assert!(tracker.is_provisional());
}

#[test]
fn case_03_a_lag_below_the_limit_stays() {
    let mut tracker = lagging(100, 1_000);
    assert_eq!(tracker.check(1_000), None);
    assert_eq!(tracker.check(2_000), None);
    assert_eq!(*tracker.isr(), set(&[1, 2, 3]));
}

#[test]
fn case_04_a_lag_above_the_limit_leaves() {
    let mut tracker = lagging(1_900, 1_000);
    assert_eq!(tracker.check(1_000), None, "once is not enough");
    let left = vec![(THREE, LeaveReason::LagEntries)];
    assert_eq!(tracker.check(2_000), Some(IsrChange { left, ..IsrChange::default() }));
    assert_eq!(*tracker.isr(), set(&[1, 2]));
}

#[test]
fn case_05_a_replica_is_added() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.set_voters(&[ONE, TWO], &ALL, 0);
    tracker.set_alive(TWO, false, 0);
    assert_eq!(tracker.isr().len(), 1);
    tracker.set_alive(TWO, true, 1);
    let change = tracker.follower_synced(TWO, entry(5), 2).unwrap();
    assert_eq!(change.joined, [TWO]);
    assert_eq!(tracker.isr().len(), 2);
}

#[test]
fn case_06_replicas_are_removed_and_the_leader_stays() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    let change = tracker.set_voters(&[ONE], &[ONE], 0).unwrap();
    assert_eq!(change.left, [(TWO, LeaveReason::Removed), (THREE, LeaveReason::Removed)]);
    assert_eq!(*tracker.isr(), set(&[1]));
    assert_eq!(tracker.set_alive(ONE, false, 1), None, "the leader is no follower of itself");
    assert_eq!(*tracker.isr(), set(&[1]));
}

#[test]
fn case_07_two_in_sync_are_enough_for_two() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.set_alive(THREE, false, 0);
    assert!(tracker.has_min_isr(tracker.config().min_isr));
}

#[test]
fn case_08_one_in_sync_is_too_few_for_two() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.set_alive(TWO, false, 0);
    tracker.set_alive(THREE, false, 0);
    assert!(!tracker.has_min_isr(tracker.config().min_isr));
    assert!(tracker.has_min_isr(1));
}

#[test]
fn case_09_the_state_survives_when_nobody_checks() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 0);
    assert_eq!(*tracker.isr(), set(&[1, 2, 3]), "time alone does nothing");
    tracker.follower_synced(TWO, entry(6), 3_600_000);
    assert_eq!(*tracker.isr(), set(&[1, 2, 3]), "nor does another follower's answer");
    let change = tracker.check(3_600_000).unwrap();
    assert_eq!(change.left, [(THREE, LeaveReason::LagTime)]);
}

#[test]
fn case_10_the_state_persists_from_check_to_check() {
    let mut tracker = lagging(1_900, 1_000);
    tracker.check(1_000);
    tracker.check(2_000);
    for second in 3..60 {
        assert_eq!(tracker.check(second * 1_000), None);
    }
    assert_eq!(*tracker.isr(), set(&[1, 2]));
}

#[test]
fn case_11_too_few_is_refused_at_the_gate() {
    // The first manager's case 11 repeats case 8; what follows from it is what matters.
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.set_alive(TWO, false, 0);
    tracker.set_alive(THREE, false, 0);
    let standing = Standing::Leader { isr: tracker.isr().len(), min_isr: 2, quorum_lost: false };
    assert_eq!(admit(standing, Acks::All), Verdict::Refuse(Refusal::NotEnoughReplicasAfterAppend));
}

#[test]
fn case_12_a_new_set() {
    let isr = set(&[3, 1, 2, 1]);
    assert_eq!(isr.as_slice(), ALL);
    assert_eq!(isr.len(), 3);
    assert!(IsrSet::default().is_empty());
}

#[test]
fn case_13_add_to_a_set_and_remove_from_it() {
    let mut isr = set(&[1, 2]);
    assert!(isr.add(THREE) && !isr.add(THREE));
    assert!(isr.remove(TWO) && !isr.remove(TWO));
    assert!(isr.contains(THREE) && !isr.contains(TWO));
    assert_eq!(isr.as_slice(), [ONE, THREE]);
}

#[test]
fn case_14_lag_in_records() {
    let lag = |tracker: &IsrTracker, of: usize| tracker.stats(0)[of].lag_entries;
    let mut tracker = lagging(100, 1_000);
    assert_eq!((lag(&tracker, 0), lag(&tracker, 1)), (Some(0), Some(100)));
    tracker.follower_synced(THREE, at(9, 9_999), 2);
    assert_eq!(lag(&tracker, 1), Some(0), "a follower may sync before its leader has counted the append");
}

#[test]
fn case_15_an_answer_that_has_it_all_resets_the_time_lag() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 1_000);
    tracker.heard(THREE, 3_000);
    let stats = tracker.stats(4_000);
    assert_eq!(
        (stats[1].lag_ms, stats[1].last_heartbeat_ms),
        (3_000, Some(3_000)),
        "a heartbeat has no position"
    );
    tracker.follower_synced(THREE, entry(6), 4_500);
    let stats = tracker.stats(5_000);
    assert_eq!((stats[1].lag_ms, stats[1].last_heartbeat_ms), (0, Some(4_500)));
}

#[test]
fn case_16_stats_of_two_partitions() {
    let partitions = BTreeMap::from([
        (GroupId(2), lagging(100, 1_000)),
        (GroupId(3), in_sync(IsrConfig::default(), entry(5))),
    ]);
    let lags = |group| {
        partitions[&GroupId(group)].stats(10).iter().map(|s| s.lag_entries.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lags(2), [0, 100]);
    assert_eq!(lags(3), [0, 0]);
}

#[test]
fn case_17_shrink_from_three_to_two() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 0);
    tracker.follower_synced(TWO, entry(6), 1);
    assert_eq!(tracker.check(10_001).unwrap().left, [(THREE, LeaveReason::LagTime)]);
    assert_eq!(*tracker.isr(), set(&[1, 2]));
}

#[test]
fn case_18_who_has_caught_up_is_in_sync_again() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 0);
    tracker.follower_synced(TWO, entry(6), 1);
    tracker.high_watermark_moved(6);
    tracker.check(10_001);
    let catching_up = tracker.stats(10_001)[1].clone();
    assert!(!catching_up.in_sync && catching_up.lag_ms == 10_001);
    assert_eq!(tracker.follower_synced(THREE, entry(6), 11_000).unwrap().joined, [THREE]);
    let back = tracker.stats(11_000)[1].clone();
    assert!(back.in_sync && back.lag_ms == 0);
}

#[test]
fn case_19_what_is_not_tracked_is_unknown_and_refused() {
    // The first manager allowed it.
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    let stranger = ReplicaId(9);
    assert_eq!(tracker.follower_synced(stranger, entry(5), 1), None);
    tracker.heard(stranger, 1);
    assert_eq!(tracker.set_alive(stranger, true, 1), None);
    assert!(!tracker.isr().contains(stranger));
    assert!(tracker.stats(1).iter().all(|s| s.replica != stranger));
    let verdict = admit(Standing::NotLeader, Acks::All);
    assert_eq!(verdict, Verdict::Refuse(Refusal::NotLeaderOrFollower));
}
