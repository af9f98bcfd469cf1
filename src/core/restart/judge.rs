//! Whether a broker may stop: what each partition there would be left with, and the metadata group.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::ids::{BrokerId, GroupId, Term};

/// What a leader confirmed may be this old at most.
pub const FRESH_MS: u64 = 1_000;

/// Voters of a group: all of them, or while they change one half.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Half {
    /// The brokers that hold them.
    pub brokers: BTreeSet<BrokerId>,
    /// Those that no broker holds any more: their disks were replaced.
    pub lost: u32,
}

/// A partition as its leader confirmed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Confirmed {
    /// The term it leads in.
    pub term: Term,
    /// How long ago it said so, in milliseconds.
    pub age_ms: u64,
    /// Its ISR is what was known, not what it has seen.
    pub provisional: bool,
    /// How many members of the ISR acks=all needs.
    pub required: u32,
    /// Members of the ISR.
    pub isr: BTreeSet<BrokerId>,
    /// Those that have synced what was the leader's end a second ago.
    pub synced: BTreeSet<BrokerId>,
    /// The voters; during a change those that come out of it.
    pub voters: Half,
    /// During a change those from before it; empty without one.
    pub outgoing: Half,
}

/// A partition with a replica on the broker that is to stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hosted {
    /// Its group.
    pub group: GroupId,
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// How many replicas it shall have.
    pub replicas: u32,
    /// How many it had when the move began that makes them fewer; none if no such move is under way.
    pub shrinks_from: Option<u32>,
    /// Where it shall be once the move that is under way is done; empty without one.
    pub moves_to: BTreeSet<BrokerId>,
    /// What its topic asks for.
    pub policy: Policy,
    /// What its leader confirmed, if one answered.
    pub confirmed: Option<Confirmed>,
}

/// The metadata group, as its leader knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetadataGroup {
    /// The voters; during a change those that come out of it.
    pub voters: Half,
    /// During a change those from before it; empty without one.
    pub outgoing: Half,
    /// Voters that keep up with it.
    pub synced: BTreeSet<BrokerId>,
    /// Brokers that are well: to one of them a sole voter hands its vote before it stops.
    pub heirs: BTreeSet<BrokerId>,
}

/// What the metadata leader knows of a broker's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Life {
    /// It is heard.
    Heard,
    /// It is not heard. Others may hear it.
    Silent,
    /// It is known to be gone.
    Gone,
}

/// A request to stop a broker, and all that it is judged by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Who is to stop.
    pub broker: BrokerId,
    /// Whether it lives: the absence of one that does not is a fact already.
    pub life: Life,
    /// Who is away or may be at any moment: holders of open permits, and brokers that are not well.
    pub away: BTreeSet<BrokerId>,
    /// Every partition with a replica there.
    pub partitions: Vec<Hosted>,
    /// The metadata group.
    pub metadata: MetadataGroup,
}

/// What stands against it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Topic and partition; none for the metadata group.
    pub partition: Option<(String, i32)>,
    /// Why.
    pub why: Why,
}

/// Why a partition must not lose the broker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// Nobody leads it, or its leader did not answer.
    #[error("its leader did not confirm its ISR")]
    Unconfirmed,
    /// What it said may be over.
    #[error("its leader's word is {age_ms} ms old; at most {FRESH_MS} ms count")]
    Stale {
        /// How old.
        age_ms: u64,
    },
    /// Its leader has not heard all of its ISR yet.
    #[error("its leader has not heard every member of its ISR yet")]
    Provisional,
    /// Its topic forbids it.
    #[error("its topic's restart.policy is forbid")]
    Forbidden,
    /// It is about to have fewer replicas.
    #[error("its replicas are moving, from {from} to {to} of them: wait until that is done")]
    Shrinks {
        /// How many it had.
        from: u32,
        /// How many it shall have.
        to: u32,
    },
    /// It is about to be where too few would be left.
    #[error("it moves to {}, of which {} would be left: wait until that is done", List(to), List(left))]
    Moves {
        /// Of those it moves to, who stays and is well.
        left: BTreeSet<BrokerId>,
        /// Where it shall be.
        to: BTreeSet<BrokerId>,
    },
    /// Too few would be left.
    #[error(
        "of its ISR {} would be left, {need} are needed (min ISR {required}, margin {margin})",
        List(left)
    )]
    TooFew {
        /// Members of the ISR that stay, are well and have all of it.
        left: BTreeSet<BrokerId>,
        /// How many must stay.
        need: u32,
        /// How many acks=all needs.
        required: u32,
        /// What the topic asks for beyond.
        margin: u32,
    },
    /// No leader could be elected.
    #[error("of its voters {} would be left: no majority of {voters}", List(left))]
    NoMajority {
        /// Voters that stay and are well.
        left: BTreeSet<BrokerId>,
        /// All of that half.
        voters: Half,
    },
}

