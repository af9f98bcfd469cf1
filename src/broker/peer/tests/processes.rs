//! Faults only a real process has: kill -9, SIGSTOP, SIGCONT. The peer is this test binary, started once more.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chronik_core::ids::BrokerId;

use super::support::*;
use crate::peer::*;

const ADDRESS_OF_PARENT: &str = "CHRONIK_TEST_PEER_PARENT";
const START_COUNTER: &str = "CHRONIK_TEST_PEER_START";

/// Broker 2 as a process of its own; does nothing when the tests run it without a parent.
#[test]
fn broker_2_for_the_tests_in_this_file() {
    let Ok(parent) = std::env::var(ADDRESS_OF_PARENT) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut ours = config(2);
        ours.incarnation = life(2, std::env::var(START_COUNTER).unwrap().parse().unwrap());
        let broker = Broker::start(ours);
        broker.knows(&[(1, parent)]);
        eprintln!("listening on {}", broker.address());
        // Killed with its parent's `Process`; never stays longer than any test here takes.
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

struct Process(Child);

impl Process {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // gone already in most tests
        let _ = self.0.wait();
    }
}

/// Starts broker 2 and puts it into `a`'s book.
fn start_broker_2(a: &Broker, start: u64) -> Process {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "peer::tests::processes::broker_2_for_the_tests_in_this_file"])
        .env(ADDRESS_OF_PARENT, a.address().to_string())
        .env(START_COUNTER, start.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let process = Process(child);
    let mut lines = lines.map(Result::unwrap);
    let address = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
    std::thread::spawn(move || lines.for_each(drop)); // its pipe must not fill
    a.knows(&[(2, address)]);
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_is_known_at_once_and_the_next_start_comes_up() {
    let mut a = Broker::start(config(1));
    for start in 1..=5 {
        let process = start_broker_2(&a, start);
        assert_eq!(a.up(2).await, life(2, start));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let killed = Instant::now();
        process.signal("-9");
        assert_eq!(a.down(2).await, DownCause::Refused);
        let known = killed.elapsed();
        eprintln!("kill -9 known after {known:?}");
        assert!(known < Duration::from_secs(1), "{known:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_is_silent_then_back_and_dead_when_killed() {
    let mut a = Broker::start(config(1));
    let process = start_broker_2(&a, 1);
    a.up(2).await;
    let stopped = Instant::now();
    process.signal("-STOP");
    assert_eq!(a.down(2).await, DownCause::Silent);
    let known = stopped.elapsed();
    eprintln!("SIGSTOP known after {known:?}");
    assert!(known > Duration::from_secs(2) && known < Duration::from_secs(5), "{known:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let continued = Instant::now();
    process.signal("-CONT");
    assert_eq!(a.up(2).await, life(2, 1));
    eprintln!("up again {:?} after SIGCONT", continued.elapsed());

    let dials = a.handle.metrics().dials;
    process.signal("-STOP");
    assert_eq!(a.down(2).await, DownCause::Silent);
    // A refusal proves death only over a path that is known to work: a stopped process's port takes a connection, and once
    // the next is dialed that one was seen.
    let began = Instant::now();
    while a.handle.metrics().dials < dials + 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "no second dial");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.signal("-9");
    assert_eq!(a.down(2).await, DownCause::Refused, "death is told even when the peer was down already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_standstill_is_no_news() {
    let mut a = Broker::start(config(1));
    let process = start_broker_2(&a, 1);
    a.up(2).await;
    for _ in 0..3 {
        process.signal("-STOP");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        process.signal("-CONT");
        let down = |event| matches!(event, PeerEvent::Down { .. }).then_some(());
        assert!(a.within(Duration::from_millis(700), down).await.is_none());
    }
    assert!(a.handle.is_up(BrokerId(2)));
}
