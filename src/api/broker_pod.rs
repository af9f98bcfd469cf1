//! What a broker's pod says of itself: which broker it is, what it runs, what a person asks of it. And what the next one of
//! its name will run. Pure.

use chronik_core::ids::BrokerId;
use chronik_core::rollout::PodSeen;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::labels::{ALLOW_UNAVAILABLE, RESTART, RESTART_HASH};
use crate::names;

/// A broker's pod of that cluster; `None` if its name is not one of a broker.
pub fn pod_seen(cluster: &str, pod: &Pod) -> Option<PodSeen> {
    let (name, uid) = (pod.name_any(), pod.uid()?);
    let annotations = pod.annotations();
    Some(PodSeen {
        broker: BrokerId(names::broker_of(cluster, &name)?),
        hash: annotations.get(RESTART_HASH).cloned(),
        ready: is_ready(pod),
        ready_since: ready_since(pod),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        since: since(pod),
        asked: annotations.get(RESTART).is_some_and(|value| value == "true"),
        allow_unavailable: annotations.get(ALLOW_UNAVAILABLE) == Some(&uid),
        name,
        uid,
    })
}

/// The restart hash of pods that the StatefulSet makes from now on.
pub fn template_hash(set: &StatefulSet) -> Option<&str> {
    let template = set.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get(RESTART_HASH).map(String::as_str)
}

/// Whether a pod deleted now comes back with these settings: Kubernetes has acted on the template that has them.
pub fn has_taken(set: &StatefulSet, desired: &str) -> bool {
    let observed = set.status.as_ref().and_then(|status| status.observed_generation);
    template_hash(set) == Some(desired) && observed >= set.metadata.generation
}

/// Whether Kubernetes counts it as ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Since when it is ready, in seconds since 1970.
fn ready_since(pod: &Pod) -> Option<i64> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    is_ready(pod).then_some(ready.last_transition_time.as_ref()?.0.as_second())
}

/// When it was made; if it is being deleted, when that was asked for: its end is due a grace period later.
fn since(pod: &Pod) -> Option<i64> {
    let metadata = &pod.metadata;
    match &metadata.deletion_timestamp {
        Some(end) => Some(end.0.as_second() - metadata.deletion_grace_period_seconds.unwrap_or_default()),
        None => Some(metadata.creation_timestamp.as_ref()?.0.as_second()),
    }
}

/// Status and message of its condition of that type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}
