//! One partition of a Fetch: whether it may be read, from where, and what was read.

use std::sync::Arc;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, Offset, Term};
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;

use super::super::backend::{Backend, Leadership, ReadError, ReplicaHandle};
use super::super::errors::{
    KAFKA_STORAGE_ERROR, OFFSET_NOT_AVAILABLE, OFFSET_OUT_OF_RANGE, UNSUPPORTED_COMPRESSION_TYPE,
};
use super::super::lookup::{self, Refused};
use super::asked;
use super::reader::Reader;
use crate::log::batch::BatchHeader;
use crate::server::{Memory, RequestContext, Room};

/// First version that names topics by id.
pub(super) const IDS_FROM: i16 = 13;
/// First version that knows zstd.
const ZSTD_FROM: i16 = 10;
const ZSTD: i16 = 4;
/// While an answer is made its records are there twice: as they were read, and as they are sent.
const COPIES: usize = 2;

/// A partition asked for.
pub(super) struct Target {
    /// The place of its topic in the request.
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) replica: Option<Arc<dyn ReplicaHandle>>,
    wanted: Wanted,
    reader: Option<Arc<Reader>>,
    pub(super) found: Result<Found, Refused>,
}

#[derive(Clone, Copy)]
struct Wanted {
    offset: Offset,
    max_bytes: usize,
    epoch: i32,
    last_fetched_epoch: i32,
    knows_zstd: bool,
}

/// What a partition has for the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    pub(super) high_watermark: Offset,
    pub(super) log_start_offset: Offset,
    pub(super) records: Bytes,
    /// Where the client's log leaves this one, if it does.
    pub(super) diverging: Option<(Term, Offset)>,
    /// The replica that the client should read from instead.
    pub(super) read_from: Option<BrokerId>,
    /// A follower has not got there yet.
    pub(super) behind: bool,
}

impl Target {
    pub(super) fn all(backend: &dyn Backend, context: &RequestContext, request: &FetchRequest) -> Vec<Self> {
        let cluster = backend.cluster();
        let reader = Reader::of(backend, context, request).map(Arc::new);
        let by_id = context.api_version >= IDS_FROM;
        let targets = asked(request).map(|(at, topic, partition)| {
            let replica = lookup::topic(&cluster, by_id, &topic.topic, topic.topic_id)
                .map_err(Refused::from)
                .and_then(|topic| lookup::replica(backend, topic, partition.partition));
            let (replica, found) = match replica {
                Ok(replica) => (Some(replica), Ok(Found::default())),
                Err(refused) => (None, Err(refused)),
            };
            let wanted = Wanted::new(partition, context.api_version);
            Target {
                topic: at,
                partition: partition.partition,
                replica,
                wanted,
                reader: reader.clone(),
                found,
            }
        });
        targets.collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.found.as_ref().map_or(0, |found| found.records.len())
    }

    /// Whether the client must hear of it without waiting.
    pub(super) fn is_urgent(&self) -> bool {
        self.found.as_ref().map_or(true, |found| found.diverging.is_some() || found.read_from.is_some())
    }

    /// Whether a caretaker answered that it has nothing for the client.
    pub(super) fn is_stranded(&self) -> bool {
        self.found.as_ref().is_err_and(|refused| refused.code == OFFSET_NOT_AVAILABLE)
    }

    /// Looks at the replica again. Whether there is something to read, and up to where, is its result.
    fn look(&mut self) -> Option<Offset> {
        let replica = self.replica.as_ref()?;
        self.found = look(replica.as_ref(), &self.wanted, self.reader.as_deref());
        let found = self.found.as_ref().ok()?;
        let here = found.diverging.is_none() && found.read_from.is_none();
        let readable = here && self.wanted.offset < found.high_watermark;
        readable.then_some(found.high_watermark)
    }

    fn readable(&self, below: Offset, budget: usize, at_least_one: bool) -> usize {
        let Some(replica) = &self.replica else { return 0 };
        replica.readable(self.wanted.offset, below, self.wanted.max_bytes.min(budget), at_least_one)
    }

    fn read(&mut self, below: Offset, budget: usize, at_least_one: bool) {
        let Some(replica) = &self.replica else { return };
        let max_bytes = self.wanted.max_bytes.min(budget);
        let read = replica.read(self.wanted.offset, below, max_bytes, at_least_one);
        match read.map_err(storage_failure).and_then(|records| self.wanted.check(records)) {
            Ok(records) => {
                if let Ok(found) = &mut self.found {
                    found.records = records;
                }
            }
            Err(code) => self.found = Err(code.into()),
        }
    }
}

impl Wanted {
    fn new(partition: &FetchPartition, version: i16) -> Self {
        Self {
            offset: partition.fetch_offset,
            max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            knows_zstd: version >= ZSTD_FROM,
        }
    }

    /// A client that does not know zstd must not get it.
    fn check(&self, records: Bytes) -> Result<Bytes, i16> {
        if self.knows_zstd {
            return Ok(records);
        }
        let mut rest = &records[..];
        while let Ok(header) = BatchHeader::parse(rest) {
            if header.compression() == ZSTD {
                return Err(UNSUPPORTED_COMPRESSION_TYPE);
            }
            rest = &rest[header.size..];
        }
        Ok(records)
    }
}

