//! Many topics, and a broker that is lost: how soon each status tells, how many are written a second, what the operator takes.
//!
//! CHRONIK_TOPICS (60) topics with three partitions each are real, CHRONIK_RESOURCES (140) more resources name a cluster that is not
//! there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chronik_e2e::kafka;
use chronik_e2e::wait;
use rdkafka::admin::{NewTopic, TopicReplication};
use serde_json::Value;

use crate::box_nodes::{self, Outage};
use crate::rolling::patch;
use crate::world::{World, get, kubectl, topic_with};
use crate::{figure, number, release};

/// Topics of which broker 4 has a replica.
const FEW: usize = 20;
/// Resources of one `kubectl create`, which itself sends at most 50 a second.
const PIECE: usize = 250;
const SENDERS: usize = 4;
const CREATED: Duration = Duration::from_secs(900);
const ALL_TOLD: Duration = Duration::from_secs(400);
/// From an ISR's change to its status, and the most that are written in a second.
const TOLD: Duration = Duration::from_secs(3);
const WRITES_A_SECOND: f64 = 20.0;
/// So many seconds' worth of writes may come at once.
const BURST: f64 = 1.0;
const MEMORY_MIB: u64 = 200;

/// Scenario 25 and must show 4.
#[test]
#[ignore = "needs the box: make scenarios"]
fn thousands_of_topics_and_a_lost_broker_cost_few_writes_and_little_memory() {
    let (topics, resources) = (number("CHRONIK_TOPICS", 60), number("CHRONIK_RESOURCES", 140));
    let world = World::with_brokers("many", 3);
    release::install_on(&world.node_of(1));
    // Before there is any: kubectl says nothing of each that it lists.
    let told = Told::follow(&world);
    let began = Instant::now();
    let named = |name: &str, count| (0..count).map(|n| format!("{name}-{n}")).collect::<Vec<_>>();
    create(&world, &named("many", topics), "partitions: 3, replicas: 3");
    create(&world, &named("lost", resources), "partitions: 1");
    wait::until("every one of many is told of", CREATED, || {
        told.all(topics, |told| told.starts_with("True"))
    });
    one_more_broker_for_few(&world);
    wait::until("every topic is told of", CREATED, || {
        told.all(topics + FEW, |told| told.starts_with("True"))
    });
    let made = began.elapsed();

    let single = one_broker_of_few(&world, &told);
    let (written, took) = a_broker_of_all(&world, &told, topics);
    let memory = memory_mib();
    figure(&format!(
        "{topics} topics of three partitions and {resources} resources without a cluster: all told {made:?} after the first \
         was created; {FEW} statuses after a broker of theirs was lost: p99 {:?}; a broker of all lost: \
         {written} status writes, all told after {took:?}; the operator took {memory} MiB at most",
        single[single.len() * 99 / 100]
    ));
    assert!(single[single.len() * 99 / 100] <= TOLD, "{single:?}");
    assert!(memory <= MEMORY_MIB, "{memory} MiB");
}

/// Broker 4 stands still: from the first Metadata that shows it, the time until each status says so, ascending.
fn one_broker_of_few(world: &World, told: &Told) -> Vec<Duration> {
    let node = world.node_of(4);
    let container = container(&world.namespace, "demo-broker-4");
    box_nodes::freeze(&node, &container);
    let seen = || {
        let shown = world.metadata(1, "few-0")?;
        wait::holds(shown.iter().all(|partition| !partition.isr.contains(&4)), || format!("{shown:?}"))
    };
    wait::until("Metadata shows that broker 4 is out of sync", TOLD * 5, seen);
    let began = Instant::now();
    let few = || told.which("few-", |told| told.ends_with(" 0/1"));
    wait::until("every status shows it", TOLD * 10, || {
        let count = few().len();
        wait::holds(count == FEW, || format!("{count} of {FEW}"))
    });
    let mut took: Vec<Duration> = few().into_iter().map(|at| at.saturating_duration_since(began)).collect();
    took.sort();
    box_nodes::thaw(&node, &container);
    wait::until("all is told to be in sync", ALL_TOLD, || {
        let count = told.which("few-", |told| told.ends_with(" 1/1")).len();
        wait::holds(count == FEW, || format!("{count} of {FEW}"))
    });
    took
}

/// The node of broker 3 is cut off: status writes until all say so, and how long that takes.
fn a_broker_of_all(world: &World, told: &Told, topics: usize) -> (f64, Duration) {
    let before = status_writes();
    let began = Instant::now();
    let outage = Outage::cut(&world.node_of(3));
    let affected = || told.which("many-", |told| !told.ends_with(" 3/3")).len();
    wait::until("every status shows it", ALL_TOLD, || {
        let count = affected();
        wait::holds(count == topics, || format!("{count} of {topics}"))
    });
    let took = began.elapsed();
    let written = status_writes() - before;
    let most = WRITES_A_SECOND * (began.elapsed().as_secs_f64() + BURST);
    assert!(written <= most, "{written} status writes in {:?}", began.elapsed());
    outage.end().join().expect("the node is Ready");
    (written, took)
}

