//! The brokers' admin API, as a client: plain HTTP, each call bounded in time and size. It decides nothing.

mod error;
mod members;
mod permits;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::view::{ClusterReport, TopicReport};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{BrokerError, Refusal};
pub use permits::Answered;
pub use watch::WatchStream;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for an answer about the cluster: short, since it also tells whether the broker lives.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(800);
/// Time for an answer about topics.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a change: it is committed through Raft before it is answered.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer about one thing, and about all topics.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const LIST_BYTES_MAX: usize = 256 << 20;

/// Asks brokers. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct BrokerClient {
    http: Client<HttpConnector, Full<Bytes>>,
}

/// `POST /v1/topics`
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CreateTopic {
    pub name: String,
    pub partitions: u32,
    pub replication_factor: u32,
    pub configs: BTreeMap<String, String>,
}

/// `PATCH /v1/topics/{name}`
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AlterTopic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How many replicas each partition shall have: the brokers move them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// A key with no value goes back to its default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, Option<String>>,
}

impl Default for BrokerClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { http }
    }
}

impl BrokerClient {
    /// The cluster as that broker sees it.
    pub async fn cluster(&self, broker: &str) -> Result<ClusterReport, BrokerError> {
        self.get(broker, "/v1/cluster", PROBE_TIMEOUT, ANSWER_BYTES_MAX).await
    }

    /// Every topic with its partitions.
    pub async fn topics_with_partitions(&self, broker: &str) -> Result<Vec<TopicReport>, BrokerError> {
        self.get(broker, "/v1/topics?partitions=true", READ_TIMEOUT, LIST_BYTES_MAX).await
    }

    /// Every topic with totals only.
    pub async fn topics(&self, broker: &str) -> Result<Vec<TopicReport>, BrokerError> {
        self.get(broker, "/v1/topics", READ_TIMEOUT, LIST_BYTES_MAX).await
    }

    /// One topic; `None` when there is none of that name.
    pub async fn topic(&self, broker: &str, name: &str) -> Result<Option<TopicReport>, BrokerError> {
        match self.get(broker, &topic_path(name), READ_TIMEOUT, ANSWER_BYTES_MAX).await {
            Ok(report) => Ok(Some(report)),
            Err(BrokerError::Refused { refusal, .. }) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a topic; a topic that is already there is answered as it is.
    pub async fn create_topic(&self, broker: &str, topic: &CreateTopic) -> Result<TopicReport, BrokerError> {
        let body = json(topic);
        match self.call(Method::POST, broker, "/v1/topics", body, WRITE_TIMEOUT, ANSWER_BYTES_MAX).await {
            Ok(answer) => parse(broker, &answer),
            Err(BrokerError::Refused { broker: address, refusal })
                if refusal.status == StatusCode::CONFLICT =>
            {
                self.topic(broker, &topic.name)
                    .await?
                    .ok_or(BrokerError::Refused { broker: address, refusal })
            }
            Err(error) => Err(error),
        }
    }

    /// Changes a topic.
    pub async fn alter_topic(
        &self,
        broker: &str,
        name: &str,
        change: &AlterTopic,
    ) -> Result<(), BrokerError> {
        let path = topic_path(name);
        self.call(Method::PATCH, broker, &path, json(change), WRITE_TIMEOUT, ANSWER_BYTES_MAX).await?;
        Ok(())
    }

    /// Deletes a topic; one that is not there counts as deleted.
    pub async fn delete_topic(&self, broker: &str, name: &str) -> Result<(), BrokerError> {
        let path = topic_path(name);
        match self.call(Method::DELETE, broker, &path, Bytes::new(), WRITE_TIMEOUT, ANSWER_BYTES_MAX).await {
            Err(BrokerError::Refused { refusal, .. }) if refusal.status == StatusCode::NOT_FOUND => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Opens the stream of changed topics.
    pub async fn watch(&self, broker: &str) -> Result<WatchStream, BrokerError> {
        let response =
            within(READ_TIMEOUT, broker, self.send(Method::GET, broker, "/v1/watch", Bytes::new())).await?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = within(READ_TIMEOUT, broker, collect(broker, response, ANSWER_BYTES_MAX)).await?;
            return Err(BrokerError::refused(broker, status, &body));
        }
        Ok(WatchStream::new(broker.to_owned(), response.into_body()))
    }

    /// The first useful answer of these brokers, or the last error.
    pub async fn first_answer<T, F>(
        &self,
        brokers: &[String],
        call: impl Fn(Self, String) -> F,
    ) -> Result<T, BrokerError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        let nobody = "none is known that is up".to_owned();
        let mut last = BrokerError::Unreachable { broker: "the brokers".to_owned(), problem: nobody };
        for broker in brokers {
            match call(self.clone(), broker.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        broker: &str,
        path: &str,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<T, BrokerError> {
        parse(broker, &self.call(Method::GET, broker, path, Bytes::new(), limit, bytes_max).await?)
    }

    async fn call(
        &self,
        method: Method,
        broker: &str,
        path: &str,
        body: Bytes,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<Bytes, BrokerError> {
        let (status, body) = self.exchange(method, broker, path, body, limit, bytes_max).await?;
        if status.is_success() { Ok(body) } else { Err(BrokerError::refused(broker, status, &body)) }
    }

    async fn exchange(
        &self,
        method: Method,
        broker: &str,
        path: &str,
        body: Bytes,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), BrokerError> {
        within(limit, broker, async {
            let response = self.send(method, broker, path, body).await?;
            let status = response.status();
            Ok((status, collect(broker, response, bytes_max).await?))
        })
        .await
    }

    async fn send(
        &self,
        method: Method,
        broker: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, BrokerError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{broker}{path}"))
            .header("content-type", "application/json")
            .header("user-agent", concat!("chronik-operator/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| BrokerError::unreachable(broker, &error))?;
        self.http.request(request).await.map_err(|error| BrokerError::unreachable(broker, &error))
    }
}

/// A topic's name needs no escaping: Kafka allows letters, digits, '.', '_' and '-' only.
fn topic_path(name: &str) -> String {
    format!("/v1/topics/{name}")
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("a request is JSON").into()
}

fn parse<T: DeserializeOwned>(broker: &str, body: &[u8]) -> Result<T, BrokerError> {
    serde_json::from_slice(body)
        .map_err(|error| BrokerError::Garbled { broker: broker.to_owned(), problem: error.to_string() })
}

async fn collect(broker: &str, response: Response<Incoming>, bytes_max: usize) -> Result<Bytes, BrokerError> {
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    body.map(|collected| collected.to_bytes())
        .map_err(|error| BrokerError::Garbled { broker: broker.to_owned(), problem: error.to_string() })
}

async fn within<T>(
    limit: Duration,
    broker: &str,
    work: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let late = |_| BrokerError::TimedOut { broker: broker.to_owned(), after_ms: limit.as_millis() as u64 };
    tokio::time::timeout(limit, work).await.map_err(late)?
}
