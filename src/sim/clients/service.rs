//! What a broker's Kafka handlers do with a request, for the requests that the simulated clients send: the same checks on
//! the same handles, without sockets and wire format.

use std::sync::Arc;

use bytes::Bytes;
use chronik_broker::log::batch::{self, Limits};
use chronik_broker::replica::{
    Acks, AppendError, AppendRequest, Appended, Event as EngineEvent, Leadership, PartitionHandle,
};
use chronik_core::config::TopicConfig;
use chronik_core::ids::{BrokerId, Offset, Term};
use chronik_core::metadata::{ClusterState, Command, Partition, Topic};
use chronik_core::view::PartitionState;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Ask, Place, Route, Told};
use crate::batch::Tag;
use crate::proposals::Asker;
use crate::time::{Micros, SECOND};
use crate::world::{Event, M, World, index_of};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const KAFKA_STORAGE_ERROR: i16 = 56;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const OFFSET_NOT_AVAILABLE: i16 = 78;

/// A caretaker closes a connection this long after it refused a produce on it.
const CARETAKER_CLOSES_IN: Micros = SECOND;

/// A produce that the engine has not answered.
pub struct PendingAppend {
    pub request: u64,
    pub place: Place,
    pub tag: Tag,
    pub acks: Acks,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

/// A client's connection, as its broker has it.
#[derive(Default)]
pub struct Connection {
    closing: bool,
}

/// Why a client gets nothing.
struct Refused {
    code: i16,
    route: Option<Route>,
}

impl From<i16> for Refused {
    fn from(code: i16) -> Self {
        Self { code, route: None }
    }
}

fn elsewhere(leader: Option<BrokerId>, epoch: Term) -> Refused {
    let route = Route { leader: leader.map(index_of), epoch: (epoch > 0).then_some(epoch) };
    Refused { code: NOT_LEADER_OR_FOLLOWER, route: Some(route) }
}

impl World {
    /// A request arrived at its broker.
    pub fn arrived(&mut self, number: u64, at: M) {
        let Some(request) = self.requests.get(&number) else { return };
        let (client, connection) = (request.client, request.connection);
        let life = self.machines[at].process.as_ref().map(|_| self.machines[at].lives);
        let known = &mut self.clients[client].connections[at];
        if known.number == connection && known.life == 0 {
            known.life = life.unwrap_or(0);
        }
        let alive = life.is_some() && (known.number != connection || Some(known.life) == life);
        if !alive {
            return self.answer(number, Told::Disconnected);
        }
        match request.ask.clone() {
            Ask::Produce { place, tag, batch, acks, timeout_ms } => {
                self.produce(at, number, (client, connection), place, tag, batch, acks, timeout_ms);
            }
            Ask::Fetch { place, offset, epoch, max_bytes, near } => {
                let told = self.fetch(at, place, offset, epoch, max_bytes, near);
                self.answer(number, told.unwrap_or_else(failed));
            }
            Ask::Latest { place, epoch } => {
                let told = self.latest(at, place, epoch);
                self.answer(number, told.unwrap_or_else(failed));
            }
            Ask::Metadata => {
                let routes = self.routes_by(at);
                self.answer(number, Told::Routes(routes));
            }
            Ask::Change(command) => self.change(at, number, command),
        }
    }

    fn change(&mut self, at: M, number: u64, command: Command) {
        self.propose(at, command, Asker::Request(number));
    }

    fn cluster_at(&self, at: M) -> Arc<ClusterState> {
        self.machines[at].process.as_ref().expect("a process serves").shared.cluster.borrow().clone()
    }

    fn routes_by(&mut self, at: M) -> Vec<Route> {
        let cluster = self.cluster_at(at);
        let mut routes = Vec::with_capacity(self.places.len());
        for place in 0..self.places.len() {
            let Some((topic, partition)) = self.find(&cluster, place) else {
                routes.push(Route { leader: None, epoch: None });
                continue;
            };
            self.set_clock(at);
            let process = self.machines[at].process.as_ref().expect("a process serves");
            let report = process.reports.partition(&topic, &partition);
            self.check_report(at, &partition, &report);
            let leader = match report.state {
                PartitionState::Leader | PartitionState::Caretaker => report.leader.map(index_of),
                PartitionState::Offline | PartitionState::Unknown => None,
            };
            let shown = report.state == PartitionState::Caretaker || report.epoch > 0;
            routes.push(Route { leader, epoch: shown.then_some(report.epoch) });
        }
        routes
    }

    fn find(&self, cluster: &ClusterState, place: Place) -> Option<(Arc<Topic>, Partition)> {
        let (name, number) = &self.places[place];
        let topic = cluster.topic_by_name(name)?;
        Some((topic.clone(), topic.partition(*number)?.clone()))
    }

