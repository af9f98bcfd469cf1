//! What the first ISR manager's cases leave out: each limit to the millisecond and record, leader change, idle, flapping,
//! a huge batch, one that trails for ever, snapshots, clocks that go back.

use super::super::isr::{IsrChange, IsrConfig, IsrTracker, Leadership, LeaveReason};
use super::*;

/// A leader that appends one record each millisecond, and one follower that trails it by a fixed time.
struct Trail {
    tracker: IsrTracker,
    now_ms: u64,
    changes: Vec<(u64, IsrChange)>,
}

impl Trail {
    fn new(config: IsrConfig) -> Self {
        Self { tracker: in_sync(config, entry(0)), now_ms: 0, changes: Vec::new() }
    }

    /// For `for_ms`, follower 3 trails by `behind_ms`, answering every 5 ms; follower 2 keeps up and so does the high
    /// watermark.
    fn run(&mut self, behind_ms: u64, for_ms: u64) {
        for now in self.now_ms + 1..=self.now_ms + for_ms {
            self.tracker.leader_appended(entry(now), now);
            self.tracker.high_watermark_moved(now);
            let two = self.tracker.follower_synced(TWO, entry(now), now);
            let answers = now % 5 == 0;
            let three = answers
                .then(|| self.tracker.follower_synced(THREE, entry(now.saturating_sub(behind_ms)), now));
            let check = if now % 1_000 == 0 { self.tracker.check(now) } else { None };
            let all = [two, three.flatten(), check];
            self.changes.extend(all.into_iter().flatten().map(|change| (now, change)));
        }
        self.now_ms += for_ms;
    }

    fn reasons(&self) -> Vec<LeaveReason> {
        self.changes.iter().flat_map(|(_, change)| change.left.iter().map(|(_, why)| *why)).collect()
    }
}

const BY_TIME: IsrConfig =
    IsrConfig { max_lag_ms: 10_000, max_lag_entries: 1_000_000, check_interval_ms: 1_000, min_isr: 2 };

#[test]
fn trailing_nine_seconds_for_ever_stays() {
    let mut trail = Trail::new(BY_TIME);
    trail.run(9_000, 120_000);
    assert_eq!(trail.changes, []);
}

#[test]
fn trailing_eleven_seconds_for_ever_leaves_once_and_does_not_flap() {
    let mut trail = Trail::new(BY_TIME);
    trail.run(11_000, 120_000);
    assert_eq!(trail.reasons(), [LeaveReason::LagTime]);
    assert_eq!(trail.changes.len(), 1);
    assert!((11_000..=12_000).contains(&trail.changes[0].0), "{:?}", trail.changes);
    trail.run(0, 10);
    assert_eq!(trail.changes[1].1.joined, [THREE]);
}

#[test]
fn trailing_where_the_high_watermark_waits_does_not_flap_either() {
    // RF 2: the high watermark waits for the only follower, so that one has always reached it.
    let voters = [ONE, TWO];
    let start = Leadership {
        leader: ONE,
        voters: &voters,
        last_known_isr: &voters,
        alive: &voters,
        end: entry(0),
        epoch_start: 0,
        high_watermark: 0,
    };
    let mut tracker = IsrTracker::initialize(BY_TIME, start, 0);
    let mut left = 0;
    for now in 1..=60_000_u64 {
        tracker.leader_appended(entry(now), now);
        let synced = now.saturating_sub(11_000);
        assert!(
            tracker.follower_synced(TWO, entry(synced), now).is_none_or(|change| change.joined.is_empty())
        );
        tracker.high_watermark_moved(tracker.high_watermark_candidate(synced, now, 2).unwrap_or(0));
        if now % 1_000 == 0 {
            left += usize::from(tracker.check(now).is_some());
        }
    }
    assert_eq!((left, tracker.isr().len()), (1, 1));
}

