//! An admin API on 127.0.0.1 that answers as three brokers do: one set of topics, one address per broker, each of
//! which can be silenced.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chronik_core::ids::{BrokerId, Generation, TopicId};
use chronik_core::metadata::Standing;
use chronik_core::restart::{PermitId, Stage};
use chronik_core::view::{
    BlockReport, BrokerReport, ClusterReport, PartitionReport, PartitionState, PartitionTotals, PermitAnswer,
    PermitBody, PermitProblem, PermitRefused, PermitReport, PermitsReport, PodBody, TopicReport,
};
use futures::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Three brokers.
pub struct Brokers {
    shared: Arc<Mutex<Shared>>,
    changes: broadcast::Sender<Bytes>,
    ports: Vec<u16>,
    lives: Mutex<Vec<CancellationToken>>,
}

struct Shared {
    cluster_id: String,
    topics: BTreeMap<String, TopicReport>,
    /// Every change that was asked for: `POST orders`, `DELETE orders`.
    asked: Vec<String>,
    /// Brokers that see nobody else.
    cut_off: Vec<u32>,
    /// The permit that is open, if one is.
    permit: Option<PermitReport>,
    permits_given: u64,
    /// A partition of this topic stands against every stop.
    blocked_by: Option<String>,
}

#[derive(Clone)]
struct Broker {
    id: u32,
    shared: Arc<Mutex<Shared>>,
    changes: broadcast::Sender<Bytes>,
    stop: CancellationToken,
}

impl Brokers {
    /// Three brokers of a cluster that is still to be named.
    pub async fn start() -> Self {
        let shared = Shared {
            cluster_id: "unset".to_owned(),
            topics: BTreeMap::new(),
            asked: Vec::new(),
            cut_off: Vec::new(),
            permit: None,
            permits_given: 0,
            blocked_by: None,
        };
        let mut brokers = Self {
            shared: Arc::new(Mutex::new(shared)),
            changes: broadcast::channel(1024).0,
            ports: Vec::new(),
            lives: Mutex::default(),
        };
        for _ in 0..3 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            brokers.ports.push(listener.local_addr().unwrap().port());
            brokers.serve(brokers.ports.len() as u32, listener);
        }
        brokers
    }

    /// Their admin listeners.
    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Gives the cluster its id, as the BrokerCluster's status has it.
    pub fn belong_to(&self, cluster_id: &str) {
        self.shared.lock().cluster_id = cluster_id.to_owned();
    }

    /// Kills one, or starts it again.
    pub async fn set_running(&self, broker: u32, running: bool) {
        let index = broker as usize - 1;
        if running {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.ports[index])).await.unwrap();
            self.serve(broker, listener);
        } else {
            self.lives.lock()[index].cancel();
        }
    }

    /// Lets a broker see no other, while it still answers.
    pub fn cut_off(&self, broker: u32) {
        self.shared.lock().cut_off.push(broker);
    }

    /// A partition of this topic stands against every stop, or none does.
    pub fn block(&self, topic: Option<&str>) {
        self.shared.lock().blocked_by = topic.map(str::to_owned);
    }

    /// The permit that is open.
    pub fn permit(&self) -> Option<PermitReport> {
        self.shared.lock().permit.clone()
    }

    /// The broker is back in every ISR: its permit ends.
    pub fn close_permit(&self) {
        self.shared.lock().permit = None;
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().asked)
    }

    /// The topic as it is.
    pub fn topic(&self, name: &str) -> Option<TopicReport> {
        self.shared.lock().topics.get(name).cloned()
    }

    /// Changes a topic behind the operator's back. With `told`, the watch says so.
    pub fn change(&self, name: &str, told: bool, change: impl FnOnce(&mut TopicReport)) {
        let mut shared = self.shared.lock();
        let topic = shared.topics.get_mut(name).expect("the topic is there");
        change(topic);
        recount(topic);
        if told {
            let _ = self.changes.send(line(topic));
        }
    }

    fn serve(&self, id: u32, listener: tokio::net::TcpListener) {
        let stop = CancellationToken::new();
        let broker =
            Broker { id, shared: self.shared.clone(), changes: self.changes.clone(), stop: stop.clone() };
        let router = Router::new()
            .route("/v1/cluster", get(cluster))
            .route("/v1/topics", get(topics).post(create))
            .route("/v1/topics/{name}", get(topic).patch(alter).delete(delete))
            .route("/v1/watch", get(watch))
            .route("/v1/permits", get(permits).post(grant))
            .route("/v1/permits/{id}/begin", post(begin))
            .layer(axum::middleware::from_fn_with_state(broker.clone(), die))
            .with_state(broker);
        let mut lives = self.lives.lock();
        match lives.get_mut(id as usize - 1) {
            Some(life) => *life = stop.clone(),
            None => lives.push(stop.clone()),
        }
        tokio::spawn(stop.run_until_cancelled_owned(async move { axum::serve(listener, router).await }));
    }
}

