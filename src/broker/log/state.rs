//! What the writer knows of each Raft group, and how it is written at the head of a segment. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex};
use serde::{Deserialize, Serialize};

use super::codec::LAST;
use super::group_log::GroupLog;
use super::types::{Damage, GroupHeader, HardState};

/// One Raft group on this disk.
pub(super) struct GroupState {
    pub(super) header: GroupHeader,
    pub(super) state: HardState,
    pub(super) membership: Option<(LogIndex, Bytes)>,
    /// Operations of this group so far.
    pub(super) chain: u64,
    pub(super) log: Arc<GroupLog>,
}

/// Ordered, so that equal histories write equal bytes.
pub(super) type Groups = BTreeMap<GroupId, GroupState>;

/// A Raft group's state at the head of a segment: all that is not entries. With it, segments that hold no live
/// entry can go, and a group without later operations is proven whole up to here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) header: GroupHeader,
    pub(super) state: HardState,
    pub(super) membership_index: Option<LogIndex>,
    pub(super) first: LogIndex,
    pub(super) last: LogIndex,
    pub(super) damage: Option<Damage>,
}

impl Checkpoint {
    pub(super) fn of(group: &GroupState) -> Self {
        let log = group.log.read();
        Self {
            header: group.header.clone(),
            state: group.state,
            membership_index: group.membership.as_ref().map(|(index, _)| *index),
            first: log.first,
            last: log.last(),
            damage: group.log.damage().cloned(),
        }
    }

    /// JSON behind its length, then the members' bytes as they are.
    pub(super) fn encode(&self, membership: &[u8]) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("numbers, lists and texts always encode");
        let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(membership);
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<(Self, Bytes)> {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (json, membership) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let checkpoint: Self = serde_json::from_slice(json).ok()?;
        let counts = checkpoint.last <= LAST && checkpoint.first <= checkpoint.last + 1;
        counts.then(|| (checkpoint, Bytes::copy_from_slice(membership)))
    }
}

pub(super) fn encode_state(state: HardState) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&state.term.to_le_bytes());
    bytes[8..16].copy_from_slice(&state.vote.to_le_bytes());
    bytes[16..].copy_from_slice(&state.commit.to_le_bytes());
    bytes
}

pub(super) fn decode_state(payload: &[u8]) -> Option<HardState> {
    let bytes: &[u8; 24] = payload.try_into().ok()?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    Some(HardState { term: number(0), vote: number(8), commit: number(16) })
}
