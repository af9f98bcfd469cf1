//! The admin API: HTTP and JSON beside the Kafka port. Knows requests and answers; what they mean is the backend's.

mod answer;
mod brokers;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod permits;
mod routes;
mod socket;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
mod test_backend;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::metadata::Standing;
use chronik_core::restart::PermitId;
use chronik_core::view::{
    ClusterReport, PermitAnswer, PermitBody, PermitRefused, PermitsReport, PodBody, RecoverBody,
    RecoveryReport, TopicReport,
};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use answer::{ErrorBody, Problem};
pub use routes::{CreateTopicBody, PatchTopicBody};
use socket::BoundedListener;

/// Watch streams open at once, at most.
const MAX_WATCHES: usize = 64;

/// Connections open at once, at most.
const MAX_CONNECTIONS: usize = 256;
/// Large answers (all topics, metrics) that are made or written at once, at most: each may have tens of megabytes.
const MAX_LARGE_ANSWERS: usize = 8;
/// Longest a large answer waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// A connection on which nothing moved for this long is closed. Longer than any request may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the admin API asks of the broker.
pub trait AdminBackend: Send + Sync + 'static {
    /// The process lives and its log takes writes.
    fn is_live(&self) -> bool;
    /// Every healthy replica here has been in its ISR since the start; once true, always true. Otherwise why not.
    fn ready(&self) -> Result<(), String>;
    /// The metrics page.
    fn metrics(&self) -> String;
    /// The cluster as seen here.
    fn cluster(&self) -> ClusterReport;
    /// Every topic, in order of names.
    fn topics(&self, with_partitions: bool) -> Vec<TopicReport>;
    /// One topic.
    fn topic(&self, name: &str) -> Option<TopicReport>;
    /// Groups whose state may have changed, from now on.
    fn changes(&self) -> broadcast::Receiver<GroupId>;
    /// The topic and partition number of a group; `None` if it is gone.
    fn partition_of(&self, group: GroupId) -> Option<(String, i32)>;
    /// Creates a topic.
    fn create(&self, body: CreateTopicBody) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Grows a topic, sets and resets its configs.
    fn alter(&self, name: String, body: PatchTopicBody) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Deletes a topic.
    fn delete(&self, name: String) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Moves leaderships away from this broker.
    fn drain(&self) -> impl Future<Output = ()> + Send;
    /// Says what shall become of a broker's replicas.
    fn set_standing(
        &self,
        broker: BrokerId,
        standing: Standing,
    ) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Takes a broker out of the cluster that is gone and has no replicas.
    fn unregister(&self, broker: BrokerId) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Permits to stop that are open.
    fn permits(&self) -> PermitsReport;
    /// Asks whether a broker may stop.
    fn ask_permit(
        &self,
        body: PermitBody,
    ) -> impl Future<Output = Result<PermitAnswer, PermitRefused>> + Send;
    /// A permit is made use of.
    fn begin_permit(
        &self,
        id: PermitId,
        body: PodBody,
    ) -> impl Future<Output = Result<PermitAnswer, PermitRefused>> + Send;
    /// A permit was not made use of after all.
    fn abort_permit(
        &self,
        id: PermitId,
        body: PodBody,
    ) -> impl Future<Output = Result<PermitAnswer, PermitRefused>> + Send;
    /// Partitions with a replica here, as they could go on from it alone.
    fn recovery(&self) -> impl Future<Output = RecoveryReport> + Send;
    /// Has partitions go on from the replicas here alone; gives those, as they were before.
    fn recover(&self, body: RecoverBody) -> impl Future<Output = Result<RecoveryReport, Problem>> + Send;
}

/// The configs of a topic: new values, and `null` for a return to the default.
pub type ConfigChanges = BTreeMap<String, Option<String>>;

/// A running admin server.
pub struct AdminServer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) struct Admin<B> {
    pub(crate) backend: B,
    pub(crate) watches: Arc<Semaphore>,
    /// Places for large answers, each kept until the answer is written.
    pub(crate) large: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

impl<B> Admin<B> {
    pub(crate) fn new(backend: B, stop: CancellationToken) -> Self {
        let [watches, large] = [MAX_WATCHES, MAX_LARGE_ANSWERS].map(|most| Arc::new(Semaphore::new(most)));
        Self { backend, watches, large, stop }
    }
}

/// Serves the admin API on a bound socket until [`AdminServer::stop`].
pub fn serve<B: AdminBackend>(socket: TcpListener, backend: B) -> io::Result<AdminServer> {
    let stop = CancellationToken::new();
    let admin = Arc::new(Admin::new(backend, stop.clone()));
    let router = routes::router(admin);
    let socket = BoundedListener::new(socket, MAX_CONNECTIONS, PATIENCE);
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(socket, router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "serve admin API");
        }
    });
    Ok(AdminServer { stop, task })
}

impl AdminServer {
    /// Ends watches and takes no more requests.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(Duration::from_secs(2), self.task).await.is_err() {
            tracing::warn!("admin connections did not end in time");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
