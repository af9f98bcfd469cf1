//! Connects the producer state of core to batches and log entries. Batches without a producer pass through.

use chronik_core::ids::{LogIndex, Offset};
use chronik_core::replication::producer_state::{
    Appended, BatchProducer, ProducerError, ProducerLimits, ProducerState, Sequencing,
};

use super::append::AppendError;
use crate::log::{self, CheckedBatch, EntryMeta, GroupLog};

/// Kafka's code of a batch that only the next leader can take.
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// Entries read at a time while the state is rebuilt.
const RECOVERY_CHUNK: usize = 4_096;

/// The producer state that follows from a log of which `commit` entries are committed.
pub(super) fn recover(log: &GroupLog, commit: LogIndex, unix_ms: u64) -> ProducerState {
    let mut state = ProducerState::new(ProducerLimits::default());
    let mut next = log.first_index();
    loop {
        let metas = log.metas(next, log.last_index() + 1, RECOVERY_CHUNK);
        let Some(last) = metas.last() else { break };
        next = last.index + 1;
        for meta in &metas {
            record(&mut state, meta, unix_ms);
        }
        state.committed(commit.min(next - 1));
    }
    state
}

/// Notes an entry that came into the log by replication or recovery.
pub(super) fn record(state: &mut ProducerState, entry: &EntryMeta, unix_ms: u64) {
    appended(state, entry.producer, entry.index, entry.base_offset, unix_ms);
}

/// Notes a batch that this leader appended.
pub(super) fn appended(
    state: &mut ProducerState,
    producer: Option<log::BatchProducer>,
    index: LogIndex,
    base_offset: Offset,
    unix_ms: u64,
) {
    if let Some(producer) = producer {
        state.appended(index, base_offset, &to_core(producer), unix_ms);
    }
}

/// The log from `index` on gives way to another leader's. The clients of those batches will send them again: what is on its
/// way behind them must not overtake them, not even where nothing else of its producer is known.
pub(super) fn cut(state: &mut ProducerState, index: LogIndex, unix_ms: u64) {
    for lost in state.truncate_from(index) {
        state.refused(&lost, NOT_LEADER_OR_FOLLOWER, unix_ms);
    }
}

/// Judges a batch: the original it repeats, or `None` if it is new.
pub(super) fn check(
    state: &mut ProducerState,
    batch: &CheckedBatch,
    unix_ms: u64,
) -> Result<Option<Appended>, ProducerError> {
    let Some(producer) = batch.producer().map(to_core) else { return Ok(None) };
    match state.check(&producer, unix_ms) {
        Ok(Sequencing::New) => Ok(None),
        Ok(Sequencing::Duplicate(original)) => Ok(Some(original)),
        Err(error) => {
            if let ProducerError::EarlierBatchRefused { code } = error {
                state.refused(&producer, code, unix_ms);
            }
            Err(error)
        }
    }
}

/// Whether a batch leaves a gap behind what its producer wrote, or comes out of order, as far as this log goes.
pub(super) fn is_out_of_order(state: &ProducerState, batch: &CheckedBatch, unix_ms: u64) -> bool {
    let judged = batch.producer().map(|producer| state.check(&to_core(producer), unix_ms));
    matches!(judged, Some(Err(ProducerError::OutOfOrderSequence { .. })))
}

/// Notes a batch that was refused: what the producer pipelined behind it must not overtake it.
pub(super) fn refused(
    state: &mut ProducerState,
    producer: Option<log::BatchProducer>,
    error: &AppendError,
    unix_ms: u64,
) {
    if let Some(producer) = producer.map(to_core) {
        state.refused(&producer, error.code(), unix_ms);
    }
}

fn to_core(producer: log::BatchProducer) -> BatchProducer {
    BatchProducer {
        id: producer.id,
        epoch: producer.epoch,
        base_sequence: producer.base_sequence,
        last_sequence: producer.last_sequence,
    }
}