/// A dead broker's open connections answer nothing useful any more.
async fn die(
    State(broker): State<Broker>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if broker.stop.is_cancelled() {
        std::future::pending::<()>().await;
    }
    next.run(request).await
}

async fn cluster(State(broker): State<Broker>) -> Json<ClusterReport> {
    let shared = broker.shared.lock();
    let alone = shared.cut_off.contains(&broker.id);
    let report = |id: u32| BrokerReport {
        id: BrokerId(id),
        alive: if alone { id == broker.id } else { !shared.cut_off.contains(&id) },
        rack: None,
        listeners: Vec::new(),
        version: "0.1.0".to_owned(),
        leaders: 0,
        replicas: 0,
        standing: Standing::Settled,
        moving: 0,
        blocked: None,
        disk: format!("disk-{id}"),
    };
    let mut partitions = PartitionTotals::default();
    for topic in shared.topics.values() {
        partitions.total += topic.totals.total;
        partitions.in_sync += topic.totals.in_sync;
        partitions.under_replicated += topic.totals.under_replicated;
        partitions.under_min_isr += topic.totals.under_min_isr;
    }
    Json(ClusterReport {
        cluster_id: shared.cluster_id.parse().unwrap(),
        broker: BrokerId(broker.id),
        metadata_leader: (!alone).then_some(BrokerId(2)),
        metadata_voters: Vec::new(),
        metadata_index: 7,
        brokers: (1..=3).map(report).collect(),
        partitions,
        generation: Generation::BIRTH,
        recoveries: Vec::new(),
    })
}

async fn topics(
    State(broker): State<Broker>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Vec<TopicReport>> {
    let with = query.get("partitions").is_some_and(|value| value == "true");
    let strip = |mut topic: TopicReport| {
        if !with {
            topic.partitions.clear();
        }
        topic
    };
    Json(broker.shared.lock().topics.values().cloned().map(strip).collect())
}

async fn topic(State(broker): State<Broker>, Path(name): Path<String>) -> Response {
    match broker.shared.lock().topics.get(&name) {
        Some(topic) => Json(topic).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            json!({"code": "unknown_topic", "message": "there is no such topic"}),
        ),
    }
}

async fn create(State(broker): State<Broker>, Json(body): Json<Value>) -> Response {
    let mut shared = broker.shared.lock();
    let name = body["name"].as_str().unwrap().to_owned();
    shared.asked.push(format!("POST {name}"));
    if shared.topics.contains_key(&name) {
        return refuse(StatusCode::CONFLICT, json!({"code": "topic_exists", "message": "it exists"}));
    }
    let replicas = body["replication_factor"].as_u64().unwrap() as u32;
    if replicas > 3 {
        let error = json!({
            "code": "invalid_replication_factor", "field": "replication_factor", "value": replicas.to_string(),
            "allowed": "1 to 3, the number of brokers", "message": "the replication factor is above the brokers",
        });
        return refuse(StatusCode::BAD_REQUEST, error);
    }
    let configs = serde_json::from_value(body["configs"].clone()).unwrap();
    let partitions = body["partitions"].as_i64().unwrap() as i32;
    let mut topic = TopicReport {
        name: name.clone(),
        id: TopicId(uuid::Uuid::new_v4()),
        replication_factor: replicas,
        resize: None,
        configs,
        totals: PartitionTotals::default(),
        partitions: (0..partitions).map(|number| partition(number, replicas)).collect(),
    };
    recount(&mut topic);
    let _ = broker.changes.send(line(&topic));
    shared.topics.insert(name, topic.clone());
    (StatusCode::CREATED, Json(topic)).into_response()
}

async fn alter(State(broker): State<Broker>, Path(name): Path<String>, Json(body): Json<Value>) -> Response {
    let mut shared = broker.shared.lock();
    shared.asked.push(format!("PATCH {name} {body}"));
    let Some(topic) = shared.topics.get_mut(&name) else { return StatusCode::NOT_FOUND.into_response() };
    if let Some(partitions) = body["partitions"].as_i64() {
        let present = topic.partitions.len() as i32;
        let replicas = topic.replication_factor;
        topic.partitions.extend((present..partitions as i32).map(|number| partition(number, replicas)));
    }
    if let Some(replicas) = body["replicas"].as_u64() {
        topic.replication_factor = replicas as u32;
        let moved = (0..topic.partitions.len() as i32).map(|number| partition(number, replicas as u32));
        topic.partitions = moved.collect();
    }
    for (key, value) in body["configs"].as_object().into_iter().flatten() {
        match value.as_str() {
            Some(value) => topic.configs.insert(key.clone(), value.to_owned()),
            None => topic.configs.remove(key),
        };
    }
    recount(topic);
    let _ = broker.changes.send(line(topic));
    Json(topic.clone()).into_response()
}

