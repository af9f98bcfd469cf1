//! The batches remembered of one producer. It holds them and cuts them; the rules are its parent's.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::ids::{LogIndex, Offset};

use super::{Appended, BatchProducer, sequence_after};

/// Kafka's: a client has at most five requests in flight, so it never repeats more.
pub(super) const REMEMBERED: usize = 5;

/// One batch in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) index: LogIndex,
    pub(super) base_offset: Offset,
    pub(super) base_sequence: i32,
    pub(super) last_sequence: i32,
    pub(super) epoch: i16,
    pub(super) appended_ms: u64,
}

impl Batch {
    pub(super) fn of_producer(&self, id: i64) -> BatchProducer {
        let Batch { epoch, base_sequence, last_sequence, .. } = *self;
        BatchProducer { id, epoch, base_sequence, last_sequence }
    }

    fn appended(&self) -> Appended {
        let delta = self.last_sequence.wrapping_sub(self.base_sequence) & i32::MAX;
        Appended {
            index: self.index,
            base_offset: self.base_offset,
            last_offset: self.base_offset + Offset::from(delta),
        }
    }
}

/// A producer's batches in log order: the last five committed ones, then all uncommitted ones. Those that
/// count are the last five of the newest one's epoch. Never empty while it is in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) batches: VecDeque<Batch>,
}

impl Entry {
    pub(super) fn epoch(&self) -> i16 {
        self.newest().epoch
    }

    pub(super) fn next_sequence(&self) -> i32 {
        sequence_after(self.newest().last_sequence, 1)
    }

    pub(super) fn last_append_ms(&self) -> u64 {
        self.newest().appended_ms
    }

    /// The batch with exactly these sequences, if it still counts; the oldest of several, as in Kafka.
    pub(super) fn find(&self, batch: &BatchProducer) -> Option<Appended> {
        let epoch = self.epoch();
        let counting = self.batches.iter().rev().take(REMEMBERED).take_while(|b| b.epoch == epoch);
        let wanted = (batch.epoch, batch.base_sequence, batch.last_sequence);
        counting.filter(|b| (b.epoch, b.base_sequence, b.last_sequence) == wanted).last().map(Batch::appended)
    }

    pub(super) fn push(
        &mut self,
        index: LogIndex,
        base_offset: Offset,
        batch: &BatchProducer,
        appended_ms: u64,
    ) {
        let BatchProducer { epoch, base_sequence, last_sequence, .. } = *batch;
        self.batches.push_back(Batch {
            index,
            base_offset,
            base_sequence,
            last_sequence,
            epoch,
            appended_ms,
        });
    }

    /// Removes the newest batch; with it, whether none is left.
    pub(super) fn pop(&mut self) -> (Batch, bool) {
        let newest = self.batches.pop_back().expect("an entry in the table has a batch");
        (newest, self.batches.is_empty())
    }

    /// Drops what no cut above `committed` can bring back.
    pub(super) fn fold(&mut self, committed: LogIndex) {
        let settled = self.batches.iter().take_while(|b| b.index <= committed).count();
        self.batches.drain(..settled.saturating_sub(REMEMBERED));
    }

    pub(super) fn has_uncommitted(&self, committed: LogIndex) -> bool {
        self.newest().index > committed
    }

    /// Silent for too long. One with an uncommitted batch is not: a cut must find it.
    pub(super) fn is_expired(&self, committed: LogIndex, expiry_ms: u64, now_ms: u64) -> bool {
        !self.has_uncommitted(committed) && now_ms.saturating_sub(self.last_append_ms()) >= expiry_ms
    }

    fn newest(&self) -> &Batch {
        self.batches.back().expect("an entry in the table has a batch")
    }
}
