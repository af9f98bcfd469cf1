//! `chronik-broker run`: opens the disk, starts the parts and wires them, waits for a signal, stops them in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use chronik_core::ids::{BrokerId, Generation, GroupId, LogIndex};
use chronik_core::metadata::{Applied, Broker, ClusterState, Command, Listener, RefusalCode};
use chronik_core::replication::isr::IsrConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, AdminServer};
use crate::admin_backend::AdminOf;
use crate::birth::{self, Beginning, Birth, Hello};
use crate::handlers::Handlers;
use crate::handlers::backend::CreationDefaults;
use crate::local::LocalBroker;
use crate::log::{self, DataFolder, InitialVoter, Log, Options, RecoveredGroup};
use crate::metrics::Metrics;
use crate::peer::{self, PeerConfig, PeerHandle, RefusalKind};
use crate::peers::{self, PeerTransport, Word};
use crate::replica::{
    Clock, EngineConfig, EngineCounts, EngineHandle, Event, Liveness, Machine, Partitions, ProposeError,
    Proposer, Reports, Running, Shared, SystemClock, Views, channel,
};
use crate::restart::{self, Restarts};
use crate::server::{self, ListenerSpec, Plaintext, Server, ServerSettings};
use crate::settings::Settings;
use crate::stored_metadata;
use crate::version;

/// A partition in which nothing happened for this long rests: it is not ticked, and nothing is sent for it.
const QUIET_AFTER_MS: u64 = 1_000;
/// A broker whose place is still taken tries again after this long.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);
/// How long one try to register lasts.
const REGISTER_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the broker until a signal or a fault ends it.
pub async fn run(settings: Settings) -> Result<()> {
    run_until(settings, stop_signal()).await
}

/// Runs the broker until `stop` names what ends it, or a fault does.
async fn run_until(settings: Settings, stop: impl Future<Output = Result<&'static str>>) -> Result<()> {
    let disk = log::open_disk(&settings.data_dir);
    let folder = DataFolder::open(&*disk, &settings.data_dir).context("open data folder")?;
    let metrics = Arc::new(Metrics::new(settings.metrics_per_partition).context("set up metrics")?);
    let options = Options {
        segment_bytes: settings.journal_segment_bytes,
        reserve_bytes: settings.journal_reserve_bytes,
        observer: Some(Arc::new(SyncObserver(Arc::clone(&metrics)))),
        ..Options::default()
    };
    let (log, recovered) =
        Log::open(disk, &settings.data_dir, folder.identity.clone(), options).context("open log")?;
    refuse_damaged_metadata(&log, &recovered)?;
    tracing::info!(
        cluster = %folder.identity.cluster, broker = %folder.identity.broker, disk = %folder.identity.disk,
        start = folder.incarnation.start, replicas = recovered.len(), "start broker"
    );
    let parts = Parts::start(settings, folder, log, recovered, metrics).await?;
    parts.until_the_end(stop).await
}

/// A voter that lost what it promised would let the cluster's metadata be decided twice.
fn refuse_damaged_metadata(log: &Log, recovered: &[RecoveredGroup]) -> Result<()> {
    let damage = match recovered.iter().find(|group| group.group == GroupId::METADATA) {
        Some(metadata) => metadata.damage.as_ref(),
        // What was lost may have been all of it.
        None => log.unattributed_damage(),
    };
    match damage {
        None => Ok(()),
        Some(damage) => bail!(
            "the cluster's metadata on this disk is damaged, and this broker must not take part with it: {damage}. If the \
             others hold a majority, empty the data folder and format it anew: the broker comes back as a new one"
        ),
    }
}

struct SyncObserver(Arc<Metrics>);

impl log::LogObserver for SyncObserver {
    fn synced(&self, took: Duration, bytes: usize, _submissions: usize) {
        self.0.broker.synced(took, bytes);
    }

    fn failed(&self, full: bool) {
        self.0.broker.write_failed(full);
    }

    fn short_of_room(&self, short: bool) {
        self.0.broker.set_disk_full(short);
    }
}

