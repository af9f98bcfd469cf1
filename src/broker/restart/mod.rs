//! Permits to stop, as brokers grant them: the metadata leader asks the leaders of all partitions concerned, judges by
//! core's rules, and commits; any other broker passes the request on to it. Makes no rule of its own.

mod gather;
mod keeper;
mod leave;
mod order;
mod refusal;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::config::TopicDefaults;
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::metadata::ClusterState;
use chronik_core::restart::PermitId;
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused, PermitsReport, PodBody};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use self::words::{Asked, Order, Told};
use crate::metrics::Metrics;
use crate::replica::{Ask, EngineHandle, Proposer, Shared};

pub use self::words::RESTART;

/// How long a request that another broker passed on may take.
const PASSED_ON: Duration = Duration::from_secs(15);
/// How long the metadata leader is looked for, and the pause between two looks.
const LEADER: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait of a leader of partitions for the metadata that its asker has.
const METADATA: Duration = Duration::from_millis(500);

/// What of a broker permits need.
pub struct Parts {
    /// Its number.
    pub own: BrokerId,
    /// State shared with the engine.
    pub shared: Shared,
    /// The way to the engine.
    pub engine: EngineHandle,
    /// The way to the metadata leader.
    pub proposer: Proposer,
    /// The way to other brokers.
    pub peers: Arc<dyn Ask>,
    /// Configs where a topic sets none.
    pub topics: TopicDefaults,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Permits to stop on one broker.
#[derive(Clone)]
pub struct Restarts {
    parts: Arc<Parts>,
    /// One request is judged at a time.
    turn: Arc<Mutex<()>>,
    /// Brokers that are told to stop and were refused, as the metadata leader heard last.
    wishes: Arc<parking_lot::Mutex<BTreeMap<BrokerId, Instant>>>,
    /// Why the metadata leader refused each broker last, so that its log does not say the same again and again.
    refused: Arc<parking_lot::Mutex<BTreeMap<BrokerId, String>>>,
    /// Whether every broker stops, so that none need wait.
    all_stop: watch::Sender<bool>,
}

impl Restarts {
    /// On a broker.
    pub fn new(parts: Parts) -> Self {
        let all_stop = watch::Sender::new(false);
        let (wishes, refused) = Default::default();
        Self { parts: Arc::new(parts), turn: Arc::default(), wishes, refused, all_stop }
    }

    /// Permits that are open, as applied here.
    pub fn report(&self) -> PermitsReport {
        self.cluster().permits().into()
    }

    /// Asks whether a broker may stop.
    pub async fn ask(&self, body: PermitBody) -> Result<PermitAnswer, PermitRefused> {
        self.order(Order::Grant(body)).await
    }

    /// The broker's pod is about to be deleted.
    pub async fn begin(&self, id: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.order(Order::Begin(id, body)).await
    }

    /// The broker's pod was not deleted after all.
    pub async fn abort(&self, id: PermitId, body: PodBody) -> Result<PermitAnswer, PermitRefused> {
        self.order(Order::Abort(id, body)).await
    }

    /// Answers what another broker asks; the payload stands behind [`RESTART`].
    pub async fn serve(&self, payload: &[u8]) -> Bytes {
        match Asked::decode(payload) {
            Ok(Asked::Confirm { metadata_index, groups }) => {
                words::encode(&self.confirm_here(metadata_index, groups).await)
            }
            Ok(Asked::Order(order)) if self.leads() => {
                words::encode(&Told::Done(Box::new(self.carry_out(order).await)))
            }
            Ok(Asked::Order(_)) => words::encode(&Told::NotLeader),
            Ok(Asked::AllStop) => {
                self.stop_all();
                Bytes::new()
            }
            Err(error) => {
                tracing::warn!(%error, "refuse a peer's question about a restart");
                Bytes::new()
            }
        }
    }

    /// Carries an order out here, or has the metadata leader do so.
    async fn order(&self, order: Order) -> Result<PermitAnswer, PermitRefused> {
        let deadline = Instant::now() + LEADER;
        let mut why = "none is known".to_owned();
        loop {
            let leader = *self.parts.shared.metadata_leader.borrow();
            match leader {
                Some(leader) if leader == self.parts.own => return self.carry_out(order).await,
                Some(leader) => match self.pass_on(leader, &order).await {
                    Ok(Told::Done(done)) => return *done,
                    Ok(Told::NotLeader) => why = format!("broker {leader} does not lead it"),
                    Err(error) => why = error,
                },
                None => {}
            }
            if Instant::now() + LOOK_AGAIN >= deadline {
                let message = format!("no leader of the metadata group could be reached: {why}");
                return Err(refusal::unavailable(message));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn pass_on(&self, leader: BrokerId, order: &Order) -> Result<Told, String> {
        let question = Asked::Order(order.clone()).encode();
        let told = self.parts.peers.ask(leader, question, PASSED_ON).await?;
        words::decode(&told).map_err(|error| format!("broker {leader} answered {error}"))
    }

    /// Nobody is told of a min ISR that the asker's metadata no longer has.
    async fn confirm_here(&self, metadata_index: u64, groups: Vec<GroupId>) -> words::Confirmation {
        let mut cluster = self.parts.shared.cluster.subscribe();
        let applied = cluster.wait_for(|state| state.applied() >= metadata_index);
        match timeout(METADATA, applied).await {
            Ok(Ok(_)) => {}
            _ => return words::Confirmation::new(),
        }
        self.parts.engine.confirm(groups).await
    }

    fn leads(&self) -> bool {
        *self.parts.shared.metadata_leader.borrow() == Some(self.parts.own)
    }

    fn cluster(&self) -> Arc<ClusterState> {
        Arc::clone(&self.parts.shared.cluster.borrow())
    }
}
