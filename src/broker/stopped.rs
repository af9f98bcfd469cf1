//! For tests: the data folder of a broker that has stopped, one voter of three, with a topic and some records.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use chronik_core::ids::{BrokerId, ClusterId, DiskId, Generation, GroupId, LogIndex, ReplicaId, TopicId};
use chronik_core::metadata::{Broker, Command, CreateTopic, FeatureRange, Listener, TopicReplicas};
use tempfile::TempDir;
use uuid::Uuid;

use crate::log::{
    Birth, DataFolder, EntryKind, GroupHeader, GroupKind, HardState, Identity, Log, LogEntry, Options,
    RealDisk, WriteOp, tests::records,
};

/// The first partition of `orders`; the second one's replica is not begun here.
pub(crate) const PARTITION: GroupId = GroupId(16);
/// Entries of its metadata, of term 2; the last is not known to be committed.
pub(crate) const ENTRIES: LogIndex = 6;

/// A folder that is gone with the test.
pub(crate) struct Stopped {
    dir: TempDir,
    pub(crate) identity: Identity,
}

impl Stopped {
    /// Of broker 1, whose metadata replica is this one of three voters.
    pub(crate) fn new() -> Self {
        Self::with_replica(1)
    }

    /// The same with that replica in the header: 4 is none of the voters.
    pub(crate) fn with_replica(replica: u64) -> Self {
        let folder = Self::empty();
        folder.write(vec![
            metadata(replica),
            append(GroupId::METADATA, entries()),
            WriteOp::State { group: GroupId::METADATA, state: HardState { term: 3, vote: 2, commit: 5 } },
        ]);
        let batches = vec![records(1, 2, 0, 3, 100), records(2, 2, 3, 2, 100)];
        folder.write(vec![partition(), append(PARTITION, batches)]);
        folder.write(vec![WriteOp::State {
            group: PARTITION,
            state: HardState { term: 2, vote: 0, commit: 2 },
        }]);
        folder
    }

    /// Formatted, and nothing more.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity { cluster: cluster(), broker: BrokerId(1), disk: disk(1) };
        DataFolder::format_as(&RealDisk, dir.path(), identity.clone(), Birth::Join(Vec::new()), 7).unwrap();
        Self { dir, identity }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A text without what differs from run to run, or with the format of the journal.
    pub(crate) fn steady(&self, text: &str) -> String {
        let mut text = text.replace(&self.path().display().to_string(), "DIR");
        for before in ["at byte ", "segments, "] {
            let mut parts = text.split(before);
            let first = parts.next().unwrap_or_default().to_owned();
            text = parts.fold(first, |all, part| {
                format!("{all}{before}N{}", part.trim_start_matches(|c: char| c.is_ascii_digit()))
            });
        }
        text
    }

    pub(crate) fn segment(&self) -> PathBuf {
        self.path().join("journal/00000000000000000001.log")
    }

    /// Changes a byte of what follows `text` in the journal.
    pub(crate) fn damage_after(&self, text: &[u8]) {
        let mut bytes = std::fs::read(self.segment()).unwrap();
        let at = bytes.windows(text.len()).position(|window| window == text).unwrap() + text.len();
        bytes[at] ^= 1;
        std::fs::write(self.segment(), bytes).unwrap();
    }

    fn write(&self, ops: Vec<WriteOp>) {
        let (log, _) =
            Log::open(Arc::new(RealDisk), self.path(), self.identity.clone(), Options::default()).unwrap();
        let (send, done) = mpsc::channel();
        log.submit(ops, Box::new(move |result| send.send(result).unwrap()));
        done.recv().unwrap().unwrap();
    }
}

fn cluster() -> ClusterId {
    "test".parse().unwrap()
}

pub(crate) fn disk(number: u128) -> DiskId {
    DiskId(Uuid::from_u128(number))
}

fn metadata(replica: u64) -> WriteOp {
    let header = GroupHeader {
        kind: GroupKind::Metadata,
        topic: None,
        partition: 0,
        replica: ReplicaId(replica),
        voters: (1..=3).map(ReplicaId).collect(),
        learners: Vec::new(),
        generation: Generation::BIRTH,
        founders: Vec::new(),
    };
    WriteOp::CreateGroup { group: GroupId::METADATA, header }
}

fn partition() -> WriteOp {
    let header = GroupHeader {
        kind: GroupKind::Partition,
        topic: Some(TopicId(Uuid::from_u128(0x70))),
        partition: 0,
        replica: ReplicaId(100_000),
        voters: (100_000..100_003).map(ReplicaId).collect(),
        learners: Vec::new(),
        generation: Generation::BIRTH,
        founders: Vec::new(),
    };
    WriteOp::CreateGroup { group: PARTITION, header }
}

fn append(group: GroupId, entries: Vec<LogEntry>) -> WriteOp {
    WriteOp::Append { group, entries }
}

fn entries() -> Vec<LogEntry> {
    let orders = |number: u128, name: &str, partitions| {
        Command::CreateTopic(CreateTopic {
            id: TopicId(Uuid::from_u128(number)),
            name: name.to_owned(),
            replicas: TopicReplicas::Placed {
                partitions,
                replication_factor: 3,
                alive: (1..=3).map(BrokerId).collect(),
            },
            configs: Default::default(),
        })
    };
    let brokers = (1..=3).map(|id| Command::RegisterBroker(broker(id)));
    let commands = brokers.chain([orders(0x70, "orders", 2), orders(0x71, "late", 1)]);
    let payloads = [Bytes::new()].into_iter().chain(commands.map(|command| command.encode()));
    payloads.enumerate().map(|(at, payload)| entry(at as u64 + 1, payload)).collect()
}

fn entry(index: LogIndex, payload: Bytes) -> LogEntry {
    LogEntry {
        index,
        term: 2,
        kind: if payload.is_empty() { EntryKind::Empty } else { EntryKind::Command },
        base_offset: 0,
        records: 0,
        max_timestamp: -1,
        producer: None,
        payload,
    }
}

fn broker(id: u32) -> Broker {
    Broker {
        id: BrokerId(id),
        disk: disk(u128::from(id)),
        rack: None,
        listeners: vec![Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 }],
        peer_address: format!("127.0.0.{id}:9093"),
        version: "0.1.0".into(),
        features: FeatureRange::THIS_BUILD,
        incarnation_start: 1,
        metadata_replica: Some(ReplicaId(u64::from(id))),
    }
}
