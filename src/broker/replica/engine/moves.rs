//! Moves of replicas: the leader of each group carries out what core decides, and calls for what metadata must note.

use std::collections::BTreeMap;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, GroupId, ReplicaId};
use chronik_core::metadata::{Command, CompleteReassignment, ReplaceReplica};
use chronik_core::replication::reassignment::Step;

use super::Engine;
use crate::quorum::{Group, MembershipChange};
use crate::replica::frame::Frame;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;
use crate::replica::partition::Partition;

/// Commands called for in one tick, at most; the rest follow with the next ones.
const COMMANDS_PER_TICK: usize = 256;

/// A replica is out of service for this long at least before another takes its place: people shall see that it was, and
/// a fault that comes again shall not copy the log again and again.
const QUARANTINE_MS: u64 = 10_000;

impl<T: Transport> Engine<T> {
    /// Takes a group's next step towards the replicas it shall have, if it is led here.
    pub(super) fn advance_move(&mut self, id: GroupId) {
        if id == GroupId::METADATA {
            return self.advance_voters();
        }
        if self.draining.is_some() {
            return;
        }
        let mut wanted = None;
        self.guard(id, |hosted, around| {
            let Hosted { group, serves: Serves::Partition(partition), .. } = hosted else { return Ok(()) };
            wanted = replacement(group, partition);
            let step = partition.next_step(group, around);
            if step == Step::Complete {
                wanted = completion(partition);
            } else {
                take(step, group);
            }
            Ok(())
        });
        if let Some(command) = wanted
            && self.wanted.len() < COMMANDS_PER_TICK
        {
            self.wanted.insert(id, command);
        }
    }

    /// Tells the leaders of partitions which replicas here are out of service for good: a leader has all that was
    /// committed, and with its word the replica may be replaced. Without a leader the replica stays as it is.
    pub(super) fn tell_quarantined(&mut self) {
        if self.stopped.is_some() || self.quarantined.is_empty() {
            return;
        }
        let mut told: BTreeMap<BrokerId, Vec<(GroupId, ReplicaId)>> = BTreeMap::new();
        for handle in self.shared.partitions.all() {
            let since = self.quarantined.get(&handle.group);
            let lasting = since.is_some_and(|since| self.now.ms.saturating_sub(*since) >= QUARANTINE_MS);
            if lasting && let Some(view) = self.shared.views.last(handle.group) {
                told.entry(view.leader).or_default().push((handle.group, handle.replica));
            }
        }
        for (leader, mut replicas) in told {
            replicas.truncate(COMMANDS_PER_TICK);
            self.outbox.send(leader, Frame::Quarantined(replicas).encode());
        }
    }

    /// Calls for new replicas in place of those that another broker took out of service, where this one leads.
    pub(super) fn hear_quarantined(&mut self, from: BrokerId, replicas: &[(GroupId, ReplicaId)]) {
        for (group, replica) in replicas.iter().take(COMMANDS_PER_TICK) {
            let Some(Hosted { group: led, serves: Serves::Partition(partition), .. }) =
                self.hosted.get(group)
            else {
                continue;
            };
            if led.role().leads && partition.broker_of(*replica) == Some(from) {
                let wanted = ReplaceReplica { group: *group, replica: *replica };
                self.wanted.insert(*group, Command::ReplaceReplica(wanted));
            }
        }
    }

    /// Brings the commands called for to the metadata leader.
    pub(super) fn ask_for_wanted(&mut self) {
        let wanted = std::mem::take(&mut self.wanted);
        if wanted.is_empty() {
            return;
        }
        let commands: Vec<Bytes> = wanted.values().map(Command::encode).collect();
        let leader = *self.shared.metadata_leader.borrow();
        match leader {
            Some(leader) if leader == self.config.broker => self.hear_commands(leader, &commands),
            Some(leader) => self.outbox.send(leader, Frame::Commands(commands).encode()),
            None => {}
        }
    }

    /// Proposes what groups led by a broker call for, if the metadata group is led here.
    pub(super) fn hear_commands(&mut self, from: BrokerId, commands: &[Bytes]) {
        if commands.len() > COMMANDS_PER_TICK {
            tracing::warn!(%from, commands = commands.len(), "drop commands: too many at once");
            return;
        }
        self.guard(GroupId::METADATA, |hosted, _| {
            if let Hosted { group, serves: Serves::Metadata(metadata), .. } = hosted {
                commands.iter().for_each(|command| metadata.propose_called_for(group, command.clone()));
            }
            Ok(())
        });
        self.touched.insert(GroupId::METADATA);
    }
}

/// Calls for another replica in the place of one whose disk was replaced: whoever leads has all that was committed.
fn replacement(group: &Group, partition: &Partition) -> Option<Command> {
    let lost = partition.assignment.lost.filter(|_| group.role().leads)?;
    Some(Command::ReplaceReplica(ReplaceReplica { group: partition.group(), replica: lost }))
}

fn completion(partition: &Partition) -> Option<Command> {
    let since = partition.assignment.moving?;
    Some(Command::CompleteReassignment(CompleteReassignment { group: partition.group(), since }))
}

/// Carries out a step. What is refused now is decided anew at the next tick.
pub(super) fn take(step: Step, group: &mut Group) {
    let change = match step {
        Step::Settled | Step::Wait | Step::Complete => return,
        Step::AddLearner(replica) => MembershipChange::AddLearner(replica),
        Step::RemoveLearner(replica) => MembershipChange::RemoveLearner(replica),
        Step::ChangeVoters(next) => MembershipChange::EnterJoint(next),
        Step::LeaveJoint => MembershipChange::LeaveJoint,
        Step::TransferLeadership(to) => {
            if !group.is_transferring() {
                group.transfer_leadership(to);
            }
            return;
        }
    };
    let _ = group.propose_membership(change);
}
