//! A broker's registration and its end: its identity, its age, and that what it says about itself is well formed.
//!
//! A disk is registered once and for one broker, and with it the replica of the metadata group that it holds or is to begin.
//! A disk that holds nothing yet takes the place of the one that its broker had, which is retired for ever.

use std::sync::Arc;

use super::apply::Applied;
use super::command::UnregisterBroker;
use super::limits;
use super::refusal::{Refusal, RefusalCode};
use super::state::{Broker, ClusterState, Listener};
use crate::ids::{BrokerId, DiskId, ReplicaId};

/// What a registration changes besides the broker itself.
struct Registration {
    /// The disk's replica of the metadata group; a new one if none.
    replica: Option<ReplicaId>,
    /// The disk that loses its place.
    retires: Option<DiskId>,
}

impl ClusterState {
    pub(super) fn register(&mut self, broker: &Broker) -> Result<Applied, Refusal> {
        let Registration { replica, retires } = self.judge_registration(broker)?;
        let replica = replica.unwrap_or_else(|| self.new_replica_id());
        if let Some(disk) = retires
            && !self.retire(disk, broker.id)
        {
            self.give_to(broker.disk, disk);
        }
        let registered = Broker { metadata_replica: Some(replica), ..broker.clone() };
        self.brokers.insert(broker.id, Arc::new(registered));
        Ok(Applied::BrokerRegistered { broker: broker.id })
    }

    /// Whether the broker may register.
    pub fn validate_register_broker(&self, broker: &Broker) -> Result<(), Refusal> {
        self.judge_registration(broker).map(drop)
    }

    /// The disk that a registration would put out of its place for ever.
    pub fn disk_replaced_by(&self, broker: &Broker) -> Option<DiskId> {
        self.judge_registration(broker).ok()?.retires
    }

    fn judge_registration(&self, broker: &Broker) -> Result<Registration, Refusal> {
        validate_texts(broker)?;
        let registration = self.judge_identity(broker)?;
        if !broker.features.contains(self.feature_level) {
            let range = format!("{} to {}", broker.features.min, broker.features.max);
            let allowed = format!("a range with level {}, which the cluster works at", self.feature_level);
            return Err(Refusal::new(RefusalCode::InvalidFeatureLevel, "feature levels", range, allowed));
        }
        if self.broker(broker.id).is_none() && self.brokers.len() >= limits::BROKERS {
            let allowed = format!("at most {} in a cluster", limits::BROKERS);
            return Err(Refusal::new(RefusalCode::LimitExceeded, "brokers", self.brokers.len() + 1, allowed));
        }
        if registration.retires.is_some() {
            self.validate_one_more_retired()?;
        }
        Ok(registration)
    }

    fn validate_one_more_retired(&self) -> Result<(), Refusal> {
        if self.retired.len() < limits::RETIRED_DISKS {
            return Ok(());
        }
        let allowed = format!("at most {} in a cluster's life", limits::RETIRED_DISKS);
        let (code, field) = (RefusalCode::LimitExceeded, "disks that were replaced");
        Err(Refusal::new(code, field, self.retired.len() + 1, allowed))
    }

    /// Its disk goes with it for ever; its vote is taken by the metadata group's leader, since no broker has it any more.
    pub(super) fn unregister(&mut self, wanted: &UnregisterBroker) -> Result<Applied, Refusal> {
        self.validate_unregister_broker(wanted)?;
        if let Some(broker) = self.brokers.remove(&wanted.broker) {
            self.retire(broker.disk, broker.id);
            self.permits.forget(broker.id);
            self.standings.remove(&broker.id);
        }
        Ok(Applied::BrokerUnregistered { broker: wanted.broker })
    }

    /// Whether the broker could be taken out: nothing may name it any more.
    pub fn validate_unregister_broker(&self, wanted: &UnregisterBroker) -> Result<(), Refusal> {
        let id = wanted.broker;
        if self.broker(id).is_none() {
            let allowed = "the id of a registered broker";
            return Err(Refusal::new(RefusalCode::UnknownBroker, "broker id", id, allowed));
        }
        let mut hosted = self.partitions().filter(|(_, partition)| partition.brokers().contains(&id));
        if let Some((topic, partition)) = hosted.next() {
            let more = hosted.count();
            let allowed = format!(
                "a broker without replicas, and this one has {}, that of {}-{} among them: move them to other brokers \
                 (kafka-reassign-partitions) or delete their topics first",
                more + 1,
                topic.name,
                partition.number
            );
            return Err(Refusal::new(RefusalCode::InvalidRequest, "broker id", id, allowed));
        }
        self.validate_one_more_retired()
    }

    fn judge_identity(&self, broker: &Broker) -> Result<Registration, Refusal> {
        self.refuse_foreign_disk(broker)?;
        let disk_field = || format!("disk of broker {}", broker.id);
        let Some(known) = self.broker(broker.id) else {
            return self.judge_first_disk(broker);
        };
        if known.disk == broker.disk {
            return judge_known_disk(broker, known);
        }
        if broker.metadata_replica.is_some() {
            let allowed = format!(
                "{}, the disk this broker is registered with, or a data folder that was formatted anew",
                known.disk
            );
            return Err(Refusal::new(RefusalCode::DuplicateBroker, disk_field(), broker.disk, allowed));
        }
        Ok(Registration { replica: None, retires: Some(known.disk) })
    }