/// The running broker.
struct Parts {
    settings: Settings,
    folder: DataFolder,
    shared: Shared,
    engine: EngineHandle,
    running: Running,
    peers: PeerHandle,
    proposer: Proposer,
    restarts: Restarts,
    handlers: Arc<Handlers>,
    kafka: Server,
    admin: AdminServer,
    /// What peers say, and how more of it is added.
    words: mpsc::UnboundedReceiver<Word>,
    say: mpsc::UnboundedSender<Word>,
    /// There is a cluster that does not know this disk.
    joining: watch::Sender<bool>,
}

impl Parts {
    async fn start(
        settings: Settings,
        folder: DataFolder,
        log: Log,
        recovered: Vec<RecoveredGroup>,
        metrics: Arc<Metrics>,
    ) -> Result<Parts> {
        let own = folder.identity.broker;
        let known = known_commands(&recovered);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let shared = Shared {
            cluster: watch::Sender::new(Arc::new(ClusterState::new(folder.identity.cluster.clone()))),
            partitions: Arc::new(Partitions::default()),
            views: Arc::new(Views::default()),
            liveness: Arc::new(Liveness::new(own, folder.identity.disk)),
            metadata_leader: watch::Sender::new(None),
            log_stopped: Arc::new(AtomicBool::new(false)),
            counts: Arc::new(EngineCounts::default()),
            // Known before the first peer speaks: a restarted broker must not take itself for an empty one.
            formed: watch::Sender::new(metadata_began(&recovered)),
            generation: watch::Sender::new(metadata_generation(&recovered)?),
            metadata_voters: watch::Sender::new(Vec::new()),
        };
        // Every port is bound before anything is promised to anyone.
        let listeners = bind_kafka(&settings).await?;
        let admin_socket = bind(&settings.admin_bind.to_string(), "admin").await?;
        let (engine, queue) = channel();
        let (say, words) = mpsc::unbounded_channel();
        let peers =
            peer::start(peer_config(&settings, &folder, &shared), peers::inbox(engine.clone(), say.clone()))?;
        peers.set_peers(peers::address_book(folder.founders(), &shared));
        let proposer =
            Proposer::new(own, engine.clone(), shared.clone(), Arc::new(PeerTransport(peers.clone())));
        let running = queue
            .start(Machine {
                config: engine_config(&settings, &folder),
                shared: shared.clone(),
                log: Arc::new(log),
                recovered,
                transport: PeerTransport(peers.clone()),
                clock: Arc::clone(&clock),
                tick: Duration::from_millis(settings.raft.tick_ms),
            })
            .context("start engine")?;
        let reports = Reports::new(
            own,
            folder.identity.cluster.clone(),
            shared.clone(),
            settings.topic_defaults(),
            Arc::clone(&clock),
        );
        let local = Arc::new(LocalBroker {
            id: own,
            disk: folder.identity.disk,
            shared: shared.clone(),
            engine: engine.clone(),
            proposer: proposer.clone(),
            reports: reports.clone(),
            topics: settings.topic_defaults(),
            creation: CreationDefaults {
                partitions: settings.default_partitions,
                replication_factor: settings.default_replication_factor,
            },
            values: Arc::new(settings.broker_values(own)),
            clock,
        });
        let answer_bytes = usize::try_from(settings.clients.max_answer_memory_bytes).unwrap_or(usize::MAX);
        let handlers = Handlers::new(Arc::clone(&local) as _, Arc::clone(&metrics), answer_bytes);
        let restarts = Restarts::new(restart::Parts {
            own,
            shared: shared.clone(),
            engine: engine.clone(),
            proposer: proposer.clone(),
            peers: Arc::new(PeerTransport(peers.clone())),
            topics: settings.topic_defaults(),
            metrics: Arc::clone(&metrics),
        });
        let backend = AdminOf::new(
            local,
            metrics,
            peers.clone(),
            shared.clone(),
            restarts.clone(),
            settings.data_dir.clone(),
        );
        let admin = admin::serve(admin_socket, backend)?;
        remembered(&shared, known).await?;
        let kafka = server::start(listeners, Arc::clone(&handlers), server_settings(&settings))?;
        Ok(Parts {
            settings,
            folder,
            shared,
            engine,
            running,
            peers,
            proposer,
            restarts,
            handlers,
            kafka,
            admin,
            words,
            say,
            joining: watch::Sender::new(false),
        })
    }

