//! Looks at the pods and at every broker's Metadata again and again while a scenario goes on: how few pods were ready, which
//! lives they had and in which order, how small an ISR became.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chronik_e2e::wire;
use serde_json::Value;

use crate::rolling::is_ready;
use crate::world::World;

const PODS_EVERY: Duration = Duration::from_millis(250);
const ISRS_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen of the pods.
#[derive(Default, Debug)]
pub struct Pods {
    /// The fewest that were ready.
    pub fewest_ready: Option<usize>,
    /// Lives in the order in which they were first seen. Those that were there at first come first.
    pub lives: Vec<Life>,
}

/// One life of a pod: a UID of its name.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// When it was first seen.
    pub seen: Instant,
    /// When it was first seen to be ready.
    pub ready: Option<Instant>,
    /// When it was first seen to be deleted.
    pub deleted: Option<Instant>,
}

/// What was seen of the ISRs.
#[derive(Default, Debug)]
pub struct Isrs {
    /// Answers of brokers.
    pub looks: usize,
    /// The fewest members that any broker showed of any partition with a leader, and who showed it.
    pub smallest: Option<(usize, String)>,
    /// When a partition was first shown in an epoch, and its leader then.
    pub epochs: BTreeMap<(i32, i32), (Instant, i32)>,
}

/// One who watches.
pub struct Watchman {
    stop: Arc<AtomicBool>,
    pods: JoinHandle<Pods>,
    isrs: Vec<JoinHandle<Isrs>>,
}

impl Watchman {
    /// Watches a cluster of so many brokers, and one topic's ISRs.
    pub fn start(world: &World, brokers: i32, topic: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, stopped) = (world.namespace.clone(), Arc::clone(&stop));
        let pods = std::thread::spawn(move || watch_pods(&place, &stopped));
        let watch = |broker| {
            let (host, topic, stop) =
                (format!("{}:9092", world.host(broker)), topic.to_owned(), Arc::clone(&stop));
            std::thread::spawn(move || watch_isrs(&host, &topic, &stop))
        };
        let isrs = (1..=brokers).map(watch).collect();
        Self { stop, pods, isrs }
    }

    /// Ends the watch.
    pub fn finish(self) -> (Pods, Isrs) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Isrs::default();
        for watch in self.isrs {
            let seen = watch.join().expect("a watch over ISRs");
            all.looks += seen.looks;
            all.smallest = [all.smallest.take(), seen.smallest].into_iter().flatten().min();
            for (epoch, shown) in seen.epochs {
                let first = all.epochs.entry(epoch).or_insert(shown);
                *first = shown.min(*first);
            }
        }
        (self.pods.join().expect("the watch over pods"), all)
    }
}

impl Pods {
    /// Pods by the order in which they were replaced.
    pub fn order(&self, first: &BTreeMap<String, String>) -> Vec<String> {
        let new = self.lives.iter().filter(|life| first.get(&life.pod) != Some(&life.uid));
        new.map(|life| life.pod.clone()).collect()
    }

    fn note(&mut self, pods: &[Value]) {
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        self.fewest_ready = Some(self.fewest_ready.map_or(ready, |fewest| fewest.min(ready)));
        for pod in pods {
            let now = Instant::now();
            let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
            let (name, uid) = (text("name"), text("uid"));
            let known = self.lives.iter().position(|life| life.uid == uid).unwrap_or_else(|| {
                self.lives.push(Life { pod: name, uid, seen: now, ready: None, deleted: None });
                self.lives.len() - 1
            });
            let life = &mut self.lives[known];
            if is_ready(pod) {
                life.ready.get_or_insert(now);
            }
            if pod.pointer("/metadata/deletionTimestamp").is_some() {
                life.deleted.get_or_insert(now);
            }
        }
    }
}

fn watch_pods(namespace: &str, stop: &AtomicBool) -> Pods {
    let mut seen = Pods::default();
    // An API server that does not answer says nothing about pods.
    every(PODS_EVERY, stop, || {
        if let Ok(pods) = crate::world::pods_in(namespace) {
            seen.note(&pods);
        }
    });
    seen
}

fn watch_isrs(host: &str, topic: &str, stop: &AtomicBool) -> Isrs {
    let mut seen = Isrs::default();
    every(ISRS_EVERY, stop, || {
        // A broker that restarts has no address, or does not answer.
        let Some(address) = host.to_socket_addrs().ok().and_then(|mut all| all.next()) else { return };
        let Ok(shown) = wire::metadata(address, topic, PATIENCE) else { return };
        seen.looks += 1;
        let led = shown.iter().filter(|partition| partition.leader > 0);
        for partition in led.clone() {
            let epoch = (partition.partition, partition.epoch);
            seen.epochs.entry(epoch).or_insert_with(|| (Instant::now(), partition.leader));
        }
        let smallest =
            led.map(|p| (p.isr.len(), format!("{host}: {topic}/{} {:?}", p.partition, p.isr))).min();
        seen.smallest = [seen.smallest.take(), smallest].into_iter().flatten().min();
    });
    seen
}

fn every(pause: Duration, stop: &AtomicBool, mut look: impl FnMut()) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        look();
        std::thread::sleep(pause.saturating_sub(began.elapsed()));
    }
}
