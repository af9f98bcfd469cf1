//! What the writer knows of each Raft group, and how it is written at the head of a segment. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex};
use serde::{Deserialize, Serialize};

use super::codec::LAST;
use super::group_log::GroupLog;
use super::types::{Damage, GroupHeader, HardState, LogStart};

/// Members, each since the entry that brought them into force: those in force at the log's start, and all later ones.
pub type Memberships = BTreeMap<LogIndex, Bytes>;

/// One Raft group on this disk.
pub(super) struct GroupState {
    pub(super) header: GroupHeader,
    pub(super) state: HardState,
    pub(super) memberships: Memberships,
    /// What came before the log's start, as the caller keeps it.
    pub(super) snapshot: Bytes,
    /// Operations of this group so far.
    pub(super) chain: u64,
    pub(super) log: Arc<GroupLog>,
}

/// Ordered, so that equal histories write equal bytes.
pub(super) type Groups = BTreeMap<GroupId, GroupState>;

/// Forgets members that were replaced before the log's start.
pub(super) fn forget_members_before(memberships: &mut Memberships, start: LogStart) {
    let in_force = memberships.range(..start.index).next_back().map(|(index, _)| *index);
    memberships.retain(|index, _| *index >= in_force.unwrap_or(0));
}

/// A Raft group's state at the head of a segment: all that is not entries. With it, segments that hold no live
/// entry can go, and a group without later operations is proven whole up to here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) header: GroupHeader,
    pub(super) state: HardState,
    /// Each with the length of its bytes.
    memberships: Vec<(LogIndex, usize)>,
    pub(super) start: LogStart,
    pub(super) last: LogIndex,
    pub(super) damage: Option<Damage>,
}

/// A checkpoint with the bytes that stand behind it.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Decoded {
    pub(super) checkpoint: Checkpoint,
    pub(super) memberships: Memberships,
    pub(super) snapshot: Bytes,
}

impl Checkpoint {
    pub(super) fn encode(group: &GroupState) -> Vec<u8> {
        let log = group.log.read();
        let checkpoint = Self {
            header: group.header.clone(),
            state: group.state,
            memberships: lengths(&group.memberships),
            start: log.start,
            last: log.last(),
            damage: group.log.damage().cloned(),
        };
        checkpoint.with(&group.memberships, &group.snapshot)
    }

    /// JSON behind its length, then the members' bytes and the snapshot as they are.
    fn with(&self, memberships: &Memberships, snapshot: &[u8]) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("numbers, lists and texts always encode");
        let mut bytes = (json.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&json);
        memberships.values().for_each(|members| bytes.extend_from_slice(members));
        bytes.extend_from_slice(snapshot);
        bytes
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Decoded> {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (json, mut rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let checkpoint: Self = serde_json::from_slice(json).ok()?;
        if !checkpoint.counts() {
            return None;
        }
        let mut memberships = Memberships::new();
        for (index, length) in &checkpoint.memberships {
            let (members, behind) = rest.split_at_checked(*length)?;
            memberships.insert(*index, Bytes::copy_from_slice(members));
            rest = behind;
        }
        Some(Decoded { checkpoint, memberships, snapshot: Bytes::copy_from_slice(rest) })
    }

    /// Whether its numbers can be those of a log.
    fn counts(&self) -> bool {
        let (first, last) = (self.start.index, self.last);
        let ascending = self.memberships.is_sorted_by(|(a, _), (b, _)| a < b);
        last <= LAST && (1..=last + 1).contains(&first) && ascending
    }
}

fn lengths(memberships: &Memberships) -> Vec<(LogIndex, usize)> {
    memberships.iter().map(|(index, bytes)| (*index, bytes.len())).collect()
}

impl Decoded {
    /// Of a replica of which nothing but this is known: without members and snapshot.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn bare(header: GroupHeader, state: HardState, start: LogStart, last: LogIndex) -> Self {
        let checkpoint = Checkpoint { header, state, memberships: Vec::new(), start, last, damage: None };
        Self { checkpoint, memberships: Memberships::new(), snapshot: Bytes::new() }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn encode(&self) -> Vec<u8> {
        let checkpoint = Checkpoint { memberships: lengths(&self.memberships), ..self.checkpoint.clone() };
        checkpoint.with(&self.memberships, &self.snapshot)
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
