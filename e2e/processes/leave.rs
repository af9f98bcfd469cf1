//! Brokers in pods that are told to stop: each waits until the others can spare it, serves meanwhile, and not for ever.

use std::time::{Duration, Instant};

use chronik_e2e::grown::Grown;
use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};

use crate::check;

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const SETTLE: Duration = Duration::from_secs(40);
/// So long a broker is watched that should not stop.
const STAYS: Duration = Duration::from_secs(5);
/// Nobody waits for anybody.
const AT_ONCE: Duration = Duration::from_secs(10);

fn start(name: &str, stop_wait: u32) -> Grown {
    let wait = format!("--stop-wait-seconds={stop_wait}");
    let mut cluster = Grown::start_with(name, 3, 3, &["--pod-uid=pod-{id}", &wait]);
    cluster.create_topic("t", PARTITIONS, &[1, 2, 3]);
    cluster.await_ready();
    cluster
}

fn await_isr(cluster: &Grown, asked: i32, isr: &[i32]) {
    let look = || {
        let told = cluster.topic(asked, "t")?;
        let all = told["partitions"].as_array().cloned().unwrap_or_default();
        let fits = |isr: &[i32]| {
            all.len() == PARTITIONS
                && all.iter().all(|one| {
                    let mut now: Vec<i64> =
                        one["isr"].as_array().into_iter().flatten().filter_map(|id| id.as_i64()).collect();
                    now.sort_unstable();
                    now.iter().map(|id| *id as i32).eq(isr.iter().copied())
                })
        };
        wait::holds(fits(isr), || told.to_string())
    };
    wait::until(&format!("ISR {isr:?}"), SETTLE, look);
}

fn open_permits(cluster: &Grown, asked: i32) -> Result<usize, String> {
    let told = admin::get(cluster.broker(asked).admin(), "/v1/permits")?.json()?;
    Ok(told["open"].as_array().map_or(0, Vec::len))
}

#[test]
fn a_stop_waits_until_the_others_can_spare_the_broker() {
    let mut cluster = start("leave-waits", 60);
    let load = Load::start(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, SETTLE);
    cluster.broker_mut(3).kill();
    await_isr(&cluster, 1, &[1, 2]);

    cluster.broker(2).terminate();
    let told = Instant::now();
    while told.elapsed() < STAYS {
        assert!(cluster.broker_mut(2).runs(), "{}", cluster.broker(2).log_tail(20));
        std::thread::sleep(Duration::from_millis(100));
    }
    load.await_acks(PARTITIONS, 10, SETTLE);
    await_isr(&cluster, 1, &[1, 2]);
    assert!(cluster.broker(2).log_text().contains("wait with the stop"));

    cluster.broker_mut(3).start();
    let ended = cluster.broker_mut(2).wait_end(SETTLE);
    println!("stopped {:?} after it was told to, with the third one back", told.elapsed());
    assert!(ended.success(), "{ended}");
    assert!(cluster.broker(2).log_text().contains("stop with leave"), "{}", cluster.broker(2).log_tail(20));
    await_isr(&cluster, 1, &[1, 3]);
    assert_eq!(open_permits(&cluster, 1), Ok(1));

    cluster.broker_mut(2).start();
    await_isr(&cluster, 1, &[1, 2, 3]);
    let closed = || {
        let open = open_permits(&cluster, 1)?;
        wait::holds(open == 0, || format!("{open} open"))
    };
    wait::until("the permit ends", SETTLE, closed);
    let (sent, book) = load.finish();
    check::all_kept(&cluster.bootstrap(), "t", PARTITIONS, sent, &book);
    assert_eq!(book.acknowledged(), sent);
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    let mut cluster = start("leave-late", 4);
    cluster.broker_mut(3).kill();
    await_isr(&cluster, 1, &[1, 2]);
    cluster.broker(2).terminate();
    let told = Instant::now();
    let ended = cluster.broker_mut(2).wait_end(SETTLE);
    let took = told.elapsed();
    assert!(ended.success() && took >= Duration::from_secs(4), "{ended} after {took:?}");
    assert!(cluster.broker(2).log_text().contains("no time left to wait"));
}

#[test]
fn brokers_that_are_all_told_to_stop_do_not_wait_for_each_other() {
    // All in one moment, or one after the other as nodes hear of it.
    for apart in [0, 700, 2_500] {
        let mut cluster = start(&format!("leave-all-{apart}"), 60);
        for id in 1..=3 {
            cluster.broker(id).terminate();
            std::thread::sleep(Duration::from_millis(apart));
        }
        let told = Instant::now();
        for id in 1..=3 {
            let ended = cluster.broker_mut(id).wait_end(SETTLE);
            assert!(ended.success(), "broker {id}: {ended}");
        }
        let took = told.elapsed();
        println!("told {apart} ms apart, all three ended after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}
