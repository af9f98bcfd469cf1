//! The metadata group's replica: applies committed commands, answers their proposers. Decides nothing about commands.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, LogIndex, ReplicaId, Term};
use chronik_core::metadata::{
    Applied, Broker, ClusterState, Command, DecodeError, Refusal, RefusalCode, SnapshotError,
};
use tokio::sync::{oneshot, watch};

use super::liveness::Liveness;
use crate::birth::{founder_broker, founder_replica};
use crate::log::{EntryKind, Founder, LogEntry, LogStart};
use crate::quorum::{Group, GroupRole, ProposeError};

/// Why a command was not applied, as far as its proposer can know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// This broker does not lead the metadata group.
    #[error("this broker does not lead the metadata group")]
    NotLeader,
    /// It was appended, and leadership was lost before it was known to be committed.
    #[error("the command's fate is unknown: leadership of the metadata group was lost")]
    Unknown,
}

/// Commands that groups call for under way at once, at most.
const CALLED_FOR: usize = 1_024;

/// Replicas that are newer than the state and were heard, at most.
const HEARD: usize = 64;

/// How a proposer hears of its command: where it was applied and with what result.
pub type CommandReply = oneshot::Sender<Result<(LogIndex, Applied), CommandError>>;

/// The cluster's state on this broker.
pub(super) struct Metadata {
    state: ClusterState,
    published: watch::Sender<Arc<ClusterState>>,
    role: GroupRole,
    /// The first voters, which have their broker's number until it is registered.
    founders: Vec<Founder>,
    /// Replicas that are newer than the state, each with the broker that speaks for it: whoever joins, or was away for
    /// long, hears the leader before it knows of its registration.
    heard: BTreeMap<ReplicaId, BrokerId>,
    /// What was committed at the last tick.
    committed: LogIndex,
    /// Term of the last entry that was applied.
    applied_term: Term,
    /// The log's end when it was opened, its term, and the next replica id to be given as of then.
    known_at_start: LogIndex,
    term_at_start: Term,
    next_replica_at_start: ReplicaId,
    pending: BTreeMap<LogIndex, (Term, CommandReply)>,
    /// Commands that groups call for and that were proposed in this term and not applied yet.
    called_for: HashSet<Bytes>,
    /// See [`Metadata::is_caught_up`].
    caught_up: bool,
    /// Entries that the log held when its snapshot was too large to be sent.
    pub(super) too_large_at: u64,
}

impl Metadata {
    /// The state published so far is that of `start`. `known` is the last entry that the disk holds, `term` its term.
    pub(super) fn new(
        published: watch::Sender<Arc<ClusterState>>,
        founders: Vec<Founder>,
        start: LogStart,
        known: LogIndex,
        term: Term,
    ) -> Self {
        let state = ClusterState::clone(&published.borrow());
        Self {
            known_at_start: known,
            term_at_start: term,
            caught_up: known == start.before(),
            too_large_at: 0,
            next_replica_at_start: state.next_replica(),
            state,
            published,
            founders,
            heard: BTreeMap::new(),
            committed: 0,
            applied_term: 0,
            role: GroupRole { term: 0, leads: false, leader: None },
            pending: BTreeMap::new(),
            called_for: HashSet::new(),
        }
    }

    pub(super) fn state(&self) -> &ClusterState {
        &self.state
    }

    /// The broker that holds a replica of this group.
    pub(super) fn broker_of(&self, replica: ReplicaId) -> Option<BrokerId> {
        self.home_of(replica).map(|(broker, _)| broker)
    }

    /// The broker that holds a replica, and the disk, unless that is newer than the state.
    fn home_of(&self, replica: ReplicaId) -> Option<(BrokerId, Option<DiskId>)> {
        if let Some(broker) = self.state.metadata_replica(replica) {
            return Some((broker.id, Some(broker.disk)));
        }
        let founder = self.unregistered_founders().find(|(_, founder)| founder.replica == replica);
        let newer = || Some((*self.heard.get(&replica).filter(|_| self.is_newer(replica))?, None));
        founder.map(|(broker, founder)| (broker, Some(founder.disk))).or_else(newer)
    }

    fn unregistered_founders(&self) -> impl Iterator<Item = (BrokerId, &Founder)> {
        let founders =
            self.founders.iter().filter_map(|founder| Some((founder_broker(founder.replica)?, founder)));
        founders.filter(|(broker, founder)| {
            self.state.broker(*broker).is_none() && !self.state.retired_disks().contains_key(&founder.disk)
        })
    }

    fn is_newer(&self, replica: ReplicaId) -> bool {
        replica >= self.state.next_replica()
    }

    /// A broker speaks for a replica.
    pub(super) fn hear_of(&mut self, replica: ReplicaId, from: BrokerId) {
        if self.is_newer(replica) && self.heard.get(&replica) != Some(&from) {
            if self.heard.len() >= HEARD {
                self.heard.clear();
            }
            self.heard.insert(replica, from);
        }
    }

