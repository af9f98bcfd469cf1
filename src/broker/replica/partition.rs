//! One Kafka partition's replica on top of its Raft group: appends, ISR, high watermark, view, caretaker. No I/O.

mod quiet;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chronik_core::ids::{BrokerId, DiskId, GroupId, LogIndex, ReplicaId, Term};
use chronik_core::replication::Position;
use chronik_core::replication::caretaker::{self, Outlook};
use chronik_core::replication::configuration::Configuration;
use chronik_core::replication::gate::{self, Acks, Refusal, Standing, Verdict};
use chronik_core::replication::high_watermark::{HighWatermark, effective_min_isr};
use chronik_core::replication::isr::{IsrChange, IsrConfig, IsrTracker, Leadership as LeaderStart};
use chronik_core::replication::preferred;
use chronik_core::replication::producer_state::ProducerState;
use chronik_core::replication::reassignment::{self, Step};
use chronik_core::view::{FollowerLag, PartitionView, ViewVersion};

use super::append::{AppendError, AppendReply, AppendRequest, Appended};
use super::clock::Now;
use super::engine::{EngineCounts, MemberState};
use super::handle::{Leadership, PartitionHandle};
use super::leading::{Leading, Waiter, Waiters};
use super::liveness::Liveness;
use super::orphans::Orphans;
use super::parked::Parked;
use super::producers;
use super::views::Views;
use crate::log::{EntryKind, LogEntry};
use crate::quorum::{Group, GroupRole, ProposeError};

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

/// A survivor shows itself only after this long without a leader: an ordinary failover takes less.
const CARETAKER_PATIENCE_MS: u64 = 500;

