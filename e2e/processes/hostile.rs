//! Clients and followers that take without giving: what they cost a broker in memory, and the others in time.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use chronik_e2e::cluster::Cluster;
use chronik_e2e::flood::Flood;
use chronik_e2e::{load, wire};
use rdkafka::config::ClientConfig;

const PATIENCE: Duration = Duration::from_secs(10);
/// What a client that does nothing wrong waits for an answer at most, on a machine with two busy cores.
const PROMPT: Duration = Duration::from_millis(1_000);
/// What another producer waits beside the flood at most, connection included: it shares the leader's disk with it.
const SLOWEST_PRODUCE: Duration = Duration::from_secs(5);
/// Requests and answers may take 256 MiB each; what waits for the disk, for commits and for peers, and the program itself,
/// come on top. docs/limits.md counts it up.
const MOST_MIB: u64 = 900;

/// The longest wait of some Metadata requests.
fn longest_wait(broker: SocketAddr, topic: &str) -> Duration {
    let ask = |_| {
        let began = Instant::now();
        wire::metadata(broker, topic, PATIENCE).expect("an answer");
        std::thread::sleep(Duration::from_millis(20));
        began.elapsed() - Duration::from_millis(20)
    };
    (0..40).map(ask).max().expect("some")
}

/// The longest wait of some producers that send one record each, one after the other.
fn longest_produce(config: &ClientConfig, topic: &str) -> Duration {
    let produce = |_| {
        let began = Instant::now();
        let sent = load::send_each(config, topic, 1);
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        began.elapsed()
    };
    (0..10).map(produce).max().expect("some")
}

fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a place");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("send");
    stream
}

#[test]
fn half_requests_cost_little_memory_and_nobody_time() {
    let mut cluster = Cluster::plan("halves");
    let places = ["--max-connections", "1100", "--max-connections-per-ip", "1100"];
    cluster.broker_mut(1).set_settings(&places);
    cluster.begin();
    cluster.create_topic("t", 1);
    let broker = cluster.broker(1);
    let before = broker.peak_mib();
    let announced = [&(100_i32 << 20).to_be_bytes()[..], &[0; 1_000]].concat();
    let cut = [0, 0, 1, 0, 0, 3, 0, 7, 0, 0, 0, 1];
    let connections: Vec<_> =
        (0..1_000).map(|at| send(broker.kafka(), if at % 2 == 0 { &announced } else { &cut })).collect();
    let longest = longest_wait(broker.kafka(), "t");
    let grown = broker.peak_mib() - before;
    println!("{} halves: {grown} MiB more, others waited {longest:?} at most", connections.len());
    assert!(grown <= 100, "{grown} MiB");
    assert!(longest <= PROMPT, "{longest:?}");
    drop(connections);
    cluster.await_ready();
}

#[test]
fn consumers_that_never_read_cost_bounded_memory_and_nobody_time() {
    let mut cluster = Cluster::start("deaf");
    cluster.create_topic("t", 1);
    let mut config = load::idempotent(&cluster.bootstrap());
    config.set("queue.buffering.max.kbytes", "65536").set("linger.ms", "5");
    let flood = Flood::start(&config, "t", 1, 100_000);
    let began = Instant::now();
    while flood.acked() < 1_000 && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (_, acked, failed) = flood.finish();
    assert!(acked >= 1_000 && failed.is_none(), "{acked} acknowledged, {failed:?}");
    let leader = cluster.leader("t", 0);
    let leader = cluster.broker(leader);
    let before = leader.peak_mib();
    let fetches = wire::fetch_frame("t", 0, 0, 50 << 20).repeat(8);
    let connections: Vec<_> = (0..200).map(|_| send(leader.kafka(), &fetches)).collect();
    std::thread::sleep(Duration::from_secs(5));
    let longest = longest_wait(leader.kafka(), "t");
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", 1);
    let peak = leader.peak_mib();
    println!(
        "{} consumers that never read: {before} MiB before, {peak} MiB at the peak, others waited {longest:?} at most",
        connections.len()
    );
    assert!(peak <= MOST_MIB, "{peak} MiB");
    assert!(longest <= PROMPT, "{longest:?}");
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    drop(connections);
    cluster.await_ready();
}

/// First one follower stands still, then both: what they cannot take waits on the leader's disk, not in its memory.
#[test]
fn a_flood_before_followers_that_stand_still_costs_bounded_memory() {
    let mut cluster = Cluster::start("stopped");
    cluster.create_topic_with("t", 3, &[("min.insync.replicas", "1")]);
    let leader = cluster.leader("t", 0);
    let others = Cluster::others(&[leader]);
    let mut config = load::idempotent(&cluster.bootstrap());
    config.set("enable.idempotence", "false").set("acks", "1").set("message.timeout.ms", "20000");
    cluster.create_topic_with("other", 1, &[("min.insync.replicas", "1")]);
    let flood = Flood::start(&config, "t", 3, 50_000);
    std::thread::sleep(Duration::from_secs(3));
    let mut acked = flood.acked();
    for (stopped, still) in others.iter().enumerate() {
        cluster.broker(*still).pause();
        std::thread::sleep(Duration::from_secs(10));
        let (peak, now) = (cluster.broker(leader).peak_mib(), flood.acked());
        let longest = longest_wait(cluster.broker(leader).kafka(), "t");
        println!(
            "{} followers stopped: {} acknowledged, {peak} MiB at the peak, others waited {longest:?} at most for Metadata",
            stopped + 1,
            now - acked
        );
        assert!(longest <= PROMPT, "{longest:?}");
        if stopped == 0 {
            let longest = longest_produce(&config, "other");
            println!("another producer waited {longest:?} at most for an acknowledgement by the leader");
            assert!(longest <= SLOWEST_PRODUCE, "{longest:?}");
        }
        assert!(peak <= MOST_MIB, "{peak} MiB");
        assert!(stopped > 0 || now > acked, "one follower that stands still stopped the others");
        acked = now;
    }
    others.iter().for_each(|id| cluster.broker(*id).resume());
    cluster.await_ready();
    drop(flood);
}
