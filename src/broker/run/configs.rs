//! What the parts are told, out of the broker's settings, and the ports that they listen on.

use std::sync::Arc;

use anyhow::{Context, Result};
use chronik_core::replication::isr::IsrConfig;
use tokio::net::TcpListener;

use crate::log::DataFolder;
use crate::peer::PeerConfig;
use crate::peers;
use crate::replica::{EngineConfig, Shared};
use crate::server::{ListenerSpec, Plaintext, ServerSettings};
use crate::settings::Settings;

/// A partition in which nothing happened for this long rests: it is not ticked, and nothing is sent for it.
const QUIET_AFTER_MS: u64 = 1_000;

pub(super) async fn bind(address: &str, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address} for {what}"))
}

pub(super) async fn bind_kafka(settings: &Settings) -> Result<Vec<ListenerSpec>> {
    let mut listeners = Vec::new();
    for listener in &settings.listeners {
        let what = format!("Kafka clients ({})", listener.name);
        let socket = bind(&listener.bind.to_string(), &what).await?;
        listeners.push(ListenerSpec { name: listener.name.clone(), socket, wrap: Arc::new(Plaintext) });
    }
    Ok(listeners)
}

pub(super) fn peer_config(settings: &Settings, folder: &DataFolder, shared: &Shared) -> PeerConfig {
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

pub(super) fn engine_config(settings: &Settings, folder: &DataFolder) -> EngineConfig {
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

pub(super) fn server_settings(settings: &Settings) -> ServerSettings {
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
