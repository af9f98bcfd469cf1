//! The ISR tracker's vocabulary: its limits, what a term begins with, and how membership changes. No behaviour.

use crate::ids::{LogIndex, ReplicaId};

use super::Position;

/// Limits of the ISR; the defaults are the ones Kafka and the first design of Chronik share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IsrConfig {
    /// `replica.lag.time.max.ms`: a follower further behind in time leaves.
    pub max_lag_ms: u64,
    /// `replica.lag.max.entries`: a follower that lacks more records leaves.
    pub max_lag_entries: u64,
    /// How often `check` is called.
    pub check_interval_ms: u64,
    /// `min.insync.replicas` as configured; see [`effective_min_isr`](super::high_watermark::effective_min_isr) for what it comes to.
    pub min_isr: u32,
}

impl Default for IsrConfig {
    fn default() -> Self {
        Self { max_lag_ms: 10_000, max_lag_entries: 10_000, check_interval_ms: 1_000, min_isr: 2 }
    }
}

/// What a leader knows when its term begins.
#[derive(Clone, Copy, Debug)]
pub struct Leadership<'a> {
    /// The leader's own replica.
    pub leader: ReplicaId,
    /// All voters, the leader among them. Learners never count.
    pub voters: &'a [ReplicaId],
    /// The last ISR it knew; empty if it knew none: then it begins alone.
    pub last_known_isr: &'a [ReplicaId],
    /// Replicas whose nodes are alive.
    pub alive: &'a [ReplicaId],
    /// The end of its log.
    pub end: Position,
    /// Index of the first entry of its term.
    pub epoch_start: LogIndex,
    /// The high watermark it knew.
    pub high_watermark: LogIndex,
}

/// Why a replica left the ISR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaveReason {
    /// Further behind in time than `max_lag_ms`.
    LagTime,
    /// Further behind in records than `max_lag_entries`, at two checks in a row.
    LagEntries,
    /// Its node died.
    Dead,
    /// It is no voter any more.
    Removed,
}

/// How an event changed the ISR.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IsrChange {
    /// Who joined.
    pub joined: Vec<ReplicaId>,
    /// Who left, and why.
    pub left: Vec<(ReplicaId, LeaveReason)>,
    /// The view was provisional and is no longer: every member has answered this leader.
    pub provisional_ended: bool,
}
