//! A Kafka producer: batches per partition, several in flight, retries in order of their sequence numbers, and never more
//! about an outcome than it was told.

use std::collections::VecDeque;

use chronik_broker::replica::Acks;

use super::{Ask, BACKOFF, Place, Request, Role, Told};
use crate::batch::{self, Sequenced, Tag};
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World};

/// A batch is given up after this long by a producer that is not idempotent.
const DELIVERY_TIMEOUT: Micros = 8 * SECOND;
/// What a request tells its broker of the client's patience.
const TIMEOUT_MS: u64 = 3_000;
/// What lies between the ids under which a producer begins anew.
const RENEWED: i64 = 1_000_000;

/// How a producer was configured.
#[derive(Clone, Copy, Debug)]
pub struct ProducerPlan {
    /// With sequence numbers under this producer id; it then asks for acks=all.
    pub id: Option<i64>,
    pub acks: Acks,
    pub max_in_flight: usize,
    /// After so many records of a partition, and with nothing undecided there, it goes on under another producer id, as one
    /// that is started again.
    pub begins_anew_after: Option<i32>,
    /// How long a message takes between it and a broker.
    pub latency: (Micros, Micros),
    /// Mean time between its batches.
    pub pause: Micros,
    pub padding: u64,
}

#[derive(Clone)]
struct Batch {
    op: u32,
    count: u32,
    attempt: u32,
    sequence: Option<i32>,
    born: Micros,
}

struct InFlight {
    batch: Batch,
    to: M,
    request: u64,
}

/// One partition's batches.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Batch>,
    in_flight: Vec<InFlight>,
    next_op: u32,
    next_sequence: i32,
    /// How often it began anew, under another producer id.
    renewed: i64,
    /// What it had sent was lost: it begins anew once nothing is in flight.
    renews: bool,
    /// After an error, not before then.
    pause_until: Micros,
}

impl Lane {
    /// Whether a producer that begins anew after so many records does so now, with nothing undecided.
    fn has_sent(&self, enough: Option<i32>) -> bool {
        let decided = self.waiting.iter().all(|batch| batch.sequence.is_none());
        decided && enough.is_some_and(|enough| self.next_sequence >= enough)
    }

    /// Numbers what waits from 0, for another producer id.
    fn renew(&mut self, after: Option<i32>) {
        if !self.in_flight.is_empty() || !(self.renews || self.has_sent(after)) {
            return;
        }
        (self.renews, self.renewed, self.next_sequence) = (false, self.renewed + 1, 0);
        self.waiting.make_contiguous().sort_by_key(|batch| batch.op);
        for batch in self.waiting.iter_mut().filter(|batch| batch.sequence.is_some()) {
            batch.sequence = Some(self.next_sequence);
            self.next_sequence += batch.count as i32;
        }
    }
}

/// A producer.
pub struct Producer {
    pub plan: ProducerPlan,
    lanes: Vec<Lane>,
}

impl Producer {
    pub fn new(plan: ProducerPlan, places: usize) -> Self {
        Self { plan, lanes: (0..places).map(|_| Lane::default()).collect() }
    }

    /// Whether nothing of it is undecided.
    pub fn is_done(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty() && lane.in_flight.is_empty())
    }

    /// What waits, for people.
    pub fn undecided(&self) -> String {
        let lanes = self.lanes.iter().enumerate();
        let count = |(place, lane): (usize, &Lane)| {
            format!("{place}: {} wait, {} in flight", lane.waiting.len(), lane.in_flight.len())
        };
        lanes.map(count).collect::<Vec<_>>().join("; ")
    }

    fn send_next(&mut self, place: Place, to: M, now: Micros) -> Option<Batch> {
        let idempotent = self.plan.id.is_some();
        let lane = &mut self.lanes[place];
        lane.renew(self.plan.begins_anew_after.filter(|_| idempotent));
        if !idempotent {
            lane.waiting.retain(|batch| now - batch.born < DELIVERY_TIMEOUT);
        }
        if lane.in_flight.len() >= self.plan.max_in_flight || now < lane.pause_until || lane.renews {
            return None;
        }
        let head = lane.waiting.front()?;
        // A batch that returns waits until it is the first undecided one: Kafka's rule.
        let earlier = |flying: &InFlight| flying.batch.sequence < head.sequence;
        if head.sequence.is_some() && lane.in_flight.iter().any(earlier) {
            return None;
        }
        // Of a producer that is new to a partition, its leader cannot tell that another one was sent the first batch, and takes
        // the second: Kafka has that gap, too.
        let first_elsewhere = |flying: &InFlight| flying.batch.sequence == Some(0) && flying.to != to;
        if lane.in_flight.iter().any(first_elsewhere) {
            return None;
        }
        // Brokers know the last five batches again. With one undecided, a producer that went on beyond them could not
        // be told whether it was appended.
        let oldest = lane.in_flight.iter().map(|flying| flying.batch.op).min();
        if idempotent && oldest.is_some_and(|oldest| (head.op - oldest) as usize >= self.plan.max_in_flight) {
            return None;
        }
        let mut batch = lane.waiting.pop_front().expect("just seen");
        if idempotent && batch.sequence.is_none() {
            batch.sequence = Some(lane.next_sequence);
            lane.next_sequence += batch.count as i32;
        }
        Some(batch)
    }

    fn returns(&mut self, place: Place, mut batch: Batch, now: Micros) {
        batch.attempt += 1;
        let lane = &mut self.lanes[place];
        lane.pause_until = now + BACKOFF;
        let at = match batch.sequence {
            Some(_) => lane
                .waiting
                .partition_point(|other| other.sequence.is_some() && other.sequence < batch.sequence),
            None => 0,
        };
        lane.waiting.insert(at, batch);
    }
}