#[test]
fn who_had_the_end_of_a_second_ago_is_told_from_who_had_not() {
    let mut trail = Trail::new(BY_TIME);
    trail.run(0, 20_000);
    let had = |behind| trail.tracker.had_end_within(trail.now_ms - behind, 1_000, trail.now_ms);
    assert!(had(0) && had(500) && had(900));
    assert!(!had(1_002) && !had(5_000) && !had(19_000));
    let (voters, end) = ([ONE, TWO], entry(7));
    let start = Leadership {
        leader: ONE,
        voters: &voters,
        last_known_isr: &voters,
        alive: &voters,
        end,
        epoch_start: 7,
        high_watermark: 0,
    };
    let new = IsrTracker::initialize(BY_TIME, start, 100);
    assert!(new.had_end_within(7, 1_000, 100) && !new.had_end_within(6, 1_000, 100), "of the epoch before");
}

#[test]
fn exactly_at_the_time_limit_stays_and_one_beyond_leaves() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 70);
    tracker.follower_synced(TWO, entry(6), 71);
    assert_eq!(tracker.check(10_070), None);
    assert_eq!(tracker.stats(10_070)[1].lag_ms, 10_000);
    assert_eq!(tracker.check(10_071).unwrap().left, [(THREE, LeaveReason::LagTime)]);
}

#[test]
fn exactly_at_the_entry_limit_stays_and_one_beyond_leaves() {
    for (lag, stays) in [(10_000, true), (10_001, false)] {
        let mut tracker = in_sync(IsrConfig::default(), at(1, 0));
        tracker.leader_appended(at(2, lag), 0);
        tracker.follower_synced(TWO, at(2, lag), 1);
        tracker.check(1_000);
        tracker.check(2_000);
        assert_eq!(tracker.isr().contains(THREE), stays, "{lag} records");
    }
}

#[test]
fn a_long_limit_in_time_does_not_blunt_the_one_in_entries() {
    let mut tracker = in_sync(IsrConfig { max_lag_ms: 3_600_000, ..IsrConfig::default() }, at(1, 0));
    for ms in 1..=3_000 {
        let end = at(ms + 1, 10 * ms as i64);
        tracker.leader_appended(end, ms);
        tracker.follower_synced(TWO, end, ms);
        if ms % 1_000 == 0 {
            tracker.check(ms);
        }
    }
    // It lacked 10,000 records of those one second old at 2,000 ms: no strike. 20,000 at 3,000 ms: the first.
    assert!(tracker.isr().contains(THREE));
    assert_eq!(tracker.check(4_000).unwrap().left, [(THREE, LeaveReason::LagEntries)]);
}

#[test]
fn an_answer_between_two_checks_ends_the_row() {
    let mut tracker = in_sync(IsrConfig::default(), at(1, 0));
    tracker.leader_appended(at(3, 30_000), 0);
    tracker.follower_synced(TWO, at(3, 30_000), 1);
    assert_eq!(tracker.check(1_000), None);
    tracker.follower_synced(THREE, at(2, 25_000), 1_500);
    assert_eq!(tracker.check(2_000), None);
    tracker.leader_appended(at(4, 60_000), 2_000);
    tracker.follower_synced(TWO, at(4, 60_000), 2_001);
    assert_eq!(tracker.check(3_000), None, "the first of a new row");
    assert_eq!(tracker.check(4_000).unwrap().left, [(THREE, LeaveReason::LagEntries)]);
}

#[test]
fn checks_in_quick_succession_are_one() {
    let mut tracker = in_sync(IsrConfig::default(), at(1, 0));
    tracker.leader_appended(at(2, 30_000), 0);
    for ms in [1_000, 1_001, 1_002, 1_499] {
        assert_eq!(tracker.check(ms), None);
    }
    assert!(tracker.check(1_990).is_some(), "a timer may be a little early");
}

