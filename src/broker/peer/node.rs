//! What the transport's tasks share: the configuration, the peers, counters, and who may come in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Generation, Incarnation};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::config::{PeerAddress, PeerConfig};
use super::dialer;
use super::event::{Lane, PeerEvent, Refusal, RefusalKind, RefusedBy};
use super::generation;
use super::handshake::{Hello, MAX_HELLO, Welcome};
use super::identity::Identity;
use super::metrics::{Counters, add};
use super::state::Peer;

/// Refusals remembered so that each is reported once.
const MAX_REFUSALS: usize = 64;
/// Lines per second about strangers' connections.
const MAX_LINES: u32 = 5;

pub(super) struct Node {
    pub(super) config: PeerConfig,
    pub(super) counters: Counters,
    pub(super) judge: Arc<Notify>,
    pub(super) cancel: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) peers: RwLock<BTreeMap<BrokerId, Arc<Peer>>>,
    stopping: AtomicBool,
    runtime: Handle,
    events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    refusals: Mutex<BTreeMap<(BrokerId, RefusedBy), Refusal>>,
    /// Disks that are let in no more, each with the broker it was of.
    retired: RwLock<Arc<BTreeMap<DiskId, BrokerId>>>,
    lines: Mutex<(Instant, u32)>,
}

impl Node {
    pub(super) fn new(
        config: PeerConfig,
        events: Box<dyn Fn(PeerEvent) + Send + Sync>,
        runtime: Handle,
    ) -> Self {
        Self {
            config,
            counters: Counters::default(),
            judge: Arc::new(Notify::new()),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            peers: RwLock::default(),
            stopping: AtomicBool::new(false),
            runtime,
            events,
            refusals: Mutex::default(),
            retired: RwLock::default(),
            lines: Mutex::new((Instant::now(), 0)),
        }
    }

    pub(super) fn emit(&self, event: PeerEvent) {
        (self.events)(event);
    }

    /// From now on a connection that ends is not dialed again.
    pub(super) fn stop_dialing(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    pub(super) fn peer(&self, id: BrokerId) -> Option<Arc<Peer>> {
        self.peers.read().get(&id).cloned()
    }

    pub(super) fn all_peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    /// Refuses these disks, each once a broker's, from now on.
    pub(super) fn set_retired(&self, disks: Arc<BTreeMap<DiskId, BrokerId>>) {
        *self.retired.write() = disks;
    }

    fn check_retired(&self, them: &Identity) -> Result<(), Refusal> {
        let disk = them.incarnation.disk;
        let Some(owner) = self.retired.read().get(&disk).copied() else { return Ok(()) };
        let text = format!(
            "disk {disk} was broker {owner}'s and lost its place, to another disk, in a recovery, or because that broker \
             was unregistered: empty its data folder and format it anew"
        );
        Err(Refusal::new(RefusalKind::Retired, text))
    }

    /// Makes the peers those of the book; brokers that came by themselves stay.
    pub(super) fn set_peers(self: &Arc<Self>, book: BTreeMap<BrokerId, PeerAddress>) {
        let mut peers = self.peers.write();
        peers.values().filter(|peer| !book.contains_key(&peer.id)).for_each(|peer| peer.leave_book());
        for (id, address) in book.into_iter().filter(|(id, _)| *id != self.config.broker) {
            match peers.get(&id) {
                Some(peer) => peer.set_address(address),
                None => {
                    peers.insert(id, self.add_peer(id, address, false));
                }
            }
        }
        drop(peers);
        self.judge.notify_one();
    }

    fn add_peer(self: &Arc<Self>, id: BrokerId, address: PeerAddress, learned: bool) -> Arc<Peer> {
        let peer = Arc::new(Peer::new(id, address, learned, &self.config, self.cancel.child_token()));
        for lane in Lane::ALL {
            self.spawn(dialer::run(self.clone(), peer.clone(), lane));
        }
        peer
    }

    /// Forgets what is done with; returns those.
    pub(super) fn forget_done(&self, patience: Duration) -> Vec<Arc<Peer>> {
        if !self.peers.read().values().any(|peer| peer.is_done(patience)) {
            return Vec::new();
        }
        let mut peers = self.peers.write();
        let done: Vec<_> = peers.values().filter(|peer| peer.is_done(patience)).cloned().collect();
        for peer in &done {
            peers.remove(&peer.id);
            peer.cancel.cancel();
            self.forget_refusals(peer.id);
        }
        done
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            cluster: self.config.cluster.clone(),
            broker: self.config.broker,
            incarnation: self.config.incarnation,
        }
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        (self.config.generation)()
    }

    pub(super) fn hello_for(&self, peer: BrokerId) -> Bytes {
        let payload = (self.config.hello)(peer);
        if payload.len() <= MAX_HELLO {
            return payload;
        }
        error!(bytes = payload.len(), allowed = MAX_HELLO, "the hello for peers is too long and is left out");
        Bytes::new()
    }

