//! What waits to be written: filled by any thread, emptied by the writer's. Bounded in bytes; never blocks a caller.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::types::{Done, WriteError, WriteOp};

/// One thing to write, or to answer in its turn.
pub(super) enum Item {
    Submission {
        ops: Vec<WriteOp>,
        done: Done,
        bytes: usize,
    },
    /// Refused when it came; answered in order all the same.
    Refused {
        error: WriteError,
        done: Done,
    },
}

/// What the writer is to do next.
pub(super) enum Next {
    Write(Vec<Item>),
    /// Nothing came within the time given.
    Idle,
    Closed,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    closed: bool,
    /// The writer is gone: nothing will ever be taken again.
    dead: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    limit: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), limit }
    }

    pub(super) fn push(&self, ops: Vec<WriteOp>, done: Done) {
        let bytes: usize = ops.iter().map(WriteOp::size).sum();
        let mut state = self.state.lock();
        if state.dead || state.closed {
            drop(state);
            return done(Err(WriteError::Stopped("the log is closed".to_owned())));
        }
        let queued = state.bytes;
        let item = if queued + bytes > self.limit {
            Item::Refused { error: WriteError::Overloaded { queued, limit: self.limit }, done }
        } else {
            state.bytes += bytes;
            Item::Submission { ops, done, bytes }
        };
        state.items.push_back(item);
        self.filled.notify_one();
    }

    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
    }

    /// Answers all that waits, and all that comes: the writer has ended, in whatever way.
    pub(super) fn bury(&self) {
        let items = {
            let mut state = self.state.lock();
            state.dead = true;
            std::mem::take(&mut state.items)
        };
        for item in items {
            match item {
                Item::Submission { done, .. } => {
                    done(Err(WriteError::Stopped("the writer has ended".to_owned())));
                }
                Item::Refused { error, done } => done(Err(error)),
            }
        }
    }

    /// Waits for something to write: for as long as it takes if the journal is `quiet`, else for `patience` at most.
    pub(super) fn next(&self, max_bytes: usize, patience: Duration, quiet: bool) -> Next {
        let mut state = self.state.lock();
        let mut patient = true;
        loop {
            if !state.items.is_empty() {
                return Next::Write(take(&mut state, max_bytes));
            }
            if state.closed {
                return Next::Closed;
            }
            if !patient {
                return Next::Idle;
            }
            if quiet {
                self.filled.wait(&mut state);
            } else {
                patient = !self.filled.wait_for(&mut state, patience).timed_out();
            }
        }
    }
}

/// The first items, up to `max_bytes`, but at least one.
fn take(state: &mut State, max_bytes: usize) -> Vec<Item> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while let Some(item) = state.items.pop_front() {
        let size = match &item {
            Item::Submission { bytes, .. } => *bytes,
            Item::Refused { .. } => 0,
        };
        if !taken.is_empty() && bytes + size > max_bytes {
            state.items.push_front(item);
            break;
        }
        bytes += size;
        taken.push(item);
    }
    state.bytes -= bytes;
    taken
}