impl Block {
    /// Whether a person may bear it: what a partition pays, and metadata that has nobody else, as in a cluster of one broker.
    /// A metadata group of several would stand still for all of them.
    pub fn may_be_borne(&self) -> bool {
        let is_alone = |voters: &Half| voters.count() == 1;
        self.partition.is_some() || matches!(&self.why, Why::NoMajority { voters, .. } if is_alone(voters))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.partition {
            Some((topic, partition)) => write!(f, "{topic}/{partition}: {}", self.why),
            None => write!(f, "metadata group: {}", self.why),
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lost {
            0 => List(&self.brokers).fmt(f),
            lost => write!(f, "{} and {lost} on lost disks", List(&self.brokers)),
        }
    }
}

impl Why {
    /// Whether time alone may end it: a leader is being elected, or has not heard everybody yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unconfirmed | Self::Stale { .. } | Self::Provisional)
    }
}

struct List<'a>(&'a BTreeSet<BrokerId>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "[{}]", ids.join(", "))
    }
}

/// All that stands against the broker's stop, in the order of the request; nothing if it may stop.
///
/// A broker that is gone costs a partition nothing by being restarted, unless the partition's leader has it in sync: then it
/// lives for that one. Of one that is only not heard a leader has to say that it is not in sync: it may lead there itself.
pub fn judge(request: &Request) -> Vec<Block> {
    let gone: BTreeSet<BrokerId> = request.away.iter().copied().chain([request.broker]).collect();
    let mut blocks: Vec<Block> = Vec::new();
    for hosted in &request.partitions {
        if hosted.is_without(request.broker, request.life) {
            continue;
        }
        let partition = Some((hosted.topic.clone(), hosted.partition));
        blocks.extend(hosted.block(&gone).map(|why| Block { partition, why }));
    }
    let MetadataGroup { voters, outgoing, synced, heirs } = &request.metadata;
    let votes_there = [voters, outgoing].iter().any(|half| half.brokers.contains(&request.broker));
    let hands_over = voters.count() == 1 && outgoing.count() == 0 && !heirs.is_subset(&gone);
    if request.life == Life::Heard
        && votes_there
        && !hands_over
        && let Some(why) = lost_majority([voters, outgoing], &gone, synced)
    {
        blocks.push(Block { partition: None, why });
    }
    blocks
}

impl Half {
    fn count(&self) -> usize {
        self.brokers.len() + self.lost as usize
    }
}

impl Hosted {
    /// Whether it does without that broker already.
    fn is_without(&self, broker: BrokerId, life: Life) -> bool {
        let without = |confirmed: &Confirmed| !confirmed.isr.contains(&broker);
        match life {
            Life::Heard => false,
            Life::Silent => self.confirmed.as_ref().is_some_and(|it| it.age_ms <= FRESH_MS && without(it)),
            Life::Gone => self.confirmed.as_ref().is_none_or(without),
        }
    }

    fn block(&self, gone: &BTreeSet<BrokerId>) -> Option<Why> {
        let margin = match self.policy {
            Policy::Forbid => return Some(Why::Forbidden),
            Policy::AllowUnavailable if self.replicas == 1 => return None,
            Policy::AllowUnavailable => 0,
            Policy::Margin(margin) => margin,
        };
        if let Some(from) = self.shrinks_from {
            return Some(Why::Shrinks { from, to: self.replicas });
        }
        let Some(confirmed) = &self.confirmed else { return Some(Why::Unconfirmed) };
        if confirmed.age_ms > FRESH_MS {
            return Some(Why::Stale { age_ms: confirmed.age_ms });
        }
        if confirmed.provisional {
            return Some(Why::Provisional);
        }
        confirmed.block(gone, margin).or_else(|| self.block_of_move(gone, confirmed.required))
    }

    /// Its voters may become those of the move as soon as they have caught up.
    fn block_of_move(&self, gone: &BTreeSet<BrokerId>, required: u32) -> Option<Why> {
        let to = &self.moves_to;
        let left: BTreeSet<BrokerId> = to.difference(gone).copied().collect();
        let need = to.len().min(required.max(to.len() as u32 / 2 + 1) as usize);
        (left.len() < need).then(|| Why::Moves { left, to: to.clone() })
    }
}

impl Confirmed {
    fn block(&self, gone: &BTreeSet<BrokerId>, margin: u32) -> Option<Why> {
        let left: BTreeSet<BrokerId> =
            self.isr.intersection(&self.synced).filter(|broker| !gone.contains(broker)).copied().collect();
        let need = self.required.saturating_add(margin);
        if left.len() < need as usize {
            return Some(Why::TooFew { left, need, required: self.required, margin });
        }
        lost_majority([&self.voters, &self.outgoing], gone, &self.synced)
    }
}

/// The first half in which those that stay and have all of it are no majority.
fn lost_majority(halves: [&Half; 2], gone: &BTreeSet<BrokerId>, synced: &BTreeSet<BrokerId>) -> Option<Why> {
    halves.into_iter().filter(|half| half.count() > 0).find_map(|voters| {
        let stays = |broker: &&BrokerId| !gone.contains(broker) && synced.contains(broker);
        let left: BTreeSet<BrokerId> = voters.brokers.iter().filter(stays).copied().collect();
        (left.len() <= voters.count() / 2).then(|| Why::NoMajority { left, voters: voters.clone() })
    })
}

#[cfg(test)]
#[path = "tests/judge.rs"]
mod tests;
