//! Groups that rest: a leader lets its group rest once nothing is to be done, and whatever touches one wakes it.
//!
//! While a group rests nobody sends anything for it, and its replicas do not tick. What fences its leader then is its
//! broker: whoever loses that broker, or hears that it leads the group no more, forgets the leader and wakes the group.
//! No replica has to agree before its leader rests. One that was not told, or cannot rest, says so or stands for election
//! in the end, and either wakes the leader.

use chronik_core::ids::{BrokerId, GroupId};

use super::{Engine, surroundings};
use crate::quorum::GroupFault;
use crate::replica::frame::{Frame, QuietGroup};
use crate::replica::hosted::{Hosted, Serves, Still};
use crate::replica::outbox::Transport;

/// A broker from whose engine no pulse came for this long keeps no group at rest: its connections may be all of it that
/// lives. It sends one each second.
const PULSE_LIFETIME_MS: u64 = 3_000;

impl<T: Transport> Engine<T> {
    /// Whether a group rests here.
    pub(super) fn is_quiet(&self, id: GroupId) -> bool {
        !self.awake.contains(&id)
    }

    /// Lets a group that is led here rest instead of ticking, if nothing has happened for long enough.
    pub(super) fn falls_quiet(&mut self, id: GroupId) -> bool {
        let stirs = self.touched.contains(&id) || !self.may_lead();
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(hosted) = self.hosted.get_mut(&id) else { return false };
        let Serves::Partition(partition) = &hosted.serves else { return false };
        let group = &hosted.group;
        let busy = stirs || !hosted.in_flight.is_empty() || group.has_news() || group.damage().is_some();
        let end = if busy { None } else { partition.stands_still(group, around) };
        let term = group.role().term;
        let same = |known: Still| Some(known.end) == end && known.term == term;
        let ticks = hosted.still.filter(|known| same(*known)).map_or(0, |known| known.ticks + 1);
        hosted.still = end.map(|end| Still { term, end, ticks });
        let Some(end) = end.filter(|_| ticks >= self.config.quiet_ticks) else { return false };
        let members = partition.assignment.members.iter().map(|member| member.broker);
        let told = members.filter(|broker| *broker != self.config.broker && around.liveness.is_up(*broker));
        for broker in told {
            self.to_rest.entry(broker).or_default().push(QuietGroup { group: id, term, end });
        }
        self.rest(id);
        true
    }

    fn rest(&mut self, id: GroupId) {
        let around = surroundings(&self.config, &self.shared, self.now);
        if let Some(partition) = self.hosted.get(&id).and_then(Hosted::partition) {
            self.awake.remove(&id);
            partition.set_quiet(true, around);
        }
    }

    /// Tells followers which groups rest from now on. It overtakes no heartbeat that was sent before.
    pub(super) fn tell_quiet(&mut self) {
        for (broker, groups) in std::mem::take(&mut self.to_rest) {
            let ids: Vec<GroupId> = groups.iter().map(|quiet| quiet.group).collect();
            if !self.outbox.try_send(broker, Frame::Quiet(groups).encode()) {
                ids.into_iter().for_each(|id| self.wake(id));
            }
        }
    }

    /// A leader lets groups rest: those do in which this replica knows all that it knows, and the others keep it awake.
    pub(super) fn hear_quiet(&mut self, from: BrokerId, groups: &[QuietGroup]) {
        for quiet in groups {
            if self.touched.remove(&quiet.group) {
                self.drain(quiet.group);
            }
            if self.may_rest_with(from, quiet) {
                self.rest(quiet.group);
            } else {
                self.to_wake.entry(from).or_default().insert(quiet.group);
            }
            self.touched.insert(quiet.group);
        }
    }

    fn may_rest_with(&mut self, leader: BrokerId, quiet: &QuietGroup) -> bool {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(Hosted { group, serves: Serves::Partition(partition), in_flight, .. }) =
            self.hosted.get_mut(&quiet.group)
        else {
            return false;
        };
        if partition.follows(leader) {
            partition.leader_says(quiet.term, quiet.end, group);
        }
        in_flight.is_empty()
            && !group.has_news()
            && group.damage().is_none()
            && partition.has_all_of(group, leader, quiet.term, quiet.end, around)
    }

