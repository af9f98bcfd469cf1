//! Idempotent producers of one log, spoken to by a transcript.

use super::super::super::producer_state::{
    BatchProducer, ProducerLimits, ProducerState, Sequencing, sequence_after,
};
use super::args::Args;

pub(super) struct World {
    state: ProducerState,
    /// The end offset after each index, from 0.
    ends: Vec<i64>,
}

impl Default for World {
    fn default() -> Self {
        Self { state: ProducerState::new(ProducerLimits::default()), ends: vec![0] }
    }
}

impl World {
    pub(super) fn run(&mut self, args: &mut Args) -> Option<String> {
        Some(match args.name.as_str() {
            "batch" => self.batch(args),
            "cut" => {
                let from: u64 = args.get("from");
                self.state.truncate_from(from);
                self.ends.truncate(usize::try_from(from).unwrap());
                format!("log ends at index {}", self.ends.len() - 1)
            }
            "settle" => {
                self.state.committed(args.get("up-to"));
                format!("{} producers", self.state.len())
            }
            "expire" => {
                self.state.expire(args.get("at"));
                format!("{} producers", self.state.len())
            }
            "snapshot" => serde_json::to_string_pretty(&self.state.snapshot()).unwrap(),
            "restore" => {
                let snapshot = self.state.snapshot();
                self.ends.truncate(usize::try_from(snapshot.committed()).unwrap() + 1);
                self.state = ProducerState::restore(snapshot, ProducerLimits::default()).unwrap();
                format!("log ends at index {}", self.ends.len() - 1)
            }
            _ => return None,
        })
    }

    /// A client's batch: judged, and appended if it is new, unless something else refuses it.
    fn batch(&mut self, args: &mut Args) -> String {
        let (id, epoch, base_sequence) = (args.get("id"), args.get("epoch"), args.get("seq"));
        let records: i32 = args.get("records");
        let last_sequence = sequence_after(base_sequence, records - 1);
        let batch = BatchProducer { id, epoch, base_sequence, last_sequence };
        let now_ms = args.optional("at").unwrap_or(0);
        let refused_with: Option<i16> = args.optional("refused-with");
        match self.state.check(&batch, now_ms) {
            Err(error) => format!("{}: {error}", error.code()),
            Ok(Sequencing::Duplicate(original)) => format!(
                "duplicate of index {}, offsets {} to {}",
                original.index, original.base_offset, original.last_offset
            ),
            Ok(Sequencing::New) => {
                if let Some(code) = refused_with {
                    self.state.refused(&batch, code, now_ms);
                    return format!("{code}: refused");
                }
                let (index, base_offset) = (self.ends.len() as u64, *self.ends.last().unwrap());
                self.state.appended(index, base_offset, &batch, now_ms);
                self.ends.push(base_offset + i64::from(records));
                format!("appended at index {index}, offset {base_offset}")
            }
        }
    }
}