    /// The replica held here; code 6 and the leader when another broker holds it.
    fn replica(&self, at: M, place: Place) -> Result<(Arc<PartitionHandle>, Arc<Topic>), Refused> {
        let cluster = self.cluster_at(at);
        let (topic, partition) = self.find(&cluster, place).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
        let process = self.machines[at].process.as_ref().expect("a process serves");
        match process.shared.partitions.get(topic.id, partition.number) {
            Some(handle) => Ok((handle, topic)),
            None => {
                let report = process.reports.partition(&topic, &partition);
                Err(elsewhere(report.leader, report.epoch))
            }
        }
    }

    // ---- produce ------------------------------------------------------------------------------------------------

    #[allow(clippy::too_many_arguments)]
    fn produce(
        &mut self,
        at: M,
        request: u64,
        connection: (usize, u64),
        place: Place,
        tag: Tag,
        batch: Bytes,
        acks: Acks,
        timeout_ms: u64,
    ) {
        self.set_clock(at);
        let (handle, batch) = match self.check_produce(at, place, batch) {
            Ok(checked) => checked,
            Err(error) => {
                self.checks.refused(tag);
                return self.produced(at, request, connection, acks, Err(error));
            }
        };
        let group = handle.group;
        let before = self.standing(at, group);
        let (reply, mut answer) = oneshot::channel();
        let append = AppendRequest { batch, acks, timeout_ms };
        self.engine(at, EngineEvent::Append { group, request: append, reply });
        match answer.try_recv() {
            // Whatever is refused at once was not appended.
            Ok(Err(error)) => {
                let text = format!("{error:?}");
                self.note([21, request, u64::from(tag.op)], || {
                    format!("b{} refuses {tag:?}: {text}", at + 1)
                });
                self.checks.refused(tag);
                self.check_refused(at, group, tag, &error, &before);
                self.produced(at, request, connection, acks, Err(error));
            }
            Ok(Ok(appended)) => {
                self.check_admitted(at, group, tag, acks, &before);
                self.produced(at, request, connection, acks, Ok(appended));
            }
            Err(TryRecvError::Empty) => {
                self.check_admitted(at, group, tag, acks, &before);
                let process = self.machines[at].process.as_mut().expect("a process serves");
                process.appends.push(PendingAppend { request, place, tag, acks, answer });
            }
            Err(TryRecvError::Closed) => {
                self.fail("every produce is answered", format!("{tag:?} was dropped"))
            }
        }
    }

    fn check_produce(
        &self,
        at: M,
        place: Place,
        batch: Bytes,
    ) -> Result<(Arc<PartitionHandle>, batch::CheckedBatch), AppendError> {
        let (handle, topic) = self.replica(at, place).map_err(|refused| match refused.route {
            Some(Route { leader, epoch }) => AppendError::NotLeader {
                leader: leader.map(crate::world::broker_id),
                epoch: epoch.unwrap_or(0),
            },
            None => AppendError::NotLeader { leader: None, epoch: 0 },
        })?;
        if let Leadership::Quarantined { reason } = handle.leadership() {
            return Err(AppendError::Storage(reason));
        }
        let config = TopicConfig::resolve(&topic.configs, &self.plan.broker.topics);
        let limits = Limits {
            max_message_bytes: config.max_message_bytes as usize,
            // Clients' clocks are not what is tested.
            latest_timestamp: i64::MAX,
        };
        let batch = batch::check(batch, limits).expect("clients send what they should");
        Ok((handle, batch))
    }

    /// After a round: which produces are answered?
    pub fn poll_appends(&mut self, at: M) {
        let Some(process) = &mut self.machines[at].process else { return };
        if process.appends.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let mut waiting = Vec::with_capacity(process.appends.len());
        for mut append in std::mem::take(&mut process.appends) {
            match append.answer.try_recv() {
                Ok(outcome) => answered.push((append, outcome)),
                Err(TryRecvError::Empty) => waiting.push(append),
                Err(TryRecvError::Closed) => {
                    let tag = append.tag;
                    return self.fail("every produce is answered", format!("{tag:?} was dropped"));
                }
            }
        }
        process.appends = waiting;
        for (append, outcome) in answered {
            self.check_answered(at, &append, &outcome);
            let connection =
                self.requests.get(&append.request).map(|request| (request.client, request.connection));
            if let Some(connection) = connection {
                self.produced(at, append.request, connection, append.acks, outcome);
            }
        }
    }

