//! Which broker pod restarts next, and the next thing to do for it. Pure: no client, no clock.
//!
//! The brokers' permits are the gate. This decides whom to ask for, what to do with a permit that is open, and when to
//! wait; whatever is not known is waited for. Each step is followed by another look, so it may be the last one of an
//! operator that dies: the permits themselves are what it would need to remember.

use std::collections::BTreeSet;

use crate::ids::BrokerId;
use crate::restart::{PermitId, Reason, Stage};
use crate::view::PermitReport;

/// All that the next step depends on.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What a pod's restart hash is when it runs the spec's settings.
    pub desired: String,
    /// `spec.rollout.paused`.
    pub paused: bool,
    /// Whether a pod deleted now comes back from the spec's template.
    pub template_taken: bool,
    /// The brokers' pods.
    pub pods: Vec<PodSeen>,
    /// What the brokers say of each other; `None` when none has spoken lately.
    pub brokers: Option<BrokersSeen>,
    /// Open permits, the oldest first; `None` when they could not be read.
    pub permits: Option<Vec<PermitReport>>,
    /// Pods (by UID) whose stop the brokers refused just now.
    pub refused: BTreeSet<String>,
    /// Permits that were begun, or found to be begun still, just now.
    pub confirmed: BTreeSet<PermitId>,
}

/// A broker's pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSeen {
    /// The broker that runs in it.
    pub broker: BrokerId,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The restart hash it was made with.
    pub hash: Option<String>,
    /// Whether Kubernetes counts it as ready.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// A person asks for its restart.
    pub asked: bool,
    /// A person bears what becomes unavailable by its restart.
    pub allow_unavailable: bool,
}

/// What the brokers say of each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BrokersSeen {
    /// Those that are heard.
    pub alive: BTreeSet<BrokerId>,
    /// Leader of the metadata group.
    pub metadata_leader: Option<BrokerId>,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Every pod is what it should be.
    Done,
    /// Nothing, until something changes.
    Wait(Wait),
    /// Ask the brokers for a permit.
    Ask {
        /// Who is to stop.
        broker: BrokerId,
        /// The pod it runs in.
        pod_uid: String,
        /// Why.
        reason: Reason,
        /// A person bears what its partitions pay.
        allow_unavailable: bool,
    },
    /// Begin a permit, or make sure that it is still begun. A pod's deletion follows at once, or is under way already.
    Begin {
        /// Which.
        permit: PermitId,
        /// Whose.
        broker: BrokerId,
        /// The pod it was granted for.
        pod_uid: String,
    },
    /// Delete this very pod.
    Delete {
        /// The permit it goes under.
        permit: PermitId,
        /// The broker that runs in it.
        broker: BrokerId,
        /// Its name.
        pod: String,
        /// Its UID.
        pod_uid: String,
    },
}

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wait {
    /// A person, who paused it.
    Paused,
    /// A broker's word about the others.
    Report,
    /// The brokers' word about permits.
    Permits,
    /// Kubernetes, which has not taken the spec's template yet.
    Template,
    /// This broker's pod, which is being deleted.
    Stopping(BrokerId),
    /// This broker, which restarts: it is back when it is in every ISR, and its permit ends then.
    Returning(BrokerId, PermitId),
    /// A permit nobody needs any more: it was not begun and lapses.
    Lapsing(BrokerId, PermitId),
    /// The end of a stop that is not ours.
    OtherStop(BrokerId, PermitId, Reason),
    /// This broker, which runs the spec's settings and is not up, or not ready yet.
    NotUp(BrokerId),
    /// The brokers, which refuse every pod that could be next.
    Refused,
}

