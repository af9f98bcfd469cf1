//! What operators hand over: the admin API's HTTP, and the settings file.

use chronik_broker::{admin, settings};

pub(super) fn connection(input: &[u8]) {
    admin::fuzzing::connection(input);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: b\r\n\r\n");
    let with = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nhost: b\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let created =
        r#"{"name":"logs","partitions":2,"replication_factor":3,"configs":{"min.insync.replicas":"2"}}"#;
    let altered = r#"{"partitions":4,"configs":{"max.message.bytes":"2000","min.insync.replicas":null}}"#;
    let recovered = r#"{"by":"ada@host","partitions":[{"group":16,"survivor":100000}]}"#;
    let requests = [
        get("/livez"),
        get("/readyz"),
        get("/metrics"),
        get("/v1/cluster"),
        get("/v1/topics"),
        get("/v1/topics?partitions=true"),
        get("/v1/topics/orders"),
        get("/v1/watch"),
        with("POST", "/v1/topics", created),
        with("PATCH", "/v1/topics/orders", altered),
        with("DELETE", "/v1/topics/orders", ""),
        with("POST", "/v1/drain", ""),
        get("/v1/recovery"),
        with("POST", "/v1/recovery", recovered),
        with("PUT", "/v1/%6frders", "{}"),
    ];
    let mut seeds: Vec<Vec<u8>> = requests.into_iter().map(String::into_bytes).collect();
    seeds.push(seeds.concat());
    seeds
}

pub(super) fn settings(input: &[u8]) {
    settings::fuzzing::file(input);
}

pub(super) fn settings_seeds() -> Vec<Vec<u8>> {
    let all = r#"
data_dir = "/var/lib/chronik"
rack = "a"
listener = ["PLAINTEXT=0.0.0.0:9092", "OTHER=[::1]:9094"]
advertised_listener = "PLAINTEXT=broker-1:9092"
peer_listener = "127.0.0.1:9093"
admin_listener = "127.0.0.1:9095"
min_insync_replicas = 2
max_message_bytes = 1048588
max_request_bytes = 104857600
max_request_memory_bytes = 268435456
max_requests_per_connection = 32
raft_tick_ms = 100
raft_heartbeat_ms = 100
raft_election_ms = 1000
peer_silence_ms = 3000
log_level = "info,chronik_broker::peer=debug"
log_format = "json"
metrics_per_partition = false
"#;
    vec![all.as_bytes().to_vec(), b"data_dir = \"d\"\n".to_vec()]
}
