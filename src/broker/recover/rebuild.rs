//! Rebuilds the cluster's metadata on the disk of a stopped broker: what that would mean, and doing it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chronik_core::ids::{BrokerId, DiskId, Generation, GroupId, LogIndex, ReplicaId, Term};
use chronik_core::metadata::{ClusterState, Command, RecoverMetadata};
use chronik_core::replication::configuration::Configuration;
use chronik_core::replication::recovery::{self, LAST_EPOCH};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::birth::founder_broker;
use crate::log::{
    Damage, DataFolder, Disk, Founder, Identity, IdentityError, Log, LogDriver, LogError, Options,
    RecoveredGroup, WriteError, WriteOp,
};
use crate::quorum::{Group, GroupConfig, GroupFault};
use crate::stored_metadata::{self, StoredError};

/// What a recovery of the metadata from this disk means.
pub struct Plan {
    /// The data folder.
    pub dir: PathBuf,
    /// Whose disk it is.
    pub identity: Identity,
    /// Its replica of the metadata group.
    pub survivor: ReplicaId,
    /// The group's members as its log has them.
    pub members: Configuration,
    /// The last entry of its log.
    pub last: LogIndex,
    /// The term of that entry.
    pub last_term: Term,
    /// The last entry that this disk knows to be committed.
    pub committed: LogIndex,
    /// The newest term it has heard of.
    pub term: Term,
    /// The epoch from then on.
    pub epoch: Term,
    /// The cluster as of its last entry.
    pub state: ClusterState,
    /// The voters that the group began with.
    pub founders: Vec<Founder>,
    /// Replicas of partitions here that are damaged: they are out of service whatever happens to the metadata.
    pub damaged: Vec<Damage>,
}

/// Why the metadata cannot be rebuilt from this disk.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The folder is no stopped broker's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its journal cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It holds no replica of the metadata group.
    #[error("data folder {dir} holds no metadata: its broker never took part in a cluster")]
    NoMetadata {
        /// The folder.
        dir: PathBuf,
    },
    /// Its replica has lost entries.
    #[error(
        "the metadata in {dir} is damaged, {damage}: nothing can be rebuilt from it, take the disk of another voter"
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is damaged.
        damage: Damage,
    },
    /// Its replica only learns.
    #[error(
        "metadata replica {replica} in {dir} is no voter (voters are {voters}): what it holds was never confirmed by \
         it, take the disk of a voter"
    )]
    NoVoter {
        /// The folder.
        dir: PathBuf,
        /// The replica.
        replica: ReplicaId,
        /// Those that are.
        voters: String,
    },
    /// Another disk took its place.
    #[error(
        "the metadata in {dir} says that disk {disk} lost its place for ever: take the disk of another voter"
    )]
    RetiredDisk {
        /// The folder.
        dir: PathBuf,
        /// Its disk.
        disk: DiskId,
    },
    /// An entry cannot be applied.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Raft refuses.
    #[error("open the metadata group: {0}")]
    Group(#[from] GroupFault),
    /// There is no epoch above.
    #[error("term {term} leaves no room for a recovery: epochs end at {LAST_EPOCH}")]
    NoEpochLeft {
        /// The term it is in.
        term: Term,
    },
    /// The change could not be written: the disk is as it was, or has it whole.
    #[error("write to {dir}: {source}")]
    Write {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: WriteError,
    },
}

/// A folder that is opened for it, and locked.
struct Opened {
    plan: Plan,
    group: Group,
    log: Log,
    driver: LogDriver,
    _folder: DataFolder,
}

/// What it would mean. Changes nothing if `disk` does not.
pub fn look(disk: Arc<dyn Disk>, dir: &Path) -> Result<Plan, RecoverError> {
    Ok(open(disk, dir)?.plan)
}

/// Rebuilds the metadata; gives what was done, and the generation that began.
pub fn execute(
    disk: Arc<dyn Disk>,
    dir: &Path,
    by: &str,
    unix_ms: i64,
    recovery: Uuid,
) -> Result<(Plan, Generation), RecoverError> {
    let Opened { plan, mut group, log, mut driver, _folder } = open(disk, dir)?;
    let generation = Generation { number: plan.state.generation().number.saturating_add(1), recovery };
    let record = Command::RecoverMetadata(plan.record(generation, by, unix_ms));
    group.make_only_voter(plan.epoch, vec![record.encode()])?;
    write(&mut group, &log, &mut driver).map_err(|failed| failed.within(dir))?;
    drop(log);
    driver.close();
    Ok((plan, generation))
}

impl Plan {
    /// Members of the group that are so no more afterwards.
    pub fn retired(&self) -> Vec<ReplicaId> {
        let Configuration { voters, outgoing, learners } = &self.members;
        let mut others: Vec<ReplicaId> = voters.iter().chain(outgoing).chain(learners).copied().collect();
        others.retain(|replica| *replica != self.survivor);
        others.sort_unstable();
        others.dedup();
        others
    }

