//! The admin API over a real socket, with a backend that holds a real cluster state and real views.

pub(crate) mod client;

use std::sync::Arc;
use std::time::Duration;

use chronik_core::view::{ClusterReport, PartitionState, TopicReport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::socket::BoundedListener;
use super::test_backend::TestBackend;
use super::*;
use client::{Watcher, request};

/// A server of a cluster of three brokers, its address and what is behind it.
async fn start() -> (AdminServer, String, Arc<TestBackend>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let backend = Arc::new(TestBackend::new());
    (serve(socket, Arc::clone(&backend)).unwrap(), address, backend)
}

fn error(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}"));
    body["error"].clone()
}

#[tokio::test]
async fn topics_are_created_altered_listed_and_deleted() {
    let (_server, at, backend) = start().await;
    let body = json!({"name": "orders", "partitions": 2, "replication_factor": 3, "configs": {"min.insync.replicas": "2"}});
    let (status, answer) = request(&at, "POST", "/v1/topics", &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    let created: TopicReport = serde_json::from_str(&answer).unwrap();
    assert_eq!((created.name.as_str(), created.totals.total, created.replication_factor), ("orders", 2, 3));

    backend.lead("orders", 0, &[1, 2, 3]);
    let (_, answer) = request(&at, "GET", "/v1/topics/orders", "").await;
    let seen: TopicReport = serde_json::from_str(&answer).unwrap();
    assert_eq!(seen.partitions[0].isr.as_ref().unwrap().len(), 3);
    assert_eq!((seen.partitions[1].state, &seen.partitions[1].isr), (PartitionState::Unknown, &None));

    let change = json!({"partitions": 3, "configs": {"min.insync.replicas": null, "max.message.bytes": "9"}});
    let (status, answer) = request(&at, "PATCH", "/v1/topics/orders", &change.to_string()).await;
    let altered: TopicReport = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, altered.totals.total), (200, 3));
    assert_eq!(altered.configs.into_iter().collect::<Vec<_>>(), [("max.message.bytes".into(), "9".into())]);

    let (_, answer) = request(&at, "GET", "/v1/topics", "").await;
    let listed: Vec<TopicReport> = serde_json::from_str(&answer).unwrap();
    assert!(listed[0].partitions.is_empty() && listed[0].totals.total == 3);
    let (_, answer) = request(&at, "GET", "/v1/topics?partitions=true", "").await;
    assert_eq!(serde_json::from_str::<Vec<TopicReport>>(&answer).unwrap()[0].partitions.len(), 3);
    let (_, answer) = request(&at, "GET", "/v1/cluster", "").await;
    assert_eq!(serde_json::from_str::<ClusterReport>(&answer).unwrap().brokers.len(), 3);

    assert_eq!(request(&at, "DELETE", "/v1/topics/orders", "").await.0, 204);
    let (status, answer) = request(&at, "DELETE", "/v1/topics/orders", "").await;
    assert_eq!((status, error(&answer)["code"].as_str()), (404, Some("unknown_topic")));
}

