//! What Kubernetes asks before a pod is evicted, and what it is answered. Pure.

use chronik_api::labels::{CLUSTER, broker_labels};
use chronik_core::restart::Reason;
use chronik_core::view::{PermitBody, PermitRefused};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::broker_client::{Answered, BrokerError};
use crate::feed::ClusterKey;
use chronik_api::broker_pod::pod_seen;

/// The body of the request, as far as it matters.
#[derive(Deserialize, Debug)]
pub struct Review {
    pub request: Request,
}

/// An eviction.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Given back with the answer.
    pub uid: String,
    /// Where the pod is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub object: Option<Eviction>,
}

impl Request {
    /// Whether the pod is to stay whatever is answered.
    pub fn is_dry_run(&self) -> bool {
        let options = self.object.as_ref().and_then(|eviction| eviction.delete_options.as_ref());
        self.dry_run || options.and_then(|o| o.dry_run.as_ref()).is_some_and(|dry_run| !dry_run.is_empty())
    }

    /// The UID that the pod must have, if the eviction is for that very pod.
    fn pod_uid(&self) -> Option<&str> {
        self.object.as_ref()?.delete_options.as_ref()?.preconditions.as_ref()?.uid.as_deref()
    }
}

/// What is to be done about an eviction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// It is none of our business; why.
    Nobody(&'static str),
    /// The brokers of this cluster are asked for this permit.
    Brokers(ClusterKey, PermitBody),
}

/// Whom to ask about the eviction of that pod, if it is there.
pub fn whom_to_ask(request: &Request, pod: Option<&Pod>) -> Ask {
    let Some(pod) = pod else { return Ask::Nobody("the pod is gone") };
    let Some(cluster) = cluster_of(pod) else { return Ask::Nobody("it is no broker's pod") };
    let Some(seen) = pod_seen(&cluster, pod) else { return Ask::Nobody("it is no broker's pod") };
    if request.pod_uid().is_some_and(|uid| uid != seen.uid) {
        return Ask::Nobody("the pod is another one by now");
    }
    if seen.deleting {
        return Ask::Nobody("the pod is being deleted");
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase.is_some_and(|phase| ["Succeeded", "Failed"].contains(&phase)) {
        return Ask::Nobody("the pod has ended");
    }
    let key = ClusterKey { namespace: request.namespace.clone(), name: cluster };
    let body = PermitBody {
        broker: seen.broker,
        pod_uid: seen.uid,
        reason: Reason::Eviction,
        allow_unavailable: seen.allow_unavailable,
        dry_run: request.is_dry_run(),
    };
    Ask::Brokers(key, body)
}

/// The cluster whose broker the pod is, by all the labels that ours have.
fn cluster_of(pod: &Pod) -> Option<String> {
    let cluster = pod.labels().get(CLUSTER)?;
    let ours = broker_labels(cluster).iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    ours.then(|| cluster.clone())
}

/// Whether the pod may go; if not, why not, for the person who drains its node.
pub fn verdict(body: &PermitBody, answer: &Result<Answered, BrokerError>) -> Result<(), String> {
    let broker = body.broker;
    match answer {
        Ok(Answered::Given(_)) => Ok(()),
        // Their sentence names the broker and the partitions.
        Ok(Answered::Refused(PermitRefused { error, .. })) if error.code == "blocked" => {
            Err(error.message.clone())
        }
        Ok(Answered::Refused(PermitRefused { error, .. })) => Err(format!(
            "broker {broker} may not stop now: the brokers answered {}: {}",
            error.code, error.message
        )),
        Err(error) => Err(format!("broker {broker} may not stop: no permit is to be had: {error}")),
    }
}

/// The answer as Kubernetes reads it. A refusal is one that clients try again (429).
pub fn answer(uid: &str, verdict: &Result<(), String>) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.is_ok()});
    if let Err(message) = verdict {
        response["status"] =
            json!({"status": "Failure", "code": 429, "reason": "TooManyRequests", "message": message});
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

#[cfg(test)]
mod tests;
