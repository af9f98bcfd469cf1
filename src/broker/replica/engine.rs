//! All groups of this broker, driven by events: steps them, gathers one write and few frames per round. Sans-io.
//!
//! One round: take in events, then `finish_round` drains every group that was touched. Its entries join the write
//! that is being gathered; at most one write is under way, so whatever arrives meanwhile shares the next sync.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, DiskId, GroupId, LogIndex, ReplicaId};
use chronik_core::metadata::ClusterState;
use chronik_core::replication::isr::IsrConfig;
use chronik_core::view::{PartitionView, ViewVersion};
use tokio::sync::{oneshot, watch};

use super::append::{AppendError, AppendReply, AppendRequest};
use super::clock::Now;
use super::event::Event;
use super::frame::{Frame, LeaderHighWatermark};
use super::handle::{PartitionHandle, Partitions};
use super::hosted::{Hosted, InFlight, Serves};
use super::liveness::{Liveness, Loss};
use super::metadata::{CommandError, Metadata};
use super::outbox::{Outbox, Transport};
use super::partition::{Assignment, Member, Partition, Surroundings};
use super::views::Views;
use crate::log::{GroupHeader, GroupKind, GroupLog, HardState, Log, RecoveredGroup, WriteError, WriteOp};
use crate::quorum::{Drained, Group, GroupConfig, GroupFault, Outgoing, RaftMessage};

/// What the engine is told once.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// This broker.
    pub broker: BrokerId,
    /// Its data folder.
    pub disk: DiskId,
    /// Ticks without a leader before raft's own election; the engine usually acts sooner.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// How often the ISR is checked, and its limits where a topic sets none.
    pub isr: IsrConfig,
    /// Configs where a topic sets none.
    pub topics: TopicDefaults,
}

/// What the engine shares with the rest of the broker.
#[derive(Clone)]
pub struct Shared {
    /// The cluster's state as applied here.
    pub cluster: watch::Sender<Arc<ClusterState>>,
    /// Hosted replicas.
    pub partitions: Arc<Partitions>,
    /// Views of all partitions.
    pub views: Arc<Views>,
    /// Brokers heard.
    pub liveness: Arc<Liveness>,
    /// Leader of the metadata group, as known here.
    pub metadata_leader: watch::Sender<Option<BrokerId>>,
    /// Set when the log has stopped for good: nothing is served any more.
    pub log_stopped: Arc<AtomicBool>,
    /// Replicas that left and joined ISRs led here.
    pub isr_changes: Arc<IsrChanges>,
    /// Whether the metadata group runs on this disk: the cluster is formed, as far as this broker knows.
    pub formed: watch::Sender<Option<Vec<ReplicaId>>>,
}

/// Counts of replicas since the start.
#[derive(Debug, Default)]
pub struct IsrChanges {
    /// Left an ISR.
    pub shrinks: AtomicU64,
    /// Joined an ISR.
    pub expands: AtomicU64,
}

/// A broker's groups.
pub struct Engine<T> {
    config: EngineConfig,
    shared: Shared,
    log: Arc<Log>,
    hosted: BTreeMap<GroupId, Hosted>,
    /// Recovered replicas that metadata has not named yet.
    recovered: HashMap<GroupId, RecoveredGroup>,
    outbox: Outbox<T>,
    touched: BTreeSet<GroupId>,
    gathering: Gathering,
    /// The write under way, kept until it is known to be on disk.
    under_way: Option<(u64, Vec<WriteOp>)>,
    retry_at_ms: Option<u64>,
    stopped: Option<String>,
    last_check_ms: u64,
    pulse_due: bool,
    draining: Option<Vec<oneshot::Sender<()>>>,
    now: Now,
}

/// The write being put together.
#[derive(Default)]
struct Gathering {
    batch: u64,
    ops: Vec<WriteOp>,
}

