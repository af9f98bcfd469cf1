//! What holds of everything a client is told.

use bytes::Bytes;
use chronik_broker::log::BatchHeader;
use chronik_broker::replica::{Acks, AppendError, Appended, ReplicaState};
use chronik_core::ids::{GroupId, Offset, ReplicaId, Term};
use chronik_core::metadata::Partition;
use chronik_core::view::{PartitionReport, PartitionState};

use super::members;
use crate::batch::Tag;
use crate::clients::service::PendingAppend;
use crate::world::{M, World, broker_id};

/// What a broker was to a partition before it took a batch.
pub struct Standing {
    state: Option<ReplicaState>,
    caretaker: bool,
}

impl World {
    /// What this broker is to a group right now.
    pub fn standing(&self, at: M, group: GroupId) -> Standing {
        let process = self.machines[at].process.as_ref().expect("a process serves");
        let state = process.engine.replicas().find(|state| state.group == group);
        let caretaker = process.watch.get(&group).is_some_and(|watch| watch.caretaker)
            && state.as_ref().is_some_and(|state| !state.leads);
        Standing { state, caretaker }
    }

    /// A batch was taken: appended, known already, or put aside while leadership is being handed over.
    pub fn check_admitted(&mut self, at: M, group: GroupId, tag: Tag, acks: Acks, before: &Standing) {
        let Some(state) = before.state.as_ref().filter(|state| state.leads) else {
            return self.fail("only a leader takes writes", format!("b{}, group {group}: {tag:?}", at + 1));
        };
        if before.caretaker {
            return self.fail("a caretaker takes no writes", format!("b{}, group {group}: {tag:?}", at + 1));
        }
        let end = self.standing(at, group).state.map_or(0, |state| state.end);
        if end > state.end && self.was_elected_while_it_stood(at, group, state.term) {
            let text = format!("b{}, {state:?}: {tag:?}", at + 1);
            return self.fail("a leader that stood still gives up its office before it serves on", text);
        }
        let below = acks == Acks::All && state.isr.len() < self.required(at, group);
        if below && end > state.end {
            let text = format!("b{}, {state:?}: {tag:?}", at + 1);
            self.fail("no acks=all below min ISR", text);
        } else if acks == Acks::All && end == state.end {
            let process = self.machines[at].process.as_mut().expect("it just took a batch");
            process.parked.insert(tag);
        }
    }

    /// Whether this broker's process stood still for long enough to know better, and somebody else was elected meanwhile.
    fn was_elected_while_it_stood(&self, at: M, group: GroupId, term: Term) -> bool {
        let (from, until) = self.machines[at].stood;
        // By its own clock, which may run slow, it must have been a whole election.
        let long = until.saturating_sub(from) > self.plan.broker.election() * 5 / 4;
        let truth = self.checks.groups.get(&group);
        let mut later = truth.into_iter().flat_map(|truth| truth.elected.range(term + 1..));
        long && later.any(|(_, elected)| (from..until).contains(elected))
    }

    /// A batch was refused before anything was appended.
    pub fn check_refused(&mut self, at: M, group: GroupId, tag: Tag, error: &AppendError, before: &Standing) {
        match error {
            AppendError::Producer(error) if error.code() == 47 => {
                let text = format!("b{}, group {group}: {tag:?}: {error}", at + 1);
                self.fail("a producer is fenced only by a newer one", text);
            }
            AppendError::NotEnoughReplicas { .. } => {
                let state = before.state.as_ref().filter(|state| state.leads);
                let unfounded = state.filter(|state| state.isr.len() >= self.required(at, group));
                if let Some(state) = unfounded {
                    let text = format!("b{}, {state:?}: {tag:?}: {error:?}", at + 1);
                    return self.fail("acks=all is refused only below min ISR", text);
                }
                if self.moves(group) {
                    self.coverage.count("acks=all below min ISR during a move");
                }
            }
            _ => {}
        }
    }

