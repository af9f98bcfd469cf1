//! Three brokers on loopback addresses of their own, so that clusters of several tests and runs never meet.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::kafka::{self, Seen};
use crate::links::{Fault, Links};
use crate::volume::Volume;
use crate::{admin, wait};

/// Brokers in every cluster here.
pub const BROKERS: [i32; 3] = [1, 2, 3];
const SETTLE: Duration = Duration::from_secs(40);
static CLUSTERS: AtomicU8 = AtomicU8::new(1);

/// A cluster whose brokers end with it.
pub struct Cluster {
    name: String,
    net: [u8; 3],
    voters: String,
    brokers: Vec<Broker>,
    // After the brokers, which use it.
    volume: Option<(i32, Volume)>,
    folder: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Formats and starts three brokers, and returns once they serve.
    pub fn start(name: &str) -> Self {
        let mut cluster = Self::plan(name);
        cluster.begin();
        cluster
    }

    /// Three brokers that have a folder and are not formatted yet.
    pub fn plan(name: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("chronik-{name}-")).tempdir().expect("a folder");
        // The second octet keeps runs apart, the third the clusters of one run.
        let net = [127, 16 + (std::process::id() % 200) as u8, CLUSTERS.fetch_add(1, Ordering::Relaxed)];
        let ip = |id: i32| Ipv4Addr::new(net[0], net[1], net[2], id as u8);
        let voters: Vec<String> =
            BROKERS.iter().map(|id| format!("{id}@{}", Broker::peer_of(ip(*id)))).collect();
        let voters = voters.join(",");
        let broker = |id: i32| {
            let home = folder.path().join(id.to_string());
            std::fs::create_dir(&home).expect("a broker's folder");
            Broker::new(id, home, ip(id), voters.clone())
        };
        let brokers = BROKERS.map(broker).into();
        Self { name: name.to_owned(), net, voters, brokers, volume: None, folder: Some(folder) }
    }

    /// Gives a broker that is not formatted yet a small disk of its own.
    pub fn put_on_small_disk(&mut self, id: i32, mib: u32) {
        self.volume = Some((id, Volume::mount(&self.broker(id).data, mib)));
    }

    /// The small disk.
    pub fn small_disk(&self) -> &Volume {
        self.volume.as_ref().map(|(_, volume)| volume).expect("a broker on a small disk")
    }

    /// Formats and starts what was planned, and returns once it serves.
    pub fn begin(&mut self) {
        self.brokers.iter().for_each(Broker::format);
        if let Some((id, _)) = self.volume {
            // That its disk is full it must learn from the disk.
            self.broker(id).set_faults(r#"{"write_through": true}"#);
        }
        BROKERS.iter().for_each(|id| self.broker_mut(*id).start());
        self.await_ready();
    }

    /// Starts one broker more, which joins; gives its number.
    pub fn join(&mut self) -> i32 {
        let id = self.brokers.len() as i32 + 1;
        let home = self.folder.as_ref().expect("a folder").path().join(id.to_string());
        std::fs::create_dir(&home).expect("a broker's folder");
        let ip = Ipv4Addr::new(self.net[0], self.net[1], self.net[2], id as u8);
        let mut broker = Broker::new(id, home, ip, self.voters.clone());
        broker.format_to_join();
        broker.start();
        self.brokers.push(broker);
        id
    }

    /// Faults for the links between the brokers; none yet.
    pub fn links(&self) -> Links {
        Links::new(self.brokers[0].peer().port())
    }

    /// A cut in both directions between two brokers.
    pub fn cut(&self, one: i32, other: i32) -> [Fault; 2] {
        [self.fault(one, other, 1.0), self.fault(other, one, 1.0)]
    }

    /// The loss of a share of what one broker sends another.
    pub fn fault(&self, from: i32, to: i32, lost: f64) -> Fault {
        Fault { from: self.broker(from).ip(), to: self.broker(to).ip(), lost }
    }

    /// The broker of that number.
    pub fn broker(&self, id: i32) -> &Broker {
        &self.brokers[id as usize - 1]
    }

    /// The broker of that number, to start or stop it.
    pub fn broker_mut(&mut self, id: i32) -> &mut Broker {
        &mut self.brokers[id as usize - 1]
    }

    /// An address of this cluster's own that no broker uses.
    pub fn spare_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.net[0], self.net[1], self.net[2], 100)
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

    /// Waits until every running broker says it is ready.
    pub fn await_ready(&mut self) -> Duration {
        let running = self.running();
        let look = || {
            for id in &running {
                let answer = admin::get(self.broker(*id).admin(), "/readyz")?;
                wait::holds(answer.status == 200, || format!("broker {id}: {}", answer.body))?;
            }
            Ok(())
        };
        wait::until(&format!("{}: ready", self.name), SETTLE, look).1
    }

    /// Creates a topic with three replicas and min ISR 2, and waits until all brokers show it fully in sync.
    pub fn create_topic(&mut self, topic: &str, partitions: usize) {
        self.create_topic_with(topic, partitions, &[]);
    }

    /// The same with more configs.
    pub fn create_topic_with(&mut self, topic: &str, partitions: usize, configs: &[(&str, &str)]) {
        let mut body = json!({"name": topic, "partitions": partitions, "replication_factor": 3,
            "configs": {"min.insync.replicas": "2"}});
        configs.iter().for_each(|(key, value)| body["configs"][*key] = json!(value));
        let answer = admin::post(self.broker(1).admin(), "/v1/topics", &body).expect("create topic");
        assert_eq!(answer.status, 201, "{}", answer.body);
        self.await_isr(topic, partitions, &BROKERS, SETTLE);
    }

    /// Waits until the Metadata of every running broker shows this ISR, with a leader in it, for all partitions.
    pub fn await_isr(&mut self, topic: &str, partitions: usize, isr: &[i32], limit: Duration) -> Duration {
        let running = self.running();
        self.await_isr_at(&running, topic, partitions, isr, limit)
    }

    /// The same, asking these brokers only.
    pub fn await_isr_at(
        &self,
        asked: &[i32],
        topic: &str,
        partitions: usize,
        isr: &[i32],
        limit: Duration,
    ) -> Duration {
        let look = || {
            for id in asked {
                let seen = self.metadata(*id, topic)?;
                wait::holds(seen.len() == partitions, || {
                    format!("broker {id} shows {} partitions", seen.len())
                })?;
                let odd = seen.iter().find(|p| p.isr != isr || !isr.contains(&p.leader));
                wait::holds(odd.is_none(), || format!("broker {id} shows {odd:?}"))?;
            }
            Ok(())
        };
        wait::until(&format!("{}: ISR {isr:?} of {topic} at {asked:?}", self.name), limit, look).1
    }

    /// Metadata as that broker alone tells it.
    pub fn metadata(&self, id: i32, topic: &str) -> Result<Vec<Seen>, String> {
        kafka::metadata(self.broker(id).kafka(), topic)
    }

    /// The same, once it answers.
    pub fn metadata_from(&self, id: i32, topic: &str) -> Vec<Seen> {
        wait::until(&format!("Metadata of broker {id}"), SETTLE, || self.metadata(id, topic)).0
    }

    /// The admin API's view of a topic.
    pub fn topic(&self, id: i32, topic: &str) -> Result<Value, String> {
        admin::get(self.broker(id).admin(), &format!("/v1/topics/{topic}"))?.json()
    }

    /// The brokers but these.
    pub fn others(gone: &[i32]) -> Vec<i32> {
        BROKERS.into_iter().filter(|id| !gone.contains(id)).collect()
    }

    /// All metrics of a broker.
    pub fn metrics(&self, id: i32) -> String {
        admin::get(self.broker(id).admin(), "/metrics").expect("metrics").body
    }

    /// Who leads a partition, asked from one that runs.
    pub fn leader(&mut self, topic: &str, partition: usize) -> i32 {
        let asked = self.running()[0];
        let look = || {
            let seen = self.metadata(asked, topic)?;
            let leader = seen.get(partition).map_or(-1, |p| p.leader);
            if leader > 0 { Ok(leader) } else { Err(format!("{seen:?}")) }
        };
        wait::until("a leader", SETTLE, look).0
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let panicked = |broker: &&Broker| broker.log_text().contains("panicked at");
            let broken = self.brokers.iter().find(panicked).map(|broker| broker.log_tail(15));
            assert_eq!(broken, None, "a broker panicked");
            return;
        }
        for broker in &self.brokers {
            eprintln!("--- broker {} of {}:\n{}", broker.id, self.name, broker.log_tail(15));
        }
        if let Some(folder) = self.folder.take() {
            eprintln!("kept for a look: {}", folder.keep().display());
        }
    }
}
