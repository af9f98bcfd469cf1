//! Produces that wait for a moment: until leadership has been handed over, or until this replica knows that it still leads.

use std::collections::VecDeque;

use super::append::{AppendError, AppendReply, AppendRequest};
use super::partition::{Partition, Surroundings};
use super::producers;
use crate::quorum::Group;

/// Bytes of one partition's produces that may wait.
const PARKED_BYTES: usize = 256 << 10;
/// They wait no longer than this.
const PARKED_MS: u64 = 500;

/// One partition's waiting produces, in their order.
#[derive(Default)]
pub(super) struct Parked {
    queue: VecDeque<(AppendRequest, AppendReply)>,
    bytes: usize,
    since_ms: u64,
    /// The last question whether this replica leads.
    asked: u64,
    /// The first of them waits for the answer to it.
    asking: bool,
    /// The answer is yes.
    confirmed: bool,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn fits(&self, request: &AppendRequest) -> bool {
        self.bytes + request.batch.size() <= PARKED_BYTES
    }

    fn push(&mut self, request: AppendRequest, reply: AppendReply, now_ms: u64) {
        if self.queue.is_empty() {
            self.since_ms = now_ms;
        }
        self.bytes += request.batch.size();
        self.queue.push_back((request, reply));
    }

    fn is_overdue(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= PARKED_MS
    }

    /// All of them in their order.
    pub(super) fn take(&mut self) -> VecDeque<(AppendRequest, AppendReply)> {
        self.bytes = 0;
        (self.asking, self.confirmed) = (false, false);
        std::mem::take(&mut self.queue)
    }
}

impl Partition {
    /// Appends a batch, refuses it, or lets it wait; the answer goes through `reply`.
    ///
    /// During a hand-over it waits: refused at once, a client would ask for the leader before anybody can name the new one,
    /// and wait out another backoff. A batch that seems out of order waits, too: that answer is final for some clients, and a
    /// leader that was paused or cut off may give it only because another leads since and took the batch before. What comes
    /// behind a batch that waits, waits behind it.
    pub(super) fn append(
        &mut self,
        group: &mut Group,
        request: AppendRequest,
        reply: AppendReply,
        around: Surroundings<'_>,
    ) {
        let waits = self.role.leads && (group.is_transferring() || !self.parked.is_empty());
        let asks = !waits
            && self.role.leads
            && self.gate(request.acks, around).is_ok()
            && producers::is_out_of_order(&self.producers, &request.batch, around.now.unix_ms);
        if !waits && !asks {
            return self.append_now(group, request, reply, around);
        }
        if !self.parked.fits(&request) {
            let error = if group.is_transferring() { self.not_leader() } else { AppendError::Busy };
            producers::refused(&mut self.producers, request.batch.producer(), &error, around.now.unix_ms);
            return drop(reply.send(Err(error)));
        }
        self.parked.push(request, reply, around.now.ms);
        if asks {
            self.parked.asked += 1;
            self.parked.asking = true;
            group.confirm_leadership(self.parked.asked);
        }
    }

    /// A majority says that this replica leads.
    pub(super) fn leadership_confirmed(&mut self, answered: &[u64]) {
        self.parked.confirmed |= self.parked.asking && answered.contains(&self.parked.asked);
    }

    /// Goes on with what waits, once it is known who leads or the time is over; true if some of it was appended.
    pub(super) fn release_parked(&mut self, group: &mut Group, around: Surroundings<'_>) -> bool {
        if self.parked.is_empty() {
            return false;
        }
        let asking = self.parked.asking;
        let stayed = self.role.leads && !group.is_transferring() && (!asking || self.parked.confirmed);
        let went = !self.role.leads && (asking || self.role.leader.is_some());
        if !(stayed || went || self.parked.is_overdue(around.now.ms)) {
            return false;
        }
        for (request, reply) in self.parked.take() {
            match (stayed, asking) {
                (true, true) => self.append_now(group, request, reply, around),
                (true, false) => self.append(group, request, reply, around),
                (false, _) => self.refuse(&request, self.not_leader(), reply, around),
            }
        }
        stayed
    }
}
