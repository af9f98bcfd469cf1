//! Our finalizer on Topics: put on and taken off against the version that was read.

use chronik_api::Topic;
use chronik_api::labels::TOPIC_FINALIZER;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Whether it is there.
pub fn is_on(topic: &Topic) -> bool {
    topic.finalizers().iter().any(|finalizer| finalizer == TOPIC_FINALIZER)
}

/// Puts it on or takes it off; other finalizers stay. A resource that is gone meanwhile needs neither.
pub async fn set(client: &Client, topic: &Topic, on: bool) -> Result<(), kube::Error> {
    if is_on(topic) == on {
        return Ok(());
    }
    let mut finalizers: Vec<&str> = topic
        .finalizers()
        .iter()
        .map(String::as_str)
        .filter(|finalizer| *finalizer != TOPIC_FINALIZER)
        .collect();
    if on {
        finalizers.push(TOPIC_FINALIZER);
    }
    let patch = json!({"metadata": {
        "uid": topic.metadata.uid,
        "resourceVersion": topic.metadata.resource_version,
        "finalizers": finalizers,
    }});
    let api: Api<Topic> = Api::namespaced(client.clone(), &topic.namespace().unwrap_or_default());
    match api.patch(&topic.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
