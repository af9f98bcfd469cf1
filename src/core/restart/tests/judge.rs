//! Judgements by example, then random clusters in which everybody asks for leave.

use proptest::prelude::*;

use super::*;

fn brokers(ids: &[u32]) -> BTreeSet<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

fn half(ids: &[u32]) -> Half {
    Half { brokers: brokers(ids), lost: 0 }
}

/// A partition on these brokers, all in sync, whose min ISR is 2.
fn whole(replicas: &[u32]) -> Confirmed {
    Confirmed {
        term: 3,
        age_ms: 10,
        provisional: false,
        required: 2,
        isr: brokers(replicas),
        synced: brokers(replicas),
        voters: half(replicas),
        outgoing: Half::default(),
    }
}

fn hosted(replicas: u32, confirmed: Confirmed) -> Hosted {
    let (topic, policy, confirmed) = ("orders".to_owned(), Policy::Margin(0), Some(confirmed));
    let (shrinks_from, moves_to) = (None, BTreeSet::new());
    Hosted { group: GroupId(16), topic, partition: 4, replicas, shrinks_from, moves_to, policy, confirmed }
}

fn metadata(voters: &[u32], well: &[u32]) -> MetadataGroup {
    let (synced, heirs) = (brokers(voters), brokers(well));
    MetadataGroup { voters: half(voters), outgoing: Half::default(), synced, heirs }
}

fn asked(broker: u32, away: &[u32], hosted: Hosted) -> Request {
    let metadata = metadata(&[1, 2, 3], &[1, 2, 3]);
    let (broker, away) = (BrokerId(broker), brokers(away));
    Request { broker, life: Life::Heard, away, partitions: vec![hosted], metadata }
}

fn said(request: &Request) -> Vec<String> {
    judge(request).iter().map(ToString::to_string).collect()
}

#[test]
fn one_of_three_may_stop_and_a_second_may_not() {
    assert_eq!(said(&asked(1, &[], hosted(3, whole(&[1, 2, 3])))), Vec::<String>::new());
    let second = said(&asked(1, &[2], hosted(3, whole(&[1, 2, 3]))));
    assert_eq!(
        second,
        [
            "orders/4: of its ISR [3] would be left, 2 are needed (min ISR 2, margin 0)",
            "metadata group: of its voters [3] would be left: no majority of [1, 2, 3]",
        ]
    );
}

