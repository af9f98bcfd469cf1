//! What a seed is about: how many brokers, which topics and clients, how fast everything is, and what goes wrong when.

use std::collections::BTreeMap;

use chronik_broker::replica::Acks;
use chronik_core::config::TopicDefaults;
use chronik_core::ids::TopicId;
use chronik_core::metadata::{Command, CreateTopic, TopicReplicas};
use uuid::Uuid;

use crate::clients::admin::Admin;
use crate::clients::consumer::Consumer;
use crate::clients::producer::{Producer, ProducerPlan};
use crate::clients::{Client, FAR, NEAR, Role};
use crate::faults::{Fault, Kind};
use crate::moves::{self, Move};
use crate::process::BrokerPlan;
use crate::random::Random;
use crate::scaling::{self, Newcomer};
use crate::time::{MS, Micros, SECOND};
use crate::world::M;

/// A run's plan.
#[derive(Clone)]
pub struct Plan {
    pub machines: usize,
    /// The first of them found the cluster; the others are these.
    pub founders: usize,
    pub newcomers: Vec<Newcomer>,
    pub replication_factor: usize,
    pub broker: BrokerPlan,
    /// `replica.lag.time.max.ms` of every topic.
    pub lag_ms: u64,
    /// Partitions of each topic.
    topics: Vec<i32>,
    topic_ids: Vec<u128>,
    /// Of each machine: drift in millionths, and by how much its wall clock is off.
    pub clocks: Vec<(i64, i64)>,
    pub latency: (Micros, Micros),
    pub write_takes: (Micros, Micros),
    producers: Vec<ProducerPlan>,
    /// How often each consumer fetches, and the broker near to it.
    consumers: Vec<(Micros, Option<usize>)>,
    pub faults: Vec<(Micros, Fault)>,
    pub moves: Vec<(Micros, Move)>,
    /// Faults that wait until a group's voters change.
    pub faults_amid_joint: Vec<Fault>,
    /// The machine whose disk loses something for good in this run, if any does.
    pub victim: Option<M>,
    /// When no producer makes anything, so that partitions come to rest amid the faults.
    lulls: Vec<(Micros, Micros)>,
    pub heal_at: Micros,
    /// When all disks but one are lost, if they are.
    pub last_resort: Option<Micros>,
    /// Somebody restarts brokers through permits.
    pub permits: bool,
}

impl Plan {
    /// The plan that follows from a stream of chance.
    pub fn of(random: &mut Random) -> Self {
        let machines = if random.percent(70) { 3 } else { 5 };
        let replication_factor = if machines == 5 && random.one_in(4) { 5 } else { 3 };
        let lag_ms = random.pick(&[2_000, 4_000, 10_000]);
        let heal_at = random.between(40, 46) * SECOND;
        let mut faults = faults(random, machines, heal_at);
        let moves = moves::plan(random, heal_at);
        faults.extend(moves::faults_amid(&moves, machines, random));
        faults.sort_by_key(|(at, fault)| (*at, fault.number));
        let faults_amid_joint = moves::faults_amid_joint(machines, random);
        let victim = faults.iter().find(|(_, fault)| fault.kind.damages()).map(|(_, fault)| fault.machine);
        Self {
            machines,
            founders: machines,
            newcomers: Vec::new(),
            replication_factor,
            broker: broker_plan(random, lag_ms),
            lag_ms,
            topics: random.pick(&[&[1][..], &[2], &[1, 1], &[1, 2]]).to_vec(),
            topic_ids: (0..4).map(|_| u128::from(random.next()) << 64 | u128::from(random.next())).collect(),
            clocks: (0..machines).map(|_| clock(random)).collect(),
            latency: random.pick(&[(50, 300), (100, 1_000), (200, 5_000), (500, 20_000)]),
            write_takes: random.pick(&[(100, 500), (200, 3_000), (1_000, 15_000)]),
            producers: producers(random),
            consumers: vec![
                (random.between(80, 400) * MS, None),
                (random.between(80, 400) * MS, Some(random.index(machines))),
            ],
            faults,
            moves,
            faults_amid_joint,
            victim,
            lulls: lulls(random, heal_at),
            heal_at,
            last_resort: None,
            permits: false,
        }
    }

    /// In some runs a person has to go on from one disk. Then every broker has a replica of everything, for what the
    /// survivor has none of is lost, and no other disk is damaged.
    pub fn add_last_resort(&mut self, random: &mut Random) {
        if !random.one_in(6) {
            return;
        }
        self.last_resort = Some(random.between(8 * SECOND, self.heal_at - 12 * SECOND));
        self.replication_factor = self.machines;
        self.faults.retain(|(_, fault)| !fault.kind.damages());
        self.moves.clear();
        self.faults_amid_joint.clear();
        self.victim = None;
    }

    /// In some runs of three brokers one or two more come, and may go again. Some of what was to hit others hits them.
    pub fn add_newcomers(&mut self, random: &mut Random) {
        if self.machines != 3 || self.last_resort.is_some() || !random.one_in(3) {
            return;
        }
        self.newcomers = scaling::plan(random, self.heal_at);
        if self.newcomers.iter().any(|newcomer| newcomer.goes()) {
            // A broker that goes is stopped before its votes are given up: with a disk lost just then, no majority may be left.
            self.faults.retain(|(_, fault)| !fault.kind.damages());
            self.victim = None;
        }
        self.machines += self.newcomers.len();
        self.clocks.extend(self.newcomers.iter().map(|_| clock(random)));
        for (_, fault) in self.faults.iter_mut().filter(|(_, fault)| !fault.kind.damages()) {
            if random.one_in(3) {
                fault.machine = self.founders + random.index(self.newcomers.len());
            }
        }
    }