    /// The replica of this group on a broker.
    pub(super) fn replica_on(&self, broker: BrokerId) -> Option<ReplicaId> {
        if let Some(known) = self.state.broker(broker) {
            return known.metadata_replica;
        }
        let founder = self.unregistered_founders().find(|(id, _)| *id == broker);
        founder.map(|(_, founder)| founder.replica)
    }

    /// The replicas that there are by the state, each with its broker and that one's rack.
    pub(super) fn homes(&self) -> impl Iterator<Item = (BrokerId, ReplicaId, Option<&str>)> {
        let registered = self
            .state
            .brokers()
            .filter_map(|broker| Some((broker.id, broker.metadata_replica?, broker.rack.as_deref())));
        let founders = self.unregistered_founders();
        registered.chain(founders.map(|(broker, founder)| (broker, founder.replica, None)))
    }

    /// Whether a replica's broker is heard, on the disk with that replica.
    pub(super) fn is_up(&self, replica: ReplicaId, liveness: &Liveness) -> bool {
        match self.home_of(replica) {
            Some((broker, Some(disk))) => liveness.is_up_on(broker, disk),
            Some((broker, None)) => liveness.is_up(broker),
            None => false,
        }
    }

    /// What was committed at the last call, which comes with each tick.
    pub(super) fn committed_a_tick_ago(&mut self, now: LogIndex) -> LogIndex {
        std::mem::replace(&mut self.committed, now)
    }

    /// What was committed at the last tick.
    pub(super) fn committed_before(&self) -> LogIndex {
        self.committed
    }

    /// Term of the last entry that was applied since the start.
    pub(super) fn applied_term(&self) -> Term {
        self.applied_term
    }

    /// Replicas with an id below this were there before this start.
    pub(super) fn next_replica_at_start(&self) -> ReplicaId {
        self.next_replica_at_start
    }

    /// Whether all is applied that had been applied before this start. The commit index on disk may be older than what
    /// was acted upon: until then, what the state does not name may be newer than the state.
    pub(super) fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    pub(super) fn role(&self) -> GroupRole {
        self.role
    }

    /// Follows what raft decided: commands of a lost leadership have an unknown fate.
    pub(super) fn follow_role(&mut self, group: &Group) {
        let role = group.role();
        if role.leads != self.role.leads || role.term != self.role.term {
            for (_, (_, reply)) in std::mem::take(&mut self.pending) {
                let _ = reply.send(Err(CommandError::Unknown));
            }
            self.called_for.clear();
            if role.leads {
                tracing::info!(epoch = role.term, "lead metadata group");
            }
        }
        self.role = role;
    }

    /// Proposes a command; the answer comes once it is applied here.
    pub(super) fn propose(
        &mut self,
        group: &mut Group,
        command: &Command,
        liveness: &Liveness,
        reply: CommandReply,
    ) {
        if let Some(refusal) = self.refusal_of(command, liveness).filter(|_| group.role().leads) {
            return drop(reply.send(Ok((self.state.applied(), Applied::Refused(refusal)))));
        }
        match group.propose(EntryKind::Command, command.encode(), 0) {
            Ok(index) => {
                self.pending.insert(index, (group.role().term, reply));
            }
            Err(ProposeError::NotLeader | ProposeError::Busy) => {
                drop(reply.send(Err(CommandError::NotLeader)))
            }
        }
    }

    /// What only liveness tells: no disk takes the place of one that is heard, and no broker that is heard is taken out.
    fn refusal_of(&self, command: &Command, liveness: &Liveness) -> Option<Refusal> {
        match command {
            Command::RegisterBroker(broker) => {
                let disk =
                    self.disk_replaced_by(broker).filter(|disk| liveness.is_up_on(broker.id, *disk))?;
                let allowed = format!(
                    "disk {disk} as long as broker {} is heard with it: stop that one first",
                    broker.id
                );
                let field = format!("disk of broker {}", broker.id);
                Some(Refusal::new(RefusalCode::BrokerAlive, field, broker.disk, allowed))
            }
            Command::UnregisterBroker(wanted) if liveness.is_up(wanted.broker) => {
                let allowed = "a broker that is not heard any more, and this one is: stop it first";
                Some(Refusal::new(RefusalCode::InvalidRequest, "broker id", wanted.broker, allowed))
            }
            _ => None,
        }
    }

    fn disk_replaced_by(&self, broker: &Broker) -> Option<DiskId> {
        let unregistered = || {
            let mut founders = self.unregistered_founders().map(|(_, founder)| founder);
            let founder = founders.find(|founder| founder.replica == founder_replica(broker.id))?;
            Some(founder.disk).filter(|disk| *disk != broker.disk)
        };
        self.state.disk_replaced_by(broker).or_else(unregistered)
    }

