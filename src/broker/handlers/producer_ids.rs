//! Hands out producer ids from a block that the metadata group allotted to this broker, and fetches the next one.

use std::ops::Range;
use std::time::Duration;

use chronik_core::metadata::{AllocateProducerIds, Applied, Command};
use tokio::sync::Mutex;

use super::backend::{Backend, ProposeError};

/// How long a block is awaited.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is left of the current block.
#[derive(Default)]
pub(super) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An id nobody else has or will have.
    pub(super) async fn next(&self, backend: &dyn Backend) -> Result<i64, ProposeError> {
        let mut block = self.block.lock().await;
        if block.is_empty() {
            *block = allocate(backend).await?;
        }
        block.next().ok_or(ProposeError::TimedOut)
    }
}

async fn allocate(backend: &dyn Backend) -> Result<Range<i64>, ProposeError> {
    let command = Command::AllocateProducerIds(AllocateProducerIds { broker: backend.broker_id() });
    match backend.propose(command, PATIENCE).await? {
        Applied::ProducerIds { first, count } => Ok(first..first.saturating_add(i64::from(count))),
        Applied::Refused(refusal) => Err(refusal.into()),
        other => {
            tracing::error!(?other, "allocate producer ids: not the answer to this command");
            Err(ProposeError::TimedOut)
        }
    }
}
