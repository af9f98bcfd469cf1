//! A replica as the Kafka handlers see it: shared, read-only state that the engine keeps current.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chronik_core::ids::{BrokerId, GroupId, Offset, ReplicaId, Term, TopicId};
use chronik_core::view::FollowerLag;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::log::GroupLog;

/// What this broker is for a partition that it hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// It leads, in this epoch.
    Leader {
        /// The Raft term.
        epoch: Term,
    },
    /// It follows, or waits for a leader.
    Follower {
        /// Whom it follows.
        leader: Option<BrokerId>,
        /// The Raft term.
        epoch: Term,
    },
    /// Quorum is lost and this is a survivor that was in sync: it shows itself and refuses writes.
    Caretaker {
        /// The epoch it shows.
        epoch: Term,
    },
    /// The replica was taken out of service.
    Quarantined {
        /// Why, naming file and offset where the disk is at fault.
        reason: String,
    },
}

/// One hosted replica.
pub struct PartitionHandle {
    /// Its group.
    pub group: GroupId,
    /// Its Raft id.
    pub replica: ReplicaId,
    /// Its topic.
    pub topic: TopicId,
    /// The topic's name.
    pub topic_name: String,
    /// Its number, from 0.
    pub partition: i32,
    log: Arc<GroupLog>,
    leadership: RwLock<Leadership>,
    high_watermark: AtomicI64,
    epoch_start_reached: AtomicBool,
    /// With when they were noted, on the broker's monotonic clock.
    followers: RwLock<(Vec<FollowerLag>, u64)>,
    readable_followers: RwLock<Vec<BrokerId>>,
    in_sync: AtomicBool,
    quiet: AtomicBool,
    progress: watch::Sender<u64>,
}

impl PartitionHandle {
    pub(super) fn new(
        (group, replica): (GroupId, ReplicaId),
        topic: TopicId,
        topic_name: String,
        partition: i32,
        log: Arc<GroupLog>,
    ) -> Self {
        Self {
            group,
            replica,
            topic,
            topic_name,
            partition,
            log,
            leadership: RwLock::new(Leadership::Follower { leader: None, epoch: 0 }),
            high_watermark: AtomicI64::new(0),
            epoch_start_reached: AtomicBool::new(false),
            followers: RwLock::default(),
            readable_followers: RwLock::default(),
            in_sync: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            progress: watch::Sender::new(0),
        }
    }

    /// What this broker is for the partition now.
    pub fn leadership(&self) -> Leadership {
        self.leadership.read().clone()
    }

    /// Records below this offset may be served.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// The first offset of the log.
    pub fn log_start_offset(&self) -> Offset {
        self.log.start_offset()
    }

    /// The replica's log.
    pub fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Whether the high watermark has reached the start of the leader's epoch; until then its end is not known.
    pub fn epoch_start_reached(&self) -> bool {
        self.epoch_start_reached.load(Ordering::Acquire)
    }

    /// Changes whenever the high watermark or the leadership does.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Each follower's lag as of the last check, and when that was, if this broker leads.
    pub fn followers(&self) -> (Vec<FollowerLag>, u64) {
        self.followers.read().clone()
    }

    pub(super) fn set_followers(&self, followers: Vec<FollowerLag>, noted_ms: u64) {
        *self.followers.write() = (followers, noted_ms);
    }

    /// If this broker leads: followers that consumers may be sent to, as of the last check.
    pub fn readable_followers(&self) -> Vec<BrokerId> {
        self.readable_followers.read().clone()
    }

    pub(super) fn set_readable_followers(&self, followers: Vec<BrokerId>) {
        *self.readable_followers.write() = followers;
    }

    /// Whether its group rests: nothing happens, every live replica has everything, and nothing is sent.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    /// Whether this replica is in the ISR of the newest view heard.
    pub fn is_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::Acquire)
    }

    pub(super) fn set_in_sync(&self, in_sync: bool) {
        if self.in_sync.swap(in_sync, Ordering::AcqRel) != in_sync {
            self.moved();
        }
    }

    pub(super) fn quarantine(&self, reason: String) {
        self.set_leadership(Leadership::Quarantined { reason });
    }

    pub(super) fn set_leadership(&self, leadership: Leadership) {
        let mut current = self.leadership.write();
        if *current != leadership {
            *current = leadership;
            drop(current);
            self.moved();
        }
    }

    pub(super) fn set_high_watermark(&self, offset: Offset, epoch_start_reached: bool) {
        let before = self.high_watermark.swap(offset, Ordering::AcqRel);
        let reached_before = self.epoch_start_reached.swap(epoch_start_reached, Ordering::AcqRel);
        if before != offset || reached_before != epoch_start_reached {
            self.moved();
        }
    }

    fn moved(&self) {
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The replicas that this broker hosts.
#[derive(Default)]
pub struct Partitions {
    by_number: RwLock<HashMap<(TopicId, i32), Arc<PartitionHandle>>>,
}

impl Partitions {
    /// The replica of a partition, if it is hosted here.
    pub fn get(&self, topic: TopicId, partition: i32) -> Option<Arc<PartitionHandle>> {
        self.by_number.read().get(&(topic, partition)).cloned()
    }

    /// All hosted replicas, in no order.
    pub fn all(&self) -> Vec<Arc<PartitionHandle>> {
        self.by_number.read().values().cloned().collect()
    }

    pub(super) fn insert(&self, handle: Arc<PartitionHandle>) {
        self.by_number.write().insert((handle.topic, handle.partition), handle);
    }

    pub(super) fn remove(&self, topic: TopicId, partition: i32) {
        self.by_number.write().remove(&(topic, partition));
    }
}
