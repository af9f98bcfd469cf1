//! The `release-finalizers` subcommand: run before an uninstall, so that no Topic waits for an operator that is gone.

use std::time::Duration;

use anyhow::Context as _;
use chronik_api::Topic;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::cli::ReleaseFinalizers;
use crate::topic::finalizer;

/// How long the operator gets to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Topics are read in pages of this many.
const PAGE: u32 = 500;

/// Stops the operator's Deployment, then takes our finalizer off every Topic.
pub async fn release(options: ReleaseFinalizers) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("connect to Kubernetes")?;
    if let (Some(namespace), Some(name)) = (&options.deployment_namespace, &options.deployment) {
        stop(&client, namespace, name).await?;
    }
    let mut released = 0;
    for topics in scopes(&client, &options.watch_namespaces) {
        released += take_off(&client, topics).await?;
    }
    tracing::info!(released, "finalizers are off");
    Ok(())
}

/// Scales to zero and waits for the last pod: a pod that is still ending could put a finalizer back.
async fn stop(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let Some(deployment) = deployments.get_opt(name).await.context("read the operator's Deployment")? else {
        return Ok(());
    };
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments
        .patch_scale(name, &PatchParams::default(), &patch)
        .await
        .context(format!("scale Deployment {name} to zero"))?;
    tracing::info!(deployment = name, "scaled to zero");
    let labels = deployment.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let of_it = ListParams::default().labels(&selector.join(","));
    let gone = async {
        while !pods.list(&of_it).await?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok::<(), kube::Error>(())
    };
    match tokio::time::timeout(STOP_TIMEOUT, gone).await {
        Ok(stopped) => stopped.context("wait until the operator has stopped"),
        Err(_) => {
            tracing::warn!(deployment = name, "still running; finalizers are taken off all the same");
            Ok(())
        }
    }
}

/// Topics of each of these namespaces, or of all at once.
fn scopes(client: &Client, namespaces: &[String]) -> Vec<Api<Topic>> {
    match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    }
}

async fn take_off(client: &Client, topics: Api<Topic>) -> anyhow::Result<usize> {
    let mut released = 0;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = match topics.list(&page).await {
            Ok(list) => list,
            // The kind itself is not there: nothing can hold anything.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(released),
            Err(error) => return Err(error).context("list Topics"),
        };
        for topic in list.items.into_iter().filter(finalizer::is_on) {
            take_off_one(client, topic).await?;
            released += 1;
        }
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(released),
        }
    }
}

async fn take_off_one(client: &Client, mut topic: Topic) -> anyhow::Result<()> {
    let name = topic.name_any();
    let api: Api<Topic> = Api::namespaced(client.clone(), &topic.namespace().unwrap_or_default());
    for _ in 0..5 {
        match finalizer::set(client, &topic, false).await {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => match api.get_opt(&name).await? {
                Some(newer) => topic = newer,
                None => return Ok(()),
            },
            Err(error) => return Err(error).context(format!("take the finalizer off Topic {name}")),
        }
    }
    anyhow::bail!("take the finalizer off Topic {name}: it changes too fast")
}
