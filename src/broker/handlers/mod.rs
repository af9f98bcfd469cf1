//! What Kafka requests mean, one file per API. Handlers see the broker through `backend` and never a socket.

pub mod backend;

mod access;
mod config_changes;
mod endpoints;
pub(crate) mod errors;
mod lookup;
mod producer_ids;
mod proposals;
mod stranded;

pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod api_versions;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_topic_partitions;
pub(crate) mod elect_leaders;
pub(crate) mod fetch;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod partition_state;
pub(crate) mod produce;
pub(crate) mod produce_unsupported;
pub(crate) mod unregister_broker;

use std::sync::Arc;

use backend::Backend;
use producer_ids::ProducerIds;

use crate::metrics::Metrics;
use crate::server::Memory;

/// The broker around the handlers, and the little they remember between requests.
pub struct Handlers {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) metrics: Arc<Metrics>,
    /// What answers may take until they are written.
    pub(crate) answers: Memory,
    producer_ids: ProducerIds,
}

impl Handlers {
    /// Handlers that work on `backend`; their answers together take no more than `answer_bytes`.
    pub fn new(backend: Arc<dyn Backend>, metrics: Arc<Metrics>, answer_bytes: usize) -> Arc<Self> {
        let answers = Memory::new(answer_bytes, metrics.broker.answer_memory());
        Arc::new(Self { backend, metrics, answers, producer_ids: ProducerIds::default() })
    }

    /// Makes ready what clients should not have to wait for. Call once the broker is registered.
    pub async fn prepare(&self) -> Result<(), backend::ProposeError> {
        self.producer_ids.reserve(self.backend.as_ref()).await
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod tests;
