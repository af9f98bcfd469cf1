//! Producer state against a deliberately dumb one: it keeps the whole log and replays it for each question.

use proptest::prelude::*;

use super::super::producer_state::{
    Appended, BatchProducer, ProducerError, ProducerLimits, ProducerState, Sequencing, sequence_after,
};

#[derive(Clone, Debug)]
enum Step {
    /// A client sends the batch that comes next, or one off.
    Next {
        id: i64,
        epoch: i16,
        off_by: i32,
        records: i32,
    },
    /// A client repeats the batch that lies `back` batches before the end.
    Repeat {
        back: usize,
    },
    /// Replication appends whatever the leader had.
    Replicate {
        id: i64,
        epoch: i16,
        sequence: i32,
        records: i32,
    },
    /// Entries without a producer go in between.
    Skip {
        entries: u64,
    },
    Truncate {
        entries: u64,
    },
    Commit {
        entries: u64,
    },
    /// The replica restarts from a snapshot and what its log holds above.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, epoch, records) = (0..3_i64, 0..3_i16, 1..4_i32);
    prop_oneof![
        8 => (id.clone(), epoch.clone(), prop_oneof![6 => Just(0), 1 => -2..3_i32], records.clone())
            .prop_map(|(id, epoch, off_by, records)| Step::Next { id, epoch, off_by, records }),
        3 => (0..8_usize).prop_map(|back| Step::Repeat { back }),
        1 => (id, epoch, prop_oneof![Just(0), Just(i32::MAX - 1)], records)
            .prop_map(|(id, epoch, sequence, records)| Step::Replicate { id, epoch, sequence, records }),
        1 => (1..3_u64).prop_map(|entries| Step::Skip { entries }),
        2 => (1..6_u64).prop_map(|entries| Step::Truncate { entries }),
        2 => (1..6_u64).prop_map(|entries| Step::Commit { entries }),
        1 => Just(Step::Restart),
    ]
}

/// The log: where each batch lies.
#[derive(Default)]
struct Dumb {
    log: Vec<(Appended, BatchProducer)>,
    last_index: u64,
    committed: u64,
}

impl Dumb {
    /// Replays the log: a producer's epoch and its last five batches, started anew by each change of epoch.
    fn replay(&self, id: i64) -> Option<(i16, Vec<(Appended, BatchProducer)>)> {
        let mut state: Option<(i16, Vec<_>)> = None;
        for (appended, batch) in self.log.iter().filter(|(_, batch)| batch.id == id) {
            let (epoch, batches) = state.get_or_insert_with(|| (batch.epoch, Vec::new()));
            if *epoch != batch.epoch {
                *epoch = batch.epoch;
                batches.clear();
            }
            batches.push((*appended, *batch));
            if batches.len() > 5 {
                batches.remove(0);
            }
        }
        state
    }

    fn next(&self, id: i64, epoch: i16) -> i32 {
        match self.replay(id) {
            Some((current, batches)) if current == epoch => {
                sequence_after(batches.last().unwrap().1.last_sequence, 1)
            }
            _ => 0,
        }
    }

    fn check(&self, batch: &BatchProducer) -> Result<Sequencing, i16> {
        let Some((epoch, batches)) = self.replay(batch.id) else {
            return if batch.base_sequence < 0 { Err(45) } else { Ok(Sequencing::New) };
        };
        if let Some((appended, _)) = batches.iter().find(|(_, b)| b == batch) {
            return Ok(Sequencing::Duplicate(*appended));
        }
        if batch.epoch < epoch {
            return Err(47);
        }
        if batch.base_sequence == self.next(batch.id, batch.epoch) { Ok(Sequencing::New) } else { Err(45) }
    }

    fn append(&mut self, state: &mut ProducerState, batch: BatchProducer) {
        let records = i64::from(batch.last_sequence.wrapping_sub(batch.base_sequence) & i32::MAX) + 1;
        let base_offset = self.log.last().map_or(0, |(last, _)| last.last_offset + 1);
        self.last_index += 1;
        let appended =
            Appended { index: self.last_index, base_offset, last_offset: base_offset + records - 1 };
        self.log.push((appended, batch));
        state.appended(self.last_index, base_offset, &batch, 0);
    }

    fn replay_above(&self, state: &mut ProducerState, index: u64) {
        for (appended, batch) in self.log.iter().filter(|(appended, _)| appended.index > index) {
            state.appended(appended.index, appended.base_offset, batch, 0);
        }
    }
}

fn batch(id: i64, epoch: i16, base_sequence: i32, records: i32) -> BatchProducer {
    BatchProducer { id, epoch, base_sequence, last_sequence: sequence_after(base_sequence, records - 1) }
}

fn produce(
    dumb: &mut Dumb,
    state: &mut ProducerState,
    batch: BatchProducer,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let verdict = state.check(&batch, 0).map_err(|error: ProducerError| error.code());
    prop_assert_eq!(verdict, dumb.check(&batch), "{:?}", batch);
    if verdict == Ok(Sequencing::New) {
        dumb.append(state, batch);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_agrees_with_a_replay_of_the_whole_log(steps in prop::collection::vec(step(), 1..120)) {
        let limits = ProducerLimits::default();
        let mut dumb = Dumb::default();
        let mut state = ProducerState::new(limits);
        for step in steps {
            match step {
                Step::Next { id, epoch, off_by, records } => {
                    let sequence = dumb.next(id, epoch).saturating_add(off_by);
                    produce(&mut dumb, &mut state, batch(id, epoch, sequence, records))?;
                }
                Step::Repeat { back } => {
                    if let Some(at) = dumb.log.len().checked_sub(back + 1) {
                        let again = dumb.log[at].1;
                        produce(&mut dumb, &mut state, again)?;
                    }
                }
                Step::Replicate { id, epoch, sequence, records } => {
                    dumb.append(&mut state, batch(id, epoch, sequence, records));
                }
                Step::Skip { entries } => dumb.last_index += entries,
                Step::Truncate { entries } => {
                    let from = (dumb.last_index + 1).saturating_sub(entries).max(dumb.committed + 1);
                    dumb.last_index = from - 1;
                    dumb.log.retain(|(appended, _)| appended.index < from);
                    state.truncate_from(from);
                }
                Step::Commit { entries } => {
                    dumb.committed = (dumb.committed + entries).min(dumb.last_index);
                    state.committed(dumb.committed);
                }
                Step::Restart => {
                    let snapshot = state.snapshot();
                    prop_assert_eq!(snapshot.committed(), dumb.committed);
                    state = ProducerState::restore(snapshot, limits).unwrap();
                    dumb.replay_above(&mut state, dumb.committed);
                }
            }
            for id in 0..3 {
                prop_assert_eq!(state.remembers(id), dumb.replay(id).is_some());
            }
        }
    }
}
