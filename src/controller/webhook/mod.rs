//! The webhook that Kubernetes asks before a pod is evicted, so that a drain passes the same gate as a rollout. Every
//! replica serves it, whichever acts. This file wires it.

mod certificate;
mod evictions;
mod keeper;
mod kept;
mod serve;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use evictions::{Evictions, PATH};
pub use keeper::NAME;

use crate::cli;

/// A webhook that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it can be called.
    pub certified: Certified,
}

/// Starts it; `stop` ends it. `acts` says whether this process is the one that acts, `namespace` is the Secret's.
///
/// # Errors
/// When its port cannot be listened on.
pub async fn start(
    options: &cli::Webhook,
    listener: SocketAddr,
    client: &Client,
    namespace: &str,
    evictions: Evictions,
    acts: Arc<AtomicBool>,
    stop: CancellationToken,
) -> anyhow::Result<Running> {
    let listener = serve::listen(listener).await?;
    let address = listener.local_addr()?;
    let metrics = evictions.metrics.clone();
    let keeper = keeper::Keeper::new(client, namespace, options, acts, metrics);
    let certificate = keeper.served.subscribe();
    let certified = Certified(certificate.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(keeper.keep()));
    tokio::spawn(serve::serve(listener, evictions::router(evictions), certificate, stop));
    Ok(Running { address, certified })
}

/// Tells whether there is a certificate: before, the API server's calls fail.
#[derive(Clone)]
pub struct Certified(watch::Receiver<Option<tls::Acceptor>>);

impl Certified {
    /// Whether the webhook can be called.
    pub fn is_served(&self) -> bool {
        self.0.borrow().is_some()
    }
}
