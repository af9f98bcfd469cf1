//! What stands for the beginning of a log that is gone: its place, the members as of then, and the group's own bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::ReplicaId;
use raft::eraftpb::{ConfState, Snapshot};

use crate::log::LogStart;

/// The first byte of a snapshot's data.
const VERSION: u8 = 1;

/// What came before a log's start.
#[derive(Clone, Default)]
pub(super) struct Base {
    pub(super) start: LogStart,
    pub(super) members: ConfState,
    pub(super) data: Bytes,
}

impl Base {
    /// For a follower that lacks what came before; `None` if there is nothing, or the follower was no member then: it
    /// would ignore what does not name it.
    pub(super) fn for_follower(&self, follower: u64) -> Option<Snapshot> {
        let ConfState { voters, learners, voters_outgoing, .. } = &self.members;
        let is_member = [voters, learners, voters_outgoing].iter().any(|ids| ids.contains(&follower));
        if self.start.before() == 0 || !is_member {
            return None;
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.start.before(), self.start.term);
        metadata.set_conf_state(self.members.clone());
        let mut data = BytesMut::with_capacity(9 + self.data.len());
        data.put_u8(VERSION);
        data.put_i64_le(self.start.offset);
        data.put_slice(&self.data);
        snapshot.data = data.freeze();
        Some(snapshot)
    }

    /// What a leader sent.
    pub(super) fn from_leader(snapshot: &Snapshot) -> Result<Self, String> {
        let mut data = snapshot.data.clone();
        let version = data.try_get_u8().map_err(|_| "the snapshot is empty".to_owned())?;
        if version != VERSION {
            return Err(format!("snapshot version {version} is unknown; this build knows {VERSION}"));
        }
        let offset = data.try_get_i64_le().map_err(|_| "the snapshot is cut".to_owned())?;
        let metadata = snapshot.get_metadata();
        let start = LogStart { index: metadata.index + 1, term: metadata.term, offset };
        Ok(Self { start, members: metadata.get_conf_state().clone(), data })
    }

    /// The members as they are stored.
    pub(super) fn members_bytes(&self) -> Bytes {
        protobuf::Message::write_to_bytes(&self.members).expect("writing to memory cannot fail").into()
    }
}

/// A log that a leader's snapshot put in the place of this replica's.
#[derive(Debug)]
pub struct Installed {
    /// Where it begins.
    pub start: LogStart,
    /// The members as of then, to be stored.
    pub members: Bytes,
    /// The group's own bytes.
    pub data: Bytes,
}

/// Followers that were sent a snapshot and have not answered, each since so many ticks.
#[derive(Default)]
pub(super) struct Waiting(Vec<(u64, usize)>);

impl Waiting {
    /// One tick later, `under_way` wait still. Gives those that have waited for `patience`: the snapshot was lost.
    pub(super) fn tick(&mut self, under_way: impl Iterator<Item = u64>, patience: usize) -> Vec<ReplicaId> {
        let before = std::mem::take(&mut self.0);
        let since = |id: u64| before.iter().find(|(known, _)| *known == id).map_or(0, |(_, ticks)| ticks + 1);
        self.0 = under_way.map(|id| (id, since(id))).collect();
        let lost = self.0.iter().filter(|(_, ticks)| *ticks >= patience);
        lost.map(|(id, _)| ReplicaId(*id)).collect()
    }
}
