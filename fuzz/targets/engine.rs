//! The engine under two brokers that say anything: no frame makes it panic, and no stored configuration does.
//!
//! An input is a row of parts. The first byte of each says who speaks or that time passes, the rest is a frame.

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use chronik_broker::birth::Beginning;
use chronik_broker::log::{Founder, Log, LogDriver, Options};
use chronik_broker::quorum::{self, Group, GroupConfig, Lane};
use chronik_broker::replica::{
    self, Engine, EngineConfig, EngineCounts, Event, Liveness, Loss, Now, Partitions, Shared, Transport,
    Views,
};
use chronik_core::config::TopicDefaults;
use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId, Incarnation, ReplicaId};
use chronik_core::metadata::{ClusterState, Command};
use chronik_core::replication::isr::IsrConfig;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::disk::{DIR, formatted, owner};
use super::metadata::{broker, create_topic};
use super::{joined, parts};

const OWN: BrokerId = BrokerId(1);
const PARTITION: GroupId = GroupId(16);
const TICK_MS: u64 = 100;

/// A network that takes everything to nowhere.
struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _: BrokerId, _: Lane, _: Bytes) -> bool {
        true
    }
}

/// One broker with its metadata group and a replica of a partition whose other two replicas the input plays.
struct World {
    engine: Engine<Nowhere>,
    log: Arc<Log>,
    driver: LogDriver,
    now: Now,
}

impl World {
    fn new() -> Self {
        let (disk, now) = (formatted(), Now { ms: 1_000, unix_ms: 1_000 });
        let (log, driver, recovered) =
            Log::open_driven(disk, Path::new(DIR), owner(), Options::default()).expect("a fresh folder");
        let log = Arc::new(log);
        let engine = Engine::new(config(), shared(), Arc::clone(&log), recovered, Nowhere, now);
        let mut world = Self { engine, log, driver, now };
        let replica = ReplicaId(1);
        let founders = vec![Founder { replica, disk: owner().disk }];
        world.event(Event::StartMetadata(Beginning { replica, founders, generation: Generation::BIRTH }));
        (0..30).for_each(|_| world.tick());
        for id in 1..=3 {
            world.propose(Command::RegisterBroker(broker(id)));
        }
        world.propose(create_topic("orders", &[1, 2, 3]));
        for id in 2..=3 {
            let incarnation = Incarnation { disk: DiskId(Uuid::from_u128(id.into())), start: 1 };
            world.event(Event::PeerUp { broker: BrokerId(id), incarnation });
        }
        world
    }

    fn propose(&mut self, command: Command) {
        let (reply, answer) = oneshot::channel();
        self.event(Event::Propose { command, reply });
        let mut answer = answer;
        assert!(matches!(answer.try_recv(), Ok(Ok(_))), "the only voter commits at once");
    }

    fn event(&mut self, event: Event) {
        self.engine.handle(event, self.now);
        self.round();
    }

    fn tick(&mut self) {
        self.now.ms += TICK_MS;
        self.now.unix_ms += TICK_MS;
        self.engine.tick(self.now);
        self.round();
    }

    /// Ends rounds until nothing is left to write.
    fn round(&mut self) {
        while let Some(ops) = self.engine.finish_round() {
            let (sender, written) = mpsc::channel();
            self.log.submit(ops, Box::new(move |result| drop(sender.send(result))));
            while self.driver.write_waiting() {}
            let result = written.recv().expect("every write is answered");
            self.engine.handle(Event::Written(result), self.now);
        }
    }
}

fn config() -> EngineConfig {
    EngineConfig {
        broker: OWN,
        disk: owner().disk,
        election_ticks: 10,
        election_ms: 1_000,
        quiet_ticks: 10,
        heartbeat_ticks: 1,
        isr: IsrConfig { max_lag_ms: 10_000, max_lag_entries: 10_000, check_interval_ms: 1_000, min_isr: 2 },
        topics: TopicDefaults::default(),
        metadata_snapshot_entries: 3,
        learner_bytes_per_second: 0,
    }
}

fn shared() -> Shared {
    Shared {
        cluster: watch::Sender::new(Arc::new(ClusterState::new(owner().cluster))),
        partitions: Arc::new(Partitions::default()),
        views: Arc::new(Views::default()),
        liveness: Arc::new(Liveness::new(OWN, owner().disk)),
        metadata_leader: watch::Sender::new(None),
        log_stopped: Arc::new(AtomicBool::new(false)),
        counts: Arc::new(EngineCounts::default()),
        formed: watch::Sender::new(None),
        generation: watch::Sender::new(None),
        metadata_voters: watch::Sender::new(Vec::new()),
    }
}