async fn delete(State(broker): State<Broker>, Path(name): Path<String>) -> StatusCode {
    let mut shared = broker.shared.lock();
    shared.asked.push(format!("DELETE {name}"));
    match shared.topics.remove(&name) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

async fn watch(State(broker): State<Broker>) -> Response {
    let changes = broker.changes.subscribe();
    let first: Vec<Bytes> =
        broker.shared.lock().topics.values().map(line).chain([Bytes::from("\n")]).collect();
    let later = stream::unfold((changes, broker.stop), |(mut changes, stop)| async move {
        let line = stop.run_until_cancelled(changes.recv()).await?.ok()?;
        Some((Ok::<_, std::io::Error>(line), (changes, stop)))
    });
    use futures::StreamExt;
    Body::from_stream(stream::iter(first.into_iter().map(Ok)).chain(later)).into_response()
}

async fn permits(State(broker): State<Broker>) -> Json<PermitsReport> {
    let open = broker.shared.lock().permit.iter().cloned().collect();
    Json(PermitsReport { version: 1, open })
}

async fn grant(State(broker): State<Broker>, Json(body): Json<PermitBody>) -> Response {
    let mut shared = broker.shared.lock();
    if let Some(topic) = shared.blocked_by.clone().filter(|_| !body.allow_unavailable) {
        let block =
            BlockReport { topic: Some(topic), partition: Some(0), why: "too few are left".to_owned() };
        return refuse_permit("blocked", vec![block]);
    }
    if shared.permit.is_some() {
        return refuse_permit("permit_refused", Vec::new());
    }
    if body.dry_run {
        return Json(PermitAnswer { permit: None, blocks: Vec::new() }).into_response();
    }
    shared.permits_given += 1;
    shared.asked.push(format!("PERMIT {} {:?} {}", body.broker, body.reason, body.pod_uid));
    let permit = PermitReport {
        id: PermitId(shared.permits_given),
        broker: body.broker,
        pod_uid: body.pod_uid,
        reason: body.reason,
        stage: Stage::Granted,
    };
    shared.permit = Some(permit.clone());
    Json(PermitAnswer { permit: Some(permit), blocks: Vec::new() }).into_response()
}

async fn begin(State(broker): State<Broker>, Path(id): Path<u64>, Json(body): Json<PodBody>) -> Response {
    let mut shared = broker.shared.lock();
    let Some(permit) = shared.permit.as_mut().filter(|permit| permit.id == PermitId(id)) else {
        return refuse_permit("unknown_permit", Vec::new());
    };
    assert_eq!(permit.pod_uid, body.pod_uid);
    permit.stage = Stage::Begun;
    Json(PermitAnswer { permit: Some(permit.clone()), blocks: Vec::new() }).into_response()
}

fn refuse_permit(code: &str, blocks: Vec<BlockReport>) -> Response {
    let named: Vec<String> = blocks
        .iter()
        .map(|block| format!("{}/{}", block.topic.as_deref().unwrap(), block.partition.unwrap()))
        .collect();
    let error = PermitProblem { code: code.to_owned(), message: format!("no, because of {named:?}") };
    let refused = PermitRefused { error, blocked: blocks.len() as u32, blocks };
    (StatusCode::CONFLICT, Json(refused)).into_response()
}

fn refuse(status: StatusCode, error: Value) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn line(topic: &TopicReport) -> Bytes {
    let mut text = serde_json::to_vec(topic).unwrap();
    text.push(b'\n');
    text.into()
}

fn partition(number: i32, replicas: u32) -> PartitionReport {
    let replicas: Vec<BrokerId> = (1..=replicas).map(BrokerId).collect();
    PartitionReport {
        partition: number,
        state: PartitionState::Leader,
        leader: Some(BrokerId(1)),
        epoch: 1,
        isr: Some(replicas.clone()),
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
        moving: false,
        isr_age_ms: Some(3),
        effective_min_isr: 2,
        provisional: false,
        version: 1,
        quarantined: None,
        high_watermark: None,
        followers: Vec::new(),
    }
}

fn recount(topic: &mut TopicReport) {
    let isr = |partition: &PartitionReport| partition.isr.as_ref().map_or(0, Vec::len);
    let count = |holds: &dyn Fn(&PartitionReport) -> bool| {
        topic.partitions.iter().filter(|partition| holds(partition)).count() as u32
    };
    topic.totals = PartitionTotals {
        total: topic.partitions.len() as u32,
        in_sync: count(&|p| isr(p) == p.replicas.len()),
        under_replicated: count(&|p| isr(p) < p.replicas.len()),
        at_min_isr: count(&|p| isr(p) == p.effective_min_isr as usize),
        under_min_isr: count(&|p| isr(p) < p.effective_min_isr as usize),
        offline: 0,
        unknown: 0,
    };
}
