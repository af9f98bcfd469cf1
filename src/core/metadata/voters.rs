//! Which replicas of the metadata group vote: their number follows the brokers. A pure function of what its leader knows.

use std::collections::BTreeMap;

use crate::ids::ReplicaId;

/// A registered broker's replica of the metadata group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate<'a> {
    /// The replica.
    pub replica: ReplicaId,
    /// Its broker's rack; brokers without one share a nameless rack.
    pub rack: Option<&'a str>,
    /// Whether its broker is heard, on the disk with that replica.
    pub alive: bool,
    /// Its broker hands over what it leads, because it is to stop.
    pub draining: bool,
    /// Its broker is to be taken out of the cluster.
    pub leaving: bool,
}

/// Voters of the metadata group for that many brokers: 1 for 1 and 2, 3 for 3 and 4, 5 from 5.
pub fn voters_for(brokers: usize) -> usize {
    match brokers {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    }
}

/// The replicas that shall vote. Those that do are kept, also while their brokers are down, and only those that are alive
/// are added, from racks without a voter first. If there are too few for the number of brokers, fewer vote, but no fewer
/// than now: then what is there stays, also a replica that no broker has any more.
///
/// A sole voter moves away from a broker that is to stop. A broker that leaves the cluster counts no more, and loses its vote
/// once others can have as many as those that stay call for.
pub fn choose(candidates: &[Candidate<'_>], voters: &[ReplicaId], leader: ReplicaId) -> Vec<ReplicaId> {
    let most = voters_for(candidates.iter().filter(|known| !known.leaving).count().max(1));
    let least = voters.len().min(most);
    let mut counts = (1..=most).rev().step_by(2).take_while(|count| count + 1 >= least + least % 2);
    counts.find_map(|count| fill(candidates, voters, leader, count)).unwrap_or_else(|| voters.to_vec())
}

fn fill(
    candidates: &[Candidate<'_>],
    voters: &[ReplicaId],
    leader: ReplicaId,
    count: usize,
) -> Option<Vec<ReplicaId>> {
    let mut in_rack: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count {
        let left = candidates.iter().filter(|known| !chosen.contains(&known.replica));
        let ranked = left.filter_map(|known| Some((rank(known, voters, leader, count)?, known)));
        let crowd = |known: &Candidate<'_>| in_rack.get(&known.rack).copied().unwrap_or(0);
        let (_, best) = ranked.min_by_key(|(rank, known)| (*rank, crowd(known), known.replica))?;
        *in_rack.entry(best.rack).or_default() += 1;
        chosen.push(best.replica);
    }
    Some(chosen)
}

/// Who comes first; `None` for one that cannot be taken.
fn rank(known: &Candidate<'_>, voters: &[ReplicaId], leader: ReplicaId, count: usize) -> Option<u8> {
    let votes = voters.contains(&known.replica);
    if known.leaving {
        return votes.then_some(5);
    }
    if known.draining && count == 1 {
        return votes.then_some(4);
    }
    match (votes, known.alive) {
        (true, _) if known.replica == leader => Some(0),
        (true, true) => Some(1),
        (true, false) => Some(2),
        (false, true) => (!known.draining).then_some(3),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    /// Replicas 1 to `count`, alive but for some, in racks that the last digit names.
    fn brokers(count: u64, down: &[u64], racks: u64) -> Vec<Candidate<'static>> {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let known = |id: u64| Candidate {
            replica: ReplicaId(id),
            rack: (racks > 0).then(|| NAMES[(id % racks) as usize]),
            alive: !down.contains(&id),
            draining: false,
            leaving: false,
        };
        (1..=count).map(known).collect()
    }

    fn chosen(candidates: &[Candidate<'_>], voters: &[u64], leader: u64) -> Vec<u64> {
        let mut chosen: Vec<u64> =
            choose(candidates, &ids(voters), ReplicaId(leader)).iter().map(|id| id.0).collect();
        chosen.sort_unstable();
        chosen
    }

    #[test]
    fn their_number_follows_the_brokers() {
        assert_eq!(chosen(&brokers(1, &[], 0), &[1], 1), [1]);
        assert_eq!(chosen(&brokers(2, &[], 0), &[1], 1), [1]);
        assert_eq!(chosen(&brokers(3, &[], 0), &[1], 1), [1, 2, 3]);
        assert_eq!(chosen(&brokers(4, &[], 0), &[1, 2, 3], 2), [1, 2, 3]);
        assert_eq!(chosen(&brokers(6, &[], 0), &[1, 2, 3], 2), [1, 2, 3, 4, 5]);
        assert_eq!(chosen(&brokers(4, &[], 0), &[1, 2, 3, 4, 5], 4), [1, 2, 4], "5 has no broker any more");
        assert_eq!(chosen(&brokers(2, &[], 0), &[1, 2, 3], 2), [2], "the leader stays");
    }

    #[test]
    fn only_who_is_alive_is_added_and_who_votes_is_kept() {
        assert_eq!(chosen(&brokers(3, &[3], 0), &[1], 1), [1], "two would be no better than one");
        assert_eq!(chosen(&brokers(5, &[4], 0), &[1, 2, 3], 1), [1, 2, 3]);
        assert_eq!(chosen(&brokers(4, &[3], 0), &[1, 2, 3], 1), [1, 2, 3], "it may come back");
        assert_eq!(chosen(&brokers(4, &[3], 0), &[1, 2, 3, 9], 1), [1, 2, 3]);
        assert_eq!(chosen(&brokers(5, &[2], 0), &[1, 2, 3, 4, 9], 1), [1, 2, 3, 4, 5], "in the place of 9");
        assert_eq!(chosen(&brokers(5, &[5], 0), &[1, 2, 3, 4, 9], 1), [1, 2, 3, 4, 9], "not fewer than now");
    }

    #[test]
    fn new_voters_come_from_racks_that_have_none() {
        assert_eq!(chosen(&brokers(4, &[], 3), &[4], 4), [2, 3, 4], "1 is in the rack of 4");
        let mut two_racks = brokers(4, &[], 0);
        two_racks
            .iter_mut()
            .for_each(|known| known.rack = Some(if known.replica.0 == 4 { "b" } else { "a" }));
        assert_eq!(chosen(&two_racks, &[1], 1), [1, 2, 4]);
        assert_eq!(chosen(&two_racks, &[1, 2, 3], 1), [1, 2, 3], "those that vote already are not moved");
    }

    #[test]
    fn a_sole_voter_leaves_a_broker_that_is_to_stop() {
        let mut two = brokers(2, &[], 0);
        two[0].draining = true;
        assert_eq!(chosen(&two, &[1], 1), [2]);
        two[1].alive = false;
        assert_eq!(chosen(&two, &[1], 1), [1], "nobody could take over");
        let mut three = brokers(3, &[], 0);
        three[0].draining = true;
        assert_eq!(chosen(&three, &[1, 2, 3], 1), [1, 2, 3], "the others do without it for a while");
    }

    #[test]
    fn a_broker_that_leaves_the_cluster_loses_its_vote_to_another() {
        let leaving = |count, id: usize, down: &[u64]| {
            let mut candidates = brokers(count, down, 0);
            candidates[id - 1].leaving = true;
            candidates
        };
        assert_eq!(chosen(&leaving(4, 3, &[]), &[1, 2, 3], 1), [1, 2, 4]);
        assert_eq!(chosen(&leaving(4, 3, &[]), &[1, 2, 3], 3), [1, 2, 4], "also if it leads");
        assert_eq!(chosen(&leaving(4, 3, &[4]), &[1, 2, 3], 1), [1, 2, 3], "nobody else could have it");
        assert_eq!(chosen(&leaving(5, 5, &[]), &[1, 2, 3, 4, 5], 5), [1, 2, 3], "four need three");
        assert_eq!(chosen(&leaving(3, 3, &[]), &[1, 2, 3], 2), [2], "two need one");
        assert_eq!(chosen(&leaving(2, 2, &[]), &[2], 2), [1]);
        assert_eq!(chosen(&leaving(2, 2, &[1]), &[2], 2), [2]);
        assert_eq!(chosen(&leaving(4, 4, &[]), &[1, 2, 3], 1), [1, 2, 3], "it had none");
    }

    proptest! {
        #[test]
        fn a_choice_is_odd_stable_and_made_of_who_may_vote(
            count in 1u64..9, down in prop::collection::btree_set(1u64..9, 0..5), racks in 0u64..4,
            draining in prop::option::of(1u64..9), leaving in prop::option::of(1u64..9), voters in prop::collection::btree_set(1u64..12, 1..6),
        ) {
            let down: Vec<u64> = down.into_iter().collect();
            let mut candidates = brokers(count, &down, racks);
            for known in &mut candidates {
                known.draining = draining == Some(known.replica.0);
                known.leaving = leaving == Some(known.replica.0);
            }
            let voters: Vec<u64> = voters.into_iter().collect();
            let leader = *voters.iter().find(|id| **id <= count && !down.contains(id)).unwrap_or(&voters[0]);
            let next = chosen(&candidates, &voters, leader);
            let staying = candidates.iter().filter(|known| !known.leaving).count();
            let most = voters_for(staying.max(1));
            prop_assert!(next == voters || (next.len() % 2 == 1 && next.len() <= most), "{next:?}");
            for id in next.iter().filter(|id| !voters.contains(id)) {
                prop_assert!(*id <= count && !down.contains(id), "{next:?}");
                prop_assert!(![draining, leaving].contains(&Some(*id)), "{next:?}");
            }
            let sole = most == 1 || next.len() == 1;
            let goes = (sole && draining == Some(leader)) || leaving == Some(leader);
            prop_assert!(next.contains(&leader) || leader > count || goes, "{next:?}");
            if next.contains(&leader) {
                prop_assert_eq!(chosen(&candidates, &next, leader), next.clone(), "another look changes nothing");
            }
            let orphans = next.iter().any(|id| *id > count);
            prop_assert!(!orphans || next == voters, "what no broker has is kept only if nothing changes");
        }
    }
}
