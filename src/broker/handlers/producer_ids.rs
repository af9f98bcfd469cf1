//! Hands out producer ids from blocks that the metadata group allotted to this broker, fetched ahead of need.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use chronik_core::metadata::{AllocateProducerIds, Applied, Command};
use tokio::sync::Mutex;

use super::backend::{Backend, ProposeError};

/// How long a block is awaited when a client waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the next block is awaited while ids are left.
const AHEAD_PATIENCE: Duration = Duration::from_millis(200);
/// With fewer ids left the next block is fetched ahead, so that producers can start also while the metadata group has
/// lost its quorum.
const RESERVE: usize = 100;

/// The ids that this broker may hand out.
#[derive(Default)]
pub(super) struct ProducerIds {
    ids: Mutex<VecDeque<i64>>,
}

impl ProducerIds {
    /// An id nobody else has or will have.
    pub(super) async fn next(&self, backend: &dyn Backend) -> Result<i64, ProposeError> {
        let mut ids = self.ids.lock().await;
        if ids.is_empty() {
            ids.extend(allocate(backend, PATIENCE).await?);
        } else if ids.len() < RESERVE
            && let Ok(block) = allocate(backend, AHEAD_PATIENCE).await
        {
            ids.extend(block);
        }
        ids.pop_front().ok_or(ProposeError::TimedOut)
    }

    /// Fetches the first block before any client asks.
    pub(super) async fn reserve(&self, backend: &dyn Backend) -> Result<(), ProposeError> {
        let mut ids = self.ids.lock().await;
        if ids.is_empty() {
            ids.extend(allocate(backend, PATIENCE).await?);
        }
        Ok(())
    }
}

async fn allocate(backend: &dyn Backend, patience: Duration) -> Result<Range<i64>, ProposeError> {
    let command = Command::AllocateProducerIds(AllocateProducerIds { broker: backend.broker_id() });
    match backend.propose(command, patience).await? {
        Applied::ProducerIds { first, count } => Ok(first..first.saturating_add(i64::from(count))),
        Applied::Refused(refusal) => Err(refusal.into()),
        other => {
            tracing::error!(?other, "allocate producer ids: not the answer to this command");
            Err(ProposeError::TimedOut)
        }
    }
}
