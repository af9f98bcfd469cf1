//! Idempotent producers of one partition: is this batch new, a repetition, or out of order? Kafka's rules, on state that
//! follows from the log and its uncommitted tail. It never reads the log; whoever appends to it or cuts it says so here.
//!
//! Of each producer it keeps the last five batches of its newest epoch, with their offsets and Raft indexes, and beyond
//! that what a cut of the tail might bring back. So cutting is exact, and costs only what it cuts.
//!
//! A producer without state may begin with any sequence, as in Kafka 4.3 for producers without transactions: its state may
//! have expired. Kafka can afford that; behind a gate that refuses batches, the second of two pipelined batches could then
//! slip in before the first one returns. [`refused`](ProducerState::refused) prevents it. It also gives that second batch
//! the first one's code where Kafka says that it is out of order: librdkafka takes that for a lost batch, begins a new epoch
//! for all its partitions, and sends again under it what elsewhere is in the log already.
//!
//! Time is Unix milliseconds, given by the caller: it lies in snapshots, which outlive any monotonic clock.

mod entry;
mod refusals;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{LogIndex, Offset};

use entry::Entry;
use refusals::Refusals;
pub use snapshot::{ProducerRecord, ProducerSnapshot, SnapshotError};

/// What a record batch says about its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchProducer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Sequence of the last record: smaller than the first where it has wrapped around.
    pub last_sequence: i32,
}

/// The sequence `delta` records after `base`: after `i32::MAX` comes 0.
pub fn sequence_after(base: i32, delta: i32) -> i32 {
    base.wrapping_add(delta) & i32::MAX
}

/// A batch that is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Raft index of its entry: the repetition is answered once this one completes.
    pub index: LogIndex,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
}

/// What may be done with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequencing {
    /// Append it.
    New,
    /// It was appended before: answer with that one's offsets, once that one completes under this request's acks.
    Duplicate(Appended),
}

/// Why a batch may not be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProducerError {
    /// A batch is missing between the last one and this one, or this one is old and no longer remembered.
    #[error("producer {id} epoch {epoch}: sequence {sequence} is out of order, expected {expected}")]
    OutOfOrderSequence {
        /// Producer id.
        id: i64,
        /// Epoch of the batch.
        epoch: i16,
        /// First sequence of the batch.
        sequence: i32,
        /// The only sequence allowed now.
        expected: i32,
    },
    /// The batch is from an epoch that a newer one has fenced.
    #[error("producer {id}: epoch {epoch} is fenced, {current} is current")]
    InvalidProducerEpoch {
        /// Producer id.
        id: i64,
        /// Epoch of the batch.
        epoch: i16,
        /// The producer's epoch in this log.
        current: i16,
    },
    /// An earlier batch of this producer was refused with this code and has not returned.
    #[error("an earlier batch of the producer was refused with error {code} and must come first")]
    EarlierBatchRefused {
        /// Kafka's code of the first refusal.
        code: i16,
    },
}

impl ProducerError {
    /// The Kafka error code.
    pub fn code(&self) -> i16 {
        match self {
            Self::OutOfOrderSequence { .. } => 45,
            Self::InvalidProducerEpoch { .. } => 47,
            Self::EarlierBatchRefused { code } => *code,
        }
    }
}

/// Bounds on what is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerLimits {
    /// Producers with state; beyond it those go that were silent for longest. Such a producer goes on as an unknown one.
    pub max_producers: usize,
    /// Kafka's `producer.id.expiration.ms`: state goes that long after the last append.
    pub expiry_ms: u64,
    /// A refused batch that has not returned for so long is given up: its client has.
    pub refusal_expiry_ms: u64,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self { max_producers: 10_000, expiry_ms: 86_400_000, refusal_expiry_ms: 300_000 }
    }
}

/// The producers of one partition, on one replica.
#[derive(Clone, Debug)]
pub struct ProducerState {
    limits: ProducerLimits,
    producers: BTreeMap<i64, Entry>,
    /// Who appended above the commit, in log order.
    tail: VecDeque<(LogIndex, i64)>,
    committed: LogIndex,
    last_index: LogIndex,
    refusals: Refusals,
}

impl ProducerState {
    /// The state of an empty log.
    pub fn new(limits: ProducerLimits) -> Self {
        Self {
            limits,
            producers: BTreeMap::new(),
            tail: VecDeque::new(),
            committed: 0,
            last_index: 0,
            refusals: Refusals::default(),
        }
    }

    /// Judges a batch that a client wants appended. Changes nothing: call [`appended`](Self::appended) or
    /// [`refused`](Self::refused) once its fate is known, before the next batch is judged.
    pub fn check(&self, batch: &BatchProducer, now_ms: u64) -> Result<Sequencing, ProducerError> {
        let Some(entry) = self.producers.get(&batch.id) else {
            return self.check_unknown(batch, now_ms);
        };
        let current = entry.epoch();
        if batch.epoch < current {
            return Err(ProducerError::InvalidProducerEpoch { id: batch.id, epoch: batch.epoch, current });
        }
        let expected = if batch.epoch > current {
            0
        } else if let Some(original) = entry.find(batch) {
            return Ok(Sequencing::Duplicate(original));
        } else {
            entry.next_sequence()
        };
        if batch.base_sequence == expected {
            return Ok(Sequencing::New);
        }
        match self.refusals.held_back_behind(expected, batch, now_ms, &self.limits) {
            Some(code) => Err(ProducerError::EarlierBatchRefused { code }),
            None => Err(out_of_order(batch, expected)),
        }
    }

