//! All groups of this broker, driven by events: steps them, gathers one write and few frames per round. Sans-io.
//!
//! One round: take in events, then `finish_round` drains every group that was touched. Its entries join the write
//! that is being gathered; at most one write is under way, so whatever arrives meanwhile shares the next sync.
//! Here is the round; `groups`, `peers`, `elections`, `quiet` and `writes` hold what happens in it.

mod balance;
mod confirming;
mod elections;
mod groups;
mod moves;
mod observe;
mod peers;
mod quiet;
mod recovery;
mod snapshots;
mod throttle;
mod voters;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use chronik_core::config::TopicDefaults;
use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId};
use chronik_core::metadata::{ClusterState, Command};
use chronik_core::replication::isr::IsrConfig;
use chronik_core::view::PartitionView;
use tokio::sync::{oneshot, watch};

use self::confirming::Confirming;
pub use self::confirming::{ConfirmReply, GROUPS_PER_QUESTION};
pub(in crate::replica) use self::confirming::{halves, synced};
use self::elections::CAMPAIGNS_PER_TICK;
pub use self::observe::{MemberState, ReplicaState};
use self::throttle::Throttle;
use self::writes::{Gathering, UnderWay};
use super::clock::Now;
use super::event::Event;
use super::frame::QuietGroup;
use super::handle::Partitions;
use super::hosted::{Hosted, Serves};
use super::liveness::{Liveness, Loss};
use super::metadata::CommandError;
use super::outbox::{Outbox, Transport};
use super::partition::Surroundings;
use super::views::Views;
use crate::birth::Beginning;
use crate::log::{Damage, Log, RecoveredGroup, WriteOp};

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
    /// The same in milliseconds: a leader that stood still for that long may have been replaced.
    pub election_ms: u64,
    /// Ticks in which nothing happens, after which a leader lets its group rest.
    pub quiet_ticks: usize,
    /// How often the ISR is checked, and its limits where a topic sets none.
    pub isr: IsrConfig,
    /// Configs where a topic sets none.
    pub topics: TopicDefaults,
    /// Entries of the metadata log after which a snapshot takes their place.
    pub metadata_snapshot_entries: u64,
    /// Bytes per second sent to learners altogether; 0 for as many as they take.
    pub learner_bytes_per_second: u64,
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
    /// What happened since the start.
    pub counts: Arc<EngineCounts>,
    /// How the metadata group began on this disk, if it runs here: the cluster is formed, as far as this broker knows.
    pub formed: watch::Sender<Option<Beginning>>,
    /// Which history of the metadata this disk holds, if it holds any: peers of another one are not heard.
    pub generation: watch::Sender<Option<Generation>>,
    /// The brokers whose metadata replicas vote, as known here; while voters change those that come out of it.
    pub metadata_voters: watch::Sender<Vec<BrokerId>>,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct EngineCounts {
    /// Replicas that left an ISR.
    pub shrinks: AtomicU64,
    /// Replicas that joined an ISR.
    pub expands: AtomicU64,
    /// Times this broker began to lead a partition.
    pub leaderships: AtomicU64,
    /// Partitions handed over to another leader.
    pub transfers: AtomicU64,
    /// The time that took altogether, in milliseconds.
    pub transfers_ms: AtomicU64,
    /// The longest of them.
    pub longest_transfer_ms: AtomicU64,
    /// Raft messages sent for partitions.
    pub partition_messages: AtomicU64,
    /// Raft messages sent for the metadata group.
    pub metadata_messages: AtomicU64,
    /// Bytes of entries sent to learners.
    pub learner_bytes: AtomicU64,
}

impl EngineCounts {
    pub(super) fn handed_over(&self, took_ms: u64) {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        self.transfers_ms.fetch_add(took_ms, Ordering::Relaxed);
        self.longest_transfer_ms.fetch_max(took_ms, Ordering::Relaxed);
    }

