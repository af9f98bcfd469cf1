//! The last resort: every disk but one is gone for good, and a person has the cluster go on from that one, as
//! docs/recovery.md says. The lost disks are found again later, and must change nothing.

use std::path::Path;
use std::sync::Arc;

use chronik_broker::log::{self, DataFolder, Log, Options, RecoveredGroup};
use chronik_broker::recover::rebuild;
use chronik_broker::replica::{Event as EngineEvent, Leadership};
use chronik_core::ids::GroupId;
use chronik_core::metadata::{Command, RecoverPartition};
use chronik_core::view::PartitionRecovery;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::disk::DiskFaults;
use crate::process::DATA;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, M, World};

/// The person looks again after this long.
const LOOKS_EVERY: Micros = 500 * MS;
/// The survivor has noticed by then that nobody is left.
const NOTICED: Micros = 4 * SECOND;
/// How long the others may get ahead of it before.
const AHEAD: (Micros, Micros) = (200 * MS, 4 * SECOND);
/// How long the lost disks stay lost.
const FOUND_AFTER: (Micros, Micros) = (SECOND, 8 * SECOND);

/// What the person does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// One is chosen that will be left; it may be cut off, so that the others get ahead of it.
    Choose,
    /// The others' disks are lost; whether the one that is left was cut off.
    Lose(M, bool),
    /// The survivor is stopped, and the metadata rebuilt on its disk.
    Metadata(M),
    /// Its partitions go on alone.
    Partitions(M),
    /// The others come with empty disks.
    Return(M),
    /// A lost disk is found and put in again, perhaps while everybody starts.
    OldDisk(M, bool),
}

impl World {
    /// The person's turn.
    pub fn last_resort(&mut self, step: Step) {
        let next = match step {
            Step::Choose => self.choose_survivor(),
            Step::Lose(survivor, cut_off) => self.lose_all_but(survivor, cut_off),
            Step::Metadata(survivor) => self.recover_metadata(survivor),
            Step::Partitions(survivor) => self.recover_partitions(survivor),
            Step::Return(survivor) => self.return_empty(survivor),
            Step::OldDisk(at, together) => return self.find_disk(at, together),
        };
        let (after, next) = next.unwrap_or((LOOKS_EVERY, step));
        self.after(after, Event::LastResort(next));
    }

    fn choose_survivor(&mut self) -> Option<(Micros, Step)> {
        let from = self.chance.disks.index(self.machines.len());
        let all = self.machines.len();
        let survivor = (from..from + all).map(|at| at % all).find(|at| self.could_go_on(*at))?;
        if self.chance.disks.one_in(3) {
            return Some((0, Step::Lose(survivor, false)));
        }
        self.cut_off(survivor, true);
        let (least, most) = AHEAD;
        Some((self.chance.disks.between(least, most), Step::Lose(survivor, true)))
    }

    fn lose_all_but(&mut self, survivor: M, cut_off: bool) -> Option<(Micros, Step)> {
        let all = self.machines.len();
        if cut_off && !self.is_healed() {
            self.cut_off(survivor, false);
        }
        self.coverage.count("fault: all disks but one lost");
        self.note([54, survivor as u64, 0], || format!("only the disk of b{} is left", survivor + 1));
        for lost in (0..all).filter(|at| *at != survivor) {
            self.bring_down(lost, true);
            self.replace_disk(lost);
        }
        Some((NOTICED, Step::Metadata(survivor)))
    }

    /// Whether the dry run there names every topic, and each partition has a replica in service that votes.
    fn could_go_on(&self, at: M) -> bool {
        let machine = &self.machines[at];
        let Some(process) = machine.process.as_ref().filter(|_| !machine.paused && !machine.may_stop) else {
            return false;
        };
        let votes = |group: GroupId| {
            let replica = process.engine.replicas().find(|state| state.group == group)?.replica;
            Some(process.engine.configuration(group)?.votes(replica))
        };
        let in_service = |(name, number): &(String, i32)| {
            let cluster = process.shared.cluster.borrow().clone();
            let topic = cluster.topic_by_name(name)?;
            let handle = process.shared.partitions.get(topic.id, *number)?;
            let quarantined = matches!(handle.leadership(), Leadership::Quarantined { .. });
            (!quarantined).then(|| votes(handle.group))?
        };
        votes(GroupId::METADATA) == Some(true)
            && self.places.iter().all(|place| in_service(place) == Some(true))
    }