#[tokio::test]
async fn what_is_refused_names_field_value_and_what_is_allowed() {
    let (_server, at, _backend) = start().await;
    let wrong = json!({"name": "t", "partitions": 1, "replication_factor": 4});
    let (status, answer) = request(&at, "POST", "/v1/topics", &wrong.to_string()).await;
    let said = error(&answer);
    assert_eq!((status, said["code"].as_str()), (400, Some("invalid_replication_factor")));
    assert_eq!((said["field"].as_str(), said["value"].as_str()), (Some("replication factor"), Some("4")));
    assert!(said["allowed"].as_str().unwrap().starts_with("1 to 3"), "{said}");

    let right = json!({"name": "t", "partitions": 1, "replication_factor": 1}).to_string();
    assert_eq!(request(&at, "POST", "/v1/topics", &right).await.0, 201);
    let (status, answer) = request(&at, "POST", "/v1/topics", &right).await;
    assert_eq!((status, error(&answer)["code"].as_str()), (409, Some("topic_exists")));
    let (status, answer) = request(&at, "PATCH", "/v1/topics/t", r#"{"configs": {"nope": "1"}}"#).await;
    assert!(status == 400 && error(&answer)["message"].as_str().unwrap().contains("nope"), "{answer}");
}

#[tokio::test]
async fn every_malformed_request_gets_a_json_error() {
    let (_server, at, _backend) = start().await;
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    let cases = [
        ("GET", "/v2/nothing", "", 404, "unknown_path", "/v1/cluster"),
        ("PUT", "/v1/topics", "", 405, "wrong_method", "PUT"),
        ("GET", "/v1/topics/none", "", 404, "unknown_topic", "none"),
        ("GET", "/v1/topics/%ff", "", 400, "invalid_path", "UTF-8"),
        ("GET", "/v1/topics?partitions=perhaps", "", 400, "invalid_query", "partitions"),
        ("POST", "/v1/topics", "", 400, "invalid_body", "EOF"),
        ("POST", "/v1/topics", "{\"name\": 1}", 400, "invalid_body", "a string"),
        ("POST", "/v1/topics", "{\"partitions\": 1}", 400, "invalid_body", "missing field `name`"),
        ("POST", "/v1/topics", "{\"name\": \"t\", \"nope\": 1}", 400, "invalid_body", "unknown field `nope`"),
        ("PATCH", "/v1/topics/t", "{\"partitions\": 99999999999}", 400, "invalid_body", "i32"),
        ("POST", "/v1/topics", &huge, 413, "body_too_large", "1048576 bytes"),
    ];
    for (method, path, body, status, code, words) in cases {
        let (got, answer) = request(&at, method, path, body).await;
        let said = error(&answer);
        assert_eq!((got, said["code"].as_str()), (status, Some(code)), "{method} {path}: {said}");
        assert!(said["message"].as_str().unwrap().contains(words), "{method} {path}: {said}");
    }
}

#[tokio::test]
async fn health_metrics_and_drain() {
    let (_server, at, backend) = start().await;
    assert_eq!(request(&at, "GET", "/livez", "").await, (200, "ok\n".into()));
    assert_eq!(request(&at, "GET", "/readyz", "").await, (503, "not yet\n".into()));
    backend.set_ready();
    assert_eq!(request(&at, "GET", "/readyz", "").await.0, 200);
    assert!(request(&at, "GET", "/metrics", "").await.1.contains("chronik_leaders 0"));
    assert_eq!(request(&at, "POST", "/v1/drain", "").await.0, 204);
    assert_eq!(backend.drains(), 1);
    assert_eq!(request(&at, "GET", "/v1/drain", "").await.0, 405);
}

#[tokio::test]
async fn a_watch_tells_all_then_what_changes() {
    let (_server, at, backend) = start().await;
    backend.add_topic("a", 2);
    backend.lead("a", 0, &[1, 2, 3]);
    backend.lead("a", 1, &[1, 2, 3]);
    let mut watch = Watcher::open(&at).await;
    let first = watch.topic().await;
    assert_eq!((first.name.as_str(), first.partitions.len(), first.totals.in_sync), ("a", 2, 2));

    backend.lead("a", 1, &[1, 2]);
    let changed = watch.topic().await;
    assert_eq!(changed.partitions.len(), 1, "only the partition that changed");
    assert_eq!((changed.partitions[0].partition, changed.totals.in_sync), (1, 1));

    backend.add_topic("b", 1);
    let new = watch.topic().await;
    assert_eq!((new.name.as_str(), new.totals.unknown), ("b", 1), "found without any view");
    backend.set_config("b", "min.insync.replicas", "1");
    assert_eq!(watch.topic().await.configs["min.insync.replicas"], "1");

    backend.advance(Duration::from_secs(6));
    let stale = watch.topic().await;
    assert_eq!(
        (stale.name.as_str(), stale.totals.unknown),
        ("a", 2),
        "views too old to believe are told as unknown"
    );
    assert!(stale.partitions.iter().all(|partition| partition.isr.is_none()));
}

#[tokio::test]
async fn a_quiet_watch_shows_life_and_what_ages_is_no_change() {
    let (server, at, backend) = start().await;
    backend.add_topic("a", 1);
    backend.lead("a", 0, &[1, 2, 3]);
    let mut watch = Watcher::open(&at).await;
    watch.topic().await;
    backend.advance(Duration::from_secs(2));
    let began = std::time::Instant::now();
    assert_eq!(
        watch.line().await.as_deref(),
        Some(""),
        "the next line is a heartbeat, not the same topic again"
    );
    assert!(began.elapsed() > Duration::from_secs(3));
    server.stop().await;
    assert_eq!(watch.line().await, None, "a stop ends the watch");
    assert!(TcpStream::connect(&at).await.is_err());
}

#[tokio::test]
async fn a_cluster_without_topics_answers_a_watch_at_once() {
    let (_server, at, _backend) = start().await;
    let mut watch = Watcher::open(&at).await;
    assert_eq!(watch.line().await.as_deref(), Some(""));
}

#[tokio::test]
async fn watches_are_bounded_and_given_back() {
    let (_server, at, _backend) = start().await;
    let mut watches = Vec::new();
    for _ in 0..MAX_WATCHES {
        watches.push(Watcher::open(&at).await);
    }
    let (status, answer) = request(&at, "GET", "/v1/watch", "").await;
    assert_eq!((status, error(&answer)["code"].as_str()), (429, Some("too_many_watches")));
    drop(watches);
    // A closed watch is noticed when it is written to or read from next.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if Watcher::try_open(&at).await.is_some() {
            return;
        }
    }
    panic!("closed watches still count");
}

#[tokio::test]
async fn garbage_does_no_harm() {
    let (_server, at, _backend) = start().await;
    let garbage: [&[u8]; 4] = [
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 12],
        b"POST /v1/topics HTTP/1.1\r\nhost: x\r\ncontent-length: 2147483648\r\n\r\n{",
        b"GET /v1/cluster HTT",
        b"\r\n\r\n\0\0\0\xff",
    ];
    let mut open = Vec::new();
    for bytes in garbage {
        let mut stream = TcpStream::connect(&at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        open.push(stream);
    }
    assert_eq!(request(&at, "GET", "/livez", "").await.0, 200);
}

