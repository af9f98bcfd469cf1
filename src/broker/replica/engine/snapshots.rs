//! Snapshots: the metadata log is cut behind what was applied, and another's snapshot takes the place of what is missing here.

use chronik_core::ids::GroupId;

use super::Engine;
use crate::log::WriteOp;
use crate::quorum::Installed;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;

/// What fits into one frame between brokers, with room for the message around it.
const SNAPSHOT_BYTES: usize = 30 << 20;

impl<T: Transport> Engine<T> {
    /// Lets the metadata log begin behind what was applied, once it has grown enough, or when a follower needs a snapshot
    /// that names it. Only what was applied as a whole is cut: the state is that of the log's new start.
    pub(super) fn shorten_metadata(&mut self) {
        let limit = self.config.metadata_snapshot_entries;
        let Some(Hosted { group, serves: Serves::Metadata(metadata), .. }) =
            self.hosted.get_mut(&GroupId::METADATA)
        else {
            return;
        };
        let held = group.applied().saturating_sub(group.start().before());
        let wanted = metadata.too_large_at == 0 && group.wants_snapshot();
        if held > 0 && (wanted || held >= limit + metadata.too_large_at) {
            let snapshot = metadata.state().to_snapshot();
            if snapshot.len() > SNAPSHOT_BYTES {
                // Nobody could be sent it: the log is kept whole, and looked at again when it has grown as much once more.
                let (bytes, limit) = (snapshot.len(), SNAPSHOT_BYTES);
                tracing::error!(bytes, limit, "keep the metadata log: its snapshot is too large to be sent");
                metadata.too_large_at = held;
                return;
            }
            metadata.too_large_at = 0;
            let start = group.begin_after_applied(snapshot.clone());
            tracing::debug!(?start, bytes = snapshot.len(), "shorten the metadata log");
            self.gathering.push(WriteOp::Start { group: GroupId::METADATA, start, replace: false, snapshot });
        }
    }

    /// A leader's snapshot takes the place of this replica's log.
    pub(super) fn install(&mut self, id: GroupId, installed: Installed) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get_mut(&id) else {
            return;
        };
        let Installed { start, members, data } = installed;
        tracing::info!(group = %id, ?start, bytes = data.len(), "install a snapshot");
        if let Err(error) = metadata.install(&data, start) {
            return self.stop(format!("metadata group: a snapshot that cannot be used: {error}"));
        }
        // In one write: after a crash there is all of it, or nothing.
        self.gathering.push(WriteOp::Membership { group: id, index: start.before(), bytes: members });
        self.gathering.push(WriteOp::Start { group: id, start, replace: true, snapshot: data });
        self.follow_metadata();
    }
}