    fn refuse_foreign_disk(&self, broker: &Broker) -> Result<(), Refusal> {
        let field = || format!("disk of broker {}", broker.id);
        if let Some(owner) = self.retired.get(&broker.disk) {
            let allowed = format!(
                "a data folder that was formatted anew: this disk was broker {owner}'s, and it was replaced or its broker \
                 unregistered"
            );
            return Err(Refusal::new(RefusalCode::RetiredDisk, field(), broker.disk, allowed));
        }
        if let Some(other) = self.brokers().find(|other| other.disk == broker.disk && other.id != broker.id) {
            let allowed = format!("a disk of its own, and this one is registered as broker {}", other.id);
            return Err(Refusal::new(RefusalCode::DuplicateBroker, field(), broker.disk, allowed));
        }
        Ok(())
    }

    /// The first disk of a broker holds no metadata yet, unless it founded the cluster: founders have their broker's number.
    fn judge_first_disk(&self, broker: &Broker) -> Result<Registration, Refusal> {
        let founded = ReplicaId(u64::from(broker.id.0));
        if broker.metadata_replica.is_some_and(|held| held != founded) {
            let field = format!("metadata replica of broker {}", broker.id);
            let held = broker.metadata_replica.map_or(0, |held| held.0);
            let allowed = format!("none, or {founded} of a founder, on a disk that is not registered");
            return Err(Refusal::new(RefusalCode::DuplicateBroker, field, held, allowed));
        }
        Ok(Registration { replica: broker.metadata_replica, retires: None })
    }

    /// A replica id that was never used before.
    pub(super) fn new_replica_id(&mut self) -> ReplicaId {
        let replica = ReplicaId(self.next_replica);
        self.next_replica += 1;
        replica
    }

    /// False if that disk had lost its place before: then a recovery did it.
    pub(super) fn retire(&mut self, disk: DiskId, owner: BrokerId) -> bool {
        Arc::make_mut(&mut self.retired).insert(disk, owner).is_none()
    }
}

fn judge_known_disk(broker: &Broker, known: &Broker) -> Result<Registration, Refusal> {
    if broker.incarnation_start < known.incarnation_start {
        let field = format!("start of broker {}", broker.id);
        let allowed = format!("{} or later, as that start has registered", known.incarnation_start);
        let code = RefusalCode::StaleIncarnation;
        return Err(Refusal::new(code, field, broker.incarnation_start, allowed));
    }
    if let Some(held) = broker.metadata_replica.filter(|held| known.metadata_replica != Some(*held)) {
        let field = format!("metadata replica of broker {}", broker.id);
        let allowed = format!("{}, which its disk was given", known.metadata_replica.map_or(0, |own| own.0));
        return Err(Refusal::new(RefusalCode::DuplicateBroker, field, held, allowed));
    }
    Ok(Registration { replica: known.metadata_replica, retires: None })
}

fn validate_texts(broker: &Broker) -> Result<(), Refusal> {
    let refuse = |field: &str, value: &str, allowed: String| {
        Err(Refusal::new(RefusalCode::InvalidRequest, field, value, allowed))
    };
    if !(limits::BROKER_ID_MIN..=limits::BROKER_ID_MAX).contains(&broker.id.0) {
        let allowed = format!("{} to {}", limits::BROKER_ID_MIN, limits::BROKER_ID_MAX);
        return refuse("broker id", &broker.id.to_string(), allowed);
    }
    if broker.disk.0.is_nil() {
        return refuse("disk id", &broker.disk.to_string(), "a random UUID".into());
    }
    let texts = [
        ("rack", broker.rack.as_deref().unwrap_or("-"), limits::LONG_TEXT),
        ("peer address", &broker.peer_address, limits::LONG_TEXT),
        ("version", &broker.version, limits::SHORT_TEXT),
    ];
    for (field, value, most) in texts {
        if value.is_empty() || value.len() > most {
            return refuse(field, value, format!("1 to {most} bytes"));
        }
    }
    if broker.listeners.is_empty() || broker.listeners.len() > limits::LISTENERS {
        let allowed = format!("1 to {}", limits::LISTENERS);
        return refuse("listeners", &broker.listeners.len().to_string(), allowed);
    }
    broker
        .listeners
        .iter()
        .enumerate()
        .try_for_each(|(at, listener)| validate_listener(listener, &broker.listeners[..at]))
}

fn validate_listener(listener: &Listener, before: &[Listener]) -> Result<(), Refusal> {
    let refuse = |field: &str, value: &str, allowed: &str| {
        Err(Refusal::new(RefusalCode::InvalidRequest, field, value, allowed))
    };
    let Listener { name, host, port } = listener;
    if name.is_empty() || name.len() > limits::SHORT_TEXT {
        return refuse("listener name", name, "1 to 64 bytes");
    }
    if before.iter().any(|other| other.name == *name) {
        return refuse("listener name", name, "each name once only");
    }
    if host.is_empty() || host.len() > limits::LONG_TEXT {
        return refuse("listener host", host, "1 to 255 bytes");
    }
    if *port == 0 {
        return refuse("listener port", "0", "1 to 65535");
    }
    Ok(())
}
