//! What a leader knows of its followers: their answers, the ISR that comes of them, and how far each is.

use std::sync::atomic::Ordering;

use chronik_core::ids::{BrokerId, ReplicaId};
use chronik_core::replication::Position;
use chronik_core::replication::isr::IsrChange;
use chronik_core::view::FollowerLag;

use super::{Partition, Surroundings};
use crate::quorum::Group;
use crate::replica::clock::Now;
use crate::replica::engine::MemberState;

/// A member of the ISR may trail by its whole lag budget; consumers are sent to one that is this close at most.
const READABLE_LAG_MS: u64 = 1_000;

impl Partition {
    /// An append answer arrived from `replica`.
    pub(in crate::replica) fn follower_answered(
        &mut self,
        replica: ReplicaId,
        group: &Group,
        around: Surroundings<'_>,
    ) {
        let Some(leading) = &mut self.leading else { return };
        let Some(index) = group.matched(replica) else { return };
        let synced = Position { index, offset: group.position_of(index) };
        let change = leading.tracker.follower_synced(replica, synced, around.now.ms);
        self.report(change, around);
    }

    /// A heartbeat answer arrived from `replica`.
    pub(in crate::replica) fn follower_heard(&mut self, replica: ReplicaId, now: Now) {
        if let Some(leading) = &mut self.leading {
            leading.tracker.heard(replica, now.ms);
        }
    }

    /// Node liveness spoke about a broker.
    pub(in crate::replica) fn heard_of(&mut self, broker: BrokerId, around: Surroundings<'_>) {
        if let Some(member) = self.assignment.members.iter().find(|member| member.broker == broker).copied() {
            self.replica_alive(member.replica, member.is_up(around.liveness), around);
        }
    }

    pub(super) fn replica_alive(&mut self, replica: ReplicaId, alive: bool, around: Surroundings<'_>) {
        if let Some(leading) = &mut self.leading {
            let change = leading.tracker.set_alive(replica, alive, around.now.ms);
            self.report(change, around);
        }
    }

    /// The periodic check of the ISR.
    pub(in crate::replica) fn check_isr(&mut self, around: Surroundings<'_>) {
        if let Some(leading) = &mut self.leading {
            let change = leading.tracker.check(around.now.ms);
            self.report(change, around);
        }
        self.watch_preferred(around);
    }

    pub(super) fn report(&self, change: Option<IsrChange>, around: Surroundings<'_>) {
        let Some(change) = change else { return };
        around.counts.expands.fetch_add(change.joined.len() as u64, Ordering::Relaxed);
        around.counts.shrinks.fetch_add(change.left.len() as u64, Ordering::Relaxed);
        for replica in &change.joined {
            let broker = self.broker_of(*replica).map_or(0, |broker| broker.0);
            tracing::info!(topic = %self.handle.topic_name, partition = self.handle.partition, broker, "expand ISR");
        }
        for (replica, reason) in &change.left {
            let broker = self.broker_of(*replica).map_or(0, |broker| broker.0);
            tracing::warn!(
                topic = %self.handle.topic_name, partition = self.handle.partition, broker, ?reason, "shrink ISR"
            );
        }
    }

    /// Shows each follower's lag to whoever asks this broker.
    pub(in crate::replica) fn show_followers(&self, now: Now) {
        if let Some(leading) = &self.leading {
            self.handle.set_followers(self.follower_lags(now), now.ms);
            let stats = leading.tracker.stats(now.ms).into_iter();
            let close = stats.filter(|stats| stats.in_sync && stats.lag_ms <= READABLE_LAG_MS);
            let brokers = close.filter_map(|stats| self.broker_of(stats.replica)).collect();
            self.handle.set_readable_followers(brokers);
        }
    }

    /// Followers to ask for an answer, since raft sends them nothing by itself.
    pub(in crate::replica) fn unanswered(&self) -> Vec<ReplicaId> {
        self.leading.as_ref().map(|leading| leading.tracker.unanswered().collect()).unwrap_or_default()
    }

    /// The ISR with each member's synced position, as this leader counts it; empty if it does not lead.
    pub(in crate::replica) fn isr_members(&self, group: &Group) -> Vec<MemberState> {
        let Some(leading) = &self.leading else { return Vec::new() };
        let synced = |replica| {
            if replica == group.replica() {
                Some(group.synced_index())
            } else {
                leading.tracker.synced(replica)
            }
        };
        let members = leading.tracker.isr().iter();
        members
            .filter_map(|replica| {
                Some(MemberState { replica, broker: self.broker_of(replica)?, synced: synced(replica) })
            })
            .collect()
    }

    /// Each follower's lag, if this replica leads.
    pub(in crate::replica) fn follower_lags(&self, now: Now) -> Vec<FollowerLag> {
        let Some(leading) = &self.leading else { return Vec::new() };
        let stats = leading.tracker.stats(now.ms);
        stats
            .into_iter()
            .filter_map(|stats| {
                Some(FollowerLag {
                    broker: self.broker_of(stats.replica)?,
                    lag_entries: stats.lag_entries.unwrap_or(0),
                    lag_ms: stats.lag_ms,
                    last_heartbeat_ms: stats
                        .last_heartbeat_ms
                        .map_or(0, |ms| now.unix_ms.saturating_sub(now.ms.saturating_sub(ms))),
                })
            })
            .collect()
    }
}
