//! Ties the peer transport to the engine: frames and liveness in, frames and requests out. Holds no rule of either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::birth::{Hello, founder_replica};
use crate::log::InitialVoter;
use crate::peer::{Lane, PeerAddress, PeerEvent, PeerHandle, RefusalKind, RefusedBy};
use crate::quorum;
use crate::replica::{Ask, EngineHandle, Event, Loss, Shared, Transport};

/// Something a peer said that is not for the engine.
#[derive(Debug)]
pub enum Word {
    /// What it told of itself in a handshake.
    Hello(BrokerId, Hello),
    /// It refuses this broker: these are its words.
    Outcast(RefusalKind, String),
    /// A command it forwards, its hello behind [`ASK_HELLO`] or a question about restarts, and where the reply goes.
    Request(BrokerId, Bytes, tokio::sync::oneshot::Sender<Bytes>),
}

/// Takes what the transport reports: the engine's share at once, the rest into `words`.
pub fn inbox(engine: EngineHandle, words: mpsc::UnboundedSender<Word>) -> impl Fn(PeerEvent) + Send + Sync {
    // Words are few: one for each handshake, and requests, which the transport bounds.
    let say = move |word| drop(words.send(word));
    move |event| match event {
        PeerEvent::Hello { from, payload, .. } => match Hello::decode(&payload) {
            Ok(hello) => say(Word::Hello(from, hello)),
            Err(error) => tracing::warn!(%from, %error, "peer's hello cannot be read"),
        },
        PeerEvent::Up { broker, incarnation } => {
            tracing::info!(%broker, %incarnation, "hear broker");
            engine.submit(Event::PeerUp { broker, incarnation });
        }
        PeerEvent::Down { broker, cause, .. } => {
            tracing::info!(%broker, ?cause, "lose broker");
            let loss = if cause.is_dead() { Loss::Dead } else { Loss::Silent };
            engine.submit(Event::PeerDown { broker, loss });
        }
        PeerEvent::Frame { from, payload, .. } => {
            if !engine.submit_frame(from, payload) {
                tracing::warn!(%from, "drop peer frame: too much waits for the engine");
            }
        }
        PeerEvent::Request { from, payload, reply, .. } => say(Word::Request(from, payload, reply)),
        PeerEvent::Refused { broker, by, refusal, hello } => {
            tracing::warn!(%broker, ?by, %refusal, "handshake refused");
            if let Some(Ok(hello)) = hello.map(|hello| Hello::decode(&hello)) {
                say(Word::Hello(broker, hello));
            }
            let outcast = match by {
                RefusedBy::Them => matches!(
                    refusal.kind,
                    RefusalKind::WrongDisk
                        | RefusalKind::Fenced
                        | RefusalKind::Retired
                        | RefusalKind::OlderGeneration
                ),
                RefusedBy::Us => refusal.kind == RefusalKind::NewerGeneration,
            };
            if outcast {
                let who = match by {
                    RefusedBy::Them => format!("broker {broker} refuses this broker"),
                    RefusedBy::Us => format!("this broker cannot go on beside broker {broker}"),
                };
                say(Word::Outcast(refusal.kind, format!("{who}: {refusal}")));
            }
        }
    }
}

/// The engine's way to other brokers.
pub struct PeerTransport(pub PeerHandle);

impl Transport for PeerTransport {
    fn send(&self, to: BrokerId, lane: quorum::Lane, frame: Bytes) -> bool {
        let lane = match lane {
            quorum::Lane::Control => Lane::Control,
            quorum::Lane::Bulk => Lane::Bulk,
        };
        self.0.send(to, lane, frame)
    }
}

impl Ask for PeerTransport {
    fn ask(
        &self,
        broker: BrokerId,
        payload: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let peers = self.0.clone();
        Box::pin(
            async move { peers.request(broker, payload, timeout).await.map_err(|error| error.to_string()) },
        )
    }
}

/// A request for what the peer would tell in a handshake now; the asker's own hello follows. No command looks like it.
pub const ASK_HELLO: &[u8] = b"hello?";
/// How often a broker that knows no cluster asks.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Asks everybody who is connected again and again whether the cluster exists and knows this disk, until the metadata group
/// runs here: since the handshake, which tells only how it was then, it may have been formed, or this disk registered.
pub async fn ask_around(shared: Shared, peers: PeerHandle, words: mpsc::UnboundedSender<Word>, own: DiskId) {
    let greet = hello(shared.clone(), own);
    while shared.formed.borrow().is_none() {
        tokio::time::sleep(ASK_EVERY).await;
        for broker in peers.status().into_iter().map(|peer| peer.broker) {
            let question = [ASK_HELLO, &greet(broker)].concat().into();
            let told = peers.request(broker, question, ASK_EVERY).await;
            if let Some(hello) = told.ok().and_then(|told| Hello::decode(&told).ok()) {
                let _ = words.send(Word::Hello(broker, hello));
            }
        }
    }
}

/// What this broker, on its disk, tells a peer in each handshake.
pub fn hello(shared: Shared, disk: DiskId) -> Arc<dyn Fn(BrokerId) -> Bytes + Send + Sync> {
    Arc::new(move |peer| Hello::to(peer, disk, &shared).encode())
}

/// Where peers are found: the founders, and over them whatever the brokers registered. Until a founder is registered, its
/// disk is the one that it began with.
pub fn address_book(founders: &[InitialVoter], shared: &Shared) -> BTreeMap<BrokerId, PeerAddress> {
    let known = |address: &str, disk: Option<DiskId>| PeerAddress { address: address.to_owned(), disk };
    let (cluster, formed) = (shared.cluster.borrow(), shared.formed.borrow());
    let began_with = |broker: BrokerId| {
        let founders = formed.iter().flat_map(|beginning| &beginning.founders);
        let mut founders = founders.filter(|founder| founder.replica == founder_replica(broker));
        let disk = founders.next().map(|founder| founder.disk);
        disk.filter(|disk| !cluster.retired_disks().contains_key(disk))
    };
    let founders =
        founders.iter().map(|founder| (founder.broker, known(&founder.address, began_with(founder.broker))));
    let registered =
        cluster.brokers().map(|broker| (broker.id, known(&broker.peer_address, Some(broker.disk))));
    founders.chain(registered).collect()
}
