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

/// Both see each other through proxies; nobody may believe in a link that works one way only.
async fn one_way(lose: impl Fn(&Proxy, &Proxy)) {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    let (to_a, to_b) = (Proxy::start(a.address()).await, Proxy::start(b.address()).await);
    a.knows(&[(2, to_b.address.to_string())]);
    b.knows(&[(1, to_a.address.to_string())]);
    a.up(2).await;
    b.up(1).await;
    let start = Instant::now();
    lose(&to_a, &to_b);
    let (at_a, at_b) = tokio::join!(a.down(2), b.down(1));
    let found = start.elapsed();
    eprintln!("one-way cut found after {found:?}: a says {at_a:?}, b says {at_b:?}");
    assert!(found < Duration::from_secs(5), "{found:?}");
    assert!(!at_a.is_dead() && !at_b.is_dead(), "both live, and neither may call the other dead");
    let up = |event| matches!(event, PeerEvent::Up { .. }).then_some(());
    let (at_a, at_b) =
        tokio::join!(a.within(Duration::from_secs(4), up), b.within(Duration::from_secs(4), up));
    assert_eq!((at_a, at_b), (None, None), "and stays down");
    to_a.heal();
    to_b.heal();
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_lost_from_a_to_b_take_both_down() {
    // All packets of one direction: what A dials, and A's answers on what B dials.
    one_way(|to_a, to_b| {
        to_b.faults.forward.set(true);
        to_a.faults.back.set(true);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dials_lost_one_way_takes_both_down() {
    one_way(|_, to_b| to_b.faults.forward.set(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_take_both_down() {
    one_way(|_, to_b| to_b.faults.back.set(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_can_dial_us_but_not_be_dialed_is_never_up() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    a.knows(&[(2, "127.0.0.1:1".into())]); // nothing listens there
    b.knows(&[(1, a.address().to_string())]);
    let up = |event| matches!(event, PeerEvent::Up { .. }).then_some(());
    let (at_a, at_b) =
        tokio::join!(a.within(Duration::from_secs(4), up), b.within(Duration::from_secs(4), up));
    assert_eq!((at_a, at_b), (None, None));
    let status = &a.handle.status()[0];
    assert_ne!(status.down, Some(DownCause::Refused), "it is heard, so it is not dead: {status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_within_the_grace_is_no_news() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    let to_b = Proxy::start(b.address()).await;
    a.knows(&[(2, to_b.address.to_string())]);
    b.knows(&[(1, a.address().to_string())]);
    a.up(2).await;
    b.up(1).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let before = a.handle.metrics().connects;
    to_b.reset();
    eventually("reconnect", || a.handle.metrics().connects >= before + 2).await;
    let down = |event| matches!(event, PeerEvent::Down { .. }).then_some(());
    let (at_a, at_b) =
        tokio::join!(a.within(Duration::from_secs(1), down), b.within(Duration::from_secs(1), down));
    assert_eq!((at_a, at_b), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_at_each_dial_and_addresses_may_change() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    a.knows(&[(2, "no-such-host.invalid:9093".into())]);
    b.knows(&[(1, format!("localhost:{}", a.address().port()))]);
    eventually("b reaches a by name", || b.handle.metrics().connects >= 1).await;
    assert!(!a.handle.is_up(BrokerId(2)));
    a.knows(&[(2, format!("localhost:{}", b.address().port()))]);
    a.up(2).await;
    b.up(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_dead_from_the_start_is_known_dead() {
    let mut a = Broker::start(config(1));
    a.knows(&[(2, "127.0.0.1:1".into())]);
    assert_eq!(a.down(2).await, DownCause::Refused);
    let dials = a.handle.metrics().dials;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let dials = a.handle.metrics().dials - dials;
    assert!(dials <= 12, "{dials} dials in 2 s are not cheap");
}
