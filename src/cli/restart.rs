//! `restart BROKER`: asks the operator for it by an annotation and follows it. It restarts nothing itself.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chronik_api::conditions::ROLLING_OUT;
use chronik_api::labels::RESTART;
use chronik_core::ids::BrokerId;
use chronik_core::restart::Stage;
use chronik_core::rollout::PodSeen;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::access::{Kubernetes, told};
use crate::args;
use crate::brokers::node;
use crate::plan::missing;
use crate::seen::Seen;
use crate::show::{say, seconds};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// What the command ends with if it is not done in time.
pub(crate) const TIME_IS_OVER: u8 = 2;

/// Asks for it, and follows it if that is wanted.
pub(crate) async fn restart(kubernetes: &Kubernetes, wanted: &args::Restart) -> anyhow::Result<ExitCode> {
    let (id, cluster) = kubernetes.broker(&wanted.broker, wanted.cluster.as_deref()).await?;
    let began = Instant::now();
    let mut seen = Seen::look(kubernetes, cluster).await?;
    let Some((pod, _)) = seen.pod(id) else {
        bail!("BROKER is {id}: {} has no pod of such a broker: there is nothing to restart", seen.name);
    };
    let pod = pod.clone();
    if !pod.asked {
        ask(kubernetes, &pod).await?;
    }
    say(&format!("asked the operator to restart broker {id} (pod {})\n", pod.name))?;
    if wanted.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    let mut told = String::new();
    loop {
        let stage = stage(&seen, id, &pod);
        let text = stage.text(&seen, id, &pod);
        if text != told {
            say(&format!("{:>8}  {text}\n", seconds(began.elapsed().as_secs_f64())))?;
            told = text;
        }
        if stage == At::Back {
            return Ok(ExitCode::SUCCESS);
        }
        if began.elapsed() >= wanted.timeout {
            say(&stage.too_late(&pod))?;
            return Ok(ExitCode::from(TIME_IS_OVER));
        }
        sleep(PAUSE).await;
        let cluster = kubernetes.cluster(Some(&seen.name)).await?;
        seen = Seen::look(kubernetes, cluster).await?;
    }
}

/// Only this very pod is annotated: its successor has restarted already.
async fn ask(kubernetes: &Kubernetes, pod: &PodSeen) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let patch = json!({"metadata": {"uid": pod.uid, "annotations": {RESTART: "true"}}});
    let asked = pods.patch(&pod.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    asked.map(drop).map_err(|error| told("annotate the pod", error)).context("ask for a restart")
}

/// How far a restart is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum At {
    /// The brokers have not let it go, or the operator has not asked yet.
    Waits,
    /// It has a permit.
    Granted,
    /// The old pod ends, or the new one is not there yet.
    Stops,
    /// The new pod is not up.
    Starts,
    /// It is up, and misses so many ISRs; none if that is not known.
    CatchesUp(Option<usize>),
    /// In every ISR, without a permit, with a ready pod.
    Back,
}

/// Where the restart of a pod is by now.
fn stage(seen: &Seen, id: BrokerId, before: &PodSeen) -> At {
    let now = seen.pod(id).map(|(pod, _)| pod);
    let brokers = seen.told().ok();
    let permit = brokers.and_then(|brokers| brokers.permits.iter().find(|permit| permit.broker == id));
    let Some(pod) = now.filter(|pod| pod.uid != before.uid || pod.deleting) else {
        return match (now, permit) {
            (None, _) => At::Stops,
            (Some(pod), Some(permit)) if permit.pod_uid == pod.uid => match permit.stage {
                Stage::Granted => At::Granted,
                Stage::Begun => At::Stops,
            },
            _ => At::Waits,
        };
    };
    if pod.deleting {
        return At::Stops;
    }
    let Some(brokers) = brokers else { return At::Starts };
    let alive = brokers.report.brokers.iter().any(|broker| broker.id == id && broker.alive);
    if !alive {
        return At::Starts;
    }
    let partitions = brokers.topics.iter().flat_map(|topic| &topic.partitions);
    // Whoever knows of no ISR cannot say that the broker is in it.
    let lacks =
        partitions.filter(|it| it.replicas.contains(&id) && (it.isr.is_none() || missing(it).contains(&id)));
    match (lacks.count(), permit, pod.ready) {
        (0, None, true) => At::Back,
        (0, ..) => At::CatchesUp(None),
        (count, ..) => At::CatchesUp(Some(count)),
    }
}

