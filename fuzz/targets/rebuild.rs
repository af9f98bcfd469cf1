//! The last resort on a disk that may be damaged itself: what can be rebuilt is rebuilt whole, and can be once more.
//!
//! An input is what `recovery.rs` takes: the journal of a metadata replica.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{EntryKind, GroupHeader, GroupKind, HardState, LogEntry, WriteOp};
use chronik_broker::recover::rebuild::{self, RecoverError};
use chronik_core::ids::{Generation, GroupId, LogIndex, ReplicaId};
use chronik_core::metadata::{AllocateProducerIds, Command};
use chronik_core::replication::configuration::Configuration;
use chronik_sim::disk::SimDisk;
use uuid::Uuid;

use super::disk::{DIR, formatted, owner};
use super::metadata::{broker, create_topic};
use super::recovery::{empty, in_every_mode, lay_out, written_by};

const BY: &str = "ada@host";

/// Raft panics where a configuration contradicts itself; the person sees it, and nothing was written.
pub(super) fn run(input: &[u8]) {
    let disk = formatted();
    if lay_out(&disk, input).is_some() {
        let _ = catch_unwind(AssertUnwindSafe(|| rebuild_twice(&disk)));
    }
}

fn rebuild_twice(disk: &Arc<SimDisk>) {
    let looked = rebuild::look(disk.clone(), Path::new(DIR));
    let done = execute(disk, 1);
    let ((plan, generation), looked) = match (done, looked) {
        (Ok(done), Ok(looked)) => (done, looked),
        (Err(RecoverError::Write { .. } | RecoverError::Group(_)), _) => return,
        (done, looked) => {
            let kind = |refused: Option<RecoverError>| refused.as_ref().map(std::mem::discriminant);
            let told = looked.as_ref().err().map(ToString::to_string);
            assert_eq!(kind(done.err()), kind(looked.err()), "after {told:?}");
            return;
        }
    };
    assert_eq!((plan.last, plan.epoch, &plan.state), (looked.last, looked.epoch, &looked.state));
    let after = rebuild::look(disk.clone(), Path::new(DIR)).expect("what was rebuilt can be read");
    assert_eq!(after.members, Configuration { voters: vec![plan.survivor], ..Configuration::default() });
    assert_eq!((after.state.generation(), after.committed), (generation, after.last));
    assert!(after.last > plan.last && after.last_term == plan.epoch);
    assert_eq!(after.state.topics().len(), plan.state.topics().len());
    match execute(disk, 2) {
        Ok((_, next)) => assert_eq!(next.number, generation.number + 1),
        Err(refused) => assert!(matches!(refused, RecoverError::NoEpochLeft { .. }), "{refused}"),
    }
}

fn execute(disk: &Arc<SimDisk>, recovery: u128) -> Result<(rebuild::Plan, Generation), RecoverError> {
    rebuild::execute(disk.clone(), Path::new(DIR), BY, 1_000, Uuid::from_u128(recovery))
}

/// A voter of three and a learner, as they were stopped, and one that was rebuilt before.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let rebuilt = stopped(ReplicaId(1));
    execute(&rebuilt, 1).expect("a voter's disk");
    let disks = [stopped(ReplicaId(1)), stopped(ReplicaId(4)), rebuilt];
    disks.iter().flat_map(|disk| in_every_mode(disk)).collect()
}

fn stopped(replica: ReplicaId) -> Arc<SimDisk> {
    let header = GroupHeader {
        kind: GroupKind::Metadata,
        topic: None,
        partition: 0,
        replica,
        voters: (1..=3).map(ReplicaId).collect(),
        learners: vec![ReplicaId(4)],
        generation: Generation::BIRTH,
        founders: Vec::new(),
    };
    let commands = [
        Command::RegisterBroker(broker(1)),
        Command::RegisterBroker(broker(2)),
        create_topic("orders", &[1, 2]),
        Command::AllocateProducerIds(AllocateProducerIds { broker: owner().broker }),
    ];
    let entries: Vec<LogEntry> = (1..).zip(&commands).map(|(index, command)| entry(index, command)).collect();
    let group = GroupId::METADATA;
    let state = HardState { term: 3, vote: 1, commit: 3 };
    written_by(|submit| {
        submit(vec![WriteOp::CreateGroup { group, header: header.clone() }]);
        submit(vec![WriteOp::Append { group, entries: entries.clone() }]);
        submit(vec![WriteOp::State { group, state }]);
    })
}

fn entry(index: LogIndex, command: &Command) -> LogEntry {
    LogEntry { kind: EntryKind::Command, payload: command.encode(), ..empty(index, 3, 0) }
}
