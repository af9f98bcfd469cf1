//! What only a partition's leader has: its ISR tracker, its high watermark, and the produces that wait for them.

use std::collections::VecDeque;

use chronik_core::ids::{LogIndex, Term};
use chronik_core::replication::isr::IsrTracker;
use chronik_core::view::PartitionView;

use super::append::{AppendError, AppendReply, Appended};

/// A produce that is appended and not answered.
pub(super) struct Waiter {
    pub(super) index: LogIndex,
    /// The term of its entry, noted when it was appended: an entry with the same index and term is the same entry. Once
    /// leadership is lost it is too late to look, for another may have taken its place in the same step.
    pub(super) term: Term,
    pub(super) appended: Appended,
    pub(super) deadline_ms: u64,
    pub(super) reply: AppendReply,
}

impl Waiter {
    /// The client may have gone; the record stays.
    pub(super) fn answer(self, outcome: Result<Appended, AppendError>) {
        let _ = self.reply.send(outcome);
    }
}

/// Produces in the order of their log indexes.
#[derive(Default)]
pub(super) struct Waiters {
    queue: VecDeque<Waiter>,
    next_deadline_ms: u64,
}

impl Waiters {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, waiter: Waiter) {
        let deadline_ms = waiter.deadline_ms;
        self.next_deadline_ms =
            if self.queue.is_empty() { deadline_ms } else { self.next_deadline_ms.min(deadline_ms) };
        // A repeated batch waits for its original, which lies before what was appended since.
        let place = self.queue.partition_point(|known| known.index <= waiter.index);
        self.queue.insert(place, waiter);
    }

    /// Answers all that lie at or below `index`.
    pub(super) fn complete(&mut self, index: LogIndex) {
        while self.queue.front().is_some_and(|waiter| waiter.index <= index) {
            let waiter = self.queue.pop_front().expect("the front was just seen");
            let appended = waiter.appended;
            waiter.answer(Ok(appended));
        }
    }

    /// Answers those whose time is over with `error`.
    pub(super) fn expire(&mut self, now_ms: u64, error: &AppendError) {
        if self.queue.is_empty() || now_ms < self.next_deadline_ms {
            return;
        }
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for waiter in self.queue.drain(..) {
            if waiter.deadline_ms <= now_ms {
                waiter.answer(Err(error.clone()));
            } else {
                kept.push_back(waiter);
            }
        }
        self.next_deadline_ms = kept.iter().map(|waiter| waiter.deadline_ms).min().unwrap_or(u64::MAX);
        self.queue = kept;
    }

    /// All of them.
    pub(super) fn into_queue(self) -> VecDeque<Waiter> {
        self.queue
    }
}

/// A leader's state in one term.
pub(super) struct Leading {
    pub(super) term: Term,
    /// Index of the term's first entry.
    pub(super) epoch_start: LogIndex,
    pub(super) tracker: IsrTracker,
    /// Metadata that the predecessor had applied: no write before this leader has it too.
    pub(super) required_metadata: LogIndex,
    /// acks=all, waiting for the high watermark.
    pub(super) for_all: Waiters,
    /// acks=1, waiting for this replica's own sync.
    pub(super) for_leader: Waiters,
    /// The view last published in this term.
    pub(super) published: Option<PartitionView>,
    /// Since when the preferred replica has been in sync with this leader, as of the last checks.
    pub(super) preferred_since_ms: Option<u64>,
    /// The high watermark last told to followers.
    pub(super) told: LogIndex,
}
