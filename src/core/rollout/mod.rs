//! Which broker pod restarts next, and the next thing to do for it. Pure: no client, no clock.
//!
//! The brokers' permits are the gate. This decides whom to ask for, what to do with a permit that is open, and when to
//! wait; whatever is not known is waited for. Each step is followed by another look, so it may be the last one of an
//! operator that dies: the permits themselves are what it would need to remember.

pub mod journal;
mod seen;
mod step;

use std::collections::BTreeSet;

use crate::ids::BrokerId;
use crate::restart::{Reason, Stage};
use crate::view::PermitReport;

pub use seen::{BrokersSeen, Observed, Options, PodSeen};
pub use step::{Step, Wait};

/// The next step.
pub fn next(seen: &Observed) -> Step {
    if let Some(step) = begin_for_others(seen) {
        return step;
    }
    let Some(brokers) = &seen.brokers else { return Step::Wait(Wait::Report) };
    let Some(permits) = &seen.permits else { return Step::Wait(Wait::Permits) };
    let restarting = Restarting::new(permits);
    let under_way = under_begun(seen, brokers, permits);
    let Some(under_way) = under_way else { return further(seen, brokers, permits, &restarting) };
    // Nothing is put on top of a broker that does not return.
    if !matches!(under_way, Step::Wait(_)) || matches!(under_way, Step::Wait(Wait::Overdue(..))) {
        return under_way;
    }
    match further(seen, brokers, permits, &restarting) {
        Step::Done | Step::Wait(_) => under_way,
        further => further,
    }
}

/// Brokers that are away by the rollout's own begun permits, or about to be.
struct Restarting(BTreeSet<BrokerId>);

impl Restarting {
    fn new(permits: &[PermitReport]) -> Self {
        let begun = permits.iter().filter(|permit| is_ours(permit) && permit.stage == Stage::Begun);
        Self(begun.map(|permit| permit.broker).collect())
    }

    /// Whether that broker may be away, too: no more than may be in all, counting those that are away for another reason,
    /// and of one rack only, so that what is placed over racks loses one of them.
    fn allows(&self, seen: &Observed, brokers: &BrokersSeen, broker: BrokerId) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let unwell = seen.pods.iter().filter(|pod| !brokers.is_well(pod)).map(|pod| pod.broker);
        let away: BTreeSet<BrokerId> = self.0.iter().copied().chain(unwell).chain([broker]).collect();
        let rack = |broker: &BrokerId| brokers.racks.get(broker);
        away.len() <= seen.options.max_unavailable as usize
            && self.0.iter().all(|other| rack(other) == rack(&broker))
    }
}

/// A stop that somebody else asked for and that has come about: its pod is being deleted. From here on only the broker's
/// return ends the permit. Until then it is not begun, since the eviction may be refused elsewhere.
fn begin_for_others(seen: &Observed) -> Option<Step> {
    let stops = |permit: &PermitReport| {
        is_of_a_pod(permit)
            && permit.stage == Stage::Granted
            && seen.pods.iter().any(|pod| pod.uid == permit.pod_uid && pod.deleting)
    };
    let permit = seen.permits.iter().flatten().find(|permit| stops(permit))?;
    let (permit, broker, pod_uid) = (permit.id, permit.broker, permit.pod_uid.clone());
    Some(Step::Begin { permit, broker, pod_uid })
}

/// What is due for permits that have begun: the first thing to do, else what is overdue, else what is waited for.
fn under_begun(seen: &Observed, brokers: &BrokersSeen, permits: &[PermitReport]) -> Option<Step> {
    let begun = permits.iter().filter(|permit| permit.stage == Stage::Begun);
    let steps: Vec<Step> = begun.filter_map(|permit| carry_on(seen, brokers, permit)).collect();
    let rank = |step: &&Step| match step {
        Step::Wait(Wait::Overdue(..)) => 1,
        Step::Wait(_) => 2,
        _ => 0,
    };
    steps.iter().min_by_key(rank).cloned()
}