    fn produced(
        &mut self,
        at: M,
        request: u64,
        connection: (usize, u64),
        acks: Acks,
        outcome: Result<Appended, AppendError>,
    ) {
        let told = match &outcome {
            Ok(_) => Told::Appended,
            Err(AppendError::NotLeader { leader, epoch }) => failed(elsewhere(*leader, *epoch)),
            Err(error) => Told::Failed { code: error.code(), route: None },
        };
        if acks == Acks::None {
            self.requests.remove(&request);
            if outcome.is_err() {
                self.after(0, Event::Disconnect(connection.0, at, connection.1));
            }
            return;
        }
        if outcome == Err(AppendError::QuorumLost) {
            let process = self.machines[at].process.as_mut().expect("a process answers");
            let known = process.connections.entry(connection).or_default();
            if !std::mem::replace(&mut known.closing, true) {
                self.after(CARETAKER_CLOSES_IN, Event::Disconnect(connection.0, at, connection.1));
            }
        }
        self.answer(request, told);
    }

    // ---- fetch and offsets --------------------------------------------------------------------------------------

    fn fetch(
        &mut self,
        at: M,
        place: Place,
        offset: Offset,
        epoch: Option<Term>,
        max_bytes: usize,
        near: Option<M>,
    ) -> Result<Told, Refused> {
        let (handle, _) = self.replica(at, place)?;
        let leadership = handle.leadership();
        check_epoch(&leadership, epoch)?;
        let (start, high_watermark) = (handle.log_start_offset(), handle.high_watermark());
        let end = handle.log().end_offset().max(high_watermark);
        match leadership {
            Leadership::Leader { .. } if !(start..=end).contains(&offset) => {
                return Err(OFFSET_OUT_OF_RANGE.into());
            }
            Leadership::Leader { .. } => {
                let followers = handle.readable_followers().into_iter().map(index_of);
                let nearer = near.filter(|near| *near != at);
                if let Some(follower) = nearer.filter(|near| followers.into_iter().any(|f| f == *near)) {
                    return Ok(Told::ReadFrom(follower));
                }
            }
            Leadership::Caretaker { .. } if !(start..high_watermark).contains(&offset) => {
                return Err(OFFSET_NOT_AVAILABLE.into());
            }
            Leadership::Caretaker { .. } => {}
            Leadership::Follower { leader: Some(_), .. } if near.is_some() && handle.is_in_sync() => {
                if offset < start {
                    return Err(OFFSET_OUT_OF_RANGE.into());
                }
                if offset > end {
                    return Err(OFFSET_NOT_AVAILABLE.into());
                }
                self.coverage.count("read from a follower");
            }
            Leadership::Follower { leader, epoch } => return Err(elsewhere(leader, epoch)),
            Leadership::Quarantined { .. } => return Err(KAFKA_STORAGE_ERROR.into()),
        }
        if offset >= high_watermark {
            return Ok(Told::Fetched(Bytes::new()));
        }
        match handle.log().records_from(offset, high_watermark, max_bytes, true) {
            Ok(records) => {
                self.check_served(at, handle.group, offset, high_watermark, &records);
                Ok(Told::Fetched(records))
            }
            Err(_) => Err(KAFKA_STORAGE_ERROR.into()),
        }
    }

    fn latest(&mut self, at: M, place: Place, epoch: Option<Term>) -> Result<Told, Refused> {
        let (handle, _) = self.replica(at, place)?;
        let leadership = handle.leadership();
        check_epoch(&leadership, epoch)?;
        match leadership {
            Leadership::Leader { epoch } if handle.epoch_start_reached() => {
                let offset = handle.high_watermark();
                self.check_latest(at, handle.group, epoch, offset);
                Ok(Told::Latest)
            }
            Leadership::Leader { .. } | Leadership::Caretaker { .. } => Err(OFFSET_NOT_AVAILABLE.into()),
            Leadership::Follower { .. } => Err(NOT_LEADER_OR_FOLLOWER.into()),
            Leadership::Quarantined { .. } => Err(KAFKA_STORAGE_ERROR.into()),
        }
    }
}

fn failed(refused: Refused) -> Told {
    Told::Failed { code: refused.code, route: refused.route }
}

fn check_epoch(leadership: &Leadership, given: Option<Term>) -> Result<(), Refused> {
    let known = match leadership {
        Leadership::Leader { epoch }
        | Leadership::Follower { epoch, .. }
        | Leadership::Caretaker { epoch } => *epoch,
        Leadership::Quarantined { .. } => return Ok(()),
    };
    match given {
        Some(given) if given < known => Err(FENCED_LEADER_EPOCH.into()),
        Some(given) if given > known => Err(UNKNOWN_LEADER_EPOCH.into()),
        _ => Ok(()),
    }
}
