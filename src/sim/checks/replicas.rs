//! What holds of replicas, looked at after every round of every broker: commits, high watermarks, leaders, ISRs.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_broker::replica::{Leadership, MemberState, PartitionHandle, ReplicaState};
use chronik_core::ids::{BrokerId, GroupId, Incarnation, LogIndex, ReplicaId};

use super::members;
use super::mirror::Digest;
use super::watch::{Proposed, Watch};
use crate::brokers::SILENCE_KNOWN_WITHIN;
use crate::time::{MS, Micros, SECOND};
use crate::world::{M, World, broker_id, index_of};

/// A member is thrown out this much later than its lag budget at most: two checks, a tick, a drifting clock.
const ISR_SLACK: Micros = 2_500 * MS;
/// Damage that a reader found is looked for once a second, which is every tenth tick.
const LOOKS_AT_DAMAGE: u32 = 15;
/// A lone survivor shows itself after this long.
const CARETAKER_WITHIN: Micros = 6 * SECOND;

impl World {
    /// After a round.
    pub fn check_replicas(&mut self, at: M) {
        if self.is_void(at) {
            return;
        }
        let Some(process) = &self.machines[at].process else { return };
        let states: Vec<ReplicaState> = process.engine.replicas().collect();
        // A leader may say something and leave service in one round.
        let led: Vec<GroupId> =
            process.watch.iter().filter(|(_, watch)| watch.leads).map(|(group, _)| *group).collect();
        led.into_iter().for_each(|group| self.note_view(at, group));
        for state in &states {
            self.recognise(at, state);
            if self.waits_to_go_on(at, state) {
                continue;
            }
            self.check_term(at, state);
            self.check_commit(at, state);
            let before = self.check_high_watermark(at, state);
            if state.leads && state.group != GroupId::METADATA {
                self.check_isr(at, state, before);
                self.note_view(at, state.group);
            } else if state.leads {
                self.note_voters_proposed(at, state);
            }
            self.check_quiet(at, state);
            self.check_end_of_care(at, state);
            if self.violation.is_some() {
                return;
            }
        }
    }

    /// Another replica on the same broker has a past of its own.
    fn recognise(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        if watch.replica != Some(state.replica) {
            *watch = Watch { replica: Some(state.replica), ..Watch::default() };
        }
    }

    fn check_term(&mut self, at: M, state: &ReplicaState) {
        let own = self.checks.disks[at].get(&state.group).filter(|mirror| mirror.replica == state.replica);
        let on_disk = own.map_or(0, |mirror| mirror.last());
        if state.synced > on_disk {
            let text = format!("b{}, {state:?}: its disk has {on_disk} entries", at + 1);
            return self.fail("a replica counts for what it has synced", text);
        }
        let now = self.now;
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let elected = state.leads && (!watch.leads || watch.term != state.term);
        if !state.leads || elected {
            watch.ends.clear();
            watch.isr.clear();
            watch.lives.clear();
            watch.proposed.clear();
            watch.parked.clear();
            watch.last = Proposed { members: watch.members, ..Proposed::default() };
        }
        (watch.term, watch.leads) = (state.term, state.leads);
        if elected {
            watch.leading_since = now;
            self.coverage.count("election");
            self.note_leader_amid_permits(state.group);
            let truth = self.checks.groups.entry(state.group).or_default();
            let known = *truth.leaders.entry(state.term).or_insert(at);
            truth.elected.entry(state.term).or_insert(now);
            self.note([40, state.group.0, state.term], || {
                format!("b{} leads group {} in term {}", at + 1, state.group, state.term)
            });
            if known != at {
                let text =
                    format!("b{} and b{} lead {} in term {}", known + 1, at + 1, state.group, state.term);
                self.fail("one leader per term", text);
            }
        }
    }

    fn check_commit(&mut self, at: M, state: &ReplicaState) {
        let truth = self.checks.groups.entry(state.group).or_default();
        let known = truth.committed.len() as u64;
        let watch = self.machines[at].process.as_ref().and_then(|process| process.watch.get(&state.group));
        // What is new was committed by the members that its leader had before this round, or came to have in it. A
        // follower hears of it after the leader's own round.
        let had = watch.map_or(0, |watch| watch.members);
        let from = if state.leads { had } else { truth.led_at.get(&state.term).copied().unwrap_or(had) };
        for index in known + 1..=state.commit {
            // Its own disk may still lack the entry, or hold one that is about to be replaced.
            match self.majority_entry(state.group, index, from) {
                Some(digest) => self.commit(state.group, index, digest),
                None => {
                    let text = format!("b{}, {state:?}: entry {index}", at + 1);
                    return self.fail("what is committed is synced by a majority", text);
                }
            }
        }
        let truth = self.checks.groups.entry(state.group).or_default();
        // Raft applies what is committed and on its own disk.
        let place = truth.members.place(state.commit.min(state.synced).max(state.start - 1));
        if state.leads {
            truth.led_at.insert(state.term, place);
        }
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        process.watch.entry(state.group).or_default().members = place;
        self.check_prefix(at, state);
    }

