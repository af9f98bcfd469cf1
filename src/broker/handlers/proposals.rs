//! The common part of requests that change the cluster: judge first, then propose through the metadata leader.

use std::collections::BTreeSet;
use std::time::Duration;

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{Applied, ClusterState, Command};
use tokio::time::Instant;

use super::backend::{Backend, ProposeError};
use super::errors::Failure;

/// How many changes of one request are under way at once.
pub(super) const AT_ONCE: usize = 64;
/// No client waits longer, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// When a request that gives itself so many milliseconds has had its time.
pub(super) fn deadline(timeout_ms: i32) -> Instant {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Instant::now() + timeout.min(LONGEST_WAIT)
}

/// Brokers that are up, where placement begins.
pub(super) fn alive(backend: &dyn Backend, cluster: &ClusterState) -> BTreeSet<BrokerId> {
    cluster.brokers().map(|broker| broker.id).filter(|id| backend.is_alive(*id)).collect()
}

/// Has a command applied, refusals as failures.
pub(super) async fn propose(
    backend: &dyn Backend,
    command: Command,
    deadline: Instant,
) -> Result<Applied, Failure> {
    let timeout = deadline.saturating_duration_since(Instant::now());
    match backend.propose(command, timeout).await {
        Ok(applied) => Ok(applied.into_result()?),
        Err(ProposeError::Refused(refusal)) => Err(refusal.into()),
        Err(error) => {
            tracing::warn!(%error, "propose a change of the cluster");
            Err(error.into())
        }
    }
}

/// The names that stand in a list more than once.
pub(super) fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).map(str::to_owned).collect()
}
