//! The min-ISR gate: whether a produce may be appended, and what is answered when it may not or when what was appended did
//! not complete. Pure decisions; Kafka's error codes are named here and written to the wire elsewhere.

/// What a producer waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// 0: nothing, not even an answer.
    None,
    /// 1: the leader's own sync.
    Leader,
    /// -1: the high watermark.
    All,
}

impl Acks {
    /// Kafka's numbers: 0, 1 and -1.
    pub fn from_wire(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// What this broker is to the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its leader, as far as it knows.
    Leader {
        /// Members of the ISR.
        isr: usize,
        /// Effective min ISR.
        min_isr: u32,
        /// It is known that no majority of voters can be reached: nothing could commit.
        quorum_lost: bool,
    },
    /// The survivor that stands in, visibly, for a lost quorum.
    Caretaker,
    /// Neither: a follower, or no replica here, or none of which anything is known.
    NotLeader,
}

/// Why a produce is refused, by the name of the Kafka error that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// 6: the client should look for the leader.
    NotLeaderOrFollower,
    /// 7: nobody knows yet whether it will survive.
    RequestTimedOut,
    /// 20: too few replicas are in sync. Sent also when nothing was appended (19 is never sent): clients retry both.
    NotEnoughReplicasAfterAppend,
}

impl Refusal {
    /// The Kafka error code.
    pub fn code(self) -> i16 {
        match self {
            Self::NotLeaderOrFollower => 6,
            Self::RequestTimedOut => 7,
            Self::NotEnoughReplicasAfterAppend => 20,
        }
    }
}

/// What to do with a produce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Append it.
    Append,
    /// Append nothing and answer this.
    Refuse(Refusal),
    /// Append nothing and close the connection: with acks=0 there is no answer to carry the error.
    CloseConnection,
}

/// The gate before the append.
pub fn admit(standing: Standing, acks: Acks) -> Verdict {
    let refusal = match standing {
        Standing::NotLeader => Refusal::NotLeaderOrFollower,
        Standing::Caretaker => Refusal::NotEnoughReplicasAfterAppend,
        Standing::Leader { quorum_lost: true, .. } => Refusal::NotEnoughReplicasAfterAppend,
        Standing::Leader { isr, min_isr, .. } if acks == Acks::All && too_few(isr, min_isr) => {
            Refusal::NotEnoughReplicasAfterAppend
        }
        Standing::Leader { .. } => return Verdict::Append,
    };
    match acks {
        Acks::None => Verdict::CloseConnection,
        Acks::Leader | Acks::All => Verdict::Refuse(refusal),
    }
}

/// What is answered when a batch was appended and then leadership was lost or its time ran out, so that its fate is open.
/// `isr` is the last ISR known by then. acks=1 waits for no follower, so the ISR does not explain why it did not complete.
pub fn interrupted(acks: Acks, isr: usize, min_isr: u32) -> Refusal {
    if acks == Acks::All && too_few(isr, min_isr) {
        Refusal::NotEnoughReplicasAfterAppend
    } else {
        Refusal::RequestTimedOut
    }
}

fn too_few(isr: usize, min_isr: u32) -> bool {
    isr < min_isr as usize
}

#[cfg(test)]
mod tests {
    use super::Refusal::*;
    use super::Verdict::*;
    use super::*;

    fn leader(isr: usize, quorum_lost: bool) -> Standing {
        Standing::Leader { isr, min_isr: 2, quorum_lost }
    }

    #[test]
    fn the_table_before_the_append() {
        let table = [
            (leader(2, false), Acks::All, Append),
            (leader(3, false), Acks::All, Append),
            (leader(1, false), Acks::All, Refuse(NotEnoughReplicasAfterAppend)),
            (leader(1, false), Acks::Leader, Append),
            (leader(1, false), Acks::None, Append),
            (leader(3, true), Acks::All, Refuse(NotEnoughReplicasAfterAppend)),
            (leader(3, true), Acks::Leader, Refuse(NotEnoughReplicasAfterAppend)),
            (leader(3, true), Acks::None, CloseConnection),
            (Standing::Caretaker, Acks::All, Refuse(NotEnoughReplicasAfterAppend)),
            (Standing::Caretaker, Acks::Leader, Refuse(NotEnoughReplicasAfterAppend)),
            (Standing::Caretaker, Acks::None, CloseConnection),
            (Standing::NotLeader, Acks::All, Refuse(NotLeaderOrFollower)),
            (Standing::NotLeader, Acks::Leader, Refuse(NotLeaderOrFollower)),
            (Standing::NotLeader, Acks::None, CloseConnection),
        ];
        for (standing, acks, verdict) in table {
            assert_eq!(admit(standing, acks), verdict, "{standing:?} {acks:?}");
        }
    }

    #[test]
    fn what_was_appended_and_did_not_complete() {
        assert_eq!(interrupted(Acks::All, 2, 2), RequestTimedOut);
        assert_eq!(interrupted(Acks::All, 1, 2), NotEnoughReplicasAfterAppend);
        assert_eq!(interrupted(Acks::Leader, 1, 2), RequestTimedOut);
    }

    #[test]
    fn codes_are_kafkas() {
        let codes = [NotLeaderOrFollower, RequestTimedOut, NotEnoughReplicasAfterAppend].map(Refusal::code);
        assert_eq!(codes, [6, 7, 20]);
    }
}