    fn check_prefix(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let Some(mirror) = self.checks.disks[at].get(&state.group) else { return };
        let from = watch.compared + 1;
        let to = state.commit.min(state.synced).min(mirror.last());
        watch.compared = watch.compared.max(to);
        let start = mirror.start;
        let cut = start.before().checked_sub(1).and_then(|last| mirror.entries.get(last as usize));
        if cut.map_or((0, 0), |last| (last.term, last.end_offset())) != (start.term, start.offset)
            || start.before() > state.commit
        {
            let text = format!("b{}, {state:?}: its log begins at {start:?}, behind {cut:?}", at + 1);
            return self.fail("a log begins behind what is committed", text);
        }
        for index in from..=to {
            let digest = self.checks.disks[at][&state.group].at(index).expect("it is below the end");
            let known = &self.checks.groups[&state.group].committed[index as usize - 1];
            if digest != known {
                let text = format!(
                    "group {}, entry {index}: b{} has {digest:?}, committed was {known:?}",
                    state.group,
                    at + 1
                );
                return self.fail("committed prefixes are identical", text);
            }
        }
    }

    /// The entry at an index that is on the disks of a majority, of members that were in force before it and not before
    /// `from`: a change of members is itself decided by those before it.
    fn majority_entry(&self, group: GroupId, index: LogIndex, from: usize) -> Option<Digest> {
        let truth = self.checks.groups.get(&group)?;
        let to = truth.members.place(index - 1);
        let mut held = self.checks.disks.iter().filter_map(|disk| disk.get(&group)?.at(index));
        let decided = |digest: &&Digest| {
            let holds =
                |replica| self.copy_of(group, replica).and_then(|mirror| mirror.at(index)) == Some(*digest);
            truth.members.between(from, to).any(|members| members::majority(members, holds))
        };
        held.find(decided).cloned()
    }

    /// An entry was seen committed for the first time.
    pub(super) fn commit(&mut self, group: GroupId, index: LogIndex, digest: Digest) {
        let truth = self.checks.groups.entry(group).or_default();
        let (tag, change) = (digest.tag, digest.change.clone());
        truth.committed.push(digest);
        if let Some(tag) = tag.filter(|tag| self.checks.idempotent.contains(&tag.client)) {
            let last = truth.last_op.insert(tag.client, tag.op);
            let expected = last.map_or(0, |last| last + 1);
            // What was lost in a recovery need not come again.
            let most = truth.lost_ops.get(&tag.client).map_or(expected, |lost| expected.max(lost + 1));
            if !(expected..=most).contains(&tag.op) {
                let text =
                    format!("group {group}, entry {index}: {tag:?} where operation {expected} was next");
                self.fail("an idempotent producer's batches come once and in order", text);
            }
        }
        if let Some(change) = change {
            match self.checks.groups.entry(group).or_default().members.change(index, &change) {
                Ok(()) => self.note_members(group, index),
                Err(what) => {
                    let text = format!("group {group}, entry {index}: {what}");
                    self.fail("members change one step at a time", text);
                }
            }
        }
    }

    /// Gives the high watermark as it was before.
    fn check_high_watermark(&mut self, at: M, state: &ReplicaState) -> LogIndex {
        if state.group == GroupId::METADATA {
            return 0;
        }
        let Some(shown) = self.shown_high_watermark(at, state.group) else { return 0 };
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let (before, shown_before) = (watch.high_watermark, watch.shown);
        watch.high_watermark_before = before;
        (watch.high_watermark, watch.shown) = (state.high_watermark, shown);
        if state.high_watermark < before || shown < shown_before {
            let text = format!("b{}, {state:?}: it was {before}, offset {shown_before}", at + 1);
            self.fail("a high watermark never goes back", text);
        }
        if state.high_watermark > state.commit {
            self.fail("a high watermark never passes the commit", format!("b{}, {state:?}", at + 1));
        }
        let truth = self.checks.groups.entry(state.group).or_default();
        if state.leads {
            truth.high_watermark = truth.high_watermark.max(state.high_watermark);
        } else if state.high_watermark > truth.high_watermark {
            let text = format!("b{}, {state:?}: leaders came to {}", at + 1, truth.high_watermark);
            self.fail("a follower's high watermark is what a leader told", text);
        }
        if state.leads && state.high_watermark > before {
            let holders = state
                .isr
                .iter()
                .filter(|member| self.has(member.replica, state, state.high_watermark))
                .count();
            if holders < self.required(at, state.group) {
                let text = format!("b{}, {state:?}: {holders} members have it", at + 1);
                self.fail("the high watermark is synced by enough members of the ISR", text);
            }
        }
        before
    }

