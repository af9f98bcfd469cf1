//! Idempotent producers, case by case as Kafka answers them.

use super::super::producer_state::{
    Appended, BatchProducer, ProducerError, ProducerLimits, ProducerSnapshot, ProducerState, Sequencing,
    SnapshotError, sequence_after,
};

const OUT_OF_ORDER: i16 = 45;
const FENCED: i16 = 47;

/// A log's end and the state that follows it.
struct Log {
    state: ProducerState,
    index: u64,
    offset: i64,
    now_ms: u64,
}

fn batch(id: i64, epoch: i16, base_sequence: i32, records: i32) -> BatchProducer {
    BatchProducer { id, epoch, base_sequence, last_sequence: sequence_after(base_sequence, records - 1) }
}

impl Log {
    fn new() -> Self {
        Self::with(ProducerLimits::default())
    }

    fn with(limits: ProducerLimits) -> Self {
        Self { state: ProducerState::new(limits), index: 0, offset: 0, now_ms: 0 }
    }

    fn append(&mut self, batch: BatchProducer) -> Appended {
        let records = i64::from(batch.last_sequence.wrapping_sub(batch.base_sequence) & i32::MAX) + 1;
        self.index += 1;
        self.state.appended(self.index, self.offset, &batch, self.now_ms);
        let appended =
            Appended { index: self.index, base_offset: self.offset, last_offset: self.offset + records - 1 };
        self.offset += records;
        appended
    }

    fn produce(&mut self, batch: BatchProducer) -> Result<Sequencing, i16> {
        let verdict = self.state.check(&batch, self.now_ms).map_err(|error| error.code());
        if verdict == Ok(Sequencing::New) {
            self.append(batch);
        }
        verdict
    }
}

#[test]
fn sequences_go_on_and_gaps_are_refused() {
    let mut log = Log::new();
    assert_eq!(log.produce(batch(1, 0, 0, 5)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(1, 0, 11, 1)), Err(OUT_OF_ORDER));
    assert_eq!(log.produce(batch(1, 0, 10, 1)), Ok(Sequencing::New));
    let error = log.state.check(&batch(1, 0, 20, 1), 0).unwrap_err();
    assert_eq!(error.to_string(), "producer 1 epoch 0: sequence 20 is out of order, expected 11");
}

#[test]
fn a_repetition_is_answered_with_the_first_ones_offsets() {
    let mut log = Log::new();
    log.append(batch(9, 0, 0, 3));
    let original = log.append(batch(1, 0, 0, 5));
    log.append(batch(1, 0, 5, 5));
    assert_eq!(original, Appended { index: 2, base_offset: 3, last_offset: 7 });
    assert_eq!(log.produce(batch(1, 0, 0, 5)), Ok(Sequencing::Duplicate(original)));
    assert_eq!(log.produce(batch(1, 0, 0, 4)), Err(OUT_OF_ORDER), "not the same batch");
}

#[test]
fn five_batches_are_remembered() {
    let mut log = Log::new();
    for n in 0..6 {
        log.append(batch(1, 0, n, 1));
    }
    assert_eq!(log.produce(batch(1, 0, 0, 1)), Err(OUT_OF_ORDER));
    for n in 1..6 {
        assert!(matches!(log.produce(batch(1, 0, n, 1)), Ok(Sequencing::Duplicate(_))), "{n}");
    }
}

#[test]
fn sequences_wrap_around() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    let mut log = Log::new();
    assert_eq!(log.produce(batch(1, 0, i32::MAX - 1, 4)), Ok(Sequencing::New));
    let Ok(Sequencing::Duplicate(original)) = log.produce(batch(1, 0, i32::MAX - 1, 4)) else {
        panic!("a repetition across the wrap")
    };
    assert_eq!((original.base_offset, original.last_offset), (0, 3));
    assert_eq!(log.produce(batch(1, 0, 3, 1)), Err(OUT_OF_ORDER));
    assert_eq!(log.produce(batch(1, 0, 2, 1)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(2, 0, i32::MAX, 1)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(2, 0, 0, 1)), Ok(Sequencing::New));
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    let mut log = Log::new();
    log.append(batch(1, 3, 0, 5));
    assert_eq!(log.produce(batch(1, 4, 5, 1)), Err(OUT_OF_ORDER));
    assert_eq!(log.produce(batch(1, 4, 0, 1)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(1, 3, 5, 1)), Err(FENCED));
    assert_eq!(log.produce(batch(1, 3, 0, 5)), Err(FENCED), "even a repetition");
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    let mut log = Log::new();
    assert_eq!(log.produce(batch(1, 7, 1_000, 5)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(1, 7, 1_005, 5)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(2, 0, -1, 1)), Err(OUT_OF_ORDER), "no sequence at all");
}