    /// A produce that waited is answered.
    pub fn check_answered(&mut self, at: M, append: &PendingAppend, outcome: &Result<Appended, AppendError>) {
        let tag = append.tag;
        let Ok(appended) = outcome else {
            let error = format!("{outcome:?}");
            self.note([22, append.request, 1], || format!("b{} fails {tag:?}: {error}", at + 1));
            return;
        };
        let offset = appended.base_offset;
        self.note([22, append.request, offset as u64], || {
            format!("b{} acknowledges {tag:?} at {offset}", at + 1)
        });
        let Some(group) = self.group_of(at, append.place) else { return };
        match append.acks {
            Acks::All => self.check_acknowledged(at, group, tag, offset),
            Acks::Leader => {
                let held = self.checks.disks[at].get(&group).and_then(|mirror| mirror.at_offset(offset));
                if held.and_then(|digest| digest.tag).map(Tag::operation) != Some(tag.operation()) {
                    let text =
                        format!("b{}, group {group}: {tag:?} at {offset}, its disk has {held:?}", at + 1);
                    self.fail("acks=1 means synced by the leader", text);
                }
            }
            Acks::None => {}
        }
    }

    fn check_acknowledged(&mut self, at: M, group: GroupId, tag: Tag, offset: Offset) {
        let process = self.machines[at].process.as_ref().expect("it just answered");
        let Some(state) = process.engine.replicas().find(|state| state.group == group) else { return };
        let holds = |replica: ReplicaId| {
            let held = self.copy_of(group, replica).and_then(|mirror| mirror.at_offset(offset));
            held.and_then(|digest| digest.tag).is_some_and(|held| held.operation() == tag.operation())
        };
        let holders = state.isr.iter().filter(|member| holds(member.replica)).count();
        // A repetition of what was complete before may come when some of those members have gone. And what waited for a leader
        // that lost its office is complete when its high watermark, as the next leader told it, has passed.
        let passed = |high_watermark| self.covers(high_watermark, group, offset);
        let watch = process.watch.get(&group);
        let complete = watch.is_some_and(|watch| passed(watch.high_watermark_before))
            || (!state.leads && passed(state.high_watermark));
        let enough = match complete {
            true => self.was_decided(at, group, offset, holds),
            false => holders >= self.required(at, group),
        };
        if !enough {
            let text = format!("b{}, {state:?}: {tag:?} at {offset} is synced by {holders} members", at + 1);
            return self.fail("acks=all means synced by k members of the ISR", text);
        }
        let truth = self.checks.groups.entry(group).or_default();
        let committed = truth.committed.partition_point(|entry| entry.end_offset() <= offset);
        let entry = truth.committed[committed..].iter().find(|entry| entry.records > 0);
        let found = entry.filter(|entry| entry.base_offset == offset).and_then(|entry| entry.tag);
        if found.map(Tag::operation) != Some(tag.operation()) {
            let text =
                format!("b{}, group {group}: {tag:?} at {offset}; committed there is {entry:?}", at + 1);
            return self.fail("acks=all means committed", text);
        }
        let end = entry.expect("it was just found").end_offset();
        truth.acknowledged.insert(offset, tag.operation());
        truth.expose(state.term, end);
    }

    /// Whether a majority holds what is committed at an offset: of the members that decided it or of any since.
    fn was_decided(&self, at: M, group: GroupId, offset: Offset, holds: impl Fn(ReplicaId) -> bool) -> bool {
        let (Some(truth), Some(process)) = (self.checks.groups.get(&group), &self.machines[at].process)
        else {
            return false;
        };
        let before = truth.committed.partition_point(|entry| entry.end_offset() <= offset);
        let now = process.watch.get(&group).map_or(0, |watch| watch.members);
        let mut since = truth.members.between(truth.members.place(before as u64), now);
        since.any(|members| members::majority(members, &holds))
    }

    /// Whether the committed log up to an index holds an offset.
    fn covers(&self, index: u64, group: GroupId, offset: Offset) -> bool {
        let last = self
            .checks
            .groups
            .get(&group)
            .and_then(|truth| truth.committed.get((index as usize).checked_sub(1)?));
        last.is_some_and(|entry| entry.end_offset() > offset)
    }

    /// k, from what this broker knows of the topic and from the members its replica has: not from what it makes of them.
    /// While voters change, those that come out of it count.
    pub fn required(&self, at: M, group: GroupId) -> usize {
        let voters = self.members_at(at, group).voters.len();
        voters.min(self.min_isr(at, group).max(voters / 2 + 1))
    }

