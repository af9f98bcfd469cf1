//! Rounds of disturbances at random, several at once: rollouts, drains, moves, killed brokers and operators, an API server that
//! restarts. Nothing acknowledged is lost, and what is stopped on purpose costs no partition its min ISR.
//!
//! CHRONIK_MIX_ROUNDS (1) and CHRONIK_MIX_SEED (1) change what is run.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::wait;
use fastrand::Rng;

use crate::box_nodes::{self, Cordoned};
use crate::mid_roll::move_all;
use crate::reading::nothing_is_lost;
use crate::rolling::{await_told, setting, try_patch};
use crate::watchman::{Isrs, Watchman};
use crate::world::{World, get, kubectl};
use crate::{figure, number, release};

const BROKERS: i32 = 4;
const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(60);
/// Longest until all is whole after a round.
const WHOLE: Duration = Duration::from_secs(240);
/// Disturbances of a round.
const AT_ONCE: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disturbance {
    Rollout,
    Drain(i32),
    Move,
    KillBroker(i32),
    KillMetadataLeader,
    KillOperator,
    RestartApiServer,
}

/// Must show 3.
#[test]
#[ignore = "needs the box: make scenarios"]
fn whatever_happens_at_once_nothing_is_lost_and_no_stop_of_ours_costs_min_isr() {
    let rounds = number("CHRONIK_MIX_ROUNDS", 1) as u64;
    let seed = number("CHRONIK_MIX_SEED", 1) as u64;
    println!("mixes: {rounds} rounds, CHRONIK_MIX_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let world = World::with_brokers("mixes", BROKERS as usize);
    release::await_ready(2);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::impatient(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let began = Instant::now();
    let mut smallest = Vec::new();
    for round in 1..=rounds {
        let chosen = choose(&mut chance);
        let isrs = one_round(&world, round, &chosen, &mut chance);
        let crashed = chosen.iter().any(|chosen| chosen.is_a_crash());
        println!("round {round}: {chosen:?}, smallest ISR {:?} in {} looks", isrs.smallest, isrs.looks);
        let members = isrs.smallest.expect("an answer").0;
        assert!(crashed || members >= 2, "round {round}, {chosen:?}: an ISR of {members} without any crash");
        load.await_acks(PARTITIONS, 10, GOES_ON);
        smallest.push(members);
    }
    let (took, stall) = (began.elapsed(), load.longest_stall(began));
    let (sent, book) = load.finish();
    let read = nothing_is_lost(&world.bootstrap(), PARTITIONS, &book);
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
    figure(&format!(
        "{rounds} rounds of {AT_ONCE} disturbances at once in {took:?}: {sent} sends, none failed, {read} read back; \
         longest stall {stall:?}; smallest ISR by round {smallest:?}"
    ));
}

impl Disturbance {
    /// Whether a broker dies without leave: that may meet a stop that has begun.
    fn is_a_crash(self) -> bool {
        matches!(self, Self::KillBroker(_) | Self::KillMetadataLeader)
    }
}

/// Different ones; at most one crash and one drain, for nodes come back one at a time.
fn choose(chance: &mut Rng) -> Vec<Disturbance> {
    let broker = chance.i32(1..=BROKERS);
    let crash = if chance.bool() { Disturbance::KillMetadataLeader } else { Disturbance::KillBroker(broker) };
    let mut all = [
        Disturbance::Rollout,
        Disturbance::Drain(chance.i32(1..=BROKERS)),
        Disturbance::Move,
        crash,
        Disturbance::KillOperator,
        Disturbance::RestartApiServer,
    ];
    chance.shuffle(&mut all);
    all[..AT_ONCE].to_vec()
}

/// All of them begin within three seconds; then everything is to become whole.
fn one_round(world: &World, round: u64, chosen: &[Disturbance], chance: &mut Rng) -> Isrs {
    let watchman = Watchman::start(world, BROKERS, "t");
    std::thread::scope(|scope| {
        for disturbance in chosen.iter().copied() {
            let delay = Duration::from_millis(chance.u64(0..3000));
            scope.spawn(move || {
                std::thread::sleep(delay);
                disturb(world, round, disturbance);
            });
        }
    });
    let whole = || {
        let condition = world.condition("brokerclusters/demo", "Ready")?;
        wait::holds(condition.starts_with("True"), || condition)?;
        let all: Vec<_> = (1..=BROKERS).map(|id| world.metadata(id, "t")).collect::<Result<_, _>>()?;
        let odd = all.iter().flatten().find(|partition| partition.isr.len() != 3);
        wait::holds(odd.is_none(), || format!("{odd:?}"))
    };
    wait::until("everything is whole again", WHOLE, whole);
    await_told(world, "False UpToDate", &[], WHOLE);
    wait::until("everything is whole again", WHOLE, whole);
    watchman.finish().1
}

fn disturb(world: &World, round: u64, disturbance: Disturbance) {
    match disturbance {
        Disturbance::Rollout => insist("a change of the spec", || {
            try_patch(world, &setting("default-partitions", &format!("{}", round + 1)))
        }),
        Disturbance::Drain(broker) => {
            // The API server may be away, and the pod about to be made.
            let (node, _) = wait::until("the broker's node", WHOLE, || world.try_node_of(broker));
            let node = Cordoned(node);
            let drained = node.drain("100s");
            // Others may be down for all that time: refused is right then.
            println!("drain of broker {broker}'s node: {}", if drained.success { "done" } else { "refused" });
        }
        Disturbance::Move => {
            let targets = [[1, 2, 3], [2, 3, 4], [3, 4, 1], [4, 1, 2]];
            move_all(world, &targets[round as usize % targets.len()]);
        }
        Disturbance::KillBroker(broker) => crash(world, broker),
        Disturbance::KillMetadataLeader => {
            let leader = || {
                let cluster = world.resource("brokerclusters/demo")?;
                cluster["status"]["metadataLeader"].as_i64().ok_or_else(|| "no metadata leader".to_owned())
            };
            let (leader, _) = wait::until("a metadata leader", GOES_ON, leader);
            crash(world, leader as i32);
        }
        Disturbance::KillOperator => insist("the operator's end", || {
            let acting = release::leader()?;
            let gone = ["--grace-period=0", "--force"];
            kubectl(&["delete", "pod", &acting, "--namespace", release::NAMESPACE]).args(gone).run().ok()
        }),
        Disturbance::RestartApiServer => box_nodes::restart_api_server(),
    }
}

/// The processes of the broker's container die.
fn crash(world: &World, broker: i32) {
    let path = format!("/api/v1/namespaces/{}/pods/demo-broker-{broker}", world.namespace);
    let running = || {
        let pod = get(&path)?;
        let status = &pod["status"]["containerStatuses"][0];
        let id = status["containerID"].as_str().filter(|_| !status["state"]["running"].is_null());
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        Ok((node, id.ok_or_else(|| format!("it does not run: {status}"))?.to_owned()))
    };
    let ((node, container), _) = wait::until(&format!("broker {broker} runs"), WHOLE, running);
    box_nodes::crash(&node, &container);
}

/// Tries until it is done: the API server may be away.
fn insist<T>(what: &str, act: impl FnMut() -> Result<T, String>) {
    let _ = wait::until(what, GOES_ON, act);
}
