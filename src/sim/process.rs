//! One broker's process on its machine: the real engine on a recovered log, opened from the machine's disk. What drives it
//! is in `brokers.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use chronik_broker::birth::{Beginning, Birth};
use chronik_broker::log::{self, DataFolder, Log, LogDriver, Options, RecoveredGroup, WriteError};
use chronik_broker::quorum::Lane;
use chronik_broker::replica::{
    Engine, EngineConfig, EngineCounts, Liveness, Now, Partitions, Reports, Shared, Transport, Views,
};
use chronik_broker::stored_metadata;
use chronik_core::config::TopicDefaults;
use chronik_core::ids::{BrokerId, Generation, GroupId, Incarnation};
use chronik_core::metadata::ClusterState;
use chronik_core::replication::isr::IsrConfig;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::batch::Tag;
use crate::checks::mirror::MirrorOp;
use crate::checks::watch::Watch;
use crate::clients::service::{Connection, PendingAppend};
use crate::disk::SimDisk;
use crate::peers::{BULK, CONTROL, Peer};
use crate::proposals::{Proposal, Served};
use crate::tasks::Tasks;
use crate::time::{MS, Micros, ProcessClock};

/// Where each machine's data folder is.
pub const DATA: &str = "/data";

/// What the engine hands out for its peers, until the round is over.
#[derive(Default)]
pub struct Outgoing {
    /// By machine and lane, whether there is a connection.
    pub open: Vec<[bool; 2]>,
    pub frames: VecDeque<(BrokerId, usize, Bytes)>,
}

/// The engine's door to other brokers.
pub struct SimTransport(Arc<Mutex<Outgoing>>);

impl Transport for SimTransport {
    fn send(&self, to: BrokerId, lane: Lane, frame: Bytes) -> bool {
        let mut outgoing = self.0.lock();
        let lane = match lane {
            Lane::Control => CONTROL,
            Lane::Bulk => BULK,
        };
        let open = outgoing.open.get(to.0 as usize - 1).is_some_and(|lanes| lanes[lane]);
        if open {
            outgoing.frames.push_back((to, lane, frame));
        }
        open
    }
}

/// The result of a write, once it is there.
pub type Written = Arc<Mutex<Option<Result<(), WriteError>>>>;

/// A write on its way to the disk.
pub struct WriteUnderWay {
    pub ops: Vec<MirrorOp>,
    pub result: Written,
}

/// How brokers are configured in a run.
#[derive(Clone, Debug)]
pub struct BrokerPlan {
    pub tick_ms: u64,
    pub heartbeat_ticks: usize,
    pub election_ticks: usize,
    pub quiet_ticks: usize,
    pub segment_bytes: u64,
    pub reserve_bytes: u64,
    pub metadata_snapshot_entries: u64,
    pub learner_bytes_per_second: u64,
    pub topics: TopicDefaults,
}

impl BrokerPlan {
    /// How long an election takes to begin.
    pub fn election(&self) -> Micros {
        self.election_ticks as u64 * self.tick_ms * MS
    }
}

/// A running broker.
pub struct Process {
    pub incarnation: Incarnation,
    pub engine: Engine<SimTransport>,
    pub log: Arc<Log>,
    pub driver: LogDriver,
    pub shared: Shared,
    pub reports: Reports,
    pub clock: Arc<ProcessClock>,
    pub outgoing: Arc<Mutex<Outgoing>>,
    pub peers: Vec<Peer>,
    pub birth: Birth,
    /// There is a cluster that does not know its disk.
    pub joining: bool,
    /// It has begun to register.
    pub registering: bool,
    pub last_look: Micros,
    pub fair_from: Micros,
    /// A round's end is on its way.
    pub round_due: bool,
    pub write: Option<WriteUnderWay>,
    /// Writes so far: a rest is one only if none came since.
    pub writes: u64,
    /// The last segment: up to where its last write group begins, and up to where that ends. What lies before the first is
    /// certified as synced by what lies behind it.
    pub settled: Option<(PathBuf, usize, usize)>,
    pub appends: Vec<PendingAppend>,
    /// Batches with acks=all that were taken and not appended at once.
    pub parked: BTreeSet<Tag>,
    pub connections: BTreeMap<(usize, u64), Connection>,
    pub proposals: Vec<Proposal>,
    pub served: Vec<Served>,
    pub tasks: Tasks,
    /// Metadata applied, and whether the metadata group runs here, as of the last round.
    pub known: (u64, bool),
    pub watch: BTreeMap<GroupId, Watch>,
    /// Since when it takes no records though its disk has room.
    pub short_since: Option<Micros>,
    pub draining: bool,
}

/// What a start needs to know.
pub struct Start<'a> {
    pub disk: &'a Arc<SimDisk>,
    pub plan: &'a BrokerPlan,
    pub machines: usize,
    pub now: Now,
    pub at: Micros,
}

/// What the disk held, for the checks.
pub type Found = Vec<RecoveredGroup>;

