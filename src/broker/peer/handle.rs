//! The transport's front: start, send, ask, and end. Holds no rules of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::config::{PeerAddress, PeerConfig};
use super::event::{Lane, PeerError, PeerEvent, PeerStatus};
use super::frame::Frame;
use super::metrics::PeerCounts;
use super::node::Node;
use super::queue::PushError;
use super::{judge, listener};

/// How long a clean end waits for its farewells to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// The running transport. Clones are cheap; all methods that are not `async` may be called from any thread.
#[derive(Clone)]
pub struct PeerHandle {
    node: Arc<Node>,
    local: SocketAddr,
}

/// Binds and starts the transport on the current tokio runtime. Nothing is dialed before [`PeerHandle::set_peers`].
/// `events` runs on the connections' tasks and must not block.
pub fn start(
    config: PeerConfig,
    events: impl Fn(PeerEvent) + Send + Sync + 'static,
) -> Result<PeerHandle, PeerError> {
    let (listener, local) = bind(&config.listen)
        .map_err(|source| PeerError::Listen { address: config.listen.clone(), source })?;
    let node = Arc::new(Node::new(config, Box::new(events), Handle::current()));
    node.spawn(listener::run(node.clone(), listener));
    node.spawn(judge::run(node.clone()));
    Ok(PeerHandle { node, local })
}

fn bind(address: &str) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, local))
}

impl PeerHandle {
    /// Where the transport listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Queues a frame. `false`: not connected, too long, or the queue is full; the frame is dropped and counted.
    pub fn send(&self, to: BrokerId, lane: Lane, payload: Bytes) -> bool {
        let queued =
            self.node.peers.read().get(&to).map(|peer| peer.queue(lane).push(Frame::Message(payload)));
        let sent = queued == Some(Ok(()));
        if !sent {
            self.node.counters.dropped(lane, 1);
        }
        sent
    }

    /// Asks over the Control lane and waits for the reply. Without one the request may still have been carried out.
    pub async fn request(&self, to: BrokerId, payload: Bytes, within: Duration) -> Result<Bytes, PeerError> {
        let peer = self.node.peer(to).ok_or(PeerError::NotConnected(to))?;
        let mut ticket = peer.requests.open().ok_or(PeerError::Overloaded(to))?;
        peer.queue(Lane::Control).push(Frame::Request { id: ticket.id, payload }).map_err(
            |error| match error {
                PushError::Closed => PeerError::NotConnected(to),
                PushError::Full => PeerError::Overloaded(to),
                PushError::TooLarge { size, max } => PeerError::TooLarge { size, max },
            },
        )?;
        match timeout(within, &mut ticket.reply).await {
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) => Err(PeerError::NoReply(to)),
            Ok(Err(_)) => Err(PeerError::Disconnected(to)),
            Err(_) => Err(PeerError::TimedOut(to)),
        }
    }

    /// Replaces the address book. Added peers are dialed, removed ones go `Down(Removed)`; a changed address counts from
    /// the next dial; this broker's own entry is passed over.
    pub fn set_peers(&self, book: BTreeMap<BrokerId, PeerAddress>) {
        self.node.set_peers(book);
    }

    /// Refuses these disks from now on, each once the broker's that stands with it.
    pub fn set_retired(&self, disks: Arc<BTreeMap<DiskId, BrokerId>>) {
        self.node.set_retired(disks);
    }

    /// Whether that broker is up now.
    pub fn is_up(&self, broker: BrokerId) -> bool {
        self.node.peers.read().get(&broker).is_some_and(|peer| peer.is_up())
    }

    /// What is known of each peer.
    pub fn status(&self) -> Vec<PeerStatus> {
        let known = |peer: Arc<super::state::Peer>| PeerStatus {
            refusal: self.node.refusal_with(peer.id),
            ..peer.status()
        };
        self.node.all_peers().into_iter().map(known).collect()
    }

    /// Bytes that wait to be sent on a lane, over all peers.
    pub fn queued_bytes(&self, lane: Lane) -> usize {
        self.node.all_peers().iter().map(|peer| peer.queue(lane).bytes()).sum()
    }

    /// The counters now.
    pub fn metrics(&self) -> PeerCounts {
        self.node.counters.snapshot()
    }

    /// Tells the peers that this broker stops, so that they count it as dead at once, and ends every task. What waits is
    /// written first, for half a second at most.
    pub async fn shutdown(&self) {
        self.node.tasks.close();
        self.node.stop_dialing();
        for peer in self.node.all_peers() {
            Lane::ALL.into_iter().for_each(|lane| peer.queue(lane).push_own(Frame::Stopping));
        }
        let written = async {
            while self.node.all_peers().iter().any(|peer| peer.is_dialed()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(FAREWELL, written).await; // a peer that does not read finds out by itself
        self.node.cancel.cancel();
        self.node.tasks.wait().await;
    }
}
