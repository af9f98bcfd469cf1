//! What a partition's leader says of it to whoever judges a stop.

use chronik_core::ids::{BrokerId, ReplicaId};
use chronik_core::restart::{Confirmed, FRESH_MS};

use super::{Partition, Surroundings};
use crate::quorum::Group;
use crate::replica::engine::{halves, synced};

impl Partition {
    /// What this leader has seen, as of now; nothing from one that does not lead in raft's term.
    pub(in crate::replica) fn confirmed(&self, group: &Group, around: Surroundings<'_>) -> Option<Confirmed> {
        let leading = self.leading.as_ref().filter(|leading| leading.term == group.role().term)?;
        let tracker = &leading.tracker;
        let answers = |replica| {
            self.is_up(replica, around.liveness) && tracker.unanswered().all(|silent| silent != replica)
        };
        let has_it = |replica: ReplicaId| {
            let (answers, index) = match replica == group.replica() {
                true => (true, Some(group.synced_index())),
                false => (answers(replica), group.matched(replica)),
            };
            answers && index.is_some_and(|index| tracker.had_end_within(index, FRESH_MS, around.now.ms))
        };
        let broker_of = |replica: ReplicaId| -> Option<BrokerId> { self.broker_of(replica) };
        let (voters, outgoing) = halves(&self.configuration, broker_of);
        Some(Confirmed {
            term: leading.term,
            age_ms: 0,
            provisional: tracker.is_provisional(),
            required: self.effective_min_isr(),
            isr: tracker.isr().iter().filter_map(broker_of).collect(),
            synced: synced(&self.configuration, broker_of, has_it),
            voters,
            outgoing,
        })
    }
}
