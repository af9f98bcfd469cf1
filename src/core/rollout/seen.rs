//! What the rollout's planner is shown, and what a round adds to it. Plain data: it can be kept and read again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Step;
use super::journal::Outcome;
use crate::ids::BrokerId;
use crate::restart::{PermitId, Reason, Stage};
use crate::view::{ClusterReport, PermitReport};

/// All that the next step depends on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// What a pod's restart hash is when it runs the spec's settings.
    pub desired: String,
    /// `spec.rollout.paused`.
    pub paused: bool,
    /// The rest of `spec.rollout`.
    pub options: Options,
    /// The time, in seconds since 1970. Other times are compared with it, and may be by another clock.
    pub now: i64,
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

/// How a rollout goes about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How many brokers may be away by it at once.
    pub max_unavailable: u32,
    /// How long each pod has to be ready before the next broker restarts, in seconds.
    pub min_ready_seconds: u32,
    /// How long a broker's stop may take, and then its return, in seconds.
    pub progress_deadline_seconds: u32,
    /// The lowest broker that restarts because of its settings.
    pub from_broker: u32,
    /// Whether a person has to ask for each restart.
    pub needs_approval: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_unavailable: 1,
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
            from_broker: 1,
            needs_approval: false,
        }
    }
}

/// A broker's pod.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// Since when, in seconds since 1970; `None` when it is not ready, or nobody says since when.
    pub ready_since: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// When it was made, or if it is being deleted, when that was asked for; in seconds since 1970.
    pub since: Option<i64>,
    /// A person asks for its restart.
    pub asked: bool,
    /// A person bears what becomes unavailable by its restart.
    pub allow_unavailable: bool,
}

/// What the brokers say of each other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokersSeen {
    /// Those that are heard.
    pub alive: BTreeSet<BrokerId>,
    /// Leader of the metadata group.
    pub metadata_leader: Option<BrokerId>,
    /// The racks of those that have one.
    pub racks: BTreeMap<BrokerId, String>,
}

impl From<&ClusterReport> for BrokersSeen {
    fn from(report: &ClusterReport) -> Self {
        Self {
            alive: report.brokers.iter().filter(|broker| broker.alive).map(|broker| broker.id).collect(),
            metadata_leader: report.metadata_leader,
            racks: report
                .brokers
                .iter()
                .filter_map(|broker| Some((broker.id, broker.rack.clone()?)))
                .collect(),
        }
    }
}

impl BrokersSeen {
    /// Whether a broker is up and its pod ready.
    pub(super) fn is_well(&self, pod: &PodSeen) -> bool {
        pod.ready && self.alive.contains(&pod.broker)
    }
}

impl Observed {
    /// Whether a pod runs other settings than the spec's.
    pub fn is_outdated(&self, pod: &PodSeen) -> bool {
        pod.hash.as_ref() != Some(&self.desired)
    }

    /// Why a pod should restart, if it should.
    pub(super) fn wish(&self, pod: &PodSeen) -> Option<Reason> {
        let approved = pod.asked || !self.options.needs_approval;
        if pod.deleting {
            None
        } else if self.is_outdated(pod) && !self.paused && self.is_in_turn(pod.broker) && approved {
            Some(Reason::Rollout)
        } else {
            pod.asked.then_some(Reason::Asked)
        }
    }

    /// Whether settings restart that broker at all.
    pub(super) fn is_in_turn(&self, broker: BrokerId) -> bool {
        broker.0 >= self.options.from_broker
    }

    /// Whether a pod's stop or its broker's return has taken longer than it may. Without a time it has not.
    pub(super) fn is_overdue(&self, pod: &PodSeen) -> bool {
        let limit = i64::from(self.options.progress_deadline_seconds);
        pod.since.is_some_and(|since| self.now.saturating_sub(since) > limit)
    }

    /// Whether a pod has become ready so lately that the next one waits. Without a time it has.
    pub(super) fn is_settling(&self, pod: &PodSeen) -> bool {
        let needed = i64::from(self.options.min_ready_seconds);
        let ready_for = pod.ready_since.map(|since| self.now.saturating_sub(since));
        pod.ready && needed > 0 && ready_for.is_none_or(|seconds| seconds < needed)
    }

    /// What came of a step.
    pub fn learn(&mut self, step: &Step, outcome: &Outcome) {
        match (step, outcome) {
            (_, Outcome::Granted { permit, .. }) => self.granted(permit.clone()),
            (Step::Ask { pod_uid, .. } | Step::Begin { pod_uid, .. }, Outcome::Refused { .. }) => {
                self.was_refused(pod_uid);
            }
            (Step::Begin { permit, .. }, Outcome::Begun) => self.begun(*permit),
            (Step::Delete { pod_uid, .. }, Outcome::Deleted) => self.deleted(pod_uid),
            _ => {}
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
        for pod in self.pods.iter_mut().filter(|pod| pod.uid == pod_uid) {
            (pod.deleting, pod.since) = (true, Some(self.now));
        }
    }
}
