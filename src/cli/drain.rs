//! `drain BROKER`: evicts the broker's pod. The brokers decide, asked here and by the operator's webhook; refused, it is tried
//! again. They are asked here because Kubernetes lets an eviction pass while it does not reach the webhook.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chronik_core::rollout::PodSeen;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::access::{Kubernetes, told};
use crate::args;
use crate::proxy::Proxy;
use crate::restart::TIME_IS_OVER;
use crate::seen::{pods, who_answers};
use crate::show::{say, seconds};
use crate::verdict::verdict;

/// Pause after a refusal, as kubectl drain makes it.
const AGAIN: Duration = Duration::from_secs(5);
/// Pause between two looks at a pod that ends.
const LOOK: Duration = Duration::from_millis(500);
const TOO_MANY_REQUESTS: u16 = 429;

/// What came of an eviction.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Evicted {
    /// It goes, or would.
    Yes,
    /// Not now, for this reason.
    NotNow(String),
}

/// Evicts it.
pub(crate) async fn drain(kubernetes: &Kubernetes, wanted: &args::Drain) -> anyhow::Result<ExitCode> {
    let (id, cluster) = kubernetes.broker(&wanted.broker, wanted.cluster.as_deref()).await?;
    let name = cluster.name_any();
    let all = pods(kubernetes, &name).await?;
    let Some((pod, _)) = all.into_iter().find(|(pod, _)| pod.broker == id) else {
        bail!("BROKER is {id}: {name} has no pod of such a broker: there is nothing to evict");
    };
    let began = Instant::now();
    let time = || format!("{:>8}", seconds(began.elapsed().as_secs_f64()));
    let mut said = String::new();
    loop {
        let answer = match brokers_refusal(kubernetes, &name, &pod).await? {
            Some(why) => Evicted::NotNow(why),
            None => evict(kubernetes, &pod, wanted.dry_run).await?,
        };
        match answer {
            Evicted::Yes if wanted.dry_run => {
                say(&format!("pod {} may be evicted now\n", pod.name))?;
                return Ok(ExitCode::SUCCESS);
            }
            Evicted::Yes => break,
            Evicted::NotNow(why) if wanted.dry_run => {
                say(&format!("pod {} may not be evicted now: {why}\n", pod.name))?;
                return Ok(ExitCode::from(TIME_IS_OVER));
            }
            Evicted::NotNow(why) if why != said => {
                say(&format!("{}  not now: {why}\n", time()))?;
                said = why;
            }
            Evicted::NotNow(_) => {}
        }
        if began.elapsed() + AGAIN >= wanted.timeout {
            say("--timeout is over, and the pod was not evicted. Nothing is left behind.\n")?;
            return Ok(ExitCode::from(TIME_IS_OVER));
        }
        sleep(AGAIN).await;
    }
    say(&format!("{}  pod {} is evicted and stops\n", time(), pod.name))?;
    while !is_gone(kubernetes, &pod).await? {
        if began.elapsed() >= wanted.timeout {
            say("--timeout is over, and the pod has not ended yet.\n")?;
            return Ok(ExitCode::from(TIME_IS_OVER));
        }
        sleep(LOOK).await;
    }
    say(&format!("{}  pod {} is gone; Kubernetes makes the next one\n", time(), pod.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Why the brokers would not let it go now. If none answers, that is why.
async fn brokers_refusal(
    kubernetes: &Kubernetes,
    cluster: &str,
    pod: &PodSeen,
) -> anyhow::Result<Option<String>> {
    let proxy = Proxy::new(kubernetes, cluster);
    let all = pods(kubernetes, cluster).await?;
    let asked = match who_answers(&proxy, &all).await {
        Ok((asked, _)) => asked,
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    // The pod as it is now: a person may have annotated it meanwhile.
    let now = all.iter().map(|(now, _)| now).find(|now| now.uid == pod.uid).unwrap_or(pod);
    Ok(match verdict(&proxy, asked, now).await {
        Ok(verdict) => (!verdict.may_stop).then(|| verdict.why()),
        Err(error) => Some(format!("{error:#}")),
    })
}

/// Asks Kubernetes to evict this very pod.
async fn evict(kubernetes: &Kubernetes, pod: &PodSeen, dry_run: bool) -> anyhow::Result<Evicted> {
    let request = request(&kubernetes.namespace, pod, dry_run)?;
    match kubernetes.client.request::<Status>(request).await {
        Ok(_) => Ok(Evicted::Yes),
        Err(kube::Error::Api(status)) if status.code == TOO_MANY_REQUESTS => {
            Ok(Evicted::NotNow(status.message))
        }
        // It ended by itself meanwhile: there is another one by now, which is not meant.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Evicted::Yes),
        Err(error) => Err(told("evict the pod", error)),
    }
}

fn request(namespace: &str, pod: &PodSeen, dry_run: bool) -> anyhow::Result<Request<Vec<u8>>> {
    let dry = if dry_run { "?dryRun=All" } else { "" };
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    });
    Request::post(format!("/api/v1/namespaces/{namespace}/pods/{}/eviction{dry}", pod.name))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&body).context("write an eviction")?)
        .context("make a request")
}

async fn is_gone(kubernetes: &Kubernetes, pod: &PodSeen) -> anyhow::Result<bool> {
    let pods: Api<Pod> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let now = pods.get_opt(&pod.name).await.map_err(|error| told("read the pod", error))?;
    Ok(now.is_none_or(|now| now.uid().as_deref() != Some(&pod.uid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_of_this_very_pod_and_a_dry_run_says_so() {
        let of = |dry_run| {
            let request = request("shop", &crate::testing::pod(2), dry_run).unwrap();
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            (request.uri().to_string(), body["deleteOptions"]["preconditions"]["uid"].clone())
        };
        let path = "/api/v1/namespaces/shop/pods/demo-broker-2/eviction";
        assert_eq!(of(false), (path.to_owned(), json!("uid-2")));
        assert_eq!(of(true), (format!("{path}?dryRun=All"), json!("uid-2")));
    }
}
