//! What shall become of a broker's replicas: it leaves, it is to get its share, or neither. The moves follow from it
//! ([`balance`](crate::balance)); it moves nothing itself.

use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::command::SetStanding;
use super::refusal::{Refusal, RefusalCode};
use super::state::ClusterState;
use crate::ids::BrokerId;

/// What shall become of a broker's replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// They stay, and nothing is moved to it.
    #[default]
    Settled,
    /// It is to get its share of all replicas. Once it has it, it is settled.
    Joining,
    /// They go to other brokers, and so does its vote in the metadata group. It gets no new ones.
    Leaving,
}

impl Standing {
    /// The word for it in the admin API and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Joining => "joining",
            Self::Leaving => "leaving",
        }
    }
}

impl ClusterState {
    /// What shall become of that broker's replicas.
    pub fn standing(&self, broker: BrokerId) -> Standing {
        self.standings.get(&broker).copied().unwrap_or_default()
    }

    /// Whether it leaves.
    pub fn leaves(&self, broker: BrokerId) -> bool {
        self.standing(broker) == Standing::Leaving
    }

    /// Brokers of that standing, ascending.
    pub fn brokers_that_are(&self, standing: Standing) -> impl Iterator<Item = BrokerId> {
        self.brokers().map(|broker| broker.id).filter(move |id| self.standing(*id) == standing)
    }

    /// Whether every broker is settled.
    pub fn is_settled(&self) -> bool {
        self.standings.is_empty()
    }

    /// How many brokers do not leave.
    pub fn staying(&self) -> usize {
        self.brokers().filter(|broker| !self.leaves(broker.id)).count()
    }

    /// Whether that could be the broker's standing. The last one that stays cannot leave.
    pub fn validate_set_standing(&self, wanted: &SetStanding) -> Result<(), Refusal> {
        let SetStanding { broker, standing } = *wanted;
        if self.broker(broker).is_none() {
            let allowed = "the id of a registered broker";
            return Err(Refusal::new(RefusalCode::UnknownBroker, "broker id", broker, allowed));
        }
        if standing == Standing::Leaving && !self.leaves(broker) && self.staying() == 1 {
            let field = format!("standing of broker {broker}");
            let allowed = "settled or joining: all other brokers leave, and one has to stay";
            return Err(Refusal::new(RefusalCode::InvalidRequest, field, standing.as_str(), allowed));
        }
        Ok(())
    }

    pub(super) fn set_standing(&mut self, wanted: &SetStanding) -> Result<Applied, Refusal> {
        self.validate_set_standing(wanted)?;
        let SetStanding { broker, standing } = *wanted;
        let before = match standing {
            Standing::Settled => self.standings.remove(&broker),
            standing => self.standings.insert(broker, standing),
        };
        Ok(Applied::StandingSet { broker, standing, changed: before.unwrap_or_default() != standing })
    }
}