#[test]
fn at_full_speed_a_follower_one_round_trip_behind_does_not_flap() {
    // 500,000 records a second in entries of 500; the follower is 50 ms behind: 25,000 records, over the limit of 10,000.
    let mut tracker = in_sync(IsrConfig::default(), at(0, 0));
    for ms in 1..=30_000_u64 {
        tracker.leader_appended(at(ms, 500 * ms as i64), ms);
        tracker.follower_synced(TWO, at(ms, 500 * ms as i64), ms);
        let synced = ms.saturating_sub(50);
        assert_eq!(tracker.follower_synced(THREE, at(synced, 500 * synced as i64), ms), None);
        if ms % 1_000 == 0 {
            assert_eq!(tracker.check(ms), None, "at {ms}");
            assert_eq!(tracker.stats(ms)[1].lag_entries, Some(25_000));
        }
    }
}

#[test]
fn one_huge_batch_is_no_reason_to_leave() {
    let mut tracker = in_sync(IsrConfig::default(), at(1, 0));
    tracker.leader_appended(at(2, 50_000), 300);
    tracker.follower_synced(TWO, at(2, 50_000), 400);
    assert_eq!(tracker.check(1_000), None);
    assert_eq!(tracker.check(2_000), None, "a first strike");
    tracker.follower_synced(THREE, at(2, 50_000), 2_500);
    assert_eq!(tracker.check(3_000), None);
}

#[test]
fn an_idle_partitions_isr_never_changes() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    for second in 1..100_000 {
        assert_eq!(tracker.check(second * 1_000), None);
    }
    assert!(tracker.stats(100_000_000).iter().all(|s| s.lag_ms == 0 && s.in_sync));
}

#[test]
fn after_a_long_silence_the_lag_counts_from_the_append() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.check(3_600_000);
    tracker.leader_appended(entry(6), 3_600_100);
    assert_eq!(tracker.check(3_610_100), None);
    assert_eq!(tracker.check(3_610_101).unwrap().left.len(), 2);
}

#[test]
fn a_dead_node_leaves_at_once_and_returns_with_an_answer() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    assert_eq!(tracker.set_alive(THREE, false, 10).unwrap().left, [(THREE, LeaveReason::Dead)]);
    assert_eq!(tracker.follower_synced(THREE, entry(5), 11), None, "an answer that was still on its way");
    assert_eq!(tracker.set_alive(THREE, true, 20), None);
    assert_eq!(tracker.unanswered().collect::<Vec<_>>(), [THREE]);
    assert_eq!(tracker.follower_synced(THREE, entry(5), 21).unwrap().joined, [THREE]);
    assert_eq!(tracker.unanswered().count(), 0);
}

#[test]
fn a_follower_rejoins_at_the_high_watermark_and_the_epochs_start() {
    for (high_watermark, epoch_start) in [(8, 0), (0, 8)] {
        let start = Leadership {
            leader: ONE,
            voters: &ALL,
            last_known_isr: &[],
            alive: &ALL,
            end: entry(10),
            epoch_start,
            high_watermark,
        };
        let mut tracker = IsrTracker::initialize(IsrConfig::default(), start, 0);
        assert_eq!(*tracker.isr(), set(&[1]));
        assert_eq!(tracker.follower_synced(TWO, entry(7), 1), None);
        assert_eq!(tracker.follower_synced(TWO, entry(8), 2).unwrap().joined, [TWO]);
    }
}

#[test]
fn a_new_leader_starts_from_the_last_known_isr() {
    let start = Leadership {
        leader: TWO,
        voters: &ALL,
        last_known_isr: &[ONE, THREE, ReplicaId(4)],
        alive: &[TWO, THREE, ReplicaId(4)],
        end: entry(10),
        epoch_start: 11,
        high_watermark: 9,
    };
    let mut tracker = IsrTracker::initialize(IsrConfig::default(), start, 50_000);
    assert_eq!(*tracker.isr(), set(&[2, 3]), "voters that are alive, and itself");
    assert!(tracker.is_provisional());
    let three = tracker.stats(50_000)[1].clone();
    assert_eq!((three.synced, three.lag_entries, three.last_heartbeat_ms), (None, None, None));
    assert_eq!(tracker.check(60_000), None, "a fresh budget");
    assert_eq!(tracker.high_watermark_candidate(11, 11, 2), Some(0), "an unknown position counts as nothing");
    let change = tracker.follower_synced(THREE, entry(7), 60_000).unwrap();
    assert_eq!(change, IsrChange { provisional_ended: true, ..IsrChange::default() });
    assert_eq!(tracker.check(60_001).unwrap().left, [(THREE, LeaveReason::LagTime)]);
}

