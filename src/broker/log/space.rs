//! Gives space back: deletes segments that hold nothing alive, and first moves what little is alive out of those that are
//! mostly dead. Runs on the writer's thread, between write groups, one bounded step at a time.
//!
//! A segment is emptied when no more than half of it is alive. So dead bytes never outweigh live ones by more than what a
//! few segments hold, and a byte that is given back costs at most one byte that is written anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use chronik_core::ids::{GroupId, LogIndex};

use super::codec::{OP_HEADER, OpHeader};
use super::index::Slot;
use super::segment::Segment;
use super::types::{Damage, WriteError};
use super::writer::{Planned, Writer};

/// One step moves about so many bytes.
const STEP_BYTES: u64 = 1 << 20;
/// One step looks at about so many entries.
const STEP_SLOTS: usize = 1 << 18;

/// One step deletes so many segments at most.
const DROPPED_AT_ONCE: usize = 64;

/// What a segment holds, in bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Used {
    /// Of entries still referred to.
    live: u64,
    /// Of everything but the checkpoint at its head; not known while it is written.
    size: u64,
}

/// What each segment holds.
#[derive(Default)]
pub(super) struct Usage(BTreeMap<u32, Used>);

impl Usage {
    pub(super) fn begin(&mut self, segment: u32) {
        self.0.entry(segment).or_default();
    }

    /// Nothing more is written to it; so much was.
    pub(super) fn end(&mut self, segment: u32, size: u64) {
        self.0.entry(segment).or_default().size = size;
    }

    /// Entries that are referred to from now on.
    pub(super) fn hold<'a>(&mut self, slots: impl IntoIterator<Item = &'a Slot>) {
        for slot in slots.into_iter().filter(|slot| !slot.is_hole()) {
            self.0.entry(slot.segment).or_default().live += weight(slot);
        }
    }

    /// Entries that are not referred to any more.
    pub(super) fn release<'a>(&mut self, slots: impl IntoIterator<Item = &'a Slot>) {
        for slot in slots.into_iter().filter(|slot| !slot.is_hole()) {
            if let Some(used) = self.0.get_mut(&slot.segment) {
                used.live = used.live.saturating_sub(weight(slot));
            }
        }
    }

    fn live(&self, segment: u32) -> u64 {
        self.0.get(&segment).map_or(0, |used| used.live)
    }

    /// Segments of which nothing is referred to.
    fn dead(&self, active: u32) -> Vec<u32> {
        let dead = self.0.iter().filter(|(number, used)| **number != active && used.live == 0);
        dead.map(|(number, _)| *number).take(DROPPED_AT_ONCE).collect()
    }

    /// The segment that is emptied with the least work, of those that are worth it.
    fn worth_emptying(&self, active: u32, but: &BTreeSet<u32>) -> Option<u32> {
        let old = self.0.iter().filter(|(number, _)| **number != active && !but.contains(number));
        let worth = old.filter(|(_, used)| used.live * 2 <= used.size);
        worth.min_by_key(|(_, used)| used.live).map(|(number, _)| *number)
    }
}

/// What an entry takes of its segment.
fn weight(slot: &Slot) -> u64 {
    OP_HEADER as u64 + u64::from(slot.length)
}

/// What is being emptied.
#[derive(Default)]
pub(super) struct Housework {
    victim: Option<u32>,
    /// Groups before this one have nothing left in it.
    from: u64,
    /// Segments that hold something alive and unreadable: they stay.
    stuck: BTreeSet<u32>,
}

/// An entry alive in the segment that is being emptied.
struct Alive {
    group: GroupId,
    index: LogIndex,
    slot: Slot,
}

impl Writer {
    /// Whether space could be given back now.
    pub(super) fn has_housework(&self) -> bool {
        !self.is_stopped() && (self.next_victim().is_some() || self.active_is_in_the_way())
    }

    /// On a full disk the segment that is being written may be what takes the room, and only an old one can be emptied.
    fn active_is_in_the_way(&self) -> bool {
        let size = self.position.end - self.head;
        let live = self.usage.live(self.position.active.number);
        self.lacks_reserve() && size >= self.head && live * 2 <= size
    }

    fn next_victim(&self) -> Option<u32> {
        let worth = || self.usage.worth_emptying(self.position.active.number, &self.housework.stuck);
        self.housework.victim.or_else(worth)
    }