#[test]
fn a_sole_voter_hands_its_vote_over_where_there_is_somebody_to_take_it() {
    let of_two = |away: &[u32]| Request {
        metadata: metadata(&[1], &[1, 2]),
        partitions: Vec::new(),
        ..asked(1, away, hosted(3, whole(&[1, 2, 3])))
    };
    assert_eq!(judge(&of_two(&[])), []);
    let alone = judge(&of_two(&[2]));
    assert_eq!(
        alone.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["metadata group: of its voters [] would be left: no majority of [1]"]
    );
    assert!(alone[0].may_be_borne(), "there is nobody whom it would cost more than the stop itself");
    let second = judge(&asked(1, &[2], hosted(3, whole(&[1, 2, 3]))));
    assert_eq!(second.iter().map(Block::may_be_borne).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn who_lags_does_not_count() {
    let lags = Confirmed { synced: brokers(&[1, 2]), ..whole(&[1, 2, 3]) };
    assert_eq!(
        said(&asked(1, &[], hosted(3, lags))),
        ["orders/4: of its ISR [2] would be left, 2 are needed (min ISR 2, margin 0)"]
    );
    let outside = Confirmed { isr: brokers(&[1, 2]), ..whole(&[1, 2, 3]) };
    assert!(!said(&asked(2, &[], hosted(3, outside.clone()))).is_empty());
    assert!(said(&asked(3, &[], hosted(3, outside))).is_empty(), "who is in no ISR is missed by none");
}

#[test]
fn what_is_not_known_for_sure_blocks() {
    let nobody = Hosted { confirmed: None, ..hosted(3, whole(&[1, 2, 3])) };
    assert_eq!(said(&asked(1, &[], nobody)), ["orders/4: its leader did not confirm its ISR"]);
    let old = Confirmed { age_ms: 1_001, ..whole(&[1, 2, 3]) };
    assert_eq!(
        said(&asked(1, &[], hosted(3, old))),
        ["orders/4: its leader's word is 1001 ms old; at most 1000 ms count"]
    );
    let provisional = Confirmed { provisional: true, ..whole(&[1, 2, 3]) };
    assert_eq!(
        said(&asked(1, &[], hosted(3, provisional))),
        ["orders/4: its leader has not heard every member of its ISR yet"]
    );
}

#[test]
fn both_halves_of_a_change_keep_a_majority() {
    let change = Confirmed {
        isr: brokers(&[1, 2, 3]),
        synced: brokers(&[1, 2, 3, 4]),
        outgoing: half(&[1, 4, 5]),
        ..whole(&[1, 2, 3])
    };
    assert_eq!(
        said(&asked(1, &[], hosted(3, change))),
        ["orders/4: of its voters [4] would be left: no majority of [1, 4, 5]"]
    );
}

#[test]
fn voters_that_no_broker_has_any_more_count_against_a_majority() {
    let voters = Half { lost: 2, ..half(&[1, 2, 3]) };
    let lost = Confirmed { voters, required: 1, ..whole(&[1, 2, 3]) };
    assert_eq!(
        said(&asked(1, &[], hosted(5, lost))),
        ["orders/4: of its voters [2, 3] would be left: no majority of [1, 2, 3] and 2 on lost disks"]
    );
}

#[test]
fn a_topic_says_what_it_bears() {
    let with = |policy, request: Hosted| said(&asked(1, &[], Hosted { policy, ..request }));
    let alone = hosted(1, Confirmed { required: 1, ..whole(&[1]) });
    assert_eq!(with(Policy::Margin(0), alone.clone()).len(), 1);
    assert!(with(Policy::AllowUnavailable, alone).is_empty());
    let three = hosted(3, whole(&[1, 2, 3]));
    assert_eq!(with(Policy::Forbid, three.clone()), ["orders/4: its topic's restart.policy is forbid"]);
    assert_eq!(
        with(Policy::Margin(1), three.clone()),
        ["orders/4: of its ISR [2, 3] would be left, 3 are needed (min ISR 2, margin 1)"]
    );
    let two_gone = Hosted { policy: Policy::AllowUnavailable, ..three };
    assert!(!said(&asked(1, &[2], two_gone)).is_empty(), "with more than one replica it is not unavailable");
}

#[test]
fn the_absence_of_a_broker_that_does_not_live_is_a_fact_already() {
    let dead = |hosted| Request { life: Life::Gone, ..asked(1, &[1, 2], hosted) };
    let without = Confirmed { isr: brokers(&[3]), ..whole(&[1, 2, 3]) };
    assert_eq!(said(&dead(hosted(3, without))), Vec::<String>::new());
    let nobody_leads = Hosted { confirmed: None, ..hosted(3, whole(&[1, 2, 3])) };
    assert!(said(&dead(nobody_leads)).is_empty());
    let lives_for_its_leader = said(&dead(hosted(3, whole(&[1, 2, 3]))));
    assert_eq!(
        lives_for_its_leader,
        ["orders/4: of its ISR [3] would be left, 2 are needed (min ISR 2, margin 0)"]
    );
}

#[test]
fn a_broker_that_is_only_not_heard_may_lead_where_nobody_answers() {
    let silent = |hosted| Request { life: Life::Silent, ..asked(1, &[1, 2], hosted) };
    let nobody_answers = Hosted { confirmed: None, ..hosted(3, whole(&[1, 2, 3])) };
    assert_eq!(said(&silent(nobody_answers)), ["orders/4: its leader did not confirm its ISR"]);
    let without = Confirmed { isr: brokers(&[3]), ..whole(&[1, 2, 3]) };
    assert_eq!(said(&silent(hosted(3, without.clone()))), Vec::<String>::new());
    let of_before = Confirmed { age_ms: FRESH_MS + 1, ..without };
    assert_eq!(
        said(&silent(hosted(3, of_before))),
        ["orders/4: its leader's word is 1001 ms old; at most 1000 ms count"]
    );
}

#[test]
fn a_partition_that_moves_is_left_what_it_needs_where_it_moves_to() {
    let moves = |to: &[u32]| Hosted { moves_to: brokers(to), ..hosted(3, whole(&[1, 2, 3])) };
    let metadata = MetadataGroup { voters: half(&[1, 2, 3]), ..asked(5, &[4], moves(&[])).metadata };
    let asked = |to: &[u32]| said(&Request { metadata: metadata.clone(), ..asked(5, &[4], moves(to)) });
    assert_eq!(asked(&[1, 2, 5]), Vec::<String>::new());
    assert_eq!(
        asked(&[1, 4, 5]),
        ["orders/4: it moves to [1, 4, 5], of which [1] would be left: wait until that is done"]
    );
}

#[test]
fn a_partition_that_is_to_have_fewer_replicas_waits_for_that() {
    let shrinks = Hosted { shrinks_from: Some(3), ..hosted(2, whole(&[1, 2, 3])) };
    assert_eq!(
        said(&asked(1, &[], shrinks)),
        ["orders/4: its replicas are moving, from 3 to 2 of them: wait until that is done"]
    );
}

#[path = "judged_permits.rs"]
mod judged_permits;