/// After this long without a leader the most preferred live replica stands for election.
const FIRST_CAMPAIGN_MS: u64 = 50;
/// Each replica behind it in the order of preference waits this much longer.
const CAMPAIGN_STEP_MS: u64 = 250;
/// A replica that was not elected tries again after this long.
const CAMPAIGN_AGAIN_MS: u64 = 1_000;
/// A write that found the disk full is tried again after this long.
const FULL_DISK_RETRY_MS: u64 = 500;

impl<T: Transport> Engine<T> {
    /// An engine on a recovered log. The metadata group runs if the log holds it.
    pub fn new(
        config: EngineConfig,
        shared: Shared,
        log: Arc<Log>,
        recovered: Vec<RecoveredGroup>,
        transport: T,
        now: Now,
    ) -> Self {
        let mut engine = Self {
            config,
            shared,
            log,
            hosted: BTreeMap::new(),
            recovered: recovered.into_iter().map(|group| (group.group, group)).collect(),
            outbox: Outbox::new(transport),
            touched: BTreeSet::new(),
            gathering: Gathering::default(),
            under_way: None,
            retry_at_ms: None,
            stopped: None,
            last_check_ms: now.ms,
            pulse_due: true,
            draining: None,
            now,
        };
        if let Some(metadata) = engine.recovered.remove(&GroupId::METADATA) {
            engine.open_metadata(metadata);
        }
        engine
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event, now: Now) {
        self.now = now;
        match event {
            Event::Append { group, request, reply } => self.append(group, request, reply),
            Event::Propose { command, reply } => match self.hosted.get_mut(&GroupId::METADATA) {
                Some(Hosted { group, serves: Serves::Metadata(metadata), .. }) if self.stopped.is_none() => {
                    metadata.propose(group, &command, reply);
                    self.touched.insert(GroupId::METADATA);
                }
                _ => drop(reply.send(Err(CommandError::NotLeader))),
            },
            Event::PeerUp { broker, incarnation } => {
                if self.shared.liveness.incarnation(broker).is_some_and(|known| known != incarnation) {
                    self.peer_down(broker, Loss::Dead);
                }
                self.shared.liveness.up(broker, incarnation);
                self.peer_up(broker);
            }
            Event::PeerDown { broker, loss } => {
                self.shared.liveness.down(broker, loss);
                self.peer_down(broker, loss);
            }
            Event::PeerFrame { from, payload } => self.frame(from, payload),
            Event::Written(result) => self.written(result),
            Event::StartMetadata { voters } => self.start_metadata(voters),
            Event::Drain { reply } => self.draining.get_or_insert_default().push(reply),
            Event::Undrain => self.draining = None,
        }
    }

    /// Ends a round: drains what was touched, sends frames; gives the write to submit, if one may begin.
    pub fn finish_round(&mut self) -> Option<Vec<WriteOp>> {
        loop {
            while let Some(group) = self.touched.pop_first() {
                self.drain(group);
            }
            for (group, replica) in self.outbox.flush() {
                if let Some(hosted) = self.hosted.get_mut(&group) {
                    hosted.group.report_unreachable(replica);
                    self.touched.insert(group);
                }
            }
            if self.touched.is_empty() {
                break;
            }
        }
        self.tell_high_watermarks();
        if std::mem::take(&mut self.pulse_due) {
            self.pulse();
        }
        self.next_write()
    }

