//! From a touched group to the disk and back: what is to be written, what may be sent before and after the sync.

use std::collections::BTreeSet;

use chronik_core::ids::{BrokerId, GroupId};

use super::{Engine, surroundings};
use crate::log::{EntryKind, LogEntry, WriteError, WriteOp};
use crate::quorum::{Drained, Outgoing};
use crate::replica::append::{AppendError, AppendReply, AppendRequest};
use crate::replica::hosted::{Hosted, InFlight, Serves};
use crate::replica::outbox::Transport;

/// The write being put together.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) batch: u64,
    pub(super) ops: Vec<WriteOp>,
}

/// A write that found the disk full is tried again after this long.
const FULL_DISK_RETRY_MS: u64 = 500;

impl<T: Transport> Engine<T> {
    pub(super) fn next_write(&mut self) -> Option<Vec<WriteOp>> {
        if self.stopped.is_some() {
            return None;
        }
        if let (Some(at), Some((_, ops))) = (self.retry_at_ms, &self.under_way) {
            if self.now.ms < at {
                return None;
            }
            self.retry_at_ms = None;
            return Some(ops.clone());
        }
        if self.under_way.is_some() || self.gathering.ops.is_empty() {
            return None;
        }
        let ops = std::mem::take(&mut self.gathering.ops);
        self.under_way = Some((self.gathering.batch, ops.clone()));
        self.gathering.batch += 1;
        Some(ops)
    }

    pub(super) fn append(&mut self, id: GroupId, request: AppendRequest, reply: AppendReply) {
        if self.retry_at_ms.is_some() {
            return drop(reply.send(Err(AppendError::Storage("the disk is full".to_owned()))));
        }
        let around = surroundings(&self.config, &self.shared, self.now);
        match self.hosted.get_mut(&id) {
            Some(Hosted { group, serves: Serves::Partition(partition), .. }) => {
                partition.append(group, request, reply, around);
                self.touched.insert(id);
            }
            _ => drop(reply.send(Err(AppendError::Storage("the replica is out of service".to_owned())))),
        }
    }

    pub(super) fn drain(&mut self, id: GroupId) {
        loop {
            let mut drained = None;
            self.guard(id, |hosted, around| {
                drained = hosted.group.drain()?;
                if let (Some(drained), Serves::Partition(partition)) = (&drained, &mut hosted.serves) {
                    partition.entries_appended(&drained.entries, around.now);
                }
                Ok(())
            });
            match drained {
                Some(drained) => self.carry_out(id, drained),
                None => break,
            }
        }
        self.settle(id);
    }

    fn carry_out(&mut self, id: GroupId, drained: Drained) {
        let Drained { entries, hard_state, must_sync, send, after_sync, committed, ticket } = drained;
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        if let Some(state) = hard_state {
            hosted.unsaved = Some(state);
        }
        for entry in &committed {
            if entry.kind == EntryKind::Membership {
                let bytes = hosted.group.membership_bytes();
                self.gathering.ops.push(WriteOp::Membership { group: id, index: entry.index, bytes });
            }
        }
        if must_sync {
            if !entries.is_empty() {
                self.gathering.ops.push(WriteOp::Append { group: id, entries });
            }
            if let Some(state) = hosted.unsaved.take() {
                self.gathering.ops.push(WriteOp::State { group: id, state });
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
        self.apply(id, &committed);
    }

    pub(super) fn send(&mut self, id: GroupId, messages: &[Outgoing]) {
        let Some(hosted) = self.hosted.get(&id) else { return };
        for message in messages {
            match hosted.broker_of(message.to) {
                Some(broker) if self.shared.liveness.is_up(broker) => self.outbox.push(broker, id, message),
                _ => self.outbox.unreachable(id, message),
            }
        }
    }

    fn apply(&mut self, id: GroupId, committed: &[LogEntry]) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get_mut(&id) else {
            return;
        };
        match metadata.apply(committed) {
            Ok(true) => {
                self.follow_metadata();
                let known: Vec<BrokerId> = self.others();
                known.into_iter().for_each(|broker| self.admit_learner(broker));
            }
            Ok(false) => {}
            Err(error) => self.stop(format!("metadata group: {error}")),
        }
    }

    fn settle(&mut self, id: GroupId) {
        let mut changed = None;
        let mut leader = None;
        self.guard(id, |hosted, around| {
            match &mut hosted.serves {
                Serves::Partition(partition) => changed = partition.settle(&hosted.group, around),
                Serves::Metadata(metadata) => {
                    metadata.follow_role(&hosted.group);
                    leader = Some(metadata.role().leader);
                }
            }
            Ok(())
        });
        if let Some(view) = changed {
            self.gossip(view);
        }
        if let Some(leader) = leader {
            let broker = leader.and_then(|replica| self.hosted.get(&id)?.broker_of(replica));
            self.shared.metadata_leader.send_if_modified(|known| std::mem::replace(known, broker) != broker);
        }
    }

    pub(super) fn written(&mut self, result: Result<(), WriteError>) {
        match result {
            Ok(()) => {
                let Some((batch, ops)) = self.under_way.take() else { return };
                let groups: BTreeSet<GroupId> = ops.iter().map(WriteOp::group).collect();
                for id in groups {
                    self.group_written(id, batch);
                }
            }
            Err(WriteError::NoSpace) => {
                tracing::error!("the disk is full: writes wait until there is space");
                self.retry_at_ms = Some(self.now.ms + FULL_DISK_RETRY_MS);
            }
            Err(error) => self.stop(error.to_string()),
        }
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