#[test]
fn behind_a_refused_first_batch_all_wait_for_it() {
    let mut log = Log::new();
    log.state.refused(&batch(1, 0, 0, 5), 20, 0);
    assert!(log.state.is_empty(), "a refused batch leaves no state");
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Err(20));
    log.state.refused(&batch(1, 0, 5, 5), 20, 1);
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Err(20));
    assert_eq!(log.produce(batch(2, 0, 5, 5)), Ok(Sequencing::New), "another producer");
    assert_eq!(log.produce(batch(1, 0, 0, 5)), Ok(Sequencing::New), "it returns");
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Ok(Sequencing::New));
}

#[test]
fn a_refused_first_batch_may_have_any_sequence() {
    let mut log = Log::new();
    log.state.refused(&batch(1, 0, 40, 5), 7, 0);
    log.state.refused(&batch(1, 0, 45, 5), 20, 0);
    assert_eq!(log.produce(batch(1, 0, 45, 5)), Err(7), "the first one stays the first");
    assert_eq!(log.produce(batch(1, 1, 45, 5)), Err(7), "a later epoch's later batch");
    assert_eq!(log.produce(batch(1, 0, 40, 2)), Ok(Sequencing::New), "it returns, split");
    assert_eq!(log.produce(batch(1, 0, 42, 3)), Ok(Sequencing::New));
}

#[test]
fn a_new_beginning_ends_the_waiting() {
    let mut log = Log::new();
    log.state.refused(&batch(1, 0, 40, 5), 20, 0);
    assert_eq!(log.produce(batch(1, 1, 0, 5)), Ok(Sequencing::New));
    assert_eq!(log.produce(batch(1, 1, 5, 5)), Ok(Sequencing::New));
}

#[test]
fn what_is_pipelined_behind_a_refused_batch_is_not_out_of_order() {
    let mut log = Log::new();
    log.append(batch(1, 0, 0, 5));
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Err(OUT_OF_ORDER), "nothing was refused");
    log.state.refused(&batch(1, 0, 5, 5), 20, 0);
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Err(20));
    log.state.refused(&batch(1, 0, 10, 5), 7, 0);
    assert_eq!(log.produce(batch(1, 0, 15, 5)), Err(20), "the first one stays the first");
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Ok(Sequencing::New), "it returns");
    assert_eq!(log.produce(batch(1, 0, 15, 5)), Err(OUT_OF_ORDER));
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Ok(Sequencing::New));
}

#[test]
fn a_refusal_counts_only_while_its_batch_is_the_next_one() {
    let mut log = Log::new();
    log.append(batch(1, 0, 0, 5));
    let cut = log.append(batch(1, 0, 5, 5));
    log.state.refused(&batch(1, 0, 10, 5), 20, 0);
    assert_eq!(log.produce(batch(1, 0, 15, 5)), Err(20));
    log.state.truncate_from(cut.index);
    assert_eq!(
        log.produce(batch(1, 0, 15, 5)),
        Err(OUT_OF_ORDER),
        "5 to 9 are missing, too, and nobody refused them"
    );
    log.state.refused(&batch(1, 0, 5, 5), 7, 0);
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Err(7));
}

#[test]
fn waiting_ends_with_time() {
    let limits = ProducerLimits { refusal_expiry_ms: 100, ..ProducerLimits::default() };
    let mut log = Log::with(limits);
    log.state.refused(&batch(1, 0, 0, 5), 20, 0);
    log.now_ms = 99;
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Err(20));
    log.now_ms = 100;
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Ok(Sequencing::New));
}

#[test]
fn a_refusal_is_forgotten_once_its_batch_is_in_the_log() {
    let mut log = Log::with(ProducerLimits { expiry_ms: 1_000, ..ProducerLimits::default() });
    log.state.refused(&batch(1, 0, 0, 5), 20, 0);
    log.append(batch(1, 0, 0, 5));
    log.state.committed(1);
    log.state.expire(1_000);
    assert!(log.state.is_empty());
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Ok(Sequencing::New), "an unknown producer, refused nothing");
}

#[test]
fn what_is_cut_is_undone() {
    let mut log = Log::new();
    log.append(batch(1, 0, 0, 5));
    let kept = log.append(batch(1, 0, 5, 5));
    log.append(batch(1, 1, 0, 1));
    log.append(batch(2, 0, 0, 1));
    log.state.committed(1);
    assert_eq!(log.state.truncate_from(3), [batch(1, 1, 0, 1), batch(2, 0, 0, 1)]);
    assert_eq!(log.state.len(), 1, "producer 2 was never here");
    assert_eq!(log.produce(batch(1, 0, 5, 5)), Ok(Sequencing::Duplicate(kept)), "epoch 0 is current again");
    log.index = 2;
    assert_eq!(log.produce(batch(1, 0, 10, 5)), Ok(Sequencing::New));
}

#[test]
fn what_was_pipelined_behind_a_cut_batch_waits_for_it() {
    let mut log = Log::new();
    for n in 0..3 {
        log.append(batch(1, 0, 10 + n, 1));
    }
    for lost in log.state.truncate_from(1) {
        assert_eq!(lost, batch(1, 0, 10, 1), "the first one lost");
        log.state.refused(&lost, 6, 0);
    }
    log.index = 0;
    assert_eq!(log.produce(batch(1, 0, 13, 1)), Err(6), "though nothing is known of its producer any more");
    assert_eq!(log.produce(batch(1, 0, 10, 1)), Ok(Sequencing::New));
}

