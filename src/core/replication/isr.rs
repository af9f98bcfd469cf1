//! The ISR of one partition, at its leader: who is in sync, who joins, who leaves and why. It never sends, logs or waits.
//!
//! A follower is caught up at time t when its synced position has reached what the leader's end was at t. It stays while
//! that was at most `max_lag_ms` ago, so an idle partition's ISR never changes. It also leaves when, at two checks in a
//! row, it lacks more than `max_lag_entries` of the records the leader had one check interval before: measured against
//! the end of this moment, a follower one network round trip behind would flap at full speed (KIP-16). A dead node's
//! replica leaves at once.
//!
//! A follower joins when its node is alive and has answered since it came alive, when it has reached the high watermark
//! and the start of the leader's epoch, and when it is within both limits: otherwise one that trails for ever would be
//! let in by each answer and thrown out by the next check wherever the high watermark waits for it (RF 2).
//!
//! The clock is the caller's, monotonic, in milliseconds. A time before one already seen counts as the later one: two
//! threads' readings may arrive a little out of order, and no panic of a partition is worth that.

use crate::ids::{LogIndex, ReplicaId};

use super::high_watermark;
use super::history::{Behind, EndHistory};
pub use super::membership::{IsrChange, IsrConfig, Leadership, LeaveReason};
use super::progress::Follower;
pub use super::{FollowerStats, IsrSet, Position};

/// The ISR tracker of one partition on its leader, for one term.
#[derive(Clone, Debug)]
pub struct IsrTracker {
    config: IsrConfig,
    leader: ReplicaId,
    /// The voters and learners but the leader: a handful, found by scanning.
    followers: Vec<Follower>,
    isr: IsrSet,
    provisional: bool,
    /// The leader's end as far back as the limit in time.
    history: EndHistory,
    /// The same for one check interval, in finer steps: with a long limit in time, what `history` says of a moment one
    /// interval ago may be minutes older.
    recent: EndHistory,
    epoch_start: LogIndex,
    high_watermark: LogIndex,
    now_ms: u64,
    last_entry_check_ms: u64,
}

impl IsrTracker {
    /// Begins a leader's term: with the last known ISR, as far as its members are voters and alive. They get a fresh lag
    /// budget, and until each has answered once the view is provisional.
    pub fn initialize(config: IsrConfig, start: Leadership<'_>, now_ms: u64) -> Self {
        let alive = |id: &ReplicaId| start.alive.contains(id);
        let others = IsrSet::new(start.voters.iter().copied().filter(|id| *id != start.leader));
        let followers = others.iter().map(|id| Follower::new(id, alive(&id), now_ms)).collect();
        let known = start.last_known_isr.iter().copied().filter(|id| others.contains(*id) && alive(id));
        let isr = IsrSet::new(known.chain([start.leader]));
        Self {
            config,
            leader: start.leader,
            followers,
            provisional: isr.len() > 1,
            isr,
            history: EndHistory::new(start.end, now_ms, config.max_lag_ms),
            recent: EndHistory::new(start.end, now_ms, config.check_interval_ms),
            epoch_start: start.epoch_start,
            high_watermark: start.high_watermark,
            now_ms,
            last_entry_check_ms: now_ms,
        }
    }

    /// The leader appended: its end moved.
    pub fn leader_appended(&mut self, end: Position, now_ms: u64) {
        let now_ms = self.advance_clock(now_ms);
        if end.index <= self.history.end().index {
            return;
        }
        self.history.record(end, now_ms);
        self.recent.record(end, now_ms);
        for follower in &mut self.followers {
            if follower.synced.is_none_or(|synced| synced.index < end.index) {
                follower.leader_moved(now_ms);
            }
        }
    }

    /// A follower's append answer: all up to `synced` is on its disk. Also proves life, but wakes no dead node: an answer
    /// may still be on its way when the node is already gone.
    pub fn follower_synced(
        &mut self,
        replica: ReplicaId,
        synced: Position,
        now_ms: u64,
    ) -> Option<IsrChange> {
        let now_ms = self.advance_clock(now_ms);
        let at = self.find(replica)?;
        let follower = &mut self.followers[at];
        follower.last_heartbeat_ms = Some(now_ms);
        follower.advance(synced, &self.history);
        if !follower.alive {
            return None;
        }
        let first_answer = !std::mem::replace(&mut follower.answered, true);
        if self.isr.contains(replica) {
            return if first_answer { self.changed(IsrChange::default()) } else { None };
        }
        if !self.followers[at].votes || !self.may_join(&self.followers[at]) {
            return None;
        }
        self.followers[at].entry_strikes = 0;
        self.isr.add(replica);
        self.changed(IsrChange { joined: vec![replica], ..IsrChange::default() })
    }

