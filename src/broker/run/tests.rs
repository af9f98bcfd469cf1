//! A whole broker in this process, alone in its cluster: spoken to through its ports, stopped in good order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::admin::tests::client::request;
use crate::handlers::tests::name;
use crate::server::tests::client::{Client, PATIENCE, batch};
use crate::settings::{self, Command as Asked};

static ADDRESSES: AtomicU8 = AtomicU8::new(1);

/// A broker's folder, and an address of its own.
struct Home {
    dir: TempDir,
    ip: String,
}

/// It runs until it is stopped.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    admin: String,
    kafka: SocketAddr,
}

impl Home {
    /// Of a broker that is alone.
    fn new() -> Self {
        let home = Self::empty();
        home.format("1", &[("1", &home)], &[]);
        home
    }

    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            ip: format!("127.250.{}.{}", std::process::id() % 250, ADDRESSES.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn format(&self, broker: &str, voters: &[(&str, &Self)], more: &[&str]) {
        let voters: Vec<_> = voters.iter().map(|(id, home)| format!("{id}@{}:9093", home.ip)).collect();
        let (voters, data) = (voters.join(","), self.dir.path().join("data"));
        let args = ["format", "--cluster-id", "test", "--broker-id", broker, "--initial-voters", &voters];
        let Asked::Format(args) = self.parse(&[&args, more].concat()) else { panic!("format was asked") };
        let disk = log::open_disk(&data);
        DataFolder::format(&*disk, &data, args.cluster, args.broker, args.birth.into()).unwrap();
    }

    fn parse(&self, args: &[&str]) -> Asked {
        let data = self.dir.path().join("data");
        let args = ["chronik-broker"].iter().chain(args).map(OsString::from);
        settings::parse(args.chain(["--data-dir".into(), data.into()]), &|_| None).unwrap()
    }

    fn settings(&self) -> Settings {
        let at = |port: u16| format!("{}:{port}", self.ip);
        let (kafka, peer, admin) = (format!("PLAINTEXT={}", at(9092)), at(9093), at(9095));
        let addresses = ["--listener", &kafka, "--peer-listener", &peer, "--admin-listener", &admin];
        let pace = ["--raft-tick-ms", "10", "--raft-heartbeat-ms", "10", "--raft-election-ms", "50"];
        let args = [&["run"][..], &addresses, &pace, &["--default-replication-factor", "1"]].concat();
        let Asked::Run(settings) = self.parse(&args) else { panic!("run was asked") };
        *settings
    }

    async fn start(&self) -> Running {
        let running = self.launch();
        running.ready().await;
        running
    }

    /// Starts it and does not wait.
    fn launch(&self) -> Running {
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
            Ok("the test's end")
        };
        let task = tokio::spawn(run_until(self.settings(), stopped));
        let (admin, kafka) = (format!("{}:9095", self.ip), format!("{}:9092", self.ip).parse().unwrap());
        Running { stop, task, admin, kafka }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.dir.path().join("data/journal/00000000000000000001.log")
    }
}

