//! `BrokerCluster.spec.rollout` and `status.rollout`: how outdated pods are restarted, and how far that is. Pure.

use chronik_core::rollout::Options;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pods that run older settings are restarted: one after the other, each when the brokers let it go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Restart no further pod because of its settings. A restart that has begun is brought to its end, and pods with the
    /// annotation `chronik.dev/restart: "true"` restart all the same.
    pub paused: bool,

    /// Whether each restart needs a person's approval.
    pub approval: Approval,

    /// Restart only this broker and those with higher numbers because of their settings; the others keep theirs until this
    /// is lowered. As `partition` of a StatefulSet does.
    #[schemars(range(min = 1, max = 100))]
    pub from_broker: u32,

    /// How many brokers may be away at once by the rollout. Above one, the brokers still judge each together with those that
    /// are away, and where racks are known all are of one rack. The PodDisruptionBudget stays at one.
    #[schemars(range(min = 1, max = 10))]
    pub max_unavailable: u32,

    /// How long every pod has to have been ready before the next broker restarts, in seconds. A broker is ready once it is
    /// back in every ISR.
    #[schemars(range(min = 0, max = 86_400))]
    pub min_ready_seconds: u32,

    /// How long a broker's stop may take, and then its return, until it is told as overdue, in seconds. It is waited for
    /// further.
    #[schemars(range(min = 1, max = 86_400))]
    pub progress_deadline_seconds: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            paused: false,
            approval: Approval::default(),
            from_broker: 1,
            max_unavailable: 1,
            min_ready_seconds: 0,
            progress_deadline_seconds: 600,
        }
    }
}

impl Rollout {
    /// In the planner's terms.
    pub fn options(&self) -> Options {
        Options {
            max_unavailable: self.max_unavailable.max(1),
            min_ready_seconds: self.min_ready_seconds,
            progress_deadline_seconds: self.progress_deadline_seconds,
            from_broker: self.from_broker,
            needs_approval: self.approval == Approval::Manual,
        }
    }
}

/// Whether each restart needs a person's approval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// It does not.
    #[default]
    Automatic,
    /// A pod restarts once it has the annotation `chronik.dev/restart: "true"`.
    Manual,
}

/// How far the restart of outdated pods is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct RolloutStatus {
    /// All of it in a few words, for a column of `kubectl get`.
    pub summary: String,
    /// Pods that run other settings than the spec's.
    pub outdated: u32,
    /// What happens now, or what is waited for.
    pub message: String,
    /// The permits under which brokers restart, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permits: Vec<RolloutPermit>,
    /// What stands against the next restart, as the brokers told it; the first ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<BlockedBy>,
    /// Annotations of pods that are not followed, and why; the first ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
}

/// The brokers' leave for one of them to stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPermit {
    /// Its number.
    pub id: u64,
    /// Who may stop.
    pub broker: u32,
    /// How far it has come.
    pub stage: PermitStage,
}

/// How far a permit has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum PermitStage {
    /// The broker may stop and has not begun to.
    Granted,
    /// Its pod is being deleted, or it is on its way back into every ISR.
    Begun,
}

/// What stands against a broker's stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedBy {
    /// The topic; absent for the brokers' own metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The partition; absent for the brokers' own metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_says_how_it_is_done() {
        let options = |value: serde_json::Value| serde_json::from_value::<Rollout>(value).unwrap().options();
        let all = serde_json::json!({
            "maxUnavailable": 2, "minReadySeconds": 30, "progressDeadlineSeconds": 60, "fromBroker": 3,
            "approval": "Manual",
        });
        let expected = Options {
            max_unavailable: 2,
            min_ready_seconds: 30,
            progress_deadline_seconds: 60,
            from_broker: 3,
            needs_approval: true,
        };
        assert_eq!(options(all), expected);
        assert_eq!(options(serde_json::json!({})), Options::default());
    }
}
