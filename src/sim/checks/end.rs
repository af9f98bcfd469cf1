//! What holds at the end, when every fault is over: all is well again, and nothing that was acknowledged is missing.

use std::sync::Arc;

use chronik_broker::replica::{Leadership, ReplicaState};
use chronik_core::ids::{GroupId, Offset};
use chronik_core::metadata::{ClusterState, Partition, Standing, Topic};
use chronik_core::view::PartitionState;

use crate::clients::Role;
use crate::world::{M, World, broker_id, index_of};

impl World {
    /// Why the cluster is not yet as it should be at the end; `None` once it is.
    pub fn unsettled(&self) -> Option<String> {
        for (client, known) in self.clients.iter().enumerate() {
            match &known.role {
                Role::Producer(producer) if !producer.is_done() => {
                    return Some(format!(
                        "producer c{client} has undecided batches: {}",
                        producer.undecided()
                    ));
                }
                Role::Admin(admin) if !admin.is_done() => {
                    return Some("a metadata change is not made".to_owned());
                }
                _ => {}
            }
        }
        if self.scaling > 0 {
            return Some(format!("{} brokers are still to come or to go", self.scaling));
        }
        let joins = |cluster: &Arc<ClusterState>| cluster.brokers_that_are(Standing::Joining).next();
        if let Some(broker) = self.checks.newest_metadata.as_ref().and_then(joins) {
            return Some(format!("broker {broker} has not got its share"));
        }
        if let Some(what) = self.unsettled_permit() {
            return Some(what);
        }
        self.unsettled_voters()
            .or_else(|| (0..self.places.len()).find_map(|place| self.unsettled_place(place)))
    }

    fn unsettled_place(&self, place: usize) -> Option<String> {
        let (name, number) = &self.places[place];
        let known = self.machines.iter().filter_map(|machine| machine.process.as_ref()).find_map(|process| {
            let cluster = process.shared.cluster.borrow();
            let topic = cluster.topic_by_name(name)?.clone();
            let partition = topic.partition(*number)?.clone();
            Some((topic, partition))
        });
        let Some((topic, partition)) = known else { return Some(format!("nobody knows {name}-{number}")) };
        if let Some(moving) = &partition.reassignment {
            return Some(format!("{name}-{number} still moves: {moving:?} of {:?}", partition.replicas));
        }
        if let Some(what) = self.unwanted_data(&partition).or_else(|| self.unreplaced(&topic, &partition)) {
            return Some(format!("{name}-{number}: {what}"));
        }
        let assigned = partition.replicas.iter().map(|replica| index_of(replica.broker));
        let mut well: Vec<M> =
            assigned.filter(|machine| self.is_in_service(*machine, &topic, *number)).collect();
        well.sort_unstable();
        if well.len() <= partition.replicas.len() / 2 {
            return Some(format!("{name}-{number}: only {} replicas are in service", well.len()));
        }
        let group = partition.group;
        let state = |machine: M| self.replica_state(machine, group);
        let leads = |machine: &&M| state(**machine).is_some_and(|state| state.leads);
        let leaders: Vec<M> = well.iter().filter(leads).copied().collect();
        let [leader] = leaders[..] else {
            return Some(format!("{name}-{number}: {} replicas lead", leaders.len()));
        };
        let led = state(leader)?;
        let preferred = index_of(partition.replicas[0].broker);
        if leader != preferred && well.contains(&preferred) {
            return Some(format!("{name}-{number}: b{} leads, not b{}", leader + 1, preferred + 1));
        }
        let mut isr: Vec<M> = led.isr.iter().map(|member| index_of(member.broker)).collect();
        isr.sort_unstable();
        if isr != well {
            return Some(format!("{name}-{number}: ISR {isr:?} of {well:?} (counted from 0): {led:?}"));
        }
        for machine in well {
            let Some(own) = state(machine) else {
                return Some(format!("{name}-{number}: b{} is silent", machine + 1));
            };
            if (own.end, own.commit, own.high_watermark) != (led.end, led.end, led.end) {
                return Some(format!("{name}-{number}: b{} is behind: {own:?} of {led:?}", machine + 1));
            }
            let process = self.machines[machine].process.as_ref()?;
            let report = process.reports.partition(&topic, &partition);
            if report.state != PartitionState::Leader || report.leader != Some(broker_id(leader)) {
                return Some(format!("{name}-{number}: b{} reports {report:?}", machine + 1));
            }
        }
        let end = self.checks.groups.get(&group)?.committed.last().map_or(0, |entry| entry.end_offset());
        self.unread(place, end).map(|what| format!("{name}-{number}: {what}"))
    }

    /// Data of replicas that are no more, on brokers that run.
    fn unwanted_data(&self, partition: &Partition) -> Option<String> {
        self.machines.iter().zip(&self.checks.disks).enumerate().find_map(|(machine, (known, disk))| {
            let process = known.process.as_ref()?;
            if process.engine.stopped().is_some() {
                return None;
            }
            let held = disk.get(&partition.group)?.replica;
            let wanted = partition.replicas.iter().any(|replica| replica.replica == held);
            (!wanted).then(|| format!("b{} still has the data of replica {held}", machine + 1))
        })
    }

    /// A replica out of service whose broker runs: its leader has another take its place.
    fn unreplaced(&self, topic: &Topic, partition: &Partition) -> Option<String> {
        let brokers = partition.replicas.iter().map(|replica| index_of(replica.broker));
        brokers.into_iter().find_map(|machine| {
            let process = self.machines[machine].process.as_ref()?;
            let handle = process.shared.partitions.get(topic.id, partition.number)?;
            match handle.leadership() {
                Leadership::Quarantined { reason } => {
                    Some(format!("b{} is out of service: {reason}", machine + 1))
                }
                _ => None,
            }
        })
    }

    fn unread(&self, place: usize, end: Offset) -> Option<String> {
        self.clients.iter().enumerate().find_map(|(client, known)| match &known.role {
            Role::Consumer(consumer) if consumer.position(place) < end => {
                Some(format!("consumer c{client} is at {} of {end}", consumer.position(place)))
            }
            _ => None,
        })
    }

    fn is_in_service(&self, machine: M, topic: &Topic, number: i32) -> bool {
        let known = &self.machines[machine];
        let Some(process) = &known.process else { return true };
        if known.damaged && process.engine.stopped().is_some() {
            return false;
        }
        let handle = process.shared.partitions.get(topic.id, number);
        handle.is_none_or(|handle| !matches!(handle.leadership(), Leadership::Quarantined { .. }))
    }

    fn replica_state(&self, machine: M, group: GroupId) -> Option<ReplicaState> {
        self.machines[machine].process.as_ref()?.engine.replicas().find(|state| state.group == group)
    }

    /// Everything acknowledged is committed at its offset, and on every disk in service.
    pub fn check_end(&mut self) {
        let mut missing = None;
        for (group, truth) in &self.checks.groups {
            for (offset, operation) in &truth.acknowledged {
                let from = truth.committed.partition_point(|entry| entry.end_offset() <= *offset);
                let found = truth.committed[from..].iter().find(|entry| entry.records > 0);
                let same = found.is_some_and(|entry| {
                    entry.base_offset == *offset && entry.tag.is_some_and(|tag| tag.operation() == *operation)
                });
                if !same {
                    missing = Some(format!("group {group}: {operation:?} at {offset}; there is {found:?}"));
                }
            }
        }
        if let Some(text) = missing {
            self.fail("what is acknowledged stays", text);
        }
    }
}
