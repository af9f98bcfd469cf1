//! What the admin API says of permits to stop, and how it is asked for one: `/v1/permits`.

use serde::{Deserialize, Serialize};

use crate::ids::BrokerId;
use crate::restart::{Block, Permit, PermitId, Permits, Reason, Stage};

/// Blocks that one answer lists, at most.
pub const BLOCKS_LISTED: usize = 64;

/// `GET /v1/permits`: those that are open, as the broker that answers has applied them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitsReport {
    /// Grows with each change of what a permit is judged by.
    pub version: u64,
    /// The oldest first.
    pub open: Vec<PermitReport>,
}

/// One broker's leave to stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitReport {
    /// Its number.
    pub id: PermitId,
    /// Who may stop.
    pub broker: BrokerId,
    /// The pod it runs in.
    pub pod_uid: String,
    /// Why.
    pub reason: Reason,
    /// How far it has come.
    pub stage: Stage,
}

/// `POST /v1/permits`: asks whether a broker may stop now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PermitBody {
    /// Who is to stop.
    pub broker: BrokerId,
    /// The pod it runs in.
    pub pod_uid: String,
    /// Why.
    pub reason: Reason,
    /// A person bears it if partitions become unavailable: they do not stand against it then. The metadata group does.
    #[serde(default)]
    pub allow_unavailable: bool,
    /// Only the judgement is wanted.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /v1/permits/{id}/begin` and `/abort`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodBody {
    /// The pod that the permit was granted for.
    pub pod_uid: String,
}

/// What was asked for is so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitAnswer {
    /// The permit as it is now, or was when it ended; none if only the judgement was wanted.
    pub permit: Option<PermitReport>,
    /// What a person bears ([`PermitBody::allow_unavailable`]); at most [`BLOCKS_LISTED`].
    pub blocks: Vec<BlockReport>,
}

/// What stands against a broker's stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockReport {
    /// The topic's name; none for the metadata group.
    pub topic: Option<String>,
    /// The partition's number; none for the metadata group.
    pub partition: Option<i32>,
    /// Why, for people.
    pub why: String,
}

/// A refusal of what was asked for: the body of a 4xx or 5xx.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitRefused {
    /// Why.
    pub error: PermitProblem,
    /// What stands against it; at most [`BLOCKS_LISTED`].
    #[serde(default)]
    pub blocks: Vec<BlockReport>,
    /// How many stand against it, listed or not.
    #[serde(default)]
    pub blocked: u32,
}

/// The part of a refusal that every refusal of the admin API has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermitProblem {
    /// A word for programs: `blocked`, `permit_refused`, `unknown_permit`, `other_pod`, `unavailable` or another.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl From<&Permits> for PermitsReport {
    fn from(permits: &Permits) -> Self {
        Self { version: permits.version(), open: permits.open().map(PermitReport::from).collect() }
    }
}

impl From<&Permit> for PermitReport {
    fn from(permit: &Permit) -> Self {
        let Permit { id, broker, pod_uid, reason, stage, .. } = permit;
        Self { id: *id, broker: *broker, pod_uid: pod_uid.clone(), reason: *reason, stage: *stage }
    }
}

impl From<&Block> for BlockReport {
    fn from(block: &Block) -> Self {
        let (topic, partition) = block.partition.clone().unzip();
        Self { topic, partition, why: block.why.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{DiskId, Incarnation};
    use crate::restart::Leave;
    use uuid::Uuid;

    #[test]
    fn bodies_read_as_documented() {
        let mut permits = Permits::default();
        let life = Incarnation { disk: DiskId(Uuid::nil()), start: 4 };
        let (broker, pod_uid) = (BrokerId(2), "uid-2".to_owned());
        let reason = Reason::ScaleDown;
        let leave = Leave { broker, incarnation: life, pod_uid, reason, allow_unavailable: false };
        permits.grant(0, &leave).unwrap();
        let open =
            json!([{"id": 1, "broker": 2, "podUid": "uid-2", "reason": "scaleDown", "stage": "granted"}]);
        let told = serde_json::to_value(PermitsReport::from(&permits)).unwrap();
        assert_eq!(told, json!({"version": 1, "open": open}));
        let asked = json!({"broker": 2, "podUid": "uid-2", "reason": "eviction"});
        let body: PermitBody = serde_json::from_value(asked).unwrap();
        assert_eq!((body.reason, body.allow_unavailable, body.dry_run), (Reason::Eviction, false, false));
        let refused = json!({"error": {"code": "unavailable", "message": "no leader", "field": "x"}});
        assert_eq!(serde_json::from_value::<PermitRefused>(refused).unwrap().blocked, 0);
    }

    #[test]
    fn the_metadata_group_is_neither_topic_nor_partition() {
        let why = crate::restart::Why::Unconfirmed;
        let metadata = BlockReport::from(&Block { partition: None, why: why.clone() });
        assert_eq!((metadata.topic, metadata.partition), (None, None));
        let block = Block { partition: Some(("orders".into(), 4)), why };
        let orders = serde_json::to_value(BlockReport::from(&block)).unwrap();
        assert_eq!((&orders["topic"], &orders["partition"]), (&json!("orders"), &json!(4)));
    }
}