/// The next step.
pub fn next(seen: &Observed) -> Step {
    if let Some(step) = begin_for_others(seen) {
        return step;
    }
    let Some(brokers) = &seen.brokers else { return Step::Wait(Wait::Report) };
    let Some(permits) = &seen.permits else { return Step::Wait(Wait::Permits) };
    if let Some(step) = under_begun(seen, brokers, permits) {
        return step;
    }
    let candidates = candidates(seen, brokers);
    if candidates.is_empty() {
        let held = seen.paused && seen.pods.iter().any(|pod| seen.is_outdated(pod));
        return if held { Step::Wait(Wait::Paused) } else { Step::Done };
    }
    if let Some(step) = under_granted(seen, permits) {
        return step;
    }
    if !seen.template_taken {
        return Step::Wait(Wait::Template);
    }
    if let Some(going) = seen.pods.iter().find(|pod| pod.deleting) {
        return Step::Wait(Wait::Stopping(going.broker));
    }
    ask(seen, brokers, &candidates)
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

/// What is due for permits that have begun.
fn under_begun(seen: &Observed, brokers: &BrokersSeen, permits: &[PermitReport]) -> Option<Step> {
    let begun = permits.iter().filter(|permit| permit.stage == Stage::Begun);
    let steps: Vec<Step> = begun.filter_map(|permit| carry_on(seen, brokers, permit)).collect();
    steps.iter().find(|step| !matches!(step, Step::Wait(_))).or(steps.first()).cloned()
}

/// What is due while other permits are open. Ours does not begin while somebody else may stop: one of them ends first.
fn under_granted(seen: &Observed, permits: &[PermitReport]) -> Option<Step> {
    if let Some(other) = permits.iter().find(|permit| !is_ours(permit)) {
        return Some(Step::Wait(Wait::OtherStop(other.broker, other.id, other.reason)));
    }
    permits.first().map(|permit| begin(seen, permit))
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
    let wait = |wait| is_ours(permit).then_some(Step::Wait(wait));
    let returning = wait(Wait::Returning(permit.broker, permit.id));
    let Some(pod) = seen.pods.iter().find(|pod| pod.broker == permit.broker) else { return returning };
    if pod.deleting {
        return wait(Wait::Stopping(pod.broker));
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

fn begin(seen: &Observed, permit: &PermitReport) -> Step {
    let pod = seen.pods.iter().find(|pod| pod.uid == permit.pod_uid && seen.wish(pod).is_some());
    match pod {
        None => Step::Wait(Wait::Lapsing(permit.broker, permit.id)),
        Some(_) if !seen.template_taken => Step::Wait(Wait::Template),
        Some(pod) => Step::Begin { permit: permit.id, broker: permit.broker, pod_uid: pod.uid.clone() },
    }
}

/// Pods that should restart: those whose broker is down first, since that costs nothing, then by id, and the metadata leader
/// last, so that it changes once.
fn candidates<'a>(seen: &'a Observed, brokers: &BrokersSeen) -> Vec<(&'a PodSeen, Reason)> {
    let wishes = |pod: &'a PodSeen| Some((pod, seen.wish(pod)?));
    let mut candidates: Vec<_> = seen.pods.iter().filter_map(wishes).collect();
    candidates.sort_by_key(|(pod, _)| {
        let leads = brokers.metadata_leader == Some(pod.broker);
        (brokers.alive.contains(&pod.broker), leads, pod.broker)
    });
    candidates
}

/// The first candidate that was not refused just now.
fn ask(seen: &Observed, brokers: &BrokersSeen, candidates: &[(&PodSeen, Reason)]) -> Step {
    let is_well = |pod: &PodSeen| pod.ready && brokers.alive.contains(&pod.broker);
    let down = seen.pods.iter().find(|pod| !seen.is_outdated(pod) && !is_well(pod));
    // One that does not come up with the spec's settings: the others shall not follow it.
    let held_by = |pod: &PodSeen, reason| {
        let follows =
            reason == Reason::Rollout && !pod.allow_unavailable && brokers.alive.contains(&pod.broker);
        down.filter(|_| follows)
    };
    let mut not_up = None;
    for &(pod, reason) in candidates {
        match held_by(pod, reason) {
            Some(down) => not_up = Some(down.broker),
            None if seen.refused.contains(&pod.uid) => {}
            None => {
                let (broker, pod_uid) = (pod.broker, pod.uid.clone());
                return Step::Ask { broker, pod_uid, reason, allow_unavailable: pod.allow_unavailable };
            }
        }
    }
    Step::Wait(not_up.map_or(Wait::Refused, Wait::NotUp))
}

impl Observed {
    /// Whether a pod runs other settings than the spec's.
    pub fn is_outdated(&self, pod: &PodSeen) -> bool {
        pod.hash.as_ref() != Some(&self.desired)
    }

    /// Why a pod should restart, if it should.
    fn wish(&self, pod: &PodSeen) -> Option<Reason> {
        if pod.deleting {
            None
        } else if self.is_outdated(pod) && !self.paused {
            Some(Reason::Rollout)
        } else {
            pod.asked.then_some(Reason::Asked)
        }
    }

    /// The brokers granted a permit.
    pub fn granted(&mut self, permit: PermitReport) {
        let open = self.permits.get_or_insert_default();
        open.retain(|known| known.id != permit.id);
        open.push(permit);
    }

    /// The brokers refused to let this pod stop, or took its permit back.
    pub fn was_refused(&mut self, pod_uid: &str) {
        self.refused.insert(pod_uid.to_owned());
        self.permits.iter_mut().for_each(|open| open.retain(|permit| permit.pod_uid != pod_uid));
    }

    /// A permit is begun.
    pub fn begun(&mut self, id: PermitId) {
        self.confirmed.insert(id);
        let open = self.permits.iter_mut().flatten().filter(|permit| permit.id == id);
        open.for_each(|permit| permit.stage = Stage::Begun);
    }

    /// A pod is being deleted.
    pub fn deleted(&mut self, pod_uid: &str) {
        self.pods.iter_mut().filter(|pod| pod.uid == pod_uid).for_each(|pod| pod.deleting = true);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
