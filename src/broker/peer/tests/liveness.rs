//! Up and Down: who is believed to live, and how soon the opposite is known.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::BrokerId;

use super::proxy::Proxy;
use super::support::*;
use crate::peer::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_come_up_and_speak_on_both_lanes() {
    let (a, mut b) = pair(config(1), config(2)).await;
    assert!(a.handle.is_up(BrokerId(2)) && b.handle.is_up(BrokerId(1)));
    for lane in [Lane::Control, Lane::Bulk] {
        let payload = Bytes::from(format!("over {lane:?}"));
        send(&a, 2, lane, &payload).await;
        assert_eq!(b.frame().await, payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_is_told_at_once() {
    let (mut a, b) = pair(config(1), config(2)).await;
    let start = Instant::now();
    b.handle.shutdown().await;
    assert_eq!(a.down(2).await, DownCause::Stopping);
    eprintln!("Stopping known after {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_cut_is_found_within_the_timeout_on_both_sides() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    let (to_a, to_b) = (Proxy::start(a.address()).await, Proxy::start(b.address()).await);
    a.knows(&[(2, to_b.address.to_string())]);
    b.knows(&[(1, to_a.address.to_string())]);
    a.up(2).await;
    b.up(1).await;
    let start = Instant::now();
    to_a.cut();
    to_b.cut();
    assert_eq!(a.down(2).await, DownCause::Silent);
    assert_eq!(b.down(1).await, DownCause::Silent);
    let found = start.elapsed();
    eprintln!("silence found after {found:?}");
    assert!(found >= Duration::from_secs(2) && found < Duration::from_secs(5), "{found:?}");
    to_a.heal();
    to_b.heal();
    let start = Instant::now();
    a.up(2).await;
    b.up(1).await;
    eprintln!("up again after {:?}", start.elapsed());
}
