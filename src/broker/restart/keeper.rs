//! The watch over open permits: the metadata leader takes those back that nobody used, and closes those whose broker is back.
//! A broker that lost its permit without stopping leads again what it handed over.

use std::collections::BTreeMap;
use std::time::Duration;

use chronik_core::ids::BrokerId;
use chronik_core::metadata::{ChangePermit, ClusterState};
use chronik_core::restart::{Hosted, Permit, PermitId, Stage};
use tokio::time::{Instant, sleep};

use super::Restarts;
use crate::metrics::{Metrics, PermitOutcome};
use crate::replica::Event;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A permit that was not begun for this long is taken back.
const UNUSED: Duration = Duration::from_secs(30);

impl Restarts {
    /// Keeps the permits for as long as this broker leads the metadata group, and its own as long as it lives.
    pub async fn keep(self) {
        let mut seen: BTreeMap<PermitId, Instant> = BTreeMap::new();
        let mut held = false;
        loop {
            sleep(LOOK).await;
            let holds = self.cluster().permits().open().any(|permit| permit.broker == self.parts.own);
            if std::mem::replace(&mut held, holds) && !holds {
                // Else it would count as one that is about to go, and block all others.
                self.parts.engine.submit(Event::Undrain);
            }
            if !self.leads() {
                // Whoever leads next starts the clock anew.
                seen.clear();
                continue;
            }
            let state = self.cluster();
            seen.retain(|id, _| state.permits().get(*id).is_some());
            for permit in state.permits().open() {
                match permit.stage {
                    Stage::Granted => {
                        let since = *seen.entry(permit.id).or_insert_with(Instant::now);
                        if let Some(why) = of_no_use(&state, permit, since.elapsed()) {
                            self.take_back(permit, &why).await;
                        }
                    }
                    Stage::Begun => self.close_if_back(&state, permit).await,
                }
            }
        }
    }

    async fn take_back(&self, permit: &Permit, why: &str) {
        match self.commit(ChangePermit::TakeBack { permit: permit.id }).await {
            Ok(permit) => ended(&self.parts.metrics, &permit, PermitOutcome::TakenBack, why),
            Err(refused) => tracing::info!(permit = permit.id.0, why = refused.error.message, "keep permit"),
        }
    }

    async fn close_if_back(&self, state: &ClusterState, permit: &Permit) {
        let Some(registered) = state.broker(permit.broker) else { return };
        let back = registered.incarnation();
        let own = permit.broker == self.parts.own;
        let heard = own || self.parts.shared.liveness.incarnation(permit.broker) == Some(back);
        if !permit.is_over_with(back) || !heard {
            return;
        }
        match self.lacks(state, permit.broker).await {
            Ok(None) => {}
            Ok(Some(what)) => {
                return tracing::debug!(permit = permit.id.0, broker = %permit.broker, what, "not back yet");
            }
            Err(why) => return tracing::info!(permit = permit.id.0, why, "keep permit"),
        }
        match self.commit(ChangePermit::Close { permit: permit.id, back }).await {
            Ok(permit) => {
                let why = format!("{back} is back in every ISR");
                ended(&self.parts.metrics, &permit, PermitOutcome::Closed, &why);
            }
            Err(refused) => tracing::info!(permit = permit.id.0, why = refused.error.message, "keep permit"),
        }
    }

    /// Something that the broker is not back in, as those who lead say at this moment.
    async fn lacks(&self, state: &ClusterState, broker: BrokerId) -> Result<Option<String>, String> {
        let request = self.gather(state, broker).await.map_err(|refused| refused.error.message)?;
        // A replica that goes need not come back.
        let stays = |hosted: &&Hosted| {
            state.group(hosted.group).is_some_and(|(_, partition)| {
                partition.target().iter().any(|replica| replica.broker == broker)
            })
        };
        let mut partitions = request.partitions.iter().filter(stays);
        if let Some(hosted) = partitions.find(|hosted| !is_back_in(hosted, broker)) {
            return Ok(Some(format!("{}/{}", hosted.topic, hosted.partition)));
        }
        let metadata = &request.metadata;
        let votes = [&metadata.voters, &metadata.outgoing].iter().any(|half| half.brokers.contains(&broker));
        Ok((votes && !metadata.synced.contains(&broker)).then(|| "the metadata group".to_owned()))
    }
}

/// Why a permit that has not begun is taken back, if it is: its life is over anyway, or its time.
fn of_no_use(state: &ClusterState, permit: &Permit, unused: Duration) -> Option<String> {
    let life = state.broker(permit.broker).map(|broker| broker.incarnation());
    if let Some(life) = life.filter(|life| permit.is_over_with(*life)) {
        return Some(format!("{life} runs by now"));
    }
    (unused >= UNUSED).then(|| format!("not begun for {} s", UNUSED.as_secs()))
}

fn is_back_in(hosted: &Hosted, broker: BrokerId) -> bool {
    hosted.confirmed.as_ref().is_some_and(|confirmed| {
        !confirmed.provisional && confirmed.isr.contains(&broker) && confirmed.synced.contains(&broker)
    })
}

/// Logs and counts a permit that has ended.
pub(super) fn ended(metrics: &Metrics, permit: &Permit, outcome: PermitOutcome, why: &str) {
    tracing::info!(
        permit = permit.id.0, broker = %permit.broker, reason = ?permit.reason, why, "permit to stop: {}", outcome.name()
    );
    metrics.broker.permit(outcome);
}

#[cfg(test)]
mod tests {
    use chronik_core::ids::{DiskId, Incarnation};
    use chronik_core::metadata::Command;
    use chronik_core::restart::Reason;
    use uuid::Uuid;

    use super::*;
    use crate::handlers::tests::memory::broker;

    #[test]
    fn a_permit_ends_unused_with_its_time_or_with_its_life() {
        let mut state = ClusterState::new("test".parse().unwrap());
        let registered = broker(1);
        state.apply(1, &Command::RegisterBroker(registered.clone())).into_result().unwrap();
        let incarnation = registered.incarnation();
        let permit = |incarnation| Permit {
            id: PermitId(1),
            broker: BrokerId(1),
            incarnation,
            pod_uid: "uid".to_owned(),
            reason: Reason::Rollout,
            allow_unavailable: false,
            stage: Stage::Granted,
        };
        let now = permit(incarnation);
        assert_eq!(of_no_use(&state, &now, UNUSED - Duration::from_millis(1)), None);
        assert_eq!(of_no_use(&state, &now, UNUSED).unwrap(), "not begun for 30 s");
        let other_disk = Incarnation { disk: DiskId(Uuid::from_u128(77)), start: 1 };
        let before = permit(other_disk);
        assert!(of_no_use(&state, &before, Duration::ZERO).unwrap().ends_with("runs by now"));
    }
}