    /// Proposes a command that a group calls for, unless that is done already or the state would refuse it. Nobody waits
    /// for it: the group asks again as long as its state calls for it.
    pub(super) fn propose_called_for(&mut self, group: &mut Group, bytes: Bytes) {
        if !self.role.leads || self.called_for.len() >= CALLED_FOR || self.called_for.contains(&bytes) {
            return;
        }
        let fits = match Command::decode(&bytes) {
            Ok(Command::CompleteReassignment(done)) => {
                self.state.validate_complete_reassignment(&done).is_ok()
            }
            Ok(Command::ReplaceReplica(wanted)) => self.state.validate_replace_replica(&wanted).is_ok(),
            Ok(Command::AlterReassignment(wanted)) => self.state.validate_alter_reassignment(&wanted).is_ok(),
            Ok(Command::SetStanding(wanted)) => self.state.standing(wanted.broker) != wanted.standing,
            _ => false,
        };
        if fits && group.propose(EntryKind::Command, bytes.clone(), 0).is_ok() {
            self.called_for.insert(bytes);
        }
    }

    /// Takes over the state that stands for the log before `start`.
    pub(super) fn install(&mut self, snapshot: &[u8], start: LogStart) -> Result<(), SnapshotError> {
        self.state = ClusterState::from_snapshot(snapshot)?;
        // Which of its replicas came after this start it does not say: all may have been here before.
        self.next_replica_at_start = self.state.next_replica();
        self.caught_up |= start.before() >= self.known_at_start || start.term > self.term_at_start;
        self.called_for.clear();
        self.published.send_replace(Arc::new(self.state.clone()));
        Ok(())
    }

    /// Applies committed entries in order; true if there is something new to act upon.
    pub(super) fn apply(&mut self, committed: &[LogEntry]) -> Result<bool, DecodeError> {
        let caught_up_before = self.caught_up;
        let mut changed = false;
        for entry in committed {
            // A later leader's entry stands behind everything that was ever committed before it.
            self.caught_up |= entry.index >= self.known_at_start || entry.term > self.term_at_start;
            self.applied_term = entry.term;
            if entry.kind != EntryKind::Command {
                continue;
            }
            let command = Command::decode(&entry.payload)?;
            self.called_for.remove(&entry.payload);
            let applied = self.state.apply(entry.index, &command);
            if entry.index <= self.known_at_start {
                self.next_replica_at_start = self.state.next_replica();
            }
            changed = true;
            if let Applied::MetadataRecovered { .. } | Applied::PartitionRecovered { .. } = applied
                && entry.index > self.known_at_start
                && let Some(recovery) = self.state.recoveries().last()
            {
                tracing::warn!(by = recovery.by, what = ?recovery.what, "recovered by a person");
            }
            if let Some((term, reply)) = self.pending.remove(&entry.index) {
                let result =
                    if term == entry.term { Ok((entry.index, applied)) } else { Err(CommandError::Unknown) };
                let _ = reply.send(result);
            }
        }
        if changed {
            self.published.send_replace(Arc::new(self.state.clone()));
        }
        Ok(changed || self.caught_up != caught_up_before)
    }
}

#[cfg(test)]
mod tests {
    use chronik_core::metadata::AllocateProducerIds;

    use super::*;

    fn entry(index: LogIndex, term: Term, kind: EntryKind) -> LogEntry {
        let command = AllocateProducerIds { broker: chronik_core::ids::BrokerId(1) };
        let payload = match kind {
            EntryKind::Command => Command::AllocateProducerIds(command).encode(),
            _ => Bytes::new(),
        };
        LogEntry { index, term, kind, base_offset: 0, records: 0, max_timestamp: -1, producer: None, payload }
    }

    fn started(known: LogIndex, term: Term) -> Metadata {
        let cluster = ClusterState::new("test".parse().unwrap());
        Metadata::new(watch::Sender::new(Arc::new(cluster)), Vec::new(), LogStart::default(), known, term)
    }

    #[test]
    fn after_a_start_the_state_is_old_until_the_log_that_was_there_is_applied() {
        let mut metadata = started(5, 2);
        assert!(metadata.apply(&[entry(1, 1, EntryKind::Command), entry(4, 2, EntryKind::Command)]).unwrap());
        assert!(!metadata.is_caught_up());
        assert!(metadata.apply(&[entry(5, 2, EntryKind::Empty)]).unwrap(), "now it may be acted upon");
        assert!(metadata.is_caught_up() && started(0, 0).is_caught_up());
    }

    #[test]
    fn a_later_leader_s_entry_ends_the_wait_where_it_replaced_the_end_of_that_log() {
        let mut metadata = started(5, 2);
        assert!(metadata.apply(&[entry(4, 3, EntryKind::Empty)]).unwrap());
        assert!(metadata.is_caught_up());
    }
}
