//! A transport with its events in a channel, for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Incarnation};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::peer::*;

/// Far above what any step takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Broker {
    pub(super) handle: PeerHandle,
    pub(super) id: BrokerId,
    events: mpsc::UnboundedReceiver<PeerEvent>,
}

pub(super) fn life(disk: u128, start: u64) -> Incarnation {
    Incarnation { disk: DiskId(Uuid::from_u128(disk)), start }
}

pub(super) fn config(id: u32) -> PeerConfig {
    let cluster = "test-cluster".parse().unwrap();
    let mut config = PeerConfig::new(
        cluster,
        BrokerId(id),
        life(id.into(), 1),
        "127.0.0.1:0".into(),
        "127.0.0.1:1".into(),
    );
    config.hello = Arc::new(move |to| Bytes::from(format!("{id} greets {to}")));
    config
}

impl Broker {
    pub(super) fn start(config: PeerConfig) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let id = config.broker;
        let handle = start(config, move |event| {
            let _ = sender.send(event); // the test may be over
        })
        .unwrap();
        Self { handle, id, events }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Sets the book to these.
    pub(super) fn knows(&self, peers: &[(u32, String)]) {
        let entry = |(id, address): &(u32, String)| {
            (BrokerId(*id), PeerAddress { address: address.clone(), disk: None })
        };
        self.handle.set_peers(peers.iter().map(entry).collect::<BTreeMap<_, _>>());
    }

    /// The first event that `wanted` maps to something; others are passed over.
    pub(super) async fn until<T>(&mut self, what: &str, wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        self.within(PATIENCE, wanted).await.unwrap_or_else(|| panic!("broker {}: no {what}", self.id))
    }

    pub(super) async fn within<T>(
        &mut self,
        time: Duration,
        mut wanted: impl FnMut(PeerEvent) -> Option<T>,
    ) -> Option<T> {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the transport holds the sender");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(time, search).await.ok()
    }

    pub(super) async fn up(&mut self, id: u32) -> Incarnation {
        self.until("Up", |event| match event {
            PeerEvent::Up { broker: BrokerId(up), incarnation } if up == id => Some(incarnation),
            _ => None,
        })
        .await
    }

    pub(super) async fn down(&mut self, id: u32) -> DownCause {
        self.until("Down", |event| match event {
            PeerEvent::Down { broker: BrokerId(down), cause, .. } if down == id => Some(cause),
            _ => None,
        })
        .await
    }

    pub(super) async fn frame(&mut self) -> Bytes {
        self.until("Frame", |event| match event {
            PeerEvent::Frame { payload, .. } => Some(payload),
            _ => None,
        })
        .await
    }

    pub(super) async fn refused(&mut self) -> (BrokerId, RefusedBy, Refusal, Option<Bytes>) {
        self.until("Refused", |event| match event {
            PeerEvent::Refused { broker, by, refusal, hello } => Some((broker, by, refusal, hello)),
            _ => None,
        })
        .await
    }
}

/// Two brokers that know each other and are up.
pub(super) async fn pair(first: PeerConfig, second: PeerConfig) -> (Broker, Broker) {
    let (mut a, mut b) = (Broker::start(first), Broker::start(second));
    a.knows(&[(b.id.0, b.address().to_string())]);
    b.knows(&[(a.id.0, a.address().to_string())]);
    a.up(b.id.0).await;
    b.up(a.id.0).await;
    (a, b)
}

/// Waits for a condition that no event tells.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends until the lane is connected.
pub(super) async fn send(from: &Broker, to: u32, lane: Lane, payload: &Bytes) {
    eventually("send", || from.handle.send(BrokerId(to), lane, payload.clone())).await;
}

pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }
    pub(super) fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
