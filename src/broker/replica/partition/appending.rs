//! Produces: whether a batch is taken, its way into the group, and what its client is told.

use chronik_core::ids::{LogIndex, Offset, Term};
use chronik_core::replication::Position;
use chronik_core::replication::gate::{self, Acks, Refusal, Standing, Verdict};

use super::{Partition, Surroundings};
use crate::log::{EntryKind, LogEntry};
use crate::quorum::{Group, ProposeError};
use crate::replica::append::{AppendError, AppendReply, AppendRequest, Appended};
use crate::replica::clock::Now;
use crate::replica::leading::{Leading, Waiter};
use crate::replica::producers;

impl Partition {
    /// Notes entries that were drained from raft: keeps the producer state along the log.
    pub(in crate::replica) fn entries_appended(&mut self, entries: &[LogEntry], now: Now) {
        let own_term = self.leading.as_ref().map(|leading| leading.term);
        for entry in entries {
            if entry.index <= self.recorded && own_term == Some(entry.term) {
                continue;
            }
            if entry.index <= self.recorded {
                producers::cut(&mut self.producers, entry.index, now.unix_ms);
            }
            self.recorded = entry.index;
            producers::record(&mut self.producers, &entry.meta(), now.unix_ms);
        }
        // Of a batch the tracker knows already; a change of members, too, is something that a follower may lack.
        if let (Some(leading), Some(last)) = (&mut self.leading, entries.last()) {
            let end = Position { index: last.index, offset: last.base_offset + Offset::from(last.records) };
            leading.tracker.leader_appended(end, now.ms);
        }
    }

    /// Appends a batch, or refuses it; the answer goes through `reply`, at once or when its acks rule holds.
    pub(in crate::replica) fn append_now(
        &mut self,
        group: &mut Group,
        request: AppendRequest,
        reply: AppendReply,
        around: Surroundings<'_>,
    ) {
        let acks = request.acks;
        let deadline_ms = around.now.ms.saturating_add(request.timeout_ms);
        match self.try_append(group, request, around) {
            Ok((index, appended)) => {
                let leading = self.leading.as_mut().expect("only a leader appends");
                // An original that lies before the log's beginning has none, and is complete.
                let term = group.term_of(index).unwrap_or_default();
                let waiter = Waiter { index, term, appended, deadline_ms, reply };
                match acks {
                    Acks::None => waiter.answer(Ok(appended)),
                    Acks::Leader => leading.for_leader.push(waiter),
                    Acks::All => leading.for_all.push(waiter),
                }
            }
            // The client may have gone; it is not told then.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Refuses a batch that this broker cannot take now, if it could take any: what its producer pipelined behind it must not
    /// come first.
    pub(in crate::replica) fn refuse(
        &mut self,
        request: &AppendRequest,
        unable: AppendError,
        reply: AppendReply,
        around: Surroundings<'_>,
    ) {
        let error = if self.role.leads { unable } else { self.not_leader() };
        producers::refused(&mut self.producers, request.batch.producer(), &error, around.now.unix_ms);
        drop(reply.send(Err(error)));
    }

    pub(super) fn try_append(
        &mut self,
        group: &mut Group,
        request: AppendRequest,
        around: Surroundings<'_>,
    ) -> Result<(LogIndex, Appended), AppendError> {
        let unix_ms = around.now.unix_ms;
        let producer = request.batch.producer();
        let appended = self.append_if_admitted(group, request, around);
        if let Err(error) = &appended
            && !matches!(error, AppendError::Producer(_))
        {
            producers::refused(&mut self.producers, producer, error, unix_ms);
        }
        appended
    }

    pub(super) fn append_if_admitted(
        &mut self,
        group: &mut Group,
        request: AppendRequest,
        around: Surroundings<'_>,
    ) -> Result<(LogIndex, Appended), AppendError> {
        let AppendRequest { batch, acks, .. } = request;
        let unix_ms = around.now.unix_ms;
        self.gate(acks, around)?;
        let base_offset = group.end_offset();
        let log_start_offset = self.handle.log_start_offset();
        if let Some(original) = producers::check(&mut self.producers, &batch, unix_ms)? {
            return Ok((original.index, Appended { base_offset: original.base_offset, log_start_offset }));
        }
        let (records, producer) = (batch.records(), batch.producer());
        let data = batch.patch(base_offset, epoch_on_wire(self.role.term));
        let index = match group.propose(EntryKind::Records, data, records) {
            Ok(index) => index,
            Err(ProposeError::NotLeader) => return Err(self.not_leader()),
            Err(ProposeError::Busy) if group.is_transferring() => return Err(self.not_leader()),
            Err(ProposeError::Busy) => return Err(AppendError::Busy),
        };
        producers::appended(&mut self.producers, producer, index, base_offset, unix_ms);
        self.recorded = index;
        let end = Position { index, offset: group.end_offset() };
        let leading = self.leading.as_mut().expect("the gate lets only a leader through");
        leading.tracker.leader_appended(end, around.now.ms);
        Ok((index, Appended { base_offset, log_start_offset }))
    }

    /// Lets only a leader through that may accept a write with these acks.
    pub(in crate::replica) fn gate(&self, acks: Acks, around: Surroundings<'_>) -> Result<(), AppendError> {
        let quorum_lost = !self.reaches_majority(around);
        let min_isr = self.effective_min_isr();
        let isr = self.leading.as_ref().map_or(0, |leading| leading.tracker.isr().len());
        let standing = match &self.leading {
            _ if self.caretaker.is_some() => Standing::Caretaker,
            Some(leading) if around.metadata_index >= leading.required_metadata => {
                Standing::Leader { isr, min_isr, quorum_lost }
            }
            _ => Standing::NotLeader,
        };
        match gate::admit(standing, acks) {
            Verdict::Append => Ok(()),
            Verdict::Refuse(Refusal::NotLeaderOrFollower) => Err(self.not_leader()),
            _ if standing == Standing::NotLeader => Err(self.not_leader()),
            _ if quorum_lost || standing == Standing::Caretaker => Err(AppendError::QuorumLost),
            _ => Err(AppendError::NotEnoughReplicas { in_sync: isr as u32, required: min_isr }),
        }
    }

    pub(in crate::replica) fn not_leader(&self) -> AppendError {
        let leader = self.role.leader.filter(|_| !self.role.leads).and_then(|leader| self.broker_of(leader));
        AppendError::NotLeader { leader, epoch: self.role.term }
    }
}

/// What an appended and unconfirmed produce is told.
pub(super) fn unconfirmed(acks: Acks, leading: &Leading, required: u32) -> AppendError {
    let isr = leading.tracker.isr().len();
    match gate::interrupted(acks, isr, required) {
        Refusal::NotEnoughReplicasAfterAppend => {
            AppendError::NotEnoughReplicas { in_sync: isr as u32, required }
        }
        _ => AppendError::TimedOut,
    }
}

/// Kafka's epochs have 31 bits; a group that has had more elections than that does not exist.
fn epoch_on_wire(term: Term) -> i32 {
    i32::try_from(term).unwrap_or(i32::MAX)
}
