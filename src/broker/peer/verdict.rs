//! Whether a peer is up: rules as a pure function of what was observed. No clock, no sockets.

use std::time::Duration;

use chronik_core::ids::Incarnation;

use super::event::DownCause;

/// What is said of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not long enough in the address book to say.
    Unknown,
    /// This life is up.
    Up(Incarnation),
    /// It is not up.
    Down(DownCause),
}

/// What was observed of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The newest life admitted.
    pub newest: Option<Incarnation>,
    /// Both Control connections of that life are handshaken.
    pub linked: bool,
    /// How long one of them has been missing.
    pub unlinked_for: Duration,
    /// Something came from it within the silence timeout.
    pub heard: bool,
    /// Its newest ping says that it hears us.
    pub hears_us: bool,
    /// No connection is left and its port refuses, over a path that is known to work.
    pub refused: bool,
    /// It said that it stops.
    pub stopping: bool,
    /// Time since it came into the address book.
    pub known_for: Duration,
}

/// The verdict that follows. Apply until it no longer changes: a replaced life goes down before the new one comes up.
pub fn next(now: Verdict, e: &Evidence, silence: Duration, grace: Duration) -> Verdict {
    use DownCause::*;
    let dead = match () {
        () if e.stopping => Some(Stopping),
        () if e.refused => Some(Refused),
        () => None,
    };
    match (now, e.newest) {
        (Verdict::Up(life), newest) if newest != Some(life) => Verdict::Down(Replaced),
        (Verdict::Up(life), _) => match dead {
            Some(cause) => Verdict::Down(cause),
            None if !e.heard => Verdict::Down(Silent),
            None if !e.hears_us => Verdict::Down(Unheard),
            None if !e.linked && e.unlinked_for >= grace => Verdict::Down(Closed),
            None => Verdict::Up(life),
        },
        (_, Some(life)) if dead.is_none() && e.linked && e.heard && e.hears_us => Verdict::Up(life),
        (Verdict::Down(cause), _) if cause.is_dead() && cause != Replaced => now,
        _ => match dead {
            Some(cause) => Verdict::Down(cause),
            None if now == Verdict::Unknown && e.known_for >= silence => {
                Verdict::Down(if e.heard { Closed } else { Silent })
            }
            None => now,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::ids::DiskId;
    use uuid::Uuid;

    const SILENCE: Duration = Duration::from_millis(2500);
    const GRACE: Duration = Duration::from_millis(300);

    fn life(start: u64) -> Incarnation {
        Incarnation { disk: DiskId(Uuid::nil()), start }
    }

    fn well() -> Evidence {
        Evidence {
            newest: Some(life(1)),
            linked: true,
            unlinked_for: Duration::ZERO,
            heard: true,
            hears_us: true,
            refused: false,
            stopping: false,
            known_for: Duration::ZERO,
        }
    }

    fn from(now: Verdict, e: Evidence) -> Verdict {
        next(now, &e, SILENCE, GRACE)
    }

    #[test]
    fn up_needs_every_one_of_the_four_conditions() {
        assert_eq!(from(Verdict::Unknown, well()), Verdict::Up(life(1)));
        for broken in [
            Evidence { linked: false, ..well() },
            Evidence { heard: false, ..well() },
            Evidence { hears_us: false, ..well() },
            Evidence { stopping: true, ..well() },
            Evidence { refused: true, ..well() },
            Evidence { newest: None, ..well() },
        ] {
            for before in
                [Verdict::Unknown, Verdict::Down(DownCause::Silent), Verdict::Down(DownCause::Refused)]
            {
                assert!(!matches!(from(before, broken), Verdict::Up(_)), "{before:?} {broken:?}");
            }
        }
    }

    #[test]
    fn each_loss_has_its_cause() {
        let up = Verdict::Up(life(1));
        let cases = [
            (Evidence { heard: false, ..well() }, DownCause::Silent),
            (Evidence { hears_us: false, ..well() }, DownCause::Unheard),
            (Evidence { linked: false, unlinked_for: GRACE, ..well() }, DownCause::Closed),
            (Evidence { linked: false, refused: true, ..well() }, DownCause::Refused),
            (Evidence { stopping: true, ..well() }, DownCause::Stopping),
            (Evidence { newest: Some(life(2)), linked: false, ..well() }, DownCause::Replaced),
        ];
        for (evidence, cause) in cases {
            assert_eq!(from(up, evidence), Verdict::Down(cause));
        }
        let brief = Evidence { linked: false, unlinked_for: GRACE / 2, ..well() };
        assert_eq!(from(up, brief), up, "a reconnect within the grace is no news");
    }

    #[test]
    fn a_weak_cause_is_overtaken_by_proof_of_death_and_proof_stays() {
        let refused = Evidence { linked: false, heard: false, refused: true, ..well() };
        for weak in [DownCause::Silent, DownCause::Closed, DownCause::Unheard, DownCause::Replaced] {
            assert_eq!(from(Verdict::Down(weak), refused), Verdict::Down(DownCause::Refused));
        }
        assert_eq!(from(Verdict::Down(DownCause::Stopping), refused), Verdict::Down(DownCause::Stopping));
        let gone = Evidence { linked: false, heard: false, ..well() };
        assert_eq!(from(Verdict::Down(DownCause::Refused), gone), Verdict::Down(DownCause::Refused));
    }

    #[test]
    fn a_peer_never_reached_is_silent_after_the_timeout() {
        let never = Evidence { newest: None, linked: false, heard: false, hears_us: false, ..well() };
        assert_eq!(from(Verdict::Unknown, never), Verdict::Unknown);
        let waited = Evidence { known_for: SILENCE, ..never };
        assert_eq!(from(Verdict::Unknown, waited), Verdict::Down(DownCause::Silent));
        // One that is heard, but cannot be reached, is not silent.
        assert_eq!(
            from(Verdict::Unknown, Evidence { heard: true, ..waited }),
            Verdict::Down(DownCause::Closed)
        );
    }
}
