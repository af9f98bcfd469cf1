//! The newest view of every partition that this broker has heard, and how old it is. Written by the engine alone.

use std::collections::HashMap;

use chronik_core::ids::{BrokerId, GroupId, Term};
use chronik_core::view::{PartitionView, ViewVersion};
use parking_lot::RwLock;
use tokio::sync::broadcast;

/// A view that nobody confirmed for this many milliseconds is unknown.
pub const VIEW_LIFETIME_MS: u64 = 5_000;

/// Changes that a slow subscriber may miss before it must read everything anew.
const CHANGES_KEPT: usize = 4096;

/// What is known of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// A leader's view, confirmed this many milliseconds ago.
    Leader(PartitionView, u64),
    /// This broker is the lone survivor and shows itself, with this epoch.
    Caretaker(Term),
    /// A view, but one too old to believe.
    Stale,
    /// No view at all.
    Missing,
}

struct Entry {
    view: PartitionView,
    confirmed_ms: u64,
}

#[derive(Default)]
struct Table {
    views: HashMap<GroupId, Entry>,
    caretakers: HashMap<GroupId, Term>,
}

/// All views known to this broker.
pub struct Views {
    table: RwLock<Table>,
    changes: broadcast::Sender<GroupId>,
}

impl Default for Views {
    fn default() -> Self {
        Self { table: RwLock::default(), changes: broadcast::channel(CHANGES_KEPT).0 }
    }
}

impl Views {
    /// What is known of a partition at `now_ms` of the broker's monotonic clock.
    pub fn get(&self, group: GroupId, now_ms: u64) -> Known {
        let table = self.table.read();
        if let Some(epoch) = table.caretakers.get(&group) {
            return Known::Caretaker(*epoch);
        }
        match table.views.get(&group) {
            None => Known::Missing,
            Some(entry) => match now_ms.saturating_sub(entry.confirmed_ms) {
                age if age > VIEW_LIFETIME_MS => Known::Stale,
                age => Known::Leader(entry.view.clone(), age),
            },
        }
    }

    /// The newest view ever heard, however old: where a new leader starts from.
    pub fn last(&self, group: GroupId) -> Option<PartitionView> {
        self.table.read().views.get(&group).map(|entry| entry.view.clone())
    }

    /// The same, and how long ago its leader stood by it.
    pub fn last_heard(&self, group: GroupId, now_ms: u64) -> Option<(PartitionView, u64)> {
        let table = self.table.read();
        table.views.get(&group).map(|entry| (entry.view.clone(), now_ms.saturating_sub(entry.confirmed_ms)))
    }

    /// Tells which partitions change from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<GroupId> {
        self.changes.subscribe()
    }

    /// Takes in a leader's view; an older one than known changes nothing.
    pub fn publish(&self, view: PartitionView, now_ms: u64) {
        let group = view.group;
        let mut table = self.table.write();
        let changed = match table.views.get_mut(&group) {
            Some(known) if known.view.at > view.at => return,
            Some(known) => {
                let changed = known.view != view;
                *known = Entry { view, confirmed_ms: now_ms };
                changed
            }
            None => table.views.insert(group, Entry { view, confirmed_ms: now_ms }).is_none(),
        };
        drop(table);
        if changed {
            self.announce(group);
        }
    }

    /// Notes that `leader` stands by these views; gives those that this broker has not got.
    pub fn confirm(
        &self,
        leader: BrokerId,
        confirmed: &[(GroupId, ViewVersion)],
        now_ms: u64,
    ) -> Vec<GroupId> {
        let mut table = self.table.write();
        let mut missing = Vec::new();
        for (group, at) in confirmed {
            match table.views.get_mut(group) {
                Some(known) if known.view.at == *at && known.view.leader == leader => {
                    known.confirmed_ms = now_ms
                }
                Some(known) if known.view.at > *at => {}
                _ => missing.push(*group),
            }
        }
        missing
    }

    /// Shows this broker as caretaker of a partition, or no longer.
    pub fn set_caretaker(&self, group: GroupId, epoch: Option<Term>) {
        let mut table = self.table.write();
        let before = match epoch {
            Some(epoch) => table.caretakers.insert(group, epoch),
            None => table.caretakers.remove(&group),
        };
        drop(table);
        if before != epoch {
            self.announce(group);
        }
    }

    /// Forgets partitions that were deleted.
    pub fn forget_all(&self, deleted: impl Fn(&GroupId) -> bool) {
        let mut table = self.table.write();
        let gone: Vec<GroupId> = table.views.keys().filter(|group| deleted(group)).copied().collect();
        for group in &gone {
            table.views.remove(group);
            table.caretakers.remove(group);
        }
        drop(table);
        gone.into_iter().for_each(|group| self.announce(group));
    }

    /// Tells subscribers about every partition that a broker leads: it came or went.
    pub fn announce_led_by(&self, leader: BrokerId) {
        let table = self.table.read();
        let led =
            table.views.values().filter(|entry| entry.view.leader == leader).map(|entry| entry.view.group);
        let led: Vec<GroupId> = led.collect();
        drop(table);
        led.into_iter().for_each(|group| self.announce(group));
    }

    /// Tells subscribers that a partition's state may have changed for another reason, such as a broker's death.
    pub fn announce(&self, group: GroupId) {
        // No subscriber is no error.
        let _ = self.changes.send(group);
    }
}
