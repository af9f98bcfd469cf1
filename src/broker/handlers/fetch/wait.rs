//! Waits for a change in any of many partitions.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::target::Target;

/// The state of partitions at one moment, to be left behind.
pub(super) struct Progress {
    receivers: Vec<watch::Receiver<u64>>,
}

impl Progress {
    /// Marks the present: what changes from now on is noticed, also before [`Progress::any`] is called.
    pub(super) fn of(targets: &[Target]) -> Self {
        let replicas = targets.iter().filter_map(|target| target.replica.as_ref());
        let receivers = replicas.map(|replica| {
            let mut receiver = replica.progress();
            receiver.mark_unchanged();
            receiver
        });
        Self { receivers: receivers.collect() }
    }

    /// Waits until one of them changes. A replica that is gone changes no more.
    pub(super) async fn any(mut self) {
        let mut changes: FuturesUnordered<_> = self
            .receivers
            .iter_mut()
            .map(|receiver| async move { receiver.changed().await.is_ok() })
            .collect();
        while let Some(changed) = changes.next().await {
            if changed {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}
