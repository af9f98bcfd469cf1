//! From a touched group to the disk and back: what is to be written, what may be sent before and after the sync.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use chronik_core::ids::GroupId;

use super::throttle::learner_bytes;
use super::{Engine, surroundings};
use crate::log::{LogEntry, WriteError, WriteOp};
use crate::quorum::{Drained, Outgoing, RaftMessage};
use crate::replica::append::{AppendError, AppendReply, AppendRequest};
use crate::replica::hosted::{Hosted, InFlight, Serves};
use crate::replica::outbox::Transport;

/// The write being put together.
#[derive(Default)]
pub(super) struct Gathering {
    batch: u64,
    ops: Vec<WriteOp>,
    bytes: usize,
}

impl Gathering {
    pub(super) fn push(&mut self, op: WriteOp) {
        self.bytes += op.size();
        self.ops.push(op);
    }
}

/// A write that was handed out.
pub(super) struct UnderWay {
    batch: u64,
    ops: Vec<WriteOp>,
    bytes: usize,
}

/// Bytes that may wait for the disk: beyond it clients are told to try again, and entries from leaders are dropped. One
/// write of all that waits stays below what the log takes at once.
const BACKLOG_BYTES: usize = 128 << 20;

/// Bytes of entries that may wait in memory until they are committed and applied, over all groups: beyond it clients are told
/// to try again. Followers that stand still keep them waiting, and clients may be answered before (acks=1).
const HELD_BYTES: usize = 256 << 20;

/// A write that found the disk full is tried again after this long.
const FULL_DISK_RETRY_MS: u64 = 500;

impl<T: Transport> Engine<T> {
    pub(super) fn next_write(&mut self) -> Option<Vec<WriteOp>> {
        if self.stopped.is_some() {
            return None;
        }
        if let (Some(at), Some(write)) = (self.retry_at_ms, &self.under_way) {
            if self.now.ms < at {
                return None;
            }
            self.retry_at_ms = None;
            return Some(write.ops.clone());
        }
        if self.under_way.is_some() || self.gathering.ops.is_empty() {
            return None;
        }
        let Gathering { batch, ops, bytes } = std::mem::take(&mut self.gathering);
        self.gathering.batch = batch + 1;
        self.under_way = Some(UnderWay { batch, ops: ops.clone(), bytes });
        Some(ops)
    }

    /// Whether as much waits for the disk as may: it is slow, stands still or is full.
    pub(super) fn is_backlogged(&self) -> bool {
        let under_way = self.under_way.as_ref().map_or(0, |write| write.bytes);
        under_way + self.gathering.bytes >= BACKLOG_BYTES
    }

    pub(super) fn append(&mut self, id: GroupId, request: AppendRequest, reply: AppendReply) {
        let unable = self.unable_to_append();
        if unable.is_none() && self.hosted.get(&id).is_some_and(|hosted| hosted.group.role().leads) {
            self.wake(id);
        }
        let around = surroundings(&self.config, &self.shared, self.now);
        match (self.hosted.get_mut(&id), unable) {
            (Some(Hosted { serves: Serves::Partition(partition), .. }), Some(error)) => {
                partition.refuse(&request, error, reply, around);
            }
            (Some(Hosted { group, serves: Serves::Partition(partition), .. }), None) => {
                partition.append(group, request, reply, around);
                self.touched.insert(id);
            }
            _ => drop(reply.send(Err(AppendError::Storage("the replica is out of service".to_owned())))),
        }
    }

    /// Why no partition here may append now.
    fn unable_to_append(&self) -> Option<AppendError> {
        if self.disk_full {
            return Some(AppendError::Storage("the disk is full".to_owned()));
        }
        let busy = self.is_backlogged() || self.held.load(Ordering::Relaxed) >= HELD_BYTES;
        busy.then_some(AppendError::Busy)
    }

    pub(super) fn drain(&mut self, id: GroupId) {
        let mut confirmed = Vec::new();
        loop {
            let mut drained = None;
            // With much waiting for the disk they wait too: each answer invites a leader to send more.
            let prompt_heartbeats = !self.is_backlogged();
            self.guard(id, |hosted, around| {
                drained = hosted.group.drain(prompt_heartbeats)?;
                if let (Some(drained), Serves::Partition(partition)) = (&drained, &mut hosted.serves) {
                    partition.entries_appended(&drained.entries, around.now);
                    if !drained.memberships.is_empty() {
                        partition.configured(&hosted.group, around);
                    }
                    partition.leadership_confirmed(&drained.confirmed);
                }
                Ok(())
            });
            match drained {
                Some(mut drained) => {
                    confirmed.append(&mut drained.confirmed);
                    self.carry_out(id, drained);
                }
                None => break,
            }
        }
        self.settle(id);
        self.group_confirmed(id, &confirmed);
    }

