//! A namespace of the box with a cluster called demo in it: what kubectl says of it, and what its brokers say.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chronik_e2e::kafka::{self, Seen};
use chronik_e2e::program::Program;
use chronik_e2e::wait;
use serde_json::Value;

use crate::release;

/// Brokers of a cluster of three.
pub const BROKERS: [i32; 3] = [1, 2, 3];
/// Longest a cluster or topic may take to become what was asked for.
pub const SETTLE: Duration = Duration::from_secs(90);
const KAFKA_PORT: u16 = 9092;
const ADMIN_PORT: u16 = 9095;

/// The namespace.
pub struct World {
    pub namespace: String,
}

/// `kubectl` with these arguments, speaking to the box.
pub fn kubectl(args: &[&str]) -> Program {
    Program::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/box/bin/kubectl")).args(args)
}

/// An object or list of the Kubernetes API by its path.
pub fn get(path: &str) -> Result<Value, String> {
    let text = kubectl(&["get", "--raw", path]).run().ok()?;
    serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))
}

/// A field by its JSON pointer.
pub fn field<'a>(object: &'a Value, pointer: &str) -> Result<&'a Value, String> {
    object.pointer(pointer).ok_or_else(|| format!("no {pointer} in {object}"))
}

impl World {
    /// An empty namespace of that name, whatever was in it before, and the operator as the chart's defaults have it.
    pub fn new(name: &str) -> Self {
        let world = Self { namespace: format!("scenario-{name}") };
        release::install_with_defaults();
        world.delete();
        kubectl(&["create", "namespace", &world.namespace]).run().expect("create a namespace");
        release::restrict(&world.namespace);
        world
    }

    /// The same with a cluster of so many brokers, ready.
    pub fn with_brokers(name: &str, brokers: usize) -> Self {
        let world = Self::new(name);
        world.apply(&cluster_yaml(brokers)).expect("create the BrokerCluster");
        world.await_condition("brokerclusters/demo", "Ready", "True", SETTLE);
        world
    }

    /// Deletes the namespace and waits for its end.
    pub fn delete(&self) -> Duration {
        let began = Instant::now();
        kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--timeout=120s"])
            .within(Duration::from_secs(130))
            .run()
            .expect("delete the namespace");
        began.elapsed()
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, args: &[&str]) -> Program {
        kubectl(args).args(["--namespace", &self.namespace])
    }