    fn next_write(&mut self) -> Option<Vec<WriteOp>> {
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

    /// One tick of every group's clock.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
        let check = now.ms.saturating_sub(self.last_check_ms) >= self.config.isr.check_interval_ms;
        if check {
            self.last_check_ms = now.ms;
            self.pulse_due = true;
        }
        let groups: Vec<GroupId> = self.hosted.keys().copied().collect();
        for group in groups {
            self.guard(group, |hosted, around| {
                hosted.group.tick();
                if let Serves::Partition(partition) = &mut hosted.serves {
                    partition.follow_role(&hosted.group, around);
                    if check {
                        partition.check_isr(around);
                        partition.show_followers(around.now);
                    }
                    partition.tick(&hosted.group, around);
                    for replica in partition.unanswered() {
                        hosted.group.ask(replica);
                    }
                }
                Ok(())
            });
            self.stand_for_election(group);
            self.touched.insert(group);
        }
        self.hand_over_leaderships();
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    /// Runs `work` on a group; a fault or a panic of raft takes that group out of service and nothing else.
    fn guard(
        &mut self,
        id: GroupId,
        work: impl FnOnce(&mut Hosted, Surroundings<'_>) -> Result<(), GroupFault>,
    ) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        let reason = match catch_unwind(AssertUnwindSafe(|| work(hosted, around))) {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(panic) => panic_text(&*panic),
        };
        self.quarantine(id, reason);
    }

    fn quarantine(&mut self, id: GroupId, reason: String) {
        let Some(mut hosted) = self.hosted.remove(&id) else { return };
        self.touched.remove(&id);
        match &mut hosted.serves {
            Serves::Partition(partition) => {
                let handle = &partition.handle;
                let damage = handle.log().damage().map(|damage| format!("{reason}: {damage}"));
                let reason = damage.unwrap_or(reason);
                tracing::error!(
                    topic = %handle.topic_name, partition = handle.partition, %reason, "take replica out of service"
                );
                let around = surroundings(&self.config, &self.shared, self.now);
                partition.quarantine(reason, around);
            }
            Serves::Metadata(_) => self.stop(format!("metadata group: {reason}")),
        }
    }

    /// Stops everything: what is not known to be on disk is acknowledged to nobody.
    fn stop(&mut self, reason: String) {
        tracing::error!(%reason, "stop all replicas of this broker");
        let groups: Vec<GroupId> = self.hosted.keys().copied().collect();
        for id in groups {
            if id != GroupId::METADATA {
                self.quarantine(id, reason.clone());
            }
        }
        self.hosted.remove(&GroupId::METADATA);
        self.shared.log_stopped.store(true, Ordering::Release);
        self.stopped = Some(reason);
    }

    fn open_metadata(&mut self, recovered: RecoveredGroup) {
        if let Some(damage) = &recovered.damage {
            return self.stop(format!("metadata group: {damage}"));
        }
        let voters = recovered.header.voters.clone();
        let config = GroupConfig {
            // Its state is rebuilt from the whole log.
            applied: 0,
            ..self.group_config(GroupId::METADATA, &recovered.header, None)
        };
        match Group::open(&config, recovered.log, recovered.state) {
            Ok(group) => {
                let metadata = Metadata::new(self.shared.cluster.clone());
                self.host(Hosted::new(group, Serves::Metadata(Box::new(metadata))));
                self.shared.formed.send_replace(Some(voters));
            }
            Err(fault) => self.stop(format!("metadata group: {fault}")),
        }
    }

    fn start_metadata(&mut self, voters: Vec<ReplicaId>) {
        if self.hosted.contains_key(&GroupId::METADATA) || self.stopped.is_some() {
            return;
        }
        let header = GroupHeader {
            kind: GroupKind::Metadata,
            topic: None,
            partition: 0,
            replica: ReplicaId(u64::from(self.config.broker.0)),
            voters,
            learners: Vec::new(),
        };
        let recovered = self.create(GroupId::METADATA, header);
        self.open_metadata(recovered);
    }

    /// A new, empty group; its creation is written before anything else of it.
    fn create(&mut self, group: GroupId, header: GroupHeader) -> RecoveredGroup {
        self.gathering.ops.push(WriteOp::CreateGroup { group, header: header.clone() });
        RecoveredGroup {
            group,
            header,
            state: HardState::default(),
            membership: None,
            log: self.log.new_group(group),
            damage: None,
        }
    }

    fn group_config(
        &self,
        group: GroupId,
        header: &GroupHeader,
        membership: Option<bytes::Bytes>,
    ) -> GroupConfig {
        GroupConfig {
            group,
            replica: header.replica,
            election_ticks: self.config.election_ticks,
            heartbeat_ticks: self.config.heartbeat_ticks,
            voters: header.voters.clone(),
            learners: header.learners.clone(),
            membership,
            applied: 0,
        }
    }

    fn host(&mut self, hosted: Hosted) {
        let id = hosted.group.id();
        self.hosted.insert(id, hosted);
        self.touched.insert(id);
    }

    /// Brings the hosted partitions in line with metadata.
    fn follow_metadata(&mut self) {
        let Some(Hosted { serves: Serves::Metadata(metadata), .. }) = self.hosted.get(&GroupId::METADATA)
        else {
            return;
        };
        let state = metadata.state().clone();
        let mut named = BTreeSet::new();
        for (topic, partition) in state.partitions() {
            let Some(own) = partition.replica_on(self.config.broker) else { continue };
            named.insert(partition.group);
            let assignment = Assignment {
                members: partition
                    .replicas
                    .iter()
                    .map(|replica| Member { replica: replica.replica, broker: replica.broker })
                    .collect(),
                isr: isr_config(&self.config.isr, &self.config.topics, topic),
                since: state.applied(),
            };
            if self.hosted.contains_key(&partition.group) {
                self.reassign(partition.group, assignment);
            } else if self.shared.partitions.get(topic.id, partition.number).is_none()
                && own.disk == self.config.disk
            {
                let header = GroupHeader {
                    kind: GroupKind::Partition,
                    topic: Some(topic.id),
                    partition: partition.number,
                    replica: own.replica,
                    voters: partition.replicas.iter().map(|replica| replica.replica).collect(),
                    learners: Vec::new(),
                };
                self.open_partition(partition.group, header, topic, assignment);
            }
        }
        self.remove_deleted(&state, &named);
        self.pulse_due = true;
    }

    fn open_partition(
        &mut self,
        id: GroupId,
        header: GroupHeader,
        topic: &chronik_core::metadata::Topic,
        assignment: Assignment,
    ) {
        let recovered = self.recovered.remove(&id).unwrap_or_else(|| self.create(id, header.clone()));
        let log = Arc::clone(&recovered.log);
        let handle = Arc::new(PartitionHandle::new(
            id,
            topic.id,
            topic.name.clone(),
            header.partition,
            Arc::clone(&log),
        ));
        self.shared.partitions.insert(Arc::clone(&handle));
        let config = GroupConfig {
            applied: recovered.state.commit,
            ..self.group_config(id, &recovered.header, recovered.membership.clone().map(|(_, bytes)| bytes))
        };
        let opened = match &recovered.damage {
            Some(damage) => Err(damage.to_string()),
            None => open_group(&config, log, recovered.state),
        };
        match opened {
            Ok(group) => {
                let partition = Partition::new(handle, assignment, &group, self.now);
                self.host(Hosted::new(group, Serves::Partition(Box::new(partition))));
            }
            Err(reason) => {
                tracing::error!(
                    topic = %topic.name, partition = header.partition, %reason, "take replica out of service"
                );
                handle.quarantine(reason);
            }
        }
    }

    fn reassign(&mut self, id: GroupId, mut assignment: Assignment) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(Hosted { group, serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&id)
        else {
            return;
        };
        let known = &partition.assignment;
        if known.members == assignment.members && known.isr == assignment.isr {
            return;
        }
        assignment.since = around.metadata_index;
        partition.assign(assignment, group, around);
        self.touched.insert(id);
    }

    /// Removes hosted partitions that metadata no longer names. Group ids only grow: one that is not named and below
    /// the next to be given was deleted; one at or above it is not known yet.
    fn remove_deleted(&mut self, state: &ClusterState, named: &BTreeSet<GroupId>) {
        let deleted =
            |id: &GroupId| *id != GroupId::METADATA && !named.contains(id) && *id < state.next_group();
        let gone: BTreeSet<GroupId> =
            self.hosted.keys().chain(self.recovered.keys()).filter(|id| deleted(id)).copied().collect();
        for id in gone {
            self.recovered.remove(&id);
            self.touched.remove(&id);
            self.gathering.ops.push(WriteOp::RemoveGroup { group: id });
            if let Some(Hosted { serves: Serves::Partition(mut partition), .. }) = self.hosted.remove(&id) {
                let around = surroundings(&self.config, &self.shared, self.now);
                partition.quarantine("the topic was deleted".to_owned(), around);
            }
        }
        for handle in self.shared.partitions.all() {
            if deleted(&handle.group) {
                self.shared.partitions.remove(handle.topic, handle.partition);
            }
        }
        self.shared.views.forget_all(deleted);
    }

    // ---- peers --------------------------------------------------------------------------------------------------

    fn peer_up(&mut self, broker: BrokerId) {
        for (id, hosted) in &mut self.hosted {
            let around = surroundings(&self.config, &self.shared, self.now);
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.set_alive(broker, true, around);
            }
            if let Some(replica) = hosted.replica_on(broker) {
                if hosted.group.role().leads && hosted.group.is_member(replica) {
                    hosted.group.ping();
                }
                self.touched.insert(*id);
            }
        }
        let views: Vec<PartitionView> =
            self.hosted.values().filter_map(|hosted| hosted.partition()?.published().cloned()).collect();
        if !views.is_empty() {
            self.outbox.send(broker, Frame::Views(views).encode());
        }
        self.pulse_due = true;
        self.admit_learner(broker);
    }

