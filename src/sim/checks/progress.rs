//! What must happen soon where nothing disturbs it: a partition without a leader gets one, and followers hear how far its
//! leader shows it.

use chronik_broker::replica::ReplicaState;
use chronik_core::ids::LogIndex;

use crate::process::Process;
use crate::time::{MS, Micros, SECOND};
use crate::world::{M, World, index_of};

/// Silence is noticed after 2.5 s, and an election may have to be tried again.
const ELECTED_WITHIN: Micros = 8 * SECOND;
/// The high watermark is told again with every tick.
const TOLD_WITHIN: Micros = 2 * SECOND;
/// A full disk is looked at again at every twentieth write or rest; rests are 100 ms.
const ROOM_NOTICED_WITHIN: Micros = 2_500 * MS;

/// A high watermark that a leader has and a follower with the entries has not, and since when.
#[derive(Clone, Copy)]
pub struct Untold {
    high_watermark: LogIndex,
    since: Micros,
}

impl World {
    /// After a tick of any broker.
    pub fn check_elections(&mut self) {
        for place in 0..self.places.len() {
            let lacks_one = self.could_elect(place) && self.leader_of(place).is_none();
            let known = self.checks.leaderless.remove(&place);
            let Some(since) = lacks_one.then(|| known.unwrap_or(self.now)) else { continue };
            if self.now - since > ELECTED_WITHIN {
                let text = format!("place {place} has had none for {} s", (self.now - since) / SECOND);
                return self.fail("where a majority is well there is a leader", text);
            }
            self.checks.leaderless.insert(place, since);
        }
    }

    /// Whether the paths are whole and a majority of the voters is in service, on brokers that nothing holds back.
    fn could_elect(&self, place: usize) -> bool {
        let Some(partition) = self.newest_partition(place) else { return false };
        let in_service = (0..self.machines.len()).filter_map(|machine| {
            let engine = &self.undisturbed(machine)?.engine;
            let members = engine.configuration(partition.group)?;
            let own = engine.replicas().find(|state| state.group == partition.group)?;
            (!members.is_joint() && members.voters.contains(&own.replica)).then_some(own.replica)
        });
        self.paths_are_whole()
            && partition.reassignment.is_none()
            && in_service.count() > partition.replicas.len() / 2
    }

    fn paths_are_whole(&self) -> bool {
        self.network.cuts.iter().flatten().all(|cuts| *cuts == 0)
            && self.network.loss_percent == 0
            && self.network.latency == self.plan.latency
    }

    /// The process of a machine that nothing holds back.
    fn undisturbed(&self, machine: M) -> Option<&Process> {
        let known = &self.machines[machine];
        let process = known.process.as_ref()?;
        let free = !known.paused && !process.draining && !known.disk.is_full() && !self.is_retired(machine);
        let prompt = known.write_takes == self.plan.write_takes && process.engine.stopped().is_none();
        (free && prompt).then_some(process)
    }

    /// After a tick of any broker.
    pub fn check_room(&mut self, at: M) {
        let short = self.undisturbed(at).is_some_and(|process| process.log.is_short_of_room());
        let (now, went_on) = (self.now, self.machines[at].stood.1);
        let Some(process) = &mut self.machines[at].process else { return };
        process.short_since = short.then(|| process.short_since.unwrap_or(now));
        let since = process.short_since.map(|since| since.max(went_on));
        if since.is_some_and(|since| now - since > ROOM_NOTICED_WITHIN) {
            let text = format!("b{} has had room for {} ms", at + 1, ROOM_NOTICED_WITHIN / MS);
            self.fail("a broker takes records again when its disk has room", text);
        }
    }

    /// After a tick of the follower.
    pub fn check_told(&mut self, at: M, state: &ReplicaState) {
        let takes_records = self.undisturbed(at).is_some_and(|process| !process.log.is_short_of_room());
        let untold = self.untold(state).filter(|_| takes_records && self.paths_are_whole());
        let (now, went_on) = (self.now, self.machines[at].stood.1);
        let process = self.machines[at].process.as_mut().expect("its state was just read");
        let watch = process.watch.entry(state.group).or_default();
        let before = watch.untold.filter(|before| before.high_watermark > state.high_watermark);
        let Some(high_watermark) = untold else { return watch.untold = None };
        let since = *watch.untold.insert(before.unwrap_or(Untold { high_watermark, since: now }));
        if now - since.since.max(went_on) > TOLD_WITHIN {
            let text = format!("b{}, {state:?}: its leader has had {}", at + 1, since.high_watermark);
            self.fail("a follower hears its leader's high watermark", text);
        }
    }

    /// The high watermark of the leader that it follows, where that one is undisturbed and it has those entries itself.
    fn untold(&self, state: &ReplicaState) -> Option<LogIndex> {
        let leader = self.undisturbed(index_of(state.follows?))?;
        let mut states = leader.engine.replicas();
        let led = states.find(|led| led.group == state.group && led.leads && led.term == state.term)?;
        (state.high_watermark < led.high_watermark && state.synced >= led.high_watermark)
            .then_some(led.high_watermark)
    }
}
