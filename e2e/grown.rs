//! A cluster that has grown: one or three founders, and brokers that joined them. Addresses of its own, as in `cluster`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::links::{Fault, Links};
use crate::moves::{self, Move};
use crate::{admin, wait};

/// Kafka's code for a move that is over.
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const SETTLE: Duration = Duration::from_secs(40);
/// Apart from those that `cluster` counts up.
static CLUSTERS: AtomicU8 = AtomicU8::new(101);

/// A cluster whose brokers end with it.
pub struct Grown {
    name: String,
    brokers: Vec<Broker>,
    /// Brokers that are registered.
    known: usize,
    folder: Option<tempfile::TempDir>,
}

impl Grown {
    /// Formats and starts so many brokers, of which the first `founders` found the cluster; returns once they serve.
    pub fn start(name: &str, founders: i32, brokers: i32) -> Self {
        Self::start_with(name, founders, brokers, &[])
    }

    /// The same, but only the first brokers are started; the others may join later. All with more settings, see `start_with`.
    pub fn start_first(name: &str, founders: i32, brokers: i32, started: i32, settings: &[&str]) -> Self {
        Self::plan(name, founders, brokers, settings).begin(started)
    }

    /// The same with more settings for each, as arguments; `{id}` in them stands for its number.
    pub fn start_with(name: &str, founders: i32, brokers: i32, settings: &[&str]) -> Self {
        Self::plan(name, founders, brokers, settings).begin(brokers)
    }