impl Running {
    async fn ready(&self) {
        let began = std::time::Instant::now();
        while tokio::net::TcpStream::connect(&self.admin).await.is_err()
            || request(&self.admin, "GET", "/readyz", "").await.0 != 200
        {
            assert!(began.elapsed() < PATIENCE && !self.task.is_finished(), "the broker does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a peer has spoken to it, which it does after the handshake.
    async fn connected(&self) {
        let (began, heard) =
            (std::time::Instant::now(), r#"chronik_peer_bytes_total{direction="received",lane="control"}"#);
        while tokio::net::TcpStream::connect(&self.admin).await.is_err()
            || self.metrics().await.get(heard).copied().unwrap_or(0.0) < 1.0
        {
            assert!(began.elapsed() < PATIENCE && !self.task.is_finished(), "no peer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// Every sample on `/metrics` but histograms' buckets, by name and labels.
    async fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, text) = request(&self.admin, "GET", "/metrics", "").await;
        assert_eq!(status, 200);
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
        samples
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, n)| (name.into(), n.parse().unwrap()))
            .collect()
    }
}

async fn use_it(client: &mut Client) {
    let topic =
        CreatableTopic::default().with_name(name("t")).with_num_partitions(2).with_replication_factor(1);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let created: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, 5, &create).await;
    assert_eq!(created.topics[0].error_code, 0);
    let data = PartitionProduceData::default().with_records(Some(batch(3, 100)));
    let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
    let produce =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    loop {
        let answer: ProduceResponse = client.ask(ApiKey::Produce, 9, &produce).await;
        match answer.responses[0].partition_responses[0].error_code {
            0 => break,
            // A partition that was created a moment ago has no leader yet.
            6 | 7 | 20 => tokio::time::sleep(Duration::from_millis(10)).await,
            other => panic!("error {other}"),
        }
    }
    for (topic, code) in [("t", 0), ("nothing", 3)] {
        let partition = FetchPartition::default().with_fetch_offset(0).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
        let fetch = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
        let answer: FetchResponse = client.ask(ApiKey::Fetch, 11, &fetch).await;
        assert_eq!(answer.responses[0].partitions[0].error_code, code);
    }
}

/// What one broker alone, without faults, leaves at 0. Whatever else shows 0 after use is fed by nobody.
const STAYS_AT_0: &[&str] = &[
    "chronik_caretaker_partitions",
    "chronik_connections_refused_total",
    "chronik_follower_lag_entries_max",
    "chronik_follower_lag_ms_max",
    "chronik_isr_expands_total",
    "chronik_isr_shrinks_total",
    "chronik_leadership_transfers_total",
    "chronik_leadership_transfers_ms_total",
    "chronik_leadership_transfer_longest_ms",
    "chronik_learner_bytes_sent_total",
    "chronik_log_disk_full",
    "chronik_log_write_failures_total",
    "chronik_offline_partitions",
    "chronik_peer_bytes_total",
    "chronik_peers_up",
    "chronik_permits_open",
    "chronik_permits_total",
    "chronik_quarantined_replicas",
    "chronik_queue_bytes",
    "chronik_queue_refusals_total",
    "chronik_answer_memory_waits_total",
    "chronik_raft_messages_sent_total",
    "chronik_request_memory_waits_total",
    "chronik_under_min_isr_partitions",
    "chronik_under_replicated_partitions",
    "chronik_unknown_partitions",
    // What was just used does not rest yet.
    "chronik_quiet_replicas",
    // Of the moment, and over when it is looked at.
    "chronik_answer_memory_bytes",
    "chronik_request_memory_bytes",
    "chronik_requests_in_flight",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_a_running_broker_move() {
    let home = Home::new();
    let broker = home.start().await;
    let before = broker.metrics().await;
    let mut client = Client::connect(broker.kafka).await;
    use_it(&mut client).await;
    // A broker that stood still, as on a busy machine, gives up what it leads and takes it again.
    let led = async {
        loop {
            let metrics = broker.metrics().await;
            if metrics["chronik_metadata_leader"] == 1.0 {
                return metrics;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let after = tokio::time::timeout(Duration::from_secs(20), led).await.expect("it leads the metadata");

    let grew =
        |sample: &str| after.get(sample).copied().unwrap_or(0.0) - before.get(sample).copied().unwrap_or(0.0);
    assert_eq!(grew("chronik_produced_records_total"), 3.0);
    assert_eq!(grew("chronik_produced_batches_total"), 1.0);
    assert!(grew("chronik_produced_bytes_total") > 300.0);
    // A batch that was appended and not confirmed in time was sent again.
    let copies = grew("chronik_fetched_bytes_total") / grew("chronik_produced_bytes_total");
    assert!(copies >= 1.0 && copies.fract() == 0.0, "{copies}");
    assert_eq!(grew(r#"chronik_request_errors_total{api="Fetch",code="3"}"#), 1.0);
    assert_eq!(grew(r#"chronik_request_duration_seconds_count{api="Fetch"}"#), 2.0);
    assert_eq!(grew(r#"chronik_request_duration_seconds_count{api="CreateTopics"}"#), 1.0);
    assert!(grew(r#"chronik_request_bytes_total{api="Produce"}"#) > 300.0);
    assert!(grew(r#"chronik_response_bytes_total{api="Fetch"}"#) > 300.0);
    assert_eq!(after[r#"chronik_connections{listener="PLAINTEXT"}"#], 1.0);
    assert!(grew("chronik_leader_changes_total") >= 2.0);
    assert!(
        grew("chronik_log_sync_duration_seconds_count") > 1.0
            && grew("chronik_metadata_applied_index") >= 1.0
    );

    let family = |sample: &str| sample.split('{').next().unwrap().to_owned();
    let mut moved: BTreeMap<String, bool> = BTreeMap::new();
    for (sample, value) in &after {
        *moved.entry(family(sample)).or_default() |= *value != 0.0;
    }
    let still: Vec<_> =
        moved.iter().filter(|(name, moved)| !**moved && !STAYS_AT_0.contains(&name.as_str())).collect();
    assert!(still.is_empty(), "nobody feeds {still:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_patch_changes_nothing() {
    let home = Home::new();
    let broker = home.start().await;
    let body = json!({"name": "t", "partitions": 2, "configs": {"max.message.bytes": "1000"}});
    let (status, answer) = request(&broker.admin, "POST", "/v1/topics", &body.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    let both_wrong = [
        json!({"partitions": 4, "configs": {"no.such.key": "1"}}),
        json!({"partitions": 4, "configs": {"max.message.bytes": "-1"}}),
        json!({"partitions": 1, "configs": {"max.message.bytes": "2000"}}),
    ];
    for change in both_wrong {
        let (status, answer) = request(&broker.admin, "PATCH", "/v1/topics/t", &change.to_string()).await;
        assert_eq!(status, 400, "{change}: {answer}");
        let (_, answer) = request(&broker.admin, "GET", "/v1/topics/t", "").await;
        let topic: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(topic["partitions"].as_array().unwrap().len(), 2, "{change}");
        assert_eq!(topic["configs"], json!({"max.message.bytes": "1000"}), "{change}");
    }
    let right = json!({"partitions": 3, "configs": {"max.message.bytes": "2000"}}).to_string();
    assert_eq!(request(&broker.admin, "PATCH", "/v1/topics/t", &right).await.0, 200);
    assert_eq!(request(&broker.admin, "PATCH", "/v1/topics/t", "{}").await.0, 200);
    assert_eq!(request(&broker.admin, "PATCH", "/v1/topics/other", "{}").await.0, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_alone_may_not_stop_and_each_topic_says_what_it_bears() {
    let home = Home::new();
    let broker = home.start().await;
    for (topic, policy) in [("bears", "allow-unavailable"), ("never", "forbid"), ("usual", "margin:0")] {
        let body = json!({"name": topic, "partitions": 1, "configs": {"restart.policy": policy}});
        assert_eq!(request(&broker.admin, "POST", "/v1/topics", &body.to_string()).await.0, 201);
    }
    let asked = json!({"broker": 1, "podUid": "uid", "reason": "asked"}).to_string();
    let (mut status, mut answer) = request(&broker.admin, "POST", "/v1/permits", &asked).await;
    let began = std::time::Instant::now();
    // A partition that was created a moment ago has no leader yet, and a broker that stood still for a moment leads nothing.
    while (status == 503 || answer.contains("did not confirm")) && began.elapsed() < PATIENCE {
        (status, answer) = request(&broker.admin, "POST", "/v1/permits", &asked).await;
    }
    let told: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &told["error"]["code"]), (409, &json!("blocked")), "{answer}");
    let whys: BTreeMap<String, String> = told["blocks"].as_array().unwrap().iter().map(why).collect();
    assert_eq!(whys.keys().collect::<Vec<_>>(), ["metadata", "never", "usual"], "{answer}");
    assert_eq!(whys["never"], "its topic's restart.policy is forbid");
    assert_eq!(whys["usual"], "of its ISR [] would be left, 1 are needed (min ISR 1, margin 0)");
    assert_eq!(whys["metadata"], "of its voters [] would be left: no majority of [1]");
    // A person may bear it all: there is no other broker whom it would cost anything.
    let borne = json!({"broker": 1, "podUid": "uid", "reason": "asked", "allowUnavailable": true});
    let (status, answer) = request(&broker.admin, "POST", "/v1/permits", &borne.to_string()).await;
    let told: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &told["permit"]["stage"]), (200, &json!("granted")), "{answer}");
    let whys: BTreeMap<String, String> = told["blocks"].as_array().unwrap().iter().map(why).collect();
    assert_eq!(whys.keys().collect::<Vec<_>>(), ["metadata", "never", "usual"], "{answer}");
    let wrong = json!({"configs": {"restart.policy": "margin:99"}}).to_string();
    let (status, answer) = request(&broker.admin, "PATCH", "/v1/topics/usual", &wrong).await;
    assert!(status == 400 && answer.contains("margin:N"), "{answer}");
    broker.stop().await;
}

fn why(block: &Value) -> (String, String) {
    let text = |field: &str| block[field].as_str().map(str::to_owned);
    (text("topic").unwrap_or("metadata".to_owned()), text("why").unwrap())
}

/// Clients fail what is under way to brokers that an answer does not list, and a restarted broker is asked at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_answers_only_once_it_knows_again_what_it_knew() {
    let home = Home::new();
    let running = home.start().await;
    use_it(&mut Client::connect(running.kafka).await).await;
    let kafka = running.kafka;
    running.stop().await;
    for _ in 0..20 {
        let running = home.launch();
        while tokio::net::TcpStream::connect(kafka).await.is_err() {
            tokio::task::yield_now().await;
        }
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name("t")));
        let ask = MetadataRequest::default().with_topics(Some(vec![topic]));
        let answer: MetadataResponse = Client::connect(kafka).await.ask(ApiKey::Metadata, 9, &ask).await;
        let listed: Vec<i32> = answer.brokers.iter().map(|broker| broker.node_id.0).collect();
        assert_eq!((listed, answer.topics[0].error_code), (vec![1], 0));
        running.stop().await;
    }
}

/// A broker hears in the handshake whether the cluster exists, and one that came before the founders formed it asks again.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_before_the_cluster_exists_joins_once_it_does() {
    let [first, second, third, joiner] = std::array::from_fn(|_| Home::empty());
    let founders = [("1", &first), ("2", &second), ("3", &third)];
    first.format("1", &founders, &[]);
    second.format("2", &founders, &[]);
    third.format("3", &founders, &[]);
    joiner.format("4", &founders[..1], &["--join"]);
    let (early, founder) = (joiner.launch(), first.launch());
    early.connected().await;
    let others = [second.launch(), third.launch()];
    early.ready().await;
    let [second, third] = others;
    for running in [early, third, second, founder] {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_metadata_ends_the_start_with_file_and_offset() {
    let home = Home::new();
    let broker = home.start().await;
    use_it(&mut Client::connect(broker.kafka).await).await;
    broker.stop().await;

    let whole = fs::read(home.journal()).unwrap();
    let at =
        whole.windows(11).position(|bytes| bytes == b"\"PLAINTEXT\"").expect("the broker's registration");
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    let cases = [("a flipped bit", &flipped[..]), ("a cut", &whole[..at]), ("nothing left", &whole[..128])];
    for (case, bytes) in cases {
        fs::write(home.journal(), bytes).unwrap();
        let ended = tokio::time::timeout(PATIENCE, run_until(home.settings(), std::future::pending())).await;
        let error = format!("{:#}", ended.expect(case).unwrap_err());
        let place = format!("{} at byte ", home.journal().display());
        assert!(
            error.contains("metadata on this disk is damaged") && error.contains(&place),
            "{case}: {error}"
        );
    }
    fs::write(home.journal(), &whole).unwrap();
    home.start().await.stop().await;
}
