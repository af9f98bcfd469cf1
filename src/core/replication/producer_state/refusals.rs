//! Batches that were refused, so that those pipelined behind them neither overtake them nor seem out of order.
//! Soft state of a leader, never in a snapshot.

use std::collections::BTreeMap;

use super::{BatchProducer, ProducerLimits};

#[derive(Clone, Copy, Debug)]
struct Refused {
    epoch: i16,
    base_sequence: i32,
    code: i16,
    at_ms: u64,
}

/// By producer id, the earliest batch that was refused and must return first.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(BTreeMap<i64, Refused>);

impl Refusals {
    /// The code with which to hold a batch back. Sequence 0 is a new beginning and always let through.
    pub(super) fn held_back(
        &self,
        batch: &BatchProducer,
        now_ms: u64,
        limits: &ProducerLimits,
    ) -> Option<i16> {
        let first = self.0.get(&batch.id).filter(|r| !r.is_given_up(now_ms, limits))?;
        (!first.is_or_precedes(batch)).then_some(first.code)
    }

    /// The same for a producer whose next sequence is known: only the batch that begins there is one to wait for.
    pub(super) fn held_back_behind(
        &self,
        expected: i32,
        batch: &BatchProducer,
        now_ms: u64,
        limits: &ProducerLimits,
    ) -> Option<i16> {
        let first = self.0.get(&batch.id).filter(|r| !r.is_given_up(now_ms, limits))?;
        let waited_for = (first.epoch, first.base_sequence) == (batch.epoch, expected);
        (waited_for && batch.base_sequence != 0).then_some(first.code)
    }

    /// Notes a refusal. Batches behind the one that must come first change nothing.
    pub(super) fn note(&mut self, batch: &BatchProducer, code: i16, now_ms: u64, limits: &ProducerLimits) {
        let known = self.0.get(&batch.id).filter(|r| !r.is_given_up(now_ms, limits));
        if known.is_some_and(|first| !first.is_or_precedes(batch)) {
            return;
        }
        let BatchProducer { epoch, base_sequence, .. } = *batch;
        self.0.insert(batch.id, Refused { epoch, base_sequence, code, at_ms: now_ms });
        if self.0.len() > limits.max_producers {
            self.expire(now_ms, limits);
        }
        if self.0.len() > limits.max_producers {
            let oldest = self.0.iter().min_by_key(|(_, r)| r.at_ms).map(|(id, _)| *id);
            self.0.remove(&oldest.expect("more than the bound is more than none"));
        }
    }

    pub(super) fn clear(&mut self, id: i64) {
        self.0.remove(&id);
    }

    pub(super) fn expire(&mut self, now_ms: u64, limits: &ProducerLimits) {
        self.0.retain(|_, refused| !refused.is_given_up(now_ms, limits));
    }
}

impl Refused {
    /// Whether a batch is the refused one returning (perhaps split, so only its beginning counts) or begins anew.
    fn is_or_precedes(&self, batch: &BatchProducer) -> bool {
        batch.base_sequence == 0 || (batch.epoch, batch.base_sequence) == (self.epoch, self.base_sequence)
    }

    fn is_given_up(&self, now_ms: u64, limits: &ProducerLimits) -> bool {
        now_ms.saturating_sub(self.at_ms) >= limits.refusal_expiry_ms
    }
}