    fn plan(name: &str, founders: i32, brokers: i32, settings: &[&str]) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("chronik-{name}-")).tempdir().expect("a folder");
        let net = [127, 16 + (std::process::id() % 200) as u8, CLUSTERS.fetch_add(1, Ordering::Relaxed)];
        let ip = |id: i32| Ipv4Addr::new(net[0], net[1], net[2], id as u8);
        let voters: Vec<String> =
            (1..=founders).map(|id| format!("{id}@{}", Broker::peer_of(ip(id)))).collect();
        let broker = |id: i32| {
            let home = folder.path().join(id.to_string());
            std::fs::create_dir(&home).expect("a broker's folder");
            let mut broker = Broker::new(id, home, ip(id), voters.join(","));
            broker.settings =
                settings.iter().map(|setting| setting.replace("{id}", &id.to_string())).collect();
            broker
        };
        let mut grown = Self {
            name: name.to_owned(),
            brokers: (1..=brokers).map(broker).collect(),
            known: 0,
            folder: None,
        };
        grown.folder = Some(folder);
        for id in 1..=brokers {
            if id <= founders { grown.broker(id).format() } else { grown.broker(id).format_to_join() }
        }
        grown
    }

    fn begin(mut self, started: i32) -> Self {
        (1..=started).for_each(|id| self.broker_mut(id).start());
        self.known = started as usize;
        self.await_ready();
        self
    }

    /// A broker joins; returns once it serves.
    pub fn join(&mut self, id: i32) {
        self.broker_mut(id).start();
        self.known += 1;
        self.await_ready();
    }

    /// Takes a broker that is gone out of the cluster.
    pub fn unregister(&mut self, id: i32) {
        let address = self.anyone();
        let look = || {
            // Until its death is noticed, the request is refused.
            let (code, words) = moves::unregister(address, id)?;
            wait::holds(code == 0, || format!("error {code}: {words}"))
        };
        wait::until(&format!("{}: broker {id} unregistered", self.name), SETTLE, look);
        self.known -= 1;
    }

    /// The broker of that number.
    pub fn broker(&self, id: i32) -> &Broker {
        &self.brokers[id as usize - 1]
    }

    /// The broker of that number, to start or stop it.
    pub fn broker_mut(&mut self, id: i32) -> &mut Broker {
        &mut self.brokers[id as usize - 1]
    }

    /// Faults for the links between the brokers; none yet.
    pub fn links(&self) -> Links {
        Links::new(self.brokers[0].peer().port())
    }

    /// Cuts in both directions between one broker and all others.
    pub fn cut_off(&self, id: i32) -> Vec<Fault> {
        let (one, lost) = (self.broker(id).ip(), 1.0);
        let others = self.brokers.iter().filter(|other| other.id != id).map(Broker::ip);
        others
            .flat_map(|other| [(one, other), (other, one)])
            .map(|(from, to)| Fault { from, to, lost })
            .collect()
    }

    /// All brokers, as clients' `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(|broker| broker.kafka().to_string()).collect();
        all.join(",")
    }

    /// Numbers of the brokers whose process is there.
    pub fn running(&mut self) -> Vec<i32> {
        self.brokers.iter_mut().filter_map(|broker| broker.runs().then_some(broker.id)).collect()
    }

    /// Waits until every running broker says it is ready, and all are known to each.
    pub fn await_ready(&mut self) -> Duration {
        let (running, all) = (self.running(), self.known);
        let look = || {
            for id in &running {
                let answer = admin::get(self.broker(*id).admin(), "/readyz")?;
                wait::holds(answer.status == 200, || format!("broker {id}: {}", answer.body))?;
                let known = self.cluster(*id)?["brokers"].as_array().map_or(0, Vec::len);
                wait::holds(known == all, || format!("broker {id} knows {known} brokers"))?;
            }
            Ok(())
        };
        wait::until(&format!("{}: ready", self.name), SETTLE, look).1
    }

    /// The admin API's view of the cluster.
    pub fn cluster(&self, id: i32) -> Result<Value, String> {
        admin::get(self.broker(id).admin(), "/v1/cluster")?.json()
    }

    /// The admin API's view of a topic.
    pub fn topic(&self, id: i32, topic: &str) -> Result<Value, String> {
        admin::get(self.broker(id).admin(), &format!("/v1/topics/{topic}"))?.json()
    }

    /// Creates a topic, and has its replicas moved to `brokers` unless they are there.
    pub fn create_topic(&mut self, topic: &str, partitions: usize, brokers: &[i32]) {
        let body = json!({"name": topic, "partitions": partitions, "replication_factor": brokers.len()});
        let answer = admin::post(self.broker(1).admin(), "/v1/topics", &body).expect("create topic");
        assert_eq!(answer.status, 201, "{}", answer.body);
        self.move_all(topic, partitions, brokers);
        self.await_replicas(topic, partitions, brokers, SETTLE);
    }

    /// Asks that every partition's replicas be on these brokers, leaders in turn.
    pub fn move_all(&mut self, topic: &str, partitions: usize, brokers: &[i32]) {
        self.move_some(topic, &(0..partitions as i32).collect::<Vec<_>>(), brokers);
    }

    /// Sets the order of preference of a partition's replicas.
    pub fn prefer(&mut self, topic: &str, partition: usize, brokers: &[i32]) {
        self.alter(topic, &[(partition as i32, Some(brokers.to_vec()))]);
    }

    /// Waits until the preferred replica leads every partition.
    pub fn await_preferred(&mut self, topic: &str, limit: Duration) -> Duration {
        let asked = self.running()[0];
        let look = || {
            let report = self.topic(asked, topic)?;
            let shown = report["partitions"].as_array().ok_or("no partitions")?;
            let odd = shown.iter().find(|p| p["leader"] != p["replicas"][0]);
            wait::holds(odd.is_none(), || format!("{odd:?}"))
        };
        wait::until(&format!("{}: preferred leaders", self.name), limit, look).1
    }

    /// Takes every partition's move back; gives those whose move had ended by itself before that.
    pub fn cancel_all(&mut self, topic: &str, partitions: usize) -> Vec<i32> {
        let wanted: Vec<_> = (0..partitions as i32).map(|partition| (partition, None)).collect();
        let results = moves::alter(self.anyone(), topic, &wanted).expect("an answer");
        assert!(
            results.iter().all(|(code, _)| [0, NO_REASSIGNMENT_IN_PROGRESS].contains(code)),
            "{results:?}"
        );
        let ended = |(code, _): &(i16, String)| *code == NO_REASSIGNMENT_IN_PROGRESS;
        (0..).zip(&results).filter(|(_, result)| ended(result)).map(|(partition, _)| partition).collect()
    }

    /// Moves some partitions to these brokers, each in another order.
    pub fn move_some(&mut self, topic: &str, partitions: &[i32], brokers: &[i32]) {
        let target = |partition: i32| {
            let mut target = brokers.to_vec();
            target.rotate_left(partition as usize % brokers.len());
            (partition, Some(target))
        };
        let wanted: Vec<_> = partitions.iter().map(|partition| target(*partition)).collect();
        if !wanted.is_empty() {
            self.alter(topic, &wanted);
        }
    }

    fn alter(&mut self, topic: &str, wanted: &[(i32, Option<Vec<i32>>)]) {
        let results = moves::alter(self.anyone(), topic, wanted).expect("an answer");
        assert!(results.iter().all(|(code, _)| *code == 0), "{results:?}");
    }

    /// The Kafka address of a broker that runs.
    pub fn anyone(&mut self) -> SocketAddr {
        let first = self.running()[0];
        self.broker(first).kafka()
    }

    /// The moves that are under way.
    pub fn moves(&mut self) -> Vec<Move> {
        moves::list(self.anyone()).expect("an answer")
    }

    /// Waits until every running broker shows every partition on exactly these brokers, all of those that run in sync,
    /// and no move is under way.
    pub fn await_replicas(
        &mut self,
        topic: &str,
        partitions: usize,
        brokers: &[i32],
        limit: Duration,
    ) -> Duration {
        let running = self.running();
        let expected: BTreeSet<i64> = brokers.iter().map(|id| i64::from(*id)).collect();
        let up = |id: &i64| running.contains(&(*id as i32));
        let in_sync: BTreeSet<i64> = expected.iter().copied().filter(up).collect();
        let set = |list: &Value| -> BTreeSet<i64> {
            list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
        };
        let look = || {
            for id in &running {
                let report = self.topic(*id, topic)?;
                let shown = report["partitions"].as_array().ok_or("no partitions")?;
                wait::holds(shown.len() == partitions, || {
                    format!("broker {id}: {} partitions", shown.len())
                })?;
                let odd = shown.iter().find(|p| {
                    set(&p["replicas"]) != expected
                        || set(&p["isr"]) != in_sync
                        || p["leader"].is_null()
                        || p["moving"] == true
                });
                wait::holds(odd.is_none(), || format!("broker {id} shows {odd:?}"))?;
                let moving = moves::list(self.broker(*id).kafka())?;
                wait::holds(moving.is_empty(), || format!("broker {id} shows {moving:?}"))?;
            }
            Ok(())
        };
        let what = format!("{}: {topic} on {brokers:?}, in sync on {in_sync:?}", self.name);
        wait::until(&what, limit, look).1
    }

    /// Who leads a partition, asked from one that runs.
    pub fn leader(&mut self, topic: &str, partition: usize) -> i32 {
        let asked = self.running()[0];
        let look = || {
            let report = self.topic(asked, topic)?;
            let leader = report["partitions"][partition]["leader"].as_i64();
            leader.map(|id| id as i32).ok_or_else(|| report.to_string())
        };
        wait::until("a leader", SETTLE, look).0
    }
}

impl Drop for Grown {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for broker in &self.brokers {
            eprintln!("--- broker {} of {}:\n{}", broker.id, self.name, broker.log_tail(30));
        }
        if let Some(folder) = self.folder.take() {
            eprintln!("kept for a look: {}", folder.keep().display());
        }
    }
}