    fn carry_out(&mut self, id: GroupId, drained: Drained) {
        let Drained {
            installed,
            entries,
            hard_state,
            must_sync,
            send,
            after_sync,
            committed,
            memberships,
            ticket,
            ..
        } = drained;
        if let Some(installed) = installed {
            self.install(id, installed);
        }
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        if let Some(state) = hard_state {
            hosted.unsaved = Some(state);
        }
        for (index, bytes) in memberships {
            self.gathering.push(WriteOp::Membership { group: id, index, bytes });
        }
        if must_sync {
            if !entries.is_empty() {
                self.gathering.push(WriteOp::Append { group: id, entries });
            }
            if let Some(state) = hosted.unsaved.take() {
                self.gathering.push(WriteOp::State { group: id, state });
            }
            hosted.in_flight.push_back(InFlight { batch: self.gathering.batch, ticket, after_sync });
            self.send(id, &send);
        } else if let Some(last) = hosted.in_flight.back() {
            let batch = last.batch;
            hosted.in_flight.push_back(InFlight { batch, ticket, after_sync });
            self.send(id, &send);
        } else {
            hosted.group.synced(ticket);
            self.send(id, &send);
            self.send(id, &after_sync);
        }
        self.note_commit(id);
        self.apply(id, &committed);
    }

    pub(super) fn send(&mut self, id: GroupId, messages: &[Outgoing]) {
        let Some(hosted) = self.hosted.get(&id) else { return };
        for message in messages {
            match hosted.broker_of(message.to) {
                Some(broker) if self.shared.liveness.is_up(broker) => {
                    if self.throttle.admits(&hosted.group, message, self.now.ms) {
                        self.outbox.push(broker, id, message);
                        self.shared.counts.sent(id, learner_bytes(&hosted.group, message));
                    } else {
                        self.outbox.unreachable(id, message);
                    }
                }
                _ => self.outbox.unreachable(id, message),
            }
        }
    }

    /// Has the metadata's commit index written soon, though nothing waits for it: what a broker knows of the cluster when
    /// it starts again shall be no older than it must. It goes the way of all writes, so that no older one comes after it.
    fn note_commit(&mut self, id: GroupId) {
        let Some(hosted) = self.hosted.get_mut(&id).filter(|_| id == GroupId::METADATA) else { return };
        if let Some(state) = hosted.unsaved.take() {
            self.gathering.push(WriteOp::State { group: id, state });
        }
    }

    fn apply(&mut self, id: GroupId, committed: &[LogEntry]) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get_mut(&id) else {
            return;
        };
        match metadata.apply(committed) {
            Ok(true) => self.follow_metadata(),
            Ok(false) => {}
            Err(error) => self.stop(format!("metadata group: {error}")),
        }
        self.shorten_metadata();
    }

    fn settle(&mut self, id: GroupId) {
        let mut changed = None;
        let mut leader = None;
        let mut appended = false;
        let mut untold = false;
        self.guard(id, |hosted, around| {
            match &mut hosted.serves {
                Serves::Partition(partition) => {
                    changed = partition.settle(&hosted.group, around);
                    appended = partition.release_parked(&mut hosted.group, around);
                    untold = partition.has_untold_high_watermark();
                }
                Serves::Metadata(metadata) => {
                    metadata.follow_role(&hosted.group);
                    leader = Some(metadata.role().leader);
                }
            }
            Ok(())
        });
        self.changed_views.extend(changed);
        if untold {
            self.untold.insert(id);
        }
        if appended {
            self.touched.insert(id);
        }
        if let Some(leader) = leader {
            self.show_metadata_group(leader);
        }
    }

    pub(super) fn written(&mut self, result: Result<(), WriteError>) {
        match result {
            Ok(()) => {
                let Some(UnderWay { batch, ops, .. }) = self.under_way.take() else { return };
                self.look_for_room();
                let groups: BTreeSet<GroupId> = ops.iter().map(WriteOp::group).collect();
                for id in groups {
                    self.group_written(id, batch);
                }
                self.removals_written(&ops);
            }
            Err(WriteError::NoSpace) => {
                self.is_full();
                self.retry_at_ms = Some(self.now.ms + FULL_DISK_RETRY_MS);
            }
            Err(error) => self.stop(error.to_string()),
        }
    }

    /// Takes no records while the disk has only left what was kept back for what must be written.
    pub(super) fn look_for_room(&mut self) {
        if self.log.is_short_of_room() {
            self.is_full();
        } else if self.retry_at_ms.is_none() && std::mem::take(&mut self.disk_full) {
            tracing::info!("the disk has room again");
        }
    }

    fn is_full(&mut self) {
        if !std::mem::replace(&mut self.disk_full, true) {
            tracing::error!("the disk is full: records wait for room, leaderships move away");
        }
    }

    /// Whether entries from a leader would wait too long for the disk, or take room that is kept back: for all but records.
    pub(super) fn has_no_room_for(&self, message: &RaftMessage) -> bool {
        (message.carries_entries() && self.is_backlogged()) || (self.disk_full && message.carries_records())
    }

    fn group_written(&mut self, id: GroupId, batch: u64) {
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        for InFlight { ticket, after_sync, .. } in hosted.written(batch) {
            let Some(hosted) = self.hosted.get_mut(&id) else { return };
            // Answers about entries that were replaced meanwhile are nobody's business any more.
            if hosted.group.synced(ticket) {
                self.send(id, &after_sync);
            }
        }
        self.touched.insert(id);
    }
}
