//! The engine's thread: waits for events, runs rounds, keeps the ticks. Holds no rule of replication.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::restart::Confirmed;
use chronik_core::view::PartitionRecovery;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::append::{AppendError, AppendRequest, Appended};
use super::clock::Clock;
use super::engine::{Engine, EngineConfig, Shared};
use super::event::Event;
use super::outbox::Transport;
use crate::log::{Log, RecoveredGroup};

/// Bytes of clients' batches that may wait for the engine; beyond it clients are told to try again.
const APPEND_BYTES_WAITING: usize = 64 << 20;
/// Bytes of peers' frames that may wait for the engine; beyond it frames are dropped.
const FRAME_BYTES_WAITING: usize = 64 << 20;
/// Events taken in before a round ends, at most.
const EVENTS_PER_ROUND: usize = 1_024;

/// An event and the room it takes in the queue.
struct Queued {
    event: Event,
    _room: Option<OwnedSemaphorePermit>,
}

/// How others reach the engine.
#[derive(Clone)]
pub struct EngineHandle {
    events: Sender<Queued>,
    append_room: Arc<Semaphore>,
    frame_room: Arc<Semaphore>,
    refusals: Arc<Refusals>,
}

/// What was refused for want of room, since the start.
#[derive(Default)]
struct Refusals {
    appends: AtomicU64,
    frames: AtomicU64,
}

/// What waits for the engine, and what did not come to wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Bytes that wait now.
    pub bytes: usize,
    /// Items refused since the start.
    pub refused: u64,
}

impl EngineHandle {
    /// Submits a batch at once, in the order of calls; the answer comes when its acks rule holds or cannot.
    pub fn append(
        &self,
        group: GroupId,
        request: AppendRequest,
    ) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (reply, answer) = oneshot::channel();
        let size = permits(request.batch.size());
        match Arc::clone(&self.append_room).try_acquire_many_owned(size) {
            Ok(room) => self.queue(Event::Append { group, request, reply }, Some(room)),
            Err(_) => {
                self.refusals.appends.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Err(AppendError::Busy));
            }
        }
        answer
    }

    /// Hands over a small event; these are few by nature.
    pub fn submit(&self, event: Event) {
        self.queue(event, None);
    }

    /// Hands over a peer's frame; false if there is no room and it was dropped, which Raft makes up for.
    pub fn submit_frame(&self, from: BrokerId, payload: Bytes) -> bool {
        let room = Arc::clone(&self.frame_room).try_acquire_many_owned(permits(payload.len()));
        let taken = room.is_ok();
        match room {
            Ok(room) => self.queue(Event::PeerFrame { from, payload }, Some(room)),
            Err(_) => drop(self.refusals.frames.fetch_add(1, Ordering::Relaxed)),
        }
        taken
    }

    /// Clients' batches that wait.
    pub fn waiting_appends(&self) -> Waiting {
        let bytes = APPEND_BYTES_WAITING - self.append_room.available_permits();
        Waiting { bytes, refused: self.refusals.appends.load(Ordering::Relaxed) }
    }

    /// Peers' frames that wait.
    pub fn waiting_frames(&self) -> Waiting {
        let bytes = FRAME_BYTES_WAITING - self.frame_room.available_permits();
        Waiting { bytes, refused: self.refusals.frames.load(Ordering::Relaxed) }
    }

    /// Moves every leadership away that can move; done when none is left.
    pub async fn drain(&self) {
        let (reply, done) = oneshot::channel();
        self.submit(Event::Drain { reply });
        // An engine that has stopped leads nothing.
        let _ = done.await;
    }

    /// Partitions with a replica here, as they could go on from it alone; none from an engine that has stopped.
    pub async fn recoverable(&self) -> Vec<PartitionRecovery> {
        let (reply, told) = oneshot::channel();
        self.submit(Event::Recoverable { reply });
        told.await.unwrap_or_default()
    }

    /// What leaders here say of those groups, at most [`GROUPS_PER_QUESTION`](super::GROUPS_PER_QUESTION), once majorities
    /// say that they lead; nothing from an engine that has stopped.
    pub async fn confirm(&self, groups: Vec<GroupId>) -> BTreeMap<GroupId, Confirmed> {
        let (reply, told) = oneshot::channel();
        self.submit(Event::Confirm { groups, reply });
        told.await.unwrap_or_default()
    }

    fn queue(&self, event: Event, room: Option<OwnedSemaphorePermit>) {
        // Fails only when the engine has stopped; then every reply in the event is dropped, which its receiver sees.
        let _ = self.events.send(Queued { event, _room: room });
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(FRAME_BYTES_WAITING)).unwrap_or(u32::MAX)
}

