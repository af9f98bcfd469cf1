//! Answers evictions: reads the pod, asks the brokers for a permit, passes their word on. It judges nothing itself.
//!
//! What goes wrong here before the brokers are asked is answered with 500: Kubernetes goes by the webhook's failure policy.

mod review;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chronik_api::BrokerCluster;
use chronik_core::view::PermitBody;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::Value;

use self::review::{Ask, Review};
use crate::broker_client::{Answered, BrokerClient, BrokerError};
use crate::context::AdminAddress;
use crate::error::brief;
use crate::feed::ClusterKey;
use crate::metrics::Metrics;

/// Path of the webhook.
pub const PATH: &str = "/evictions";
/// Time for an answer: Kubernetes waits for 10 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(9);
/// Brokers that are asked for a permit before none is to be had.
const BROKERS_ASKED_MAX: usize = 3;

/// What an answer needs.
pub struct Evictions {
    pub client: Client,
    pub brokers: BrokerClient,
    pub admin_address: AdminAddress,
    /// The namespaces that are looked after; all when empty.
    pub namespaces: Vec<String>,
    pub metrics: Arc<Metrics>,
}

/// Serves them.
pub fn router(evictions: Evictions) -> Router {
    Router::new().route(PATH, post(answer)).with_state(Arc::new(evictions))
}

async fn answer(
    State(evictions): State<Arc<Evictions>>,
    Json(Review { request }): Json<Review>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let verdict = evictions.judge(&request).await.map_err(|error| {
        let why = brief(&error);
        tracing::warn!(namespace = request.namespace, pod = request.name, why, "read what is to be evicted");
        (StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    Ok(Json(review::answer(&request.uid, &verdict)))
}

impl Evictions {
    async fn judge(&self, request: &review::Request) -> Result<Result<(), String>, kube::Error> {
        if !self.namespaces.is_empty() && !self.namespaces.contains(&request.namespace) {
            return Ok(Ok(()));
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &request.namespace);
        let pod = pods.get_opt(&request.name).await?;
        let (key, body) = match review::whom_to_ask(request, pod.as_ref()) {
            Ask::Brokers(key, body) => (key, body),
            Ask::Nobody(why) => {
                tracing::debug!(
                    namespace = request.namespace,
                    pod = request.name,
                    why,
                    "let a pod be evicted"
                );
                return Ok(Ok(()));
            }
        };
        let clusters: Api<BrokerCluster> = Api::namespaced(self.client.clone(), &key.namespace);
        let cluster = clusters.get_opt(&key.name).await?;
        let Some(cluster) = cluster.filter(|cluster| cluster.metadata.deletion_timestamp.is_none()) else {
            tracing::debug!(cluster = %key, pod = request.name, "let a pod be evicted: its BrokerCluster is gone");
            return Ok(Ok(()));
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.ask(&key, cluster.spec.replicas, &body)).await;
        let answer = answer.unwrap_or_else(|_| Err(late()));
        let verdict = review::verdict(&body, &answer);
        self.tell(&key, &body, &answer, &verdict);
        Ok(verdict)
    }

    /// The brokers' word. Those that know most are asked first: one that is cut off knows no leader.
    async fn ask(&self, key: &ClusterKey, replicas: u32, body: &PermitBody) -> Result<Answered, BrokerError> {
        let asked = join_all((1..=replicas).map(|broker| {
            let address = (self.admin_address)(key, broker);
            async move { self.brokers.cluster(&address).await.map(|report| (address, report)) }
        }));
        let (mut known, mut silent) = (Vec::new(), None);
        for told in asked.await {
            match told {
                Ok(told) => known.push(told),
                Err(error) => silent = Some(error),
            }
        }
        if let (true, Some(error)) = (known.is_empty(), silent) {
            return Err(error);
        }
        known.sort_by_key(|(_, report)| {
            let alive = report.brokers.iter().filter(|broker| broker.alive).count();
            std::cmp::Reverse((report.metadata_leader.is_some(), alive))
        });
        let addresses: Vec<String> =
            known.into_iter().map(|(address, _)| address).take(BROKERS_ASKED_MAX).collect();
        let call =
            |client: BrokerClient, broker: String| async move { client.ask_permit(&broker, body).await };
        self.brokers.first_answer(&addresses, call).await
    }

    fn tell(
        &self,
        key: &ClusterKey,
        body: &PermitBody,
        answer: &Result<Answered, BrokerError>,
        verdict: &Result<(), String>,
    ) {
        let PermitBody { broker, pod_uid, dry_run, .. } = body;
        if let Err(why) = verdict {
            tracing::info!(cluster = %key, %broker, pod_uid, dry_run, why, "refuse an eviction");
        }
        if let Ok(Answered::Given(given)) = answer {
            let permit = given.permit.as_ref().map(|permit| permit.id.0);
            tracing::info!(cluster = %key, %broker, pod_uid, dry_run, permit, "let a broker's pod be evicted");
            if !given.blocks.is_empty() {
                let borne = crate::cluster::rollout::blocks_text(&given.blocks, given.blocks.len());
                tracing::warn!(cluster = %key, %broker, pod_uid, dry_run, permit, borne, "a person allows what becomes unavailable");
            }
        }
        if !dry_run {
            self.metrics.eviction(verdict.is_ok());
        }
    }
}

fn late() -> BrokerError {
    let after_ms = ANSWER_WITHIN.as_millis() as u64;
    BrokerError::TimedOut { broker: "the brokers".to_owned(), after_ms }
}
