//! What a broker's pod says of itself: which broker it is, what it runs, what a person asks of it. Pure.

use chronik_core::ids::BrokerId;
use chronik_core::rollout::PodSeen;
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
        deleting: pod.metadata.deletion_timestamp.is_some(),
        asked: annotations.get(RESTART).is_some_and(|value| value == "true"),
        allow_unavailable: annotations.get(ALLOW_UNAVAILABLE) == Some(&uid),
        name,
        uid,
    })
}

/// Whether Kubernetes counts it as ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

/// Status and message of its condition of that type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}