    fn sent(&self, group: GroupId, learner_bytes: usize) {
        let count =
            if group == GroupId::METADATA { &self.metadata_messages } else { &self.partition_messages };
        count.fetch_add(1, Ordering::Relaxed);
        self.learner_bytes.fetch_add(learner_bytes as u64, Ordering::Relaxed);
    }
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
    /// The groups that tick; all others rest.
    awake: BTreeSet<GroupId>,
    /// Groups that others must wake, by broker.
    to_wake: BTreeMap<BrokerId, BTreeSet<GroupId>>,
    /// Groups that their leader here lets rest with this tick, by the broker to be told.
    to_rest: BTreeMap<BrokerId, Vec<QuietGroup>>,
    /// Partitions led here whose followers do not know the high watermark yet.
    untold: BTreeSet<GroupId>,
    /// Views that changed in this round.
    changed_views: Vec<PartitionView>,
    /// Replicas out of service, each since when.
    quarantined: BTreeMap<GroupId, u64>,
    /// Quarantined replicas of which the disk holds nothing.
    absent: BTreeSet<GroupId>,
    /// Damage that was found at the start, by group, until that data is deleted.
    damaged: BTreeMap<GroupId, Damage>,
    /// Groups whose removal is not on disk yet.
    removing: BTreeSet<GroupId>,
    /// Metadata commands that groups led here call for, as of the last tick.
    wanted: BTreeMap<GroupId, Command>,
    throttle: Throttle,
    gathering: Gathering,
    /// Bytes of entries that all groups keep in memory until they are synced and applied.
    held: Arc<AtomicUsize>,
    /// The write under way, kept until it is known to be on disk.
    under_way: Option<UnderWay>,
    /// When a write that found the disk full is tried again.
    retry_at_ms: Option<u64>,
    /// There is no room for more than what must be written.
    disk_full: bool,
    /// Elections that may begin before the next tick.
    campaigns_left: usize,
    /// Groups here without a leader, as of the last tick.
    leaderless: usize,
    stopped: Option<String>,
    last_check_ms: u64,
    pulse_due: bool,
    confirming: Confirming,
    draining: Option<Vec<oneshot::Sender<()>>>,
    now: Now,
}

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
        let damaged =
            recovered.iter().filter_map(|group| Some((group.group, group.damage.clone()?))).collect();
        let mut engine = Self {
            throttle: Throttle::new(config.learner_bytes_per_second, now.ms),
            config,
            shared,
            log,
            hosted: BTreeMap::new(),
            recovered: recovered.into_iter().map(|group| (group.group, group)).collect(),
            outbox: Outbox::new(transport),
            touched: BTreeSet::new(),
            awake: BTreeSet::new(),
            to_wake: BTreeMap::new(),
            to_rest: BTreeMap::new(),
            untold: BTreeSet::new(),
            changed_views: Vec::new(),
            quarantined: BTreeMap::new(),
            absent: BTreeSet::new(),
            damaged,
            removing: BTreeSet::new(),
            wanted: BTreeMap::new(),
            gathering: Gathering::default(),
            held: Arc::default(),
            under_way: None,
            retry_at_ms: None,
            disk_full: false,
            campaigns_left: 0,
            leaderless: 0,
            stopped: None,
            last_check_ms: now.ms,
            pulse_due: true,
            confirming: Confirming::default(),
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
        self.pass_time(now);
        match event {
            Event::Append { group, request, reply } => self.append(group, request, reply),
            Event::Propose { command, reply } => match self.hosted.get_mut(&GroupId::METADATA) {
                Some(Hosted { group, serves: Serves::Metadata(metadata), .. }) if self.stopped.is_none() => {
                    metadata.propose(group, &command, &self.shared.liveness, reply);
                    self.touched.insert(GroupId::METADATA);
                }
                _ => drop(reply.send(Err(CommandError::NotLeader))),
            },
            Event::PeerUp { broker, incarnation } => {
                if self.shared.liveness.incarnation(broker).is_some_and(|known| known != incarnation) {
                    self.peer_down(broker, Loss::Dead);
                }
                self.shared.liveness.up(broker, incarnation, now.ms);
                self.peer_up(broker);
            }
            Event::PeerDown { broker, loss } => {
                self.shared.liveness.down(broker, loss, now.ms);
                self.peer_down(broker, loss);
            }
            Event::PeerFrame { from, payload } => self.frame(from, payload),
            Event::Written(result) => self.written(result),
            Event::StartMetadata(beginning) => self.start_metadata(beginning),
            Event::Drain { reply } => {
                self.draining.get_or_insert_default().push(reply);
                self.pulse_due = true;
            }
            Event::ElectPreferred { groups } => self.ask_to_elect(groups),
            Event::Undrain => self.draining = None,
            Event::Confirm { groups, reply } => self.confirm(&groups, reply),
            Event::Recoverable { reply } => drop(reply.send(self.recoverable())),
        }
    }

    fn pass_time(&mut self, now: Now) {
        let stood_ms = now.ms.saturating_sub(self.now.ms);
        self.now = now;
        if stood_ms >= self.config.election_ms {
            self.leave_office(stood_ms);
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
        self.gossip();
        self.tell_awake();
        if std::mem::take(&mut self.pulse_due) {
            self.pulse();
        }
        self.next_write()
    }

    /// One tick of the clock of every group that does not rest.
    pub fn tick(&mut self, now: Now) {
        self.pass_time(now);
        self.campaigns_left = CAMPAIGNS_PER_TICK;
        let check = now.ms.saturating_sub(self.last_check_ms) >= self.config.isr.check_interval_ms;
        if check {
            self.last_check_ms = now.ms;
            self.pulse_due = true;
            self.leave_damaged();
            self.doubt_engines();
        }
        let groups: Vec<GroupId> = self.awake.iter().copied().collect();
        let leaderless =
            |id: &&GroupId| self.hosted.get(id).is_some_and(|it| it.group.role().leader.is_none());
        self.leaderless = groups.iter().filter(leaderless).count();
        for group in groups {
            if self.falls_quiet(group) {
                continue;
            }
            self.guard(group, |hosted, around| {
                hosted.group.tick();
                if let Serves::Partition(partition) = &mut hosted.serves {
                    partition.follow_role(&hosted.group, around);
                    if check {
                        partition.check_isr(around);
                        partition.show_followers(around.now);
                        partition.repeat_high_watermark();
                    }
                    partition.tick(&hosted.group, around);
                    for replica in partition.unanswered() {
                        hosted.group.ask(replica);
                    }
                }
                Ok(())
            });
            self.stand_for_election(group);
            self.advance_move(group);
            self.touched.insert(group);
        }
        self.tell_quiet();
        self.answer_late_questions();
        self.look_for_room();
        self.shorten_metadata();
        self.hand_over_leaderships();
        if check {
            self.return_leaderships();
            self.tell_quarantined();
            self.balance();
        }
        self.ask_for_wanted();
    }
}

fn surroundings<'a>(config: &EngineConfig, shared: &'a Shared, now: Now) -> Surroundings<'a> {
    Surroundings {
        own: config.broker,
        now,
        liveness: &shared.liveness,
        views: &shared.views,
        metadata_index: shared.cluster.borrow().applied(),
        counts: &shared.counts,
    }
}