/// What the replica may show of itself before anything is read.
fn look(replica: &dyn ReplicaHandle, wanted: &Wanted, reader: Option<&Reader>) -> Result<Found, Refused> {
    let leadership = replica.leadership();
    lookup::check_epoch(&leadership, wanted.epoch)?;
    let found = Found {
        high_watermark: replica.high_watermark(),
        log_start_offset: replica.log_start_offset(),
        ..Found::default()
    };
    match leadership {
        Leadership::Leader { .. } => look_at_leader(replica, wanted, reader, found),
        Leadership::Caretaker { .. } => look_at_caretaker(wanted, found),
        Leadership::Follower { leader: Some(_), .. } if reader.is_some() && replica.is_in_sync() => {
            look_at_follower(replica, wanted, found)
        }
        Leadership::Follower { leader, epoch } => Err(Refused::not_leader(leader, epoch)),
        Leadership::Quarantined { .. } => Err(KAFKA_STORAGE_ERROR.into()),
    }
}

fn look_at_leader(
    replica: &dyn ReplicaHandle,
    wanted: &Wanted,
    reader: Option<&Reader>,
    found: Found,
) -> Result<Found, Refused> {
    if let Some(diverging) = divergence(replica, wanted) {
        return Ok(Found { diverging: Some(diverging), ..found });
    }
    // The end may move between the two reads, the high watermark with it: it is never beyond the end.
    let end = replica.log_end_offset().max(found.high_watermark);
    if wanted.offset < found.log_start_offset || wanted.offset > end {
        return Err(OFFSET_OUT_OF_RANGE.into());
    }
    let read_from = reader.and_then(|reader| reader.better_replica(replica));
    Ok(Found { read_from, ..found })
}

/// 1 would reset the consumer's position, and a caretaker cannot know that it is wrong. At its end it has nothing more:
/// waiting there would keep a client from the leader it cannot see.
fn look_at_caretaker(wanted: &Wanted, found: Found) -> Result<Found, Refused> {
    if (found.log_start_offset..found.high_watermark).contains(&wanted.offset) {
        return Ok(found);
    }
    Err(OFFSET_NOT_AVAILABLE.into())
}

/// A follower may be a little behind what its leader showed the client: it waits for it, as for new records.
fn look_at_follower(replica: &dyn ReplicaHandle, wanted: &Wanted, found: Found) -> Result<Found, Refused> {
    if wanted.offset < found.log_start_offset {
        // Clients that read from a follower ask the leader again before they believe this.
        return Err(OFFSET_OUT_OF_RANGE.into());
    }
    let behind = wanted.offset > replica.log_end_offset().max(found.high_watermark);
    Ok(Found { behind, ..found })
}

/// Where the client's log parts from this one, as the epoch of its last record shows (KIP-595).
fn divergence(replica: &dyn ReplicaHandle, wanted: &Wanted) -> Option<(Term, Offset)> {
    let last = Term::try_from(wanted.last_fetched_epoch).ok()?;
    let (epoch, end) = replica.end_of_epoch(last)?;
    (epoch < last || end < wanted.offset).then_some((epoch, end))
}

fn storage_failure(error: ReadError) -> i16 {
    tracing::error!(%error, "fetch");
    KAFKA_STORAGE_ERROR
}

/// What was read, and the room that it takes of the answers' memory.
pub(super) struct Read {
    pub(super) targets: Vec<Target>,
    pub(super) room: Option<Room>,
    /// There was no room for all that there is: more will not come by waiting.
    pub(super) cut_short: bool,
}

/// Looks at every partition and reads those that have something, in the order asked, until `max_bytes` are there or what
/// `memory` has left for one answer. The first batch found comes whatever its size, so that no client is stuck before a
/// large one.
pub(super) async fn read_all(mut targets: Vec<Target>, max_bytes: usize, memory: &Memory) -> Read {
    let below: Vec<Option<Offset>> = targets.iter_mut().map(Target::look).collect();
    let (all, least) = readable(&targets, &below, max_bytes);
    if all == 0 {
        return Read { targets, room: None, cut_short: false };
    }
    let mut room = memory.room_for_up_to(COPIES * all, COPIES * least).await;
    let budget = (room.bytes() / COPIES).min(all);
    let targets = read(targets, below, budget).await;
    room.shrink_to(COPIES * targets.iter().map(Target::bytes).sum::<usize>());
    Read { targets, room: Some(room), cut_short: budget < all }
}

/// How many bytes there are to be read, and how many the first batch alone has.
fn readable(targets: &[Target], below: &[Option<Offset>], max_bytes: usize) -> (usize, usize) {
    let (mut all, mut least) = (0, 0);
    for (target, below) in targets.iter().zip(below) {
        let Some(below) = *below else { continue };
        all += target.readable(below, max_bytes.saturating_sub(all), all == 0);
        if least == 0 && all > 0 {
            least = target.readable(below, 0, true);
        }
    }
    (all, least)
}

async fn read(mut targets: Vec<Target>, below: Vec<Option<Offset>>, max_bytes: usize) -> Vec<Target> {
    let read = move || {
        let mut budget = max_bytes;
        let mut at_least_one = true;
        for (target, below) in targets.iter_mut().zip(below) {
            let Some(below) = below else { continue };
            target.read(below, budget, at_least_one);
            at_least_one &= target.bytes() == 0;
            budget = budget.saturating_sub(target.bytes());
        }
        targets
    };
    // A panic in there is one here: the connection ends, the process does not.
    match tokio::task::spawn_blocking(read).await {
        Ok(targets) => targets,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Vec::new(),
        },
    }
}