/// What is due besides: a permit of ours that is not begun, or one to ask for.
fn further(
    seen: &Observed,
    brokers: &BrokersSeen,
    permits: &[PermitReport],
    restarting: &Restarting,
) -> Step {
    let candidates = candidates(seen, brokers, restarting);
    if candidates.is_empty() {
        return held_back(seen, brokers);
    }
    if let Some(step) = under_granted(seen, brokers, permits, restarting) {
        return step;
    }
    if !seen.template_taken {
        return Step::Wait(Wait::Template);
    }
    let goes = |pod: &&PodSeen| pod.deleting && !restarting.0.contains(&pod.broker);
    if let Some(going) = seen.pods.iter().find(goes) {
        return Step::Wait(Wait::Stopping(going.broker));
    }
    ask(seen, brokers, &candidates, restarting)
}

/// Why nothing is to be restarted: a person holds it back, or all is done.
fn held_back(seen: &Observed, brokers: &BrokersSeen) -> Step {
    let mut outdated: Vec<&PodSeen> = seen.pods.iter().filter(|pod| seen.is_outdated(pod)).collect();
    if seen.paused && !outdated.is_empty() {
        return Step::Wait(Wait::Paused);
    }
    outdated.retain(|pod| !pod.deleting);
    outdated.sort_by_key(|pod| turn(pod, brokers));
    match outdated.iter().find(|pod| seen.is_in_turn(pod.broker)) {
        Some(next) if seen.options.needs_approval => Step::Wait(Wait::Approval(next.broker)),
        None if !outdated.is_empty() => Step::Wait(Wait::HeldBack),
        _ => Step::Done,
    }
}

/// What is due while other permits are open. Ours does not begin while somebody else may stop: one of them ends first.
fn under_granted(
    seen: &Observed,
    brokers: &BrokersSeen,
    permits: &[PermitReport],
    restarting: &Restarting,
) -> Option<Step> {
    if let Some(other) = permits.iter().find(|permit| !is_ours(permit)) {
        return Some(Step::Wait(Wait::OtherStop(other.broker, other.id, other.reason)));
    }
    let granted = permits.iter().find(|permit| permit.stage == Stage::Granted)?;
    if !restarting.allows(seen, brokers, granted.broker) {
        return Some(Step::Wait(Wait::Lapsing(granted.broker, granted.id)));
    }
    Some(begin(seen, granted))
}

/// Permits that a rollout asks for.
fn is_ours(permit: &PermitReport) -> bool {
    matches!(permit.reason, Reason::Rollout | Reason::Asked)
}

/// Permits of pods that somebody else deletes, and that come back.
fn is_of_a_pod(permit: &PermitReport) -> bool {
    matches!(permit.reason, Reason::Eviction | Reason::Deleted)
}

/// A begun permit's pod is deleted, also when whoever began it died before that. So is a pod that came after it and will
/// never be up because its settings are not the spec's any more: its broker is away under that same permit. Of a stop that is
/// not ours only that is left to do.
fn carry_on(seen: &Observed, brokers: &BrokersSeen, permit: &PermitReport) -> Option<Step> {
    let pod = seen.pods.iter().find(|pod| pod.broker == permit.broker);
    let wait = |wait| is_ours(permit).then_some(Step::Wait(wait));
    let in_time = |within| match pod {
        Some(pod) if seen.is_overdue(pod) => wait(Wait::Overdue(permit.broker, permit.id)),
        _ => wait(within),
    };
    let returning = in_time(Wait::Returning(permit.broker, permit.id));
    let Some(pod) = pod else { return returning };
    if pod.deleting {
        return in_time(Wait::Stopping(pod.broker));
    }
    let stillborn = seen.is_outdated(pod) && !pod.ready && !brokers.alive.contains(&pod.broker);
    let goes = if pod.uid == permit.pod_uid {
        is_ours(permit)
    } else {
        stillborn && (is_ours(permit) || is_of_a_pod(permit))
    };
    if !goes {
        return returning;
    }
    if !seen.template_taken {
        return Some(Step::Wait(Wait::Template));
    }
    let broker = permit.broker;
    if !seen.confirmed.contains(&permit.id) {
        return Some(Step::Begin { permit: permit.id, broker, pod_uid: permit.pod_uid.clone() });
    }
    let (pod, pod_uid) = (pod.name.clone(), pod.uid.clone());
    Some(Step::Delete { permit: permit.id, broker, pod, pod_uid })
}

