//! The newest view of every partition that this broker has heard, and how old it is. Written by the engine alone.
//!
//! A leader confirms its views each second, all at once: it sends how many they are and a digest of them. Whoever knows
//! exactly these as that broker's has all of them confirmed without looking at one; whoever does not asks for the list.

use std::collections::{BTreeSet, HashMap};

use chronik_core::ids::{BrokerId, GroupId, Term};
use chronik_core::metadata::limits;
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

impl Known {
    /// The leader's view, if there is one to believe.
    pub fn leader(self) -> Option<PartitionView> {
        match self {
            Known::Leader(view, _) => Some(view),
            _ => None,
        }
    }
}

/// All views that a broker stands by, in two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    /// How many there are.
    pub count: u64,
    /// The sum of a number made of each.
    pub sum: u64,
}

impl Digest {
    fn add(&mut self, view: &PartitionView) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number_of(view.group, view.at));
    }

    fn take(&mut self, view: &PartitionView) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(number_of(view.group, view.at));
    }
}

/// Part of what brokers say to each other: the same in every build. One view's change moves about half of its bits.
fn number_of(group: GroupId, at: ViewVersion) -> u64 {
    let mut mixed = 0_u64;
    for part in [group.0, at.term, at.version] {
        mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// What came of a leader's list of its views.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Confirmed {
    /// Views that this broker has not got.
    pub missing: Vec<GroupId>,
    /// Groups that the leader does not lead any more, as far as it was known to.
    pub disowned: Vec<GroupId>,
}

struct Entry {
    view: PartitionView,
    confirmed_ms: u64,
    /// Whether its leader stands by it, as far as is known here.
    stands: bool,
}

/// The views that a broker stands by.
#[derive(Default)]
struct Led {
    groups: BTreeSet<GroupId>,
    digest: Digest,
    confirmed_ms: u64,
}

#[derive(Default)]
struct Table {
    views: HashMap<GroupId, Entry>,
    led: HashMap<BrokerId, Led>,
    caretakers: HashMap<GroupId, Term>,
}

impl Table {
    fn confirmed_ms(&self, entry: &Entry) -> u64 {
        let with_all = self.led.get(&entry.view.leader).filter(|_| entry.stands);
        with_all.map_or(0, |led| led.confirmed_ms).max(entry.confirmed_ms)
    }

    /// Its leader stands by it from now on.
    fn enlist(&mut self, view: PartitionView, confirmed_ms: u64) {
        let led = self.led.entry(view.leader).or_default();
        led.groups.insert(view.group);
        led.digest.add(&view);
        self.views.insert(view.group, Entry { view, confirmed_ms, stands: true });
    }

    /// Its leader stands by it no more.
    fn strike(&mut self, group: GroupId) {
        let Some(entry) = self.views.get(&group).filter(|entry| entry.stands) else { return };
        let (leader, confirmed_ms) = (entry.view.leader, self.confirmed_ms(entry));
        let entry = self.views.get_mut(&group).expect("just seen");
        (entry.stands, entry.confirmed_ms) = (false, confirmed_ms);
        if let Some(led) = self.led.get_mut(&leader) {
            led.groups.remove(&group);
            led.digest.take(&entry.view);
        }
    }
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
            Some(entry) => match now_ms.saturating_sub(table.confirmed_ms(entry)) {
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
        let entry = table.views.get(&group)?;
        Some((entry.view.clone(), now_ms.saturating_sub(table.confirmed_ms(entry))))
    }

    /// Whether `leader` is known to stand by a view of that term.
    pub fn stands(&self, group: GroupId, leader: BrokerId, term: Term) -> bool {
        let table = self.table.read();
        let entry = table.views.get(&group).filter(|entry| entry.stands);
        entry.is_some_and(|entry| entry.view.leader == leader && entry.view.at.term == term)
    }

    /// Tells which partitions change from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<GroupId> {
        self.changes.subscribe()
    }

    /// Takes in a leader's view; an older one than known changes nothing.
    pub fn publish(&self, view: PartitionView, now_ms: u64) {
        let group = view.group;
        let mut table = self.table.write();
        let known = table.views.get(&group).map(|known| &known.view);
        if known.is_some_and(|known| known.at > view.at) {
            return;
        }
        // Metadata names no more partitions than this: what is beyond it is made up.
        if known.is_none() && table.views.len() >= limits::PARTITIONS {
            return;
        }
        let changed = known != Some(&view);
        table.strike(group);
        table.enlist(view, now_ms);
        drop(table);
        if changed {
            self.announce(group);
        }
    }

    /// `leader` leads that group no more, whoever does.
    pub fn disown(&self, group: GroupId, leader: BrokerId) {
        let mut table = self.table.write();
        if table.views.get(&group).is_some_and(|entry| entry.view.leader == leader) {
            table.strike(group);
        }
    }

    /// The views that `leader` is known to stand by.
    pub fn digest(&self, leader: BrokerId) -> Digest {
        self.table.read().led.get(&leader).map(|led| led.digest).unwrap_or_default()
    }

    /// The same one by one.
    pub fn standing(&self, leader: BrokerId) -> Vec<(GroupId, ViewVersion)> {
        let table = self.table.read();
        let groups = table.led.get(&leader).into_iter().flat_map(|led| &led.groups);
        groups.filter_map(|group| Some((*group, table.views.get(group)?.view.at))).collect()
    }

    /// Notes that `leader` stands by the views of this digest; false if others are known here to be its views.
    pub fn confirm_all(&self, leader: BrokerId, digest: Digest, now_ms: u64) -> bool {
        let mut table = self.table.write();
        let led = table.led.entry(leader).or_default();
        let same = led.digest == digest;
        if same {
            led.confirmed_ms = now_ms;
        }
        same
    }

    /// Notes that `leader` stands by these views and no others.
    pub fn confirm(&self, leader: BrokerId, confirmed: &[(GroupId, ViewVersion)], now_ms: u64) -> Confirmed {
        let mut table = self.table.write();
        let known = table.led.get(&leader).map(|led| led.groups.clone()).unwrap_or_default();
        let named: BTreeSet<GroupId> = confirmed.iter().map(|(group, _)| *group).collect();
        let disowned: Vec<GroupId> = known.difference(&named).copied().collect();
        disowned.iter().for_each(|group| table.strike(*group));
        let mut missing = Vec::new();
        for (group, at) in confirmed {
            match table.views.get_mut(group) {
                Some(known) if known.view.at == *at && known.view.leader == leader => {
                    known.confirmed_ms = now_ms;
                    if !known.stands {
                        let view = known.view.clone();
                        table.enlist(view, now_ms);
                    }
                }
                Some(known) if known.view.at > *at => {}
                _ => missing.push(*group),
            }
        }
        Confirmed { missing, disowned }
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
            table.strike(*group);
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

#[cfg(test)]
mod tests {
    use chronik_core::ids::TopicId;
    use uuid::Uuid;

    use super::*;

    const LEADER: BrokerId = BrokerId(1);
    const OTHER: BrokerId = BrokerId(2);

    fn view(group: u64, leader: BrokerId, term: Term, version: u64) -> PartitionView {
        PartitionView {
            group: GroupId(group),
            topic: TopicId(Uuid::nil()),
            partition: 0,
            at: ViewVersion { term, version },
            leader,
            isr: vec![leader],
            effective_min_isr: 1,
            provisional: false,
            metadata_index: 1,
        }
    }

    fn age(views: &Views, group: u64, now_ms: u64) -> Option<u64> {
        match views.get(GroupId(group), now_ms) {
            Known::Leader(_, age) => Some(age),
            _ => None,
        }
    }

    /// A leader's own views, and what another broker heard of them.
    fn pair() -> (Views, Views) {
        let (own, heard) = (Views::default(), Views::default());
        for group in 1..=3 {
            own.publish(view(group, LEADER, 1, 1), 0);
            heard.publish(view(group, LEADER, 1, 1), 0);
        }
        (own, heard)
    }

    #[test]
    fn views_of_more_partitions_than_there_can_be_are_made_up() {
        let views = Views::default();
        for group in 0..limits::PARTITIONS as u64 + 10 {
            views.publish(view(group, LEADER, 1, 1), 0);
        }
        assert_eq!(views.table.read().views.len(), limits::PARTITIONS);
        views.publish(view(7, OTHER, 2, 1), 5);
        assert_eq!(age(&views, 7, 5), Some(0), "news of those that are known still come");
    }

    #[test]
    fn one_digest_confirms_all_views_of_a_leader_and_no_others() {
        let (own, heard) = pair();
        heard.publish(view(9, OTHER, 1, 1), 0);
        assert!(heard.confirm_all(LEADER, own.digest(LEADER), 4_000));
        assert_eq!(age(&heard, 1, 6_000), Some(2_000));
        assert_eq!(heard.get(GroupId(9), 6_000), Known::Stale);
    }

    #[test]
    fn whatever_differs_makes_another_digest() {
        let changes: [fn(&Views); 4] = [
            |own| own.publish(view(2, LEADER, 1, 2), 0),
            |own| own.publish(view(2, LEADER, 2, 1), 0),
            |own| own.publish(view(4, LEADER, 1, 1), 0),
            |own| own.disown(GroupId(2), LEADER),
        ];
        for change in changes {
            let (own, heard) = pair();
            change(&own);
            assert!(!heard.confirm_all(LEADER, own.digest(LEADER), 4_000));
            assert_eq!(age(&heard, 1, 6_000), None);
        }
    }

    #[test]
    fn a_list_names_what_is_missing_and_what_the_leader_gave_up() {
        let (own, heard) = pair();
        own.publish(view(2, LEADER, 1, 2), 0);
        own.disown(GroupId(3), LEADER);
        let told = heard.confirm(LEADER, &own.standing(LEADER), 4_000);
        assert_eq!(told, Confirmed { missing: vec![GroupId(2)], disowned: vec![GroupId(3)] });
        assert_eq!((age(&heard, 1, 6_000), age(&heard, 3, 4_500)), (Some(2_000), Some(4_500)));
        heard.publish(view(2, LEADER, 1, 2), 4_100);
        assert!(heard.confirm_all(LEADER, own.digest(LEADER), 5_000));
        assert!(!heard.stands(GroupId(3), LEADER, 1) && heard.stands(GroupId(2), LEADER, 1));
    }

    #[test]
    fn a_view_taken_over_by_another_leader_leaves_the_first_ones_digest() {
        let (own, heard) = pair();
        heard.publish(view(3, OTHER, 2, 1), 100);
        assert!(!heard.confirm_all(LEADER, own.digest(LEADER), 200));
        own.disown(GroupId(3), LEADER);
        assert!(heard.confirm_all(LEADER, own.digest(LEADER), 300));
        assert_eq!(heard.digest(OTHER).count, 1);
    }

    #[test]
    fn a_view_does_not_grow_younger_by_what_was_confirmed_after_it_was_given_up() {
        let (own, heard) = pair();
        heard.disown(GroupId(3), LEADER);
        own.disown(GroupId(3), LEADER);
        assert!(heard.confirm_all(LEADER, own.digest(LEADER), 4_000));
        assert_eq!((age(&heard, 3, 4_000), age(&heard, 3, 5_001)), (Some(4_000), None));
    }

    #[test]
    fn a_forgotten_partition_is_in_no_digest() {
        let (own, heard) = pair();
        for views in [&own, &heard] {
            views.forget_all(|group| *group == GroupId(1));
        }
        assert_eq!(own.digest(LEADER).count, 2);
        assert!(heard.confirm_all(LEADER, own.digest(LEADER), 1_000));
    }
}
