//! Conditions of a status: set by type, with a transition time that only a change of status moves. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The resource is what its spec asks for, and serves.
pub const READY: &str = "Ready";
/// Every replica of every partition is in sync.
pub const IN_SYNC: &str = "InSync";
/// At least one partition has fewer in-sync replicas than it needs to accept acks=all.
pub const UNDER_MIN_ISR: &str = "UnderMinIsr";
/// At least one partition has no leader.
pub const OFFLINE: &str = "Offline";
/// The topic's configs in the brokers are those of the spec.
pub const CONFIG_IN_SYNC: &str = "ConfigInSync";
/// Replicas of the topic move, so that each partition has the number that was asked for. It is there only while that is so.
pub const RESIZING: &str = "Resizing";
/// The operator makes the topic what its spec says. It is there only if that is not so.
pub const MANAGED: &str = "Managed";
/// The brokers have formed a cluster: from now on an empty disk joins and never forms another.
pub const INITIALISED: &str = "Initialised";
/// At least one broker pod runs with settings older than the spec's.
pub const PODS_OUTDATED: &str = "PodsOutdated";
/// The number of brokers becomes what the spec asks for, or would if nothing stood against it.
pub const SCALING: &str = "Scaling";
/// Broker pods are restarted, or would be if the brokers let them go.
pub const ROLLING_OUT: &str = "RollingOut";

/// Every volume is as large as the spec says.
pub const STORAGE_SIZED: &str = "StorageSized";
/// Every broker pod that has a node knows the rack it stands in.
pub const RACKS_KNOWN: &str = "RacksKnown";

/// The three values a condition's status may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Status::True } else { Status::False }
    }
}

/// What is found about one condition type now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The condition's type.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// Why, as one CamelCase word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
}

impl Finding {
    /// A finding; an over-long message is cut at Kubernetes' limit.
    pub fn new(
        type_: &'static str,
        status: impl Into<Status>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let mut message: String = message.into();
        if message.chars().count() > MESSAGE_CHARS_MAX {
            message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        }
        Self { type_, status: status.into(), reason: reason.into(), message }
    }
}

/// Longest message a condition carries.
const MESSAGE_CHARS_MAX: usize = 2048;

/// The conditions that follow from `before` and the findings, in the findings' order.
pub fn merge(before: &[Condition], findings: &[Finding], generation: i64, now: Timestamp) -> Vec<Condition> {
    findings.iter().map(|finding| merge_one(get(before, finding.type_), finding, generation, now)).collect()
}

fn merge_one(before: Option<&Condition>, finding: &Finding, generation: i64, now: Timestamp) -> Condition {
    let status = finding.status.as_str();
    let unchanged = before.filter(|condition| condition.status == status);
    Condition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.clone(),
        message: finding.message.clone(),
        observed_generation: Some(generation),
        last_transition_time: unchanged
            .map_or_else(|| whole_seconds(now), |c| c.last_transition_time.clone()),
    }
}

/// Kubernetes stores seconds: a finer time would differ from itself once read back.
fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// The condition of that type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of that type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(second, 700_000_000).unwrap()
    }

    fn ready(status: bool, message: &str) -> [Finding; 1] {
        [Finding::new(READY, status, "Some", message)]
    }

    #[test]
    fn only_a_change_of_status_moves_the_transition_time() {
        let first = merge(&[], &ready(false, "a"), 1, at(10));
        let reworded = merge(&first, &ready(false, "b"), 2, at(20));
        assert_eq!(reworded[0].last_transition_time.0.as_second(), 10);
        assert_eq!((reworded[0].message.as_str(), reworded[0].observed_generation), ("b", Some(2)));
        let turned = merge(&reworded, &ready(true, "b"), 2, at(30));
        assert_eq!(turned[0].last_transition_time.0.as_second(), 30);
        assert_eq!(turned[0].last_transition_time.0.subsec_nanosecond(), 0);
    }

    #[test]
    fn a_type_that_is_no_longer_found_goes_away() {
        let before = merge(&[], &[Finding::new(OFFLINE, true, "Some", "")], 1, at(1));
        assert!(get(&merge(&before, &ready(true, ""), 1, at(2)), OFFLINE).is_none());
    }

    #[test]
    fn a_message_is_bounded() {
        assert_eq!(ready(true, &"é".repeat(5000))[0].message.chars().count(), 2048);
    }
}
