//! The watch stream: every topic once, then each change as it is seen, an empty line when nothing happens for a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chronik_core::ids::GroupId;
use chronik_core::view::TopicReport;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{sleep, timeout};

use super::answer::Problem;
use super::routes::lines;
use super::{Admin, AdminBackend};

/// An empty line tells the reader that the broker lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Changes that come in a burst, such as a broker's death, are gathered for this long.
const GATHER: Duration = Duration::from_millis(50);

struct Watch<B> {
    admin: Arc<Admin<B>>,
    changes: broadcast::Receiver<GroupId>,
    queue: VecDeque<Bytes>,
    _slot: OwnedSemaphorePermit,
}

/// `GET /v1/watch`.
pub(super) async fn watch<B: AdminBackend>(State(admin): State<Arc<Admin<B>>>) -> Result<Response, Problem> {
    let slot = Arc::clone(&admin.watches).try_acquire_owned().map_err(|_| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_watches", "too many watch streams are open")
    })?;
    // Subscribed before the first picture is taken, so that nothing falls between the two.
    let changes = admin.backend.changes();
    let mut watch = Watch { admin, changes, queue: VecDeque::new(), _slot: slot };
    watch.everything();
    Ok(lines(futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok(line), watch))
    })))
}

impl<B: AdminBackend> Watch<B> {
    fn everything(&mut self) {
        self.queue.clear();
        self.queue.extend(self.admin.backend.topics(true).iter().map(line));
        if self.queue.is_empty() {
            self.queue.push_back(Bytes::from_static(b"\n"));
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some(line);
            }
            let stop = self.admin.stop.clone();
            let change = tokio::select! {
                () = stop.cancelled() => return None,
                change = timeout(HEARTBEAT, self.changes.recv()) => change,
            };
            match change {
                Err(_) => return Some(Bytes::from_static(b"\n")),
                Ok(Ok(group)) => self.gather(group).await,
                Ok(Err(RecvError::Lagged(_))) => self.everything(),
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    async fn gather(&mut self, first: GroupId) {
        sleep(GATHER).await;
        let mut groups = BTreeSet::from([first]);
        loop {
            match self.changes.try_recv() {
                Ok(group) => {
                    groups.insert(group);
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => return self.everything(),
                Err(_) => break,
            }
        }
        let mut changed: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partition) in
            groups.into_iter().filter_map(|group| self.admin.backend.partition_of(group))
        {
            changed.entry(topic).or_default().insert(partition);
        }
        for (name, partitions) in changed {
            if let Some(mut report) = self.admin.backend.topic(&name) {
                report.partitions.retain(|report| partitions.contains(&report.partition));
                self.queue.push_back(line(&report));
            }
        }
    }
}

fn line(report: &TopicReport) -> Bytes {
    let mut text = serde_json::to_vec(report).expect("a report always serialises");
    text.push(b'\n');
    text.into()
}