/// A member of the ISR may trail by its whole lag budget; consumers are sent to one that is this close at most.
const READABLE_LAG_MS: u64 = 1_000;

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
        let lost = [Acks::All, Acks::Leader].map(|acks| unconfirmed(acks, &leading, required));
        for (waiters, lost) in [leading.for_all, leading.for_leader].into_iter().zip(&lost) {
            self.orphans.adopt(waiters, lost, around.now.ms);
        }
        self.producers.forget_refusals();
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

    /// The leader's next step towards the replicas there shall be.
    pub(super) fn next_step(&self, group: &Group, around: Surroundings<'_>) -> Step {
        let Some(leading) = &self.leading else { return Step::Settled };
        let in_sync: Vec<ReplicaId> = leading.tracker.isr().iter().collect();
        let caught_up: Vec<ReplicaId> = leading.tracker.caught_up_learners().collect();
        let members = self.assignment.members.iter();
        let draining = members.filter(|member| around.liveness.is_draining(member.broker));
        let draining: Vec<ReplicaId> = draining.map(|member| member.replica).collect();
        reassignment::decide(&reassignment::Outlook {
            own: group.replica(),
            target: &self.assignment.target,
            observers: &[],
            moving: self.assignment.moving.is_some(),
            configuration: &self.configuration,
            change_pending: group.is_changing(),
            alive: &self.alive(around),
            draining: &draining,
            in_sync: &in_sync,
            caught_up: &caught_up,
            min_isr: self.assignment.isr.min_isr,
        })
    }

    /// An append answer arrived from `replica`.
    pub(super) fn follower_answered(&mut self, replica: ReplicaId, group: &Group, around: Surroundings<'_>) {
        let Some(leading) = &mut self.leading else { return };
        let Some(index) = group.matched(replica) else { return };
        let synced = Position { index, offset: group.position_of(index) };
        let change = leading.tracker.follower_synced(replica, synced, around.now.ms);
        self.report(change, around);
    }

    /// A heartbeat answer arrived from `replica`.
    pub(super) fn follower_heard(&mut self, replica: ReplicaId, now: Now) {
        if let Some(leading) = &mut self.leading {
            leading.tracker.heard(replica, now.ms);
        }
    }

    /// Node liveness spoke about a broker.
    pub(super) fn heard_of(&mut self, broker: BrokerId, around: Surroundings<'_>) {
        if let Some(member) = self.assignment.members.iter().find(|member| member.broker == broker).copied() {
            self.replica_alive(member.replica, member.is_up(around.liveness), around);
        }
    }

    fn replica_alive(&mut self, replica: ReplicaId, alive: bool, around: Surroundings<'_>) {
        if let Some(leading) = &mut self.leading {
            let change = leading.tracker.set_alive(replica, alive, around.now.ms);
            self.report(change, around);
        }
    }

    /// The periodic check of the ISR.
    pub(super) fn check_isr(&mut self, around: Surroundings<'_>) {
        if let Some(leading) = &mut self.leading {
            let change = leading.tracker.check(around.now.ms);
            self.report(change, around);
        }
        self.watch_preferred(around);
    }

    /// Notes since when the preferred replica could lead.
    fn watch_preferred(&mut self, around: Surroundings<'_>) {
        let preferred = self.assignment.target.first().copied();
        if let (Some(leading), Some(preferred)) = (&mut self.leading, preferred) {
            let in_sync = leading.tracker.isr().contains(preferred) && !leading.tracker.is_provisional();
            let since = leading.preferred_since_ms.unwrap_or(around.now.ms);
            leading.preferred_since_ms = in_sync.then_some(since);
        }
    }

    /// The preferred replica and what is known of it, if this replica leads in its place.
    pub(super) fn preferred(
        &self,
        group: &Group,
        around: Surroundings<'_>,
    ) -> Option<(ReplicaId, preferred::Outlook)> {
        let leading = self.leading.as_ref()?;
        let preferred = *self.assignment.target.first().filter(|replica| **replica != group.replica())?;
        let draining = self.broker_of(preferred).is_none_or(|broker| around.liveness.is_draining(broker));
        let members_change =
            self.assignment.moving.is_some() || self.configuration.is_joint() || group.is_changing();
        let in_sync_ms = leading
            .tracker
            .isr()
            .contains(preferred)
            .then(|| leading.preferred_since_ms.map_or(0, |since| around.now.ms.saturating_sub(since)));
        Some((preferred, preferred::Outlook { members_change, draining, in_sync_ms }))
    }

    fn report(&self, change: Option<IsrChange>, around: Surroundings<'_>) {
        let Some(change) = change else { return };
        around.counts.expands.fetch_add(change.joined.len() as u64, Ordering::Relaxed);
        around.counts.shrinks.fetch_add(change.left.len() as u64, Ordering::Relaxed);
        for replica in &change.joined {
            let broker = self.broker_of(*replica).map_or(0, |broker| broker.0);
            tracing::info!(topic = %self.handle.topic_name, partition = self.handle.partition, broker, "expand ISR");
        }
        for (replica, reason) in &change.left {
            let broker = self.broker_of(*replica).map_or(0, |broker| broker.0);
            tracing::warn!(
                topic = %self.handle.topic_name, partition = self.handle.partition, broker, ?reason, "shrink ISR"
            );
        }
    }

    /// A leader's view was heard: it says whether this replica is in sync.
    pub(super) fn hear_view(&self, around: Surroundings<'_>) {
        let isr = around.views.last(self.group()).map(|view| view.isr).unwrap_or_default();
        self.handle.set_in_sync(isr.contains(&around.own));
    }

    /// Another broker published its view as leader: a caretaker of an epoch up to that one gives way. True if Raft has not
    /// told of such a term here.
    pub(super) fn hear_of_leader(&mut self, term: Term, around: Surroundings<'_>) -> bool {
        if term >= self.real_leader.epoch && !self.role.leads {
            self.leaderless_since_ms = Some(around.now.ms);
            self.set_caretaker(None, around);
            self.show_leadership();
        }
        term > self.role.term
    }

    /// Shows each follower's lag to whoever asks this broker.
    pub(super) fn show_followers(&self, now: Now) {
        if let Some(leading) = &self.leading {
            self.handle.set_followers(self.follower_lags(now), now.ms);
            let stats = leading.tracker.stats(now.ms).into_iter();
            let close = stats.filter(|stats| stats.in_sync && stats.lag_ms <= READABLE_LAG_MS);
            let brokers = close.filter_map(|stats| self.broker_of(stats.replica)).collect();
            self.handle.set_readable_followers(brokers);
        }
    }

    /// What the current leader says its high watermark is.
    pub(super) fn leader_says(&mut self, term: Term, sent: LogIndex, group: &Group) {
        self.mark.follow(term, sent, group.commit());
    }

    /// Followers to ask for an answer, since raft sends them nothing by itself.
    pub(super) fn unanswered(&self) -> Vec<ReplicaId> {
        self.leading.as_ref().map(|leading| leading.tracker.unanswered().collect()).unwrap_or_default()
    }

    /// Notes entries that were drained from raft: keeps the producer state along the log.
    pub(super) fn entries_appended(&mut self, entries: &[LogEntry], now: Now) {
        let own_term = self.leading.as_ref().map(|leading| leading.term);
        for entry in entries {
            if entry.index <= self.recorded && own_term == Some(entry.term) {
                continue;
            }
            if entry.index <= self.recorded {
                self.producers.truncate_from(entry.index);
            }
            self.recorded = entry.index;
            producers::record(&mut self.producers, &entry.meta(), now.unix_ms);
        }
    }

    // ---- produce ------------------------------------------------------------------------------------------------

    /// Appends a batch, or refuses it; the answer goes through `reply`, at once or when its acks rule holds.
    pub(super) fn append_now(
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

    fn try_append(
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

    fn append_if_admitted(
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
    pub(super) fn gate(&self, acks: Acks, around: Surroundings<'_>) -> Result<(), AppendError> {
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

    pub(super) fn not_leader(&self) -> AppendError {
        let leader = self.role.leader.filter(|_| !self.role.leads).and_then(|leader| self.broker_of(leader));
        AppendError::NotLeader { leader, epoch: self.role.term }
    }

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

    /// Notes when a hand-over begins, and that one was given up.
    fn watch_hand_over(&mut self, group: &Group, now: Now) {
        if self.role.leads && group.is_transferring() {
            self.handing_over_since_ms.get_or_insert(now.ms);
        } else if self.role.leads {
            self.handing_over_since_ms = None;
        }
    }

    /// Notes how long a hand-over took, from the last batch that was taken here to the next leader's first word: the time in
    /// which nobody could take one, at most.
    fn note_hand_over(&mut self, around: Surroundings<'_>) {
        if self.role.leads || self.role.leader.is_none() {
            return;
        }
        let Some(since_ms) = self.handing_over_since_ms.take() else { return };
        let took_ms = around.now.ms.saturating_sub(since_ms);
        around.counts.handed_over(took_ms);
        tracing::info!(
            topic = %self.handle.topic_name, partition = self.handle.partition, took_ms, "handed leadership over"
        );
    }

    /// Answers produces whose time is over, decides about the caretaker's role.
    pub(super) fn tick(&mut self, group: &Group, around: Surroundings<'_>) {
        let required = self.effective_min_isr();
        if let Some(leading) = &mut self.leading {
            let (all, leader) =
                (unconfirmed(Acks::All, leading, required), unconfirmed(Acks::Leader, leading, required));
            leading.for_all.expire(around.now.ms, &all);
            leading.for_leader.expire(around.now.ms, &leader);
        }
        self.settle_orphans(group, around);
        self.decide_caretaker(group, around);
    }

    fn decide_caretaker(&mut self, group: &Group, around: Surroundings<'_>) {
        if self.role.leader.is_some() {
            return;
        }
        let leaderless_ms = self.leaderless_since_ms.map_or(0, |since| around.now.ms.saturating_sub(since));
        let last_isr = around.views.last(self.group()).map(|view| view.isr).unwrap_or_default();
        let outlook = Outlook {
            is_voter: group.is_voter(),
            in_last_known_isr: last_isr.contains(&around.own),
            last_leader_term: self.real_leader.epoch,
            led_it: self.real_leader.broker == Some(around.own),
            leader_known_dead: self.real_leader.broker.is_some_and(|broker| around.liveness.is_dead(broker)),
            reaches_majority: self.reaches_majority(around),
            without_leader_ms: leaderless_ms,
        };
        let decision = caretaker::decide(&outlook, CARETAKER_PATIENCE_MS);
        self.set_caretaker(decision, around);
        self.show_leadership();
    }

    fn set_caretaker(&mut self, epoch: Option<Term>, around: Surroundings<'_>) {
        if self.caretaker != epoch {
            self.caretaker = epoch;
            around.views.set_caretaker(self.group(), epoch);
        }
    }

    fn show_leadership(&self) {
        self.handle.set_leadership(match (self.caretaker, &self.leading) {
            (Some(epoch), _) => Leadership::Caretaker { epoch },
            (None, Some(leading)) => Leadership::Leader { epoch: leading.term },
            (None, None) => Leadership::Follower {
                leader: self.role.leader.and_then(|leader| self.broker_of(leader)),
                epoch: self.role.term,
            },
        });
    }

    /// Publishes the leader's view if it differs from the last one.
    fn publish(&mut self, around: Surroundings<'_>) -> Option<PartitionView> {
        let effective_min_isr = self.effective_min_isr();
        let leading = self.leading.as_ref()?;
        let mut isr: Vec<BrokerId> =
            leading.tracker.isr().iter().filter_map(|replica| self.broker_of(replica)).collect();
        isr.sort_unstable();
        let version = leading.published.as_ref().map_or(1, |view| view.at.version);
        let mut view = PartitionView {
            group: self.handle.group,
            topic: self.handle.topic,
            partition: self.handle.partition,
            at: ViewVersion { term: leading.term, version },
            leader: around.own,
            isr,
            effective_min_isr,
            provisional: leading.tracker.is_provisional(),
            metadata_index: self.assignment.since,
        };
        let leading = self.leading.as_mut()?;
        if let Some(published) = &leading.published {
            if *published == view {
                return None;
            }
            view.at.version += 1;
        }
        leading.published = Some(view.clone());
        around.views.publish(view.clone(), around.now.ms);
        Some(view)
    }

    /// The high watermark as a log index.
    pub(super) fn high_watermark(&self) -> LogIndex {
        self.mark.value()
    }

    /// The first index of the term this replica leads in; 0 if it does not lead.
    pub(super) fn epoch_start(&self) -> LogIndex {
        self.leading.as_ref().map_or(0, |leading| leading.epoch_start)
    }

    /// The ISR with each member's synced position, as this leader counts it; empty if it does not lead.
    pub(super) fn isr_members(&self, group: &Group) -> Vec<MemberState> {
        let Some(leading) = &self.leading else { return Vec::new() };
        let synced = |replica| {
            if replica == group.replica() {
                Some(group.synced_index())
            } else {
                leading.tracker.synced(replica)
            }
        };
        let members = leading.tracker.isr().iter();
        members
            .filter_map(|replica| {
                Some(MemberState { replica, broker: self.broker_of(replica)?, synced: synced(replica) })
            })
            .collect()
    }

    /// The view this leader stands by.
    pub(super) fn published(&self) -> Option<&PartitionView> {
        self.leading.as_ref().and_then(|leading| leading.published.as_ref())
    }

    /// Whether followers have not been told of the high watermark yet.
    pub(super) fn has_untold_high_watermark(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.told != self.mark.value())
    }

    /// The high watermark to tell followers, if it moved since the last time.
    pub(super) fn untold_high_watermark(&mut self) -> Option<(Term, LogIndex)> {
        let high_watermark = self.mark.value();
        let leading = self.leading.as_mut()?;
        if leading.told == high_watermark {
            return None;
        }
        leading.told = high_watermark;
        Some((leading.term, high_watermark))
    }

    /// Tells the high watermark again with the next round: on an idle partition, a follower that has come since, or whose
    /// frame was lost, would never hear it.
    pub(super) fn repeat_high_watermark(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.told = 0;
        }
    }

    /// Each follower's lag, if this replica leads.
    pub(super) fn follower_lags(&self, now: Now) -> Vec<FollowerLag> {
        let Some(leading) = &self.leading else { return Vec::new() };
        let stats = leading.tracker.stats(now.ms);
        stats
            .into_iter()
            .filter_map(|stats| {
                Some(FollowerLag {
                    broker: self.broker_of(stats.replica)?,
                    lag_entries: stats.lag_entries.unwrap_or(0),
                    lag_ms: stats.lag_ms,
                    last_heartbeat_ms: stats
                        .last_heartbeat_ms
                        .map_or(0, |ms| now.unix_ms.saturating_sub(now.ms.saturating_sub(ms))),
                })
            })
            .collect()
    }

    /// The live member of the ISR that is furthest, for a hand-over; none if this replica does not lead.
    pub(super) fn best_successor(&self, group: &Group, around: Surroundings<'_>) -> Option<ReplicaId> {
        let leading = self.leading.as_ref()?;
        let candidates = self.assignment.members.iter().filter(|member| {
            member.broker != around.own
                && member.is_up(around.liveness)
                && !around.liveness.is_draining(member.broker)
                && leading.tracker.isr().contains(member.replica)
        });
        // Among equals the preferred replica, which comes first.
        candidates.rev().max_by_key(|member| group.matched(member.replica)).map(|member| member.replica)
    }
}

/// What an appended and unconfirmed produce is told.
fn unconfirmed(acks: Acks, leading: &Leading, required: u32) -> AppendError {
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