    /// Steps 3 and 4.
    fn recover_metadata(&mut self, survivor: M) -> Option<(Micros, Step)> {
        self.bring_down(survivor, false);
        let disk = self.machines[survivor].disk.clone();
        disk.faults(|faults| *faults = DiskFaults::default());
        let found = self.open_disk(survivor);
        self.check_recovered(survivor, &found);
        drop(found);
        let id = Uuid::from_u128(u128::from(self.chance.disks.next()));
        let done = rebuild::execute(disk, Path::new(DATA), "a person", 0, id);
        let (plan, generation) = match done {
            Ok(done) => done,
            Err(error) => {
                self.fail(
                    "the metadata is rebuilt from a voter's whole disk",
                    format!("b{}: {error}", survivor + 1),
                );
                return None;
            }
        };
        self.note([55, survivor as u64, plan.epoch], || format!("b{} begins {generation}", survivor + 1));
        let found = self.open_disk(survivor);
        self.metadata_rebuilt(survivor, &plan, &found);
        drop(found);
        self.bring_up(survivor);
        Some((SECOND, Step::Partitions(survivor)))
    }

    fn open_disk(&self, at: M) -> Vec<RecoveredGroup> {
        let disk: Arc<dyn log::Disk> = self.machines[at].disk.clone();
        let folder = DataFolder::open(&*disk, Path::new(DATA)).expect("its process is stopped");
        let opened = Log::open_driven(disk, Path::new(DATA), folder.identity.clone(), Options::default());
        opened.expect("a whole journal").2
    }

    fn ask_survivor(&mut self, at: M) -> Vec<PartitionRecovery> {
        let (reply, mut answer) = oneshot::channel();
        self.engine(at, EngineEvent::Recoverable { reply });
        answer.try_recv().unwrap_or_default()
    }

    /// Step 5, until nothing is left that needs it.
    fn recover_partitions(&mut self, survivor: M) -> Option<(Micros, Step)> {
        let process = self.machines[survivor].process.as_ref()?;
        if *process.shared.metadata_leader.borrow() != Some(crate::world::broker_id(survivor)) {
            return None;
        }
        let left = self.ask_survivor(survivor);
        let led = left.iter().filter(|one| self.is_led_by(survivor, one.group)).count();
        if led == self.places.len() {
            self.coverage.count("last resort: gone on from one disk");
            return Some((0, Step::Return(survivor)));
        }
        for one in left.into_iter().filter(|one| one.refused.is_none()) {
            let Some(epoch) = one.epoch else { continue };
            let (group, by) = (one.group, "a person".to_owned());
            let wanted = RecoverPartition {
                group,
                survivor: one.survivor,
                epoch,
                end_offset: one.end_offset,
                by,
                unix_ms: 0,
            };
            self.propose(survivor, Command::RecoverPartition(wanted), crate::proposals::Asker::Person);
        }
        None
    }

    fn is_led_by(&self, at: M, group: GroupId) -> bool {
        let process = self.machines[at].process.as_ref();
        process
            .is_some_and(|process| process.engine.replicas().any(|state| state.group == group && state.leads))
    }

    /// Step 6.
    fn return_empty(&mut self, survivor: M) -> Option<(Micros, Step)> {
        let lost: Vec<M> = (0..self.machines.len()).filter(|at| *at != survivor).collect();
        for at in &lost {
            let starts = self.chance.disks.below(2 * SECOND);
            self.after(starts, Event::LetUp(*at));
        }
        let at = lost[self.chance.disks.index(lost.len())];
        let (least, most) = FOUND_AFTER;
        Some((self.chance.disks.between(least, most), Step::OldDisk(at, self.chance.disks.one_in(2))))
    }

    fn find_disk(&mut self, at: M, together: bool) {
        if self.machines[at].held_down > 0 || self.machines[at].aside.is_none() {
            return;
        }
        self.bring_down(at, false);
        self.put_old_disk_back(at);
        self.coverage.count("last resort: a lost disk found");
        self.bring_up(at);
        if together {
            for other in (0..self.machines.len()).filter(|other| *other != at) {
                self.bring_down(other, false);
                self.bring_up(other);
            }
        }
    }

    /// A machine that was held down comes up.
    pub fn let_up(&mut self, at: M) {
        // The end of all faults has let it up otherwise.
        if self.machines[at].held_down > 0 {
            self.bring_up(at);
        }
    }
}
