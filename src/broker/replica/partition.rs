//! One Kafka partition's replica on top of its Raft group: appends, ISR, high watermark, view, caretaker. No I/O.

mod appending;
mod confirming;
mod followers;
mod quiet;
mod showing;
mod succession;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronik_core::ids::{BrokerId, DiskId, GroupId, LogIndex, ReplicaId, Term};
use chronik_core::replication::Position;
use chronik_core::replication::configuration::Configuration;
use chronik_core::replication::gate::Acks;
use chronik_core::replication::high_watermark::{HighWatermark, effective_min_isr};
use chronik_core::replication::isr::{IsrConfig, IsrTracker, Leadership as LeaderStart};
use chronik_core::replication::producer_state::ProducerState;
use chronik_core::view::PartitionView;

use super::clock::Now;
use super::engine::EngineCounts;
use super::handle::{Leadership, PartitionHandle};
use super::leading::{Leading, Waiters};
use super::liveness::Liveness;
use super::orphans::Orphans;
use super::parked::Parked;
use super::producers;
use super::views::Views;
use crate::quorum::{Group, GroupRole};

/// What a partition sees of its surroundings while it handles one event.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) own: BrokerId,
    pub(super) now: Now,
    pub(super) liveness: &'a Liveness,
    pub(super) views: &'a Views,
    pub(super) metadata_index: LogIndex,
    pub(super) counts: &'a EngineCounts,
}

/// A replica's Raft id, and the broker and disk that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) replica: ReplicaId,
    pub(super) broker: BrokerId,
    pub(super) disk: DiskId,
}

impl Member {
    fn is_up(&self, liveness: &Liveness) -> bool {
        liveness.is_up_on(self.broker, self.disk)
    }
}

/// What metadata says about the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Assignment {
    /// In order of preference; while replicas move, those that come and those that go.
    pub(super) members: Vec<Member>,
    /// The replicas there shall be, in order of preference.
    pub(super) target: Vec<ReplicaId>,
    /// One of those whose disk was replaced: another replica must take its place.
    pub(super) lost: Option<ReplicaId>,
    /// The move that is under way, by the metadata index that began it.
    pub(super) moving: Option<LogIndex>,
    /// A person made the replica here all that is left of the partition, from this epoch on.
    pub(super) alone_from: Option<Term>,
    pub(super) isr: IsrConfig,
    /// Metadata index at which members or limits last changed.
    pub(super) since: LogIndex,
}

/// The last leader that really led: its epoch is what a caretaker may show.
#[derive(Clone, Copy, Default)]
struct RealLeader {
    epoch: Term,
    broker: Option<BrokerId>,
}

/// One partition's replica.
pub(super) struct Partition {
    pub(super) handle: Arc<PartitionHandle>,
    pub(super) assignment: Assignment,
    /// The group's members as its log says, which metadata may be ahead of.
    pub(super) configuration: Configuration,
    pub(super) role: GroupRole,
    pub(super) leading: Option<Leading>,
    pub(super) parked: Parked,
    pub(super) orphans: Orphans,
    /// When this leader began to hand over, if it does.
    handing_over_since_ms: Option<u64>,
    pub(super) producers: ProducerState,
    /// The last log index whose batch is in the producer state.
    recorded: LogIndex,
    mark: HighWatermark,
    real_leader: RealLeader,
    leaderless_since_ms: Option<u64>,
    caretaker: Option<Term>,
}

impl Partition {
    pub(super) fn new(handle: Arc<PartitionHandle>, assignment: Assignment, group: &Group, now: Now) -> Self {
        let log = handle.log();
        let producers = producers::recover(log, group.commit(), now.unix_ms);
        let last_term = log.term(log.last_index()).unwrap_or(0);
        Self {
            recorded: log.last_index(),
            handle,
            assignment,
            configuration: group.configuration(),
            role: GroupRole { term: 0, leads: false, leader: None },
            leading: None,
            parked: Parked::default(),
            orphans: Orphans::default(),
            handing_over_since_ms: None,
            producers,
            mark: HighWatermark::new(0),
            real_leader: RealLeader { epoch: last_term, broker: None },
            leaderless_since_ms: Some(now.ms),
            caretaker: None,
        }
    }

    pub(super) fn group(&self) -> GroupId {
        self.handle.group
    }

