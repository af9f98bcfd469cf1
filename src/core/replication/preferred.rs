//! Whether a leader should hand over to the preferred replica, so that leaders are spread as placement meant them.
//! A pure decision; how many hand over at once is the caller's.

/// What a leader knows of its preferred replica, which is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// Replicas are moving, or the group's members are changing: the preferred one may be another soon.
    pub members_change: bool,
    /// The preferred replica's broker hands its leaderships over, because it is to stop.
    pub draining: bool,
    /// Milliseconds since it has been in the ISR of this leader, alive, without a break; `None` if it is not.
    pub in_sync_ms: Option<u64>,
}

/// How long the preferred replica must have been in sync: what has just come back may go again.
pub const STEADY_MS: u64 = 3_000;

/// Whether the preferred replica could lead at once.
pub fn may_lead(outlook: &Outlook) -> bool {
    !outlook.members_change && !outlook.draining && outlook.in_sync_ms.is_some()
}

/// Whether to hand over to it unasked.
pub fn should_lead(outlook: &Outlook) -> bool {
    may_lead(outlook) && outlook.in_sync_ms.is_some_and(|ms| ms >= STEADY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Outlook = Outlook { members_change: false, draining: false, in_sync_ms: Some(STEADY_MS) };

    #[test]
    fn it_leads_once_it_is_steadily_in_sync() {
        assert!(should_lead(&STEADY));
        let fresh = Outlook { in_sync_ms: Some(STEADY_MS - 1), ..STEADY };
        assert!(!should_lead(&fresh) && may_lead(&fresh), "who asks need not wait");
        let outside = Outlook { in_sync_ms: None, ..STEADY };
        assert!(!should_lead(&outside) && !may_lead(&outside));
    }

    #[test]
    fn nothing_goes_to_a_broker_that_is_to_stop_or_may_lose_its_replica() {
        for wrong in [Outlook { draining: true, ..STEADY }, Outlook { members_change: true, ..STEADY }] {
            assert!(!should_lead(&wrong) && !may_lead(&wrong), "{wrong:?}");
        }
    }
}
