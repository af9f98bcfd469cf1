//! What holds when a group's members change: which are in force, and what its leader went by when it changed voters.

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::{GroupId, LogIndex, ReplicaId};
use chronik_core::replication::configuration::Configuration;

use super::mirror::Digest;
use super::watch::Proposed;
use crate::world::{M, World};

impl World {
    /// A leader writes an entry that changes voters. It was judged when the leader appended it, which may be rounds ago.
    pub fn check_change_of_voters(&mut self, at: M, group: GroupId, index: LogIndex, entry: &Digest) {
        let Some(change) = entry.change.as_ref().filter(|change| change.enters_joint()) else { return };
        let Some(proposed) = self.proposal_of(at, group, index, entry) else { return };
        let members = self.checks.groups[&group].members.at(proposed.members).clone();
        let next = match change.applied(&members) {
            Ok(next) => next.voters,
            Err(what) => return self.fail("members change one step at a time", format!("{group}: {what}")),
        };
        let reached = proposed.high_watermark.max(proposed.epoch_start);
        let caught_up = |replica: &ReplicaId| self.holds_up_to(group, *replica, reached);
        let late = next.iter().find(|new| !members.voters.contains(new) && !caught_up(new));
        if let Some(new) = late {
            let text = format!("b{}, group {group}, entry {index}: {new} of {next:?} {proposed:?}", at + 1);
            return self.fail("new voters have caught up before they vote", text);
        }
        let fit = next.iter().filter(|id| proposed.isr.contains(id) || !members.voters.contains(id)).count();
        let required = next.len().min(proposed.min_isr.max(next.len() / 2 + 1));
        if fit < required.min(proposed.isr.len()) {
            let text = format!("b{}, group {group}, entry {index}: {next:?} {proposed:?}", at + 1);
            self.fail("a change of voters leaves acks=all to those who have it", text);
        }
    }

    /// What the leader went by when it appended an entry that it now writes; none if this broker does not lead.
    fn proposal_of(&mut self, at: M, group: GroupId, index: LogIndex, entry: &Digest) -> Option<Proposed> {
        let process = self.machines[at].process.as_ref()?;
        let watch = process.watch.get(&group).filter(|watch| watch.leads && watch.term == entry.term)?;
        let earlier = watch.proposed.iter().find(|proposed| proposed.end >= index);
        Some(earlier.unwrap_or(&watch.last).clone())
    }

    /// Whether a replica has the committed log up to an index, or had before its data was deleted.
    pub(super) fn holds_up_to(&self, group: GroupId, replica: ReplicaId, index: LogIndex) -> bool {
        let Some(mirror) = self.copy_of(group, replica) else { return false };
        let truth = self.checks.groups.get(&group);
        match truth.zip(index.checked_sub(1)).and_then(|(truth, at)| truth.committed.get(at as usize)) {
            Some(committed) => mirror.at(index) == Some(committed),
            None => mirror.last() >= index,
        }
    }

    /// Keeps what a leader went by when it appended, until that is written.
    pub fn note_proposed(&mut self, at: M, state: &ReplicaState) {
        let (min_isr, required) = (self.min_isr(at, state.group), self.required(at, state.group));
        let written = self.checks.disks[at].get(&state.group).map_or(0, |mirror| mirror.last());
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let last = std::mem::replace(
            &mut watch.last,
            Proposed {
                end: state.end,
                high_watermark: state.high_watermark,
                epoch_start: state.epoch_start,
                isr: state.isr.iter().map(|member| member.replica).collect(),
                min_isr,
                members: watch.members,
                after: (state.isr.len(), required),
            },
        );
        if state.end > last.end {
            let min_isr = last.min_isr.min(min_isr);
            let after = (state.isr.len(), required);
            watch.proposed.push_back(Proposed { end: state.end, min_isr, after, ..last });
        }
        let parked = std::mem::take(&mut watch.parked);
        let then = |index: LogIndex| watch.proposed.iter().find(|proposed| proposed.end >= index);
        let below = |index: &LogIndex| then(*index).is_some_and(|p| p.after.0 < p.after.1);
        let wrong = parked.into_iter().find(below);
        while watch.proposed.front().is_some_and(|proposed| proposed.end <= written) {
            watch.proposed.pop_front();
        }
        if let Some(index) = wrong {
            let text = format!("b{}, {state:?}: entry {index}", at + 1);
            self.fail("no acks=all below min ISR", text);
        }
    }

    /// Each replica has applied the members that its log names.
    pub fn check_members(&mut self, at: M) {
        let Some(process) = &self.machines[at].process else { return };
        let wrong = process.engine.replicas().find_map(|state| {
            let (known, watch) = (self.checks.groups.get(&state.group)?, process.watch.get(&state.group)?);
            let (logged, applied) =
                (known.members.at(watch.members), process.engine.configuration(state.group)?);
            // Its beginning may still wait to be written, here and everywhere.
            let begun = !logged.voters.is_empty();
            (begun && applied != *logged).then(|| format!("{applied:?} for {logged:?}: {state:?}"))
        });
        if let Some(what) = wrong {
            self.fail("members are what the log says", format!("b{}: {what}", at + 1));
        }
    }

    /// The members that a broker's replica had after its last round.
    pub fn members_at(&self, at: M, group: GroupId) -> Configuration {
        let watch = self.machines[at].process.as_ref().and_then(|process| process.watch.get(&group));
        let place = watch.map_or(0, |watch| watch.members);
        self.checks.groups.get(&group).map(|truth| truth.members.at(place).clone()).unwrap_or_default()
    }

    /// Members changed: counts of what kind.
    pub fn note_members(&mut self, group: GroupId, index: LogIndex) {
        let members = self.checks.groups[&group].members.newest().clone();
        if group == GroupId::METADATA {
            self.check_voters(index);
        } else if members.is_joint() {
            self.coverage.count("move: joint configuration");
            self.strike_amid_joint(group);
        }
        self.note([72, group.0, index], || format!("group {group}, entry {index}: {members:?}"));
    }
}