    /// `kubectl apply`; what it printed, or the error a user sees.
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        let done = self.kubectl(&["apply", "--filename", "-"]).input(yaml).run();
        if done.success { Ok(done.stdout) } else { Err(done.stderr) }
    }

    /// A topic with three replicas and min ISR 2, ready and in sync.
    pub fn create_topic(&self, name: &str, partitions: usize) -> Duration {
        let began = Instant::now();
        self.apply(&topic_yaml(name, partitions)).expect("create the Topic");
        let object = format!("topics/{name}");
        self.await_condition(&object, "Ready", "True", SETTLE);
        self.await_condition(&object, "InSync", "True", SETTLE);
        began.elapsed()
    }

    /// A resource of Chronik, such as `topics/orders`.
    pub fn resource(&self, object: &str) -> Result<Value, String> {
        get(&format!("/apis/chronik.dev/v1alpha1/namespaces/{}/{object}", self.namespace))
    }

    /// A condition as `status reason: message`; empty while it is not there.
    pub fn condition(&self, object: &str, type_: &str) -> Result<String, String> {
        let resource = self.resource(object)?;
        let all = resource.pointer("/status/conditions").and_then(Value::as_array);
        let found = all.and_then(|all| all.iter().find(|condition| condition["type"] == type_));
        let text = |condition: &Value, name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        Ok(found.map_or_else(String::new, |c| {
            format!("{} {}: {}", text(c, "status"), text(c, "reason"), text(c, "message"))
        }))
    }

    /// Waits until a condition begins like this; gives all of it.
    pub fn await_condition(&self, object: &str, type_: &str, start: &str, limit: Duration) -> String {
        let look = || {
            let now = self.condition(object, type_)?;
            if now.starts_with(start) { Ok(now) } else { Err(format!("it is {now:?}")) }
        };
        wait::until(&format!("{object}: {type_} is {start}"), limit, look).0
    }

    /// Waits until the Topic's status shows this ISR for each partition, in this state, with a leader in it.
    pub fn await_status(
        &self,
        topic: &str,
        partitions: usize,
        state: &str,
        isr: &[i32],
        limit: Duration,
    ) -> Value {
        let look = || {
            let resource = self.resource(&format!("topics/{topic}"))?;
            let shown = field(&resource, "/status/partitions")?.as_array().cloned().unwrap_or_default();
            wait::holds(shown.len() == partitions, || format!("{} partitions are listed", shown.len()))?;
            let is_so = |p: &Value| {
                let leader = p["leader"].as_i64().unwrap_or(-1) as i32;
                p["state"] == state && numbers(&p["isr"]) == isr && isr.contains(&leader)
            };
            let odd = shown.iter().find(|partition| !is_so(partition));
            if let Some(odd) = odd { Err(odd.to_string()) } else { Ok(resource) }
        };
        wait::until(&format!("status of {topic}: {state} with ISR {isr:?}"), limit, look).0
    }

    /// Each partition as the Topic's status has it.
    pub fn status(&self, topic: &str) -> Result<Vec<Seen>, String> {
        let resource = self.resource(&format!("topics/{topic}"))?;
        let partition = |p: &Value| Seen {
            partition: p["partition"].as_i64().unwrap_or(-1) as i32,
            leader: p["leader"].as_i64().unwrap_or(-1) as i32,
            isr: numbers(&p["isr"]),
        };
        Ok(field(&resource, "/status/partitions")?.as_array().into_iter().flatten().map(partition).collect())
    }

    /// The row of a resource in `kubectl get`, by column.
    pub fn row(&self, kind: &str, name: &str) -> Vec<(String, String)> {
        let text = self.kubectl(&["get", kind, name]).run().expect("kubectl get");
        let mut lines = text.lines();
        let words = |line: Option<&str>| -> Vec<String> {
            line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        let (columns, values) = (words(lines.next()), words(lines.next()));
        assert_eq!(columns.len(), values.len(), "an empty column in\n{text}");
        columns.into_iter().zip(values).collect()
    }

    /// Whether an event about that object, with this reason, says all of these.
    pub fn await_event(&self, object: &str, reason: &str, parts: &[&str]) -> String {
        let look = || {
            let events = get(&format!("/api/v1/namespaces/{}/events", self.namespace))?;
            let of_it = |event: &&Value| {
                event["involvedObject"]["name"] == object
                    && event["reason"] == reason
                    && parts.iter().all(|part| event["message"].as_str().is_some_and(|m| m.contains(part)))
            };
            let all = events["items"].as_array().cloned().unwrap_or_default();
            let found = all.iter().find(of_it).map(|event| event["message"].to_string());
            found.ok_or_else(|| {
                let seen = all
                    .iter()
                    .map(|e| format!("{}: {} {}", e["involvedObject"]["name"], e["reason"], e["message"]));
                seen.collect::<Vec<_>>().join("; ")
            })
        };
        wait::until(&format!("an event {reason} about {object}"), Duration::from_secs(15), look).0
    }

    /// Pods of the brokers.
    pub fn pods(&self) -> Result<Vec<Value>, String> {
        pods_in(&self.namespace)
    }

    /// The node a broker runs on.
    pub fn node_of(&self, broker: i32) -> String {
        self.try_node_of(broker).expect("the broker's pod has a node")
    }

    /// The same, or why it is not known: no answer, no pod, or one that has no node yet.
    pub fn try_node_of(&self, broker: i32) -> Result<String, String> {
        let pod = get(&format!("/api/v1/namespaces/{}/pods/demo-broker-{broker}", self.namespace))?;
        let node = pod["spec"]["nodeName"].as_str().map(str::to_owned);
        node.ok_or_else(|| format!("broker {broker} has no node"))
    }

    /// Host name of a broker.
    pub fn host(&self, broker: i32) -> String {
        format!("demo-broker-{broker}.demo-brokers.{}.svc.cluster.local", self.namespace)
    }

    /// What Kafka clients are told to connect to first.
    pub fn bootstrap(&self) -> String {
        format!("demo-bootstrap.{}.svc.cluster.local:{KAFKA_PORT}", self.namespace)
    }

    /// One broker for Kafka clients.
    pub fn bootstrap_of(&self, broker: i32) -> String {
        format!("{}:{KAFKA_PORT}", self.host(broker))
    }

    /// A broker's admin listener.
    pub fn admin(&self, broker: i32) -> Result<SocketAddr, String> {
        self.resolve(broker, ADMIN_PORT)
    }

    fn resolve(&self, broker: i32, port: u16) -> Result<SocketAddr, String> {
        let host = self.host(broker);
        let mut found =
            (host.as_str(), port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        found.next().ok_or_else(|| format!("{host} has no address"))
    }

    /// Metadata as that broker alone tells it.
    pub fn metadata(&self, broker: i32, topic: &str) -> Result<Vec<Seen>, String> {
        kafka::metadata(self.resolve(broker, KAFKA_PORT)?, topic)
    }

    /// Waits until the Metadata of each of these brokers shows this ISR for all partitions, with a leader in it.
    pub fn await_isr(&self, asked: &[i32], topic: &str, partitions: usize, isr: &[i32], limit: Duration) {
        let look = || {
            for broker in asked {
                let seen = self.metadata(*broker, topic)?;
                wait::holds(seen.len() == partitions, || format!("broker {broker} shows {}", seen.len()))?;
                let odd = seen.iter().find(|p| p.isr != isr || !isr.contains(&p.leader));
                wait::holds(odd.is_none(), || format!("broker {broker} shows {odd:?}"))?;
            }
            Ok(())
        };
        wait::until(&format!("Metadata of {asked:?}: ISR {isr:?} of {topic}"), limit, look);
    }

    fn explain(&self) {
        let show = |what: &str, args: &[&str]| eprintln!("--- {what}\n{}", self.kubectl(args).run());
        show("nodes", &["get", "nodes"]);
        show("pods", &["get", "pods", "--output", "wide"]);
        show("resources", &["get", "brokerclusters,topics", "--output", "yaml"]);
        show("events", &["get", "events", "--sort-by", ".lastTimestamp"]);
        show(
            "brokers' logs",
            &[
                "logs",
                "--selector",
                "app.kubernetes.io/component=broker",
                "--prefix",
                "--tail",
                "25",
                "--all-containers",
            ],
        );
        eprintln!("--- operators' logs\n{}", release::log_tail());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        // The next scenario has a namespace of its own: it need not wait for the end of this one.
        let _ =
            kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"]).run();
    }
}

/// Pods of the brokers of a namespace.
pub fn pods_in(namespace: &str) -> Result<Vec<Value>, String> {
    let selector = "labelSelector=app.kubernetes.io%2Fcomponent%3Dbroker";
    let list = get(&format!("/api/v1/namespaces/{namespace}/pods?{selector}"))?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Numbers of a JSON array, ascending.
pub fn numbers(list: &Value) -> Vec<i32> {
    let mut all: Vec<i32> =
        list.as_array().into_iter().flatten().filter_map(|n| n.as_i64().map(|n| n as i32)).collect();
    all.sort_unstable();
    all
}

/// A cluster called demo.
pub fn cluster_yaml(brokers: usize) -> String {
    format!(
        "apiVersion: chronik.dev/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: demo}}\n\
         spec: {{replicas: {brokers}, storage: {{size: 1Gi}}}}\n"
    )
}

/// A topic of it with three replicas and min ISR 2.
pub fn topic_yaml(name: &str, partitions: usize) -> String {
    topic_with(name, &format!("partitions: {partitions}, replicas: 3, minInsyncReplicas: 2"))
}

/// A topic of it with these further fields.
pub fn topic_with(name: &str, fields: &str) -> String {
    format!(
        "apiVersion: chronik.dev/v1alpha1\nkind: Topic\nmetadata: {{name: {name}}}\n\
         spec: {{clusterRef: {{name: demo}}, {fields}}}\n"
    )
}
