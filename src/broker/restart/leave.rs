//! How a broker that is told to stop waits for its turn: it serves on until the others can spare it, or its time is over.
//! Where all of them are told to stop, as with a deleted cluster, nobody waits.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chronik_core::ids::BrokerId;
use chronik_core::restart::{PermitId, Reason};
use chronik_core::view::{PermitBody, PermitRefused, PodBody};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::words::Asked;
use super::{Restarts, refusal};

/// Pause before it asks again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Who has not asked for so long does not wait any more: the time of two judgements.
const WISH: Duration = Duration::from_secs(8);
/// Longest wait for another broker to hear that all stop.
const TELL: Duration = Duration::from_secs(1);

/// What a wait came to.
enum Waited {
    Granted(PermitId),
    /// Nothing here can be lost by a stop: no place in the cluster, or a log that takes no writes.
    Useless,
}

impl Restarts {
    /// Waits until this broker, in this pod, may stop: no longer than it takes to ask where it has leave already, as in a
    /// rollout or an eviction. After `patience` it stops all the same, for whoever told it to would kill it then.
    pub async fn await_leave(&self, pod_uid: &str, patience: Duration) {
        // What was said before this broker was told to stop is over.
        self.all_stop.send_replace(false);
        let mut all_stop = self.all_stop.subscribe();
        let waited = tokio::select! {
            waited = timeout(patience, self.until_granted(pod_uid)) => waited,
            _ = all_stop.wait_for(|all_stop| *all_stop) => {
                return tracing::info!("stop at once: every broker that lives is told to stop");
            }
        };
        match waited {
            Ok(Waited::Granted(permit)) => tracing::info!(permit = permit.0, pod_uid, "stop with leave"),
            Ok(Waited::Useless) => tracing::info!("stop without leave: nothing can be lost by it"),
            Err(_) => tracing::warn!(
                pod_uid,
                waited_s = patience.as_secs(),
                "stop without leave: partitions pay for it, and there is no time left to wait"
            ),
        }
    }

    async fn until_granted(&self, pod_uid: &str) -> Waited {
        let (began, mut told) = (Instant::now(), String::new());
        loop {
            let log_stopped = self.parts.shared.log_stopped.load(Ordering::Acquire);
            if log_stopped || self.cluster().broker(self.parts.own).is_none() {
                return Waited::Useless;
            }
            match self.begin_own(pod_uid).await {
                Ok(permit) => return Waited::Granted(permit),
                Err(refused) if refused.error.message != told => {
                    told = refused.error.message;
                    tracing::info!(waited_s = began.elapsed().as_secs(), why = told, "wait with the stop");
                }
                Err(_) => {}
            }
            sleep(ASK_AGAIN).await;
        }
    }

    async fn begin_own(&self, pod_uid: &str) -> Result<PermitId, PermitRefused> {
        let body = PermitBody {
            broker: self.parts.own,
            pod_uid: pod_uid.to_owned(),
            reason: Reason::Deleted,
            allow_unavailable: false,
            dry_run: false,
        };
        let granted = self.ask(body).await?.permit;
        let permit = granted.ok_or_else(|| refusal::unavailable("leave without a permit"))?;
        self.begin(permit.id, PodBody { pod_uid: pod_uid.to_owned() }).await?;
        Ok(permit.id)
    }

    /// As the metadata leader: notes who is told to stop and was refused. If that is everybody who lives there is nobody to
    /// wait for, and all of them hear it.
    pub(super) async fn note_wish(&self, broker: BrokerId) {
        let wishes: BTreeSet<BrokerId> = {
            let mut wishes = self.wishes.lock();
            wishes.insert(broker, Instant::now());
            wishes.retain(|_, since| since.elapsed() < WISH);
            wishes.keys().copied().collect()
        };
        let state = self.cluster();
        let liveness = &self.parts.shared.liveness;
        let mut open = state.permits().open();
        let returns = open.any(|permit| permit.reason != Reason::Deleted);
        let leaving = |id: &BrokerId| wishes.contains(id) || state.permits().holders().contains(id);
        let live: Vec<BrokerId> =
            state.brokers().map(|known| known.id).filter(|id| liveness.is_up(*id)).collect();
        if returns || !live.iter().all(leaving) {
            return;
        }
        tracing::warn!(brokers = ?live, "every broker that lives is told to stop: none need wait for another");
        // Also one that has leave and could not begin yet: left alone, it would find nobody to ask.
        let others = live.into_iter().filter(|id| *id != self.parts.own);
        let told = others.map(|id| self.parts.peers.ask(id, Asked::AllStop.encode(), TELL));
        join_all(told).await;
        self.stop_all();
    }

    /// Nobody need wait any more.
    pub(super) fn stop_all(&self) {
        self.all_stop.send_replace(true);
    }
}