    /// A heartbeat answer: it shows life and says nothing about the log.
    pub fn heard(&mut self, replica: ReplicaId, now_ms: u64) {
        let now_ms = self.advance_clock(now_ms);
        if let Some(at) = self.find(replica) {
            self.followers[at].last_heartbeat_ms = Some(now_ms);
        }
    }

    /// Node liveness spoke. A dead node's replica leaves at once; one that came alive must answer an append first, so that
    /// a restarted process is not taken for the one before (see [`unanswered`](Self::unanswered)).
    pub fn set_alive(&mut self, replica: ReplicaId, alive: bool, now_ms: u64) -> Option<IsrChange> {
        self.advance_clock(now_ms);
        let at = self.find(replica)?;
        let follower = &mut self.followers[at];
        if follower.alive == alive {
            return None;
        }
        follower.alive = alive;
        follower.answered = false;
        if alive {
            return None;
        }
        self.drop_members(|_, follower| (follower.id == replica).then_some(LeaveReason::Dead))
    }

    /// The periodic check, each `check_interval_ms`: lets those leave that are too far behind. Append answers that have
    /// arrived should be taken in first. Called sooner than half an interval after the last one, it looks at time only.
    pub fn check(&mut self, now_ms: u64) -> Option<IsrChange> {
        let now_ms = self.advance_clock(now_ms);
        self.history.prune(now_ms);
        self.recent.prune(now_ms);
        if now_ms - self.last_entry_check_ms >= self.config.check_interval_ms.div_ceil(2) {
            self.last_entry_check_ms = now_ms;
            self.count_entry_strikes();
        }
        self.drop_members(|tracker, follower| {
            if follower.lag_ms(now_ms) > tracker.config.max_lag_ms {
                Some(LeaveReason::LagTime)
            } else if follower.entry_strikes >= 2 {
                Some(LeaveReason::LagEntries)
            } else {
                None
            }
        })
    }

    /// The high watermark moved. It never goes back.
    pub fn high_watermark_moved(&mut self, high_watermark: LogIndex) {
        self.high_watermark = self.high_watermark.max(high_watermark);
    }

    /// Other limits from now on; the next check applies them.
    pub fn set_config(&mut self, config: IsrConfig) {
        self.config = config;
        self.history.set_window(config.max_lag_ms);
        self.recent.set_window(config.check_interval_ms);
    }

    /// Other voters from now on. A new one begins outside, unless it was a learner that has caught up; one that is none
    /// any more leaves. The leader stays.
    pub fn set_voters(
        &mut self,
        voters: &[ReplicaId],
        alive: &[ReplicaId],
        now_ms: u64,
    ) -> Option<IsrChange> {
        let now_ms = self.advance_clock(now_ms);
        let mut joined = Vec::new();
        for id in voters.iter().filter(|id| **id != self.leader) {
            match self.find(*id) {
                Some(at) if !self.followers[at].votes => {
                    if self.is_caught_up(&self.followers[at]) {
                        self.isr.add(*id);
                        joined.push(*id);
                    }
                    self.followers[at].votes = true;
                }
                Some(_) => {}
                None => self.followers.push(Follower::new(*id, alive.contains(id), now_ms)),
            }
        }
        let left =
            self.drop_members(|_, follower| (!voters.contains(&follower.id)).then_some(LeaveReason::Removed));
        self.followers.retain(|follower| voters.contains(&follower.id) || !follower.votes);
        if joined.is_empty() {
            return left;
        }
        Some(IsrChange { joined, ..left.unwrap_or_default() })
    }

    /// Other learners from now on: they are followed like voters and never join the ISR. Call after `set_voters`.
    pub fn set_learners(&mut self, learners: &[ReplicaId], alive: &[ReplicaId], now_ms: u64) {
        let now_ms = self.advance_clock(now_ms);
        self.followers.retain(|follower| follower.votes || learners.contains(&follower.id));
        for id in learners {
            if *id != self.leader && self.find(*id).is_none() {
                let learner = Follower::new(*id, alive.contains(id), now_ms);
                self.followers.push(Follower { votes: false, ..learner });
            }
        }
    }

    /// Learners that would be in the ISR if they voted.
    pub fn caught_up_learners(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.followers.iter().filter(|f| !f.votes && self.is_caught_up(f)).map(|f| f.id)
    }

    /// Who is in sync, the leader among them.
    pub fn isr(&self) -> &IsrSet {
        &self.isr
    }

    /// True until every member has answered this leader once: such an ISR is what was known, not what was seen.
    pub fn is_provisional(&self) -> bool {
        self.provisional
    }

    /// Whether the ISR has at least `min` members.
    pub fn has_min_isr(&self, min: u32) -> bool {
        self.isr.len() >= min as usize
    }

