//! What waits in a broker: permits to stop, and the commands that they commit. It is the product's own code, each process on
//! a runtime whose clock stands still but when it is moved on to where the broker's own clock is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_broker::metrics::Metrics;
use chronik_broker::replica::{Ask, EngineQueue, Event as EngineEvent, Proposer, Shared, channel};
use chronik_broker::restart::{Parts, RESTART, Restarts};
use chronik_core::config::TopicDefaults;
use chronik_core::ids::BrokerId;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{advance, timeout};

use crate::peers::{CONTROL, Wire};
use crate::permits::{Ordered, Told};
use crate::world::{M, World, index_of};

/// A task that has nothing to wait for comes to its next wait within so many turns.
const TURNS: usize = 4;

/// A question that a task has for another broker, and where the answer goes.
struct Question {
    to: BrokerId,
    payload: Bytes,
    reply: oneshot::Sender<Bytes>,
}

/// What tasks hand out while they run.
#[derive(Default)]
struct Said {
    questions: Vec<Question>,
    /// Answers to questions of others: whose, and which.
    answers: Vec<(M, u64, Bytes)>,
    /// Answers to who asks for permits.
    told: Vec<(Ordered, Told)>,
}

/// The tasks' door to other brokers.
struct SimAsk(Arc<Mutex<Said>>);

impl Ask for SimAsk {
    fn ask(
        &self,
        to: BrokerId,
        payload: Bytes,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let (reply, answer) = oneshot::channel();
        self.0.lock().questions.push(Question { to, payload, reply });
        Box::pin(async move {
            match timeout(patience, answer).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) => Err(format!("broker {to} is not connected")),
                Err(_) => Err(format!("broker {to} did not answer in time")),
            }
        })
    }
}

/// The tasks of one process.
pub struct Tasks {
    runtime: Runtime,
    restarts: Restarts,
    proposer: Proposer,
    queue: EngineQueue,
    said: Arc<Mutex<Said>>,
    /// Questions on their way: to whom, and where the answer goes.
    asked: BTreeMap<u64, (M, oneshot::Sender<Bytes>)>,
    /// What the runtime's clock shows, on the broker's own.
    shown_ms: u64,
    /// Tasks that somebody waits for.
    running: usize,
}

impl Tasks {
    /// The tasks of a process that starts now: the watch over permits.
    pub fn new(own: BrokerId, shared: &Shared, topics: TopicDefaults, now_ms: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets needs nothing of this machine");
        let (engine, queue) = channel();
        let said = Arc::new(Mutex::new(Said::default()));
        let peers = Arc::new(SimAsk(said.clone()));
        let proposer = Proposer::new(own, engine.clone(), shared.clone(), peers.clone());
        let restarts = Restarts::new(Parts {
            own,
            shared: shared.clone(),
            engine,
            proposer: proposer.clone(),
            peers,
            topics,
            metrics: Arc::new(Metrics::new(false).expect("a registry of its own takes every metric once")),
        });
        runtime.spawn(restarts.clone().keep());
        Self {
            runtime,
            restarts,
            proposer,
            queue,
            said,
            asked: BTreeMap::new(),
            shown_ms: now_ms,
            running: 0,
        }
    }

    /// Somebody outside asks this broker.
    pub fn order(&mut self, ordered: Ordered) {
        let (restarts, said) = (self.restarts.clone(), self.said.clone());
        self.running += 1;
        self.runtime.spawn(async move {
            let told = ordered.carry_out(&restarts).await;
            said.lock().told.push((ordered, told));
        });
    }

    /// Another broker asks this one, as `chronik_broker::run` has it answered.
    fn serve(&mut self, from: M, number: u64, payload: Bytes) {
        let (restarts, proposer) = (self.restarts.clone(), self.proposer.clone());
        let said = self.said.clone();
        self.running += 1;
        self.runtime.spawn(async move {
            let told = match payload.strip_prefix(RESTART) {
                Some(question) => restarts.serve(question).await,
                None => proposer.serve(&payload).await,
            };
            said.lock().answers.push((from, number, told));
        });
    }

    /// Runs every task until it waits; gives what they said, and what they have for the engine.
    fn run(&mut self, now_ms: u64) -> (Said, Vec<EngineEvent>) {
        let passes = Duration::from_millis(now_ms.saturating_sub(self.shown_ms));
        self.shown_ms = self.shown_ms.max(now_ms);
        self.runtime.block_on(async {
            if !passes.is_zero() {
                advance(passes).await;
            }
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
        let said = std::mem::take(&mut *self.said.lock());
        self.running -= said.answers.len() + said.told.len();
        (said, std::iter::from_fn(|| self.queue.next()).collect())
    }
}

impl World {
    /// After a round: only if somebody waits. Whoever watches looks again at the next tick.
    pub fn run_waiting_tasks(&mut self, at: M) {
        let waits = |tasks: &Tasks| tasks.running > 0 || !tasks.asked.is_empty();
        if self.machines[at].process.as_ref().is_some_and(|process| waits(&process.tasks)) {
            self.run_tasks(at);
        }
    }

    /// Lets a process's tasks see the time and what came meanwhile.
    pub fn run_tasks(&mut self, at: M) {
        loop {
            let machine = &mut self.machines[at];
            let now = machine.clock.at(self.now);
            let Some(process) = &mut machine.process else { return };
            let (said, events) = process.tasks.run(now.ms);
            let idle = said.questions.is_empty() && said.answers.is_empty() && events.is_empty();
            events.into_iter().for_each(|event| self.engine(at, event));
            for question in said.questions {
                self.carry(at, question);
            }
            for (to, number, payload) in said.answers {
                self.send_control(at, to, Wire::Told(number, payload));
            }
            for (ordered, told) in said.told {
                self.permit_told(ordered, told);
            }
            if idle {
                return;
            }
        }
    }

    fn carry(&mut self, at: M, Question { to, payload, reply }: Question) {
        let (to, number) = (index_of(to), self.next_id());
        if self.send_control(at, to, Wire::Question(number, payload))
            && let Some(process) = &mut self.machines[at].process
        {
            process.tasks.asked.insert(number, (to, reply));
        }
    }

    fn send_control(&mut self, at: M, to: M, wire: Wire) -> bool {
        let link = self.machines[at].process.as_ref().and_then(|process| process.peers[to].out(CONTROL));
        link.inspect(|link| self.send(*link, wire)).is_some()
    }

    /// Another broker's question arrived.
    pub fn serve_question(&mut self, at: M, from: M, number: u64, payload: Bytes) {
        let Some(process) = &mut self.machines[at].process else { return };
        process.tasks.serve(from, number, payload);
        self.run_tasks(at);
    }

    /// Another broker's answer arrived.
    pub fn hear_told(&mut self, at: M, number: u64, payload: Bytes) {
        let Some(process) = &mut self.machines[at].process else { return };
        if let Some((_, reply)) = process.tasks.asked.remove(&number) {
            let _ = reply.send(payload);
            self.run_tasks(at);
        }
    }

    /// A peer went down: what was asked of it has no answer any more.
    pub fn fail_questions(&mut self, at: M, other: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        process.tasks.asked.retain(|_, (to, _)| *to != other);
    }
}
