//! Collects what goes to each peer during one round of the engine and hands it to the transport as few, large frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, GroupId, ReplicaId};

use super::frame::RaftFrame;
use crate::quorum::{Lane, Outgoing};

/// The door to other brokers.
pub trait Transport: Send + 'static {
    /// Queues a frame; false if it was dropped, because the peer is not connected or its queue is full.
    fn send(&self, to: BrokerId, lane: Lane, frame: Bytes) -> bool;
}

/// A frame is handed over early when it has grown to this size.
const FRAME_BYTES: usize = 1 << 20;

#[derive(Default)]
struct Pending {
    frame: RaftFrame,
    /// Append messages in the frame: their loss must be reported to raft.
    appends: Vec<(GroupId, ReplicaId)>,
}

/// Frames being collected.
pub(super) struct Outbox<T> {
    transport: T,
    bulk: BTreeMap<BrokerId, Pending>,
    control: BTreeMap<BrokerId, Pending>,
    lost: Vec<(GroupId, ReplicaId)>,
}

impl<T: Transport> Outbox<T> {
    pub(super) fn new(transport: T) -> Self {
        Self { transport, bulk: BTreeMap::new(), control: BTreeMap::new(), lost: Vec::new() }
    }

    /// Adds a Raft message for a broker.
    pub(super) fn push(&mut self, to: BrokerId, group: GroupId, outgoing: &Outgoing) {
        let lane = match outgoing.lane {
            Lane::Bulk => &mut self.bulk,
            Lane::Control => &mut self.control,
        };
        let pending = lane.entry(to).or_default();
        pending.frame.push(group, &outgoing.message);
        if outgoing.message.is_append() {
            pending.appends.push((group, outgoing.to));
        }
        if pending.frame.len() >= FRAME_BYTES {
            hand_over(&self.transport, to, outgoing.lane, pending, &mut self.lost);
        }
    }

    /// Notes an append that cannot even be tried.
    pub(super) fn unreachable(&mut self, group: GroupId, outgoing: &Outgoing) {
        if outgoing.message.is_append() {
            self.lost.push((group, outgoing.to));
        }
    }

    /// Sends a frame of another kind at once; false if it was dropped.
    pub(super) fn try_send(&self, to: BrokerId, frame: Bytes) -> bool {
        self.transport.send(to, Lane::Control, frame)
    }

    /// Sends a frame of another kind at once. What it carries is repeated with the next pulse.
    pub(super) fn send(&self, to: BrokerId, frame: Bytes) {
        let _ = self.try_send(to, frame);
    }

    /// Hands over all that was collected; gives the appends that were lost.
    pub(super) fn flush(&mut self) -> Vec<(GroupId, ReplicaId)> {
        for (to, pending) in &mut self.control {
            hand_over(&self.transport, *to, Lane::Control, pending, &mut self.lost);
        }
        for (to, pending) in &mut self.bulk {
            hand_over(&self.transport, *to, Lane::Bulk, pending, &mut self.lost);
        }
        std::mem::take(&mut self.lost)
    }
}

fn hand_over<T: Transport>(
    transport: &T,
    to: BrokerId,
    lane: Lane,
    pending: &mut Pending,
    lost: &mut Vec<(GroupId, ReplicaId)>,
) {
    if pending.frame.is_empty() {
        return;
    }
    let appends = std::mem::take(&mut pending.appends);
    if !transport.send(to, lane, pending.frame.take()) {
        lost.extend(appends);
    }
}
