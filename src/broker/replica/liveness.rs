//! Which brokers this one hears, in which incarnation, and how it lost the others. Written by the engine alone.

use std::collections::BTreeMap;

use chronik_core::ids::{BrokerId, DiskId, Incarnation, LogIndex};
use parking_lot::RwLock;

/// How a broker was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing listens at its address, or it said that it stops: its process is gone.
    Dead,
    /// It no longer answers; it may live behind a cut.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    incarnation: Option<Incarnation>,
    loss: Option<Loss>,
    /// When it was lost; of no meaning while it is heard.
    lost_ms: u64,
    metadata_index: LogIndex,
    /// It hands its leaderships over.
    draining: bool,
    /// When its engine was last heard; of no meaning while it is lost.
    pulse_ms: u64,
}

/// The brokers as this one hears them.
pub struct Liveness {
    own: BrokerId,
    disk: DiskId,
    peers: RwLock<BTreeMap<BrokerId, Peer>>,
}

impl Liveness {
    /// Of a broker and its disk; nobody is heard yet.
    pub fn new(own: BrokerId, disk: DiskId) -> Self {
        Self { own, disk, peers: RwLock::default() }
    }

    /// Whether a broker is heard; this one always is.
    pub fn is_up(&self, broker: BrokerId) -> bool {
        broker == self.own || self.peers.read().get(&broker).is_some_and(|peer| peer.incarnation.is_some())
    }

    /// Whether a broker is heard on that disk: what lives on another one of its disks is not there.
    pub fn is_up_on(&self, broker: BrokerId, disk: DiskId) -> bool {
        match broker == self.own {
            true => disk == self.disk,
            false => self.incarnation(broker).is_some_and(|life| life.disk == disk),
        }
    }

    /// Whether a broker's process is known to be gone.
    pub fn is_dead(&self, broker: BrokerId) -> bool {
        broker != self.own && self.peers.read().get(&broker).is_some_and(|peer| peer.loss == Some(Loss::Dead))
    }

    /// The incarnation a broker is heard in.
    pub fn incarnation(&self, broker: BrokerId) -> Option<Incarnation> {
        self.peers.read().get(&broker).and_then(|peer| peer.incarnation)
    }

    /// One of the brokers heard now, another for each `turn`.
    pub fn any_up(&self, turn: usize) -> Option<BrokerId> {
        let peers = self.peers.read();
        let up: Vec<BrokerId> =
            peers.iter().filter(|(_, peer)| peer.incarnation.is_some()).map(|(id, _)| *id).collect();
        up.get(turn % up.len().max(1)).copied()
    }

    /// Metadata log index that every broker heard now has applied, this one excepted.
    pub fn metadata_applied_by_all(&self) -> LogIndex {
        let peers = self.peers.read();
        let heard = peers.values().filter(|peer| peer.incarnation.is_some());
        heard.map(|peer| peer.metadata_index).min().unwrap_or(LogIndex::MAX)
    }

    /// When a broker's engine was last heard, if it is heard now.
    pub fn pulse_ms(&self, broker: BrokerId) -> Option<u64> {
        self.peers.read().get(&broker).filter(|peer| peer.incarnation.is_some()).map(|peer| peer.pulse_ms)
    }

    /// Brokers that are heard while nothing came from their engines for more than `limit_ms`.
    pub fn without_pulse(&self, limit_ms: u64, now_ms: u64) -> Vec<BrokerId> {
        let peers = self.peers.read();
        let overdue = |peer: &Peer| now_ms.saturating_sub(peer.pulse_ms) > limit_ms;
        let heard = peers.iter().filter(|(_, peer)| peer.incarnation.is_some());
        heard.filter(|(_, peer)| overdue(peer)).map(|(broker, _)| *broker).collect()
    }

    /// Notes at `now_ms` that a broker is heard.
    pub fn up(&self, broker: BrokerId, incarnation: Incarnation, now_ms: u64) {
        self.peers.write().insert(
            broker,
            Peer {
                incarnation: Some(incarnation),
                loss: None,
                lost_ms: 0,
                metadata_index: 0,
                draining: false,
                pulse_ms: now_ms,
            },
        );
    }

    /// Notes at `now_ms` that a broker is lost. Of one that is lost already, the first time counts.
    pub fn down(&self, broker: BrokerId, loss: Loss, now_ms: u64) {
        let mut peers = self.peers.write();
        let lost_ms =
            peers.get(&broker).filter(|peer| peer.loss.is_some()).map_or(now_ms, |peer| peer.lost_ms);
        let lost = Peer {
            incarnation: None,
            loss: Some(loss),
            lost_ms,
            metadata_index: 0,
            draining: false,
            pulse_ms: 0,
        };
        peers.insert(broker, lost);
    }

    /// Whether a broker may be on its way back: nothing is known of it yet, or its process ended less than `within_ms` ago.
    pub fn may_return(&self, broker: BrokerId, within_ms: u64, now_ms: u64) -> bool {
        match self.peers.read().get(&broker) {
            None => true,
            Some(peer) => peer.loss == Some(Loss::Dead) && now_ms.saturating_sub(peer.lost_ms) <= within_ms,
        }
    }

    /// Whether a broker says that it hands its leaderships over.
    pub fn is_draining(&self, broker: BrokerId) -> bool {
        self.peers.read().get(&broker).is_some_and(|peer| peer.draining)
    }

    /// Notes a broker's pulse at `now_ms`: how much metadata it has applied, and whether it hands its leaderships over.
    /// True if it no longer does.
    pub fn pulse(&self, broker: BrokerId, metadata_index: LogIndex, draining: bool, now_ms: u64) -> bool {
        let mut peers = self.peers.write();
        let Some(peer) = peers.get_mut(&broker) else { return false };
        peer.metadata_index = peer.metadata_index.max(metadata_index);
        peer.pulse_ms = now_ms;
        std::mem::replace(&mut peer.draining, draining) && !draining
    }
}
