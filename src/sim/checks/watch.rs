//! What was last seen of one replica in one life of its broker, so that its next state can be compared.

use std::collections::{BTreeMap, VecDeque};

use chronik_core::ids::{BrokerId, Incarnation, LogIndex, Offset, Term};

use crate::time::Micros;

/// One replica as last seen.
#[derive(Default)]
pub struct Watch {
    pub term: Term,
    pub leads: bool,
    pub high_watermark: LogIndex,
    /// As it was before the last round.
    pub high_watermark_before: LogIndex,
    /// The high watermark as consumers see it.
    pub shown: Offset,
    /// Committed entries compared so far.
    pub compared: LogIndex,
    pub isr: Vec<BrokerId>,
    /// The incarnation in which its leader hears each member.
    pub lives: BTreeMap<BrokerId, Incarnation>,
    /// Since when it leads in this term.
    pub leading_since: Micros,
    /// Where its end was, and since when; only while it leads.
    pub ends: VecDeque<(Micros, LogIndex)>,
    pub caretaker: bool,
    pub quarantined: bool,
    /// Since when it should show itself as caretaker.
    pub stranded_since: Option<Micros>,
}

impl Watch {
    /// The leader's end at a time, if it led then.
    pub fn end_at(&self, time: Micros) -> Option<LogIndex> {
        let after = self.ends.partition_point(|(since, _)| *since <= time);
        after.checked_sub(1).map(|at| self.ends[at].1)
    }

    /// Forgets ends that nobody will ask for.
    pub fn prune(&mut self, before: Micros) {
        while self.ends.get(1).is_some_and(|(since, _)| *since <= before) {
            self.ends.pop_front();
        }
    }
}
