//! The next step towards `spec.replicas`: who leaves, when its pod goes, what is left of it; and who is given its share. Pure.
//!
//! The brokers remember who leaves, and Kubernetes how many pods there shall be. What is decided depends on what is seen
//! alone, so that any operator goes on where the last one stopped. What is not known is waited for.

use std::collections::BTreeMap;

use chronik_core::balance::lacks_share;
use chronik_core::metadata::Standing;
use chronik_core::restart::{PermitId, Reason, Stage};
use chronik_core::view::PermitReport;

/// All that the next step depends on.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// `spec.replicas`.
    pub wanted: u32,
    /// Pods that the StatefulSet is told to have.
    pub size: u32,
    /// `spec.rebalance` is not `Off`.
    pub rebalance: bool,
    /// What the brokers say of each other, by number; `None` when none has spoken lately.
    pub brokers: Option<BTreeMap<u32, BrokerSeen>>,
    /// Open permits to stop; `None` when they could not be read.
    pub permits: Option<Vec<PermitReport>>,
    /// The brokers' pods, by number.
    pub pods: BTreeMap<u32, PodSeen>,
    /// The brokers' volume claims, by number.
    pub claims: BTreeMap<u32, ClaimSeen>,
    /// The permit that was begun, or found to be begun still, just now.
    pub confirmed: Option<PermitId>,
    /// The brokers refused the stop just now.
    pub refused: bool,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BrokerSeen {
    pub alive: bool,
    pub standing: Standing,
    pub replicas: u32,
    /// Partitions whose replica there comes or goes now.
    pub moving: u32,
    /// Whether it votes in the metadata group.
    pub votes: bool,
    /// What keeps it from leaving.
    pub blocked: Option<String>,
}

/// A broker's pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodSeen {
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A broker's volume claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimSeen {
    pub name: String,
    pub uid: String,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// There are as many brokers as there shall be, each with its share.
    Done,
    /// Nothing, until something changes.
    Wait(Wait),
    /// Tell the brokers what shall become of one of them.
    Stand { broker: u32, standing: Standing },
    /// Ask the brokers for a permit to stop one.
    Ask { broker: u32, pod_uid: String },
    /// Begin a permit, or make sure that it is still begun. The pod goes next.
    Begin { permit: PermitId, pod_uid: String },
    /// End a begun permit whose pod stays after all.
    Abort { permit: PermitId, pod_uid: String },
    /// Have the StatefulSet be one pod smaller: it removes the one of this broker, which is the last.
    Shrink { broker: u32 },
    /// Delete the claim of a broker that is gone: nothing on its disk counts any more.
    DeleteClaim { broker: u32, claim: ClaimSeen },
    /// Take a broker that is gone out of the brokers' metadata.
    Unregister { broker: u32 },
}

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wait {
    /// A broker's word about the others.
    Report,
    /// The brokers' word about permits.
    Permits,
    /// This broker, which still has replicas or a vote.
    Draining(u32),
    /// The end of somebody else's stop.
    OtherStop(u32, PermitId),
    /// The brokers, which do not let this one stop.
    Refused(u32),
    /// This broker's pod, which is being deleted.
    Stopping(u32),
    /// The others, which still hear this broker.
    StillHeard(u32),
    /// Brokers that have not registered yet: so many are there.
    Growing(u32),
    /// This broker, which is given its share.
    Filling(u32),
}

/// How many pods the StatefulSet is told to have while nothing lets one go: never fewer than it has.
pub fn size(wanted: u32, has: Option<u32>) -> u32 {
    has.map_or(wanted, |has| has.max(wanted))
}

/// The next step.
pub fn next(seen: &Observed) -> Step {
    let Some(brokers) = &seen.brokers else {
        return if seen.size > seen.wanted { Step::Wait(Wait::Report) } else { Step::Done };
    };
    if let Some(step) = taken_back(seen, brokers) {
        return step;
    }
    let last = brokers.keys().next_back().copied().unwrap_or(0).max(seen.size);
    if last > seen.wanted {
        return remove(seen, brokers.get(&last), last);
    }
    let there = brokers.len() as u32;
    if there < seen.wanted {
        return Step::Wait(Wait::Growing(there));
    }
    share(seen, brokers)
}

