//! Looks at brokers' Metadata and admin views again and again, keeps what changed, and holds all brokers to one truth:
//! whatever they say of an ISR under the same epoch and version must be the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::admin;
use crate::cluster::Cluster;
use crate::wire::{self, Shown};

const PATIENCE: Duration = Duration::from_secs(2);

/// What a broker's Metadata showed of a partition, from a moment on.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was first seen.
    pub at: Instant,
    /// What was seen.
    pub shown: Shown,
}

/// All that one broker's Metadata showed.
#[derive(Default)]
pub struct Account {
    /// The broker.
    pub broker: i32,
    /// Answers.
    pub looks: usize,
    /// Questions without an answer, and why.
    pub unanswered: Vec<String>,
    /// By partition, in order.
    pub changes: BTreeMap<i32, Vec<Change>>,
}

impl Account {
    /// The ISRs that were shown of a partition since `from`, without repetition; what is not known is left out.
    pub fn isrs(&self, partition: i32, from: Instant) -> Vec<Vec<i32>> {
        let changes = self.changes.get(&partition).map_or(&[][..], Vec::as_slice);
        // The state at `from` is the last change before it.
        let first = changes.partition_point(|change| change.at <= from).saturating_sub(1);
        let mut isrs: Vec<Vec<i32>> =
            changes[first..].iter().map(|c| c.shown.isr.clone()).filter(|isr| !isr.is_empty()).collect();
        isrs.dedup();
        isrs
    }

    /// The longest time since `from` in which no leader of a partition was shown.
    pub fn longest_unknown(&self, partition: i32, from: Instant) -> Duration {
        let changes = self.changes.get(&partition).map_or(&[][..], Vec::as_slice);
        let gaps = changes.windows(2).filter(|pair| pair[0].at >= from && pair[0].shown.leader < 0);
        gaps.map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
    }
}

type Truth = Mutex<BTreeMap<(i64, i64, i64), (i32, Value)>>;

/// The watch over some brokers.
pub struct Watch {
    stop: Arc<AtomicBool>,
    contradictions: Arc<Mutex<Vec<String>>>,
    watchers: Vec<JoinHandle<Account>>,
}

impl Watch {
    /// Begins to look at these brokers.
    pub fn start(cluster: &Cluster, brokers: &[i32], topic: &str, every: Duration) -> Self {
        let (stop, truth) = (Arc::new(AtomicBool::new(false)), Arc::new(Truth::default()));
        let contradictions = Arc::new(Mutex::new(Vec::new()));
        let watcher = |id: &i32| {
            let broker = cluster.broker(*id);
            let look =
                Look { id: *id, kafka: broker.kafka(), admin: broker.admin(), topic: topic.to_owned() };
            let (stop, truth) = (Arc::clone(&stop), Arc::clone(&truth));
            let contradictions = Arc::clone(&contradictions);
            std::thread::spawn(move || look.until(&stop, every, &truth, &contradictions))
        };
        Self { watchers: brokers.iter().map(watcher).collect(), stop, contradictions }
    }

    /// Ends it: gives what each broker showed. Panics if two brokers contradicted each other.
    pub fn finish(mut self) -> Vec<Account> {
        self.stop.store(true, Ordering::Relaxed);
        let accounts = self.watchers.drain(..).map(|watcher| watcher.join().expect("a watcher")).collect();
        let contradictions = self.contradictions.lock().expect("the contradictions");
        assert_eq!(*contradictions, Vec::<String>::new(), "two truths for one version");
        accounts
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Look {
    id: i32,
    kafka: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    topic: String,
}

impl Look {
    fn until(
        &self,
        stop: &AtomicBool,
        every: Duration,
        truth: &Truth,
        contradictions: &Mutex<Vec<String>>,
    ) -> Account {
        let mut account = Account { broker: self.id, ..Account::default() };
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            match wire::metadata(self.kafka, &self.topic, PATIENCE) {
                Ok(shown) => {
                    account.looks += 1;
                    shown.into_iter().for_each(|shown| account.note(shown));
                }
                Err(why) => account.unanswered.push(why),
            }
            if let Err(found) = self.compare(truth) {
                contradictions.lock().expect("the contradictions").push(found);
            }
            std::thread::sleep(every.saturating_sub(began.elapsed()));
        }
        account
    }

    /// Compares what the admin view says of each leader's ISR with what any broker said before.
    fn compare(&self, truth: &Truth) -> Result<(), String> {
        // A broker that does not answer contradicts nobody.
        let Ok(report) = admin::get(self.admin, &format!("/v1/topics/{}", self.topic)).and_then(|a| a.json())
        else {
            return Ok(());
        };
        for p in report["partitions"].as_array().into_iter().flatten().filter(|p| p["state"] == "leader") {
            let number = |field: &str| p[field].as_i64().unwrap_or(-1);
            let version = (number("partition"), number("epoch"), number("version"));
            let said = serde_json::json!([p["leader"], p["isr"]]);
            let mut truth = truth.lock().expect("the truth");
            let (first, known) = truth.entry(version).or_insert_with(|| (self.id, said.clone()));
            if *known != said {
                return Err(format!(
                    "{version:?}: broker {first} said {known}, broker {} says {said}",
                    self.id
                ));
            }
        }
        Ok(())
    }
}

impl Account {
    fn note(&mut self, shown: Shown) {
        let changes = self.changes.entry(shown.partition).or_default();
        if changes.last().is_none_or(|last| last.shown != shown) {
            changes.push(Change { at: Instant::now(), shown });
        }
    }
}
