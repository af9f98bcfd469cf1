//! Who the members of a group are, worked out from its committed log a second time: neither raft nor a broker is asked.

use chronik_core::ids::{LogIndex, ReplicaId};
use chronik_core::replication::configuration::Configuration;

/// What an entry asks of the members, in raft's bytes: an explicit transition or not, and single changes. None at all ends
/// a joint configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    joint: bool,
    steps: Vec<(Step, ReplicaId)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    AddVoter,
    Remove,
    AddLearner,
}

impl Change {
    /// Reads the bytes of an entry that its leader wrote.
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut change = Self { joint: false, steps: Vec::new() };
        while let Some((field, value)) = field(&mut bytes) {
            match (field, value) {
                (1, Value::Number(transition)) => change.joint = transition != 0,
                (2, Value::Bytes(single)) => change.steps.push(read_step(single)),
                _ => {}
            }
        }
        change
    }

    /// Whether it makes a joint configuration.
    pub fn enters_joint(&self) -> bool {
        self.joint
    }

    /// The members after it; why it does not fit those before.
    pub fn applied(&self, before: &Configuration) -> Result<Configuration, String> {
        if before.is_joint() {
            return match self.steps.is_empty() {
                true => Ok(Configuration { outgoing: Vec::new(), ..before.clone() }),
                false => Err(format!("{self:?} while {before:?} is joint")),
            };
        }
        let mut after = before.clone();
        for (step, replica) in &self.steps {
            after.voters.retain(|known| known != replica);
            after.learners.retain(|known| known != replica);
            match step {
                Step::AddVoter => after.voters.push(*replica),
                Step::AddLearner => after.learners.push(*replica),
                Step::Remove => {}
            }
        }
        after.voters.sort_unstable();
        after.learners.sort_unstable();
        if self.joint {
            after.outgoing = before.voters.clone();
        } else if after.voters != before.voters || self.steps.len() != 1 {
            return Err(format!("{self:?} changes the voters of {before:?} without a joint configuration"));
        }
        Ok(after)
    }
}

/// A field of a protobuf message.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = number(bytes)?;
    let value = match key & 7 {
        0 => Value::Number(number(bytes)?),
        2 => {
            let length = usize::try_from(number(bytes)?).ok()?;
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Value::Bytes(value)
        }
        _ => return None,
    };
    Some((key >> 3, value))
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_step(mut bytes: &[u8]) -> (Step, ReplicaId) {
    let (mut step, mut replica) = (Step::AddVoter, ReplicaId(0));
    while let Some((field, value)) = field(&mut bytes) {
        match (field, value) {
            (1, Value::Number(1)) => step = Step::Remove,
            (1, Value::Number(2)) => step = Step::AddLearner,
            (2, Value::Number(id)) => replica = ReplicaId(id),
            _ => {}
        }
    }
    (step, replica)
}

/// Whether those that count can decide: more than half of the voters, while they change of both halves.
pub fn majority(members: &Configuration, counts: impl Fn(ReplicaId) -> bool) -> bool {
    let half = |voters: &[ReplicaId]| {
        let count = voters.iter().filter(|replica| counts(**replica)).count();
        voters.is_empty() || 2 * count > voters.len()
    };
    half(&members.voters) && half(&members.outgoing)
}

/// All members that a group had, in the order of its log.
#[derive(Default)]
pub struct History {
    first: Configuration,
    changes: Vec<(LogIndex, Configuration)>,
}

impl History {
    /// A replica begins with these voters; false if another began with others.
    pub fn begins(&mut self, voters: &[ReplicaId]) -> bool {
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        if self.first.voters.is_empty() {
            self.first.voters = voters;
            return true;
        }
        self.first.voters == voters
    }

    /// An entry that changes members is committed.
    pub fn change(&mut self, index: LogIndex, change: &Change) -> Result<(), String> {
        let after = change.applied(self.newest())?;
        self.changes.push((index, after));
        Ok(())
    }

    /// What is behind an entry was lost.
    pub fn forget_after(&mut self, index: LogIndex) {
        self.changes.truncate(self.place(index));
    }

    /// The place of whoever has applied all of it.
    pub fn newest_place(&self) -> usize {
        self.changes.len()
    }

    /// The place in this history of whoever has applied the log up to an index.
    pub fn place(&self, applied: LogIndex) -> usize {
        self.changes.partition_point(|(index, _)| *index <= applied)
    }

    /// The members at a place.
    pub fn at(&self, place: usize) -> &Configuration {
        place.checked_sub(1).map_or(&self.first, |at| &self.changes[at].1)
    }

    /// The members after all that is committed.
    pub fn newest(&self) -> &Configuration {
        self.at(self.newest_place())
    }

    /// The members of all places up to one, from another on.
    pub fn between(&self, from: usize, to: usize) -> impl Iterator<Item = &Configuration> {
        (from.min(to)..=to).map(|place| self.at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn raft_s_bytes_are_read_and_followed_through_a_change_of_voters() {
        let mut history = History::default();
        assert!(history.begins(&ids(&[1, 2, 300])) && !history.begins(&ids(&[1, 2])));
        let learner = Change::read(&[0x12, 0x04, 0x08, 0x02, 0x10, 0x04]);
        history.change(5, &learner).unwrap();
        assert_eq!(history.newest().learners, ids(&[4]));
        // An explicit transition: 4 comes, 300 goes.
        let joint = [0x08, 0x02, 0x12, 0x02, 0x10, 0x04, 0x12, 0x05, 0x08, 0x01, 0x10, 0xac, 0x02];
        history.change(7, &Change::read(&joint)).unwrap();
        let members = history.newest().clone();
        assert_eq!((members.voters, members.outgoing), (ids(&[1, 2, 4]), ids(&[1, 2, 300])));
        assert!(history.change(8, &learner).is_err(), "the change of voters is not over");
        history.change(9, &Change::read(&[])).unwrap();
        assert!(!history.newest().is_joint());
        assert_eq!(history.at(history.place(8)).outgoing, ids(&[1, 2, 300]));
        assert_eq!((history.place(4), history.place(5), history.place(9)), (0, 1, 3));
    }

    #[test]
    fn while_voters_change_both_halves_must_agree() {
        let members =
            Configuration { voters: ids(&[1, 4, 5]), outgoing: ids(&[1, 2, 3]), learners: ids(&[6]) };
        let agree = |who: &[u64]| majority(&members, |replica| who.contains(&replica.0));
        assert!(agree(&[1, 2, 4]) && !agree(&[1, 2, 3]) && !agree(&[1, 4, 5]) && !agree(&[1, 2, 6]));
    }
}