    pub(super) fn broker_of(&self, replica: ReplicaId) -> Option<BrokerId> {
        self.assignment.members.iter().find(|member| member.replica == replica).map(|member| member.broker)
    }

    pub(super) fn replica_on(&self, broker: BrokerId) -> Option<ReplicaId> {
        self.assignment.members.iter().find(|member| member.broker == broker).map(|member| member.replica)
    }

    pub(super) fn follows(&self, broker: BrokerId) -> bool {
        !self.role.leads && self.role.leader.is_some_and(|leader| self.broker_of(leader) == Some(broker))
    }

    pub(super) fn effective_min_isr(&self) -> u32 {
        effective_min_isr(self.configuration.voters.len() as u32, self.assignment.isr.min_isr)
    }

    // ---- events -------------------------------------------------------------------------------------------------

    /// Follows what raft decided: begins or ends leadership. Call after every step, tick and drain.
    pub(super) fn follow_role(&mut self, group: &Group, around: Surroundings<'_>) {
        let role = group.role();
        if role == self.role {
            return;
        }
        let changed_leadership = role.leads != self.role.leads || (role.leads && role.term != self.role.term);
        self.role = role;
        self.mark.begin_term(role.term);
        if changed_leadership {
            self.stop_leading(around);
            if role.leads {
                self.start_leading(group, around);
            }
        }
        self.note_hand_over(around);
        if let Some(leader) = role.leader {
            self.real_leader = RealLeader { epoch: role.term, broker: self.broker_of(leader) };
            self.leaderless_since_ms = None;
            self.set_caretaker(None, around);
        } else {
            self.leaderless_since_ms.get_or_insert(around.now.ms);
        }
        self.show_leadership();
    }

    fn start_leading(&mut self, group: &Group, around: Surroundings<'_>) {
        around.counts.leaderships.fetch_add(1, Ordering::Relaxed);
        let known = around.views.last(self.group());
        let last_isr: Vec<ReplicaId> = known
            .iter()
            .flat_map(|view| view.isr.iter())
            .filter_map(|broker| self.replica_on(*broker))
            .collect();
        let alive = self.alive(around);
        let epoch_start = group.end_index();
        let mut tracker = IsrTracker::initialize(
            self.assignment.isr,
            LeaderStart {
                leader: group.replica(),
                voters: &self.configuration.voters,
                last_known_isr: &last_isr,
                alive: &alive,
                end: Position { index: epoch_start, offset: group.end_offset() },
                epoch_start,
                high_watermark: self.mark.value(),
            },
            around.now.ms,
        );
        tracker.set_learners(&self.configuration.learners, &alive, around.now.ms);
        self.leading = Some(Leading {
            term: self.role.term,
            epoch_start,
            tracker,
            required_metadata: known.map_or(0, |view| view.metadata_index),
            for_all: Waiters::default(),
            for_leader: Waiters::default(),
            published: None,
            preferred_since_ms: None,
            told: 0,
        });
        tracing::info!(
            topic = %self.handle.topic_name, partition = self.handle.partition, epoch = self.role.term,
            "lead partition"
        );
    }

    fn stop_leading(&mut self, around: Surroundings<'_>) {
        let Some(leading) = self.leading.take() else { return };
        around.views.disown(self.group(), around.own);
        let required = self.effective_min_isr();
        let lost = [Acks::All, Acks::Leader].map(|acks| appending::unconfirmed(acks, &leading, required));
        for (waiters, lost) in [leading.for_all, leading.for_leader].into_iter().zip(&lost) {
            self.orphans.adopt(waiters, lost, around.now.ms);
        }
        self.handle.set_followers(Vec::new(), 0);
        self.handle.set_readable_followers(Vec::new());
    }

    /// Leaves service: every waiting produce is answered.
    pub(super) fn quarantine(&mut self, reason: String, around: Surroundings<'_>) {
        self.stop_leading(around);
        self.orphans.fail();
        for (_, reply) in self.parked.take() {
            drop(reply.send(Err(self.not_leader())));
        }
        self.set_caretaker(None, around);
        self.handle.set_leadership(Leadership::Quarantined { reason });
    }

