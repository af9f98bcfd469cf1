//! Which brokers get the replicas of new partitions: rack-aware round robin, a pure function of its arguments.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::BrokerId;

/// A broker that may be given replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate<'a> {
    /// Its number.
    pub id: BrokerId,
    /// Its rack; brokers without one share a nameless rack.
    pub rack: Option<&'a str>,
    /// Whether it is believed to be up. A broker that is down never comes first.
    pub alive: bool,
}

/// Replicas for `partitions` new partitions, first choice of leader first.
///
/// `start` is where the round robin goes on: a count of the partitions placed before keeps leaders even over many
/// small topics. Each partition takes as many racks as it can, then brokers that are up before others. Asks for no
/// more replicas than there are candidates give lists of `replication_factor` different brokers.
pub fn place(
    candidates: &[Candidate<'_>],
    partitions: usize,
    replication_factor: usize,
    start: u64,
) -> Vec<Vec<BrokerId>> {
    let ring = alternate_racks(candidates);
    let someone_is_up = ring.iter().any(|broker| broker.alive);
    let leaders: Vec<usize> = (0..ring.len()).filter(|&at| ring[at].alive || !someone_is_up).collect();
    if leaders.is_empty() {
        return vec![Vec::new(); partitions];
    }
    let (leader_count, brokers) = (leaders.len() as u64, ring.len() as u64);
    (0..partitions as u64)
        .map(|partition| {
            let turn = start.wrapping_add(partition);
            let leader = leaders[(turn % leader_count) as usize];
            // After each full round the followers move one further, so that no pair of brokers always goes together.
            replicas_of(&ring, leader, (turn / leader_count % brokers) as usize, replication_factor)
        })
        .collect()
}

/// The brokers in an order in which neighbours are in different racks as far as possible.
fn alternate_racks<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let mut racks: BTreeMap<Option<&str>, Vec<Candidate<'a>>> = BTreeMap::new();
    for candidate in candidates {
        racks.entry(candidate.rack).or_default().push(*candidate);
    }
    let mut queues: VecDeque<VecDeque<Candidate<'a>>> = racks
        .into_values()
        .map(|mut brokers| {
            brokers.sort_by_key(|broker| broker.id);
            brokers.into()
        })
        .collect();
    let mut ring = Vec::with_capacity(candidates.len());
    while let Some(mut rack) = queues.pop_front() {
        ring.extend(rack.pop_front());
        if !rack.is_empty() {
            queues.push_back(rack);
        }
    }
    ring
}

fn replicas_of(ring: &[Candidate<'_>], leader: usize, shift: usize, count: usize) -> Vec<BrokerId> {
    let others = ring.len() - 1;
    let mut in_rack: BTreeMap<Option<&str>, u32> = BTreeMap::from([(ring[leader].rack, 1)]);
    let mut left: Vec<usize> =
        (0..others).map(|step| (leader + 1 + (shift + step) % others) % ring.len()).collect();
    let mut replicas = vec![ring[leader].id];
    while replicas.len() < count && !left.is_empty() {
        let rank = |at: usize| (in_rack.get(&ring[at].rack).copied().unwrap_or(0), !ring[at].alive);
        // `min_by_key` takes the first of equals: ring order decides between them.
        let best = (0..left.len()).min_by_key(|&place| rank(left[place])).unwrap_or(0);
        let chosen = ring[left.remove(best)];
        *in_rack.entry(chosen.rack).or_default() += 1;
        replicas.push(chosen.id);
    }
    replicas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn brokers(count: u32, racks: u32, down: &[u32]) -> Vec<Candidate<'static>> {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        (1..=count)
            .map(|id| Candidate {
                id: BrokerId(id),
                rack: (racks > 0).then(|| NAMES[(id % racks) as usize]),
                alive: !down.contains(&id),
            })
            .collect()
    }

    fn numbers(placed: &[Vec<BrokerId>]) -> Vec<Vec<u32>> {
        placed.iter().map(|replicas| replicas.iter().map(|broker| broker.0).collect()).collect()
    }

    #[test]
    fn three_brokers_take_turns() {
        let placed = numbers(&place(&brokers(3, 0, &[]), 6, 3, 0));
        assert_eq!(
            placed,
            [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 3, 2], [2, 1, 3], [3, 2, 1]].map(|list| list.to_vec())
        );
    }

    #[test]
    fn a_broker_that_is_down_never_comes_first() {
        for replicas in numbers(&place(&brokers(3, 0, &[2]), 9, 3, 5)) {
            assert_ne!(replicas[0], 2);
            assert_eq!(replicas[2], 2, "the one that is up is the better follower: {replicas:?}");
        }
        assert_eq!(numbers(&place(&brokers(1, 0, &[1]), 1, 1, 0)), [[1]], "nobody up: any order serves");
        assert_eq!(place(&[], 2, 1, 0), [vec![], vec![]]);
    }

    proptest! {
        #[test]
        fn replicas_differ_racks_spread_leaders_balance(
            count in 1u32..12, racks in 0u32..4, partitions in 1usize..60, wanted in 1usize..6, start: u64,
        ) {
            let candidates = brokers(count, racks, &[]);
            let factor = wanted.min(count as usize);
            let placed = place(&candidates, partitions, factor, start);
            let rack = |id: BrokerId| candidates.iter().find(|c| c.id == id).unwrap().rack;
            let all_racks: BTreeSet<_> = candidates.iter().map(|c| c.rack).collect();
            let mut leads = BTreeMap::new();
            for replicas in &placed {
                prop_assert_eq!(replicas.len(), factor);
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor);
                let used: BTreeSet<_> = replicas.iter().map(|&id| rack(id)).collect();
                prop_assert_eq!(used.len(), factor.min(all_racks.len()));
                *leads.entry(replicas[0]).or_insert(0usize) += 1;
            }
            let most = leads.values().max().unwrap();
            prop_assert!(*most <= partitions.div_ceil(count as usize) + 1 , "{:?}", leads);
        }
    }
}
