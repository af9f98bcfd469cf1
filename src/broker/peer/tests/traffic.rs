//! Frames and requests: order, bounds, timeouts, and how fast.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::BrokerId;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::support::*;
use crate::peer::frame::FrameReader;
use crate::peer::handshake::{self, Hello, Reception};
use crate::peer::identity::Identity;
use crate::peer::*;

const TO_B: BrokerId = BrokerId(2);
const SOON: Duration = Duration::from_secs(20);

async fn asked(broker: &mut Broker) -> (Bytes, oneshot::Sender<Bytes>) {
    broker
        .until("Request", |event| match event {
            PeerEvent::Request { payload, reply, .. } => Some((payload, reply)),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_get_their_own_replies_in_any_order() {
    let (a, mut b) = pair(config(1), config(2)).await;
    let ask = |text: &'static str| {
        let handle = a.handle.clone();
        tokio::spawn(async move { handle.request(TO_B, Bytes::from_static(text.as_bytes()), SOON).await })
    };
    let first = ask("first");
    let (one, reply_one) = asked(&mut b).await;
    let second = ask("second");
    let (two, reply_two) = asked(&mut b).await;
    reply_two.send(two).unwrap();
    assert_eq!(second.await.unwrap().unwrap(), "second");
    reply_one.send(one).unwrap();
    assert_eq!(first.await.unwrap().unwrap(), "first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_reply_says_why() {
    let mut few = config(1);
    few.max_requests = 2;
    let (a, mut b) = pair(few, config(2)).await;
    let ask = |within| a.handle.request(TO_B, Bytes::from_static(b"?"), within);

    let unanswered = ask(Duration::from_millis(200));
    let (unanswered, (_, late)) = tokio::join!(unanswered, asked(&mut b));
    assert!(matches!(unanswered, Err(PeerError::TimedOut(TO_B))), "{unanswered:?}");
    let _ = late.send(Bytes::from_static(b"too late")); // arrives after nobody waits: must disturb nothing

    let dropped = async { drop(asked(&mut b).await) };
    let (refused, ()) = tokio::join!(ask(SOON), dropped);
    assert!(matches!(refused, Err(PeerError::NoReply(TO_B))), "{refused:?}");

    let large = a.handle.request(TO_B, Bytes::from(vec![0; (4 << 20) + 1]), SOON).await;
    assert!(matches!(large, Err(PeerError::TooLarge { max: 0x40_0000, .. })), "{large:?}");
    let nobody = a.handle.request(BrokerId(7), Bytes::new(), SOON).await;
    assert!(matches!(nobody, Err(PeerError::NotConnected(BrokerId(7)))), "{nobody:?}");

    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let handle = a.handle.clone();
            tokio::spawn(async move { handle.request(TO_B, Bytes::new(), SOON).await })
        })
        .collect();
    let held = (asked(&mut b).await, asked(&mut b).await);
    let third = ask(SOON).await;
    assert!(matches!(third, Err(PeerError::Overloaded(TO_B))), "{third:?}");
    b.handle.shutdown().await;
    for request in waiting {
        let result = request.await.unwrap();
        assert!(
            matches!(result, Err(PeerError::Disconnected(TO_B) | PeerError::NoReply(TO_B))),
            "{result:?}"
        );
    }
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_is_answered_by_no_reply_beyond_the_bound() {
    let (mut asker, mut server) = (config(1), config(2));
    (asker.max_requests, server.max_requests) = (64, 4);
    let (a, mut b) = pair(asker, server).await;
    let flood: Vec<_> = (0..20)
        .map(|_| {
            let handle = a.handle.clone();
            tokio::spawn(async move { handle.request(TO_B, Bytes::new(), SOON).await })
        })
        .collect();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(asked(&mut b).await.1);
    }
    let fifth =
        b.within(Duration::from_millis(500), |e| matches!(e, PeerEvent::Request { .. }).then_some(()));
    assert!(fifth.await.is_none());
    held.into_iter().for_each(|reply| reply.send(Bytes::from_static(b"done")).unwrap());
    let (mut done, mut refused) = (0, 0);
    for request in flood {
        match request.await.unwrap() {
            Ok(_) => done += 1,
            Err(PeerError::NoReply(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((done, refused), (4, 16));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_fills_a_bounded_queue() {
    // An acceptor that is good until `Ready` and then never reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let deaf = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.split();
            let receive = |_: &Hello| {
                let identity = Identity {
                    cluster: "test-cluster".parse().unwrap(),
                    broker: TO_B,
                    incarnation: life(2, 1),
                };
                let versions = VersionRange { min: 2, max: 2 };
                let (max_frame, payload) = (1 << 20, Bytes::new());
                (Reception { identity, versions, max_frame, payload, generation: None }, Ok(()))
            };
            let ours = VersionRange { min: 2, max: 2 };
            handshake::accept(&mut from, &mut to, ours, receive).await.unwrap().1.unwrap();
            handshake::await_ready(&mut FrameReader::new(from, 64)).await.unwrap();
            kept.push(stream);
        }
    });
    let mut first = config(1);
    first.bulk.queue_bytes = 4 << 20;
    let a = Broker::start(first);
    a.knows(&[(2, address.to_string())]);
    let payload = Bytes::from(vec![7; 1 << 20]);
    send(&a, 2, Lane::Bulk, &payload).await;
    assert!(
        !a.handle.send(TO_B, Lane::Bulk, Bytes::from(vec![7; (1 << 20) + 1])),
        "longer than the peer takes"
    );
    // Beside the queue, the kernel's socket buffers (some MiB) and one write in flight take frames.
    let mut taken = 1;
    for _ in 0..200 {
        taken += usize::from(a.handle.send(TO_B, Lane::Bulk, payload.clone()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(taken < 60, "{taken} MiB went into a queue of 4 MiB");
    assert!(!a.handle.send(TO_B, Lane::Bulk, payload));
    let dropped = a.handle.metrics().bulk.dropped;
    assert!(dropped >= 140, "{dropped}");
    assert!(
        a.handle.send(TO_B, Lane::Control, Bytes::from_static(b"hi")),
        "Control does not stand behind Bulk"
    );
    deaf.abort();
}

/// Sends `count` numbered frames as fast as the queue takes them; gives the time until the last has arrived in order.
async fn flood(a: &Broker, b: &mut Broker, lane: Lane, size: usize, count: u64) -> Duration {
    send(a, 2, lane, &Bytes::from_static(b"warm")).await;
    b.frame().await;
    let handle = a.handle.clone();
    let start = Instant::now();
    let sender = tokio::spawn(async move {
        for number in 0..count {
            let mut payload = BytesMut::zeroed(size);
            (&mut payload[..8]).put_u64(number);
            let payload = payload.freeze();
            while !handle.send(TO_B, lane, payload.clone()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for expected in 0..count {
        let mut frame = b.frame().await;
        assert_eq!((frame.len(), frame.get_u64()), (size, expected));
    }
    let took = start.elapsed();
    sender.await.unwrap();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_order_and_small_frames_share_writes() {
    let (a, mut b) = pair(config(1), config(2)).await;
    let before = a.handle.metrics();
    let took = flood(&a, &mut b, Lane::Control, 200, 100_000).await;
    let counts = a.handle.metrics().control;
    let per_write = counts.frames_sent as f64 / (counts.writes - before.control.writes) as f64;
    eprintln!("200 B frames: {:.0}/s, {per_write:.1} per write", 100_000.0 / took.as_secs_f64());
    assert!(per_write > 1.5, "nothing was coalesced: {per_write}");
    let took = flood(&a, &mut b, Lane::Bulk, 1 << 20, 512).await;
    eprintln!("1 MiB frames: {:.0} MiB/s", 512.0 / took.as_secs_f64());
    let took = flood(&a, &mut b, Lane::Bulk, 32 << 20, 4).await;
    eprintln!("32 MiB frames: {:.0} MiB/s", 128.0 / took.as_secs_f64());
    assert!(a.handle.is_up(TO_B) && b.handle.is_up(BrokerId(1)));
}
