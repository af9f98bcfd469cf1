//! Registers the broker: once its disk takes part in a cluster, or once there is a cluster that does not know the disk.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chronik_core::metadata::{Applied, Broker, Command, Listener, RefusalCode};

use super::Parts;
use crate::handlers::Handlers;
use crate::replica::{ProposeError, Proposer, Shared};
use crate::settings::ListenerSettings;
use crate::version;

/// A broker whose place is still taken tries again after this long.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);
/// How long one try to register lasts.
const REGISTER_PATIENCE: Duration = Duration::from_secs(10);

impl Parts {
    /// Registers this disk once it takes part in a cluster, or once there is one that does not know it.
    pub(super) fn register(&self) -> impl Future<Output = Result<()>> + use<> {
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
        let listener = |settings: &ListenerSettings| Listener {
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
