//! Foretells a rollout: the operator's own planner, stepped over a model in which each broker that is let go comes back with
//! the settings it should have. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chronik_core::ids::BrokerId;
use chronik_core::restart::{PermitId, Reason, Stage};
use chronik_core::rollout::{Observed, Step, Wait, next, order};
use chronik_core::view::{BlockReport, PermitReport};

use crate::verdict::Verdict;

/// What the planner and the brokers start from.
pub(super) struct Now<'a> {
    /// What the operator sees.
    pub seen: Observed,
    /// The restart hash of pods that are made from now on.
    pub template: &'a str,
    /// Whether the brokers would let each broker stop now.
    pub verdicts: &'a BTreeMap<BrokerId, Verdict>,
    /// Brokers that are down, not in every ISR, or hold a permit: what is refused now may be granted once they are back.
    pub unwell: BTreeSet<BrokerId>,
}

/// What would happen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Foretold {
    /// What is waited for before anything else.
    pub waits: Vec<Wait>,
    /// Who restarts, in order.
    pub restarts: Vec<Restart>,
    /// Who should restart and does not, in the order in which they are asked for.
    pub left: Vec<(BrokerId, Reason)>,
    /// A broker that is not up with the settings it should have: no other follows it.
    pub held_by: Option<BrokerId>,
}

/// One restart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restart {
    pub broker: BrokerId,
    pub reason: Reason,
    /// It is refused now, and no more once this broker is back.
    pub after: Option<BrokerId>,
}

/// Foretells it. `later` says what will stand against a broker's stop when all are back but those that it is given.
pub(super) fn foretell(
    now: Now<'_>,
    later: impl Fn(BrokerId, &BTreeSet<BrokerId>) -> Vec<BlockReport>,
) -> Foretold {
    let bound = 16 + 8 * now.seen.pods.len();
    let mut model = Model { now, later, last_permit: 0, back: None, foretold: Foretold::default() };
    for _ in 0..bound {
        if !model.step() {
            break;
        }
    }
    model.foretold.left = order(&model.now.seen).unwrap_or_default();
    model.foretold
}

struct Model<'a, L> {
    now: Now<'a>,
    later: L,
    last_permit: u64,
    /// The last broker that was not well and is back.
    back: Option<BrokerId>,
    foretold: Foretold,
}