/// The receiving end of an [`EngineHandle`], until the engine starts on it.
pub struct EngineQueue {
    events: Sender<Queued>,
    queue: Receiver<Queued>,
}

/// A way to the engine and its other end: peers and handlers are given the one before the engine runs on the other.
pub fn channel() -> (EngineHandle, EngineQueue) {
    let (events, queue) = std::sync::mpsc::channel();
    let handle = EngineHandle {
        events: events.clone(),
        append_room: Arc::new(Semaphore::new(APPEND_BYTES_WAITING)),
        frame_room: Arc::new(Semaphore::new(FRAME_BYTES_WAITING)),
        refusals: Arc::default(),
    };
    (handle, EngineQueue { events, queue })
}

/// What the engine runs on.
pub struct Machine<T> {
    /// Its rules and identity.
    pub config: EngineConfig,
    /// What it shares with the rest of the broker.
    pub shared: Shared,
    /// The log.
    pub log: Arc<Log>,
    /// What the log held at the start.
    pub recovered: Vec<RecoveredGroup>,
    /// The way to other brokers.
    pub transport: T,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The length of a tick.
    pub tick: Duration,
}

/// A running engine.
pub struct Running {
    events: Sender<Queued>,
    thread: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    alive: Option<oneshot::Receiver<Infallible>>,
}