/// A broker that is to stay after all: its permit ends, unless its pod goes already, and it leaves no more.
fn taken_back(seen: &Observed, brokers: &BTreeMap<u32, BrokerSeen>) -> Option<Step> {
    let stays = |number: u32| number <= seen.wanted;
    let unused = |permit: &&PermitReport| {
        let pod = seen.pods.get(&permit.broker.0);
        stays(permit.broker.0)
            && permit.reason == Reason::ScaleDown
            && permit.stage == Stage::Begun
            && permit.broker.0 <= seen.size
            && pod.is_some_and(|pod| pod.uid == permit.pod_uid && !pod.deleting)
    };
    if let Some(permit) = seen.permits.iter().flatten().find(unused) {
        return Some(Step::Abort { permit: permit.id, pod_uid: permit.pod_uid.clone() });
    }
    let mut leaving = brokers.iter().filter(|(_, broker)| broker.standing == Standing::Leaving);
    let (number, _) = leaving.find(|(number, _)| stays(**number))?;
    Some(Step::Stand { broker: *number, standing: Standing::Settled })
}

/// The next step with the last broker, which is one too many. `known` is what the brokers know of it.
fn remove(seen: &Observed, known: Option<&BrokerSeen>, broker: u32) -> Step {
    let Some(known) = known else {
        // It never registered.
        return Step::Shrink { broker };
    };
    if known.standing != Standing::Leaving {
        return Step::Stand { broker, standing: Standing::Leaving };
    }
    if known.replicas > 0 || known.votes {
        return Step::Wait(Wait::Draining(broker));
    }
    if broker <= seen.size { stop(seen, broker) } else { clear(seen, known, broker) }
}

/// It has nothing any more: its pod goes, by the same permit as every other that stops.
fn stop(seen: &Observed, broker: u32) -> Step {
    let Some(pod) = seen.pods.get(&broker) else { return Step::Shrink { broker } };
    let Some(permits) = &seen.permits else { return Step::Wait(Wait::Permits) };
    let ours = |permit: &&PermitReport| {
        permit.broker.0 == broker && permit.pod_uid == pod.uid && permit.reason == Reason::ScaleDown
    };
    let pod_uid = pod.uid.clone();
    match permits.iter().find(ours) {
        Some(permit) if seen.confirmed == Some(permit.id) => Step::Shrink { broker },
        Some(permit) => Step::Begin { permit: permit.id, pod_uid },
        None if pod.deleting => Step::Wait(Wait::Stopping(broker)),
        None => match permits.first() {
            Some(other) => Step::Wait(Wait::OtherStop(other.broker.0, other.id)),
            None if seen.refused => Step::Wait(Wait::Refused(broker)),
            None => Step::Ask { broker, pod_uid },
        },
    }
}

/// Its pod is not to be there any more: what is left of it goes, its number last.
fn clear(seen: &Observed, known: &BrokerSeen, broker: u32) -> Step {
    if seen.pods.contains_key(&broker) {
        return Step::Wait(Wait::Stopping(broker));
    }
    if known.alive {
        return Step::Wait(Wait::StillHeard(broker));
    }
    match seen.claims.get(&broker) {
        Some(claim) => Step::DeleteClaim { broker, claim: claim.clone() },
        None => Step::Unregister { broker },
    }
}

/// A broker that has far less than the others is given its share, if that is wanted.
fn share(seen: &Observed, brokers: &BTreeMap<u32, BrokerSeen>) -> Step {
    let joins = |broker: &BrokerSeen| broker.standing == Standing::Joining;
    if let Some((number, _)) = brokers.iter().find(|(_, broker)| joins(broker)) {
        return match seen.rebalance {
            true => Step::Wait(Wait::Filling(*number)),
            false => Step::Stand { broker: *number, standing: Standing::Settled },
        };
    }
    let all = brokers.values().map(|broker| broker.replicas).sum();
    let lacks = |broker: &BrokerSeen| broker.alive && lacks_share(broker.replicas, all, brokers.len() as u32);
    let mut lacking = brokers.iter().filter(|(_, broker)| seen.rebalance && lacks(broker));
    lacking
        .next()
        .map_or(Step::Done, |(number, _)| Step::Stand { broker: *number, standing: Standing::Joining })
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
