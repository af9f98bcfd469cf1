//! Tests of the bounded history of the leader's end.

use super::super::history::{Behind, EndHistory};
use super::{at, entry};

#[test]
fn an_idle_partition_costs_one_sample() {
    let mut history = EndHistory::new(entry(0), 0, 10_000);
    for n in 1..=5_000 {
        history.record(entry(n), n * 10);
    }
    assert!(history.samples() > 90);
    history.prune(3_600_000);
    assert_eq!(history.samples(), 1);
    assert_eq!(history.behind_since(5_000), Behind::Nothing);
    assert_eq!(history.behind_since(4_999), Behind::Since(50_000));
    assert_eq!(history.behind_since(4_998), Behind::Forgotten);
}

#[test]
fn it_stays_bounded_at_full_speed_and_when_the_window_changes() {
    let mut history = EndHistory::new(entry(0), 0, 10_000);
    let mut index = 0;
    for ms in 0..200_000 {
        if ms % 20_000 == 0 {
            history.set_window(if ms % 40_000 == 0 { 1_000_000 } else { 1_000 });
        }
        index += 7;
        history.record(entry(index), ms);
        assert!(history.samples() <= 201, "{} samples at {ms}", history.samples());
    }
}

#[test]
fn time_lag_is_never_understated_and_by_less_than_a_slot_overstated() {
    let mut history = EndHistory::new(entry(0), 0, 10_000);
    for n in 1..=20_000 {
        history.record(entry(n), n);
    }
    for index in (10_500..20_000).step_by(37) {
        let Behind::Since(since) = history.behind_since(index) else { panic!("{index} was forgotten") };
        let truth = index + 1;
        assert!(since <= truth && truth - since < 100, "index {index}: {since}");
    }
}

#[test]
fn an_earlier_end_is_never_overstated_and_at_most_a_slot_old() {
    let mut history = EndHistory::new(entry(0), 0, 10_000);
    for n in 1..=20_000 {
        history.record(at(n, 10 * n as i64), n);
    }
    for ms in (10_500..19_900).step_by(41) {
        let end = history.end_at_or_before(ms).unwrap().index;
        assert!(end <= ms && ms - end < 200, "at {ms}: {end}");
    }
    assert_eq!(history.end_at_or_before(20_000).unwrap().index, 20_000);
    assert_eq!(history.end_at_or_before(5), None, "before the history begins");
}

#[test]
fn what_does_not_move_forward_changes_nothing() {
    let mut history = EndHistory::new(entry(5), 0, 10_000);
    history.record(entry(5), 1_000);
    history.record(entry(3), 2_000);
    assert_eq!((history.samples(), history.end()), (1, entry(5)));
}