#[test]
fn a_provisional_view_ends_too_when_the_silent_ones_leave() {
    let mut tracker = leading(IsrConfig::default(), entry(5));
    assert_eq!(tracker.follower_synced(TWO, entry(5), 1), None);
    let change = tracker.set_alive(THREE, false, 2).unwrap();
    assert!(change.provisional_ended && !tracker.is_provisional());
}

#[test]
fn a_leader_alone_is_never_provisional() {
    let start = Leadership {
        leader: ONE,
        voters: &[ONE],
        last_known_isr: &[],
        alive: &[ONE],
        end: entry(0),
        epoch_start: 1,
        high_watermark: 0,
    };
    let tracker = IsrTracker::initialize(IsrConfig::default(), start, 0);
    assert!(!tracker.is_provisional());
    assert_eq!(tracker.high_watermark_candidate(7, 9, 1), Some(7));
}

#[test]
fn a_new_voter_begins_outside() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    let four = ReplicaId(4);
    let voters = [ONE, TWO, THREE, four];
    assert_eq!(tracker.follower_synced(four, entry(5), 1), None, "a learner never counts");
    assert_eq!(tracker.set_voters(&voters, &voters, 2), None);
    assert_eq!(tracker.follower_synced(four, entry(5), 3).unwrap().joined, [four]);
}

#[test]
fn the_isr_as_data_starts_the_next_leader() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.set_alive(ONE, false, 0);
    tracker.set_alive(THREE, false, 0);
    let data = serde_json::to_string(tracker.isr()).unwrap();
    assert_eq!(data, "[1,2]");
    let known: IsrSet = serde_json::from_str(&data).unwrap();
    let start = Leadership {
        leader: TWO,
        voters: &ALL,
        last_known_isr: known.as_slice(),
        alive: &ALL,
        end: entry(5),
        epoch_start: 6,
        high_watermark: 5,
    };
    let next = IsrTracker::initialize(IsrConfig::default(), start, 0);
    assert_eq!(*next.isr(), set(&[1, 2]));
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 5_000);
    tracker.follower_synced(TWO, entry(6), 4_000);
    assert_eq!(tracker.stats(0)[0].last_heartbeat_ms, Some(5_000));
    assert_eq!(tracker.check(0), None);
    assert_eq!(tracker.check(15_001).unwrap().left, [(THREE, LeaveReason::LagTime)]);
}

#[test]
fn a_stricter_limit_applies_at_the_next_check() {
    let mut tracker = in_sync(IsrConfig::default(), entry(5));
    tracker.leader_appended(entry(6), 0);
    tracker.follower_synced(TWO, entry(6), 1);
    assert_eq!(tracker.check(5_000), None);
    tracker.set_config(IsrConfig { max_lag_ms: 2_000, ..IsrConfig::default() });
    assert_eq!(tracker.check(6_000).unwrap().left, [(THREE, LeaveReason::LagTime)]);
}

#[test]
fn catching_up_from_beyond_the_history_shows_no_smaller_lag_than_it_has() {
    let mut trail = Trail::new(BY_TIME);
    trail.run(60_000, 60_000);
    let now = trail.now_ms;
    trail.tracker.follower_synced(THREE, entry(20_000), now);
    assert!(trail.tracker.stats(now)[1].lag_ms >= 40_000 - 1);
    trail.tracker.follower_synced(THREE, entry(55_000), now);
    let lag = trail.tracker.stats(now)[1].lag_ms;
    assert!((4_999..5_100).contains(&lag), "{lag}");
}
