//! Who leads next, and the next step of a move: what a leader does about its own office.

use chronik_core::ids::ReplicaId;
use chronik_core::replication::preferred;
use chronik_core::replication::reassignment::{self, Step};

use super::{Partition, Surroundings};
use crate::quorum::Group;
use crate::replica::clock::Now;

impl Partition {
    /// The leader's next step towards the replicas there shall be.
    pub(in crate::replica) fn next_step(&self, group: &Group, around: Surroundings<'_>) -> Step {
        let Some(leading) = &self.leading else { return Step::Settled };
        // An earlier leader has heard of a later assignment: this one would undo what that one has done.
        if around.metadata_index < leading.required_metadata {
            return Step::Wait;
        }
        let in_sync: Vec<ReplicaId> = leading.tracker.isr().iter().collect();
        let caught_up: Vec<ReplicaId> = leading.tracker.caught_up_learners().collect();
        let members = self.assignment.members.iter();
        let draining = members.filter(|member| around.liveness.is_draining(member.broker));
        let draining: Vec<ReplicaId> = draining.map(|member| member.replica).collect();
        reassignment::decide(&reassignment::Outlook {
            own: group.replica(),
            target: &self.assignment.target,
            observers: &[],
            moving: self.assignment.moving.is_some(),
            configuration: &self.configuration,
            change_pending: group.is_changing(),
            alive: &self.alive(around),
            draining: &draining,
            in_sync: &in_sync,
            caught_up: &caught_up,
            min_isr: self.assignment.isr.min_isr,
        })
    }

    /// Notes since when the preferred replica could lead.
    pub(super) fn watch_preferred(&mut self, around: Surroundings<'_>) {
        let preferred = self.assignment.target.first().copied();
        if let (Some(leading), Some(preferred)) = (&mut self.leading, preferred) {
            let in_sync = leading.tracker.isr().contains(preferred) && !leading.tracker.is_provisional();
            let since = leading.preferred_since_ms.unwrap_or(around.now.ms);
            leading.preferred_since_ms = in_sync.then_some(since);
        }
    }

    /// The preferred replica and what is known of it, if this replica leads in its place.
    pub(in crate::replica) fn preferred(
        &self,
        group: &Group,
        around: Surroundings<'_>,
    ) -> Option<(ReplicaId, preferred::Outlook)> {
        let leading = self.leading.as_ref()?;
        let preferred = *self.assignment.target.first().filter(|replica| **replica != group.replica())?;
        let draining = self.broker_of(preferred).is_none_or(|broker| around.liveness.is_draining(broker));
        let members_change =
            self.assignment.moving.is_some() || self.configuration.is_joint() || group.is_changing();
        let in_sync_ms = leading
            .tracker
            .isr()
            .contains(preferred)
            .then(|| leading.preferred_since_ms.map_or(0, |since| around.now.ms.saturating_sub(since)));
        Some((preferred, preferred::Outlook { members_change, draining, in_sync_ms }))
    }

    /// Notes when a hand-over begins, and that one was given up.
    pub(super) fn watch_hand_over(&mut self, group: &Group, now: Now) {
        if self.role.leads && group.is_transferring() {
            self.handing_over_since_ms.get_or_insert(now.ms);
        } else if self.role.leads {
            self.handing_over_since_ms = None;
        }
    }

    /// Notes how long a hand-over took, from the last batch that was taken here to the next leader's first word: the time in
    /// which nobody could take one, at most.
    pub(super) fn note_hand_over(&mut self, around: Surroundings<'_>) {
        if self.role.leads || self.role.leader.is_none() {
            return;
        }
        let Some(since_ms) = self.handing_over_since_ms.take() else { return };
        let took_ms = around.now.ms.saturating_sub(since_ms);
        around.counts.handed_over(took_ms);
        tracing::info!(
            topic = %self.handle.topic_name, partition = self.handle.partition, took_ms, "handed leadership over"
        );
    }

    /// The live member of the ISR that is furthest, for a hand-over; none if this replica does not lead.
    pub(in crate::replica) fn best_successor(
        &self,
        group: &Group,
        around: Surroundings<'_>,
    ) -> Option<ReplicaId> {
        let leading = self.leading.as_ref()?;
        let candidates = self.assignment.members.iter().filter(|member| {
            member.broker != around.own
                && member.is_up(around.liveness)
                && !around.liveness.is_draining(member.broker)
                && leading.tracker.isr().contains(member.replica)
        });
        // Among equals the preferred replica, which comes first.
        candidates.rev().max_by_key(|member| group.matched(member.replica)).map(|member| member.replica)
    }
}
