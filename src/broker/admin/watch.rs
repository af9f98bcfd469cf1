//! The watch stream: every topic once, then each change as it is seen, an empty line when nothing happens for a while.
//!
//! A change of a view is told at once. What changes without a view (a topic made, a config set, a view grown too old
//! to believe) is found by comparing everything with what was told, every second. A deleted topic ends silently: it
//! is no longer in `GET /v1/topics`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chronik_core::ids::GroupId;
use chronik_core::view::{PartitionReport, TopicReport};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::Problem;
use super::routes::lines;
use super::{Admin, AdminBackend};

/// An empty line tells the reader that the broker lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Changes that come in a burst, such as a broker's death, are gathered for this long.
const GATHER: Duration = Duration::from_millis(50);
/// Time between two comparisons of everything, and how much longer than itself one may make it: on a cluster with
/// very many partitions a watch then costs at most a fiftieth of a core.
const REVIEW: Duration = Duration::from_secs(1);
const REVIEW_SHARE: u32 = 50;

struct Watch<B> {
    admin: Arc<Admin<B>>,
    changes: broadcast::Receiver<GroupId>,
    queue: VecDeque<Bytes>,
    told: HashMap<String, TopicReport>,
    next_heartbeat: Instant,
    next_review: Instant,
    _slot: OwnedSemaphorePermit,
}

/// `GET /v1/watch`.
pub(super) async fn watch<B: AdminBackend>(State(admin): State<Arc<Admin<B>>>) -> Result<Response, Problem> {
    let slot = Arc::clone(&admin.watches).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_watches", "too many watch streams are open")
    })?;
    // Subscribed before the first picture is taken, so that nothing falls between the two.
    let changes = admin.backend.changes();
    let now = Instant::now();
    let mut watch = Watch {
        admin,
        changes,
        queue: VecDeque::new(),
        told: HashMap::new(),
        next_heartbeat: now,
        next_review: now,
        _slot: slot,
    };
    watch.review();
    Ok(lines(futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        watch.next_heartbeat = Instant::now() + HEARTBEAT;
        Some((Ok(line), watch))
    })))
}

impl<B: AdminBackend> Watch<B> {
    /// The next line; `None` ends the stream. More is looked for only when all that was found is written, so that a
    /// slow reader costs no more than one picture.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            tokio::select! {
                biased;
                () = self.admin.stop.cancelled() => return None,
                // At once on a new stream, so that a cluster without topics answers too.
                () = sleep_until(self.next_heartbeat) => return Some(Bytes::from_static(b"\n")),
                () = sleep_until(self.next_review) => self.review(),
                change = self.changes.recv() => match change {
                    Ok(group) => self.gather(group).await,
                    Err(RecvError::Lagged(_)) => self.review(),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Tells what differs from what was told, over all topics.
    fn review(&mut self) {
        let began = Instant::now();
        let topics = self.admin.backend.topics(true);
        let names: BTreeSet<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        self.told.retain(|name, _| names.contains(name.as_str()));
        for topic in &topics {
            self.tell(topic);
        }
        self.next_review = Instant::now() + REVIEW.max(began.elapsed() * REVIEW_SHARE);
    }

    /// Tells what differs in the topics whose groups changed.
    async fn gather(&mut self, first: GroupId) {
        sleep(GATHER).await;
        let mut groups = BTreeSet::from([first]);
        loop {
            match self.changes.try_recv() {
                Ok(group) => groups.insert(group),
                Err(TryRecvError::Lagged(_)) => return self.review(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
        }
        let topics = groups.into_iter().filter_map(|group| self.admin.backend.partition_of(group));
        let names: BTreeSet<String> = topics.map(|(name, _)| name).collect();
        for name in names {
            if let Some(topic) = self.admin.backend.topic(&name) {
                self.tell(&topic);
            }
        }
    }

    fn tell(&mut self, topic: &TopicReport) {
        let lasting = lasting(topic);
        let told = self.told.get(&topic.name).filter(|told| told.id == topic.id);
        if told == Some(&lasting) {
            return;
        }
        let changed =
            |at: usize| told.is_none_or(|told| told.partitions.get(at) != lasting.partitions.get(at));
        let partitions = topic.partitions.iter().enumerate();
        let partitions =
            partitions.filter(|(at, _)| changed(*at)).map(|(_, partition)| partition.clone()).collect();
        self.queue.push_back(line(&TopicReport { partitions, ..lasting.clone() }));
        self.told.insert(topic.name.clone(), lasting);
    }
}

/// The report without what moves all the time: a change of that alone is not told.
fn lasting(topic: &TopicReport) -> TopicReport {
    let partition = |partition: &PartitionReport| PartitionReport {
        isr_age_ms: None,
        high_watermark: None,
        followers: Vec::new(),
        ..partition.clone()
    };
    TopicReport { partitions: topic.partitions.iter().map(partition).collect(), ..topic.clone() }
}

fn line(report: &TopicReport) -> Bytes {
    let mut text = serde_json::to_vec(report).expect("a report always serialises");
    text.push(b'\n');
    text.into()
}
