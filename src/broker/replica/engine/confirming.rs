//! What leaders here say of their groups to whoever judges a stop: only once a majority has said that they still lead.

use std::collections::{BTreeMap, BTreeSet};

use chronik_core::ids::{BrokerId, GroupId, ReplicaId};
use chronik_core::replication::configuration::Configuration;
use chronik_core::restart::{Confirmed, FRESH_MS, Half};
use tokio::sync::oneshot;

use super::{Engine, surroundings};
use crate::quorum::Group;
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::metadata::Metadata;
use crate::replica::outbox::Transport;
use crate::replica::partition::Surroundings;

/// Where what leaders confirm goes; a group of which nothing is said is not confirmed.
pub type ConfirmReply = oneshot::Sender<BTreeMap<GroupId, Confirmed>>;

/// Groups that one question may name.
pub const GROUPS_PER_QUESTION: usize = 1_000;
/// Questions under way at once, at most.
const QUESTIONS: usize = 256;
/// A question is answered after this long, whatever is confirmed by then: older words would not count. It is looked at only
/// with each tick (100 ms unless the settings say otherwise), and who asks waits 100 ms less than such a word counts.
const ANSWER_WITHIN_MS: u64 = FRESH_MS - 400;
/// Marks the numbers of these questions among all that are asked of a group's majority.
const MARK: u64 = 1 << 63;

struct Question {
    since_ms: u64,
    waits_for: BTreeSet<GroupId>,
    told: BTreeMap<GroupId, Confirmed>,
    reply: ConfirmReply,
}

/// Questions that wait for majorities.
#[derive(Default)]
pub(super) struct Confirming {
    asked: u64,
    open: BTreeMap<u64, Question>,
}

impl<T: Transport> Engine<T> {
    /// Asks the majorities of those groups that are led here. A group that rests is woken: only who is heard now counts.
    pub(super) fn confirm(&mut self, groups: &[GroupId], reply: ConfirmReply) {
        let busy = self.stopped.is_some() || self.confirming.open.len() >= QUESTIONS;
        let named = if busy { &[] } else { &groups[..groups.len().min(GROUPS_PER_QUESTION)] };
        self.confirming.asked += 1;
        let number = MARK | self.confirming.asked;
        let mut waits_for = BTreeSet::new();
        for id in named {
            if !self.hosted.get(id).is_some_and(|hosted| hosted.group.role().leads) {
                continue;
            }
            self.wake(*id);
            self.guard(*id, |hosted, _| {
                hosted.group.confirm_leadership(number);
                Ok(())
            });
            self.touched.insert(*id);
            waits_for.insert(*id);
        }
        let question = Question { since_ms: self.now.ms, waits_for, told: BTreeMap::new(), reply };
        self.confirming.open.insert(number, question);
        self.answer_if_done(number);
    }

    /// A group's majority has answered these questions.
    pub(super) fn group_confirmed(&mut self, id: GroupId, numbers: &[u64]) {
        for number in numbers.iter().filter(|number| **number & MARK != 0) {
            let asked =
                self.confirming.open.get(number).is_some_and(|question| question.waits_for.contains(&id));
            if !asked {
                continue;
            }
            let around = surroundings(&self.config, &self.shared, self.now);
            let confirmed = self.hosted.get(&id).and_then(|hosted| confirmed(hosted, around));
            if let Some(question) = self.confirming.open.get_mut(number) {
                question.waits_for.remove(&id);
                question.told.extend(confirmed.map(|confirmed| (id, confirmed)));
            }
            self.answer_if_done(*number);
        }
    }

    /// Answers questions whose time is over with what there is.
    pub(super) fn answer_late_questions(&mut self) {
        let now_ms = self.now.ms;
        let late = |question: &Question| now_ms.saturating_sub(question.since_ms) >= ANSWER_WITHIN_MS;
        let open = std::mem::take(&mut self.confirming.open);
        for (number, question) in open {
            if late(&question) {
                let _ = question.reply.send(question.told);
            } else if !question.reply.is_closed() {
                self.confirming.open.insert(number, question);
            }
        }
    }

    fn answer_if_done(&mut self, number: u64) {
        let done = self.confirming.open.get(&number).is_some_and(|question| question.waits_for.is_empty());
        if done && let Some(question) = self.confirming.open.remove(&number) {
            let _ = question.reply.send(question.told);
        }
    }
}

/// What its leader says of a group at this moment; nothing from a replica that does not lead.
fn confirmed(hosted: &Hosted, around: Surroundings<'_>) -> Option<Confirmed> {
    let group = &hosted.group;
    match &hosted.serves {
        _ if !group.role().leads => None,
        Serves::Partition(partition) => partition.confirmed(group, around),
        Serves::Metadata(metadata) => Some(metadata_confirmed(metadata, group, around)),
    }
}

/// The metadata group has no ISR: who keeps up is in sync, and a majority is what it needs.
fn metadata_confirmed(metadata: &Metadata, group: &Group, around: Surroundings<'_>) -> Confirmed {
    let reached = metadata.committed_before();
    let keeps_up = |replica: ReplicaId| match replica == group.replica() {
        true => group.synced_index() >= reached,
        false => {
            metadata.is_up(replica, around.liveness)
                && group.matched(replica).is_some_and(|synced| synced >= reached)
        }
    };
    let members = group.configuration();
    let (voters, outgoing) = halves(&members, |replica| metadata.broker_of(replica));
    let synced = synced(&members, |replica| metadata.broker_of(replica), keeps_up);
    let required = members.voters.len() as u32 / 2 + 1;
    let (isr, provisional) = (synced.clone(), false);
    Confirmed { term: group.role().term, age_ms: 0, provisional, required, isr, synced, voters, outgoing }
}

/// Both halves of a configuration, on the brokers that hold their replicas.
pub(in crate::replica) fn halves(
    members: &Configuration,
    broker_of: impl Fn(ReplicaId) -> Option<BrokerId>,
) -> (Half, Half) {
    let half = |voters: &[ReplicaId]| {
        let brokers: BTreeSet<BrokerId> = voters.iter().filter_map(|replica| broker_of(*replica)).collect();
        Half { lost: (voters.len() - brokers.len()) as u32, brokers }
    };
    (half(&members.voters), half(&members.outgoing))
}

/// The brokers of those voters, in either half, that have what they should have.
pub(in crate::replica) fn synced(
    members: &Configuration,
    broker_of: impl Fn(ReplicaId) -> Option<BrokerId>,
    has_it: impl Fn(ReplicaId) -> bool,
) -> BTreeSet<BrokerId> {
    let voters = members.voters.iter().chain(&members.outgoing).copied();
    voters.filter(|replica| has_it(*replica)).filter_map(broker_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn voters_without_a_broker_are_counted_and_not_named() {
        let members =
            Configuration { voters: ids(&[1, 2, 9]), outgoing: ids(&[1, 8, 9]), learners: ids(&[4]) };
        let broker_of = |replica: ReplicaId| (replica.0 < 8).then_some(BrokerId(replica.0 as u32));
        let (voters, outgoing) = halves(&members, broker_of);
        assert_eq!(voters, Half { brokers: [BrokerId(1), BrokerId(2)].into(), lost: 1 });
        assert_eq!(outgoing, Half { brokers: [BrokerId(1)].into(), lost: 2 });
        let synced = synced(&members, broker_of, |replica| replica.0 != 2);
        assert_eq!(synced, [BrokerId(1)].into(), "a learner is no voter");
    }
}
