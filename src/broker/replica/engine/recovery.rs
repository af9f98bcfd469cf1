//! Partitions that a person has go on from the replica here: which could, and those that shall.

use chronik_core::ids::{BrokerId, GroupId, Term};
use chronik_core::metadata;
use chronik_core::replication::recovery::{self, Outlook};
use chronik_core::view::PartitionRecovery;

use super::{Engine, surroundings};
use crate::quorum::Group;
use crate::replica::handle::{Leadership, PartitionHandle};
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::outbox::Transport;
use crate::replica::partition::{Partition, Surroundings};

impl<T: Transport> Engine<T> {
    /// From which epoch on metadata has the replica here go on alone, if it does.
    pub(super) fn alone_from(&self, partition: &metadata::Partition) -> Option<Term> {
        let own = partition.replica_on(self.config.broker)?;
        partition.survivor.filter(|survivor| survivor.replica == own.replica).map(|survivor| survivor.epoch)
    }

    /// Does what metadata says, once: a replica that has done it is beyond that epoch, which is on disk with it.
    pub(super) fn go_on_alone(&mut self, id: GroupId) {
        let Some(Hosted { group, serves: Serves::Partition(partition), .. }) = self.hosted.get(&id) else {
            return;
        };
        let term = group.role().term;
        let Some(epoch) = partition.assignment.alone_from.filter(|epoch| term < *epoch) else { return };
        tracing::warn!(
            topic = %partition.handle.topic_name, partition = partition.handle.partition, epoch,
            end_offset = group.end_offset(), "go on alone with this replica: the partition was recovered from it"
        );
        self.guard(id, |hosted, _| hosted.group.make_only_voter(epoch, Vec::new()));
        self.touched.insert(id);
    }

    /// Every partition with a replica here, and whether and how it could go on from it alone.
    pub(super) fn recoverable(&self) -> Vec<PartitionRecovery> {
        let around = surroundings(&self.config, &self.shared, self.now);
        let mut all: Vec<PartitionRecovery> = self
            .shared
            .partitions
            .all()
            .iter()
            .filter_map(|handle| match (self.hosted.get(&handle.group), handle.leadership()) {
                (Some(Hosted { group, serves: Serves::Partition(partition), .. }), _) => {
                    Some(judged(partition, group, around))
                }
                (_, Leadership::Quarantined { reason }) => {
                    let refused = format!("the replica here is out of service: {reason}");
                    Some(told(handle, Some(refused), around))
                }
                _ => None,
            })
            .collect();
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }
}

fn judged(partition: &Partition, group: &Group, around: Surroundings<'_>) -> PartitionRecovery {
    let role = group.role();
    let outlook = Outlook {
        leader: role.leader.and_then(|leader| partition.broker_of(leader)),
        under_way: partition.assignment.alone_from.filter(|epoch| role.term <= *epoch),
        reaches_majority: partition.reaches_majority(around),
        is_voter: group.is_voter(),
    };
    let members = partition.assignment.members.iter();
    let others =
        members.filter(|member| member.broker != around.own && partition.configuration.votes(member.replica));
    let (heard, lost): (Vec<BrokerId>, Vec<BrokerId>) =
        others.map(|member| member.broker).partition(|broker| around.liveness.is_up(*broker));
    let last_term = around.views.last(partition.group()).map_or(0, |view| view.at.term);
    let epoch = recovery::epoch_after(role.term.max(last_term));
    let no_epoch = || format!("its epoch {} leaves no room for another recovery", role.term.max(last_term));
    let refused = recovery::judge(&outlook).err().map(|unfit| unfit.to_string());
    let refused = refused.or_else(|| epoch.is_none().then(no_epoch));
    PartitionRecovery { heard, lost, epoch, ..told(&partition.handle, refused, around) }
}

/// What is known of a replica here without its group.
fn told(handle: &PartitionHandle, refused: Option<String>, around: Surroundings<'_>) -> PartitionRecovery {
    let last = around.views.last_heard(handle.group, around.now.ms);
    let may_lack =
        recovery::may_lack(around.own, last.as_ref().map(|(view, _)| (view.leader, &view.isr[..])));
    PartitionRecovery {
        topic: handle.topic_name.clone(),
        partition: handle.partition,
        group: handle.group,
        survivor: handle.replica,
        refused,
        end_offset: handle.log().end_offset(),
        high_watermark: handle.high_watermark(),
        last_heard_ms: last.as_ref().map(|(_, age)| *age),
        last_leader: last.as_ref().map(|(view, _)| view.leader),
        last_min_isr: last.as_ref().map(|(view, _)| view.effective_min_isr),
        last_isr: last.map(|(view, _)| view.isr),
        may_lack,
        heard: Vec::new(),
        lost: Vec::new(),
        epoch: None,
    }
}
