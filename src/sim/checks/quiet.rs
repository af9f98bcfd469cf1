//! What holds of groups at rest: nobody lacks anything, and nobody rests on a broker that it does not hear.

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{BrokerId, GroupId};

use crate::world::{M, World, broker_id, index_of};

impl World {
    /// After a round.
    pub fn check_quiet(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let before = std::mem::replace(&mut watch.quiet, state.quiet);
        if before != state.quiet {
            self.coverage.count(match (state.quiet, state.leads) {
                (true, true) => "rest: leader begins",
                (true, false) => "rest: follower begins",
                (false, true) => "rest: leader ends",
                (false, false) => "rest: follower ends",
            });
            self.note([44, (at * 2) as u64 + u64::from(state.quiet), state.group.0], || {
                format!("b{} rests with group {}: {}", at + 1, state.group, state.quiet)
            });
        }
        if !state.quiet {
            return;
        }
        if (state.end, state.commit, state.high_watermark) != (state.synced, state.synced, state.synced) {
            return self.fail("a replica at rest has nothing under way", format!("b{}, {state:?}", at + 1));
        }
        if state.leads {
            self.check_followers_at_rest(at, state);
        } else {
            self.check_fence(at, state);
        }
    }

    /// A leader rests only while every member of the ISR has on its disk all that there is; those that rest with it know it.
    fn check_followers_at_rest(&mut self, at: M, state: &ReplicaState) {
        let own = broker_id(at);
        for member in state.isr.iter().filter(|member| member.broker != own) {
            if member.synced != Some(state.end) || !self.is_copied(member.replica, state) {
                let text = format!("b{}, {state:?}: b{} has not all of it", at + 1, member.broker);
                return self.fail("a leader rests only when every member has everything", text);
            }
            let Some(follower) = self.state_of(member.broker, state.group) else { continue };
            let knows = (follower.end, follower.commit, follower.high_watermark);
            if follower.quiet && follower.term == state.term && knows != (state.end, state.end, state.end) {
                let text = format!("b{}, {state:?}; b{}, {follower:?}", at + 1, member.broker);
                return self.fail("who rests knows what its leader knows", text);
            }
        }
    }

    /// What fences the leader of a group at rest is that its broker is heard.
    fn check_fence(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_ref().expect("its state was just read");
        let heard = state.follows.is_some_and(|leader| process.shared.liveness.is_up(leader));
        if !heard {
            let text = format!("b{}, {state:?}", at + 1);
            self.fail("nobody rests without hearing its leader's broker", text);
        }
    }

    /// Whether this machine leads a partition at rest.
    pub fn leads_at_rest(&self, at: M) -> bool {
        let process = self.machines[at].process.as_ref();
        process.is_some_and(|process| process.watch.values().any(|watch| watch.leads && watch.quiet))
    }

    fn state_of(&self, broker: BrokerId, group: GroupId) -> Option<ReplicaState> {
        let process = self.machines[index_of(broker)].process.as_ref()?;
        process.engine.replicas().find(|state| state.group == group)
    }
}
