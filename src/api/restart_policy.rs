//! `Topic.spec.restartPolicy`: what a topic asks for while a broker is stopped on purpose, as YAML has it. Pure.

use chronik_core::restart::Policy;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The topic key that it sets.
pub const RESTART_POLICY_KEY: &str = "restart.policy";

/// What the topic asks for while a broker with one of its replicas is stopped on purpose: exactly one of the fields.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.margin), has(self.allowUnavailable), has(self.forbid)].filter(set, set).size() == 1"
    ).message("set exactly one of margin, allowUnavailable and forbid"),
    validation = Rule::new(
        "(!has(self.allowUnavailable) || self.allowUnavailable) && (!has(self.forbid) || self.forbid)"
    ).message("allowUnavailable and forbid may only be true: remove the field instead")
)]
pub struct RestartPolicy {
    /// In-sync replicas that stay beyond those that acks=all needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 8))]
    pub margin: Option<u32>,

    /// For topics with one replica: their partitions may be unavailable while their broker restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unavailable: Option<bool>,

    /// No broker with a replica of the topic is stopped on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbid: Option<bool>,
}

impl RestartPolicy {
    /// In the brokers' terms. Of several fields, which the schema refuses, the strictest counts; of none, no margin.
    pub fn policy(&self) -> Policy {
        match (self.forbid, self.margin, self.allow_unavailable) {
            (Some(true), ..) => Policy::Forbid,
            (_, Some(margin), _) => Policy::Margin(margin),
            (_, None, Some(true)) => Policy::AllowUnavailable,
            _ => Policy::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::restart::MARGIN_MAX;

    #[test]
    fn each_field_is_a_value_that_the_brokers_know() {
        let text = |value: serde_json::Value| {
            serde_json::from_value::<RestartPolicy>(value).unwrap().policy().to_string()
        };
        assert_eq!(text(serde_json::json!({"margin": 2})), "margin:2");
        assert_eq!(text(serde_json::json!({"allowUnavailable": true})), "allow-unavailable");
        assert_eq!(text(serde_json::json!({"forbid": true})), "forbid");
        assert_eq!(text(serde_json::json!({"allowUnavailable": true, "forbid": true})), "forbid");
        let largest = RestartPolicy { margin: Some(MARGIN_MAX), ..RestartPolicy::default() };
        assert_eq!(largest.policy().to_string().parse(), Ok(largest.policy()));
    }
}
