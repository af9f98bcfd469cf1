//! Who is let in: each refusal by name, seen from both sides, and what a newer life does to an older one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::ids::BrokerId;

use super::support::*;
use crate::peer::*;

/// Broker 1 dials `second` as broker 2 and both see the same refusal; `refuser` is the broker that said no.
async fn refused(first: PeerConfig, second: PeerConfig, refuser: u32, kind: RefusalKind) -> String {
    let (mut a, mut b) = (Broker::start(first), Broker::start(second));
    a.knows(&[(2, b.address().to_string())]);
    let (by_a, by_b) =
        if refuser == 1 { (RefusedBy::Us, RefusedBy::Them) } else { (RefusedBy::Them, RefusedBy::Us) };
    let (_, by, at_a, _) = a.refused().await;
    assert_eq!((by, at_a.kind), (by_a, kind), "{at_a}");
    let (_, by, at_b, _) = b.refused().await;
    assert_eq!((by, &at_b), (by_b, &at_a), "both sides know the same reason");
    assert!(!a.handle.is_up(BrokerId(2)) && !b.handle.is_up(BrokerId(1)));
    let told = a.handle.status().into_iter().find(|peer| peer.broker == BrokerId(2)).unwrap();
    assert_eq!(told.refusal, Some((by_a, at_a.clone())));
    at_a.message
}

#[tokio::test]
async fn no_common_version_names_both_ranges() {
    let (mut old, mut new) = (config(1), config(2));
    old.versions = VersionRange { min: 1, max: 2 };
    new.versions = VersionRange { min: 3, max: 5 };
    let message = refused(old, new, 2, RefusalKind::NoCommonVersion).await;
    assert!(message.contains("1..=2") && message.contains("3..=5"), "{message}");
}

#[tokio::test]
async fn overlapping_versions_meet_at_the_highest_common() {
    let (old, new) = (VersionRange { min: 1, max: 3 }, VersionRange { min: 2, max: 5 });
    assert_eq!(old.common(new), Some(3));
    assert_eq!(new.common(old), Some(3));
    let (mut a, mut b) = (config(1), config(2));
    (a.versions, b.versions) = (old, new);
    pair(a, b).await;
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let mut other = config(2);
    other.cluster = "other-cluster".parse().unwrap();
    let message = refused(config(1), other, 2, RefusalKind::WrongCluster).await;
    assert!(message.contains("test-cluster") && message.contains("other-cluster"), "{message}");
}

#[tokio::test]
async fn another_broker_than_dialed_is_refused() {
    let message = refused(config(1), config(3), 3, RefusalKind::WrongBroker).await;
    assert!(message.contains("broker 2 was dialed") && message.contains("broker 3"), "{message}");
}

#[tokio::test]
async fn a_second_broker_with_our_id_is_refused() {
    let mut twin = config(1);
    twin.incarnation = life(99, 1);
    refused(config(1), twin, 2, RefusalKind::DuplicateBroker).await;
}

#[tokio::test]
async fn a_broker_that_dials_itself_is_told_so() {
    let mut a = Broker::start(config(1));
    a.knows(&[(2, a.address().to_string())]);
    assert_eq!(a.refused().await.2.kind, RefusalKind::ToItself);
}

#[tokio::test]
async fn another_history_of_the_metadata_is_refused() {
    let generation = |number, recovery| {
        let recovery = uuid::Uuid::from_u128(recovery);
        move || Some(chronik_core::ids::Generation { number, recovery })
    };
    let with = |id, number, recovery| {
        let mut config = config(id);
        config.generation = std::sync::Arc::new(generation(number, recovery));
        config
    };
    let message = refused(with(1, 0, 0), with(2, 1, 7), 2, RefusalKind::OlderGeneration).await;
    assert!(message.contains("this disk is of generation 0") && message.contains("empty disk"), "{message}");
    let message = refused(with(1, 2, 8), with(2, 1, 7), 2, RefusalKind::NewerGeneration).await;
    assert!(message.contains("this disk is of generation 1"), "{message}");
    let message = refused(with(1, 1, 8), with(2, 1, 7), 2, RefusalKind::OtherRecovery).await;
    assert!(message.contains("from two disks"), "{message}");
    pair(with(1, 1, 7), with(2, 1, 7)).await;
    pair(with(1, 1, 7), config(2)).await;
}

#[tokio::test]
async fn an_unknown_broker_is_refused_when_none_may_be_learned() {
    let mut closed = config(2);
    closed.max_learned = 0;
    refused(config(1), closed, 2, RefusalKind::UnknownBroker).await;
}

