//! What others see of a partition: its view, its leadership or caretaker, and its high watermark.

use chronik_core::ids::{BrokerId, LogIndex, Term};
use chronik_core::replication::caretaker::{self, Outlook};
use chronik_core::view::{PartitionView, ViewVersion};

use super::{Partition, Surroundings};
use crate::quorum::Group;
use crate::replica::handle::Leadership;

/// A survivor shows itself only after this long without a leader: an ordinary failover takes less.
const CARETAKER_PATIENCE_MS: u64 = 500;

impl Partition {
    /// A leader's view was heard: it says whether this replica is in sync.
    pub(in crate::replica) fn hear_view(&self, around: Surroundings<'_>) {
        let isr = around.views.last(self.group()).map(|view| view.isr).unwrap_or_default();
        self.handle.set_in_sync(isr.contains(&around.own));
    }

    /// Another broker published its view as leader: a caretaker of an epoch up to that one gives way. True if Raft has not
    /// told of such a term here.
    pub(in crate::replica) fn hear_of_leader(&mut self, term: Term, around: Surroundings<'_>) -> bool {
        if term >= self.real_leader.epoch && !self.role.leads {
            self.leaderless_since_ms = Some(around.now.ms);
            self.set_caretaker(None, around);
            self.show_leadership();
        }
        term > self.role.term
    }

    /// What the current leader says its high watermark is.
    pub(in crate::replica) fn leader_says(&mut self, term: Term, sent: LogIndex, group: &Group) {
        self.mark.follow(term, sent, group.commit());
    }

    pub(super) fn decide_caretaker(&mut self, group: &Group, around: Surroundings<'_>) {
        if self.role.leader.is_some() {
            return;
        }
        let leaderless_ms = self.leaderless_since_ms.map_or(0, |since| around.now.ms.saturating_sub(since));
        let last_isr = around.views.last(self.group()).map(|view| view.isr).unwrap_or_default();
        let outlook = Outlook {
            is_voter: group.is_voter(),
            in_last_known_isr: last_isr.contains(&around.own),
            last_leader_term: self.real_leader.epoch,
            led_it: self.real_leader.broker == Some(around.own),
            leader_known_dead: self.real_leader.broker.is_some_and(|broker| around.liveness.is_dead(broker)),
            reaches_majority: self.reaches_majority(around),
            without_leader_ms: leaderless_ms,
        };
        let decision = caretaker::decide(&outlook, CARETAKER_PATIENCE_MS);
        self.set_caretaker(decision, around);
        self.show_leadership();
    }

    pub(super) fn set_caretaker(&mut self, epoch: Option<Term>, around: Surroundings<'_>) {
        if self.caretaker != epoch {
            self.caretaker = epoch;
            around.views.set_caretaker(self.group(), epoch);
        }
    }

    pub(super) fn show_leadership(&self) {
        self.handle.set_leadership(match (self.caretaker, &self.leading) {
            (Some(epoch), _) => Leadership::Caretaker { epoch },
            (None, Some(leading)) => Leadership::Leader { epoch: leading.term },
            (None, None) => Leadership::Follower {
                leader: self.role.leader.and_then(|leader| self.broker_of(leader)),
                epoch: self.role.term,
            },
        });
    }

    /// Publishes the leader's view if it differs from the last one.
    pub(super) fn publish(&mut self, around: Surroundings<'_>) -> Option<PartitionView> {
        let effective_min_isr = self.effective_min_isr();
        let leading = self.leading.as_ref()?;
        let mut isr: Vec<BrokerId> =
            leading.tracker.isr().iter().filter_map(|replica| self.broker_of(replica)).collect();
        isr.sort_unstable();
        let version = leading.published.as_ref().map_or(1, |view| view.at.version);
        let mut view = PartitionView {
            group: self.handle.group,
            topic: self.handle.topic,
            partition: self.handle.partition,
            at: ViewVersion { term: leading.term, version },
            leader: around.own,
            isr,
            effective_min_isr,
            provisional: leading.tracker.is_provisional(),
            metadata_index: self.assignment.since,
        };
        let leading = self.leading.as_mut()?;
        if let Some(published) = &leading.published {
            if *published == view {
                return None;
            }
            view.at.version += 1;
        }
        leading.published = Some(view.clone());
        around.views.publish(view.clone(), around.now.ms);
        Some(view)
    }

    /// The view this leader stands by.
    pub(in crate::replica) fn published(&self) -> Option<&PartitionView> {
        self.leading.as_ref().and_then(|leading| leading.published.as_ref())
    }

    /// Whether followers have not been told of the high watermark yet.
    pub(in crate::replica) fn has_untold_high_watermark(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.told != self.mark.value())
    }

    /// The high watermark to tell followers, if it moved since the last time.
    pub(in crate::replica) fn untold_high_watermark(&mut self) -> Option<(Term, LogIndex)> {
        let high_watermark = self.mark.value();
        let leading = self.leading.as_mut()?;
        if leading.told == high_watermark {
            return None;
        }
        leading.told = high_watermark;
        Some((leading.term, high_watermark))
    }

    /// Tells the high watermark again with the next round: on an idle partition, a follower that has come since, or whose
    /// frame was lost, would never hear it.
    pub(in crate::replica) fn repeat_high_watermark(&mut self) {
        if let Some(leading) = &mut self.leading {
            leading.told = 0;
        }
    }
}
