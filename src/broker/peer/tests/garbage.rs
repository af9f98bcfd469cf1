//! What strangers and broken peers send: it costs their connection, bounded in time and memory, and nobody else's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::*;
use crate::peer::handshake::{Hello, dial};
use crate::peer::identity::Identity;
use crate::peer::*;

fn hello() -> Hello {
    Hello {
        versions: VersionRange { min: 2, max: 2 },
        lane: Lane::Bulk,
        from: Identity {
            cluster: "test-cluster".parse().unwrap(),
            broker: BrokerId(9),
            incarnation: life(9, 1),
        },
        to: BrokerId(1),
        advertised: "127.0.0.1:1".into(),
        payload: Bytes::new(),
        generation: None,
    }
}

/// Waits for the other side's close and gives how long it took.
async fn closed(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    end.expect("the connection is closed").ok(); // an end or a reset: both close
    start.elapsed()
}

async fn send_raw(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn handshaken(to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let (mut from, mut out) = stream.split();
    dial(&mut from, &mut out, &hello(), |_| Ok(())).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_of_every_kind_costs_only_its_own_connection() {
    let (mut a, b) = pair(config(1), config(2)).await;
    let address = a.address();
    let good = hello().encode();

    for _ in 0..20 {
        let noise: Vec<u8> = (0..512).map(|_| rand::random()).collect();
        assert!(closed(send_raw(address, &noise).await).await < Duration::from_secs(2));
    }
    let mut two_gib = good[..12].to_vec();
    two_gib.extend(0x8000_0000_u32.to_be_bytes());
    assert!(closed(send_raw(address, &two_gib).await).await < Duration::from_secs(2));
    let mut short_fields = good[..12].to_vec();
    short_fields.extend([0, 0, 0, 3, 1, 64, 65]);
    assert!(closed(send_raw(address, &short_fields).await).await < Duration::from_secs(2));

    for frame in [&[0x80, 0, 0, 0, 3][..], &[0, 0, 0, 0], &[0, 0, 0, 1, 250], &[0, 0, 0, 2, 4, 9]] {
        let mut stream = handshaken(address).await;
        stream.write_all(frame).await.unwrap();
        assert!(closed(stream).await < Duration::from_secs(2), "{frame:?}");
    }

    let counts = a.handle.metrics();
    assert!(counts.garbage >= 26, "{counts:?}");
    send(&b, 1, Lane::Bulk, &Bytes::from_static(b"still here")).await;
    let mut downs = 0;
    let frame = a.until("Frame", |event| match event {
        PeerEvent::Down { broker: BrokerId(2), .. } => {
            downs += 1;
            None
        }
        PeerEvent::Frame { payload, .. } => Some(payload),
        _ => None,
    });
    assert_eq!(frame.await, "still here");
    assert_eq!(downs, 0, "the good pair never noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_handshake_and_one_byte_at_a_time_end_at_the_deadline() {
    let a = Broker::start(config(1));
    let good = hello().encode();
    let half = closed(send_raw(a.address(), &good[..good.len() / 2]).await);
    let silent = closed(TcpStream::connect(a.address()).await.unwrap());
    let slow = async {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        let start = Instant::now();
        for byte in good.iter() {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        closed(stream).await;
        start.elapsed()
    };
    let no_ready = async {
        // The hello is good; the third word never comes.
        let stream = send_raw(a.address(), &good).await;
        closed(stream).await
    };
    let (half, silent, slow, no_ready) = tokio::join!(half, silent, slow, no_ready);
    for (what, took) in [("half", half), ("silent", silent), ("slow", slow), ("no ready", no_ready)] {
        assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(10), "{what}: {took:?}");
    }
    assert!(a.handle.status().is_empty(), "nobody was let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_hold_every_handshake_place_delay_peers_no_longer_than_the_deadline() {
    let mut first = config(1);
    first.max_handshakes = 4;
    first.handshake_timeout = Duration::from_millis(500);
    let mut a = Broker::start(first);
    let mut strangers = Vec::new();
    for _ in 0..16 {
        strangers.push(TcpStream::connect(a.address()).await.unwrap());
    }
    let b = Broker::start(config(2));
    a.knows(&[(2, b.address().to_string())]);
    b.knows(&[(1, a.address().to_string())]);
    a.up(2).await;
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_handshake_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), cut in 0usize..200) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Noise alone, noise behind a good head, and a good hello cut short with noise behind it.
        let good = hello().encode();
        let mut headed = good[..12].to_vec();
        headed.extend((bytes.len() as u32).to_be_bytes());
        headed.extend(&bytes);
        let mut spoiled = good[..cut.min(good.len())].to_vec();
        spoiled.extend(&bytes);
        for wire in [bytes, headed, spoiled] {
            let receive = |_: &Hello| any_reception();
            let ours = VersionRange { min: 2, max: 2 };
            let _ = runtime.block_on(handshake::accept(&mut &wire[..], &mut tokio::io::sink(), ours, receive));
        }
    }
}

fn any_reception() -> (handshake::Reception, Result<(), Refusal>) {
    let reception = handshake::Reception {
        identity: hello().from,
        versions: VersionRange { min: 2, max: 2 },
        max_frame: 1,
        payload: Bytes::new(),
        generation: None,
    };
    (reception, Ok(()))
}
