//! Leaders without delay: replicas stand in order of preference, and a broker that is to stop, or that can write no more,
//! hands over what it leads.

use std::collections::BTreeMap;

use chronik_core::ids::{BrokerId, GroupId, ReplicaId};
use chronik_core::replication::preferred;

use super::{Engine, surroundings};
use crate::replica::frame::Frame;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;
use crate::replica::partition::Surroundings;

/// After this long without a leader the most preferred live replica stands for election.
const FIRST_CAMPAIGN_MS: u64 = 50;
/// Each replica behind it in the order of preference waits this much longer.
const CAMPAIGN_STEP_MS: u64 = 250;
/// A replica that was not elected tries again after this long, and the steps of its place in the order of preference.
const CAMPAIGN_AGAIN_MS: u64 = 1_000;

/// Elections that begin in one tick, at most: after a broker's death the others shall stay able to do anything else.
pub(super) const CAMPAIGNS_PER_TICK: usize = 256;

/// Partitions handed back to their preferred replicas at one check, once a second, at most: so many, or a share of all
/// replicas here. With very many most have no client that could notice.
const RETURNS_PER_CHECK: usize = 32;
const SHARE_RETURNED_PER_CHECK: usize = 50;

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
        let own = hosted.group.replica();
        let live: Vec<ReplicaId> =
            voters.iter().copied().filter(|voter| hosted.is_up(*voter, &self.shared.liveness)).collect();
        if !hosted.has_majority(&self.shared.liveness) {
            hosted.next_campaign_ms = None;
            return;
        }
        let rank = live.iter().position(|voter| *voter == own).unwrap_or(live.len()) as u64;
        // With many to be elected, those before it are not through with theirs so soon.
        let tick_ms = self.config.election_ms / self.config.election_ticks as u64;
        let queue_ms = (self.leaderless / live.len().max(1) / CAMPAIGNS_PER_TICK) as u64 * tick_ms;
        let step_ms = CAMPAIGN_STEP_MS + queue_ms;
        let at = *hosted.next_campaign_ms.get_or_insert(now_ms + FIRST_CAMPAIGN_MS + rank * step_ms);
        if now_ms >= at && self.campaigns_left > 0 {
            self.campaigns_left -= 1;
            // Two that split the votes must not stand at the same moment for ever.
            let place = voters.iter().position(|voter| *voter == own).unwrap_or(voters.len());
            let again = CAMPAIGN_AGAIN_MS + place as u64 * CAMPAIGN_STEP_MS;
            hosted.next_campaign_ms = Some(now_ms + again);
            self.guard(id, |hosted, _| hosted.group.campaign());
        }
    }

    /// Others may have been elected while this process stood still, and gone on: what is led here must not be served on
    /// before they had a chance to say so, nor what votes from before would let it lead. Where nobody was, a majority elects
    /// this replica again at once.
    pub(super) fn leave_office(&mut self, stood_ms: u64) {
        let led: Vec<GroupId> =
            self.hosted.iter().filter(|(_, hosted)| hosted.group.seeks_office()).map(|(id, _)| *id).collect();
        tracing::warn!(stood_ms, groups = led.len(), "this process stood still: give up leaderships");
        for id in &led {
            self.guard(*id, |hosted, around| {
                hosted.group.step_down();
                if let Serves::Partition(partition) = &mut hosted.serves {
                    partition.follow_role(&hosted.group, around);
                }
                Ok(())
            });
        }
        self.stir(&led);
    }

    pub(super) fn may_lead(&self) -> bool {
        self.draining.is_none() && !self.disk_full
    }

    /// Hands partitions led here to their preferred replicas, where they have been in sync for long enough.
    pub(super) fn return_leaderships(&mut self) {
        if !self.may_lead() {
            return;
        }
        // A leader whose preferred replica may come to lead does not rest.
        let groups: Vec<GroupId> = self.awake.iter().copied().collect();
        let most = RETURNS_PER_CHECK.max(self.hosted.len() / SHARE_RETURNED_PER_CHECK);
        let mut returned = 0;
        for id in groups {
            if returned == most {
                return;
            }
            returned += usize::from(self.hand_to_preferred(id, preferred::should_lead));
        }
    }

    /// Brings a request for preferred leaders to whoever leads in their place.
    pub(super) fn ask_to_elect(&mut self, groups: Vec<GroupId>) {
        let mut elsewhere: BTreeMap<BrokerId, Vec<GroupId>> = BTreeMap::new();
        for group in groups {
            match self.shared.views.last(group).map(|view| view.leader) {
                Some(leader) if leader == self.config.broker => self.elect_preferred(&[group]),
                Some(leader) => elsewhere.entry(leader).or_default().push(group),
                None => {}
            }
        }
        for (leader, groups) in elsewhere {
            self.outbox.send(leader, Frame::ElectPreferred(groups).encode());
        }
    }

    /// Hands over at once where the preferred replica could lead.
    pub(super) fn elect_preferred(&mut self, groups: &[GroupId]) {
        for group in groups {
            self.hand_to_preferred(*group, preferred::may_lead);
        }
    }

    fn hand_to_preferred(&mut self, id: GroupId, fits: impl Fn(&preferred::Outlook) -> bool) -> bool {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(Hosted { group, serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&id)
        else {
            return false;
        };
        match partition.preferred(group, around) {
            Some((replica, outlook)) if fits(&outlook) && !group.is_transferring() => {
                self.wake(id);
                self.transfer(id, replica);
                true
            }
            _ => false,
        }
    }

    pub(super) fn hand_over_leaderships(&mut self) {
        if self.may_lead() {
            return;
        }
        let successors: Vec<(GroupId, ReplicaId)> =
            self.hosted.iter().filter_map(|(id, hosted)| Some((*id, self.successor(hosted)?))).collect();
        for (id, successor) in &successors {
            self.wake(*id);
            self.transfer(*id, *successor);
        }
        if successors.is_empty() && !self.vote_must_leave() {
            for reply in self.draining.iter_mut().flat_map(|replies| replies.drain(..)) {
                let _ = reply.send(());
            }
        }
    }
}

impl<T: Transport> Engine<T> {
    /// Who takes over a group that is led here, if somebody can.
    fn successor(&self, hosted: &Hosted) -> Option<ReplicaId> {
        if !hosted.group.role().leads {
            return None;
        }
        let around = surroundings(&self.config, &self.shared, self.now);
        match &hosted.serves {
            Serves::Partition(partition) => partition.best_successor(&hosted.group, around),
            Serves::Metadata(_) => metadata_successor(hosted, around),
        }
    }

    fn transfer(&mut self, id: GroupId, to: ReplicaId) {
        let Some(hosted) = self.hosted.get_mut(&id) else { return };
        if !hosted.group.is_transferring() {
            hosted.group.transfer_leadership(to);
            self.touched.insert(id);
        }
    }
}

fn metadata_successor(hosted: &Hosted, around: Surroundings<'_>) -> Option<ReplicaId> {
    let voters = hosted.group.configuration().voters.into_iter();
    let candidates = voters.filter(|replica| {
        let draining = |broker| around.liveness.is_draining(broker);
        *replica != hosted.group.replica()
            && hosted.is_up(*replica, around.liveness)
            && !hosted.broker_of(*replica).is_some_and(draining)
    });
    candidates.max_by_key(|replica| hosted.group.matched(*replica))
}
