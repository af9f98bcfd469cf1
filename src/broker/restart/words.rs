//! What brokers say to each other about restarts: questions and answers, and their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex};
use chronik_core::restart::{Confirmed, PermitId};
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused, PodBody};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Stands before a question about restarts. No command begins like it.
pub const RESTART: &[u8] = b"restart:1:";

/// What leaders confirm; a group that is missing is not confirmed.
pub(super) type Confirmation = BTreeMap<GroupId, Confirmed>;

/// A question to another broker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Asked {
    /// Those of the groups that it leads.
    Confirm { metadata_index: LogIndex, groups: Vec<GroupId> },
    /// As the metadata leader.
    Order(Order),
    /// Every broker that lives is told to stop: none need wait.
    AllStop,
}

/// What only the metadata leader carries out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    Grant(PermitBody),
    Begin(PermitId, PodBody),
    Abort(PermitId, PodBody),
}

/// The answer to an order.
#[derive(Serialize, Deserialize)]
pub(super) enum Told {
    Done(Box<Result<PermitAnswer, PermitRefused>>),
    NotLeader,
}

impl Asked {
    pub(super) fn encode(&self) -> Bytes {
        [RESTART, &encode(self)].concat().into()
    }

    /// Reads what stands behind [`RESTART`].
    pub(super) fn decode(payload: &[u8]) -> Result<Self, serde_json::Error> {
        decode(payload)
    }
}

pub(super) fn encode(word: &impl Serialize) -> Bytes {
    serde_json::to_vec(word).expect("a word is plain data").into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use chronik_core::ids::BrokerId;
    use chronik_core::metadata::Command;
    use chronik_core::restart::Half;

    use super::*;

    #[test]
    fn questions_and_answers_survive_the_wire() {
        let asked = Asked::Confirm { metadata_index: 7, groups: vec![GroupId(16), GroupId(17)] };
        let bytes = asked.encode();
        assert!(Command::decode(&bytes).is_err());
        assert_eq!(Asked::decode(bytes.strip_prefix(RESTART).unwrap()).unwrap(), asked);
        let voters = Half { brokers: [BrokerId(1), BrokerId(3)].into(), lost: 1 };
        let confirmed = Confirmed {
            term: 3,
            age_ms: 0,
            provisional: false,
            required: 2,
            isr: voters.brokers.clone(),
            synced: voters.brokers.clone(),
            voters,
            outgoing: Half::default(),
        };
        let told = Confirmation::from([(GroupId(16), confirmed)]);
        assert_eq!(decode::<Confirmation>(&encode(&told)).unwrap(), told);
        assert!(Asked::decode(b"{\"Confirm\":{\"groups\":\"all\"}}").is_err());
    }

    /// A full question and its answer about partitions as large as they are in practice fit one control frame.
    #[test]
    fn an_answer_to_the_largest_question_fits_one_frame() {
        let brokers: std::collections::BTreeSet<BrokerId> = (99_900..=99_930).map(BrokerId).collect();
        let half = Half { brokers: brokers.clone(), lost: 0 };
        let confirmed = Confirmed {
            term: u64::MAX,
            age_ms: 0,
            provisional: false,
            required: 16,
            isr: brokers.clone(),
            synced: brokers,
            voters: half.clone(),
            outgoing: half,
        };
        let groups = (0..crate::replica::GROUPS_PER_QUESTION as u64).map(|id| GroupId(u64::MAX - id));
        let told: Confirmation = groups.map(|group| (group, confirmed.clone())).collect();
        assert!(encode(&told).len() < 4 << 20, "{}", encode(&told).len());
    }
}