#[test]
fn a_cut_brings_back_the_fifth_batch_and_the_old_epoch() {
    let mut log = Log::new();
    for n in 0..5 {
        log.append(batch(1, 0, n, 1));
    }
    log.state.committed(5);
    for n in 5..9 {
        log.append(batch(1, 0, n, 1));
    }
    log.append(batch(1, 1, 0, 1));
    log.state.committed(5);
    log.state.truncate_from(6);
    assert!(matches!(log.produce(batch(1, 0, 0, 1)), Ok(Sequencing::Duplicate(_))));
}

#[test]
#[should_panic(expected = "cut at 1, committed up to 1")]
fn what_is_committed_is_never_cut() {
    let mut log = Log::new();
    log.append(batch(1, 0, 0, 1));
    log.state.committed(1);
    log.state.truncate_from(1);
}

#[test]
fn the_silent_are_forgotten_and_the_uncommitted_are_not() {
    let mut log = Log::with(ProducerLimits { expiry_ms: 1_000, ..ProducerLimits::default() });
    log.append(batch(1, 0, 0, 1));
    log.state.committed(1);
    log.append(batch(2, 0, 0, 1));
    log.state.expire(999);
    assert_eq!(log.state.len(), 2);
    log.state.expire(1_000);
    assert_eq!(log.state.len(), 1, "producer 2's batch may still be cut");
    log.state.committed(2);
    log.state.expire(1_000);
    assert!(log.state.is_empty());
}

#[test]
fn the_number_of_producers_is_bounded() {
    let mut log = Log::with(ProducerLimits { max_producers: 32, ..ProducerLimits::default() });
    for id in 0..1_000 {
        log.now_ms += 1;
        log.append(batch(id, 0, 0, 1));
        log.state.committed(log.index);
        log.state.refused(&batch(10_000 + id, 0, 0, 1), 20, log.now_ms);
        assert!(log.state.len() <= 32);
    }
    assert!(matches!(log.produce(batch(999, 0, 0, 1)), Ok(Sequencing::Duplicate(_))));
    assert!(
        matches!(log.produce(batch(0, 0, 0, 1)), Ok(Sequencing::New)),
        "forgotten: it was silent for longest"
    );
    assert_eq!(log.produce(batch(10_999, 0, 5, 1)), Err(20));
    assert_eq!(log.produce(batch(10_000, 0, 5, 1)), Ok(Sequencing::New), "the oldest refusals go first");
}

#[test]
fn a_snapshot_holds_what_is_committed() {
    let mut log = Log::new();
    let original = log.append(batch(1, 0, 0, 5));
    log.state.committed(1);
    log.append(batch(1, 0, 5, 5));
    log.append(batch(2, 0, 0, 1));
    let json = serde_json::to_string(&log.state.snapshot()).unwrap();
    let snapshot: ProducerSnapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(snapshot.committed(), 1);
    let restored = ProducerState::restore(snapshot, ProducerLimits::default()).unwrap();
    assert_eq!(restored.len(), 1);
    assert_eq!(restored.check(&batch(1, 0, 0, 5), 0), Ok(Sequencing::Duplicate(original)));
    assert_eq!(restored.check(&batch(1, 0, 5, 5), 0), Ok(Sequencing::New));
}

#[test]
fn a_snapshot_that_cannot_be_is_refused() {
    let restore = |json: &str| {
        ProducerState::restore(serde_json::from_str(json).unwrap(), ProducerLimits::default()).map(|_| ())
    };
    let one = |index: u64, sequence: i32| {
        format!(
            r#"{{"index":{index},"base_offset":0,"base_sequence":{sequence},"last_sequence":0,"epoch":0,"appended_ms":0}}"#
        )
    };
    let snapshot = |batches: String| {
        format!(r#"{{"version":1,"committed":5,"producers":[{{"id":7,"batches":[{batches}]}}]}}"#)
    };
    let unknown = r#"{"version":2,"committed":5,"producers":[]}"#;
    assert_eq!(restore(unknown), Err(SnapshotError::UnknownVersion { found: 2 }));
    assert_eq!(restore(&snapshot(one(5, 0))), Ok(()));
    for bad in [
        String::new(),
        one(6, 0),
        one(5, -1),
        format!("{},{}", one(5, 0), one(4, 0)),
        vec![one(5, 0); 6].join(","),
    ] {
        assert!(
            matches!(restore(&snapshot(bad.clone())), Err(SnapshotError::Malformed { id: 7, .. })),
            "{bad}"
        );
    }
}

#[test]
fn every_refusal_has_kafkas_code() {
    let errors = [
        ProducerError::OutOfOrderSequence { id: 1, epoch: 0, sequence: 5, expected: 0 },
        ProducerError::InvalidProducerEpoch { id: 1, epoch: 0, current: 1 },
        ProducerError::EarlierBatchRefused { code: 20 },
    ];
    assert_eq!(errors.map(|error| error.code()), [45, 47, 20]);
}
