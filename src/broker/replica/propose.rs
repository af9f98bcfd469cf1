//! Brings a metadata command to the metadata leader, wherever it is, and waits until its effect is seen here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, LogIndex};
use chronik_core::metadata::{Applied, ClusterState, Command, Refusal};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::driver::EngineHandle;
use super::engine::Shared;
use super::event::Event;
use super::metadata::CommandError;

/// Asks another broker and waits for its reply; the text of the error is for people.
pub trait Ask: Send + Sync + 'static {
    /// Sends `payload` to `broker`.
    fn ask(
        &self,
        broker: BrokerId,
        payload: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// Why a command had no effect, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// It may yet be applied.
    #[error("the metadata group did not answer in time: the change may still be made")]
    TimedOut,
    /// It was not proposed.
    #[error("no leader of the metadata group could be reached: {0}")]
    NoLeader(String),
    /// The state machine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A refusal by the state machine, or why there is none.
pub type Refused = Refusal;

/// What the leader replies to a forwarded command.
#[derive(Serialize, Deserialize)]
enum Reply {
    Applied { index: LogIndex, applied: Applied },
    NotLeader,
    Unknown,
}

/// Longest wait for the other brokers to apply what this one has.
const EVERYWHERE: Duration = Duration::from_secs(2);
/// Pause before the leader is looked for again.
const RETRY: Duration = Duration::from_millis(50);
/// Longest wait for one reply before the leader is looked for again; a command may then be sent twice, which the state
/// machine answers as it does any repetition.
const ONE_TRY: Duration = Duration::from_secs(30);

/// Stands before a command that was passed on once already. No command begins like it.
const PASSED_ON: &[u8] = b"passed on";

/// Proposes commands for the rest of the broker.
#[derive(Clone)]
pub struct Proposer {
    own: BrokerId,
    engine: EngineHandle,
    shared: Shared,
    peers: Arc<dyn Ask>,
}

impl Proposer {
    /// A proposer of this broker.
    pub fn new(own: BrokerId, engine: EngineHandle, shared: Shared, peers: Arc<dyn Ask>) -> Self {
        Self { own, engine, shared, peers }
    }

    /// Proposes a command; done when it is applied by the leader and by this broker.
    pub async fn propose(&self, command: Command, patience: Duration) -> Result<Applied, ProposeError> {
        let deadline = Instant::now() + patience;
        let (index, applied) = self.until_applied(&command, deadline).await?;
        self.wait_for(index, deadline).await?;
        if matches!(command, Command::AlterTopicConfigs(_)) {
            // What was altered holds at the leaders when the client hears of it, unless one is slow.
            self.await_everywhere(index).await;
        }
        Ok(applied.into_result()?)
    }

    async fn until_applied(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<(LogIndex, Applied), ProposeError> {
        let mut why = "none is known".to_owned();
        let mut attempt = 0;
        loop {
            let known = *self.shared.metadata_leader.borrow();
            // A broker that is still joining knows no leader; any broker that does will say so by not being it.
            let leader = known.or_else(|| self.shared.liveness.any_up(attempt));
            attempt += 1;
            let reply = match leader {
                Some(leader) if leader == self.own => self.propose_here(command.clone(), deadline).await,
                Some(leader) => self.forward(leader, command, deadline).await,
                None => Ok(Reply::NotLeader),
            };
            match reply {
                Ok(Reply::Applied { index, applied }) => return Ok((index, applied)),
                Ok(Reply::NotLeader) => {}
                Ok(Reply::Unknown) => return Err(ProposeError::TimedOut),
                Err(Unsent(error)) => why = error,
            }
            if Instant::now() + RETRY >= deadline {
                return Err(ProposeError::NoLeader(why));
            }
            sleep(RETRY).await;
        }
    }

    async fn propose_here(&self, command: Command, deadline: Instant) -> Result<Reply, Unsent> {
        let (reply, answer) = oneshot::channel();
        self.engine.submit(Event::Propose { command, reply });
        Ok(match timeout_at(deadline, answer).await {
            Ok(Ok(Ok((index, applied)))) => Reply::Applied { index, applied },
            Ok(Ok(Err(CommandError::NotLeader))) => Reply::NotLeader,
            Ok(Ok(Err(CommandError::Unknown)) | Err(_)) | Err(_) => Reply::Unknown,
        })
    }

    async fn forward(&self, leader: BrokerId, command: &Command, deadline: Instant) -> Result<Reply, Unsent> {
        self.ask(leader, command.encode(), deadline).await
    }

    async fn ask(&self, leader: BrokerId, payload: Bytes, deadline: Instant) -> Result<Reply, Unsent> {
        let patience = deadline.saturating_duration_since(Instant::now()).min(ONE_TRY);
        let reply = self.peers.ask(leader, payload, patience).await.map_err(Unsent)?;
        serde_json::from_slice(&reply).map_err(|error| Unsent(format!("broker {leader} replied {error}")))
    }

    /// Answers a command that another broker forwarded: proposes it, or passes it on to the leader, but only once. A broker
    /// that joins may know no other than this one.
    pub async fn serve(&self, payload: &[u8]) -> Bytes {
        let passed_on = payload.strip_prefix(PASSED_ON);
        let deadline = Instant::now() + ONE_TRY;
        let reply = match Command::decode(passed_on.unwrap_or(payload)) {
            Ok(command) => {
                let leader = self.shared.metadata_leader.borrow().filter(|leader| *leader != self.own);
                let reply = match leader.filter(|_| passed_on.is_none()) {
                    Some(leader) => self.ask(leader, [PASSED_ON, payload].concat().into(), deadline).await,
                    None => self.propose_here(command, deadline).await,
                };
                reply.unwrap_or(Reply::Unknown)
            }
            Err(error) => {
                tracing::warn!(%error, "refuse forwarded command");
                Reply::NotLeader
            }
        };
        serde_json::to_vec(&reply).expect("a reply always serialises").into()
    }

    async fn wait_for(&self, index: LogIndex, deadline: Instant) -> Result<(), ProposeError> {
        let mut cluster: watch::Receiver<Arc<ClusterState>> = self.shared.cluster.subscribe();
        let seen = timeout_at(deadline, cluster.wait_for(|state| state.applied() >= index)).await;
        match seen {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ProposeError::TimedOut),
        }
    }

    /// Waits until every broker heard now has applied `index`, for a bounded time.
    async fn await_everywhere(&self, index: LogIndex) {
        let deadline = Instant::now() + EVERYWHERE;
        while self.shared.liveness.metadata_applied_by_all() < index && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The command was not sent, or nothing is known of it; for people.
struct Unsent(String);
