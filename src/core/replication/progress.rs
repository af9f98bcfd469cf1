//! What the leader knows of one follower: how far it has synced, since when it is behind, when it was last heard.
//! It decides nothing about membership.

use crate::ids::ReplicaId;

use super::history::{Behind, EndHistory, Position};

/// A follower's lag, for metrics and the admin API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowerStats {
    /// The follower's replica.
    pub replica: ReplicaId,
    /// Whether it is in the ISR.
    pub in_sync: bool,
    /// Whether its node is alive.
    pub alive: bool,
    /// How far it has synced; `None` until its first append answer to this leader.
    pub synced: Option<Position>,
    /// Records between its synced position and the leader's end; `None` until its first append answer.
    pub lag_entries: Option<u64>,
    /// Milliseconds since it had all that the leader had; never understated. Before the first append answer: since
    /// this leader began.
    pub lag_ms: u64,
    /// When this leader last heard from it, on the clock the tracker is given; `None` if never.
    pub last_heartbeat_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) id: ReplicaId,
    /// False for a learner, which never joins the ISR.
    pub(super) votes: bool,
    pub(super) alive: bool,
    /// It has sent an append answer since this leader began and since its node came alive.
    pub(super) answered: bool,
    /// The best append answer so far; `None` before the first.
    pub(super) synced: Option<Position>,
    /// When the leader's end moved past `synced`; `None` while it has everything. Never understates a lag.
    pub(super) behind_since: Option<u64>,
    pub(super) last_heartbeat_ms: Option<u64>,
    /// Checks in a row at which it was too many records behind.
    pub(super) entry_strikes: u8,
}

impl Follower {
    /// A follower of which this leader knows nothing yet: its lag counts from now.
    pub(super) fn new(id: ReplicaId, alive: bool, now_ms: u64) -> Self {
        Self {
            id,
            votes: true,
            alive,
            answered: false,
            synced: None,
            behind_since: Some(now_ms),
            last_heartbeat_ms: None,
            entry_strikes: 0,
        }
    }

    /// Takes in an append answer. Answers may overtake each other; what is synced stays synced, so the best one counts.
    pub(super) fn advance(&mut self, synced: Position, history: &EndHistory) {
        if self.synced.is_some_and(|known| known.index >= synced.index) {
            return;
        }
        self.synced = Some(synced);
        match history.behind_since(synced.index) {
            Behind::Nothing => self.behind_since = None,
            Behind::Since(ms) => self.behind_since = Some(self.behind_since.unwrap_or(ms).max(ms)),
            // Known only to be older than the window: the earlier time stands, which overstates the lag.
            Behind::Forgotten => {}
        }
    }

    /// The leader's end moved: whoever had everything before lacks something from now on.
    pub(super) fn leader_moved(&mut self, now_ms: u64) {
        self.behind_since.get_or_insert(now_ms);
    }

    pub(super) fn lag_ms(&self, now_ms: u64) -> u64 {
        self.behind_since.map_or(0, |since| now_ms.saturating_sub(since))
    }

    /// Records it lacks up to `end`; `None` while its position is unknown.
    pub(super) fn lag_entries(&self, end: Position) -> Option<u64> {
        self.synced.map(|synced| u64::try_from(end.offset - synced.offset).unwrap_or(0))
    }

    pub(super) fn stats(&self, in_sync: bool, end: Position, now_ms: u64) -> FollowerStats {
        FollowerStats {
            replica: self.id,
            in_sync,
            alive: self.alive,
            synced: self.synced,
            lag_entries: self.lag_entries(end),
            lag_ms: self.lag_ms(now_ms),
            last_heartbeat_ms: self.last_heartbeat_ms,
        }
    }
}