/// The brokers whose pods should restart, in the order in which they are asked for; `None` when no broker says who is up.
pub fn order(seen: &Observed) -> Option<Vec<(BrokerId, Reason)>> {
    let (brokers, permits) = (seen.brokers.as_ref()?, seen.permits.as_deref().unwrap_or_default());
    let candidates = candidates(seen, brokers, &Restarting::new(permits));
    Some(candidates.into_iter().map(|(pod, reason)| (pod.broker, reason)).collect())
}

fn begin(seen: &Observed, permit: &PermitReport) -> Step {
    let pod = seen.pods.iter().find(|pod| pod.uid == permit.pod_uid && seen.wish(pod).is_some());
    match pod {
        None => Step::Wait(Wait::Lapsing(permit.broker, permit.id)),
        Some(_) if !seen.template_taken => Step::Wait(Wait::Template),
        Some(pod) => Step::Begin { permit: permit.id, broker: permit.broker, pod_uid: pod.uid.clone() },
    }
}

/// Pods that should restart and do not yet, in their order.
fn candidates<'a>(
    seen: &'a Observed,
    brokers: &BrokersSeen,
    restarting: &Restarting,
) -> Vec<(&'a PodSeen, Reason)> {
    let others = seen.pods.iter().filter(|pod| !restarting.0.contains(&pod.broker));
    let mut candidates: Vec<_> = others.filter_map(|pod| Some((pod, seen.wish(pod)?))).collect();
    candidates.sort_by_key(|(pod, _)| turn(pod, brokers));
    candidates
}

/// Those whose broker is down first, since that costs nothing, then by id, and the metadata leader last, so that it changes
/// once.
fn turn(pod: &PodSeen, brokers: &BrokersSeen) -> (bool, bool, BrokerId) {
    let leads = brokers.metadata_leader == Some(pod.broker);
    (brokers.alive.contains(&pod.broker), leads, pod.broker)
}

/// The first candidate that was not refused just now.
fn ask(
    seen: &Observed,
    brokers: &BrokersSeen,
    candidates: &[(&PodSeen, Reason)],
    restarting: &Restarting,
) -> Step {
    let hold = hold(seen, brokers, restarting);
    let mut held = None;
    for &(pod, reason) in candidates {
        let follows =
            reason == Reason::Rollout && !pod.allow_unavailable && brokers.alive.contains(&pod.broker);
        match hold.as_ref().filter(|_| follows) {
            Some(wait) => held = Some(wait.clone()),
            None if seen.refused.contains(&pod.uid) => {}
            None if !restarting.allows(seen, brokers, pod.broker) => {}
            None => {
                let (broker, pod_uid) = (pod.broker, pod.uid.clone());
                return Step::Ask { broker, pod_uid, reason, allow_unavailable: pod.allow_unavailable };
            }
        }
    }
    Step::Wait(held.unwrap_or(Wait::Refused))
}

/// What a broker that is up waits for before it follows the others: one that does not come up with the spec's settings, or
/// one that has not been ready for long enough.
fn hold(seen: &Observed, brokers: &BrokersSeen, restarting: &Restarting) -> Option<Wait> {
    let is_down = |pod: &&PodSeen| {
        !seen.is_outdated(pod) && !brokers.is_well(pod) && !restarting.0.contains(&pod.broker)
    };
    let down = seen.pods.iter().find(is_down).map(|pod| Wait::NotUp(pod.broker));
    let is_settling = |pod: &&PodSeen| seen.is_settling(pod);
    down.or_else(|| seen.pods.iter().find(is_settling).map(|pod| Wait::Settling(pod.broker)))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