#[tokio::test]
async fn a_retired_disk_is_refused_and_still_learns_what_exists() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    b.handle.set_retired(Arc::new(BTreeMap::from([(life(1, 0).disk, BrokerId(1))])));
    b.knows(&[(1, a.address().to_string())]);
    a.knows(&[(2, b.address().to_string())]);
    let (broker, by, refusal, hello) = loop {
        let refused = a.refused().await;
        if refused.1 == RefusedBy::Them {
            break refused;
        }
    };
    assert_eq!((broker, by, refusal.kind), (BrokerId(2), RefusedBy::Them, RefusalKind::Retired));
    assert!(refusal.message.contains("was broker 1's") && refusal.message.contains("format it anew"));
    assert_eq!(hello.unwrap(), "2 greets 1", "the refused side still gets the hello");
    let (broker, by, at_b, hello) = b.refused().await;
    assert_eq!((broker, by, at_b.kind), (BrokerId(1), RefusedBy::Us, RefusalKind::Retired));
    assert_eq!(hello.unwrap(), "1 greets 2");
    assert!(!a.handle.is_up(BrokerId(2)) && !b.handle.is_up(BrokerId(1)));
}

/// It asks to be registered in the place of the one before.
#[tokio::test]
async fn another_disk_than_the_registered_one_comes_in_while_that_one_is_away() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    let address = a.address().to_string();
    let book = |disk| BTreeMap::from([(BrokerId(1), PeerAddress { address: address.clone(), disk })]);
    b.handle.set_peers(book(Some(life(77, 0).disk)));
    a.knows(&[(2, b.address().to_string())]);
    a.up(2).await;
    b.up(1).await;
    b.handle.set_peers(book(Some(life(77, 0).disk)));
    assert!(b.handle.is_up(BrokerId(1)), "the same word again changes nothing");
    b.handle.set_peers(book(Some(life(78, 0).disk)));
    b.down(1).await;
}

#[tokio::test]
async fn the_hello_comes_before_up_on_both_sides() {
    let (mut a, mut b) = (Broker::start(config(1)), Broker::start(config(2)));
    a.knows(&[(2, b.address().to_string())]);
    b.knows(&[(1, a.address().to_string())]);
    for (broker, expected) in [(&mut a, "2 greets 1"), (&mut b, "1 greets 2")] {
        let first = broker.until("first event", Some).await;
        assert!(matches!(&first, PeerEvent::Hello { payload, .. } if payload == expected), "{first:?}");
    }
}

#[tokio::test]
async fn a_broker_the_book_lacks_is_learned_by_its_advertised_address() {
    let mut a = Broker::start(config(1));
    let mut joining = config(4);
    // Its port must be known before it starts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    joining.listen = listener.local_addr().unwrap().to_string();
    joining.advertised = joining.listen.clone();
    drop(listener);
    let mut d = Broker::start(joining);
    d.knows(&[(1, a.address().to_string())]);
    a.up(4).await;
    d.up(1).await;
    assert!(a.handle.status()[0].learned);
    a.knows(&[(4, d.address().to_string())]);
    assert!(!a.handle.status()[0].learned && a.handle.is_up(BrokerId(4)));
    a.knows(&[]);
    assert_eq!(a.down(4).await, DownCause::Removed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_life_replaces_the_older_which_is_fenced() {
    let (mut a, mut old) = pair(config(1), config(2)).await;
    let mut newer = config(2);
    newer.incarnation = life(2, 2);
    let mut new = Broker::start(newer);
    // As in Kubernetes, where the name leads to the new pod while the old process may still run.
    a.knows(&[(2, new.address().to_string())]);
    new.knows(&[(1, a.address().to_string())]);
    assert_eq!(a.down(2).await, DownCause::Replaced);
    assert_eq!(a.up(2).await, life(2, 2));
    new.up(1).await;
    let (_, by, refusal, _) = old.refused().await;
    assert_eq!((by, refusal.kind), (RefusedBy::Them, RefusalKind::Fenced), "{refusal}");
    assert_ne!(old.down(1).await, DownCause::Refused, "broker 1 lives: it only refuses the older life");
    // The old life keeps trying and disturbs nobody.
    assert!(
        a.within(Duration::from_secs(1), |e| matches!(e, PeerEvent::Down { .. }).then_some(()))
            .await
            .is_none()
    );
    assert!(!old.handle.send(BrokerId(1), Lane::Control, Bytes::from_static(b"stale")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_disk_waits_until_the_first_is_gone() {
    let (mut a, old) = pair(config(1), config(2)).await;
    let mut emptied = config(2);
    emptied.incarnation = life(222, 1);
    let mut new = Broker::start(emptied);
    new.knows(&[(1, a.address().to_string())]);
    let (_, _, refusal, _) = new.refused().await;
    assert_eq!(refusal.kind, RefusalKind::WrongDisk, "{refusal}");
    assert!(a.handle.is_up(BrokerId(2)));
    old.handle.shutdown().await;
    a.down(2).await;
    a.knows(&[(2, new.address().to_string())]);
    assert_eq!(a.up(2).await, life(222, 1));
}