    async fn until_the_end(mut self, stop: impl Future<Output = Result<&'static str>>) -> Result<()> {
        let book = tokio::spawn(keep_address_book(
            self.folder.founders().to_vec(),
            self.shared.clone(),
            self.peers.clone(),
        ));
        let asking = tokio::spawn(peers::ask_around(
            self.shared.clone(),
            self.peers.clone(),
            self.say.clone(),
            self.folder.identity.disk,
        ));
        let keeping = tokio::spawn(self.restarts.clone().keep());
        let registration = tokio::spawn(self.register());
        let engine_end = self.running.end();
        let restarts = self.restarts.clone();
        let (pod_uid, patience) = (self.settings.pod_uid.clone(), self.settings.stop_wait);
        // The others are answered while it waits: they judge by what this broker tells them.
        let stop = async {
            let name = stop.await?;
            if let Some(pod_uid) = pod_uid {
                restarts.await_leave(&pod_uid, patience).await;
            }
            Ok(name)
        };
        let ended = tokio::select! {
            signal = stop => signal.map(|name| tracing::info!(signal = name, "stop broker")),
            fault = self.attend() => Err(fault),
            fault = failed(registration) => Err(fault),
            () = engine_end => Err(anyhow!("the engine's thread ended by a panic, which the log shows")),
        };
        book.abort();
        asking.abort();
        keeping.abort();
        if ended.is_ok() {
            self.leave().await;
        }
        self.kafka.stop().await;
        self.admin.stop().await;
        self.peers.shutdown().await;
        // Joining a thread blocks, and the engine may be waiting for its last sync.
        tokio::task::spawn_blocking(move || self.running.stop()).await.context("stop engine")?;
        ended
    }

    /// Moves leaderships away before the others have to notice that this broker is gone.
    async fn leave(&self) {
        let grace = self.settings.shutdown_grace;
        if tokio::time::timeout(grace, self.engine.drain()).await.is_err() {
            tracing::warn!(grace_s = grace.as_secs(), "leaderships did not all move away in time");
        }
    }

    /// Handles what peers say; returns only when this broker may not go on.
    async fn attend(&mut self) -> anyhow::Error {
        let own = self.folder.identity.broker;
        let founders = match &self.folder.birth {
            log::Birth::InitialVoters(voters) => {
                Some(voters.iter().map(|voter| voter.broker).collect::<BTreeSet<_>>())
            }
            log::Birth::Join(_) => None,
        };
        let disk = self.folder.identity.disk;
        let mut birth = Birth::new(own, disk, founders);
        self.take(birth.alone());
        while let Some(word) = self.words.recv().await {
            match word {
                Word::Hello(from, hello) => self.hear(&mut birth, from, &hello),
                Word::Outcast(kind, reason) => {
                    if self.is_out(kind) {
                        return anyhow!(reason);
                    }
                    tracing::info!(reason, "wait to be let in");
                }
                Word::Request(from, payload, reply) if payload.starts_with(peers::ASK_HELLO) => {
                    if let Ok(hello) = Hello::decode(&payload[peers::ASK_HELLO.len()..]) {
                        self.hear(&mut birth, from, &hello);
                    }
                    let _ = reply.send(Hello::to(from, disk, &self.shared).encode());
                }
                Word::Request(_, payload, reply) if payload.starts_with(restart::RESTART) => {
                    let restarts = self.restarts.clone();
                    tokio::spawn(async move {
                        reply.send(restarts.serve(&payload[restart::RESTART.len()..]).await)
                    });
                }
                Word::Request(_, payload, reply) => {
                    let proposer = self.proposer.clone();
                    tokio::spawn(async move { reply.send(proposer.serve(&payload).await) });
                }
            }
        }
        anyhow!("the peer transport ended")
    }