impl Running {
    /// Done when the thread has ended, by a panic unless it was stopped: nothing is decided here any more. For one asker.
    pub fn end(&mut self) -> impl Future<Output = ()> + use<> {
        let alive = self.alive.take();
        async move {
            match alive {
                // Nothing is ever sent: the other end goes with the thread.
                Some(alive) => drop(alive.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        // Any event wakes it.
        let _ = self.events.send(Queued { event: Event::Undrain, _room: None });
        if self.thread.join().is_err() {
            tracing::error!("the engine's thread had panicked");
        }
    }
}

impl EngineQueue {
    /// The next event that was handed over, for whoever runs the engine step by step and not on a thread.
    pub fn next(&self) -> Option<Event> {
        self.queue.try_recv().ok().map(|queued| queued.event)
    }

    /// Starts the engine on its own thread, so that elections go on whatever the rest of the broker does.
    pub fn start<T: Transport>(self, machine: Machine<T>) -> std::io::Result<Running> {
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let events = self.events.clone();
        let Machine { config, shared, log, recovered, transport, clock, tick } = machine;
        let thread = Thread { queue: self.queue, written: self.events, log: Arc::clone(&log), clock, tick };
        let (alive, watched) = oneshot::channel();
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let _alive: oneshot::Sender<Infallible> = alive;
            let engine = Engine::new(config, shared, log, recovered, transport, thread.clock.now());
            thread.run(engine, &flag);
        })?;
        Ok(Running { events, thread, stopping, alive: Some(watched) })
    }
}

struct Thread {
    queue: Receiver<Queued>,
    written: Sender<Queued>,
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    tick: Duration,
}

impl Thread {
    fn run<T: Transport>(&self, mut engine: Engine<T>, stopping: &AtomicBool) {
        let mut next_tick = Instant::now() + self.tick;
        while !stopping.load(Ordering::Acquire) {
            match self.queue.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(first) => self.take_in(&mut engine, first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_tick {
                engine.tick(self.clock.now());
                // After a stall the lost ticks are not made up for: elections would start for nothing.
                next_tick = Instant::now() + self.tick;
            }
            if let Some(ops) = engine.finish_round() {
                let written = self.written.clone();
                self.log.submit(
                    ops,
                    Box::new(move |result| {
                        let _ = written.send(Queued { event: Event::Written(result), _room: None });
                    }),
                );
            }
        }
    }

    fn take_in<T: Transport>(&self, engine: &mut Engine<T>, first: Queued) {
        engine.handle(first.event, self.clock.now());
        for queued in self.queue.try_iter().take(EVENTS_PER_ROUND) {
            engine.handle(queued.event, self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use chronik_core::config::TopicDefaults;
    use chronik_core::ids::{DiskId, Incarnation};
    use chronik_core::metadata::ClusterState;
    use chronik_core::replication::isr::IsrConfig;
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::log::{Birth, DataFolder, Options, RealDisk};
    use crate::quorum::Lane;
    use crate::replica::{Liveness, Now, Partitions, Views};

    struct Faulty;

    impl Transport for Faulty {
        fn send(&self, _: BrokerId, _: Lane, _: Bytes) -> bool {
            panic!("a bug");
        }
    }

    struct Still(AtomicU64);

    impl Clock for Still {
        fn now(&self) -> Now {
            let ms = self.0.fetch_add(1, Ordering::Relaxed);
            Now { ms, unix_ms: ms }
        }
    }

    /// Nothing takes what is handed over here: the engine was not started.
    #[test]
    fn what_waits_for_the_engine_is_bounded_for_clients_and_for_peers() {
        const PIECE: usize = 1 << 20;
        let (engine, _queue) = channel();
        let frame = Bytes::from(vec![0; PIECE]);
        let taken = (0..200).filter(|_| engine.submit_frame(BrokerId(2), frame.clone())).count();
        assert_eq!(taken * PIECE, FRAME_BYTES_WAITING);
        assert_eq!(engine.waiting_frames().refused as usize, 200 - taken);

        let batch = crate::log::tests::batch(0, 0, 1, PIECE, 1_000);
        let limits = crate::log::Limits { max_message_bytes: 2 * PIECE, latest_timestamp: i64::MAX };
        let checked = || crate::log::batch::check(batch.clone(), limits).unwrap();
        let append = |_| {
            let request =
                AppendRequest { batch: checked(), acks: crate::replica::Acks::None, timeout_ms: 1_000 };
            engine.append(GroupId(16), request).try_recv()
        };
        let answers: Vec<_> = (0..100).map(append).collect();
        let refused = answers.iter().filter(|answer| matches!(answer, Ok(Err(AppendError::Busy)))).count();
        assert_eq!(100 - refused, APPEND_BYTES_WAITING / batch.len());
        assert!(answers.iter().all(|answer| !matches!(answer, Ok(Ok(_)))));
    }

    /// An engine that decides nothing must not look like a broker that lives.
    #[tokio::test]
    async fn whoever_waits_for_its_end_hears_of_a_panic() {
        let (dir, own) = (tempfile::tempdir().unwrap(), BrokerId(1));
        let cluster = "test".parse::<chronik_core::ids::ClusterId>().unwrap();
        let birth = Birth::Join(Vec::new());
        let identity = DataFolder::format(&RealDisk, dir.path(), cluster.clone(), own, birth).unwrap();
        let (log, recovered) =
            Log::open(Arc::new(RealDisk), dir.path(), identity.clone(), Options::default()).unwrap();
        let mut state = ClusterState::new(cluster);
        for id in 1..=2 {
            let broker = crate::handlers::tests::memory::broker(id);
            state.apply(id.into(), &chronik_core::metadata::Command::RegisterBroker(broker));
        }
        let shared = Shared {
            cluster: watch::Sender::new(Arc::new(state)),
            partitions: Arc::new(Partitions::default()),
            views: Arc::new(Views::default()),
            liveness: Arc::new(Liveness::new(own, identity.disk)),
            metadata_leader: watch::Sender::new(None),
            log_stopped: Arc::default(),
            counts: Arc::default(),
            formed: watch::Sender::new(None),
            generation: watch::Sender::new(None),
            metadata_voters: watch::Sender::new(Vec::new()),
        };
        let config = EngineConfig {
            broker: own,
            disk: identity.disk,
            election_ticks: 10,
            election_ms: 1_000,
            quiet_ticks: 10,
            heartbeat_ticks: 1,
            isr: IsrConfig { max_lag_ms: 1, max_lag_entries: 1, check_interval_ms: 1, min_isr: 1 },
            topics: TopicDefaults::default(),
            metadata_snapshot_entries: 5_000,
            learner_bytes_per_second: 0,
        };
        let (handle, queue) = channel();
        let machine = Machine {
            config,
            shared,
            log: Arc::new(log),
            recovered,
            transport: Faulty,
            clock: Arc::new(Still(AtomicU64::new(0))),
            tick: Duration::from_secs(60),
        };
        let mut running = queue.start(machine).unwrap();
        let incarnation = Incarnation { disk: DiskId(Uuid::from_u128(2)), start: 1 };
        handle.submit(Event::PeerUp { broker: BrokerId(2), incarnation });
        tokio::time::timeout(Duration::from_secs(20), running.end()).await.expect("it ended");
        running.stop();
    }
}
