//! Produces whose leader lost its office before they were complete. After a hand-over nearly all of them are in the next
//! leader's log: then they are answered as soon as they are safe there, and their clients need not send them again.

use chronik_core::ids::{LogIndex, Term};

use super::append::AppendError;
use super::leading::{Waiter, Waiters};
use super::partition::{Partition, Surroundings};
use crate::quorum::Group;

/// They wait no longer than this: a failover that takes longer is one that clients should hear of.
const PATIENCE_MS: u64 = 500;

struct Orphan {
    waiter: Waiter,
    deadline_ms: u64,
    /// What it is told if its entry does not survive, or too late.
    lost: AppendError,
}

/// Those of one partition.
#[derive(Default)]
pub(super) struct Orphans(Vec<Orphan>);

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what waited for a leader.
    pub(super) fn adopt(&mut self, waiters: Waiters, lost: &AppendError, now_ms: u64) {
        for waiter in waiters.into_queue() {
            let deadline_ms = waiter.deadline_ms.min(now_ms + PATIENCE_MS);
            self.0.push(Orphan { waiter, deadline_ms, lost: lost.clone() });
        }
    }

    /// Answers those whose entry is safe up to an index, was replaced, or waits too long.
    fn settle(&mut self, safe: LogIndex, term_of: impl Fn(LogIndex) -> Option<Term>, now_ms: u64) {
        for orphan in std::mem::take(&mut self.0) {
            let Orphan { ref waiter, deadline_ms, .. } = orphan;
            let replaced = term_of(waiter.index) != Some(waiter.term);
            if replaced || now_ms >= deadline_ms {
                orphan.waiter.answer(Err(orphan.lost));
            } else if waiter.index <= safe {
                let appended = waiter.appended;
                orphan.waiter.answer(Ok(appended));
            } else {
                self.0.push(orphan);
            }
        }
    }

    /// Answers all: this replica leaves service.
    pub(super) fn fail(&mut self) {
        for Orphan { waiter, lost, .. } in self.0.drain(..) {
            waiter.answer(Err(lost));
        }
    }
}

impl Partition {
    /// Looks at the produces of a leadership that has ended. What the high watermark has passed is complete under any acks,
    /// once it is synced here, too.
    pub(super) fn settle_orphans(&mut self, group: &Group, around: Surroundings<'_>) {
        if !self.orphans.is_empty() {
            let safe = self.high_watermark().min(group.synced_index());
            self.orphans.settle(safe, |index| group.term_of(index), around.now.ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::replica::append::Appended;

    type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

    fn orphan(index: LogIndex, term: Term) -> (Orphan, Answer) {
        let (reply, answer) = oneshot::channel();
        let appended = Appended { base_offset: index as i64, log_start_offset: 0 };
        let waiter = Waiter { index, term, appended, deadline_ms: 9_000, reply };
        (Orphan { waiter, deadline_ms: 500, lost: AppendError::TimedOut }, answer)
    }

    #[test]
    fn an_entry_that_survives_is_acknowledged_once_it_is_safe() {
        let (waiting, mut answer) = orphan(7, 3);
        let mut orphans = Orphans(vec![waiting]);
        orphans.settle(6, |_| Some(3), 10);
        assert!(answer.try_recv().is_err(), "not safe yet");
        orphans.settle(7, |_| Some(3), 20);
        assert_eq!(answer.try_recv().unwrap().map(|appended| appended.base_offset), Ok(7));
        assert!(orphans.is_empty());
    }

    #[test]
    fn an_entry_that_was_replaced_or_waits_too_long_is_not_acknowledged() {
        for (safe, term, now_ms) in [(7, Some(4), 10), (7, None, 10), (6, Some(3), 500)] {
            let (waiting, mut answer) = orphan(7, 3);
            let mut orphans = Orphans(vec![waiting]);
            orphans.settle(safe, |_| term, now_ms);
            assert_eq!(answer.try_recv().unwrap(), Err(AppendError::TimedOut), "{safe} {term:?} {now_ms}");
        }
    }
}