    fn hear(&self, birth: &mut Birth, from: BrokerId, hello: &Hello) {
        if self.shared.formed.borrow().is_none() {
            self.take(birth.hear(from, hello));
        }
    }

    fn take(&self, step: Option<birth::Step>) {
        match step {
            Some(birth::Step::Begin(beginning)) => self.engine.submit(Event::StartMetadata(beginning)),
            Some(birth::Step::Register) => drop(self.joining.send_replace(true)),
            None => {}
        }
    }

    /// Whether a refusal is for good. A disk that takes no part yet waits until the one before it is known to be gone.
    fn is_out(&self, kind: RefusalKind) -> bool {
        kind != RefusalKind::WrongDisk || self.shared.formed.borrow().is_some()
    }

    /// Registers this disk once it takes part in a cluster, or once there is one that does not know it.
    fn register(&self) -> impl Future<Output = Result<()>> + use<> {
        let (mut formed, mut joining) = (self.shared.formed.subscribe(), self.joining.subscribe());
        let registering = register(
            self.proposer.clone(),
            self.registration(),
            self.shared.clone(),
            Arc::clone(&self.handlers),
        );
        async move {
            tokio::select! {
                known = formed.wait_for(Option::is_some) => drop(known.context("wait for the cluster")?),
                known = joining.wait_for(|joining| *joining) => drop(known.context("wait for a cluster")?),
            }
            registering.await
        }
    }

    fn registration(&self) -> Broker {
        let listener = |settings: &crate::settings::ListenerSettings| Listener {
            name: settings.name.clone(),
            host: settings.advertised.host.clone(),
            port: settings.advertised.port,
        };
        Broker {
            id: self.folder.identity.broker,
            disk: self.folder.identity.disk,
            rack: self.settings.rack.clone(),
            listeners: self.settings.listeners.iter().map(listener).collect(),
            peer_address: self.settings.peer_advertised.to_string(),
            version: version::NAME.to_owned(),
            features: version::FEATURES,
            incarnation_start: self.folder.incarnation.start,
            metadata_replica: None,
        }
    }
}

/// How the metadata group found on the disk began, if it holds that group.
fn metadata_began(recovered: &[RecoveredGroup]) -> Option<Beginning> {
    stored_metadata::replica(recovered).map(|found| Beginning::of(&found.header))
}

/// Which history of the metadata is on the disk, if it holds any.
fn metadata_generation(recovered: &[RecoveredGroup]) -> Result<Option<Generation>> {
    let metadata = stored_metadata::replica(recovered);
    metadata.map(stored_metadata::generation).transpose().context("look for recoveries of the metadata")
}

/// The index of the last metadata command that the disk holds and knows to be committed; 0 if there is none.
fn known_commands(recovered: &[RecoveredGroup]) -> LogIndex {
    stored_metadata::replica(recovered).map_or(0, stored_metadata::last_command)
}

/// Waits until the engine has applied what the disk knew of the cluster. Clients drop brokers and topics that an answer
/// does not name, and with them what is under way.
async fn remembered(shared: &Shared, known: LogIndex) -> Result<()> {
    let mut cluster = shared.cluster.subscribe();
    cluster.wait_for(|state| state.applied() >= known).await.context("apply the metadata on the disk")?;
    Ok(())
}

