//! Tests of the high watermark, and its comparison with a sort.

use proptest::prelude::*;

use super::super::high_watermark::{HighWatermark, candidate, effective_min_isr};

#[test]
fn effective_min_isr_lies_between_majority_and_rf() {
    // (RF, min.insync.replicas) -> k
    let table = [
        ((1, 1), 1),
        ((1, 2), 1),
        ((2, 1), 2),
        ((3, 0), 2),
        ((3, 1), 2),
        ((3, 2), 2),
        ((3, 3), 3),
        ((3, 9), 3),
        ((4, 2), 3),
        ((5, 2), 3),
        ((5, 4), 4),
    ];
    for ((rf, min), k) in table {
        assert_eq!(effective_min_isr(rf, min), k, "RF {rf}, min {min}");
    }
}

#[test]
fn the_candidate_is_the_kth_highest_below_the_commit() {
    assert_eq!(candidate(10, &[10, 9, 8], 2), Some(9));
    assert_eq!(candidate(10, &[10, 9, 8], 3), Some(8));
    assert_eq!(candidate(7, &[10, 9, 8], 2), Some(7));
    assert_eq!(candidate(10, &[10], 2), None, "it stands still");
    assert_eq!(candidate(10, &[4, 9], 1), Some(9), "a leader may be behind its follower's sync");
}

#[test]
fn a_leaders_mark_stands_still_without_enough_and_never_goes_back() {
    let mut mark = HighWatermark::new(3);
    assert!(mark.lead(candidate(10, &[10, 9, 8], 2)));
    assert_eq!(mark.value(), 9);
    assert!(!mark.lead(candidate(10, &[10, 9, 8], 3)), "k was raised");
    assert!(!mark.lead(candidate(10, &[10], 2)), "the ISR shrank");
    assert_eq!(mark.value(), 9);
    assert!(mark.lead(candidate(10, &[10], 1)), "k was lowered: waiters are released");
    assert_eq!(mark.value(), 10);
}

#[test]
fn a_followers_mark_is_the_lesser_of_what_was_sent_and_its_commit() {
    let mut mark = HighWatermark::new(0);
    assert!(mark.follow(4, 8, 5));
    assert_eq!(mark.value(), 5);
    assert!(mark.committed(7) && mark.value() == 7);
    assert!(mark.committed(9) && mark.value() == 8, "no further than was sent");
    assert!(!mark.follow(4, 6, 9), "an answer that was overtaken");
}

#[test]
fn only_the_current_terms_leader_counts() {
    let mut mark = HighWatermark::new(5);
    assert!(!mark.follow(4, 9, 5));
    mark.begin_term(6);
    assert!(!mark.committed(9), "what term 4 sent no longer counts");
    assert!(!mark.follow(5, 9, 9), "an older term");
    assert!(!mark.follow(6, 3, 9), "a new leader may know less: what was served stays served");
    assert_eq!(mark.value(), 5);
    assert!(mark.follow(6, 7, 9) && mark.value() == 7);
}

#[test]
fn a_new_leader_knows_the_end_once_it_reached_its_epochs_start() {
    let mut mark = HighWatermark::new(5);
    mark.begin_term(7);
    assert!(!mark.reached(6));
    mark.lead(Some(6));
    assert!(mark.reached(6));
}

#[derive(Clone, Debug)]
enum Step {
    Lead { commit: u64, synced: Vec<u64>, k: u32 },
    Follow { term: u64, sent: u64, commit: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..30_u64, prop::collection::vec(0..30_u64, 1..6), 1..5_u32)
            .prop_map(|(commit, synced, k)| Step::Lead { commit, synced, k }),
        (0..4_u64, 0..30_u64, 0..30_u64).prop_map(|(term, sent, commit)| Step::Follow { term, sent, commit }),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_sort(commit in 0..40_u64, synced in prop::collection::vec(0..40_u64, 0..8), k in 1..6_u32) {
        let mut sorted = synced.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let expected = sorted.get(k as usize - 1).map(|kth| commit.min(*kth));
        prop_assert_eq!(candidate(commit, &synced, k), expected);
    }

    #[test]
    fn it_never_goes_back_and_never_passes_the_commit(steps in prop::collection::vec(step(), 0..40)) {
        let mut mark = HighWatermark::new(0);
        let (mut highest_commit, mut newest_term) = (0, 0);
        for step in steps {
            let before = mark.value();
            match step {
                Step::Lead { commit, synced, k } => {
                    highest_commit = highest_commit.max(commit);
                    let moved = mark.lead(candidate(commit, &synced, k));
                    prop_assert!(!moved || synced.len() >= k as usize);
                    let holders = synced.iter().filter(|s| **s >= mark.value()).count();
                    prop_assert!(!moved || holders >= k as usize);
                }
                Step::Follow { term, sent, commit } => {
                    highest_commit = highest_commit.max(commit);
                    let moved = mark.follow(term, sent, commit);
                    prop_assert!(!moved || term >= newest_term);
                    newest_term = newest_term.max(term);
                }
            }
            prop_assert!(mark.value() >= before);
            prop_assert!(mark.value() <= highest_commit);
        }
    }
}
