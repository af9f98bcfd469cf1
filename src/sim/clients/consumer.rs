//! A Kafka consumer: reads every partition from its beginning, at whoever seems to lead it, up to the high watermark.

use chronik_broker::log::BatchHeader;
use chronik_core::ids::Offset;

use super::{Ask, BACKOFF, Request, Role, Told};
use crate::time::{MS, Micros};
use crate::world::{Event, M, World};

/// Bytes of one fetch, at most.
const MAX_BYTES: u64 = 64 << 10;
/// Now and then a consumer begins at the beginning again.
const BEGINS_AGAIN: u64 = 64;

/// One partition's position.
#[derive(Clone, Copy, Default)]
struct Reading {
    position: Offset,
    asked: bool,
    pause_until: Micros,
    /// The follower it was sent to.
    read_from: Option<M>,
}

/// A consumer.
pub struct Consumer {
    readings: Vec<Reading>,
    pause: Micros,
    /// The broker in its rack, if it named one.
    near: Option<M>,
}

impl Consumer {
    pub fn new(places: usize, pause: Micros, near: Option<M>) -> Self {
        Self { readings: vec![Reading::default(); places], pause, near }
    }

    /// Up to where it has read a partition.
    pub fn position(&self, place: usize) -> Offset {
        self.readings[place].position
    }
}

impl World {
    /// Time for a consumer to fetch.
    pub fn consumer_wakes(&mut self, client: usize) {
        self.refresh_routes(client);
        (0..self.places.len()).for_each(|place| self.read_on(client, place));
        let Role::Consumer(consumer) = &self.clients[client].role else { return };
        let pause = consumer.pause;
        let next = pause / 2 + self.chance.clients.below(pause.max(MS));
        self.after(next, Event::Wake(client));
    }

    /// Fetches, or now and then asks where the end is, unless an answer is due or a pause is on.
    fn read_on(&mut self, client: usize, place: usize) {
        let (now, route) = (self.now, self.clients[client].routes[place]);
        let chance = &mut self.chance.clients;
        let (end, max_bytes) = (chance.one_in(16), chance.between(1 << 10, MAX_BYTES) as usize);
        let again = chance.one_in(BEGINS_AGAIN) && now < self.producing_until;
        let Role::Consumer(consumer) = &mut self.clients[client].role else { return };
        let reading = &mut consumer.readings[place];
        let Some(leader) = route.leader.filter(|_| !reading.asked && now >= reading.pause_until) else {
            return;
        };
        reading.asked = true;
        if again {
            // Another one that reads everything: what lies on disks is read, and not only what was just written.
            reading.position = 0;
        }
        let (offset, epoch, near) = (reading.position, route.epoch, consumer.near);
        if end {
            self.request(client, leader, Ask::Latest { place, epoch });
        } else {
            let to = reading.read_from.unwrap_or(leader);
            self.request(client, to, Ask::Fetch { place, offset, epoch, max_bytes, near });
        }
    }

    /// An answer, or that there is none.
    pub fn consumer_told(&mut self, client: usize, request: &Request, told: Told) {
        let (Ask::Fetch { place, .. } | Ask::Latest { place, .. }) = request.ask else { return };
        let now = self.now;
        let Role::Consumer(consumer) = &mut self.clients[client].role else { return };
        let reading = &mut consumer.readings[place];
        reading.asked = false;
        match told {
            Told::Fetched(records) => {
                let (from, mut rest) = (reading.position, &records[..]);
                while let Ok(header) = BatchHeader::parse(rest) {
                    let end = header.base_offset + Offset::from(header.records());
                    if header.base_offset > reading.position || end <= reading.position {
                        let (base, at) = (header.base_offset, reading.position);
                        let text = format!("partition {place}: a batch {base}..{end} for position {at}");
                        return self.fail("a consumer reads without gaps", text);
                    }
                    reading.position = end;
                    rest = &rest[header.size..];
                }
                let to = reading.position;
                if to > from {
                    self.note([30, place as u64, to as u64], || {
                        format!("c{client} read {place}: {from}..{to}")
                    });
                    self.read_on(client, place);
                }
            }
            Told::Latest => {}
            Told::ReadFrom(follower) => {
                reading.read_from = Some(follower);
                self.read_on(client, place);
            }
            Told::Failed { code: 1, .. } if reading.read_from.is_none() => {
                let at = reading.position;
                if let Some(end) = self.rebuilt_end(place).filter(|end| *end < at) {
                    return self.reset_position(client, place, end);
                }
                let text = format!("partition {place}: position {at} is said to be out of range");
                self.fail("a consumer's position is never lost", text);
            }
            Told::Failed { .. } | Told::Disconnected => {
                (reading.pause_until, reading.read_from) = (now + BACKOFF, None);
            }
            other => panic!("a fetch was answered with {other:?}"),
        }
    }

    /// Records up to there are all that a recovery kept: the consumer goes on from their end, as `latest` would have it.
    fn reset_position(&mut self, client: usize, place: usize, end: Offset) {
        self.coverage.count("last resort: a consumer was beyond the end");
        if let Role::Consumer(consumer) = &mut self.clients[client].role {
            consumer.readings[place].position = end;
        }
    }
}