/// Registers this broker, with the replica of the metadata group that its disk holds by then; returns once that is applied,
/// or fails when the cluster refuses it.
async fn register(proposer: Proposer, broker: Broker, shared: Shared, handlers: Arc<Handlers>) -> Result<()> {
    loop {
        let metadata_replica = shared.formed.borrow().as_ref().map(|beginning| beginning.replica);
        let registration = Command::RegisterBroker(Broker { metadata_replica, ..broker.clone() });
        match proposer.propose(registration, REGISTER_PATIENCE).await {
            Err(ProposeError::Refused(refusal)) if refusal.code == RefusalCode::BrokerAlive => {
                tracing::warn!(%refusal, "wait for this broker's place");
                tokio::time::sleep(REGISTER_AGAIN).await;
            }
            Ok(Applied::Refused(refusal)) | Err(ProposeError::Refused(refusal)) => {
                bail!("the cluster refuses this broker: {refusal}");
            }
            Ok(_) => {
                tracing::info!("registered");
                if let Err(error) = handlers.prepare().await {
                    tracing::warn!(%error, "reserve producer ids");
                }
                return Ok(());
            }
            Err(error) => tracing::info!(%error, "register again"),
        }
    }
}

/// Waits for a task that may fail and otherwise never matters again.
async fn failed(task: JoinHandle<Result<()>>) -> anyhow::Error {
    match task.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error,
        Err(panic) => panic.into(),
    }
}

async fn keep_address_book(founders: Vec<InitialVoter>, shared: Shared, peers: PeerHandle) {
    let (mut cluster, mut formed) = (shared.cluster.subscribe(), shared.formed.subscribe());
    loop {
        let changed = tokio::select! {
            changed = cluster.changed() => changed,
            changed = formed.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        peers.set_retired(Arc::clone(cluster.borrow_and_update().retired_disks()));
        peers.set_peers(peers::address_book(&founders, &shared));
    }
}

async fn stop_signal() -> Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

async fn bind(address: &str, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address} for {what}"))
}

async fn bind_kafka(settings: &Settings) -> Result<Vec<ListenerSpec>> {
    let mut listeners = Vec::new();
    for listener in &settings.listeners {
        let what = format!("Kafka clients ({})", listener.name);
        let socket = bind(&listener.bind.to_string(), &what).await?;
        listeners.push(ListenerSpec { name: listener.name.clone(), socket, wrap: Arc::new(Plaintext) });
    }
    Ok(listeners)
}

fn peer_config(settings: &Settings, folder: &DataFolder, shared: &Shared) -> PeerConfig {
    let identity = &folder.identity;
    PeerConfig {
        hello: peers::hello(shared.clone(), identity.disk),
        generation: {
            let generation = shared.generation.clone();
            Arc::new(move || *generation.borrow())
        },
        silence_timeout: settings.peer_silence,
        ..PeerConfig::new(
            identity.cluster.clone(),
            identity.broker,
            folder.incarnation,
            settings.peer_bind.to_string(),
            settings.peer_advertised.to_string(),
        )
    }
}

fn engine_config(settings: &Settings, folder: &DataFolder) -> EngineConfig {
    EngineConfig {
        broker: folder.identity.broker,
        disk: folder.identity.disk,
        election_ticks: settings.raft.election_ticks(),
        heartbeat_ticks: settings.raft.heartbeat_ticks(),
        election_ms: settings.raft.election_ms,
        quiet_ticks: (QUIET_AFTER_MS / settings.raft.tick_ms).max(1) as usize,
        isr: IsrConfig {
            max_lag_ms: settings.isr.max_lag_ms,
            max_lag_entries: settings.isr.max_lag_entries,
            check_interval_ms: settings.isr.check_interval_ms,
            min_isr: settings.min_insync_replicas,
        },
        topics: settings.topic_defaults(),
        metadata_snapshot_entries: settings.metadata_snapshot_entries,
        learner_bytes_per_second: settings.reassignment_bytes_per_second,
    }
}

fn server_settings(settings: &Settings) -> ServerSettings {
    let clients = &settings.clients;
    ServerSettings {
        max_connections: clients.max_connections as usize,
        max_connections_per_ip: clients.max_connections_per_ip as usize,
        max_request_bytes: clients.max_request_bytes as usize,
        max_in_flight_requests: clients.max_requests_per_connection as usize,
        max_request_memory_bytes: usize::try_from(clients.max_request_memory_bytes).unwrap_or(usize::MAX),
        idle_timeout: clients.connection_idle,
        ..ServerSettings::default()
    }
}

#[cfg(test)]
mod tests;
