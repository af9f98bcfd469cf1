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
    if let Some(winner) = older(topic, found) {
        return Err(Error::Superseded {
            winner: winner.name_any(),
            topic: topic.topic_name().to_owned(),
            cluster: cluster_of(topic).name,
        });
    }
    let cluster = cluster(topic, found)?;
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

/// The cluster that holds the topic, if it is there and formed.
pub(super) fn cluster(topic: &Topic, found: &Found) -> Result<ClusterKey, Error> {
    let key = cluster_of(topic);
    // A cluster that is being deleted is gone: nothing new is made in it.
    if found.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some()) {
        return Err(Error::ClusterMissing { namespace: key.namespace, name: key.name });
    }
    if !found.formed {
        return Err(Error::ClusterForming { cluster: key.name });
    }
    Ok(key)
}

/// The resource that manages this one's topic because it was there before.
pub(super) fn older<'a>(topic: &Topic, found: &'a Found) -> Option<&'a Topic> {
    let rivals = found.rivals.iter().map(|rival| &**rival);
    rivals.filter(|rival| rival.spec.managed).find(|rival| age(rival) < age(topic))
}

/// Orders rivals: the first created wins; names decide within the same second.
fn age(topic: &Topic) -> (Option<Timestamp>, String) {
    (topic.creation_timestamp().map(|time| time.0), topic.name_any())
}
