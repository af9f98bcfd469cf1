//! Paths and bodies of the admin API, each handed to the backend. Decides nothing about topics.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::answer::Problem;
use super::{Admin, AdminBackend, ConfigChanges, MAX_LARGE_ANSWERS, TURN, brokers, permits, watch};

/// Longest request body.
const MAX_BODY: usize = 1 << 20;
/// Bytes handed to the connection at once.
const PIECE: usize = 64 << 10;
/// Longest a drain is waited for; it goes on without its asker.
const DRAIN: Duration = Duration::from_secs(60);

/// `POST /v1/topics`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopicBody {
    /// The topic's name.
    pub name: String,
    /// How many partitions; the broker's default if absent.
    #[serde(default)]
    pub partitions: Option<i32>,
    /// Replicas of each; the broker's default if absent.
    #[serde(default)]
    pub replication_factor: Option<i32>,
    /// Configs to set.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

/// `PATCH /v1/topics/{name}`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchTopicBody {
    /// How many partitions afterwards.
    #[serde(default)]
    pub partitions: Option<i32>,
    /// How many replicas each partition shall have: they move in the background.
    #[serde(default)]
    pub replicas: Option<i32>,
    /// Configs to set, and with `null` to return to their defaults.
    #[serde(default)]
    pub configs: ConfigChanges,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    partitions: bool,
}

pub(super) type Shared<B> = State<Arc<Admin<B>>>;
type Named = Result<Path<String>, PathRejection>;
pub(super) type Sent = Result<Bytes, BytesRejection>;

pub(super) fn router<B: AdminBackend>(admin: Arc<Admin<B>>) -> Router {
    Router::new()
        .route("/livez", get(livez::<B>))
        .route("/readyz", get(readyz::<B>))
        .route("/metrics", get(metrics::<B>))
        .route("/v1/cluster", get(cluster::<B>))
        .route("/v1/topics", get(topics::<B>).post(create::<B>))
        .route("/v1/topics/{name}", get(topic::<B>).patch(alter::<B>).delete(delete_topic::<B>))
        .route("/v1/watch", get(watch::watch::<B>))
        .route("/v1/drain", post(drain::<B>))
        .route("/v1/brokers/{id}", delete(brokers::unregister::<B>))
        .route("/v1/brokers/{id}/standing", put(brokers::set_standing::<B>))
        .route("/v1/permits", get(permits::open::<B>).post(permits::ask::<B>))
        .route("/v1/permits/{id}/begin", post(permits::begin::<B>))
        .route("/v1/permits/{id}/abort", post(permits::abort::<B>))
        .route("/v1/recovery", get(recovery::<B>).post(recover::<B>))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(admin)
}

async fn livez<B: AdminBackend>(State(admin): Shared<B>) -> Response {
    if admin.backend.is_live() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the log has stopped\n").into_response()
    }
}

async fn readyz<B: AdminBackend>(State(admin): Shared<B>) -> Response {
    match admin.backend.ready() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics<B: AdminBackend>(State(admin): Shared<B>) -> Result<Response, Problem> {
    large(&admin, "text/plain; version=0.0.4", |backend| backend.metrics().into_bytes()).await
}

/// An answer that may be large: made when it has a place, which it keeps until it is written.
async fn large<B: AdminBackend>(
    admin: &Admin<B>,
    kind: &'static str,
    make: impl FnOnce(&B) -> Vec<u8>,
) -> Result<Response, Problem> {
    let Ok(Ok(place)) = timeout(TURN, Arc::clone(&admin.large).acquire_owned()).await else {
        let message = format!(
            "{MAX_LARGE_ANSWERS} large answers are being written, and none ended in {} s",
            TURN.as_secs()
        );
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_answers", message));
    };
    let bytes = Bytes::from(make(&admin.backend));
    let length = bytes.len();
    let pieces = futures::stream::unfold((bytes, place), |(mut bytes, place)| async move {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (bytes, place)))
    });
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a report always serialises")
}

async fn cluster<B: AdminBackend>(State(admin): Shared<B>) -> Response {
    Json(admin.backend.cluster()).into_response()
}

async fn topics<B: AdminBackend>(
    State(admin): Shared<B>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.to_string()))?;
    large(&admin, "application/json", |backend| json(&backend.topics(query.partitions))).await
}

async fn topic<B: AdminBackend>(State(admin): Shared<B>, name: Named) -> Result<Response, Problem> {
    let name = named(name)?;
    let report = admin.backend.topic(&name).ok_or_else(|| no_topic(&name))?;
    Ok(Json(report).into_response())
}

async fn create<B: AdminBackend>(State(admin): Shared<B>, body: Sent) -> Result<Response, Problem> {
    let body: CreateTopicBody = parse(body)?;
    let name = body.name.clone();
    admin.backend.create(body).await?;
    let report = admin.backend.topic(&name).ok_or_else(|| no_topic(&name))?;
    Ok((StatusCode::CREATED, Json(report)).into_response())
}

async fn alter<B: AdminBackend>(
    State(admin): Shared<B>,
    name: Named,
    body: Sent,
) -> Result<Response, Problem> {
    let name = named(name)?;
    admin.backend.alter(name.clone(), parse(body)?).await?;
    let report = admin.backend.topic(&name).ok_or_else(|| no_topic(&name))?;
    Ok(Json(report).into_response())
}

async fn delete_topic<B: AdminBackend>(State(admin): Shared<B>, name: Named) -> Result<Response, Problem> {
    admin.backend.delete(named(name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn drain<B: AdminBackend>(State(admin): Shared<B>) -> Result<Response, Problem> {
    match tokio::time::timeout(DRAIN, admin.backend.drain()).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(_) => {
            let message = format!("not all leaderships moved away within {} s", DRAIN.as_secs());
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "drain_not_done", message))
        }
    }
}

async fn recovery<B: AdminBackend>(State(admin): Shared<B>) -> Response {
    Json(admin.backend.recovery().await).into_response()
}

async fn recover<B: AdminBackend>(State(admin): Shared<B>, body: Sent) -> Result<Response, Problem> {
    Ok(Json(admin.backend.recover(parse(body)?).await?).into_response())
}

async fn unknown_path(uri: axum::http::Uri) -> Problem {
    let message = format!(
        "no such path: {}; there are /livez, /readyz, /metrics, /v1/cluster, /v1/topics, /v1/topics/NAME, \
         /v1/watch, /v1/drain, /v1/brokers/ID, /v1/brokers/ID/standing, /v1/permits and /v1/recovery",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, "unknown_path", message)
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let message = format!("{method} is not for {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

pub(super) fn parse<T: DeserializeOwned>(body: Sent) -> Result<T, Problem> {
    let body = body.map_err(|rejection| {
        let code = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            "body_too_large"
        } else {
            "invalid_body"
        };
        let message = format!("{}; at most {MAX_BODY} bytes are allowed", rejection.body_text());
        Problem::new(rejection.status(), code, message)
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is not the JSON that is expected: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_body", message)
    })
}

fn named(name: Named) -> Result<String, Problem> {
    name.map(|Path(name)| name)
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text()))
}

fn no_topic(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_topic", format!("there is no topic {name:?}"))
}

/// A body that streams lines.
pub(super) fn lines(
    stream: impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}
