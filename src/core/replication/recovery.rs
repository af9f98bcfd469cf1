//! A group that goes on from one survivor because a person says so: whether it needs that, under which epoch, and what of
//! a partition may be lost.

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, Term};

/// How far a recovery raises the epoch. Each election raises it by one, and only where a majority of the voters hears one
/// another: those that are lost would have had to elect a leader every second for half a year, unheard by the survivor.
pub const EPOCH_JUMP: Term = 1 << 24;

/// The highest epoch there is: Kafka's wire format has 31 bits for it.
pub const LAST_EPOCH: Term = i32::MAX as Term;

/// The epoch of a recovery, given the highest that the survivor knows of. It leaves as much room behind it as it takes;
/// `None` where there is none left, after 126 recoveries of one group.
pub fn epoch_after(known: Term) -> Option<Term> {
    known.checked_add(EPOCH_JUMP).filter(|epoch| *epoch <= LAST_EPOCH - EPOCH_JUMP)
}

/// What the survivor's broker sees of a group.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// The leader it knows.
    pub leader: Option<BrokerId>,
    /// The epoch of a recovery from this survivor that metadata knows and no leader has come from yet.
    pub under_way: Option<Term>,
    /// Whether voters that could elect one are heard.
    pub reaches_majority: bool,
    /// Whether the survivor may vote.
    pub is_voter: bool,
}

/// Why a group is not to go on from this replica.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// Somebody leads it.
    #[error("broker {0} leads it: it needs no recovery")]
    Led(BrokerId),
    /// It was recovered a moment ago. Another recovery, judged by what is here now, would be carried out when more is.
    #[error(
        "it goes on from this replica since epoch {0} and is about to elect it: it needs no other recovery"
    )]
    UnderWay(Term),
    /// It can help itself.
    #[error("a majority of its replicas is heard and elects a leader by itself: it needs no recovery")]
    Majority,
    /// What it holds was never confirmed by it.
    #[error("the replica here only learns: ask the broker of another replica")]
    Learner,
}

/// Whether the group may go on from this replica.
pub fn judge(outlook: &Outlook) -> Result<(), Unfit> {
    match outlook {
        Outlook { leader: Some(leader), .. } => Err(Unfit::Led(*leader)),
        Outlook { under_way: Some(epoch), .. } => Err(Unfit::UnderWay(*epoch)),
        Outlook { reaches_majority: true, .. } => Err(Unfit::Majority),
        Outlook { is_voter: false, .. } => Err(Unfit::Learner),
        _ => Ok(()),
    }
}

/// Which records that producers know as acknowledged with acks=all may be missing on the survivor. It speaks of the time
/// when the survivor last heard its leader: what was acknowledged later, this side of it cannot know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MayLack {
    /// None: the survivor led.
    Nothing,
    /// Those that enough others had and it had not yet: it was in sync, and may have been behind by its lag limits.
    WithinItsLag,
    /// Any: it was not in sync.
    Anything,
    /// Nobody knows: it has not heard a leader since its broker started.
    Unknown,
}

/// Judged by the leader that it last heard, and the ISR that one told. A small ISR proves nothing: what was acknowledged
/// while it was larger, a member may still have been about to get.
pub fn may_lack(own: BrokerId, last: Option<(BrokerId, &[BrokerId])>) -> MayLack {
    match last {
        None => MayLack::Unknown,
        Some((leader, _)) if leader == own => MayLack::Nothing,
        Some((_, isr)) if isr.contains(&own) => MayLack::WithinItsLag,
        Some(_) => MayLack::Anything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDY: Outlook = Outlook { leader: None, under_way: None, reaches_majority: false, is_voter: true };

    #[test]
    fn only_a_voter_of_a_group_that_cannot_help_itself_goes_on_alone() {
        assert_eq!(judge(&NEEDY), Ok(()));
        assert_eq!(judge(&Outlook { leader: Some(BrokerId(2)), ..NEEDY }), Err(Unfit::Led(BrokerId(2))));
        assert_eq!(judge(&Outlook { under_way: Some(5), ..NEEDY }), Err(Unfit::UnderWay(5)));
        assert_eq!(judge(&Outlook { reaches_majority: true, ..NEEDY }), Err(Unfit::Majority));
        assert_eq!(judge(&Outlook { is_voter: false, ..NEEDY }), Err(Unfit::Learner));
    }

    #[test]
    fn only_a_leader_surely_has_all_that_was_acknowledged() {
        let isr = |ids: &[u32]| ids.iter().map(|id| BrokerId(*id)).collect::<Vec<_>>();
        let judged = |leader, members: &[u32]| may_lack(BrokerId(1), Some((BrokerId(leader), &isr(members))));
        assert_eq!(judged(1, &[1]), MayLack::Nothing);
        assert_eq!(judged(2, &[1, 2, 3]), MayLack::WithinItsLag, "2 and 3 sufficed");
        assert_eq!(judged(2, &[1, 2]), MayLack::WithinItsLag, "2 and 3 sufficed, until 3 died");
        assert_eq!(judged(2, &[2, 3]), MayLack::Anything);
        assert_eq!(may_lack(BrokerId(1), None), MayLack::Unknown);
    }

    #[test]
    fn there_are_126_recoveries_and_each_fits_kafka_s_epoch() {
        let epochs = std::iter::successors(epoch_after(0), |epoch| epoch_after(*epoch + 1));
        let last = epochs.clone().last().unwrap();
        assert_eq!(epochs.count(), 126);
        assert!(i32::try_from(last + EPOCH_JUMP).is_ok());
        assert_eq!(epoch_after(Term::MAX), None);
    }
}