    /// A batch entered the log at `index`, by this leader or by replication: what is in the log is the truth, so nothing is
    /// judged here. To be called as the entry enters the Raft log, before it is synced and before it can commit.
    ///
    /// # Panics
    /// If the log did not move forward: replaced entries are cut first.
    pub fn appended(&mut self, index: LogIndex, base_offset: Offset, batch: &BatchProducer, now_ms: u64) {
        assert!(index > self.committed, "append at {index}, committed up to {}", self.committed);
        assert!(index >= self.last_index, "append at {index} below the last one at {}", self.last_index);
        self.last_index = index;
        if !self.producers.contains_key(&batch.id) {
            self.make_room();
        }
        self.producers.entry(batch.id).or_default().push(index, base_offset, batch, now_ms);
        self.tail.push_back((index, batch.id));
        self.refusals.clear(batch.id);
    }

    /// A batch that [`check`](Self::check) found new, or held back for an earlier one, was not appended but refused with
    /// `code`. It leaves no state, but later batches are held back until it returns.
    pub fn refused(&mut self, batch: &BatchProducer, code: i16, now_ms: u64) {
        if let Some(entry) = self.producers.get(&batch.id) {
            let expected = if batch.epoch > entry.epoch() { 0 } else { entry.next_sequence() };
            if batch.epoch < entry.epoch() || batch.base_sequence != expected {
                return;
            }
            // What was noted before may be of a tail that was cut since.
            self.refusals.clear(batch.id);
        }
        self.refusals.note(batch, code, now_ms, &self.limits);
    }

    /// The log from `index` on is gone: so is what followed from it. Gives the first batch that each producer lost: it is
    /// as if it had been [`refused`](Self::refused), and a leader is to say so.
    pub fn truncate_from(&mut self, index: LogIndex) -> Vec<BatchProducer> {
        assert!(index > self.committed, "cut at {index}, committed up to {}", self.committed);
        let mut lost = BTreeMap::new();
        while let Some(&(last, id)) = self.tail.back()
            && last >= index
        {
            self.tail.pop_back();
            let entry = self.producers.get_mut(&id).expect("a producer with an uncommitted batch has state");
            let (batch, was_last) = entry.pop();
            lost.insert(id, batch.of_producer(id));
            if was_last {
                self.producers.remove(&id);
            }
        }
        self.last_index = self.last_index.min(index - 1);
        lost.into_values().collect()
    }

    /// The log up to `index` is committed and will never be cut.
    pub fn committed(&mut self, index: LogIndex) {
        self.committed = self.committed.max(index);
        while let Some(&(first, id)) = self.tail.front()
            && first <= self.committed
        {
            self.tail.pop_front();
            let entry = self.producers.get_mut(&id).expect("a producer with an uncommitted batch has state");
            entry.fold(self.committed);
        }
    }

    /// Forgets who has been silent for too long. Kafka does it every ten minutes.
    pub fn expire(&mut self, now_ms: u64) {
        let (committed, expiry_ms) = (self.committed, self.limits.expiry_ms);
        self.producers.retain(|_, entry| !entry.is_expired(committed, expiry_ms, now_ms));
        self.refusals.expire(now_ms, &self.limits);
    }

    /// Whether a producer has state.
    pub fn remembers(&self, id: i64) -> bool {
        self.producers.contains_key(&id)
    }

    /// How many producers have state.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer has state.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    fn check_unknown(&self, batch: &BatchProducer, now_ms: u64) -> Result<Sequencing, ProducerError> {
        if batch.base_sequence < 0 {
            return Err(out_of_order(batch, 0));
        }
        match self.refusals.held_back(batch, now_ms, &self.limits) {
            Some(code) => Err(ProducerError::EarlierBatchRefused { code }),
            None => Ok(Sequencing::New),
        }
    }

    /// Makes room for one more producer: a sixteenth goes at once, so that the search is paid for once in so many.
    /// Who has an uncommitted batch stays; so at most the tail's length lies above the bound.
    fn make_room(&mut self) {
        if self.producers.len() < self.limits.max_producers {
            return;
        }
        let idle = self.producers.iter().filter(|(_, entry)| !entry.has_uncommitted(self.committed));
        let mut oldest: Vec<(u64, i64)> = idle.map(|(id, entry)| (entry.last_append_ms(), *id)).collect();
        oldest.sort_unstable();
        for (_, id) in oldest.into_iter().take(self.limits.max_producers / 16 + 1) {
            self.producers.remove(&id);
        }
    }
}

fn out_of_order(batch: &BatchProducer, expected: i32) -> ProducerError {
    let BatchProducer { id, epoch, base_sequence: sequence, .. } = *batch;
    ProducerError::OutOfOrderSequence { id, epoch, sequence, expected }
}