#[tokio::test]
async fn connections_are_bounded_and_those_that_stand_still_are_closed() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let listener = BoundedListener::new(socket, 1, Duration::from_millis(300));
    let router = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut held = TcpStream::connect(at).await.unwrap();
    held.write_all(b"GET / HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut refused = TcpStream::connect(at).await.unwrap();
    assert_eq!(refused.read(&mut [0; 9]).await.unwrap_or(0), 0, "the second is closed at once");
    let closed = tokio::time::timeout(Duration::from_secs(3), held.read(&mut [0; 9])).await;
    assert!(closed.is_ok(), "half a request holds its place for ever");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(request(&at.to_string(), "GET", "/", "").await, (200, "hello".into()));
    server.abort();
}

#[tokio::test]
async fn a_broker_leaves_and_is_taken_out() {
    let (_server, at, _backend) = start().await;
    let standing = |word: &str| json!({"standing": word}).to_string();
    for _ in 0..2 {
        let (status, _) = request(&at, "PUT", "/v1/brokers/3/standing", &standing("leaving")).await;
        assert_eq!(status, 204, "also when it is so already");
    }
    let (_, answer) = request(&at, "GET", "/v1/cluster", "").await;
    let told: Value = serde_json::from_str(&answer).unwrap();
    let standings: Vec<&Value> = [0, 2].iter().map(|at| &told["brokers"][at]["standing"]).collect();
    assert_eq!(standings, ["settled", "leaving"]);
    let (status, answer) = request(&at, "PUT", "/v1/brokers/3/standing", &standing("gone")).await;
    assert!(status == 400 && error(&answer)["message"].as_str().unwrap().contains("settled"), "{answer}");
    let (status, answer) = request(&at, "PUT", "/v1/brokers/9/standing", &standing("leaving")).await;
    assert_eq!((status, error(&answer)["code"].as_str()), (404, Some("unknown_broker")));
    assert_eq!(request(&at, "DELETE", "/v1/brokers/3", "").await.0, 204);
    let (status, answer) = request(&at, "DELETE", "/v1/brokers/3", "").await;
    assert_eq!((status, error(&answer)["code"].as_str()), (404, Some("unknown_broker")));
    assert_eq!(request(&at, "DELETE", "/v1/brokers/x", "").await.0, 400);
}

#[tokio::test]
async fn permits_are_asked_for_begun_aborted_and_listed() {
    let (_server, at, _backend) = start().await;
    let asked = json!({"broker": 2, "podUid": "uid-2", "reason": "rollout"}).to_string();
    let (status, answer) = request(&at, "POST", "/v1/permits", &asked).await;
    let granted: Value = serde_json::from_str(&answer).unwrap();
    let permit = json!({"id": 1, "broker": 2, "podUid": "uid-2", "reason": "rollout", "stage": "granted"});
    assert_eq!((status, granted), (200, json!({"permit": permit, "blocks": []})));
    let pod = |uid: &str| json!({"podUid": uid}).to_string();
    let (status, answer) = request(&at, "POST", "/v1/permits/1/begin", &pod("uid-9")).await;
    assert_eq!((status, error(&answer)["code"].as_str()), (409, Some("other_pod")));
    let (status, answer) = request(&at, "POST", "/v1/permits/1/begin", &pod("uid-2")).await;
    let begun: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &begun["permit"]["stage"]), (200, &json!("begun")));
    let (_, answer) = request(&at, "GET", "/v1/permits", "").await;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["open"], json!([begun["permit"]]));
    assert_eq!(request(&at, "POST", "/v1/permits/1/abort", &pod("uid-2")).await.0, 200);
    let (status, answer) = request(&at, "POST", "/v1/permits/1/abort", &pod("uid-2")).await;
    assert_eq!((status, error(&answer)["code"].as_str()), (404, Some("unknown_permit")));
    let (_, answer) = request(&at, "GET", "/v1/permits", "").await;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["open"], json!([]));
}

#[tokio::test]
async fn a_permit_asked_for_in_wrong_words_is_refused_by_name() {
    let (_server, at, _backend) = start().await;
    for (path, body, names) in [
        ("/v1/permits", r#"{"broker": 2, "reason": "rollout"}"#, "podUid"),
        ("/v1/permits", r#"{"broker": 2, "podUid": "u", "reason": "mood"}"#, "scaleDown"),
        ("/v1/permits", r#"{"broker": 2, "podUid": "u", "reason": "asked", "force": true}"#, "force"),
        ("/v1/permits/x/begin", r#"{"podUid": "u"}"#, "x"),
        ("/v1/permits/1/begin", "{}", "podUid"),
    ] {
        let (status, answer) = request(&at, "POST", path, body).await;
        let message = error(&answer)["message"].to_string();
        assert!(status == 400 && message.contains(names), "{path}: {status} {answer}");
    }
}