    /// Takes one step; gives the bytes it wrote. Nothing is submitted meanwhile that could replace what is moved.
    pub(super) fn do_housework(&mut self) -> Result<Option<usize>, WriteError> {
        self.ready()?;
        if self.active_is_in_the_way() {
            self.roll()?;
        }
        let dead = self.usage.dead(self.position.active.number);
        if !dead.is_empty() {
            let buffer = self.take_buffer();
            let mut plan = self.plan(buffer);
            dead.into_iter().for_each(|segment| plan.add_dropped(segment));
            let planned = Planned::of(plan);
            return self.carry_out(planned);
        }
        let Some(victim) = self.next_victim() else { return Ok(None) };
        if self.housework.victim != Some(victim) {
            (self.housework.victim, self.housework.from) = (Some(victim), 0);
        }
        let Some(segment) = self.shared.segments.get(victim) else {
            self.forget(victim);
            return Ok(None);
        };
        let (alive, to_the_end) = self.alive_in(victim);
        let mut moved = Vec::with_capacity(alive.len());
        for entry in &alive {
            match self.read_whole(&segment, entry) {
                Ok(op) => moved.push(op),
                Err(damage) => {
                    self.give_up(entry.group, damage);
                    return Ok(None);
                }
            }
        }
        let found = alive.iter().map(|entry| weight(&entry.slot)).sum::<u64>();
        if to_the_end && found < self.usage.live(victim) {
            // What is counted and not found must not be looked for again and again.
            self.housework.stuck.extend(self.housework.victim.take());
        }
        let buffer = self.take_buffer();
        let mut plan = self.plan(buffer);
        moved.iter().for_each(|(header, payload)| plan.add_moved(*header, payload));
        let planned = Planned::of(plan);
        self.carry_out(planned)
    }

    /// Some of what is alive in a segment, group by group, and whether that was the last; where to go on is noted.
    fn alive_in(&mut self, victim: u32) -> (Vec<Alive>, bool) {
        let (mut found, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        for (group, state) in self.groups.range(GroupId(self.housework.from)..) {
            self.housework.from = group.0;
            let log = state.log.read();
            looked_at += log.slots.len();
            for (index, slot) in (log.first()..).zip(&log.slots).filter(|(_, slot)| slot.segment == victim) {
                if bytes >= STEP_BYTES {
                    return (found, false);
                }
                bytes += weight(slot);
                found.push(Alive { group: *group, index, slot: *slot });
            }
            self.housework.from = group.0 + 1;
            if looked_at >= STEP_SLOTS {
                return (found, false);
            }
        }
        (found, true)
    }

    fn read_whole(&self, segment: &Segment, entry: &Alive) -> Result<(OpHeader, Bytes), Damage> {
        let position = u64::from(entry.slot.position);
        let damage = |what: String| Damage { file: segment.path.clone(), offset: position, what };
        let mut bytes = BytesMut::zeroed(OP_HEADER + entry.slot.length as usize);
        let read = segment.file.read_exact_at(&mut bytes, position);
        read.map_err(|error| damage(format!("it cannot be read: {error}")))?;
        let payload = bytes.split_off(OP_HEADER).freeze();
        let header = OpHeader::decode(&bytes, self.position.salt);
        let header = header.map_err(|error| damage(format!("entry {}: {error}", entry.index)))?;
        if (header.group, header.index) != (entry.group, entry.index) || !header.owns(&payload) {
            return Err(damage(format!("entry {} is not what was written", entry.index)));
        }
        Ok((header, payload))
    }

    /// What is damaged is not copied as if it were whole: its replica is, and the segment stays.
    fn give_up(&mut self, group: GroupId, damage: Damage) {
        tracing::error!(%group, %damage, "keep a segment that cannot be emptied");
        if let Some(state) = self.groups.get(&group) {
            state.log.set_damage(damage);
        }
        self.housework.stuck.extend(self.housework.victim.take());
    }

    /// Deletes a segment whose end the journal has recorded.
    pub(super) fn dropped(&mut self, number: u32) {
        self.forget(number);
        self.housework.stuck.remove(&number);
        let Some(segment) = self.shared.segments.remove(number) else { return };
        tracing::debug!(file = %segment.path.display(), "delete a segment: nothing in it is alive");
        if let Err(error) = self.disk.remove(&segment.path) {
            // Recovery tries again.
            tracing::warn!(file = %segment.path.display(), %error, "delete a segment");
        }
        self.restore_reserve();
    }

    fn forget(&mut self, number: u32) {
        self.usage.0.remove(&number);
        self.housework.victim.take_if(|victim| *victim == number);
    }
}