impl Process {
    /// Opens the data folder and starts the engine, as `chronik_broker::run` does.
    pub fn start(start: &Start<'_>) -> Result<(Self, Found), String> {
        let dir = Path::new(DATA);
        let folder = DataFolder::open(&**start.disk, dir).map_err(|error| error.to_string())?;
        let options = Options {
            segment_bytes: start.plan.segment_bytes,
            reserve_bytes: start.plan.reserve_bytes,
            ..Options::default()
        };
        let disk: Arc<dyn log::Disk> = start.disk.clone();
        let (log, driver, recovered) = Log::open_driven(disk, dir, folder.identity.clone(), options)
            .map_err(|error| error.to_string())?;
        refuse_damaged_metadata(&log, &recovered)?;
        let own = folder.identity.broker;
        let founders = match &folder.birth {
            log::Birth::InitialVoters(voters) => Some(voters.iter().map(|voter| voter.broker).collect()),
            log::Birth::Join(_) => None,
        };
        let shared = Shared {
            cluster: watch::Sender::new(Arc::new(ClusterState::new(folder.identity.cluster.clone()))),
            partitions: Arc::new(Partitions::default()),
            views: Arc::new(Views::default()),
            liveness: Arc::new(Liveness::new(own, folder.identity.disk)),
            metadata_leader: watch::Sender::new(None),
            log_stopped: Arc::new(AtomicBool::new(false)),
            counts: Arc::new(EngineCounts::default()),
            formed: watch::Sender::new(metadata_began(&recovered)),
            generation: watch::Sender::new(metadata_generation(&recovered)?),
            metadata_voters: watch::Sender::new(Vec::new()),
        };
        let clock = Arc::new(ProcessClock::default());
        clock.set(start.now);
        let outgoing =
            Arc::new(Mutex::new(Outgoing { open: vec![[false; 2]; start.machines], ..Outgoing::default() }));
        let config = EngineConfig {
            broker: own,
            disk: folder.identity.disk,
            election_ticks: start.plan.election_ticks,
            heartbeat_ticks: start.plan.heartbeat_ticks,
            election_ms: start.plan.election_ticks as u64 * start.plan.tick_ms,
            quiet_ticks: start.plan.quiet_ticks,
            isr: IsrConfig::default(),
            topics: start.plan.topics,
            metadata_snapshot_entries: start.plan.metadata_snapshot_entries,
            learner_bytes_per_second: start.plan.learner_bytes_per_second,
        };
        let log = Arc::new(log);
        let found = recovered.iter().map(again).collect();
        let engine = Engine::new(
            config,
            shared.clone(),
            log.clone(),
            recovered,
            SimTransport(outgoing.clone()),
            start.now,
        );
        let reports = Reports::new(
            own,
            folder.identity.cluster.clone(),
            shared.clone(),
            start.plan.topics,
            clock.clone(),
        );
        let tasks = Tasks::new(own, &shared, start.plan.topics, start.now.ms);
        let process = Self {
            incarnation: folder.incarnation,
            engine,
            log,
            driver,
            shared,
            reports,
            clock,
            outgoing,
            peers: (0..start.machines).map(|_| Peer::new(start.at)).collect(),
            birth: Birth::new(own, folder.identity.disk, founders),
            joining: false,
            registering: false,
            last_look: start.at,
            fair_from: start.at,
            round_due: false,
            write: None,
            writes: 0,
            settled: None,
            appends: Vec::new(),
            parked: BTreeSet::new(),
            connections: BTreeMap::new(),
            proposals: Vec::new(),
            served: Vec::new(),
            tasks,
            known: (0, false),
            watch: BTreeMap::new(),
            short_since: None,
            draining: false,
        };
        Ok((process, found))
    }
}

/// The same find, for somebody else to look at.
fn again(found: &RecoveredGroup) -> RecoveredGroup {
    RecoveredGroup {
        group: found.group,
        header: found.header.clone(),
        state: found.state,
        memberships: found.memberships.clone(),
        snapshot: found.snapshot.clone(),
        log: found.log.clone(),
        damage: found.damage.clone(),
    }
}

/// As `chronik_broker::run` does.
fn refuse_damaged_metadata(log: &Log, recovered: &[RecoveredGroup]) -> Result<(), String> {
    let damage = match recovered.iter().find(|group| group.group == GroupId::METADATA) {
        Some(metadata) => metadata.damage.as_ref(),
        None => log.unattributed_damage(),
    };
    damage.map_or(Ok(()), |damage| Err(format!("the metadata is damaged: {damage}")))
}

fn metadata_generation(recovered: &[RecoveredGroup]) -> Result<Option<Generation>, String> {
    let metadata = stored_metadata::replica(recovered);
    metadata.map(stored_metadata::generation).transpose().map_err(|error| error.to_string())
}

fn metadata_began(recovered: &[RecoveredGroup]) -> Option<Beginning> {
    stored_metadata::replica(recovered).map(|found| Beginning::of(&found.header))
}
