//! Whether a replica that hears no majority shows itself as its partition's caretaker, and under which epoch. A pure
//! decision about what to *show*: a caretaker leads nothing, appends nothing, and tells no other broker.
//!
//! Let E be the term of the last entry or message from a real leader (never a term in which this replica only campaigned).
//! - Epoch E, if this replica led E itself, or E's leader is known dead: then nobody else shows E any more.
//! - Epoch E - 1 otherwise: E's leader may be alive and well behind a cut link. Clients take over an equal epoch but not a
//!   smaller one, and error 20 makes them look for no other leader: with E, one follower with cut links would catch the
//!   producers of a healthy cluster.
//!
//! What cannot be a caretaker shows no leader at all (-1).

use crate::ids::Term;

/// What a replica knows when it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// It is a voter.
    pub is_voter: bool,
    /// It was in the last ISR it knew; false if it knew none.
    pub in_last_known_isr: bool,
    /// E: the term of the last entry or message from a real leader; 0 if there was none.
    pub last_leader_term: Term,
    /// It led E itself.
    pub led_it: bool,
    /// E's leader is known dead: its address refused a connection, or its death was committed.
    pub leader_known_dead: bool,
    /// It reaches a majority of the voters, itself included; during a change of voters, of both halves.
    pub reaches_majority: bool,
    /// Milliseconds since it last led or heard a leader.
    pub without_leader_ms: u64,
}

/// The epoch this replica shows as caretaker, E or E - 1, if it is one. The first word from a leader of E or a later term
/// ends that, also when it shows E - 1. `patience_ms` is how long it must have been without a leader: about an election timeout, so that an ordinary
/// failover does not show up as a lost quorum.
pub fn decide(outlook: &Outlook, patience_ms: u64) -> Option<Term> {
    let entitled = outlook.is_voter && outlook.in_last_known_isr && outlook.last_leader_term > 0;
    if outlook.reaches_majority || !entitled || outlook.without_leader_ms < patience_ms {
        return None;
    }
    let last_leader_term = outlook.last_leader_term;
    let nobody_else_shows_it = outlook.led_it || outlook.leader_known_dead;
    Some(if nobody_else_shows_it { last_leader_term } else { last_leader_term - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The survivor of three whose leader and other peer died.
    const SURVIVOR: Outlook = Outlook {
        is_voter: true,
        in_last_known_isr: true,
        last_leader_term: 7,
        led_it: false,
        leader_known_dead: true,
        reaches_majority: false,
        without_leader_ms: 1_000,
    };

    fn epoch(outlook: Outlook) -> Option<Term> {
        decide(&outlook, 1_000)
    }

    #[test]
    fn it_shows_e_when_nobody_else_can() {
        assert_eq!(epoch(SURVIVOR), Some(7));
        assert_eq!(epoch(Outlook { led_it: true, leader_known_dead: false, ..SURVIVOR }), Some(7));
    }

    #[test]
    fn it_shows_e_minus_one_while_es_leader_may_live() {
        let cut_off = Outlook { leader_known_dead: false, ..SURVIVOR };
        assert_eq!(epoch(cut_off), Some(6));
        assert_eq!(epoch(Outlook { last_leader_term: 1, ..cut_off }), Some(0));
    }

    #[test]
    fn whoever_is_not_entitled_shows_no_leader() {
        assert_eq!(epoch(Outlook { is_voter: false, ..SURVIVOR }), None);
        assert_eq!(epoch(Outlook { in_last_known_isr: false, ..SURVIVOR }), None);
        assert_eq!(epoch(Outlook { last_leader_term: 0, ..SURVIVOR }), None);
    }

    #[test]
    fn a_majority_elects_and_needs_no_caretaker() {
        assert_eq!(epoch(Outlook { reaches_majority: true, ..SURVIVOR }), None);
    }

    #[test]
    fn it_waits_for_its_patience() {
        assert_eq!(epoch(Outlook { without_leader_ms: 999, ..SURVIVOR }), None);
    }
}