    /// Every disk that took part, but for this one, with its broker: those registered, and those of founders that are not.
    pub fn retired_disks(&self) -> BTreeMap<DiskId, BrokerId> {
        let founder = |founder: &Founder| Some((founder.disk, founder_broker(founder.replica)?));
        let unregistered = |(_, broker): &(DiskId, BrokerId)| self.state.broker(*broker).is_none();
        let founders = self.founders.iter().filter_map(founder).filter(unregistered);
        let registered = self.state.brokers().map(|broker| (broker.disk, broker.id));
        registered.chain(founders).filter(|(disk, _)| *disk != self.identity.disk).collect()
    }

    fn record(&self, generation: Generation, by: &str, unix_ms: i64) -> RecoverMetadata {
        RecoverMetadata {
            generation,
            by: by.to_owned(),
            unix_ms,
            broker: self.identity.broker,
            disk: self.identity.disk,
            replica: self.survivor,
            retired: self.retired(),
            retired_disks: self.retired_disks(),
            last: self.last,
            last_term: self.last_term,
            epoch: self.epoch,
        }
    }
}

fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Opened, RecoverError> {
    let folder = DataFolder::open(&*disk, dir)?;
    let identity = folder.identity.clone();
    let (log, driver, found) = Log::open_driven(disk, dir, identity.clone(), Options::default())?;
    let metadata = stored_metadata::replica(&found);
    let damage = metadata.map_or(log.unattributed_damage(), |metadata| metadata.damage.as_ref());
    if let Some(damage) = damage {
        return Err(RecoverError::Damaged { dir: dir.to_owned(), damage: damage.clone() });
    }
    let Some(metadata) = metadata else { return Err(RecoverError::NoMetadata { dir: dir.to_owned() }) };
    let group = open_group(metadata)?;
    let members = group.configuration_at_end()?;
    let survivor = metadata.header.replica;
    if !members.votes(survivor) {
        let voters: Vec<String> = members.voters.iter().map(ReplicaId::to_string).collect();
        let voters = voters.join(", ");
        return Err(RecoverError::NoVoter { dir: dir.to_owned(), replica: survivor, voters });
    }
    let last = metadata.log.last_index();
    let (state, broken) = stored_metadata::replay(metadata, &identity.cluster, last);
    broken.map_or(Ok(()), Err)?;
    if state.retired_disks().contains_key(&identity.disk) {
        return Err(RecoverError::RetiredDisk { dir: dir.to_owned(), disk: identity.disk });
    }
    let term = group.role().term;
    let plan = Plan {
        dir: dir.to_owned(),
        identity,
        survivor,
        members,
        last,
        last_term: metadata.log.term(last).unwrap_or(0),
        committed: stored_metadata::committed(metadata),
        term,
        epoch: recovery::epoch_after(term).ok_or(RecoverError::NoEpochLeft { term })?,
        state,
        founders: metadata.header.founders.clone(),
        damaged: found.iter().filter_map(|group| group.damage.clone()).collect(),
    };
    Ok(Opened { plan, group, log, driver, _folder: folder })
}

fn open_group(metadata: &RecoveredGroup) -> Result<Group, GroupFault> {
    let config = GroupConfig {
        group: GroupId::METADATA,
        replica: metadata.header.replica,
        election_ticks: 10,
        heartbeat_ticks: 1,
        voters: metadata.header.voters.clone(),
        learners: metadata.header.learners.clone(),
        membership: metadata.membership_at_start(),
        membership_at_start: metadata.membership_at_start(),
        snapshot: metadata.snapshot.clone(),
        applied: metadata.log.start().before(),
        held: Arc::default(),
    };
    Group::open(&config, metadata.log.clone(), metadata.state)
}

/// Why what a group gave out is not on disk.
enum Failed {
    Group(GroupFault),
    Write(WriteError),
}

impl Failed {
    fn within(self, dir: &Path) -> RecoverError {
        match self {
            Self::Group(fault) => fault.into(),
            Self::Write(source) => RecoverError::Write { dir: dir.to_owned(), source },
        }
    }
}

/// Writes what the group gives out, until the change of members is in force.
fn write(group: &mut Group, log: &Log, driver: &mut LogDriver) -> Result<(), Failed> {
    loop {
        let (mut ops, mut tickets) = (Vec::new(), Vec::new());
        while let Some(drained) = group.drain(true).map_err(Failed::Group)? {
            let stored = drained.memberships.into_iter();
            ops.extend(stored.map(|(index, bytes)| WriteOp::Membership { group: group.id(), index, bytes }));
            if !drained.entries.is_empty() {
                ops.push(WriteOp::Append { group: group.id(), entries: drained.entries });
            }
            ops.extend(drained.hard_state.map(|state| WriteOp::State { group: group.id(), state }));
            tickets.push(drained.ticket);
        }
        if tickets.is_empty() {
            return Ok(());
        }
        if !ops.is_empty() {
            submit(ops, log, driver).map_err(Failed::Write)?;
        }
        for ticket in tickets {
            group.synced(ticket);
        }
    }
}

fn submit(ops: Vec<WriteOp>, log: &Log, driver: &mut LogDriver) -> Result<(), WriteError> {
    let result = Arc::new(Mutex::new(Err(WriteError::Stopped("it was not written".to_owned()))));
    let told = result.clone();
    log.submit(ops, Box::new(move |written| *told.lock() = written));
    while driver.write_waiting() {}
    result.lock().clone()
}