    fn peer_down(&mut self, broker: BrokerId, _loss: Loss) {
        for (id, hosted) in &mut self.hosted {
            let around = surroundings(&self.config, &self.shared, self.now);
            if hosted.follows(broker) {
                hosted.group.forget_leader();
            }
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.set_alive(broker, false, around);
            }
            if hosted.group.role().leads
                && let Some(replica) = hosted.replica_on(broker)
                && hosted.group.is_member(replica)
            {
                hosted.group.report_unreachable(replica);
            }
            self.touched.insert(*id);
        }
        self.shared.views.announce_led_by(broker);
    }

    /// A registered broker beyond the first voters follows the metadata group as a learner.
    fn admit_learner(&mut self, broker: BrokerId) {
        let registered = self.shared.cluster.borrow().broker(broker).is_some();
        let Some(hosted) = self.hosted.get_mut(&GroupId::METADATA) else { return };
        let replica = ReplicaId(u64::from(broker.0));
        if registered && hosted.group.role().leads && !hosted.group.is_member(replica) {
            // Refused while another change is under way; the next registration or reconnect asks again.
            let _ = hosted.group.propose_membership(crate::quorum::MembershipChange::AddLearner(replica));
            self.touched.insert(GroupId::METADATA);
        }
    }

    fn frame(&mut self, from: BrokerId, payload: bytes::Bytes) {
        match Frame::decode(payload) {
            Ok(Frame::Raft(messages)) => {
                messages.into_iter().for_each(|(group, message)| self.step(from, group, message))
            }
            Ok(Frame::HighWatermarks(items)) => self.hear_high_watermarks(from, &items),
            Ok(Frame::Views(views)) => self.hear_views(from, views),
            Ok(Frame::Pulse { metadata_index, confirmed }) => {
                self.hear_pulse(from, metadata_index, &confirmed)
            }
            Ok(Frame::WantViews(groups)) => {
                let wanted =
                    groups.iter().filter_map(|id| self.hosted.get(id)?.partition()?.published().cloned());
                let frame = Frame::Views(wanted.collect()).encode();
                self.outbox.send(from, frame);
            }
            Err(error) => tracing::warn!(%from, %error, "drop peer frame"),
        }
    }

    fn step(&mut self, from: BrokerId, id: GroupId, message: RaftMessage) {
        self.guard(id, |hosted, around| {
            if hosted.broker_of(message.from()) != Some(from) || message.to() != hosted.group.replica() {
                tracing::warn!(%from, group = %id, "drop raft message from a replica that is not its sender's");
                return Ok(());
            }
            let sender = message.from();
            let (append_answer, heartbeat_answer) = (message.is_append_answer(), message.is_heartbeat_answer());
            hosted.group.step(message)?;
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.follow_role(&hosted.group, around);
                if append_answer {
                    partition.follower_answered(sender, &hosted.group, around);
                } else if heartbeat_answer {
                    partition.follower_heard(sender, around.now);
                }
            }
            Ok(())
        });
        self.touched.insert(id);
    }

    fn hear_high_watermarks(&mut self, from: BrokerId, items: &[LeaderHighWatermark]) {
        for item in items {
            if let Some(Hosted { serves: Serves::Partition(partition), .. }) =
                self.hosted.get_mut(&item.group)
                && partition.follows(from)
            {
                partition.leader_says(item.term, item.index);
                self.touched.insert(item.group);
            }
        }
    }

    fn hear_views(&mut self, from: BrokerId, views: Vec<PartitionView>) {
        for view in views.into_iter().filter(|view| view.leader == from) {
            let around = surroundings(&self.config, &self.shared, self.now);
            if let Some(Hosted { serves: Serves::Partition(partition), .. }) =
                self.hosted.get_mut(&view.group)
            {
                partition.hear_of_leader(view.at.term, around);
            }
            self.shared.views.publish(view, self.now.ms);
        }
    }

    fn hear_pulse(&mut self, from: BrokerId, metadata_index: LogIndex, confirmed: &[(GroupId, ViewVersion)]) {
        self.shared.liveness.metadata_applied(from, metadata_index);
        let missing = self.shared.views.confirm(from, confirmed, self.now.ms);
        if !missing.is_empty() {
            self.outbox.send(from, Frame::WantViews(missing).encode());
        }
    }

    fn others(&self) -> Vec<BrokerId> {
        let cluster = self.shared.cluster.borrow();
        let brokers = cluster.brokers().map(|broker| broker.id);
        brokers.filter(|id| *id != self.config.broker && self.shared.liveness.is_up(*id)).collect()
    }

    fn pulse(&mut self) {
        let mut confirmed = Vec::new();
        for hosted in self.hosted.values() {
            if let Some(view) = hosted.partition().and_then(Partition::published) {
                confirmed.push((view.group, view.at));
            }
        }
        self.shared.views.confirm(self.config.broker, &confirmed, self.now.ms);
        let metadata_index = self.shared.cluster.borrow().applied();
        let frame = Frame::Pulse { metadata_index, confirmed }.encode();
        for broker in self.others() {
            self.outbox.send(broker, frame.clone());
        }
    }

    fn gossip(&self, view: PartitionView) {
        let frame = Frame::Views(vec![view]).encode();
        for broker in self.others() {
            self.outbox.send(broker, frame.clone());
        }
    }

    /// Tells followers every high watermark that moved in this round.
    fn tell_high_watermarks(&mut self) {
        let mut told: BTreeMap<BrokerId, Vec<LeaderHighWatermark>> = BTreeMap::new();
        for (id, hosted) in &mut self.hosted {
            let Serves::Partition(partition) = &mut hosted.serves else { continue };
            let Some((term, index)) = partition.untold_high_watermark() else { continue };
            let item = LeaderHighWatermark { group: *id, term, index };
            for member in &partition.assignment.members {
                if member.broker != self.config.broker && self.shared.liveness.is_up(member.broker) {
                    told.entry(member.broker).or_default().push(item);
                }
            }
        }
        for (broker, items) in told {
            self.outbox.send(broker, Frame::HighWatermarks(items).encode());
        }
    }

    // ---- elections ----------------------------------------------------------------------------------------------

    /// Lets replicas stand in order of preference when no leader is known and a majority could elect one: raft's own
    /// timeout alone would leave the partition without a leader for seconds.
    fn stand_for_election(&mut self, id: GroupId) {
        let now_ms = self.now.ms;
        if self.draining.is_some() {
            return;
        }
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        let role = hosted.group.role();
        if role.leads || role.leader.is_some() || !hosted.group.is_voter() {
            hosted.next_campaign_ms = None;
            return;
        }
        let voters = hosted.voters();
        let live: Vec<BrokerId> =
            voters.iter().copied().filter(|broker| self.shared.liveness.is_up(*broker)).collect();
        if live.len() <= voters.len() / 2 {
            hosted.next_campaign_ms = None;
            return;
        }
        let rank = live.iter().position(|broker| *broker == self.config.broker).unwrap_or(live.len()) as u64;
        let at = *hosted.next_campaign_ms.get_or_insert(now_ms + FIRST_CAMPAIGN_MS + rank * CAMPAIGN_STEP_MS);
        if now_ms >= at {
            hosted.next_campaign_ms = Some(now_ms + CAMPAIGN_AGAIN_MS);
            self.guard(id, |hosted, _| hosted.group.campaign());
        }
    }

    fn hand_over_leaderships(&mut self) {
        if self.draining.is_none() {
            return;
        }
        let mut left = 0;
        for (id, hosted) in &mut self.hosted {
            if !hosted.group.role().leads {
                continue;
            }
            let around = surroundings(&self.config, &self.shared, self.now);
            let successor = match &hosted.serves {
                Serves::Partition(partition) => partition.best_successor(&hosted.group, around),
                Serves::Metadata(_) => metadata_successor(hosted, around),
            };
            let Some(successor) = successor else { continue };
            left += 1;
            if !hosted.group.is_transferring() {
                hosted.group.transfer_leadership(successor);
                self.touched.insert(*id);
            }
        }
        if left == 0 {
            for reply in self.draining.iter_mut().flat_map(|replies| replies.drain(..)) {
                let _ = reply.send(());
            }
        }
    }

    // ---- produce and write --------------------------------------------------------------------------------------

    fn append(&mut self, id: GroupId, request: AppendRequest, reply: AppendReply) {
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

    fn drain(&mut self, id: GroupId) {
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
            if entry.kind == crate::log::EntryKind::Membership {
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

    fn send(&mut self, id: GroupId, messages: &[Outgoing]) {
        let Some(hosted) = self.hosted.get(&id) else { return };
        for message in messages {
            match hosted.broker_of(message.to) {
                Some(broker) if self.shared.liveness.is_up(broker) => self.outbox.push(broker, id, message),
                _ => self.outbox.unreachable(id, message),
            }
        }
    }

    fn apply(&mut self, id: GroupId, committed: &[crate::log::LogEntry]) {
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

    fn written(&mut self, result: Result<(), WriteError>) {
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

fn open_group(config: &GroupConfig, log: Arc<GroupLog>, state: HardState) -> Result<Group, String> {
    match catch_unwind(AssertUnwindSafe(|| Group::open(config, log, state))) {
        Ok(opened) => opened.map_err(|fault| fault.to_string()),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn surroundings<'a>(config: &EngineConfig, shared: &'a Shared, now: Now) -> Surroundings<'a> {
    Surroundings {
        own: config.broker,
        now,
        liveness: &shared.liveness,
        views: &shared.views,
        metadata_index: shared.cluster.borrow().applied(),
        isr_changes: &shared.isr_changes,
    }
}

fn metadata_successor(hosted: &Hosted, around: Surroundings<'_>) -> Option<ReplicaId> {
    let voters = hosted.group.voters().into_iter();
    let candidates = voters.filter(|replica| {
        hosted.broker_of(*replica).is_some_and(|broker| broker != around.own && around.liveness.is_up(broker))
    });
    candidates.max_by_key(|replica| hosted.group.matched(*replica))
}

fn isr_config(
    defaults: &IsrConfig,
    topics: &TopicDefaults,
    topic: &chronik_core::metadata::Topic,
) -> IsrConfig {
    let config = TopicConfig::resolve(&topic.configs, topics);
    IsrConfig {
        max_lag_ms: config.lag_time_max_ms,
        max_lag_entries: config.lag_max_entries,
        min_isr: config.min_insync_replicas,
        ..*defaults
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