    /// Whether the dialer may come in.
    pub(super) fn check_hello(&self, hello: &Hello) -> Result<(), Refusal> {
        let (us, them) = (self.identity(), &hello.from);
        check_cluster(&us, them)?;
        check_self(&us, them)?;
        if hello.to != us.broker {
            let text = format!("broker {} was dialed, this is broker {}", hello.to, us.broker);
            return Err(Refusal::new(RefusalKind::WrongBroker, text));
        }
        generation::check(self.generation(), them.broker, hello.generation)?;
        self.check_retired(them)?;
        match self.peer(them.broker) {
            Some(peer) => peer.check(them.incarnation),
            None => self.check_room(&self.peers.read(), them.broker),
        }
    }

    /// Whether the acceptor is the one we dialed.
    pub(super) fn check_welcome(&self, peer: &Peer, welcome: &Welcome) -> Result<(), Refusal> {
        let (us, them) = (self.identity(), &welcome.from);
        check_cluster(&us, them)?;
        check_self(&us, them)?;
        if them.broker != peer.id {
            let text = format!("broker {} was dialed, broker {} answers", peer.id, them.broker);
            return Err(Refusal::new(RefusalKind::WrongBroker, text));
        }
        generation::check(self.generation(), peer.id, welcome.generation)?;
        self.check_retired(them)?;
        peer.check(them.incarnation)
    }

    fn check_room(&self, peers: &BTreeMap<BrokerId, Arc<Peer>>, id: BrokerId) -> Result<(), Refusal> {
        let learned = peers.values().filter(|peer| peer.is_learned()).count();
        if learned < self.config.max_learned {
            return Ok(());
        }
        let text =
            format!("broker {id} is not known here, and no more than {learned} unknown brokers are accepted");
        Err(Refusal::new(RefusalKind::UnknownBroker, text))
    }

    /// The peer a handshaken dialer belongs to; one that the book lacks is learned with the address it gives.
    pub(super) fn peer_of(self: &Arc<Self>, hello: &Hello) -> Result<Arc<Peer>, Refusal> {
        let id = hello.from.broker;
        if let Some(peer) = self.peer(id) {
            return Ok(peer);
        }
        let mut peers = self.peers.write();
        if let Some(peer) = peers.get(&id) {
            return Ok(peer.clone());
        }
        self.check_room(&peers, id)?;
        let peer = self.add_peer(id, PeerAddress { address: hello.advertised.clone(), disk: None }, true);
        peers.insert(id, peer.clone());
        Ok(peer)
    }

    /// Counts, logs and reports a refusal; the same one again is only counted.
    pub(super) fn refused(&self, broker: BrokerId, by: RefusedBy, refusal: Refusal, hello: Option<Bytes>) {
        add(&self.counters.refusals, 1);
        let mut refusals = self.refusals.lock();
        let known = refusals.get(&(broker, by));
        if known == Some(&refusal) || (known.is_none() && refusals.len() >= MAX_REFUSALS) {
            return;
        }
        refusals.insert((broker, by), refusal.clone());
        drop(refusals);
        warn!(%broker, %refusal, ?by, "peer handshake refused");
        self.emit(PeerEvent::Refused { broker, by, refusal, hello });
    }

    pub(super) fn refusal_with(&self, broker: BrokerId) -> Option<(RefusedBy, Refusal)> {
        let refusals = self.refusals.lock();
        [RefusedBy::Them, RefusedBy::Us]
            .into_iter()
            .find_map(|by| refusals.get(&(broker, by)).map(|refusal| (by, refusal.clone())))
    }

    pub(super) fn forget_refusals(&self, broker: BrokerId) {
        self.refusals.lock().retain(|(with, _), _| *with != broker);
    }

    /// Reports what a peer said in a good Control handshake; called before its link counts, so before `Up`.
    pub(super) fn greeted(&self, from: BrokerId, incarnation: Incarnation, lane: Lane, payload: Bytes) {
        if lane == Lane::Control {
            self.emit(PeerEvent::Hello { from, incarnation, payload });
        }
    }

    /// Whether one more line about a stranger may go into the log now.
    pub(super) fn may_log(&self) -> bool {
        let mut lines = self.lines.lock();
        if lines.0.elapsed() >= Duration::from_secs(1) {
            *lines = (Instant::now(), 0);
        }
        lines.1 += 1;
        lines.1 <= MAX_LINES
    }
}

fn check_cluster(us: &Identity, them: &Identity) -> Result<(), Refusal> {
    if us.cluster == them.cluster {
        return Ok(());
    }
    let text =
        format!("this broker is of cluster {}, the other side of cluster {}", us.cluster, them.cluster);
    Err(Refusal::new(RefusalKind::WrongCluster, text))
}

fn check_self(us: &Identity, them: &Identity) -> Result<(), Refusal> {
    if us.broker != them.broker {
        return Ok(());
    }
    if us.incarnation == them.incarnation {
        let text = format!("broker {} reached itself: check the peer addresses", us.broker);
        return Err(Refusal::new(RefusalKind::ToItself, text));
    }
    let text = format!("both sides are broker {}: {} and {}", us.broker, us.incarnation, them.incarnation);
    Err(Refusal::new(RefusalKind::DuplicateBroker, text))
}
