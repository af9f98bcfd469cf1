//! The transport's counters. Counts only; names and labels are the metrics page's.

use std::sync::atomic::{AtomicU64, Ordering};

use super::event::Lane;

#[derive(Default)]
struct LaneCounters {
    frames_sent: AtomicU64,
    bytes_sent: AtomicU64,
    writes: AtomicU64,
    frames_received: AtomicU64,
    bytes_received: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
pub(super) struct Counters {
    lanes: [LaneCounters; 2],
    pub(super) dials: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) accepts: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) garbage: AtomicU64,
}

/// Counts of one lane since the start, over all peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Frames written, pings included.
    pub frames_sent: u64,
    /// Bytes written, headers included.
    pub bytes_sent: u64,
    /// Writes that carried them: frames_sent / writes is the coalescing.
    pub writes: u64,
    /// Frames read.
    pub frames_received: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Frames not sent: not connected, queue full, too long, or lost in the queue of a connection that closed.
    pub dropped: u64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// The Control lane.
    pub control: LaneCounts,
    /// The Bulk lane.
    pub bulk: LaneCounts,
    /// Dials tried.
    pub dials: u64,
    /// Dials that ended in a good handshake; beyond two per peer they are reconnects.
    pub connects: u64,
    /// Connections accepted with a good handshake.
    pub accepts: u64,
    /// Handshakes refused by name, by either side.
    pub refusals: u64,
    /// Connections closed because what they sent was not the protocol.
    pub garbage: u64,
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(super) fn sent(&self, lane: Lane, frames: usize, bytes: usize) {
        let lane = &self.lanes[lane as usize];
        add(&lane.frames_sent, frames as u64);
        add(&lane.bytes_sent, bytes as u64);
        add(&lane.writes, 1);
    }

    pub(super) fn received(&self, lane: Lane, bytes: usize) {
        let lane = &self.lanes[lane as usize];
        add(&lane.frames_received, 1);
        add(&lane.bytes_received, bytes as u64);
    }

    pub(super) fn dropped(&self, lane: Lane, frames: usize) {
        add(&self.lanes[lane as usize].dropped, frames as u64);
    }

    pub(super) fn snapshot(&self) -> PeerCounts {
        let lane = |lane: Lane| {
            let c = &self.lanes[lane as usize];
            LaneCounts {
                frames_sent: get(&c.frames_sent),
                bytes_sent: get(&c.bytes_sent),
                writes: get(&c.writes),
                frames_received: get(&c.frames_received),
                bytes_received: get(&c.bytes_received),
                dropped: get(&c.dropped),
            }
        };
        PeerCounts {
            control: lane(Lane::Control),
            bulk: lane(Lane::Bulk),
            dials: get(&self.dials),
            connects: get(&self.connects),
            accepts: get(&self.accepts),
            refusals: get(&self.refusals),
            garbage: get(&self.garbage),
        }
    }
}
