//! The permits that are open, as metadata holds them: each change is a committed command, and each grant names the version
//! that it was judged with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, Incarnation};

/// Numbers permits, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PermitId(pub u64);

/// Why a broker is to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Its pod is outdated.
    Rollout,
    /// Somebody evicts its pod: a drain, an autoscaler.
    Eviction,
    /// Its pod was deleted by hand.
    Deleted,
    /// The cluster becomes smaller.
    ScaleDown,
    /// A person asked for its restart.
    Asked,
}

impl Reason {
    /// What a broker stops for, for people: `broker 2 may stop for a rollout`.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Rollout => "for a rollout",
            Self::Eviction => "for an eviction",
            Self::Deleted => "because its pod was deleted",
            Self::ScaleDown => "to leave the cluster",
            Self::Asked => "because a person asks for it",
        }
    }
}

/// How far a permit has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The broker may stop and has not begun to: this ends by itself, or is taken back.
    Granted,
    /// Its pod is being deleted: only its return ends this, or proof that it was not deleted.
    Begun,
}

/// One broker's leave to stop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Permit {
    /// Its number.
    pub id: PermitId,
    /// Who may stop.
    pub broker: BrokerId,
    /// The life that may end.
    pub incarnation: Incarnation,
    /// The pod it runs in.
    pub pod_uid: String,
    /// Why.
    pub reason: Reason,
    /// A person bears what its partitions pay.
    pub allow_unavailable: bool,
    /// How far it has come.
    pub stage: Stage,
}

/// A leave that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Who may stop.
    pub broker: BrokerId,
    /// The life that may end.
    pub incarnation: Incarnation,
    /// The pod it runs in.
    pub pod_uid: String,
    /// Why.
    pub reason: Reason,
    /// A person bears what its partitions pay.
    pub allow_unavailable: bool,
}

impl Permit {
    /// Whether that is a later life of its broker than the one that was to end.
    pub fn is_over_with(&self, life: Incarnation) -> bool {
        life.disk != self.incarnation.disk || life.start > self.incarnation.start
    }
}

/// Why a permit is not changed as asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PermitError {
    /// Others were given or ended since it was judged, or something else that it was judged by has changed.
    #[error("judged with version {judged} of the permits, which are at {now}: judge again")]
    Moved {
        /// What it was judged with.
        judged: u64,
        /// Where they are.
        now: u64,
    },
    /// The broker has one.
    #[error("broker {0} has an open permit already")]
    Open(BrokerId),
    /// No such permit is open.
    #[error("permit {} is not open", .0.0)]
    Unknown(PermitId),
    /// It has come further than that.
    #[error("permit {} has begun: it ends when broker {broker} is back", .id.0)]
    Begun {
        /// Which.
        id: PermitId,
        /// Whose.
        broker: BrokerId,
    },
    /// It is for another pod.
    #[error("permit {} is for pod {granted}, not for {given}", .id.0)]
    OtherPod {
        /// Which.
        id: PermitId,
        /// The pod it was granted for.
        granted: String,
        /// The pod that was named.
        given: String,
    },
    /// It is not back: this is the life that was to end.
    #[error("permit {} ends with a later life of broker {broker} than {life}", .id.0)]
    SameLife {
        /// Which.
        id: PermitId,
        /// Whose.
        broker: BrokerId,
        /// The life that was to end.
        life: Incarnation,
    },
}

/// All open permits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Permits {
    version: u64,
    last: u64,
    open: BTreeMap<PermitId, Permit>,
}

