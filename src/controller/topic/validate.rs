//! Step 2: judges what was found. No client, no I/O.

use std::collections::BTreeMap;

use chronik_api::Topic;
use chronik_api::topic::MIN_ISR_KEY;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::dereference::Found;
use super::error::Error;
use crate::context::cluster_of;
use crate::feed::ClusterKey;

/// A Topic that may be made true.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidTopic {
    pub cluster: ClusterKey,
    pub name: String,
    pub partitions: u32,
    pub replicas: u32,
    pub configs: BTreeMap<String, String>,
}

/// Judges a Topic and what was found about it.
pub fn validate(topic: &Topic, found: &Found) -> Result<ValidTopic, Error> {
    let cluster = cluster_of(topic);
    if let Some(winner) = found.rivals.iter().find(|rival| age(rival) < age(topic)) {
        return Err(Error::Superseded {
            winner: winner.name_any(),
            topic: topic.topic_name().to_owned(),
            cluster: cluster.name,
        });
    }
    // A cluster that is being deleted is gone: nothing new is made in it.
    if found.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        return Err(Error::ClusterMissing { namespace: cluster.namespace, name: cluster.name });
    }
    if !found.formed {
        return Err(Error::ClusterForming { cluster: cluster.name });
    }
    let configs = topic.spec.configs();
    if let Some(value) = configs.get(MIN_ISR_KEY)
        && value.parse().is_ok_and(|min_isr: u32| min_isr > topic.spec.replicas)
    {
        // The schema says so too; this is for objects stored before it did.
        return Err(Error::InvalidSpec {
            field: "spec.minInsyncReplicas".to_owned(),
            value: value.clone(),
            allowed: format!("at most spec.replicas, which is {}", topic.spec.replicas),
        });
    }
    Ok(ValidTopic {
        cluster,
        name: topic.topic_name().to_owned(),
        partitions: topic.spec.partitions,
        replicas: topic.spec.replicas,
        configs,
    })
}

/// Orders rivals: the first created wins; names decide within the same second.
pub(super) fn age(topic: &Topic) -> (Option<Timestamp>, String) {
    (topic.creation_timestamp().map(|time| time.0), topic.name_any())
}