    /// Wakes a group. Its leader is told, else it would stay silent and this replica stand for election for nothing.
    pub(super) fn wake(&mut self, id: GroupId) {
        if self.rouse(id)
            && let Some(leader) = self.hosted.get(&id).and_then(Hosted::followed)
        {
            self.to_wake.entry(leader).or_default().insert(id);
        }
    }

    /// A Raft message wakes its group. Some messages prove that the leader is awake already.
    pub(super) fn wake_by_message(&mut self, id: GroupId, from_leader_awake: bool) {
        if from_leader_awake {
            self.rouse(id);
        } else {
            self.wake(id);
        }
    }

    /// Makes a group tick again; false if it did so all the time.
    fn rouse(&mut self, id: GroupId) -> bool {
        let around = surroundings(&self.config, &self.shared, self.now);
        let Some(hosted) = self.hosted.get_mut(&id) else { return false };
        if !self.awake.insert(id) {
            return false;
        }
        hosted.still = None;
        hosted.group.restart_clock();
        if let Some(partition) = hosted.partition() {
            partition.set_quiet(false, around);
        }
        true
    }

    /// Wakes groups that something happened to, and has them drained.
    pub(super) fn stir(&mut self, groups: &[GroupId]) {
        groups.iter().for_each(|id| self.wake(*id));
        self.touched.extend(groups);
    }

    /// A broker takes leaderships again: groups that others lead in place of its replicas wait for it.
    pub(super) fn wake_led_for(&mut self, broker: BrokerId) {
        let waits = |hosted: &Hosted| {
            hosted.partition().is_some_and(|partition| {
                let first = partition.assignment.target.first();
                first.is_some_and(|replica| partition.broker_of(*replica) == Some(broker))
            }) && hosted.group.role().leads
        };
        let groups: Vec<GroupId> =
            self.hosted.iter().filter(|(_, hosted)| waits(hosted)).map(|(id, _)| *id).collect();
        groups.into_iter().for_each(|id| self.wake(id));
    }

    /// A broker whose engine is not heard may lead nothing any more, though its connections live: no group rests on it.
    pub(super) fn doubt_engines(&mut self) {
        let doubted = self.shared.liveness.without_pulse(PULSE_LIFETIME_MS, self.now.ms);
        if doubted.is_empty() {
            return;
        }
        let rests_on_it = |hosted: &Hosted| hosted.followed().is_some_and(|leader| doubted.contains(&leader));
        let groups: Vec<GroupId> =
            self.hosted.iter().filter(|(_, hosted)| rests_on_it(hosted)).map(|(id, _)| *id).collect();
        groups.into_iter().for_each(|id| self.wake(id));
    }

    /// Takes groups out of service in which somebody, such as a client's read, found damage. A leader that cannot read its
    /// log must let another lead.
    pub(super) fn leave_damaged(&mut self) {
        for id in self.log.take_damaged() {
            self.guard(id, |_, _| Err(GroupFault::DamagedLog));
        }
    }

    /// A replica leaves service: the others must not rest on it.
    pub(super) fn wake_members(&mut self, hosted: &Hosted) {
        let members = hosted.partition().into_iter().flat_map(|partition| &partition.assignment.members);
        for broker in members.map(|member| member.broker).filter(|broker| *broker != self.config.broker) {
            self.to_wake.entry(broker).or_default().insert(hosted.group.id());
        }
    }

    /// Tells other brokers which groups must wake.
    pub(super) fn tell_awake(&mut self) {
        for (broker, groups) in std::mem::take(&mut self.to_wake) {
            if self.shared.liveness.is_up(broker) {
                self.outbox.send(broker, Frame::Wake(groups.into_iter().collect()).encode());
            }
        }
    }

    /// The group is no more: nothing is to be done for it.
    pub(super) fn forget_rest(&mut self, id: GroupId) {
        for set in [&mut self.touched, &mut self.awake, &mut self.untold] {
            set.remove(&id);
        }
    }
}