pub(super) fn run(input: &[u8]) {
    let mut world = World::new();
    for part in parts(input).into_iter().take(32) {
        let Some((who, frame)) = part.split_first() else { continue };
        match who % 8 {
            0 => world.tick(),
            1 => (0..20).for_each(|_| world.tick()),
            2 => world.event(Event::PeerDown { broker: BrokerId(2), loss: Loss::Dead }),
            3 => world.event(Event::PeerDown { broker: BrokerId(3), loss: Loss::Silent }),
            4 | 5 => hear(&mut world, 2, frame),
            _ => hear(&mut world, 3, frame),
        }
    }
    (0..3).for_each(|_| world.tick());
}

fn hear(world: &mut World, from: u32, frame: &[u8]) {
    world.event(Event::PeerFrame { from: BrokerId(from), payload: Bytes::copy_from_slice(frame) });
}

/// Each frame from its sender, alone, and an election that the replica wins before they all come.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let (own, other) = (ReplicaId(100_000), ReplicaId(100_001));
    let spoken = |frame: &Bytes| [&[4], &frame[..]].concat();
    let metadata = replica::fuzzing::samples(GroupId::METADATA, ReplicaId(2), ReplicaId(1), BrokerId(2));
    let partition = replica::fuzzing::samples(PARTITION, other, own, BrokerId(2));
    let frames: Vec<_> = partition.iter().chain(&metadata).map(spoken).collect();
    let mut seeds: Vec<_> = frames.iter().map(|frame| joined([&frame[..]])).collect();
    let all = frames.iter().map(|frame| &frame[..]);
    seeds.push(joined([&[1u8][..]].into_iter().chain(all)));
    seeds.push(joined([&[1u8][..], &[2], &[1], &[0]]));
    seeds.extend(followed(own, other, &metadata));
    seeds
}

/// A replica that rests under a leader, and then hears each frame, misses it, or loses it; and one that leads.
fn followed(own: ReplicaId, other: ReplicaId, frames: &[Bytes]) -> Vec<Vec<u8>> {
    let spoken = |frame: &Bytes| [&[4], &frame[..]].concat();
    let rests: Vec<_> =
        replica::fuzzing::to_rest(PARTITION, other, own, BrokerId(2)).iter().map(spoken).collect();
    let led: Vec<_> = replica::fuzzing::to_elect(PARTITION, other, own).iter().map(spoken).collect();
    let then = frames.iter().map(spoken).chain([vec![1], vec![2], vec![3]]);
    let joined =
        |first: &[Vec<u8>], last: &[u8]| joined(first.iter().map(|part| &part[..]).chain([last, &[1]]));
    let mut seeds: Vec<_> = then.map(|last| joined(&rests, &last)).collect();
    let elected = [&[vec![1u8]], &led[..], &[vec![1]]].concat();
    seeds.push(joined(&elected, &[2]));
    seeds
}

/// Opens a group with the input as its stored configuration, and lets it run. Raft panics where a configuration contradicts
/// itself, and the engine takes the replica out of service then.
pub(super) fn membership(input: &[u8]) {
    let _ = catch_unwind(|| open(input));
}

fn open(input: &[u8]) {
    let (log, _driver, _) =
        Log::open_driven(formatted(), Path::new(DIR), owner(), Options::default()).expect("a fresh folder");
    let config = GroupConfig {
        group: PARTITION,
        replica: ReplicaId(1),
        election_ticks: 10,
        heartbeat_ticks: 1,
        voters: vec![ReplicaId(1)],
        learners: Vec::new(),
        membership: Some(Bytes::copy_from_slice(input)),
        membership_at_start: None,
        snapshot: Bytes::new(),
        applied: 0,
        held: Arc::default(),
    };
    let Ok(mut group) = Group::open(&config, log.new_group(PARTITION), Default::default()) else { return };
    (0..25).for_each(|_| group.tick());
    if let Ok(Some(drained)) = group.drain(true) {
        group.synced(drained.ticket);
    }
    let _ = (group.configuration(), group.role(), group.is_voter(), group.is_changing());
}

pub(super) fn membership_seeds() -> Vec<Vec<u8>> {
    quorum::fuzzing::memberships().iter().map(|stored| stored.to_vec()).collect()
}