    /// The limits in force.
    pub fn config(&self) -> &IsrConfig {
        &self.config
    }

    /// The leader's end as last told.
    pub fn end(&self) -> Position {
        self.history.end()
    }

    /// Every follower's lag.
    pub fn stats(&self, now_ms: u64) -> Vec<FollowerStats> {
        let now_ms = now_ms.max(self.now_ms);
        let stats = |f: &Follower| f.stats(self.isr.contains(f.id), self.end(), now_ms);
        self.followers.iter().map(stats).collect()
    }

    /// Up to which index a follower has synced, by its answers to this leader; `None` before the first.
    pub fn synced(&self, replica: ReplicaId) -> Option<LogIndex> {
        self.find(replica).and_then(|at| self.followers[at].synced).map(|synced| synced.index)
    }

    /// Whether a replica that has synced up to `index` has the start of this leader's epoch and what the leader's end was
    /// at some time of the last `within_ms`. Never says so too early; of a time that is forgotten it says no.
    pub fn had_end_within(&self, index: LogIndex, within_ms: u64, now_ms: u64) -> bool {
        let now_ms = now_ms.max(self.now_ms);
        let recent = match self.history.behind_since(index) {
            Behind::Nothing => true,
            Behind::Since(ms) => now_ms - ms <= within_ms,
            Behind::Forgotten => false,
        };
        recent && index >= self.epoch_start
    }

    /// Followers that are alive and have not answered an append since: on an idle partition Raft sends them nothing by
    /// itself, so the leader has to ask, with an empty append.
    pub fn unanswered(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.followers.iter().filter(|f| f.alive && !f.answered).map(|f| f.id)
    }

    /// Where the high watermark may move to: see [`high_watermark::candidate`]. A member that has not answered yet counts
    /// as having nothing.
    pub fn high_watermark_candidate(
        &self,
        commit: LogIndex,
        leader_synced: LogIndex,
        k: u32,
    ) -> Option<LogIndex> {
        let members = self.followers.iter().filter(|f| self.isr.contains(f.id));
        let synced = members.map(|f| f.synced.map_or(0, |s| s.index));
        high_watermark::candidate_of(commit, synced.chain([leader_synced]), k)
    }

    fn is_caught_up(&self, follower: &Follower) -> bool {
        follower.alive && follower.answered && self.may_join(follower)
    }

    fn may_join(&self, follower: &Follower) -> bool {
        let reached = follower.synced.map_or(0, |synced| synced.index);
        reached >= self.high_watermark
            && reached >= self.epoch_start
            && follower.lag_ms(self.now_ms) <= self.config.max_lag_ms
            && !self.lacks_too_many(follower)
    }

    /// Measured against the leader's end one check interval ago; a younger leader, or an unknown position, says nothing.
    fn lacks_too_many(&self, follower: &Follower) -> bool {
        let then = self.now_ms.checked_sub(self.config.check_interval_ms);
        let end = then.and_then(|ms| self.recent.end_at_or_before(ms));
        let lag = end.and_then(|end| follower.lag_entries(end));
        lag.is_some_and(|records| records > self.config.max_lag_entries)
    }

    fn count_entry_strikes(&mut self) {
        for at in 0..self.followers.len() {
            let strike = self.lacks_too_many(&self.followers[at]);
            let strikes = &mut self.followers[at].entry_strikes;
            *strikes = if strike { strikes.saturating_add(1) } else { 0 };
        }
    }

    /// Lets every member go for which `reason` has one.
    fn drop_members(
        &mut self,
        reason: impl Fn(&Self, &Follower) -> Option<LeaveReason>,
    ) -> Option<IsrChange> {
        let mut left = Vec::new();
        for follower in &self.followers {
            if self.isr.contains(follower.id)
                && let Some(why) = reason(self, follower)
            {
                left.push((follower.id, why));
            }
        }
        for (replica, _) in &left {
            self.isr.remove(*replica);
        }
        self.changed(IsrChange { left, ..IsrChange::default() })
    }

    /// Completes a change with what it does to the provisional mark; `None` if nothing changed at all.
    fn changed(&mut self, mut change: IsrChange) -> Option<IsrChange> {
        debug_assert!(self.isr.contains(self.leader), "the leader is always in sync with itself");
        let waiting = |f: &Follower| !f.answered && self.isr.contains(f.id);
        if self.provisional && !self.followers.iter().any(waiting) {
            self.provisional = false;
            change.provisional_ended = true;
        }
        (change != IsrChange::default()).then_some(change)
    }

    fn find(&self, replica: ReplicaId) -> Option<usize> {
        self.followers.iter().position(|f| f.id == replica)
    }

    fn advance_clock(&mut self, now_ms: u64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }
}
