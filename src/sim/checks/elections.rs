//! That a partition without a leader gets one soon, where enough of its replicas are well.

use crate::time::{Micros, SECOND};
use crate::world::{M, World};

/// Silence is noticed after 2.5 s, and an election may have to be tried again.
const ELECTED_WITHIN: Micros = 8 * SECOND;

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
        let whole = self.network.cuts.iter().flatten().all(|cuts| *cuts == 0)
            && self.network.loss_percent == 0
            && self.network.latency == self.plan.latency;
        let well = |machine: M| {
            let known = &self.machines[machine];
            let process = known.process.as_ref()?;
            let free =
                !known.paused && !process.draining && !known.disk.is_full() && !self.is_retired(machine);
            let prompt = known.write_takes == self.plan.write_takes && process.engine.stopped().is_none();
            (free && prompt).then_some(process)
        };
        let in_service = (0..self.machines.len()).filter_map(|machine| {
            let members = well(machine)?.engine.configuration(partition.group)?;
            let own = well(machine)?.engine.replicas().find(|state| state.group == partition.group)?;
            (!members.is_joint() && members.voters.contains(&own.replica)).then_some(own.replica)
        });
        whole && partition.reassignment.is_none() && in_service.count() > partition.replicas.len() / 2
    }
}