    /// In most runs somebody restarts brokers through permits.
    pub fn add_permits(&mut self, random: &mut Random) {
        self.permits = self.last_resort.is_none() && random.percent(85);
    }

    /// Whether producers make something then.
    pub fn is_busy(&self, at: Micros) -> bool {
        self.lulls.iter().all(|(from, until)| at < *from || at >= *until)
    }

    /// Every partition of every topic.
    pub fn places(&self) -> Vec<(String, i32)> {
        let numbers = |(topic, partitions): (usize, &i32)| {
            let name = self.topic_name(topic);
            (0..*partitions).map(move |number| (name.clone(), number)).collect::<Vec<_>>()
        };
        self.topics.iter().enumerate().flat_map(numbers).collect()
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn topic_name(&self, topic: usize) -> String {
        format!("topic-{topic}")
    }

    /// The commands that create the topics.
    pub fn topics(&self) -> Vec<Command> {
        let create = |(topic, partitions): (usize, &i32)| {
            Command::CreateTopic(CreateTopic {
                id: TopicId(Uuid::from_u128(self.topic_ids[topic])),
                name: self.topic_name(topic),
                replicas: TopicReplicas::Placed {
                    partitions: *partitions,
                    replication_factor: self.replication_factor as i32,
                    alive: (0..self.founders).map(crate::world::broker_id).collect(),
                },
                configs: BTreeMap::new(),
            })
        };
        self.topics.iter().enumerate().map(create).collect()
    }

    /// The clients: producers, consumers, and the administrator.
    pub fn clients(&self, places: usize) -> Vec<Client> {
        let producers = self.producers.iter().map(|plan| Role::Producer(Producer::new(*plan, places)));
        let consumers = self.consumers.iter();
        let consumers = consumers.map(|(pause, near)| Role::Consumer(Consumer::new(places, *pause, *near)));
        let roles = producers.chain(consumers).chain([Role::Admin(Admin::default())]);
        roles.map(|role| Client::new(role, self.machines, places)).collect()
    }
}

fn broker_plan(random: &mut Random, lag_ms: u64) -> BrokerPlan {
    let heartbeat_ticks = random.pick(&[1, 2, 3]);
    BrokerPlan {
        tick_ms: 100,
        heartbeat_ticks,
        election_ticks: 10,
        quiet_ticks: random.pick(&[1, 2, 5]),
        segment_bytes: random.pick(&[16 << 10, 64 << 10, 1 << 20, 128 << 20]),
        reserve_bytes: 4 << 10,
        metadata_snapshot_entries: random.pick(&[4, 8, 20, 1_000]),
        learner_bytes_per_second: random.pick(&[0, 0, 2 << 20, 8 << 20]),
        topics: TopicDefaults { lag_time_max_ms: lag_ms, ..TopicDefaults::default() },
    }
}

fn clock(random: &mut Random) -> (i64, i64) {
    let drift = if random.one_in(3) { random.below(100_000) as i64 - 50_000 } else { 0 };
    let wall = if random.one_in(3) { random.below(20_000) as i64 - 10_000 } else { 0 };
    (drift, wall)
}

fn producers(random: &mut Random) -> Vec<ProducerPlan> {
    let idempotent = random.between(1, 2) as i64;
    let mut plans: Vec<ProducerPlan> = (0..idempotent)
        .map(|id| ProducerPlan { id: Some(1_000 + id), acks: Acks::All, ..producer(random) })
        .collect();
    for acks in [Acks::All, random.pick(&[Acks::Leader, Acks::Leader, Acks::None])] {
        plans.push(ProducerPlan { id: None, acks, ..producer(random) });
    }
    plans
}

fn producer(random: &mut Random) -> ProducerPlan {
    ProducerPlan {
        id: None,
        acks: Acks::All,
        max_in_flight: random.pick(&[1, 2, 5, 5]),
        begins_anew_after: random.pick(&[None, Some(1), Some(10)]),
        latency: random.pick(&[NEAR, NEAR, FAR]),
        pause: random.between(200, 700) * MS,
        padding: random.pick(&[0, 100, 1_000, 8_000]),
    }
}

fn lulls(random: &mut Random, heal_at: Micros) -> Vec<(Micros, Micros)> {
    let mut lulls = Vec::new();
    let mut from = random.between(4, 9) * SECOND;
    while from < heal_at && lulls.len() < 6 {
        let until = from + random.between(1_000, 5_000) * MS;
        lulls.push((from, until));
        from = until + random.between(2, 8) * SECOND;
    }
    lulls
}

fn faults(random: &mut Random, machines: usize, heal_at: Micros) -> Vec<(Micros, Fault)> {
    let victim = random.index(machines);
    // Now and then the cluster has trouble from its first second on.
    let from = if random.one_in(8) { SECOND / 2 } else { 4 * SECOND };
    let until = heal_at - SECOND;
    let count = random.between(6, 14);
    let fault = |number| {
        let at = random.between(from, until);
        let kind = random.pick(&Kind::ALL);
        (at, Fault::of(kind, number, machines, victim, random))
    };
    (0..count).map(fault).collect()
}