    fn shown_high_watermark(&self, at: M, group: GroupId) -> Option<i64> {
        let process = self.machines[at].process.as_ref()?;
        let cluster = process.shared.cluster.borrow();
        let (topic, partition) = cluster.group(group)?;
        Some(process.shared.partitions.get(topic.id, partition.number)?.high_watermark())
    }

    /// Whether a replica has synced the leader's entry at an index. Above the leader's own end on disk only terms can be
    /// compared: all that a leader appends has its term.
    fn has(&self, replica: ReplicaId, leader: &ReplicaState, index: LogIndex) -> bool {
        let held = self.copy_of(leader.group, replica).and_then(|mirror| mirror.at(index));
        let committed =
            self.checks.groups.get(&leader.group).and_then(|t| t.committed.get(index as usize - 1));
        match (held, committed) {
            (Some(held), Some(committed)) => held == committed,
            (Some(held), None) => held.term == leader.term,
            (None, _) => index == 0,
        }
    }

    /// Whether a replica has synced all that its leader has.
    pub(super) fn is_copied(&self, replica: ReplicaId, leader: &ReplicaState) -> bool {
        self.has(replica, leader, leader.end)
    }

    fn check_isr(&mut self, at: M, state: &ReplicaState, high_watermark: LogIndex) {
        let own = broker_id(at);
        if !state.isr.iter().any(|member| member.broker == own) {
            return self.fail("a leader is in its own ISR", format!("b{}, {state:?}", at + 1));
        }
        let members = self.members_at(at, state.group);
        let stranger = |member: &&MemberState| {
            !members.voters.contains(&member.replica) && member.replica != state.replica
        };
        if let Some(member) = state.isr.iter().find(stranger) {
            let text = format!("b{}, {state:?}: {member:?} of {members:?}", at + 1);
            return self.fail("only voters are in the ISR", text);
        }
        for member in state.isr.iter().filter(|member| member.broker != own) {
            if let Some(synced) = member.synced
                && synced >= state.epoch_start
                && !self.has(member.replica, state, synced)
            {
                let text = format!("b{}, {state:?}: b{} has not synced {synced}", at + 1, member.broker);
                return self.fail("a follower counts for what it has synced", text);
            }
        }
        self.check_incarnations(at, state);
        self.note_in_sync(state);
        self.note_proposed(at, state);
        let now = self.now;
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        if watch.ends.back().is_none_or(|(_, end)| *end != state.end) {
            watch.ends.push_back((now, state.end));
        }
        let first = watch.isr.is_empty();
        let joined: Vec<MemberState> =
            state.isr.iter().filter(|m| !first && !watch.isr.contains(&m.replica)).copied().collect();
        let left = watch.isr.iter().filter(|known| state.isr.iter().all(|m| m.replica != **known)).count();
        watch.isr = state.isr.iter().map(|member| member.replica).collect();
        self.coverage.add("ISR shrink", left as u64);
        self.coverage.add("ISR expand", joined.len() as u64);
        // The mark may have moved once more since it joined.
        let needed = high_watermark.max(state.epoch_start);
        if let Some(member) = joined.iter().find(|member| !self.has(member.replica, state, needed)) {
            let text = format!("b{}, {state:?}: b{} has not reached {needed}", at + 1, member.broker);
            self.fail("who joins the ISR has reached high watermark and epoch", text);
        }
    }

