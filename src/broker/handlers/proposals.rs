//! The common part of requests that change the cluster: judge first, then propose through the metadata leader.

use std::collections::BTreeSet;
use std::time::Duration;

use chronik_core::ids::{BrokerId, TopicId};
use chronik_core::metadata::{Applied, ClusterState, Command};
use tokio::time::{Instant, sleep};

use super::backend::{Backend, ProposeError};
use super::errors::{Failure, INVALID_REQUEST};

/// How many changes of one request are under way at once.
pub(super) const AT_ONCE: usize = 64;
/// No client waits longer, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long the leaders of new partitions are waited for, and between two looks.
const LEADERS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// When a request that gives itself so many milliseconds has had its time.
pub(super) fn deadline(timeout_ms: i32) -> Instant {
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    Instant::now() + timeout.min(LONGEST_WAIT)
}

/// Brokers that are up, where placement begins.
pub(super) fn alive(backend: &dyn Backend, cluster: &ClusterState) -> BTreeSet<BrokerId> {
    cluster.brokers().map(|broker| broker.id).filter(|id| backend.is_alive(*id)).collect()
}

/// Waits until the topic's partitions from `first` on have leaders, but not long: who creates something and uses it at
/// once should not meet an error that passes.
pub(super) async fn await_leaders(backend: &dyn Backend, topic: TopicId, first: usize, deadline: Instant) {
    let latest = deadline.min(Instant::now() + LEADERS);
    loop {
        let cluster = backend.cluster();
        let Some(topic) = cluster.topic(topic) else { return };
        let mut new = topic.partitions.iter().skip(first);
        if new.all(|partition| backend.report(topic, partition).leader.is_some()) || Instant::now() >= latest
        {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
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

/// Keys of things in a list: which of them stand there more than once. Each is answered once.
pub(super) struct Once<K> {
    seen: BTreeSet<K>,
    repeated: BTreeSet<K>,
}

impl<K: Ord + Clone> Once<K> {
    pub(super) fn new(keys: impl Iterator<Item = K>) -> Self {
        let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for key in keys {
            if !seen.insert(key.clone()) {
                repeated.insert(key);
            }
        }
        seen.clear();
        Self { seen, repeated }
    }

    pub(super) fn is_repeated(&self, key: &K) -> bool {
        self.repeated.contains(key)
    }

    /// Whether this is the first time that this key is asked about.
    pub(super) fn is_first(&mut self, key: &K) -> bool {
        self.seen.insert(key.clone())
    }
}

/// What a name that stands in a request more than once is told.
pub(super) fn repeated(name: &str) -> Failure {
    Failure::new(INVALID_REQUEST, format!("topic {name} stands in the request more than once"))
}
