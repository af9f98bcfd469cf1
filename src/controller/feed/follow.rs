//! The task behind a feed: choose a broker, follow its watch, notice within a second or two when it is gone.
//!
//! A broker that dies without a word (a lost node, a stopped process) is noticed by the probe and not by the watch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chronik_core::view::{ClusterReport, TopicReport};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::choose::{Answer, best, is_doubtful};
use super::{Change, Feed, FeedSpec};
use crate::broker_client::{BrokerClient, BrokerError, WatchStream};

/// How often the followed broker is asked about the cluster, which is also how its life is watched.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How often all topics are listed, to find what the watch does not tell: deletions.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Pause before brokers are asked again when none answers.
const RETRY: Duration = Duration::from_millis(500);
/// Without any broker for this long, what was known is unknown.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How often a doubtful broker's peers are asked.
const DOUBT_EVERY: Duration = Duration::from_secs(2);

/// Follows one broker after another, for ever.
pub(super) async fn run(feed: Arc<Feed>, client: BrokerClient, mut spec: watch::Receiver<FeedSpec>) {
    let mut heard = Instant::now();
    let mut previous = None;
    loop {
        let now = spec.borrow_and_update().clone();
        let (answers, foreign) = survey(&client, &now).await;
        if let Some(answer) = best(&answers, previous.as_deref()) {
            let address = answer.address.clone();
            let follower = Follower { feed: &feed, client: &client, address: &address, spec: &spec };
            // Probed from the start: it may die between its answer and the list, for which much time is given.
            let opened = tokio::select! {
                opened = follower.open(answer.report.clone()) => opened.map_err(Ended::from),
                Err(ended) = follower.probe() => Err(ended),
            };
            match opened {
                Ok(watch) => {
                    let reason = follower.follow(watch).await;
                    tracing::info!(cluster = %feed.key, broker = address, %reason, "stopped following a broker");
                    heard = Instant::now();
                    previous = Some(address);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(cluster = %feed.key, broker = address, %error, "follow a broker")
                }
            }
            previous = None;
        }
        if heard.elapsed() > LOST_AFTER || foreign.is_some() {
            lose(&feed, foreign);
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn lose(feed: &Feed, foreign: Option<String>) {
    if feed.with(|state| state.lost(foreign)) {
        feed.metrics.feed(&feed.key.namespace, &feed.key.name, false);
        feed.changed(Change::Cluster);
        feed.changed(Change::AllTopics);
    }
}

/// Asks every broker at once. Those of another cluster are named and not believed.
async fn survey(client: &BrokerClient, spec: &FeedSpec) -> (Vec<Answer>, Option<String>) {
    let asked = spec.brokers.iter().map(|address| async {
        client.cluster(address).await.map(|report| Answer { address: address.clone(), report })
    });
    let answers = join_all(asked).await.into_iter().flatten();
    let (ours, foreign): (Vec<_>, Vec<_>) =
        answers.partition(|answer| answer.report.cluster_id.as_str() == spec.cluster_id);
    let foreign =
        foreign.first().filter(|_| ours.is_empty()).map(|answer| answer.report.cluster_id.to_string());
    (ours, foreign)
}

/// Why a broker is followed no longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{0} knows more")]
    Better(String),
    #[error("no broker answers")]
    Silent,
}

struct Follower<'a> {
    feed: &'a Feed,
    client: &'a BrokerClient,
    address: &'a str,
    spec: &'a watch::Receiver<FeedSpec>,
}

impl Follower<'_> {
    async fn follow(&self, mut watch: WatchStream) -> Ended {
        let ended = tokio::select! {
            ended = self.read(&mut watch) => ended,
            ended = self.probe() => ended,
            ended = self.sweep() => ended,
        };
        match ended {
            Err(reason) => reason,
            Ok(never) => match never {},
        }
    }

    async fn open(&self, report: ClusterReport) -> Result<WatchStream, BrokerError> {
        // Opened before the list is taken: a change in between is in the stream.
        let watch = self.client.watch(self.address).await?;
        let topics = self.client.topics_with_partitions(self.address).await?;
        tracing::info!(cluster = %self.feed.key, broker = self.address, topics = topics.len(), "follow a broker");
        self.feed.with(|state| state.found(self.address.to_owned(), report, topics));
        self.feed.metrics.feed(&self.feed.key.namespace, &self.feed.key.name, true);
        self.feed.changed(Change::Cluster);
        self.feed.changed(Change::AllTopics);
        Ok(watch)
    }

    async fn read(&self, watch: &mut WatchStream) -> Result<Infallible, Ended> {
        loop {
            self.take(watch.next().await?);
        }
    }

    fn take(&self, topic: TopicReport) {
        let name = topic.name.clone();
        if self.feed.with(|state| state.topic_said(topic)) {
            self.feed.changed(Change::Topic(name));
        }
    }

    async fn probe(&self) -> Result<Infallible, Ended> {
        let mut tick = interval(PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_others = Instant::now();
        loop {
            tick.tick().await;
            let doubtful = match self.client.cluster(self.address).await {
                Ok(report) => {
                    let doubtful = is_doubtful(&report);
                    if self.feed.with(|state| state.cluster_said(report)) {
                        self.feed.changed(Change::Cluster);
                    }
                    doubtful
                }
                Err(error) => {
                    tracing::debug!(cluster = %self.feed.key, %error, "probe the followed broker");
                    self.switch(true).await?;
                    false
                }
            };
            if doubtful && asked_others.elapsed() >= DOUBT_EVERY {
                asked_others = Instant::now();
                self.switch(false).await?;
            }
        }
    }

    /// Ends when another broker knows more. When the followed one did not answer and does not now, it ends too.
    async fn switch(&self, silent: bool) -> Result<(), Ended> {
        let spec = self.spec.borrow().clone();
        let (answers, _) = survey(self.client, &spec).await;
        match best(&answers, Some(self.address)) {
            Some(best) if best.address != self.address => Err(Ended::Better(best.address.clone())),
            None if silent => Err(Ended::Silent),
            _ => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<Infallible, Ended> {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let listed = self.client.topics(self.address).await?;
            let sweep = self.feed.with(|state| state.listed(&listed));
            for name in sweep.gone {
                self.feed.changed(Change::Topic(name));
            }
            for name in sweep.differing {
                match self.client.topic(self.address, &name).await? {
                    Some(report) => self.take(report),
                    None => self.feed.with(|state| state.forget(&name)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::{Body, Bytes};
    use axum::extract::State;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use axum::{Json, Router};
    use futures::{StreamExt, stream};
    use tokio_util::sync::CancellationToken;

    use super::super::{ClusterKey, Feeds};
    use super::*;
    use crate::metrics::Metrics;

    /// A broker with an empty cluster; one that `dies` answers once who it is, and nothing after that.
    async fn broker(id: u32, dies: bool) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dead = Arc::new(AtomicBool::new(false));
        let state = (id, dies, dead);
        let router = Router::new()
            .route("/v1/cluster", get(cluster))
            .route("/v1/watch", get(watch_stream))
            .route("/v1/topics", get(|| async { Json(serde_json::json!([])) }))
            .with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    type Life = State<(u32, bool, Arc<AtomicBool>)>;

    async fn cluster(State((id, dies, dead)): Life) -> Response {
        if dies && dead.swap(true, Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        // The one that dies knows more at first, and is chosen.
        let alive = [true, true, dies];
        Json(super::super::choose::tests::report(id, Some(1), &alive)).into_response()
    }

    async fn watch_stream(State((_, dies, _)): Life) -> Response {
        if dies {
            std::future::pending::<()>().await;
        }
        let line = stream::iter([Ok::<_, std::io::Error>(Bytes::from("\n"))]);
        Body::from_stream(line.chain(stream::pending())).into_response()
    }

    #[tokio::test]
    async fn a_broker_that_dies_while_it_is_asked_for_all_is_left_at_once() {
        let (dying, well) = (broker(1, true).await, broker(2, false).await);
        let metrics = Arc::new(Metrics::new());
        let feeds =
            Feeds::new(BrokerClient::default(), metrics, Arc::new(|_, _| {}), CancellationToken::new());
        let key = ClusterKey { namespace: "shop".to_owned(), name: "demo".to_owned() };
        let began = Instant::now();
        feeds.ensure(&key, FeedSpec { brokers: vec![dying, well.clone()], cluster_id: "cluster".to_owned() });
        let feed = feeds.get(&key).unwrap();
        while feed.with(|state| state.source().map(str::to_owned)) != Some(well.clone()) {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "the list is waited for although the broker is dead"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
