//! What brokers tell each other about groups: Raft messages, views, pulses, high watermarks; who came and who went.

use std::collections::BTreeMap;

use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::view::{PartitionView, ViewVersion};

use super::{Engine, surroundings};
use crate::quorum::RaftMessage;
use crate::replica::frame::{Frame, LeaderHighWatermark};
use crate::replica::hosted::{Hosted, Serves};
use crate::replica::liveness::Loss;
use crate::replica::outbox::Transport;
use crate::replica::views::Confirmed;

/// Views in one frame, at most: each has some hundred bytes, and a frame has room for four million.
const VIEWS_PER_FRAME: usize = 1_000;

impl<T: Transport> Engine<T> {
    pub(super) fn peer_up(&mut self, broker: BrokerId) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let mut stirred = Vec::new();
        for (id, hosted) in &mut self.hosted {
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.heard_of(broker, around);
            }
            let replica = hosted.replica_on(broker);
            if hosted.group.role().leads && replica.is_some_and(|replica| hosted.group.is_member(replica)) {
                hosted.group.ping();
                stirred.push(*id);
            }
        }
        self.stir(&stirred);
        let views = self.hosted.values().filter_map(|hosted| hosted.partition()?.published().cloned());
        self.send_views(broker, &views.collect::<Vec<_>>());
        self.pulse_due = true;
    }

    pub(super) fn peer_down(&mut self, broker: BrokerId, _loss: Loss) {
        let around = surroundings(&self.config, &self.shared, self.now);
        let mut stirred = Vec::new();
        for (id, hosted) in &mut self.hosted {
            if hosted.follows(broker) {
                // While a group rests, that its leader's broker lives is all that keeps others from being elected.
                hosted.group.forget_leader();
                stirred.push(*id);
            }
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.heard_of(broker, around);
            }
            if hosted.group.role().leads
                && let Some(replica) = hosted.replica_on(broker)
                && hosted.group.is_member(replica)
            {
                hosted.group.report_unreachable(replica);
                stirred.push(*id);
            }
        }
        self.stir(&stirred);
        self.shared.views.announce_led_by(broker);
    }

    pub(super) fn frame(&mut self, from: BrokerId, payload: bytes::Bytes) {
        match Frame::decode(payload) {
            Ok(Frame::Raft(messages)) => {
                messages.into_iter().for_each(|(group, message)| self.step(from, group, message))
            }
            Ok(Frame::HighWatermarks(items)) => self.hear_high_watermarks(from, &items),
            Ok(Frame::Views(views)) => self.hear_views(from, views),
            Ok(Frame::Pulse { metadata_index, draining, views }) => {
                if self.shared.liveness.pulse(from, metadata_index, draining, self.now.ms) {
                    self.wake_led_for(from);
                }
                if !self.shared.views.confirm_all(from, views, self.now.ms) {
                    self.outbox.send(from, Frame::WantConfirmed.encode());
                }
            }
            Ok(Frame::WantConfirmed) => {
                let standing = self.shared.views.standing(self.config.broker);
                self.outbox.send(from, Frame::Confirmed(standing).encode());
            }
            Ok(Frame::Confirmed(views)) => self.hear_confirmed(from, &views),
            Ok(Frame::Quiet(groups)) => self.hear_quiet(from, &groups),
            Ok(Frame::Wake(groups)) => groups.into_iter().for_each(|group| self.wake(group)),
            Ok(Frame::ElectPreferred(groups)) => self.elect_preferred(&groups),
            Ok(Frame::Quarantined(replicas)) => self.hear_quarantined(from, &replicas),
            Ok(Frame::Commands(commands)) => self.hear_commands(from, &commands),
            Ok(Frame::WantViews(groups)) => {
                let wanted =
                    groups.iter().filter_map(|id| self.hosted.get(id)?.partition()?.published().cloned());
                self.send_views(from, &wanted.collect::<Vec<_>>());
            }
            Err(error) => tracing::warn!(%from, %error, "drop peer frame"),
        }
    }

    pub(super) fn step(&mut self, from: BrokerId, id: GroupId, message: RaftMessage) {
        if self.has_no_room_for(&message) {
            // As if the network had lost it: the leader finds out and sends it again.
            return;
        }
        let (answer, stays_awake) =
            (message.is_answer(), message.is_heartbeat() || message.carries_entries());
        let mut news = false;
        self.guard(id, |hosted, around| {
            if let Serves::Metadata(metadata) = &mut hosted.serves {
                metadata.hear_of(message.from(), from);
            }
            if hosted.broker_of(message.from()) != Some(from) || message.to() != hosted.group.replica() {
                tracing::warn!(%from, group = %id, "drop raft message from a replica that is not its sender's");
                return Ok(());
            }
            if message.is_snapshot() && id != GroupId::METADATA {
                tracing::warn!(%from, group = %id, "drop the snapshot of a partition: their logs are kept whole");
                return Ok(());
            }
            let sender = message.from();
            let (append_answer, heartbeat_answer) = (message.is_append_answer(), message.is_heartbeat_answer());
            hosted.group.step(message)?;
            news = !answer || hosted.group.has_news();
            if let Serves::Partition(partition) = &mut hosted.serves {
                partition.follow_role(&hosted.group, around);
                if append_answer {
                    partition.follower_answered(sender, &hosted.group, around);
                } else if heartbeat_answer {
                    partition.follower_heard(sender, around.now);
                }
            }
            Ok(())
        });
        if news {
            self.wake_by_message(id, stays_awake);
        }
        self.touched.insert(id);
    }

    fn hear_high_watermarks(&mut self, from: BrokerId, items: &[LeaderHighWatermark]) {
        for item in items {
            if let Some(Hosted { group, serves: Serves::Partition(partition), .. }) =
                self.hosted.get_mut(&item.group)
                && partition.follows(from)
            {
                partition.leader_says(item.term, item.index, group);
                self.touched.insert(item.group);
            }
        }
    }

    fn hear_views(&mut self, from: BrokerId, views: Vec<PartitionView>) {
        for view in views.into_iter().filter(|view| view.leader == from) {
            let (around, group) = (surroundings(&self.config, &self.shared, self.now), view.group);
            if let Some(Hosted { serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&group)
                && partition.hear_of_leader(view.at.term, around)
            {
                self.wake(group);
            }
            self.shared.views.publish(view, self.now.ms);
            if let Some(partition) = self.hosted.get(&group).and_then(Hosted::partition) {
                partition.hear_view(surroundings(&self.config, &self.shared, self.now));
            }
        }
    }

    fn hear_confirmed(&mut self, from: BrokerId, confirmed: &[(GroupId, ViewVersion)]) {
        let Confirmed { missing, disowned } = self.shared.views.confirm(from, confirmed, self.now.ms);
        if !missing.is_empty() {
            self.outbox.send(from, Frame::WantViews(missing).encode());
        }
        // Its broker lives, but it leads these no more.
        disowned.into_iter().for_each(|group| self.wake(group));
    }

    pub(super) fn others(&self) -> Vec<BrokerId> {
        let cluster = self.shared.cluster.borrow();
        let brokers = cluster.brokers().map(|broker| broker.id);
        brokers.filter(|id| *id != self.config.broker && self.shared.liveness.is_up(*id)).collect()
    }

    pub(super) fn pulse(&mut self) {
        let views = self.shared.views.digest(self.config.broker);
        self.shared.views.confirm_all(self.config.broker, views, self.now.ms);
        let metadata_index = self.shared.cluster.borrow().applied();
        let draining = !self.may_lead();
        let frame = Frame::Pulse { metadata_index, draining, views }.encode();
        for broker in self.others() {
            self.outbox.send(broker, frame.clone());
        }
    }

    /// Tells all brokers the views that changed in this round.
    pub(super) fn gossip(&mut self) {
        let changed = std::mem::take(&mut self.changed_views);
        if !changed.is_empty() {
            self.others().into_iter().for_each(|broker| self.send_views(broker, &changed));
        }
    }

    fn send_views(&self, to: BrokerId, views: &[PartitionView]) {
        for some in views.chunks(VIEWS_PER_FRAME) {
            self.outbox.send(to, Frame::Views(some.to_vec()).encode());
        }
    }

    /// Tells followers every high watermark that moved in this round.
    pub(super) fn tell_high_watermarks(&mut self) {
        let mut told: BTreeMap<BrokerId, Vec<LeaderHighWatermark>> = BTreeMap::new();
        for id in std::mem::take(&mut self.untold) {
            let Some(Hosted { serves: Serves::Partition(partition), .. }) = self.hosted.get_mut(&id) else {
                continue;
            };
            let Some((term, index)) = partition.untold_high_watermark() else { continue };
            let item = LeaderHighWatermark { group: id, term, index };
            for member in &partition.assignment.members {
                if member.broker != self.config.broker && self.shared.liveness.is_up(member.broker) {
                    told.entry(member.broker).or_default().push(item);
                }
            }
        }
        for (broker, items) in told {
            self.outbox.send(broker, Frame::HighWatermarks(items).encode());
        }
    }
}