    /// A broker that started anew is no member until it has answered: it does not stay one from before.
    fn check_incarnations(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let liveness = &process.shared.liveness;
        let lives = state.isr.iter().filter_map(|m| Some((m.broker, liveness.incarnation(m.broker)?)));
        let lives: BTreeMap<BrokerId, Incarnation> = lives.collect();
        let watch = process.watch.entry(state.group).or_default();
        let mut known = std::mem::take(&mut watch.lives);
        // Who is not heard for a while and stays a member is still the one it was.
        known.retain(|broker, _| state.isr.iter().any(|member| member.broker == *broker));
        watch.lives = known.iter().chain(&lives).map(|(broker, life)| (*broker, *life)).collect();
        let changed = known.iter().find(|(broker, life)| lives.get(broker).is_some_and(|now| now != *life));
        if let Some((broker, life)) = changed {
            let text = format!("b{}, {state:?}: b{broker} was in it as {life} and is as another", at + 1);
            self.fail("a new incarnation leaves the ISR until its first answer", text);
        }
    }

    fn note_view(&mut self, at: M, group: GroupId) {
        let process = self.machines[at].process.as_ref().expect("its state was just read");
        let Some(view) = process.shared.views.last(group).filter(|view| view.leader == broker_id(at)) else {
            return;
        };
        let truth = self.checks.groups.entry(group).or_default();
        truth.views.entry((view.at.term, view.at.version)).or_insert((view.leader, view.isr));
    }

    /// After a tick.
    pub fn check_after_tick(&mut self, at: M) {
        let Some(process) = &self.machines[at].process else { return };
        if process.engine.stopped().is_some() {
            return self.check_stopped(at);
        }
        if self.is_void(at) {
            return;
        }
        let states: Vec<ReplicaState> = process.engine.replicas().collect();
        self.check_members(at);
        self.check_elections();
        self.check_room(at);
        self.check_identity(at);
        for state in states.iter().filter(|state| state.leads && state.group != GroupId::METADATA) {
            self.check_lag_budget(at, state);
        }
        for state in states.iter().filter(|state| !state.leads && state.group != GroupId::METADATA) {
            self.check_told(at, state);
        }
        let handles =
            self.machines[at].process.as_ref().map(|p| p.shared.partitions.all()).unwrap_or_default();
        let of = |handle: &Arc<PartitionHandle>| {
            (handle.group, handle.leadership(), handle.log().damage().is_some())
        };
        let mut handles: Vec<_> = handles.iter().map(of).collect();
        handles.sort_unstable_by_key(|(group, ..)| *group);
        for (group, leadership, damaged) in handles {
            self.check_leadership(at, group, &leadership);
            self.check_damage(at, group, damaged, &leadership);
        }
    }

    fn check_lag_budget(&mut self, at: M, state: &ReplicaState) {
        let budget = self.plan.lag_ms * MS * 10 / 9 + ISR_SLACK;
        let Some(then) = self.now.checked_sub(budget) else { return };
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let end = watch.end_at(then);
        watch.prune(then);
        let Some(end) = end else { return };
        let lacks = |m: &&MemberState| m.broker != broker_id(at) && !self.has(m.replica, state, end);
        if let Some(member) = state.isr.iter().find(lacks) {
            let text = format!("b{}, {state:?}: b{} lacks {end}, the end of long ago", at + 1, member.broker);
            self.fail("a member of the ISR had within its lag budget what its leader had", text);
        }
    }

    /// Whoever found the damage, and whether its group rests or not.
    fn check_damage(&mut self, at: M, group: GroupId, damaged: bool, leadership: &Leadership) {
        let serves = damaged && !matches!(leadership, Leadership::Quarantined { .. });
        let Some(process) = &mut self.machines[at].process else { return };
        let watch = process.watch.entry(group).or_default();
        watch.damaged_looks = if serves { watch.damaged_looks + 1 } else { 0 };
        if watch.damaged_looks > LOOKS_AT_DAMAGE {
            let text = format!("b{} shows {leadership:?} of group {group}", at + 1);
            self.fail("a replica whose log is known to be damaged leaves service", text);
        }
    }

