//! `chronik-broker run`: opens the disk, starts the parts and wires them, waits for a signal, stops them in order.

mod attend;
mod configs;
mod register;
mod start;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use chronik_core::ids::GroupId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::AdminServer;
use crate::handlers::Handlers;
use crate::log::{self, DataFolder, InitialVoter, Log, Options, RecoveredGroup};
use crate::metrics::Metrics;
use crate::peer::PeerHandle;
use crate::peers::{self, Word};
use crate::replica::{EngineHandle, Proposer, Running, Shared};
use crate::restart::Restarts;
use crate::server::Server;
use crate::settings::Settings;

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

#[cfg(test)]
mod tests;
