//! Requests that wait for their reply from one peer: a bounded table. Sends nothing.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// `None`: the peer says there is no reply.
type Reply = Option<Bytes>;

struct Table {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
}

pub(super) struct Outstanding {
    max: usize,
    table: Mutex<Table>,
}

/// One waiting request; dropping it gives its place back.
pub(super) struct Ticket<'a> {
    pub(super) id: u64,
    pub(super) reply: oneshot::Receiver<Reply>,
    owner: &'a Outstanding,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.owner.table.lock().waiting.remove(&self.id);
    }
}

impl Outstanding {
    /// Ids start at random, so that a reply meant for an earlier life of this broker meets no request of this one.
    pub(super) fn new(max: usize) -> Self {
        Self { max, table: Mutex::new(Table { next: rand::random(), waiting: HashMap::new() }) }
    }

    pub(super) fn open(&self) -> Option<Ticket<'_>> {
        let mut table = self.table.lock();
        if table.waiting.len() >= self.max {
            return None;
        }
        let id = table.next;
        table.next = id.wrapping_add(1);
        let (sender, reply) = oneshot::channel();
        table.waiting.insert(id, sender);
        Some(Ticket { id, reply, owner: self })
    }

    /// A reply whose request is gone is dropped.
    pub(super) fn complete(&self, id: u64, reply: Reply) {
        let waiting = self.table.lock().waiting.remove(&id);
        if let Some(sender) = waiting {
            let _ = sender.send(reply); // the asker may have given up just now
        }
    }

    /// The peer is down: nobody waits any longer.
    pub(super) fn fail_all(&self) {
        self.table.lock().waiting.clear();
    }
}