    /// Takes what metadata says now. Who votes is the group's own log to say.
    pub(super) fn assign(&mut self, assignment: Assignment, around: Surroundings<'_>) {
        let before = std::mem::replace(&mut self.assignment, assignment);
        if let Some(leading) = &mut self.leading {
            leading.tracker.set_config(self.assignment.isr);
        }
        // A replica that metadata names no more is being deleted, though the group's log may still call it a voter.
        let gone = before.members.iter().filter(|member| self.broker_of(member.replica).is_none());
        for replica in gone.map(|member| member.replica).collect::<Vec<_>>() {
            self.replica_alive(replica, false, around);
        }
        // A member of which metadata had not told yet was taken for dead.
        for member in self.assignment.members.clone() {
            self.replica_alive(member.replica, member.is_up(around.liveness), around);
        }
    }

    /// The group's configuration changed.
    pub(super) fn configured(&mut self, group: &Group, around: Surroundings<'_>) {
        self.configuration = group.configuration();
        let Configuration { voters, outgoing, learners } = &self.configuration;
        tracing::info!(
            topic = %self.handle.topic_name, partition = self.handle.partition, ?voters, ?outgoing, ?learners,
            "change members"
        );
        let alive = self.alive(around);
        if let Some(leading) = &mut self.leading {
            let change = leading.tracker.set_voters(&self.configuration.voters, &alive, around.now.ms);
            leading.tracker.set_learners(&self.configuration.learners, &alive, around.now.ms);
            self.report(change, around);
        }
    }

    fn alive(&self, around: Surroundings<'_>) -> Vec<ReplicaId> {
        let up = self.assignment.members.iter().filter(|member| member.is_up(around.liveness));
        up.map(|member| member.replica).collect()
    }

    // ---- produce ------------------------------------------------------------------------------------------------

    /// Whether a replica's broker is heard, on the disk with that replica.
    pub(super) fn is_up(&self, replica: ReplicaId, liveness: &Liveness) -> bool {
        let member = self.assignment.members.iter().find(|member| member.replica == replica);
        member.is_some_and(|member| member.is_up(liveness))
    }

    /// Whether voters that could decide are heard, this replica among them; during a change of voters, of both halves.
    pub(super) fn reaches_majority(&self, around: Surroundings<'_>) -> bool {
        self.configuration.has_majority(|replica| self.is_up(replica, around.liveness))
    }

    // ---- what follows from it -----------------------------------------------------------------------------------

    /// Moves the high watermark, answers produces and publishes the view; gives the view if it changed.
    pub(super) fn settle(&mut self, group: &Group, around: Surroundings<'_>) -> Option<PartitionView> {
        self.follow_role(group, around);
        let min_isr = self.effective_min_isr();
        match &self.leading {
            Some(leading) => self.mark.lead(leading.tracker.high_watermark_candidate(
                group.commit(),
                group.synced_index(),
                min_isr,
            )),
            None => self.mark.committed(group.commit()),
        };
        let high_watermark = self.mark.value();
        let reached = self.leading.as_ref().is_none_or(|leading| self.mark.reached(leading.epoch_start));
        self.handle.set_high_watermark(group.position_of(high_watermark), reached);
        self.producers.committed(group.commit());
        if let Some(leading) = &mut self.leading {
            leading.tracker.high_watermark_moved(high_watermark);
            leading.for_all.complete(high_watermark);
            leading.for_leader.complete(group.synced_index());
        }
        self.settle_orphans(group, around);
        self.watch_hand_over(group, around.now);
        self.publish(around)
    }

    /// Answers produces whose time is over, decides about the caretaker's role.
    pub(super) fn tick(&mut self, group: &Group, around: Surroundings<'_>) {
        let required = self.effective_min_isr();
        if let Some(leading) = &mut self.leading {
            let (all, leader) = (
                appending::unconfirmed(Acks::All, leading, required),
                appending::unconfirmed(Acks::Leader, leading, required),
            );
            leading.for_all.expire(around.now.ms, &all);
            leading.for_leader.expire(around.now.ms, &leader);
        }
        self.settle_orphans(group, around);
        self.decide_caretaker(group, around);
    }

    /// The high watermark as a log index.
    pub(super) fn high_watermark(&self) -> LogIndex {
        self.mark.value()
    }

    /// The first index of the term this replica leads in; 0 if it does not lead.
    pub(super) fn epoch_start(&self) -> LogIndex {
        self.leading.as_ref().map_or(0, |leading| leading.epoch_start)
    }
}