impl<L: Fn(BrokerId, &BTreeSet<BrokerId>) -> Vec<BlockReport>> Model<'_, L> {
    /// One step of the operator and what follows from it; false at the end.
    fn step(&mut self) -> bool {
        match next(&self.now.seen) {
            Step::Done => return false,
            Step::Ask { broker, pod_uid, reason, .. } => match self.judge(broker) {
                None => self.now.seen.was_refused(&pod_uid),
                Some(after) => {
                    self.foretold.restarts.push(Restart { broker, reason, after });
                    self.grant(broker, pod_uid, reason);
                }
            },
            Step::Begin { permit, .. } => self.now.seen.begun(permit),
            Step::Delete { broker, .. } => {
                let hash = self.now.seen.desired.clone();
                self.returns(broker, hash);
            }
            Step::Wait(wait) => return self.wait(wait),
        }
        true
    }

    /// Whether a broker is let go, and if only because another one came back, which.
    fn judge(&self, broker: BrokerId) -> Option<Option<BrokerId>> {
        if self.now.verdicts.get(&broker).is_some_and(|verdict| verdict.may_stop) {
            return Some(None);
        }
        let back = self.back?;
        let mut away = self.now.unwell.clone();
        away.remove(&broker);
        (self.later)(broker, &away).is_empty().then_some(Some(back))
    }

    fn grant(&mut self, broker: BrokerId, pod_uid: String, reason: Reason) {
        let open = self.now.seen.permits.iter().flatten().map(|permit| permit.id.0).max();
        self.last_permit = self.last_permit.max(open.unwrap_or(0)) + 1;
        let id = PermitId(self.last_permit);
        self.now.seen.granted(PermitReport { id, broker, pod_uid, reason, stage: Stage::Granted });
    }

    /// A broker's pod is made anew, and the broker is back in every ISR.
    fn returns(&mut self, broker: BrokerId, hash: String) {
        let seen = &mut self.now.seen;
        for pod in seen.pods.iter_mut().filter(|pod| pod.broker == broker) {
            pod.uid += "+";
            pod.hash = Some(hash.clone());
            (pod.ready, pod.deleting, pod.asked, pod.allow_unavailable) = (true, false, false, false);
            (pod.since, pod.ready_since) = (Some(seen.now), Some(seen.now));
        }
        if let Some(brokers) = &mut seen.brokers {
            brokers.alive.insert(broker);
        }
        seen.permits.iter_mut().for_each(|open| open.retain(|permit| permit.broker != broker));
        // Each look of the operator asks anew.
        seen.refused.clear();
        if self.now.unwell.remove(&broker) {
            self.back = Some(broker);
        }
    }

    /// What passes by itself, or by the person who reads the plan, is taken to pass.
    fn wait(&mut self, wait: Wait) -> bool {
        if self.foretold.restarts.is_empty() && !matches!(wait, Wait::Refused) {
            self.foretold.waits.push(wait.clone());
        }
        match wait {
            Wait::Paused => self.now.seen.paused = false,
            Wait::Approval(_) => self.now.seen.options.needs_approval = false,
            Wait::Template => self.now.seen.template_taken = true,
            Wait::Settling(_) => self.now.seen.now += i64::from(self.now.seen.options.min_ready_seconds),
            Wait::Returning(broker, _) | Wait::Overdue(broker, _) => {
                let hash = self.now.seen.desired.clone();
                self.returns(broker, hash);
            }
            Wait::Stopping(broker) | Wait::OtherStop(broker, ..) => {
                let template = self.now.template.to_owned();
                self.returns(broker, template);
            }
            Wait::Lapsing(_, lapses) => {
                let open = self.now.seen.permits.iter_mut();
                open.for_each(|open| open.retain(|permit| permit.id != lapses));
            }
            Wait::NotUp(broker) => {
                self.foretold.held_by = Some(broker);
                return false;
            }
            Wait::HeldBack | Wait::Refused | Wait::Report | Wait::Permits => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{brokers, outdated, permit};

    fn refused() -> Verdict {
        Verdict { may_stop: false, message: Some("no".to_owned()), blocks: Vec::new(), blocked: 1 }
    }

    fn granted() -> Verdict {
        Verdict { may_stop: true, message: None, blocks: Vec::new(), blocked: 0 }
    }

    /// A plan where these brokers are refused now and those are not well; later only `for_ever` stay refused.
    fn plan(seen: Observed, refuses: &[u32], unwell: &[u32], for_ever: &[u32]) -> Foretold {
        let verdicts: BTreeMap<BrokerId, Verdict> = (1..=3)
            .map(|id| (BrokerId(id), if refuses.contains(&id) { refused() } else { granted() }))
            .collect();
        let unwell = brokers(unwell).into_iter().collect();
        let now = Now { seen, template: "now", verdicts: &verdicts, unwell };
        foretell(now, |broker, away| {
            let blocks = for_ever.contains(&broker.0) || !away.is_empty();
            let block = BlockReport { topic: None, partition: None, why: "no".to_owned() };
            if blocks { vec![block] } else { Vec::new() }
        })
    }

    fn order_of(foretold: &Foretold) -> Vec<(u32, Option<u32>)> {
        foretold.restarts.iter().map(|it| (it.broker.0, it.after.map(|back| back.0))).collect()
    }

    fn left(foretold: &Foretold) -> Vec<u32> {
        foretold.left.iter().map(|(broker, _)| broker.0).collect()
    }

    #[test]
    fn all_that_are_outdated_restart_the_metadata_leader_last() {
        let foretold = plan(outdated(), &[], &[], &[]);
        assert_eq!(order_of(&foretold), [(2, None), (3, None), (1, None)]);
        assert_eq!((foretold.waits.len(), foretold.left.len(), foretold.held_by), (0, 0, None));
    }

    #[test]
    fn who_is_refused_stays_and_the_others_go_on() {
        let foretold = plan(outdated(), &[2], &[], &[]);
        assert_eq!((order_of(&foretold), left(&foretold)), (vec![(3, None), (1, None)], vec![2]));
        let foretold = plan(outdated(), &[1, 2, 3], &[], &[1, 2, 3]);
        assert_eq!((order_of(&foretold), left(&foretold)), (vec![], vec![2, 3, 1]));
    }

    #[test]
    fn what_a_dead_broker_holds_up_goes_on_once_its_restart_brought_it_back() {
        let mut seen = outdated();
        seen.brokers.as_mut().unwrap().alive.remove(&BrokerId(3));
        seen.pods[2].ready = false;
        let foretold = plan(seen.clone(), &[1, 2], &[3], &[]);
        assert_eq!(order_of(&foretold), [(3, None), (2, Some(3)), (1, Some(3))]);
        let foretold = plan(seen, &[1, 2], &[3], &[2]);
        assert_eq!((order_of(&foretold), left(&foretold)), (vec![(3, None), (1, Some(3))], vec![2]));
    }

    #[test]
    fn a_restart_under_way_is_waited_for_and_then_the_others_follow() {
        let mut seen = outdated();
        seen.permits = Some(vec![permit(2, Reason::Rollout, Stage::Begun)]);
        seen.pods[1].deleting = true;
        let foretold = plan(seen, &[1, 3], &[2], &[]);
        assert_eq!(foretold.waits, [Wait::Stopping(BrokerId(2))]);
        assert_eq!(order_of(&foretold), [(3, Some(2)), (1, Some(2))], "broker 2 goes already");
    }

    #[test]
    fn an_eviction_goes_first_and_brings_the_new_settings() {
        let mut seen = outdated();
        seen.permits = Some(vec![permit(3, Reason::Eviction, Stage::Granted)]);
        let foretold = plan(seen, &[], &[], &[]);
        let expected = Wait::OtherStop(BrokerId(3), PermitId(7), Reason::Eviction);
        assert_eq!(
            (foretold.waits.as_slice(), order_of(&foretold)),
            (&[expected][..], vec![(2, None), (1, None)])
        );
    }

    #[test]
    fn a_pause_is_told_and_what_follows_it_too() {
        let paused = Observed { paused: true, template_taken: false, ..outdated() };
        let foretold = plan(paused, &[], &[], &[]);
        assert_eq!(foretold.waits, [Wait::Paused, Wait::Template]);
        assert_eq!(foretold.restarts.len(), 3);
    }

    #[test]
    fn what_the_spec_has_a_rollout_wait_for_is_told_and_passes() {
        let mut seen = outdated();
        seen.options.needs_approval = true;
        (seen.options.min_ready_seconds, seen.now) = (60, 1_000);
        let foretold = plan(seen.clone(), &[], &[], &[]);
        assert_eq!(foretold.waits, [Wait::Approval(BrokerId(2))]);
        assert_eq!(order_of(&foretold), [(2, None), (3, None), (1, None)]);
        (seen.options.needs_approval, seen.options.from_broker) = (false, 3);
        let foretold = plan(seen, &[], &[], &[]);
        assert_eq!((order_of(&foretold), left(&foretold)), (vec![(3, None)], vec![]));
    }

    #[test]
    fn a_broker_that_does_not_come_up_ends_it() {
        let mut seen = outdated();
        seen.pods[0].hash = Some("now".to_owned());
        seen.pods[0].ready = false;
        let foretold = plan(seen, &[], &[1], &[]);
        assert_eq!((foretold.held_by, order_of(&foretold)), (Some(BrokerId(1)), vec![]));
        assert_eq!(left(&foretold), [2, 3]);
    }

    #[test]
    fn nothing_outdated_is_nothing_to_do() {
        let mut seen = outdated();
        seen.pods.iter_mut().for_each(|pod| pod.hash = Some("now".to_owned()));
        assert_eq!(plan(seen.clone(), &[], &[], &[]), Foretold::default());
        seen.pods[1].asked = true;
        let foretold = plan(seen, &[], &[], &[]);
        assert_eq!(foretold.restarts, [Restart { broker: BrokerId(2), reason: Reason::Asked, after: None }]);
    }
}