impl At {
    fn text(&self, seen: &Seen, id: BrokerId, before: &PodSeen) -> String {
        let pod = seen.pod(id);
        let name = &before.name;
        match self {
            Self::Waits => waits(seen),
            Self::Granted => format!("the brokers let broker {id} go"),
            Self::Stops => format!("pod {name} stops"),
            Self::Starts => {
                let node =
                    pod.and_then(|(_, pod)| node(pod)).map_or(String::new(), |node| format!(" on {node}"));
                format!("pod {name} starts anew{node}")
            }
            Self::CatchesUp(Some(count)) => format!("broker {id} is up and not in {count} of its ISRs yet"),
            Self::CatchesUp(None) => {
                format!("broker {id} is in every ISR; its permit has to end and its pod to be ready")
            }
            Self::Back => format!("broker {id} is back in every ISR"),
        }
    }

    fn too_late(&self, pod: &PodSeen) -> String {
        let name = &pod.name;
        match self {
            Self::Waits => format!(
                "--timeout is over, and the broker may not stop. The restart stays asked for; take it back with: \
                 kubectl annotate pod {name} {RESTART}-\n"
            ),
            _ => "--timeout is over, and the broker is not back yet. The operator goes on.\n".to_owned(),
        }
    }
}

/// What the operator waits for, in its own words.
fn waits(seen: &Seen) -> String {
    let conditions = seen.cluster.status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.into_iter().find(|condition| condition.type_ == ROLLING_OUT);
    let says = condition.filter(|condition| condition.status != "False");
    says.map_or("waits for the operator".to_owned(), |says| format!("waits: {}", says.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Told;
    use crate::testing::{partition, permit, seen, told, topic};
    use chronik_core::restart::Reason;

    fn with(change: impl FnOnce(&mut Seen, &mut Told)) -> At {
        let before = crate::testing::pod(2);
        let mut seen = seen("now");
        let mut told = told(vec![topic("t", vec![partition(0, 1, &[1, 2, 3])])]);
        change(&mut seen, &mut told);
        seen.brokers = Ok(told);
        stage(&seen, BrokerId(2), &before)
    }

    fn renew(seen: &mut Seen) {
        seen.pods[1].0.uid = "uid-9".to_owned();
    }

    #[test]
    fn a_restart_goes_through_its_stages() {
        assert_eq!(with(|_, _| {}), At::Waits);
        let granted = permit(2, Reason::Asked, Stage::Granted);
        assert_eq!(with(|_, told| told.permits.push(granted)), At::Granted);
        let begun = || permit(2, Reason::Asked, Stage::Begun);
        assert_eq!(with(|_, told| told.permits.push(begun())), At::Stops);
        assert_eq!(with(|seen, _| seen.pods[1].0.deleting = true), At::Stops);
        assert_eq!(with(|seen, _| drop(seen.pods.remove(1))), At::Stops);
        let starts = with(|seen, told| {
            renew(seen);
            told.report.brokers[1].alive = false;
        });
        assert_eq!(starts, At::Starts);
        let catches_up = with(|seen, told| {
            renew(seen);
            told.permits.push(begun());
            told.topics[0].partitions[0].isr = Some(crate::testing::brokers(&[1, 3]));
        });
        assert_eq!(catches_up, At::CatchesUp(Some(1)));
        assert_eq!(with(|seen, _| renew(seen)), At::Back);
    }

    #[test]
    fn who_has_a_permit_still_or_an_unknown_isr_is_not_back() {
        let has_permit = with(|seen, told| {
            renew(seen);
            told.permits.push(permit(2, Reason::Asked, Stage::Begun));
        });
        assert_eq!(has_permit, At::CatchesUp(None));
        let unknown = with(|seen, told| {
            renew(seen);
            told.topics[0].partitions[0].isr = None;
        });
        assert_eq!(unknown, At::CatchesUp(Some(1)));
        let not_ready = with(|seen, _| {
            renew(seen);
            seen.pods[1].0.ready = false;
        });
        assert_eq!(not_ready, At::CatchesUp(None));
    }
}