    fn check_leadership(&mut self, at: M, group: GroupId, leadership: &Leadership) {
        let caretaker = matches!(leadership, Leadership::Caretaker { .. });
        let quarantined = matches!(leadership, Leadership::Quarantined { .. });
        let expected = self.is_stranded(at, group) && !quarantined;
        let now = self.now;
        let Some(process) = &mut self.machines[at].process else { return };
        let watch = process.watch.entry(group).or_default();
        let began = (caretaker && !watch.caretaker, quarantined && !watch.quarantined);
        (watch.caretaker, watch.quarantined) = (caretaker, quarantined);
        watch.stranded_since = (expected && !caretaker).then(|| watch.stranded_since.unwrap_or(now));
        let late = watch.stranded_since.is_some_and(|since| now - since > CARETAKER_WITHIN);
        if began.0 {
            self.coverage.count("caretaker");
            let text = format!("b{} shows {leadership:?} of group {group}", at + 1);
            self.note([41, at as u64, group.0], || text);
        }
        if began.1 {
            self.coverage.count("quarantine");
            self.befell(at, SILENCE_KNOWN_WITHIN);
            let text = format!("b{}, group {group}: {leadership:?}", at + 1);
            self.note([42, at as u64, group.0], || text.clone());
            if !self.machines[at].damaged {
                return self.fail("a replica leaves service only for damage", text);
            }
        }
        if let Leadership::Caretaker { epoch } = leadership {
            self.check_caretaker(at, group, *epoch);
        }
        if late {
            let text = format!("b{} shows {leadership:?} of group {group}", at + 1);
            self.fail("a lone survivor shows itself", text);
        }
    }

    /// A caretaker gives up its care in the round in which it hears of a leader.
    fn check_end_of_care(&mut self, at: M, state: &ReplicaState) {
        let process = self.machines[at].process.as_ref().expect("its state was just read");
        let cared = process.watch.get(&state.group).is_some_and(|watch| watch.caretaker);
        if !cared || (!state.leads && state.follows.is_none()) {
            return;
        }
        let shown = process.shared.partitions.all().into_iter().find(|handle| handle.group == state.group);
        if shown.is_some_and(|handle| matches!(handle.leadership(), Leadership::Caretaker { .. })) {
            self.fail("a caretaker ends when a leader speaks", format!("b{}, {state:?}", at + 1));
        }
    }

    /// Nobody who is alive leads the epoch that a caretaker shows. One who only thinks so does not count: clients that
    /// know its successor follow neither.
    pub fn check_caretaker(&mut self, at: M, group: GroupId, epoch: u64) {
        let newest = self.checks.groups.get(&group).and_then(|truth| truth.leaders.last_key_value());
        let newest = newest.map_or(0, |(term, _)| *term);
        if newest < epoch {
            let text =
                format!("b{} shows epoch {epoch} of group {group}, the last one led was {newest}", at + 1);
            return self.fail("a caretaker shows no epoch that nobody led", text);
        }
        if newest > epoch {
            return;
        }
        let leads = |process: &crate::process::Process| {
            let mut states = process.engine.replicas();
            states.any(|state| state.group == group && state.leads && state.term == epoch)
        };
        let others = self.machines.iter().enumerate().filter(|(other, _)| *other != at);
        let other =
            others.filter_map(|(other, m)| Some((other, m.process.as_ref()?))).find(|(_, p)| leads(p));
        if let Some((other, _)) = other {
            let text =
                format!("b{} shows epoch {epoch} of group {group}, which b{} leads", at + 1, other + 1);
            self.fail("a caretaker shows no epoch that somebody leads", text);
        }
    }

    /// Whether every other replica's process is gone while this one votes, could not lead alone, and was last in the ISR
    /// that it knew.
    fn is_stranded(&self, at: M, group: GroupId) -> bool {
        let Some(process) = &self.machines[at].process else { return false };
        let cluster = process.shared.cluster.borrow();
        let Some((_, partition)) = cluster.group(group) else { return false };
        let Some(own) = process.watch.get(&group).and_then(|watch| watch.replica) else { return false };
        let members = self.members_at(at, group);
        if !members.votes(own) || members::majority(&members, |replica| replica == own) {
            return false;
        }
        let gone = |machine: M| self.machines[machine].process.is_none() && self.machines[machine].powered;
        let others = partition.replicas.iter().map(|replica| index_of(replica.broker)).filter(|m| *m != at);
        let known = process.shared.views.last(group).is_some_and(|view| view.isr.contains(&broker_id(at)));
        known && others.into_iter().all(gone)
    }

    fn check_stopped(&mut self, at: M) {
        let retired = self.is_retired(at);
        let machine = &mut self.machines[at];
        let reason = machine.process.as_ref().and_then(|p| p.engine.stopped()).unwrap_or_default().to_owned();
        if !machine.may_stop && !machine.damaged && !retired {
            return self.fail("a broker stops only for its disk", format!("b{}: {reason}", at + 1));
        }
        if !std::mem::replace(&mut machine.restart_due, true) {
            self.coverage.count("log stopped");
            self.befell(at, SILENCE_KNOWN_WITHIN);
            self.note([43, at as u64, 0], || format!("b{} stopped: {reason}", at + 1));
            self.restart_later(at, 2 * SECOND);
        }
    }
}
