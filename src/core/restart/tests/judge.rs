//! Judgements by example, then random clusters in which everybody asks for leave.

use proptest::prelude::*;

use super::*;

fn brokers(ids: &[u32]) -> BTreeSet<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
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
        voters: brokers(replicas),
        outgoing: BTreeSet::new(),
    }
}

fn hosted(replicas: u32, confirmed: Confirmed) -> Hosted {
    let (topic, policy, confirmed) = ("orders".to_owned(), Policy::Margin(0), Some(confirmed));
    Hosted { group: GroupId(16), topic, partition: 4, replicas, policy, confirmed }
}

fn asked(broker: u32, away: &[u32], hosted: Hosted) -> Request {
    let metadata =
        MetadataGroup { voters: brokers(&[1, 2, 3]), outgoing: BTreeSet::new(), synced: brokers(&[1, 2, 3]) };
    Request { broker: BrokerId(broker), away: brokers(away), partitions: vec![hosted], metadata }
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
        outgoing: brokers(&[1, 4, 5]),
        ..whole(&[1, 2, 3])
    };
    assert_eq!(
        said(&asked(1, &[], hosted(3, change))),
        ["orders/4: of its voters [4] would be left: no majority of [1, 4, 5]"]
    );
}

#[test]
fn a_topic_says_what_it_bears() {
    let with = |policy, request: Hosted| said(&asked(1, &[], Hosted { policy, ..request }));
    let alone = hosted(1, Confirmed { required: 1, ..whole(&[1]) });
    assert_eq!(with(Policy::Margin(0), alone.clone()).len(), 1);
    assert!(with(Policy::AllowUnavailable, alone).is_empty());
    let three = hosted(3, whole(&[1, 2, 3]));
    assert_eq!(with(Policy::Forbid, three.clone()), ["orders/4: its topic's restartPolicy is forbid"]);
    assert_eq!(
        with(Policy::Margin(1), three.clone()),
        ["orders/4: of its ISR [2, 3] would be left, 3 are needed (min ISR 2, margin 1)"]
    );
    let two_gone = Hosted { policy: Policy::AllowUnavailable, ..three };
    assert!(!said(&asked(1, &[2], two_gone)).is_empty(), "with more than one replica it is not unavailable");
}

#[derive(Clone, Debug)]
struct Cluster {
    partitions: Vec<Hosted>,
    not_well: BTreeSet<BrokerId>,
}

fn subset(of: BTreeSet<BrokerId>) -> impl Strategy<Value = BTreeSet<BrokerId>> {
    let all: Vec<BrokerId> = of.into_iter().collect();
    prop::collection::vec(prop::bool::weighted(0.9), all.len())
        .prop_map(move |kept| all.iter().zip(kept).filter(|(_, kept)| *kept).map(|(id, _)| *id).collect())
}

fn partition() -> impl Strategy<Value = Hosted> {
    let replicas = prop::collection::btree_set((1u32..8).prop_map(BrokerId), 1..5);
    let drawn = replicas.prop_flat_map(|replicas| {
        let required = 1..=replicas.len() as u32;
        (Just(replicas.clone()), subset(replicas.clone()), subset(replicas), required, 0u32..2)
    });
    drawn.prop_map(|(replicas, isr, synced, required, margin)| {
        let count = replicas.len() as u32;
        let confirmed = Confirmed { required, isr, synced, voters: replicas, ..whole(&[]) };
        Hosted { policy: Policy::Margin(margin), ..hosted(count, confirmed) }
    })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let not_well = prop::collection::btree_set((1u32..8).prop_map(BrokerId), 0..2);
    (prop::collection::vec(partition(), 1..8), not_well)
        .prop_map(|(partitions, not_well)| Cluster { partitions, not_well })
}

proptest! {
    /// Everybody asks in turn, and those who are let stop all at once.
    #[test]
    fn those_who_may_stop_may_all_be_gone_at_once(cluster in cluster(), order in Just((1u32..8).collect::<Vec<_>>()).prop_shuffle()) {
        let mut away = cluster.not_well.clone();
        let mut granted = BTreeSet::new();
        for broker in order.into_iter().map(BrokerId) {
            let on = |hosted: &&Hosted| hosted.confirmed.as_ref().is_some_and(|c| c.voters.contains(&broker));
            let partitions: Vec<Hosted> = cluster.partitions.iter().filter(on).cloned().collect();
            let request = Request { broker, away: away.clone(), partitions, ..asked(1, &[], cluster.partitions[0].clone()) };
            if judge(&request).is_empty() {
                granted.insert(broker);
                away.insert(broker);
            }
        }
        for hosted in &cluster.partitions {
            let confirmed = hosted.confirmed.as_ref().unwrap();
            if confirmed.voters.is_disjoint(&granted) {
                continue;
            }
            let stay = |broker: &&BrokerId| !away.contains(broker) && confirmed.synced.contains(broker);
            let left = confirmed.isr.iter().filter(stay).count();
            prop_assert!(left >= confirmed.required as usize, "{hosted:?} without {away:?}");
            let votes = confirmed.voters.iter().filter(stay).count();
            prop_assert!(votes > confirmed.voters.len() / 2, "{hosted:?} without {away:?}");
        }
        let votes = [1, 2, 3].iter().filter(|id| !away.contains(&BrokerId(**id))).count();
        prop_assert!(votes >= 2 || brokers(&[1, 2, 3]).is_disjoint(&granted));
    }
}