    /// The topic's `min.insync.replicas`, as a broker knows it.
    pub fn min_isr(&self, at: M, group: GroupId) -> usize {
        let process = self.machines[at].process.as_ref().expect("it just answered");
        let cluster = process.shared.cluster.borrow();
        let Some((topic, _)) = cluster.group(group) else { return 0 };
        let configured = topic.configs.get("min.insync.replicas").and_then(|text| text.trim().parse().ok());
        configured.unwrap_or(self.plan.broker.topics.min_insync_replicas as usize)
    }

    /// A partition's group, as a broker knows it.
    pub fn group_of(&self, at: M, place: usize) -> Option<GroupId> {
        let cluster = self.machines[at].process.as_ref()?.shared.cluster.borrow();
        let (name, number) = &self.places[place];
        Some(cluster.topic_by_name(name)?.partition(*number)?.group)
    }

    /// Records were served.
    pub fn check_served(
        &mut self,
        at: M,
        group: GroupId,
        offset: Offset,
        high_watermark: Offset,
        records: &Bytes,
    ) {
        let process = self.machines[at].process.as_ref().expect("a process serves");
        let epoch = process.watch.get(&group).map_or(0, |watch| watch.term);
        let truth = self.checks.groups.entry(group).or_default();
        let mut at_entry = truth.committed.partition_point(|entry| entry.end_offset() <= offset);
        let mut rest = records.clone();
        let mut end = offset;
        while let Ok(header) = BatchHeader::parse(&rest) {
            let batch = rest.split_to(header.size);
            while truth.committed.get(at_entry).is_some_and(|entry| entry.records == 0) {
                at_entry += 1;
            }
            let entry = truth.committed.get(at_entry);
            at_entry += 1;
            end = header.base_offset + Offset::from(header.records());
            let same = entry.is_some_and(|entry| {
                entry.base_offset == header.base_offset
                    && entry.hash == crc32c::crc32c(&batch)
                    && u64::try_from(header.leader_epoch) == Ok(entry.term)
            });
            if !same || end > high_watermark {
                let tag = crate::batch::tag_of(&batch);
                let text = format!(
                    "b{}, group {group}: {tag:?} at {} below {high_watermark}; committed there is {entry:?}",
                    at + 1,
                    header.base_offset
                );
                return self.fail("only what is committed is served", text);
            }
        }
        truth.expose(epoch, end);
    }

    /// The end of a log was told.
    pub fn check_latest(&mut self, at: M, group: GroupId, epoch: Term, offset: Offset) {
        let truth = self.checks.groups.entry(group).or_default();
        let known = truth.exposed.range(..=epoch).map(|(_, end)| *end).max().unwrap_or(0);
        if offset < known {
            let text =
                format!("b{}, group {group}, epoch {epoch}: {offset}, but {known} was shown before", at + 1);
            self.fail("the latest offset is not before what was shown", text);
        }
    }

    /// What a broker says of a partition.
    pub fn check_report(&mut self, at: M, partition: &Partition, report: &PartitionReport) {
        let group = partition.group;
        match report.state {
            PartitionState::Leader => {
                let truth = self.checks.groups.entry(group).or_default();
                let shown = (report.leader, report.isr.clone());
                let published = truth.views.get(&(report.epoch, report.version));
                let same = published.is_some_and(|(leader, isr)| shown == (Some(*leader), Some(isr.clone())));
                if !same {
                    let text =
                        format!("b{}, group {group}: {report:?}; its leader said {published:?}", at + 1);
                    self.fail("Metadata shows what a leader said", text);
                }
            }
            PartitionState::Caretaker => {
                if report.leader != Some(broker_id(at)) || report.isr != Some(vec![broker_id(at)]) {
                    self.fail("a caretaker shows itself alone", format!("b{}: {report:?}", at + 1));
                }
                self.check_caretaker(at, group, report.epoch);
            }
            PartitionState::Offline | PartitionState::Unknown => {
                if report.leader.is_some() || report.isr.is_some() {
                    self.fail("what is not known is not shown", format!("b{}: {report:?}", at + 1));
                }
            }
        }
    }
}