/// Broker 4 gets nothing of what there is, and topics of its own.
fn one_more_broker_for_few(world: &World) {
    patch(world, r#"{"spec": {"rebalance": "Off", "replicas": 4}}"#);
    world.await_condition("brokerclusters/demo", "Ready", "True AllBrokersReady: all 4 brokers", CREATED);
    adopt_few(world);
}

/// Topics with one partition on brokers 1, 2 and 4, which Kafka's API makes and resources take on.
fn adopt_few(world: &World) {
    for number in 0..FEW {
        let name = format!("few-{number}");
        let topic = NewTopic::new(&name, 1, TopicReplication::Variable(&[&[1, 2, 4]]));
        kafka::create_topic(&world.bootstrap(), &topic).expect("create a topic");
    }
    let names: Vec<String> = (0..FEW).map(|number| format!("few-{number}")).collect();
    create(world, &names, "partitions: 1, replicas: 3");
}

/// Creates resources, some at a time from several senders.
fn create(world: &World, names: &[String], fields: &str) {
    let pieces: Vec<String> = names
        .chunks(PIECE)
        .map(|names| {
            let yaml = |name: &String| {
                let yaml = topic_with(name, fields);
                if name.starts_with("lost") { yaml.replace("{name: demo}", "{name: nowhere}") } else { yaml }
            };
            names.iter().map(yaml).collect::<Vec<_>>().join("---\n")
        })
        .collect();
    let next = Mutex::new(pieces.iter());
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                loop {
                    let piece = next.lock().expect("the pieces").next();
                    let Some(piece) = piece else { break };
                    let create = world.kubectl(&["create", "--filename", "-"]).input(piece.as_str());
                    create.within(Duration::from_secs(120)).run().expect("create Topics");
                }
            });
        }
    });
}

/// What `kubectl get topics --watch` shows of each Topic, and since when.
struct Told {
    seen: Arc<Mutex<BTreeMap<String, (String, Instant)>>>,
    kubectl: Child,
}

impl Told {
    fn follow(world: &World) -> Self {
        let line = "jsonpath={.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status} {.status.totals.summary}{\"\\n\"}";
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/box/bin/kubectl");
        let mut kubectl = Command::new(program)
            .args(["get", "topics", "--watch", "--output", line, "--namespace", &world.namespace])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl get --watch");
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (lines, noted) = (BufReader::new(kubectl.stdout.take().expect("its output")), Arc::clone(&seen));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let (name, told) = line.split_once(' ').unwrap_or((&line, ""));
                let mut seen = noted.lock().expect("what was seen");
                let entry = seen.entry(name.to_owned()).or_insert_with(|| (String::new(), Instant::now()));
                if entry.0 != told {
                    *entry = (told.to_owned(), Instant::now());
                }
            }
        });
        Self { seen, kubectl }
    }

    /// Whether so many Topics say this.
    fn all(&self, count: usize, says: impl Fn(&str) -> bool) -> Result<(), String> {
        let found = self.which("", says).len();
        wait::holds(found == count, || format!("{found} of {count}"))
    }

    /// Since when each of those Topics says this that does.
    fn which(&self, prefix: &str, says: impl Fn(&str) -> bool) -> Vec<Instant> {
        let seen = self.seen.lock().expect("what was seen");
        let found = seen.iter().filter(|(name, (told, _))| name.starts_with(prefix) && says(told));
        found.map(|(_, (_, since))| *since).collect()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn operator_path() -> String {
    let pod = release::leader().expect("an operator acts");
    format!("/api/v1/namespaces/{}/pods/{pod}", release::NAMESPACE)
}

fn status_writes() -> f64 {
    let metrics = kubectl(&["get", "--raw", &format!("{}:8080/proxy/metrics", operator_path())])
        .run()
        .expect("metrics");
    let written = metrics.lines().filter(|line| line.starts_with("chronik_operator_status_writes_total"));
    written.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The most memory that the operator ever held.
fn memory_mib() -> u64 {
    let pod = get(&operator_path()).expect("the operator's pod");
    let node = pod["spec"]["nodeName"].as_str().expect("a node").to_owned();
    box_nodes::peak_kib(&node, &id_of(&pod)) / 1024
}

fn container(namespace: &str, pod: &str) -> String {
    id_of(&get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}")).expect("a pod"))
}

fn id_of(pod: &Value) -> String {
    pod["status"]["containerStatuses"][0]["containerID"].as_str().expect("a container").to_owned()
}
