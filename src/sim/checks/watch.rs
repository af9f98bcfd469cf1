//! What was last seen of one replica in one life of its broker, so that its next state can be compared.

use std::collections::{BTreeMap, VecDeque};

use chronik_core::ids::{BrokerId, Incarnation, LogIndex, Offset, ReplicaId, Term};

use super::progress::Untold;
use crate::time::Micros;

/// One replica as last seen.
#[derive(Default)]
pub struct Watch {
    /// Its id: with another one it is another replica.
    pub replica: Option<ReplicaId>,
    /// Its place in the history of the group's members.
    pub members: usize,
    pub term: Term,
    pub leads: bool,
    pub high_watermark: LogIndex,
    /// As it was before the last round.
    pub high_watermark_before: LogIndex,
    /// The high watermark as consumers see it.
    pub shown: Offset,
    /// Committed entries compared so far.
    pub compared: LogIndex,
    pub isr: Vec<ReplicaId>,
    /// The incarnation in which its leader hears each member.
    pub lives: BTreeMap<BrokerId, Incarnation>,
    /// Since when it leads in this term.
    pub leading_since: Micros,
    /// Where its end was, and since when; only while it leads.
    pub ends: VecDeque<(Micros, LogIndex)>,
    /// What it went by when it appended what it has not written yet; only while it leads.
    pub proposed: VecDeque<Proposed>,
    /// What it goes by now.
    pub last: Proposed,
    /// Entries that it writes and that it took in while leadership was being handed over.
    pub parked: Vec<LogIndex>,
    /// Of the metadata group's leader: what was committed at the last ticks.
    pub committed: VecDeque<LogIndex>,
    pub caretaker: bool,
    pub quarantined: bool,
    /// Looks at which it served though its log was known to be damaged, without a break.
    pub damaged_looks: u32,
    pub quiet: bool,
    /// What its leader should have told it by now.
    pub untold: Option<Untold>,
    /// Since when it should show itself as caretaker.
    pub stranded_since: Option<Micros>,
}

/// What a leader goes by when it appends.
#[derive(Clone, Default, Debug)]
pub struct Proposed {
    /// Where its log ended afterwards.
    pub end: LogIndex,
    pub high_watermark: LogIndex,
    pub epoch_start: LogIndex,
    pub isr: Vec<ReplicaId>,
    pub min_isr: usize,
    pub members: usize,
    /// At the end of that round: members of the ISR, and how many there must be.
    pub after: (usize, usize),
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