impl Permits {
    /// Grows with each change, also of what else a permit is judged by: a grant must have been judged with the newest.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Something that permits are judged by has changed.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// Those that are open, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Permit> {
        self.open.values()
    }

    /// Brokers that hold one.
    pub fn holders(&self) -> BTreeSet<BrokerId> {
        self.open().map(|permit| permit.broker).collect()
    }

    /// The one of that number.
    pub fn get(&self, id: PermitId) -> Option<&Permit> {
        self.open.get(&id)
    }

    /// The one that a broker holds for that pod.
    pub fn held_by(&self, broker: BrokerId, pod_uid: &str) -> Option<&Permit> {
        self.open().find(|permit| permit.broker == broker && permit.pod_uid == pod_uid)
    }

    /// Lets a broker stop, if nothing has changed since that was judged with `judged`. Asked once more for the same pod, it
    /// is the same permit: the first answer may have been lost.
    pub fn grant(&mut self, judged: u64, leave: &Leave) -> Result<Permit, PermitError> {
        let broker = leave.broker;
        if let Some(known) = self.held_by(broker, &leave.pod_uid)
            && known.incarnation == leave.incarnation
        {
            return Ok(known.clone());
        }
        if judged != self.version {
            return Err(PermitError::Moved { judged, now: self.version });
        }
        if self.open().any(|permit| permit.broker == broker) {
            return Err(PermitError::Open(broker));
        }
        self.last += 1;
        let Leave { incarnation, pod_uid, reason, allow_unavailable, .. } = leave.clone();
        let (id, stage) = (PermitId(self.last), Stage::Granted);
        let permit = Permit { id, broker, incarnation, pod_uid, reason, allow_unavailable, stage };
        self.open.insert(id, permit.clone());
        self.version += 1;
        Ok(permit)
    }

    /// Its pod is about to be deleted. To begin once more is no error: the answer may have been lost.
    pub fn begin(&mut self, id: PermitId, pod_uid: &str) -> Result<Permit, PermitError> {
        let permit = self.open.get_mut(&id).ok_or(PermitError::Unknown(id))?;
        if permit.pod_uid != pod_uid {
            let (granted, given) = (permit.pod_uid.clone(), pod_uid.to_owned());
            return Err(PermitError::OtherPod { id, granted, given });
        }
        if permit.stage == Stage::Granted {
            permit.stage = Stage::Begun;
            self.version += 1;
        }
        Ok(permit.clone())
    }

    /// One that was not used ends: its time is over, or the state has worsened.
    pub fn take_back(&mut self, id: PermitId) -> Result<Permit, PermitError> {
        match self.open.get(&id) {
            None => Err(PermitError::Unknown(id)),
            Some(permit) if permit.stage == Stage::Begun => {
                Err(PermitError::Begun { id, broker: permit.broker })
            }
            Some(_) => Ok(self.end(id)),
        }
    }

    /// A later life of the broker is back in every ISR.
    pub fn close(&mut self, id: PermitId, back: Incarnation) -> Result<Permit, PermitError> {
        let permit = self.open.get(&id).ok_or(PermitError::Unknown(id))?;
        if !permit.is_over_with(back) {
            return Err(PermitError::SameLife { id, broker: permit.broker, life: permit.incarnation });
        }
        Ok(self.end(id))
    }

    /// The pod was not deleted after all: it lives, under the same UID.
    pub fn abort(&mut self, id: PermitId, pod_uid: &str) -> Result<Permit, PermitError> {
        let permit = self.open.get(&id).ok_or(PermitError::Unknown(id))?;
        if permit.pod_uid != pod_uid {
            let (granted, given) = (permit.pod_uid.clone(), pod_uid.to_owned());
            return Err(PermitError::OtherPod { id, granted, given });
        }
        Ok(self.end(id))
    }

    /// The broker is no more.
    pub fn forget(&mut self, broker: BrokerId) {
        let before = self.open.len();
        self.open.retain(|_, permit| permit.broker != broker);
        self.version += u64::from(self.open.len() < before);
    }

    fn end(&mut self, id: PermitId) -> Permit {
        self.version += 1;
        self.open.remove(&id).expect("it was just seen")
    }
}

#[cfg(test)]
#[path = "tests/permits.rs"]
mod tests;
