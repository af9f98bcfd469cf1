//! Leaders without delay: replicas stand in order of preference, and a broker that is to stop, or that can write no more,
//! hands over what it leads.

use chronik_core::ids::{BrokerId, GroupId, ReplicaId};

use super::{Engine, surroundings};
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;
use crate::replica::partition::Surroundings;

/// After this long without a leader the most preferred live replica stands for election.
const FIRST_CAMPAIGN_MS: u64 = 50;
/// Each replica behind it in the order of preference waits this much longer.
const CAMPAIGN_STEP_MS: u64 = 250;
/// A replica that was not elected tries again after this long, and the steps of its place in the order of preference.
const CAMPAIGN_AGAIN_MS: u64 = 1_000;

impl<T: Transport> Engine<T> {
    /// Lets replicas stand in order of preference when no leader is known and a majority could elect one: raft's own
    /// timeout alone would leave the partition without a leader for seconds.
    pub(super) fn stand_for_election(&mut self, id: GroupId) {
        let now_ms = self.now.ms;
        if !self.may_lead() {
            return;
        }
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        let role = hosted.group.role();
        if role.leads || role.leader.is_some() || !hosted.group.is_voter() {
            hosted.next_campaign_ms = None;
            return;
        }
        let voters = hosted.voters();
        let live: Vec<BrokerId> =
            voters.iter().copied().filter(|broker| self.shared.liveness.is_up(*broker)).collect();
        if !hosted.has_majority(|broker| self.shared.liveness.is_up(broker)) {
            hosted.next_campaign_ms = None;
            return;
        }
        let rank = live.iter().position(|broker| *broker == self.config.broker).unwrap_or(live.len()) as u64;
        let at = *hosted.next_campaign_ms.get_or_insert(now_ms + FIRST_CAMPAIGN_MS + rank * CAMPAIGN_STEP_MS);
        if now_ms >= at {
            // Two that split the votes must not stand at the same moment for ever.
            let place =
                voters.iter().position(|broker| *broker == self.config.broker).unwrap_or(voters.len());
            let again = CAMPAIGN_AGAIN_MS + place as u64 * CAMPAIGN_STEP_MS;
            hosted.next_campaign_ms = Some(now_ms + again);
            self.guard(id, |hosted, _| hosted.group.campaign());
        }
    }

    fn may_lead(&self) -> bool {
        self.draining.is_none() && !self.disk_full
    }

    pub(super) fn hand_over_leaderships(&mut self) {
        if self.may_lead() {
            return;
        }
        let mut left = 0;
        for (id, hosted) in &mut self.hosted {
            if !hosted.group.role().leads {
                continue;
            }
            let around = surroundings(&self.config, &self.shared, self.now);
            let successor = match &hosted.serves {
                Serves::Partition(partition) => partition.best_successor(&hosted.group, around),
                Serves::Metadata(_) => metadata_successor(hosted, around),
            };
            let Some(successor) = successor else { continue };
            left += 1;
            if !hosted.group.is_transferring() {
                hosted.group.transfer_leadership(successor);
                self.touched.insert(*id);
            }
        }
        if left == 0 {
            for reply in self.draining.iter_mut().flat_map(|replies| replies.drain(..)) {
                let _ = reply.send(());
            }
        }
    }
}

fn metadata_successor(hosted: &Hosted, around: Surroundings<'_>) -> Option<ReplicaId> {
    let voters = hosted.group.configuration().voters.into_iter();
    let candidates = voters.filter(|replica| {
        hosted.broker_of(*replica).is_some_and(|broker| broker != around.own && around.liveness.is_up(broker))
    });
    candidates.max_by_key(|replica| hosted.group.matched(*replica))
}
