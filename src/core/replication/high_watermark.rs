//! The high watermark: up to where records are served to consumers and acknowledged to acks=all producers. Positions are
//! Raft log indexes. It holds one replica's mark and the rules to move it; it knows neither log nor network.
//!
//! A mark never passes the Raft commit, so what it once covered can never be replaced: it need not go back on its replica,
//! not even in a new epoch. A *new leader's* mark may lie below its predecessor's; until it has reached the start of its
//! epoch, it cannot tell consumers where the end is (see [`HighWatermark::reached`]).

use crate::ids::{LogIndex, Term};

/// How many in-sync replicas a record needs: min(RF, max(`min.insync.replicas`, majority of RF)).
///
/// Raft cannot commit below a majority, so a smaller `min.insync.replicas` has no effect; more than RF cannot be had.
/// During a reassignment RF is the target's.
pub fn effective_min_isr(replication_factor: u32, min_insync_replicas: u32) -> u32 {
    let majority = replication_factor / 2 + 1;
    replication_factor.min(min_insync_replicas.max(majority))
}

/// Where a leader's high watermark may move to: min(commit, highest index synced by at least `k` members of the ISR).
///
/// `isr_synced` has one index for each member, the leader's own among them. `None` while the ISR has fewer than `k`
/// members: the mark then stands still.
pub fn candidate(commit: LogIndex, isr_synced: &[LogIndex], k: u32) -> Option<LogIndex> {
    candidate_of(commit, isr_synced.iter().copied(), k)
}

/// [`candidate`] over an iterator. An ISR has a handful of members: comparing each with each allocates nothing and is
/// faster than sorting.
pub(super) fn candidate_of(
    commit: LogIndex,
    isr_synced: impl Iterator<Item = LogIndex> + Clone,
    k: u32,
) -> Option<LogIndex> {
    let k = k.max(1) as usize;
    let holders = |index: LogIndex| isr_synced.clone().filter(|synced| *synced >= index).count();
    let highest = isr_synced.clone().filter(|index| holders(*index) >= k).max()?;
    Some(highest.min(commit))
}

/// One replica's high watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HighWatermark {
    value: LogIndex,
    /// The newest term heard of.
    term: Term,
    /// The highest mark the leader of `term` has sent.
    sent: LogIndex,
}

impl HighWatermark {
    /// Starts from what was known before, at most the persisted commit; 0 if nothing was.
    pub fn new(known: LogIndex) -> Self {
        Self { value: known, term: 0, sent: 0 }
    }

    /// The mark.
    pub fn value(&self) -> LogIndex {
        self.value
    }

    /// Whether the mark covers the entry at `index`. A new leader asks this of its epoch's first entry.
    pub fn reached(&self, index: LogIndex) -> bool {
        self.value >= index
    }

    /// A term begins, with this replica as leader or follower: what an earlier leader sent no longer counts.
    pub fn begin_term(&mut self, term: Term) {
        if term > self.term {
            self.term = term;
            self.sent = 0;
        }
    }

    /// On the leader: moves to what [`candidate`] gave; true if it moved. `None`, or a smaller one because `k` was raised
    /// or the ISR changed, leaves it where it is.
    pub fn lead(&mut self, candidate: Option<LogIndex>) -> bool {
        self.raise(candidate.unwrap_or(0))
    }

    /// On a follower: the leader of `term` sent its mark. True if this replica's moved. An older term's is ignored.
    pub fn follow(&mut self, term: Term, sent: LogIndex, commit: LogIndex) -> bool {
        if term < self.term {
            return false;
        }
        self.begin_term(term);
        self.sent = self.sent.max(sent);
        self.committed(commit)
    }

    /// On a follower: its own Raft commit moved, to which the leader's mark may already have been ahead.
    pub fn committed(&mut self, commit: LogIndex) -> bool {
        self.raise(self.sent.min(commit))
    }

    fn raise(&mut self, to: LogIndex) -> bool {
        let moved = to > self.value;
        self.value = self.value.max(to);
        moved
    }
}