impl World {
    /// Time for a producer to make a batch, and to send what it has.
    pub fn producer_wakes(&mut self, client: usize) {
        self.refresh_routes(client);
        let (now, making) = (self.now, self.now < self.producing_until && self.plan.is_busy(self.now));
        let chance = &mut self.chance.clients;
        let Role::Producer(producer) = &mut self.clients[client].role else { return };
        let pause = producer.plan.pause;
        if making {
            for _ in 0..chance.between(1, 3) {
                let lane = &mut producer.lanes[chance.index(self.places.len())];
                if lane.waiting.len() < 50 {
                    let count = chance.between(1, 3) as u32;
                    let op = lane.next_op;
                    lane.next_op += 1;
                    lane.waiting.push_back(Batch { op, count, attempt: 0, sequence: None, born: now });
                }
            }
        }
        let next = if making { chance.waiting(pause) } else { 50 * MS };
        self.send_batches(client);
        self.after(next, Event::Wake(client));
    }

    fn send_batches(&mut self, client: usize) {
        for place in 0..self.places.len() {
            loop {
                let now = self.now;
                let Some(to) = self.clients[client].routes[place].leader else { break };
                let Role::Producer(producer) = &mut self.clients[client].role else { return };
                let plan = producer.plan;
                let Some(batch) = producer.send_next(place, to, now) else { break };
                self.send_batch(client, place, to, plan, batch);
            }
        }
    }

    fn send_batch(&mut self, client: usize, place: Place, to: M, plan: ProducerPlan, batch: Batch) {
        let Role::Producer(producer) = &self.clients[client].role else { return };
        let renewed = producer.lanes[place].renewed;
        let tag = Tag { client: (client * 64 + place) as u32, op: batch.op, attempt: batch.attempt };
        let sequenced = plan.id.zip(batch.sequence).map(|(id, base)| Sequenced {
            id: id + RENEWED * renewed,
            epoch: 0,
            base,
        });
        let padding = self.chance.clients.below(plan.padding + 1) as usize;
        let unix_ms = 1_767_225_600_000 + (self.now / MS) as i64;
        let bytes = batch::encode(tag, sequenced, batch.count, padding, unix_ms);
        let ask = Ask::Produce { place, tag, batch: bytes, acks: plan.acks, timeout_ms: TIMEOUT_MS };
        let request = self.request(client, to, ask);
        self.note([20, request, u64::from(batch.op)], || format!("c{client} sends {tag:?} to b{}", to + 1));
        self.checks.sent(tag, plan.acks, plan.id.is_some());
        if plan.acks != Acks::None
            && let Role::Producer(producer) = &mut self.clients[client].role
        {
            producer.lanes[place].in_flight.push(InFlight { batch, to, request });
        }
    }

    /// An answer, or that there is none.
    pub fn producer_told(&mut self, client: usize, number: u64, request: &Request, told: Told) {
        let Ask::Produce { place, tag, .. } = request.ask else { return };
        let now = self.now;
        let Role::Producer(producer) = &mut self.clients[client].role else { return };
        let lane = &mut producer.lanes[place];
        let Some(at) = lane.in_flight.iter().position(|flying| flying.request == number) else { return };
        let batch = lane.in_flight.remove(at).batch;
        match told {
            Told::Appended => {}
            Told::Failed { code: 45, .. } => {
                let first = |other: &Option<i32>| other.is_none() || *other > batch.sequence;
                let is_next = lane.waiting.iter().all(|other| first(&other.sequence))
                    && lane.in_flight.iter().all(|other| first(&other.batch.sequence));
                let may_have_lost = self.may_have_lost(tag.client);
                let Role::Producer(producer) = &mut self.clients[client].role else { return };
                if is_next && may_have_lost {
                    producer.lanes[place].renews = true;
                    self.coverage.count("last resort: a producer began anew");
                } else if is_next {
                    let text = format!("{tag:?} is the next batch of its producer and was refused with 45");
                    return self.fail("an idempotent producer loses nothing", text);
                }
                producer.returns(place, batch, now);
            }
            Told::Failed { .. } | Told::Disconnected => producer.returns(place, batch, now),
            other => panic!("a produce was answered with {other:?}"),
        }
        self.send_batches(client);
    }
}
