//! The brokers' admin API, reached through the API server's proxy to their pods: no port-forward, and the caller's own rights.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chronik_api::names::{self, ADMIN_PORT};
use chronik_core::ids::BrokerId;
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::access::Kubernetes;

/// How long one broker is waited for when any would do.
pub(crate) const PROBE: Duration = Duration::from_secs(3);
/// How long all topics with their partitions may take.
pub(crate) const READ: Duration = Duration::from_secs(20);
/// How long a judgement may take: leaders of all partitions are asked.
const JUDGE: Duration = Duration::from_secs(15);

/// The way to the brokers of one cluster.
#[derive(Clone)]
pub(crate) struct Proxy {
    client: Client,
    namespace: String,
    pub cluster: String,
}

/// What the brokers said to a stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    /// It is granted, or would be.
    Granted(PermitAnswer),
    /// It is not, and this is why.
    Refused(PermitRefused),
}

impl Proxy {
    /// To the brokers of that cluster.
    pub fn new(kubernetes: &Kubernetes, cluster: &str) -> Self {
        let Kubernetes { client, namespace } = kubernetes.clone();
        Self { client, namespace, cluster: cluster.to_owned() }
    }

    /// What a broker answers to a GET.
    pub async fn get<T: DeserializeOwned>(
        &self,
        broker: BrokerId,
        path: &str,
        limit: Duration,
    ) -> anyhow::Result<T> {
        let (status, body) = self.exchange(Method::GET, broker, path, Vec::new(), limit).await?;
        if !status.is_success() {
            bail!("broker {broker}: {}", refusal(status, &body));
        }
        serde_json::from_slice(&body).with_context(|| format!("read the answer of broker {broker}"))
    }

    /// Has the brokers judge a stop; with [`PermitBody::dry_run`] nothing else.
    pub async fn judge(&self, asked: BrokerId, body: &PermitBody) -> anyhow::Result<Judged> {
        let sent = serde_json::to_vec(body).context("write the question")?;
        let (status, body) = self.exchange(Method::POST, asked, "/v1/permits", sent, JUDGE).await?;
        if status.is_success() {
            let granted = serde_json::from_slice(&body);
            return granted
                .map(Judged::Granted)
                .with_context(|| format!("read the answer of broker {asked}"));
        }
        // A refusal by judgement is an answer; the API server's own refusal has another shape.
        serde_json::from_slice(&body)
            .map(Judged::Refused)
            .map_err(|_| anyhow!("broker {asked}: {}", refusal(status, &body)))
    }

    async fn exchange(
        &self,
        method: Method,
        broker: BrokerId,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let pod = names::pod(&self.cluster, broker.0);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{}/pods/{pod}:{ADMIN_PORT}/proxy{path}", self.namespace))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .context("make a request")?;
        let exchange = async {
            let answer = self.client.send(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes().to_vec();
            Ok::<_, kube::Error>((status, body))
        };
        let answered = timeout(limit, exchange).await;
        let answered =
            answered.map_err(|_| anyhow!("broker {broker}: no answer within {} s", limit.as_secs()))?;
        answered.with_context(|| format!("broker {broker}"))
    }
}

/// What an answer that is none says, be it a broker's or the API server's.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let kubernetes = serde_json::from_slice::<Status>(body).ok().map(|status| status.message);
    let broker = || serde_json::from_slice::<PermitRefused>(body).ok().map(|refused| refused.error.message);
    let said = kubernetes.filter(|said| !said.is_empty()).or_else(broker);
    let said =
        said.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned());
    if status == StatusCode::FORBIDDEN {
        return format!("{said} (this command needs the verbs get and create on pods/proxy)");
    }
    if said.is_empty() { format!("answered {status}") } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_whoever_refused() {
        let forbidden = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods is forbidden","code":403}"#;
        let told = refusal(StatusCode::FORBIDDEN, forbidden);
        assert_eq!(told, "pods is forbidden (this command needs the verbs get and create on pods/proxy)");
        let broker = br#"{"error":{"code":"unknown_path","message":"no such path: /v2"}}"#;
        assert_eq!(refusal(StatusCode::NOT_FOUND, broker), "no such path: /v2");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"oops\n"), "oops");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b""), "answered 502 Bad Gateway");
    }
}
