//! Starts the broker's parts and wires them: what they share, the peers, the engine, the ports.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use chronik_core::ids::{Generation, LogIndex};
use chronik_core::metadata::ClusterState;
use tokio::sync::{mpsc, watch};

use super::Parts;
use super::configs::{bind, bind_kafka, engine_config, peer_config, server_settings};
use crate::admin;
use crate::admin_backend::AdminOf;
use crate::birth::Beginning;
use crate::handlers::Handlers;
use crate::handlers::backend::CreationDefaults;
use crate::local::LocalBroker;
use crate::log::{DataFolder, Log, RecoveredGroup};
use crate::metrics::Metrics;
use crate::peer::{self, PeerHandle};
use crate::peers::{self, PeerTransport};
use crate::replica::{
    Clock, EngineCounts, EngineHandle, Liveness, Machine, Partitions, Proposer, Reports, Shared, SystemClock,
    Views, channel,
};
use crate::restart::{self, Restarts};
use crate::server;
use crate::settings::Settings;
use crate::stored_metadata;

impl Parts {
    pub(super) async fn start(
        settings: Settings,
        folder: DataFolder,
        log: Log,
        recovered: Vec<RecoveredGroup>,
        metrics: Arc<Metrics>,
    ) -> Result<Parts> {
        let own = folder.identity.broker;
        let known = known_commands(&recovered);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let shared = shared(&folder, &recovered)?;
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
        let local = local(&settings, &folder, &shared, &engine, &proposer, clock);
        let answer_bytes = usize::try_from(settings.clients.max_answer_memory_bytes).unwrap_or(usize::MAX);
        let handlers = Handlers::new(Arc::clone(&local) as _, Arc::clone(&metrics), answer_bytes);
        let restarts = restarts(&settings, &local, &peers, &metrics);
        let (data_dir, permits) = (settings.data_dir.clone(), restarts.clone());
        let backend = AdminOf::new(local, metrics, peers.clone(), shared.clone(), permits, data_dir);
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
}

/// What all parts of the broker look at.
fn shared(folder: &DataFolder, recovered: &[RecoveredGroup]) -> Result<Shared> {
    let identity = &folder.identity;
    Ok(Shared {
        cluster: watch::Sender::new(Arc::new(ClusterState::new(identity.cluster.clone()))),
        partitions: Arc::new(Partitions::default()),
        views: Arc::new(Views::default()),
        liveness: Arc::new(Liveness::new(identity.broker, identity.disk)),
        metadata_leader: watch::Sender::new(None),
        log_stopped: Arc::new(AtomicBool::new(false)),
        counts: Arc::new(EngineCounts::default()),
        // Known before the first peer speaks: a restarted broker must not take itself for an empty one.
        formed: watch::Sender::new(metadata_began(recovered)),
        generation: watch::Sender::new(metadata_generation(recovered)?),
        metadata_voters: watch::Sender::new(Vec::new()),
    })
}

/// The broker as its handlers and its admin API see it.
fn local(
    settings: &Settings,
    folder: &DataFolder,
    shared: &Shared,
    engine: &EngineHandle,
    proposer: &Proposer,
    clock: Arc<dyn Clock>,
) -> Arc<LocalBroker> {
    let (identity, topics) = (&folder.identity, settings.topic_defaults());
    let reports =
        Reports::new(identity.broker, identity.cluster.clone(), shared.clone(), topics, Arc::clone(&clock));
    Arc::new(LocalBroker {
        id: identity.broker,
        disk: identity.disk,
        shared: shared.clone(),
        engine: engine.clone(),
        proposer: proposer.clone(),
        reports,
        topics,
        creation: CreationDefaults {
            partitions: settings.default_partitions,
            replication_factor: settings.default_replication_factor,
        },
        values: Arc::new(settings.broker_values(identity.broker)),
        clock,
    })
}

/// Permits to stop.
fn restarts(
    settings: &Settings,
    local: &LocalBroker,
    peers: &PeerHandle,
    metrics: &Arc<Metrics>,
) -> Restarts {
    Restarts::new(restart::Parts {
        own: local.id,
        shared: local.shared.clone(),
        engine: local.engine.clone(),
        proposer: local.proposer.clone(),
        peers: Arc::new(PeerTransport(peers.clone())),
        topics: settings.topic_defaults(),
        metrics: Arc::clone(metrics),
    })
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
