//! What must hold whatever happens, said once more and not in the planner's words.

use super::world::World;
use super::*;

impl World {
    /// What a person or a deadline holds back is not asked for, by what the operator saw.
    pub(super) fn may_be_asked_for(&self, seen: &Observed, pod_uid: &str, reason: Reason) {
        let pod = seen.pods.iter().find(|pod| pod.uid == pod_uid).unwrap();
        let ours = seen.permits.iter().flatten().filter(|permit| is_ours(permit));
        let (options, under_ours) =
            (&seen.options, ours.map(|permit| permit.broker).collect::<BTreeSet<_>>());
        assert!(under_ours.len() < options.max_unavailable as usize, "under ours: {under_ours:?}");
        for other in seen.pods.iter().filter(|pod| under_ours.contains(&pod.broker)) {
            assert!(seen.now - other.since.unwrap() <= 100, "on top of one that does not return: {other:?}");
        }
        if reason == Reason::Rollout {
            assert!(!seen.paused && pod.broker.0 >= options.from_broker, "{pod:?} is not in turn");
            assert!(pod.asked || !options.needs_approval, "{pod:?} is not approved");
            let young = |ready: i64| seen.now - ready < i64::from(options.min_ready_seconds);
            let settled = seen.pods.iter().all(|pod| !pod.ready_since.is_some_and(young));
            assert!(settled || !pod.ready, "{pod:?} follows too soon");
        }
    }

    pub(super) fn are_few_and_of_one_rack(&self) {
        let begun = self.open.iter().filter(|open| is_ours(open) && open.stage == Stage::Begun);
        let away: BTreeSet<BrokerId> = begun.map(|open| open.broker).collect();
        assert!(away.len() <= self.options.max_unavailable as usize, "away: {away:?}");
        let racks: BTreeSet<_> = away.iter().map(|broker| self.racks.get(broker)).collect();
        assert!(racks.len() <= 1, "{away:?} are away, of {racks:?}");
    }

    /// Brokers whose pods are being deleted, missing or not ready.
    pub(super) fn away(&self) -> usize {
        self.brokers
            .iter()
            .filter(|broker| !broker.pod.as_ref().is_some_and(|pod| pod.ready && !pod.deleting))
            .count()
    }
}
